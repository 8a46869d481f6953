//! From an armed way back to a system that ran, was seen healthy, and was
//! claimed before the guardian acted.
//!
//! In: how arming, `test`, the daemon's replacement, the confirm window and
//! the claim ended. Out: the boot entry's permission, or the way back. Must
//! not: end a deployment while the guardian is armed.

use super::super::effect::Effect;
use super::super::permission::{BootPermission, BootWithoutTest, Confirmed};
use super::super::phase::{Activation, AfterDisarm, Phase, Reboot};
use super::super::state::{Context, State, Step};
use super::checking::override_by;
use super::{enter, finish::finish};
use crate::model::deployment::{Deployment, Outcome, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::rollback::Verdict;
use crate::model::stage::{Armed, Claim, Confirmation, TestFailure, UnitStep};
use crate::model::system::Observed;

pub(super) fn arming(
    state: State,
    deployment: Deployment,
    system: System,
    result: Result<Armed, Failure>,
    context: &Context<'_>,
) -> Step {
    let outcome = match result {
        // The probe of the baseline takes its time, and what follows is somebody
        // else's system if they switched meanwhile.
        Ok(armed) => match override_by(&deployment, &system, &armed.observed) {
            Some(failure) => Outcome::Overridden(failure),
            None => {
                let activation = Activation {
                    deployment,
                    system,
                    baseline: armed.baseline,
                };
                return enter(state, Phase::Testing(activation), None);
            }
        },
        Err(failure) => Outcome::Refused(failure),
    };
    let dismiss = Some(Effect::Dismiss(deployment.id.clone()));
    let toplevel = Some(system.toplevel);
    finish(state, deployment, toplevel, outcome, dismiss, context)
}

pub(super) fn testing(
    state: State,
    activation: Activation,
    result: Result<(), TestFailure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Test));
    match result {
        Ok(()) => enter(state, Phase::Replacing(activation), release),
        Err(TestFailure::Untouched(failure)) => {
            let then = AfterDisarm::End(Outcome::Refused(failure));
            disarm(state, activation, then, release)
        }
        Err(TestFailure::RebootRequired(reason)) => {
            let policy = context.policy.on_reboot_required;
            let deployment = &activation.deployment;
            let then = match BootWithoutTest::by_policy(deployment, policy, reason) {
                Ok(proof) => AfterDisarm::Write(BootPermission::BootWithoutTest(proof)),
                Err(reason) => AfterDisarm::End(Outcome::RebootRequired {
                    reason,
                    entry_written: false,
                }),
            };
            disarm(state, activation, then, release)
        }
        Err(TestFailure::Touched { failure, .. }) => roll_back(state, activation, failure, release),
    }
}

pub(super) fn replacing(state: State, activation: Activation, result: Result<(), Failure>) -> Step {
    match result {
        Ok(()) => enter(state, Phase::Confirming(activation), None),
        Err(failure) => roll_back(state, activation, failure, None),
    }
}

pub(super) fn confirming(state: State, activation: Activation, confirmation: Confirmation) -> Step {
    match confirmation {
        Confirmation::Healthy => enter(state, Phase::Claiming(activation), None),
        Confirmation::Overridden(failure) => overridden(state, activation, failure),
        Confirmation::Unhealthy { failure, .. }
        | Confirmation::GuardianActs(failure)
        | Confirmation::Unknown(failure) => roll_back(state, activation, failure, None),
    }
}

pub(super) fn claiming(
    state: State,
    activation: Activation,
    result: Result<Claim, Failure>,
) -> Step {
    let claim = match result {
        Ok(claim) => claim,
        Err(failure) => return roll_back(state, activation, failure, None),
    };
    match claim.verdict {
        Verdict::RollBack => roll_back(state, activation, guardian_fired(), None),
        Verdict::Commit => match overridden_meanwhile(&activation, &claim.observed) {
            Some(failure) => overridden(state, activation, failure),
            None => proven(state, activation),
        },
    }
}

/// The system was tested and seen healthy: its boot entry, unless it was only
/// to be tested.
fn proven(state: State, activation: Activation) -> Step {
    match Confirmed::seen_healthy(&activation.deployment) {
        Some(proof) => {
            let phase = Phase::SettingProfile {
                activation,
                permission: BootPermission::Confirmed(proof),
            };
            enter(state, phase, None)
        }
        None => disarm(state, activation, AfterDisarm::End(Outcome::Deployed), None),
    }
}

/// Somebody switched, or set the profile, since the system was activated.
pub(super) fn overridden_meanwhile(
    activation: &Activation,
    observed: &Observed,
) -> Option<Failure> {
    let mut before = activation.deployment.clone();
    // What runs since `test` is ours.
    before.before.running = Some(activation.system.toplevel.clone());
    override_by(&before, &activation.system, observed)
}

fn overridden(state: State, activation: Activation, failure: Failure) -> Step {
    let then = AfterDisarm::End(Outcome::Overridden(failure));
    disarm(state, activation, then, None)
}

pub(super) fn disarm(
    state: State,
    activation: Activation,
    then: AfterDisarm,
    release: Option<Effect>,
) -> Step {
    enter(state, Phase::Disarming { activation, then }, release)
}

pub(super) fn disarmed(
    state: State,
    activation: Activation,
    then: AfterDisarm,
    verdict: Verdict,
    context: &Context<'_>,
) -> Step {
    if verdict == Verdict::RollBack {
        return roll_back(state, activation, guardian_fired(), None);
    }
    let dismiss = Some(Effect::Dismiss(activation.deployment.id.clone()));
    match then {
        AfterDisarm::End(outcome) => end(state, activation, outcome, dismiss, context),
        AfterDisarm::Write(permission) => {
            let phase = Phase::SettingProfile {
                activation,
                permission,
            };
            enter(state, phase, dismiss)
        }
    }
}

pub(super) fn roll_back(
    state: State,
    activation: Activation,
    failure: Failure,
    release: Option<Effect>,
) -> Step {
    let reboot = activation.reboot();
    roll_back_where(state, activation, failure, reboot, release)
}

/// Rolls back where a reboot leads there.
pub(super) fn roll_back_where(
    mut state: State,
    activation: Activation,
    failure: Failure,
    reboot: Reboot,
    release: Option<Effect>,
) -> Step {
    if reboot == Reboot::LeadsAstray {
        state.reboot = Reboot::LeadsAstray;
    }
    let phase = Phase::RollingBack {
        activation,
        failure,
        reboot,
    };
    enter(state, phase, release)
}

/// The deployment is over, with the system that it built.
pub(in super::super) fn end(
    state: State,
    activation: Activation,
    outcome: Outcome,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    let Activation {
        deployment, system, ..
    } = activation;
    let toplevel = Some(system.toplevel);
    finish(state, deployment, toplevel, outcome, release, context)
}

/// The guardian was first.
pub(in super::super) fn guardian_fired() -> Failure {
    Failure::new(
        FailureCode::GuardianFired,
        "nobody had confirmed the system by the guardian's deadline, so it brought the previous \
         one back",
        "Read the journal of deploy-flake.service and of deploy-flake-guardian.service around \
         that time: the daemon was dead, hung, or could not start in the new system.",
    )
}
