//! From a rooted toplevel to a running system that was seen healthy.

use std::collections::BTreeSet;

use super::super::permission::{BootPermission, BootWithoutTest, Confirmed};
use super::super::recover::{MOST_INTERRUPTIONS, too_often};
use super::super::state::{Context, Effect, Phase, State, Step, Way};
use super::{enter, finish::finish};
use crate::model::deployment::{Deployment, Outcome, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::stage::{Confirmation, Inspection, TestFailure, UnitStep};
use crate::model::system::{Observed, Toplevel};

pub(super) fn inspecting(
    state: State,
    deployment: Deployment,
    system: System,
    result: Result<Inspection, Failure>,
    context: &Context<'_>,
) -> Step {
    let inspection = match result {
        Ok(inspection) => inspection,
        Err(failure) => {
            let outcome = Outcome::Refused(failure);
            return end(state, deployment, system, outcome, None, context);
        }
    };
    if let Some(failure) = override_by(&deployment, &system, &inspection.observed) {
        let outcome = Outcome::Overridden(failure);
        return end(state, deployment, system, outcome, None, context);
    }
    let way = match inspection.reboot_required {
        None => Way::Test,
        Some(reason) => {
            match BootWithoutTest::by_policy(context.policy.on_reboot_required, reason) {
                Ok(proof) => Way::Boot(BootPermission::BootWithoutTest(proof)),
                Err(reason) => {
                    return needs_reboot(state, deployment, system, reason, None, context);
                }
            }
        }
    };
    let phase = Phase::Checking {
        deployment,
        system,
        way,
    };
    enter(state, phase, None)
}

/// Somebody activated another system since the deployment began, or set the
/// profile to one: theirs stays.
fn override_by(deployment: &Deployment, system: &System, observed: &Observed) -> Option<Failure> {
    let before = &deployment.before;
    let profiles = (before.profile_toplevel(), observed.profile_toplevel());
    let running = (before.running.as_ref(), observed.running.as_ref());
    let is_theirs = |(before, now)| now != before && now != Some(&system.toplevel);
    let (what, (before, now)) = if is_theirs(running) {
        ("running system", running)
    } else if is_theirs(profiles) {
        ("profile", profiles)
    } else {
        return None;
    };
    Some(Failure::new(
        FailureCode::Overridden,
        format!(
            "the {what} changed while the deployment was prepared: expected {}, found {}",
            name(before),
            name(now),
        ),
        "What was set by hand stays until the next new commit.",
    ))
}

fn name(toplevel: Option<&Toplevel>) -> String {
    toplevel.map_or_else(|| "none".to_owned(), ToString::to_string)
}

pub(super) fn checking(
    state: State,
    deployment: Deployment,
    system: System,
    way: Way,
    result: Result<Observed, Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Check));
    // The checks may take minutes, and what follows changes the host.
    let outcome = match result {
        Ok(observed) => override_by(&deployment, &system, &observed).map(Outcome::Overridden),
        Err(failure) => Some(Outcome::Refused(failure)),
    };
    if let Some(outcome) = outcome {
        return end(state, deployment, system, outcome, release, context);
    }
    let phase = match way {
        Way::Test => Phase::Testing { deployment, system },
        Way::Boot(permission) => Phase::SettingProfile {
            deployment,
            system,
            permission,
        },
    };
    enter(state, phase, release)
}

pub(super) fn testing(
    state: State,
    deployment: Deployment,
    system: System,
    result: Result<(), TestFailure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Test));
    match result {
        Ok(()) => enter(state, Phase::Confirming { deployment, system }, release),
        Err(TestFailure::Untouched(failure)) => {
            let outcome = Outcome::Refused(failure);
            end(state, deployment, system, outcome, release, context)
        }
        Err(TestFailure::RebootRequired(reason)) => {
            let policy = context.policy.on_reboot_required;
            match BootWithoutTest::by_policy(policy, reason) {
                Ok(proof) => {
                    let phase = Phase::SettingProfile {
                        deployment,
                        system,
                        permission: BootPermission::BootWithoutTest(proof),
                    };
                    enter(state, phase, release)
                }
                Err(reason) => needs_reboot(state, deployment, system, reason, release, context),
            }
        }
        Err(TestFailure::Touched {
            failure,
            failed_units,
        }) => broke(
            state,
            deployment,
            system,
            failure,
            failed_units,
            release,
            context,
        ),
    }
}

pub(super) fn confirming(
    state: State,
    deployment: Deployment,
    system: System,
    confirmation: Confirmation,
    context: &Context<'_>,
) -> Step {
    match confirmation {
        Confirmation::Healthy => {
            let phase = Phase::SettingProfile {
                deployment,
                system,
                permission: BootPermission::Confirmed(Confirmed::seen_healthy()),
            };
            enter(state, phase, None)
        }
        Confirmation::Unhealthy {
            failure,
            failed_units,
        } => broke(
            state,
            deployment,
            system,
            failure,
            failed_units,
            None,
            context,
        ),
        Confirmation::Overridden(failure) => {
            let outcome = Outcome::Overridden(failure);
            end(state, deployment, system, outcome, None, context)
        }
        Confirmation::Unknown(failure) => {
            let outcome = Outcome::Failed(unless_too_often(&deployment, failure));
            end(state, deployment, system, outcome, None, context)
        }
    }
}

/// The activation left the host worse; the units it broke are remembered, so
/// that a fix is not refused because of them.
fn broke(
    mut state: State,
    deployment: Deployment,
    system: System,
    failure: Failure,
    failed_units: BTreeSet<String>,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    state.known_broken.extend(failed_units);
    let outcome = Outcome::Failed(unless_too_often(&deployment, failure));
    end(state, deployment, system, outcome, release, context)
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

fn needs_reboot(
    state: State,
    deployment: Deployment,
    system: System,
    reason: Failure,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    let outcome = Outcome::RebootRequired {
        reason,
        entry_written: false,
    };
    end(state, deployment, system, outcome, release, context)
}

fn end(
    state: State,
    deployment: Deployment,
    system: System,
    outcome: Outcome,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    let toplevel = Some(system.toplevel);
    finish(state, deployment, toplevel, outcome, release, context)
}
