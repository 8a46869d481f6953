//! Where to go on after a crash, a restart, or a reboot.
//!
//! In: the ledger's state, what the host is now, and what the guardian left.
//! Out: the state to go on
//! from and the effects that are due. Must not: trust memory over the world.
//!
//! Within the same boot every phase takes up its own work again: the work is
//! adopting, so what still runs is waited for and what ended is read. After a
//! reboot no unit of ours is left, and the world says how far it came.

use super::effect::Effect;
use super::permission::BootPermission;
use super::phase::{AfterDisarm, AfterRestore, Phase, Reboot};
use super::quarantine::Quarantined;
use super::state::{Context, State, Step};
use super::step::{finish, guardian_fired};
use crate::model::deployment::{Deployment, Finished, Outcome, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Baseline;
use crate::model::rollback::{RollbackRecord, RollbackStage, Verdict};
use crate::model::system::Observed;

/// How often a deployment is taken up again after a reboot in its middle.
pub(super) const MOST_INTERRUPTIONS: u32 = 1;

/// What is found besides the ledger.
#[derive(Clone, Debug)]
pub struct World {
    /// What the host is.
    pub observed: Observed,
    /// Who decided about the deployment that is going on, if anybody has.
    pub verdict: Option<Verdict>,
    /// What the guardian did last, in this boot or before.
    pub record: Option<RollbackRecord>,
}

/// Finds where to go on.
pub fn recover(mut state: State, world: &World, context: &Context<'_>) -> Step {
    // First: what ends below knows nothing of what came before it.
    remember(&mut state, world);
    let rebooted = state
        .phase
        .deployment()
        .is_some_and(|deployment| deployment.boot_id != context.boot_id);
    let last = state.last.as_ref().map(|last| &last.deployment.boot_id);
    if last.is_some_and(|last| *last != context.boot_id) {
        // The reboot brought the system before back, and its units with it.
        state.known_broken.clear();
    }
    if rebooted {
        let phase = std::mem::take(&mut state.phase);
        state = after_reboot(state, phase, world, context);
    } else if world.verdict == Some(Verdict::RollBack) {
        state.phase = obeying(state.phase);
    }
    let work = state.work().map(|(id, work)| Effect::Work(id, work));
    Step {
        state,
        effects: work.into_iter().collect(),
        stale: false,
    }
}

/// The guardian was first: whatever its deployment was at, it goes back.
fn obeying(phase: Phase) -> Phase {
    match phase {
        Phase::Arming { deployment, system } => going_back(deployment, system, Baseline::default()),
        Phase::Testing {
            deployment,
            system,
            baseline,
        }
        | Phase::Replacing {
            deployment,
            system,
            baseline,
        }
        | Phase::Confirming {
            deployment,
            system,
            baseline,
        }
        | Phase::Claiming {
            deployment,
            system,
            baseline,
        }
        | Phase::Disarming {
            deployment,
            system,
            baseline,
            ..
        } => going_back(deployment, system, baseline),
        // It obeys already; or the verdict was ours, and this is the way back
        // that it began; or nothing is guarded.
        other @ (Phase::Resting
        | Phase::Importing { .. }
        | Phase::Evaluating { .. }
        | Phase::Building { .. }
        | Phase::Rooting { .. }
        | Phase::Inspecting { .. }
        | Phase::Checking { .. }
        | Phase::SettingProfile { .. }
        | Phase::WritingBootEntry { .. }
        | Phase::ReadingBack { .. }
        | Phase::Restoring { .. }
        | Phase::RollingBack { .. }) => other,
    }
}

fn going_back(deployment: Deployment, system: System, baseline: Baseline) -> Phase {
    Phase::RollingBack {
        deployment,
        system,
        failure: guardian_fired(),
        baseline,
        reboot: Reboot::LeadsBack,
    }
}

/// A rollback that the ledger knows nothing of (it was lost, or written by a
/// daemon that this one cannot read) still counts against its toplevel.
fn remember(state: &mut State, world: &World) {
    let Some(record) = &world.record else { return };
    let last = state.last.as_ref().map(|last| &last.deployment);
    // A deployment that began later was begun by a daemon that had read it, and
    // a ledger that was written later has learnt better, too: what is not in
    // quarantine then, was lifted from it.
    let is_known = [state.phase.deployment(), last]
        .into_iter()
        .flatten()
        .any(|known| known.id == record.deployment || known.started.wall > record.at);
    let is_older = |last: &Finished| last.finished.wall >= record.at;
    let is_known = is_known || state.last.as_ref().is_some_and(is_older);
    let is_left_alone = matches!(record.stage, RollbackStage::Overridden { .. });
    let stands = world.observed.is_all(&record.candidate);
    if is_known || is_left_alone || stands || state.quarantine.contains(&record.candidate) {
        return;
    }
    state.quarantine.add(Quarantined {
        toplevel: record.candidate.clone(),
        commit: record.commit.clone(),
        failure: guardian_fired(),
        since: record.at,
        refused_under: None,
    });
}

fn after_reboot(mut state: State, phase: Phase, world: &World, context: &Context<'_>) -> State {
    let observed = &world.observed;
    let here = |mut deployment: Deployment| {
        deployment.boot_id = context.boot_id.clone();
        deployment
    };
    state.phase = match phase {
        Phase::Resting => Phase::Resting,
        // Nothing was touched: the same work once more, on the host as it is.
        Phase::Importing { deployment } => Phase::Importing {
            deployment: afresh(here(deployment), observed),
        },
        Phase::Evaluating { deployment } => Phase::Evaluating {
            deployment: afresh(here(deployment), observed),
        },
        Phase::Building {
            deployment,
            derivation,
        } => Phase::Building {
            deployment: afresh(here(deployment), observed),
            derivation,
        },
        Phase::Rooting { deployment, system } => Phase::Rooting {
            deployment: afresh(here(deployment), observed),
            system,
        },
        Phase::Inspecting { deployment, system } => Phase::Inspecting {
            deployment: afresh(here(deployment), observed),
            system,
        },
        // Armed and not activated: the timer is gone with the boot.
        Phase::Arming { deployment, system } => Phase::Inspecting {
            deployment: afresh(here(deployment), observed),
            system,
        },
        // The commit's own programs run as root: it may have been they who took
        // the host down.
        Phase::Checking {
            deployment, system, ..
        } => return interrupted(state, here(deployment), system, observed, context),
        Phase::Testing {
            deployment, system, ..
        }
        | Phase::Replacing {
            deployment, system, ..
        }
        | Phase::Confirming {
            deployment, system, ..
        }
        | Phase::Claiming {
            deployment, system, ..
        } => {
            return match rebooted_by_guardian(world, &deployment) {
                Some(why) => {
                    let failure = guardian_fired().with_more(&why);
                    led_back(state, deployment, system, failure, context)
                }
                None => interrupted(state, here(deployment), system, observed, context),
            };
        }
        // The entry that could not be put back was booted: back from there.
        Phase::RollingBack {
            deployment,
            system,
            failure,
            baseline,
            reboot,
        } if observed.running.as_ref() == Some(&system.toplevel) => {
            back_from_its_entry(here(deployment), system, failure, baseline, reboot)
        }
        // Whoever took the host down: it is back where it was to be led.
        Phase::RollingBack {
            deployment,
            system,
            failure,
            ..
        } => {
            let failure = match rebooted_by_guardian(world, &deployment) {
                Some(why) => failure.with_more(&why),
                None => failure,
            };
            return led_back(state, deployment, system, failure, context);
        }
        // The guardian is gone with the boot: there is nothing left to disarm.
        Phase::Disarming {
            deployment,
            system,
            then,
            ..
        } => return without_guardian(state, here(deployment), system, then, context),
        Phase::SettingProfile {
            deployment,
            system,
            permission,
            ..
        }
        | Phase::WritingBootEntry {
            deployment,
            system,
            permission,
            ..
        }
        | Phase::ReadingBack {
            deployment,
            system,
            permission,
            ..
        } => {
            return half_committed(
                state,
                here(deployment),
                system,
                permission,
                observed,
                context,
            );
        }
        Phase::Restoring {
            deployment,
            system,
            previous,
            then,
        } => Phase::Restoring {
            deployment: here(deployment),
            system,
            previous,
            then,
        },
    };
    state
}

/// Why the guardian rebooted the host, if it was the guardian: it records
/// that, and syncs it, before it does.
fn rebooted_by_guardian(world: &World, deployment: &Deployment) -> Option<String> {
    let record = world.record.as_ref()?;
    if record.deployment != deployment.id {
        return None;
    }
    match &record.stage {
        RollbackStage::Rebooting { why } | RollbackStage::Failed { why, .. } => Some(why.clone()),
        RollbackStage::RollingBack => Some("the host went down while it was led back".to_owned()),
        RollbackStage::RolledBack | RollbackStage::Overridden { .. } => Some(String::new()),
    }
}

/// A reboot led back to the previous system.
fn led_back(
    state: State,
    deployment: Deployment,
    system: System,
    failure: Failure,
    context: &Context<'_>,
) -> State {
    let outcome = Outcome::RolledBackByReboot(failure);
    let toplevel = Some(system.toplevel);
    finish(state, deployment, toplevel, outcome, None, context).state
}

/// The host came up in the very system that it is led back from: profile and
/// entry first, for until then a reboot leads astray.
fn back_from_its_entry(
    deployment: Deployment,
    system: System,
    failure: Failure,
    baseline: Baseline,
    reboot: Reboot,
) -> Phase {
    let previous = deployment.before.profile.clone();
    match previous.filter(|previous| previous.toplevel != system.toplevel) {
        Some(previous) => Phase::Restoring {
            deployment,
            system,
            previous,
            then: AfterRestore::RollBack(failure, baseline),
        },
        None => Phase::RollingBack {
            deployment,
            system,
            failure,
            baseline,
            reboot,
        },
    }
}

fn without_guardian(
    mut state: State,
    deployment: Deployment,
    system: System,
    then: AfterDisarm,
    context: &Context<'_>,
) -> State {
    match then {
        AfterDisarm::End(outcome) => {
            let toplevel = Some(system.toplevel);
            finish(state, deployment, toplevel, outcome, None, context).state
        }
        AfterDisarm::Write(permission) => {
            state.phase = Phase::SettingProfile {
                deployment,
                system,
                permission,
                baseline: Baseline::default(),
            };
            state
        }
    }
}

/// The deployment starts from what the host is now.
fn afresh(mut deployment: Deployment, observed: &Observed) -> Deployment {
    deployment.before = observed.clone();
    deployment
}

/// The host went down before anything was written: it came up in the system
/// before. Once more from the inspection on, but not for ever.
fn interrupted(
    mut state: State,
    mut deployment: Deployment,
    system: System,
    observed: &Observed,
    context: &Context<'_>,
) -> State {
    deployment.interruptions += 1;
    if deployment.interruptions > MOST_INTERRUPTIONS {
        return give_up(state, deployment, system, context);
    }
    state.phase = Phase::Inspecting {
        deployment: afresh(deployment, observed),
        system,
    };
    state
}

/// The host went down while profile and entry were written.
///
/// If it came up in the new system, or was to be written without a test, the
/// writing is finished. Otherwise the profile goes back first: a profile that
/// does not run and was not booted is nobody's system.
fn half_committed(
    mut state: State,
    mut deployment: Deployment,
    system: System,
    permission: BootPermission,
    observed: &Observed,
    context: &Context<'_>,
) -> State {
    let runs = observed.running.as_ref() == Some(&system.toplevel);
    let untested = matches!(permission, BootPermission::BootWithoutTest(_));
    if runs || untested {
        // No guardian is armed any more, and none is needed: the host came up in
        // this system, or never ran it.
        state.phase = Phase::SettingProfile {
            deployment,
            system,
            permission,
            baseline: Baseline::default(),
        };
        return state;
    }
    deployment.interruptions += 1;
    let previous = deployment.before.profile.clone();
    let moved = observed.profile_toplevel() == Some(&system.toplevel);
    match previous.filter(|previous| moved && previous.toplevel != system.toplevel) {
        Some(previous) => {
            let then = if deployment.interruptions > MOST_INTERRUPTIONS {
                AfterRestore::Fail(too_often())
            } else {
                AfterRestore::Repeat
            };
            deployment.before.running = observed.running.clone();
            state.phase = Phase::Restoring {
                deployment,
                system,
                previous,
                then,
            };
            state
        }
        None if deployment.interruptions > MOST_INTERRUPTIONS => {
            give_up(state, deployment, system, context)
        }
        None => {
            state.phase = Phase::Inspecting {
                deployment: afresh(deployment, observed),
                system,
            };
            state
        }
    }
}

fn give_up(state: State, deployment: Deployment, system: System, context: &Context<'_>) -> State {
    let outcome = Outcome::Failed(too_often());
    let toplevel = Some(system.toplevel);
    finish(state, deployment, toplevel, outcome, None, context).state
}

pub(super) fn too_often() -> Failure {
    Failure::new(
        FailureCode::Interrupted,
        "the host went down in the middle of the same activation twice",
        "Find out why it went down (the end of the journal of the boots before); \
         the next new commit is tried again.",
    )
}

#[cfg(test)]
mod tests;
