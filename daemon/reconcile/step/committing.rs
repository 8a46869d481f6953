//! From a confirmed system to its boot entry, or back: entry, profile, and the
//! running system.

use super::super::effect::Effect;
use super::super::permission::BootPermission;
use super::super::phase::{Activation, AfterDisarm, AfterRestore, Phase, Reboot};
use super::super::recover::{MOST_INTERRUPTIONS, too_often};
use super::super::state::{Context, State, Step};
use super::activating::{disarm, end, overridden_meanwhile, roll_back_where};
use super::{enter, finish::finish};
use crate::model::deployment::{Deployment, Outcome, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Reachability;
use crate::model::stage::{RollbackEnd, UnitStep};
use crate::model::system::{DefaultEntry, Observed};

pub(super) fn setting_profile(
    state: State,
    activation: Activation,
    permission: BootPermission,
    result: Result<(), Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Profile));
    match result {
        Ok(()) => {
            let phase = Phase::WritingBootEntry {
                activation,
                permission,
            };
            enter(state, phase, release)
        }
        Err(failure) => {
            // The entry was not touched yet.
            let reboot = activation.reboot();
            put_back(
                state,
                activation,
                &permission,
                failure,
                reboot,
                release,
                context,
            )
        }
    }
}

pub(super) fn writing_boot_entry(
    state: State,
    activation: Activation,
    permission: BootPermission,
    result: Result<(), Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Boot));
    match result {
        Ok(()) => {
            let phase = Phase::ReadingBack {
                activation,
                permission,
            };
            enter(state, phase, release)
        }
        Err(failure) => {
            let reboot = Reboot::LeadsAstray;
            put_back(
                state,
                activation,
                &permission,
                failure,
                reboot,
                release,
                context,
            )
        }
    }
}

pub(super) fn reading_back(
    mut state: State,
    activation: Activation,
    permission: BootPermission,
    observed: &Observed,
    context: &Context<'_>,
) -> Step {
    let toplevel = &activation.system.toplevel;
    if !observed.boots(toplevel) {
        let failure = mismatch(&activation.system, observed);
        let reboot = Reboot::LeadsAstray;
        return put_back(
            state,
            activation,
            &permission,
            failure,
            reboot,
            None,
            context,
        );
    }
    state.reboot = Reboot::LeadsBack;
    let runs = observed.running.as_ref() == Some(toplevel);
    match permission {
        BootPermission::Confirmed(_) => {
            // Somebody who switched since the verdict is not drift that policy
            // may correct: what was done during a deployment stays.
            let outcome = overridden_meanwhile(&activation, observed)
                .map_or(Outcome::Deployed, Outcome::Overridden);
            disarm(state, activation, AfterDisarm::End(outcome), None)
        }
        BootPermission::BootWithoutTest(proof) => {
            let outcome = if runs {
                Outcome::Deployed
            } else {
                Outcome::RebootRequired {
                    reason: proof.reason().clone(),
                    entry_written: true,
                }
            };
            end(state, activation, outcome, None, context)
        }
    }
}

fn mismatch(system: &System, observed: &Observed) -> Failure {
    let profile = observed
        .profile_toplevel()
        .map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let entry = match &observed.default_entry {
        DefaultEntry::Toplevel(toplevel) => toplevel.to_string(),
        DefaultEntry::Unchecked => "not checked".to_owned(),
        DefaultEntry::Unreadable(why) => format!("unreadable ({why})"),
    };
    Failure::new(
        FailureCode::ReadBackMismatch,
        format!(
            "profile and default boot entry were written and are not what was written: \
             expected {}, found profile {profile}, default entry {entry}",
            system.toplevel
        ),
        "Look at the boot loader's output in the journal and at the file system of /boot.",
    )
}

/// Leads profile and default entry back to what they were, if they were
/// anything, and then the running system, if it was activated. `reboot`: where
/// a reboot leads as long as they are not put back.
fn put_back(
    state: State,
    activation: Activation,
    permission: &BootPermission,
    failure: Failure,
    reboot: Reboot,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    let was_activated = matches!(permission, BootPermission::Confirmed(_));
    let previous = activation.deployment.before.profile.clone();
    match previous.filter(|previous| previous.toplevel != activation.system.toplevel) {
        Some(previous) => {
            let then = if was_activated {
                AfterRestore::RollBack(failure, activation.baseline)
            } else {
                AfterRestore::Fail(failure)
            };
            let phase = Phase::Restoring {
                deployment: activation.deployment,
                system: activation.system,
                previous,
                then,
            };
            enter(state, phase, release)
        }
        // Without a previous generation there is no way back to write.
        None if was_activated => roll_back_where(state, activation, failure, reboot, release),
        None => end(
            state,
            activation,
            Outcome::Failed(failure),
            release,
            context,
        ),
    }
}

