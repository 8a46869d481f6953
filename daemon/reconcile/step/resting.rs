//! What a look leads to, in any phase.

use std::collections::BTreeSet;

use super::super::branches::{self, Succession};
use super::super::effect::Effect;
use super::super::event::{Demand, Look};
use super::super::holding;
use super::super::phase::Phase;
use super::super::select::Decision;
use super::super::state::{Context, State, Step};
use super::{enter, finish::finish, pausing, stale};
use crate::model::deployment::{Cause, Deployment, Outcome, Resolved};
use crate::model::failure::FailureCode;
use crate::model::revision::Candidate;
use crate::model::system::Observed;

/// Takes a look: at rest it may start a deployment; while nothing on the host
/// is touched yet a newer commit takes over; later it changes nothing.
pub(super) fn looked(mut state: State, look: &Look, context: &Context<'_>) -> Step {
    if state.phase == Phase::Resting || state.phase.is_preparing() {
        state.learn_entry(&look.observed);
        if let Some(head) = &look.head {
            state.learn_head(head, context.now.wall);
        }
    }
    if state.phase == Phase::Resting {
        return at_rest(state, look, context);
    }
    let succession = match state.phase.deployment() {
        Some(current) if state.phase.is_preparing() => branches::succession(&state, current, look),
        Some(_) | None => Succession::GoOn,
    };
    match succession {
        Succession::GoOn => stale(state),
        // One that goes on is finished; another would be a new one.
        Succession::TakeOver(_) if pausing::holds(&state, context) => stale(state),
        Succession::TakeOver(candidate) => take_over(state, candidate, &look.observed, context),
        Succession::GiveUp => give_up(state, context),
    }
}

fn at_rest(mut state: State, look: &Look, context: &Context<'_>) -> Step {
    branches::forget_what_is_gone(&mut state, look);
    let decision = branches::decide(&state, look, context);
    match pausing::held_up(&mut state, decision, context) {
        Decision::Rest => Step {
            state,
            effects: Vec::new(),
            stale: false,
        },
        Decision::Arrived => {
            arrive(&mut state, context);
            Step {
                state,
                effects: Vec::new(),
                stale: false,
            }
        }
        Decision::Deploy(candidate, cause) => {
            let mut deployment = deployment(candidate, cause, &look.observed, 0, context);
            deployment.interruptions = interruptions(&state, &deployment);
            if let Demand::Retry { allowed } = &look.demand {
                deployment.cause = Cause::Operator;
                deployment.allowed.clone_from(allowed);
            }
            if !deployment.candidate.is_roots() {
                state.hold = None;
            }
            let phase = first_phase(&state, deployment);
            enter(state, phase, None)
        }
    }
}

/// The host is what it was to become, without us.
fn arrive(state: &mut State, context: &Context<'_>) {
    let held = state.hold.as_mut().and_then(|hold| hold.standing.as_mut());
    let is_held = held.is_some();
    if let Some(arrived) = held.or(state.last.as_mut()) {
        arrived.outcome = Outcome::Deployed;
        arrived.finished = context.now;
        // In this boot: a test ends with the boot that it was made in.
        arrived.deployment.boot_id = context.boot_id.clone();
        if let Some(toplevel) = &arrived.toplevel {
            state.quarantine.lift(toplevel);
        }
    }
    state.known_broken.clear();
    if is_held {
        holding::tell_arrival(state);
        return;
    }
    state.retry = None;
    if let Some(last) = &state.last {
        state.floor = Some(last.deployment.candidate.commit().clone());
        state.proven.add(last, state.resolved.as_ref());
    }
}

/// Gives up a deployment that has touched nothing, for another candidate.
fn take_over(
    state: State,
    candidate: Candidate,
    observed: &Observed,
    context: &Context<'_>,
) -> Step {
    let before = state.phase.deployment().map_or(0, |old| {
        let is_of_same_branch = old.candidate.testing() == candidate.testing();
        old.superseded_before * u32::from(is_of_same_branch)
    });
    let ended = give_up(state, context);
    let cause = Cause::NewCommit;
    let deployment = deployment(candidate, cause, observed, before + 1, context);
    let phase = first_phase(&ended.state, deployment);
    let mut next = enter(ended.state, phase, None);
    next.effects.splice(0..0, ended.effects);
    next
}

/// Gives up a deployment that has touched nothing.
pub(super) fn give_up(mut state: State, context: &Context<'_>) -> Step {
    let unit = state.phase.unit_step();
    let phase = std::mem::take(&mut state.phase);
    let Some(old) = phase.deployment().cloned() else {
        return stale(state);
    };
    let abandon = unit.map(|unit| Effect::Abandon(old.id.clone(), unit));
    finish(state, old, None, Outcome::Superseded, abandon, context)
}

pub(super) fn deployment(
    candidate: Candidate,
    cause: Cause,
    observed: &Observed,
    superseded_before: u32,
    context: &Context<'_>,
) -> Deployment {
    Deployment {
        id: context.fresh_id.clone(),
        candidate,
        cause,
        mode: context.policy.mode,
        settings: context.settings.clone(),
        before: observed.clone(),
        started: context.now,
        boot_id: context.boot_id.clone(),
        interruptions: 0,
        superseded_before,
        reevaluations: 0,
        allowed: BTreeSet::new(),
    }
}

/// How often the candidate's activation ended with the host before: that is no
/// new beginning.
fn interruptions(state: &State, next: &Deployment) -> u32 {
    let (last, _) = state.before(&next.candidate);
    let before = last.filter(|last| {
        last.deployment.candidate == next.candidate
            && matches!(&last.outcome, Outcome::Inconclusive(failure) if failure.code == FailureCode::HostBusy)
    });
    before.map_or(0, |last| last.deployment.interruptions + 1)
}

/// A candidate that was evaluated before is not evaluated again, nor one that
/// was confirmed before built.
pub(super) fn first_phase(state: &State, deployment: Deployment) -> Phase {
    if let Candidate::Earlier { system, .. } = &deployment.candidate {
        let system = system.clone();
        return Phase::Rooting { deployment, system };
    }
    match &state.resolved {
        Some(resolved) if is_of(resolved, &deployment) => Phase::Building {
            derivation: resolved.derivation.clone(),
            deployment,
        },
        Some(_) | None => Phase::Importing { deployment },
    }
}

fn is_of(resolved: &Resolved, deployment: &Deployment) -> bool {
    resolved.candidate.is_same_flake(&deployment.candidate)
        && resolved.configuration == deployment.settings.configuration
}
