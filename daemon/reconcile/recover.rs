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
use super::phase::{Activation, AfterDisarm, AfterRestore, Phase, Reboot};
use super::quarantine::Quarantined;
use super::state::{Context, State, Step};
use super::step::{end, finish, guardian_fired};
use super::{holding, select};
use crate::model::deployment::{Deployment, Finished, Outcome, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Baseline;
use crate::model::policy::Mode;
use crate::model::rollback::{RollbackRecord, RollbackStage, Verdict};
use crate::model::system::{DefaultEntry, Observed, ProfileEntry};

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
    let was_earlier = last.is_some_and(|last| *last != context.boot_id);
    if was_earlier {
        // The reboot brought the system before back, and its units with it.
        state.known_broken.clear();
    }
    if (rebooted || was_earlier) && world.observed.default_entry == DefaultEntry::Unchecked {
        // Nobody reads the entry; that the host came up is all there is.
        state.reboot = Reboot::LeadsBack;
    }
    if state.phase == Phase::Resting {
        state.learn_entry(&world.observed);
    }
    if rebooted {
        let phase = std::mem::take(&mut state.phase);
        state = after_reboot(state, phase, world, context);
    } else if world.verdict == Some(Verdict::RollBack) {
        state.phase = obeying(state.phase);
    }
    if state.phase == Phase::Resting
        && let Some(last) = &mut state.last
    {
        end_test(last, world, context);
    }
    leave_testing(&mut state, context);
    holding::end_with_boot(&mut state, &world.observed, context);
    if let Phase::RollingBack { reboot, .. } = state.phase
        && reboot == Reboot::LeadsAstray
    {
        state.reboot = Reboot::LeadsAstray;
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
    let activation = match phase {
        Phase::Arming { deployment, system } => {
            return Phase::RollingBack {
                activation: Activation {
                    deployment,
                    system,
                    baseline: Baseline::default(),
                },
                failure: fired_early(),
                reboot: Reboot::LeadsBack,
            };
        }
        Phase::Testing(activation)
        | Phase::Replacing(activation)
        | Phase::Confirming(activation)
        | Phase::Claiming(activation)
        | Phase::Disarming { activation, .. } => activation,
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
        | Phase::RollingBack { .. }) => return other,
    };
    Phase::RollingBack {
        reboot: activation.reboot(),
        activation,
        failure: guardian_fired(),
    }
}

/// The guardian's time came before anything was activated: the commit is not
/// to blame.
fn fired_early() -> Failure {
    Failure::new(
        FailureCode::GuardianNotArmed,
        "the guardian's deadline came before the system was activated",
        "See why the daemon stood still around that time; it is tried again later.",
    )
}