pub(super) fn restored(
    mut state: State,
    deployment: Deployment,
    system: System,
    then: AfterRestore,
    result: Result<(), Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Restore));
    state.reboot = leads(state.reboot, &result);
    let failure = match (result, then) {
        (Ok(()), AfterRestore::Repeat) => {
            return enter(state, Phase::Inspecting { deployment, system }, release);
        }
        (result, AfterRestore::RollBack(failure, baseline)) => {
            let (failure, reboot) = match result {
                Ok(()) => (failure, Reboot::LeadsBack),
                Err(also) => (both(failure, &also), Reboot::LeadsAstray),
            };
            let activation = Activation {
                deployment,
                system,
                baseline,
            };
            let phase = Phase::RollingBack {
                activation,
                failure,
                reboot,
            };
            return enter(state, phase, release);
        }
        (Ok(()), AfterRestore::Fail(failure)) | (Err(failure), AfterRestore::Repeat) => failure,
        (Err(also), AfterRestore::Fail(failure)) => both(failure, &also),
    };
    let toplevel = Some(system.toplevel);
    let outcome = Outcome::Failed(failure);
    finish(state, deployment, toplevel, outcome, release, context)
}

/// Where a reboot leads after an attempt to put the entry back. A profile that
/// somebody else set is left alone, and so is what they made of its entry.
fn leads(before: Reboot, result: &Result<(), Failure>) -> Reboot {
    match result {
        Ok(()) => Reboot::LeadsBack,
        Err(failure) if failure.code == FailureCode::Overridden => before,
        Err(_) => Reboot::LeadsAstray,
    }
}

/// One failure after another: the later one says what to do.
fn both(failure: Failure, also: &Failure) -> Failure {
    Failure {
        message: format!("{}; and {}", failure.message, also.message),
        hint: also.hint.clone(),
        ..failure.with_more(&also.detail)
    }
}

/// The same after a rollback, whose own hint is a reboot: not where that leads
/// astray.
fn both_after(reboot: Reboot, failure: Failure, also: &Failure) -> Failure {
    let hint = failure.hint.clone();
    let both = both(failure, also);
    match reboot {
        Reboot::LeadsBack => both,
        Reboot::LeadsAstray => Failure { hint, ..both },
    }
}

/// The way back came to its end.
pub(super) fn rolled_back(
    mut state: State,
    activation: Activation,
    failure: Failure,
    way_back: RollbackEnd,
    context: &Context<'_>,
) -> Step {
    let failure = unless_too_often(&activation.deployment, failure);
    let mut dismiss = Some(Effect::Dismiss(activation.deployment.id.clone()));
    let outcome = match way_back {
        RollbackEnd::RolledBack { remote } if is_nobodys_fault(&failure, &remote) => {
            Outcome::Inconclusive(failure)
        }
        RollbackEnd::RolledBack { .. } => Outcome::RolledBack(failure),
        RollbackEnd::Failed {
            failure: also,
            failed_units,
        } => {
            state.known_broken.extend(failed_units);
            Outcome::RollbackFailed(both_after(state.reboot, failure, &also))
        }
        RollbackEnd::Pending(also) => {
            // The host is on a system that nobody has confirmed: what is armed
            // is all that may still lead back.
            dismiss = None;
            Outcome::RollbackFailed(both_after(state.reboot, failure, &also))
        }
        RollbackEnd::Overridden(failure) => Outcome::Overridden(failure),
    };
    end(state, activation, outcome, dismiss, context)
}

/// Whether the commit is not to blame: the host was going down, nothing was
/// activated, or the remote is as silent for the previous system.
fn is_nobodys_fault(failure: &Failure, remote: &Reachability) -> bool {
    let is_silent = matches!(remote, Reachability::Unreachable(_));
    let is_hosts = matches!(
        failure.code,
        FailureCode::HostBusy | FailureCode::GuardianNotArmed
    );
    is_hosts || (failure.code == FailureCode::RemoteLost && is_silent)
}

/// A host that goes down in the middle of an activation may do so because of
/// it: tried once more after the boot, and then not again.
fn unless_too_often(deployment: &Deployment, failure: Failure) -> Failure {
    let goes_down = failure.code == FailureCode::HostBusy;
    if goes_down && deployment.interruptions >= MOST_INTERRUPTIONS {
        too_often()
    } else {
        failure
    }
}
