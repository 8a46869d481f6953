//! The transition function: one private function per phase.
//!
//! In: state, event, context. Out: the next state and the effects that are
//! due. Must not: anything else; see the module above.
//!
//! It matches on the phase first and hands each to one function that matches
//! the event; a new variant breaks the build exactly where a decision is due.

mod resting;
mod pausing;
mod preparing;
mod checking;
mod activating;
mod judging;
mod reverting;
mod committing;
mod finish;
#[cfg(test)]
mod tests;

pub(super) use self::activating::{end, guardian_fired};
pub(super) use self::finish::finish;
use super::effect::Effect;
use super::event::{Event, Report};
use super::phase::Phase;
use super::state::{Context, State, Step};
use crate::model::deployment::DeploymentId;

/// Takes the state one event further.
pub fn step(state: State, event: Event, context: &Context<'_>) -> Step {
    match event {
        Event::Looked(look) => resting::looked(state, &look, context),
        Event::Allowed(commit) => Step {
            state: State {
                allowed: Some(commit),
                ..state
            },
            effects: Vec::new(),
            stale: false,
        },
        Event::Paused { by, reason, length } => pausing::paused(state, by, reason, length, context),
        Event::Resumed => pausing::resumed(state),
        Event::PauseEnded => pausing::ended(state, context),
        Event::RootAsked(asked) => reverting::asked(state, &asked, context),
        Event::Confirmed(deployment) => judging::confirmed(state, &deployment),
        Event::Rejected {
            deployment,
            by,
            reason,
        } => judging::rejected(state, &deployment, by, &reason),
        Event::Completed { deployment, report } => completed(state, &deployment, report, context),
    }
}

fn completed(
    mut state: State,
    deployment: &DeploymentId,
    report: Report,
    context: &Context<'_>,
) -> Step {
    if state.phase.deployment().map(|current| &current.id) != Some(deployment) {
        return stale(state);
    }
    match (std::mem::take(&mut state.phase), report) {
        (Phase::Importing { deployment }, Report::Imported(result)) => {
            preparing::importing(state, deployment, result, context)
        }
        (Phase::Evaluating { deployment }, Report::Evaluated(result)) => {
            preparing::evaluating(state, deployment, result, context)
        }
        (
            Phase::Building {
                deployment,
                derivation,
            },
            Report::Built(result),
        ) => preparing::building(state, deployment, derivation, result, context),
        (Phase::Rooting { deployment, system }, Report::Rooted(result)) => {
            preparing::rooting(state, deployment, system, result, context)
        }
        (Phase::Inspecting { deployment, system }, Report::Inspected(result)) => {
            checking::inspecting(state, deployment, system, result, context)
        }
        (
            Phase::Checking {
                deployment,
                system,
                way,
            },
            Report::Checked(result),
        ) => checking::checking(state, deployment, system, way, result, context),
        (Phase::Arming { deployment, system }, Report::Armed(result)) => {
            activating::arming(state, deployment, system, result, context)
        }
        (Phase::Testing(activation), Report::Tested(result)) => {
            activating::testing(state, activation, result, context)
        }
        (Phase::Replacing(activation), Report::Replaced(result)) => {
            activating::replacing(state, activation, result)
        }
        (Phase::Confirming(activation), Report::Confirmed(confirmation)) => {
            activating::confirming(state, activation, confirmation)
        }
        (Phase::Claiming(activation), Report::Claimed(result)) => {
            activating::claiming(state, activation, result)
        }
        (
            Phase::SettingProfile {
                activation,
                permission,
            },
            Report::ProfileSet(result),
        ) => committing::setting_profile(state, activation, permission, result, context),
        (
            Phase::WritingBootEntry {
                activation,
                permission,
            },
            Report::BootEntryWritten(result),
        ) => committing::writing_boot_entry(state, activation, permission, result, context),
        (
            Phase::ReadingBack {
                activation,
                permission,
            },
            Report::ReadBack(observed),
        ) => committing::reading_back(state, activation, permission, &observed, context),
        (Phase::Disarming { activation, then }, Report::Disarmed(verdict)) => {
            activating::disarmed(state, activation, then, verdict, context)
        }
        (
            Phase::RollingBack {
                activation,
                failure,
                ..
            },
            Report::RolledBack(end),
        ) => committing::rolled_back(state, activation, failure, end, context),
        (
            Phase::Restoring {
                deployment,
                system,
                then,
                ..
            },
            Report::Restored(result),
        ) => committing::restored(state, deployment, system, then, result, context),
        // A report of another phase's work: that work is over.
        (phase, _) => {
            state.phase = phase;
            stale(state)
        }
    }
}

/// Enters a phase: lets go the unit of the one before, then starts its work.
fn enter(mut state: State, phase: Phase, release: Option<Effect>) -> Step {
    state.phase = phase;
    let work = state.work().map(|(id, work)| Effect::Work(id, work));
    Step {
        state,
        effects: release.into_iter().chain(work).collect(),
        stale: false,
    }
}

/// The event belongs to something that is over: nothing changes.
fn stale(state: State) -> Step {
    Step {
        state,
        effects: Vec::new(),
        stale: true,
    }
}