/// A rollback that the ledger knows nothing of (it was lost, or written by a
/// daemon that this one cannot read) still counts against its toplevel.
fn remember(state: &mut State, world: &World) {
    let Some(record) = &world.record else { return };
    adopt(state, record, &world.observed);
    let last = state.last.as_ref().map(|last| &last.deployment);
    let reverted = state.reverted.as_ref().map(|it| &it.deployment);
    // A deployment that began later was begun by a daemon that had read it, and
    // a ledger that was written later has learnt better, too: what is not in
    // quarantine then, was lifted from it.
    let is_known = [state.phase.deployment(), last, reverted]
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

/// A guardian that could not be started has led back later, at its deadline:
/// the way back has not failed.
fn adopt(state: &mut State, record: &RollbackRecord, observed: &Observed) {
    let Some(last) = &mut state.last else { return };
    let Outcome::RollbackFailed(failure) = &last.outcome else {
        return;
    };
    let is_back = observed.running.as_ref() == Some(&record.previous);
    if last.deployment.id != record.deployment || !is_back {
        return;
    }
    let back = || Failure {
        hint: "Nothing has to be done about the way back: the guardian led back at its deadline. \
               Read why the deployment failed."
            .to_owned(),
        ..failure.clone()
    };
    let outcome = match &record.stage {
        RollbackStage::RolledBack => Outcome::RolledBack(back()),
        // Recorded before it reboots; that it did, another boot says.
        RollbackStage::Rebooting { .. } if observed.boot_id != record.boot_id => {
            Outcome::RolledBackByReboot(back())
        }
        RollbackStage::RollingBack
        | RollbackStage::Rebooting { .. }
        | RollbackStage::Failed { .. }
        | RollbackStage::Overridden { .. } => return,
    };
    last.outcome = outcome;
}

/// A reboot takes away what was only tested, and that is no drift.
fn end_test(last: &mut Finished, world: &World, context: &Context<'_>) {
    let is_tested = matches!(last.outcome, Outcome::Deployed | Outcome::Unchanged)
        && last.deployment.aim() == Mode::Test;
    let is_gone = select::drift(last, &world.observed).is_some();
    if is_tested && is_gone && last.deployment.boot_id != context.boot_id {
        last.outcome = Outcome::RolledBackByReboot(test_ended());
        last.finished = context.now;
    }
}

/// After a reboot the host is its own branch's, whatever was tested before.
fn leave_testing(state: &mut State, context: &Context<'_>) {
    let tested = &mut state.tested;
    let is_over = |standing: &Finished| standing.deployment.boot_id != context.boot_id;
    let Some(standing) = tested.standing.take_if(|standing| is_over(standing)) else {
        return;
    };
    if let Some(tried) = &mut tested.tried
        && tried.deployment.id == standing.deployment.id
    {
        tried.outcome = Outcome::RolledBackByReboot(test_ended());
        tried.finished = context.now;
        tested.is_latest = true;
    }
}

pub(super) fn test_ended() -> Failure {
    Failure::new(
        FailureCode::TestEnded,
        "it was only tested, and a reboot led back to the system of the boot entry",
        "Push a commit, or run `deploy-flake retry` to have it tested again.",
    )
}

fn after_reboot(mut state: State, phase: Phase, world: &World, context: &Context<'_>) -> State {
    let observed = &world.observed;
    let here = |mut deployment: Deployment| {
        deployment.boot_id = context.boot_id.clone();
        deployment
    };
    let resumed = |mut activation: Activation| {
        activation.deployment.boot_id = context.boot_id.clone();
        activation
    };
    if let (Some(failure), Some(system)) = (overridden(world, &phase), phase.system().cloned())
        && let Some(deployment) = phase.deployment().cloned()
    {
        let outcome = Outcome::Overridden(failure);
        let toplevel = Some(system.toplevel);
        return finish(state, here(deployment), toplevel, outcome, None, context).state;
    }
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
        Phase::Testing(activation)
        | Phase::Replacing(activation)
        | Phase::Confirming(activation)
        | Phase::Claiming(activation) => {
            return match rebooted_by_guardian(world, &activation.deployment) {
                // The default entry was this system's before it was tested.
                Some(why) if observed.running.as_ref() == Some(&activation.system.toplevel) => {
                    let failure = guardian_fired().with_more(&why);
                    state.phase = back_from_its_entry(resumed(activation), failure);
                    state
                }
                Some(why) => led_back(state, activation, guardian_fired().with_more(&why), context),
                None if activation.deployment.aim() == Mode::Test => {
                    led_back(state, activation, test_ended(), context)
                }
                None => {
                    let Activation {
                        deployment, system, ..
                    } = resumed(activation);
                    interrupted(state, deployment, system, observed, context)
                }
            };
        }
        // The entry that could not be put back was booted: back from there.
        Phase::RollingBack {
            activation,
            failure,
            ..
        } if observed.running.as_ref() == Some(&activation.system.toplevel) => {
            back_from_its_entry(resumed(activation), failure)
        }
        // Whoever took the host down: it is back where it was to be led.
        Phase::RollingBack {
            activation,
            failure,
            ..
        } => {
            let failure = match rebooted_by_guardian(world, &activation.deployment) {
                Some(why) => failure.with_more(&why),
                None => failure,
            };
            return led_back(state, activation, failure, context);
        }
        // The guardian is gone with the boot: there is nothing left to disarm.
        Phase::Disarming {
            activation,
            then: AfterDisarm::End(Outcome::Deployed),
        } if activation.deployment.aim() == Mode::Test => {
            return led_back(state, activation, test_ended(), context);
        }
        Phase::Disarming { activation, then } => {
            return without_guardian(state, resumed(activation), then, context);
        }
        Phase::SettingProfile {
            activation,
            permission,
        }
        | Phase::WritingBootEntry {
            activation,
            permission,
        }
        | Phase::ReadingBack {
            activation,
            permission,
        } => {
            return half_committed(state, resumed(activation), permission, observed, context);
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

/// Why the guardian left the host alone, if it did: somebody had switched it,
/// and rebooted it since. What was booted is theirs, too.
fn overridden(world: &World, phase: &Phase) -> Option<Failure> {
    let record = world.record.as_ref()?;
    let id = phase.deployment().map(|deployment| &deployment.id);
    if !phase.is_guarded() || id != Some(&record.deployment) {
        return None;
    }
    match &record.stage {
        RollbackStage::Overridden { running } => {
            let running = running.as_ref();
            let running = running.map_or_else(|| "another".to_owned(), ToString::to_string);
            Some(Failure::new(
                FailureCode::Overridden,
                format!(
                    "somebody switched the host to {running}, so it was not led back, and has \
                     been rebooted since"
                ),
                "Nothing has to be done: the next new commit is deployed.",
            ))
        }
        RollbackStage::RollingBack
        | RollbackStage::RolledBack
        | RollbackStage::Failed { .. }
        | RollbackStage::Rebooting { .. } => None,
    }
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
        RollbackStage::RolledBack => Some(String::new()),
        RollbackStage::Overridden { .. } => None,
    }
}

/// A reboot led back to the previous system.
fn led_back(
    state: State,
    activation: Activation,
    failure: Failure,
    context: &Context<'_>,
) -> State {
    let outcome = Outcome::RolledBackByReboot(failure);
    end(state, activation, outcome, None, context).state
}

/// The host came up in the very system that it is led back from: profile and
/// entry first, for until then a reboot leads astray, as the last one did.
fn back_from_its_entry(activation: Activation, failure: Failure) -> Phase {
    match other_profile(&activation) {
        Some(previous) => Phase::Restoring {
            deployment: activation.deployment,
            system: activation.system,
            previous,
            then: AfterRestore::RollBack(failure, activation.baseline),
        },
        None => Phase::RollingBack {
            activation,
            failure,
            reboot: Reboot::LeadsAstray,
        },
    }
}

/// What the profile was before, if it was another system.
fn other_profile(activation: &Activation) -> Option<ProfileEntry> {
    let previous = activation.deployment.before.profile.clone();
    previous.filter(|previous| previous.toplevel != activation.system.toplevel)
}

fn without_guardian(
    mut state: State,
    activation: Activation,
    then: AfterDisarm,
    context: &Context<'_>,
) -> State {
    match then {
        AfterDisarm::End(outcome) => end(state, activation, outcome, None, context).state,
        AfterDisarm::Write(permission) => {
            state.phase = Phase::SettingProfile {
                activation: unguarded(activation),
                permission,
            };
            state
        }
    }
}

/// No guardian is armed for it any more, and none is needed.
fn unguarded(activation: Activation) -> Activation {
    Activation {
        baseline: Baseline::default(),
        ..activation
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
    mut activation: Activation,
    permission: BootPermission,
    observed: &Observed,
    context: &Context<'_>,
) -> State {
    let runs = observed.running.as_ref() == Some(&activation.system.toplevel);
    let untested = matches!(permission, BootPermission::BootWithoutTest(_));
    if runs || untested {
        state.phase = Phase::SettingProfile {
            activation: unguarded(activation),
            permission,
        };
        return state;
    }
    let moved = observed.profile_toplevel() == Some(&activation.system.toplevel);
    let Some(previous) = other_profile(&activation).filter(|_| moved) else {
        let Activation {
            deployment, system, ..
        } = activation;
        return interrupted(state, deployment, system, observed, context);
    };
    activation.deployment.interruptions += 1;
    activation
        .deployment
        .before
        .running
        .clone_from(&observed.running);
    let then = if activation.deployment.interruptions > MOST_INTERRUPTIONS {
        AfterRestore::Fail(too_often())
    } else {
        AfterRestore::Repeat
    };
    state.phase = Phase::Restoring {
        deployment: activation.deployment,
        system: activation.system,
        previous,
        then,
    };
    state
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
