//! From a confirmed system to its boot entry, or back to the entry before.

use super::super::permission::BootPermission;
use super::super::state::{AfterRestore, Context, Effect, Phase, State, Step};
use super::{enter, finish::finish};
use crate::model::deployment::{Deployment, Outcome, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::stage::UnitStep;
use crate::model::system::{DefaultEntry, Observed};

pub(super) fn setting_profile(
    state: State,
    deployment: Deployment,
    system: System,
    permission: BootPermission,
    result: Result<(), Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Profile));
    match result {
        Ok(()) => {
            let phase = Phase::WritingBootEntry {
                deployment,
                system,
                permission,
            };
            enter(state, phase, release)
        }
        Err(failure) => put_back(state, deployment, system, failure, release, context),
    }
}

pub(super) fn writing_boot_entry(
    state: State,
    deployment: Deployment,
    system: System,
    permission: BootPermission,
    result: Result<(), Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Boot));
    match result {
        Ok(()) => {
            let phase = Phase::ReadingBack {
                deployment,
                system,
                permission,
            };
            enter(state, phase, release)
        }
        Err(failure) => put_back(state, deployment, system, failure, release, context),
    }
}

pub(super) fn reading_back(
    state: State,
    deployment: Deployment,
    system: System,
    permission: BootPermission,
    observed: &Observed,
    context: &Context<'_>,
) -> Step {
    if !observed.boots(&system.toplevel) {
        let failure = mismatch(&system, observed);
        return put_back(state, deployment, system, failure, None, context);
    }
    let runs = observed.running.as_ref() == Some(&system.toplevel);
    let outcome = match permission {
        BootPermission::BootWithoutTest(proof) if !runs => Outcome::RebootRequired {
            reason: proof.reason().clone(),
            entry_written: true,
        },
        BootPermission::BootWithoutTest(_) | BootPermission::Confirmed(_) => Outcome::Deployed,
    };
    let toplevel = Some(system.toplevel);
    finish(state, deployment, toplevel, outcome, None, context)
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
/// anything; without a previous generation there is no way back to write.
fn put_back(
    state: State,
    deployment: Deployment,
    system: System,
    failure: Failure,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    match deployment.before.profile.clone() {
        Some(previous) if previous.toplevel != system.toplevel => {
            let phase = Phase::Restoring {
                deployment,
                system,
                previous,
                then: AfterRestore::Fail(failure),
            };
            enter(state, phase, release)
        }
        Some(_) | None => {
            let outcome = Outcome::Failed(failure);
            let toplevel = Some(system.toplevel);
            finish(state, deployment, toplevel, outcome, release, context)
        }
    }
}

pub(super) fn restored(
    state: State,
    deployment: Deployment,
    system: System,
    then: AfterRestore,
    result: Result<(), Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Restore));
    let failure = match (result, then) {
        (Ok(()), AfterRestore::Repeat) => {
            return enter(state, Phase::Inspecting { deployment, system }, release);
        }
        (Ok(()), AfterRestore::Fail(failure)) | (Err(failure), AfterRestore::Repeat) => failure,
        (Err(also), AfterRestore::Fail(failure)) => Failure {
            message: format!("{}; and {}", failure.message, also.message),
            hint: also.hint,
            ..failure.with_more(&also.detail)
        },
    };
    let toplevel = Some(system.toplevel);
    finish(
        state,
        deployment,
        toplevel,
        Outcome::Failed(failure),
        release,
        context,
    )
}
