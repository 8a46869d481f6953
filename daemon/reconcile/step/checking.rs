//! From a rooted toplevel to one that may be activated.
//!
//! In: what inspection and checks found. Out: the way, or an end that left the
//! host untouched. Must not: activate; nothing is armed yet.

use super::super::effect::Effect;
use super::super::permission::{BootPermission, BootWithoutTest};
use super::super::phase::{Activation, Phase, Way};
use super::super::state::{Context, State, Step};
use super::{enter, finish::finish};
use crate::model::deployment::{Deployment, Outcome, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Baseline;
use crate::model::stage::{Inspection, UnitStep};
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
    let policy = context.policy.on_reboot_required;
    let way = match (
        BootWithoutTest::by_mode(&deployment),
        inspection.reboot_required,
    ) {
        (Some(proof), _) => Way::Boot(BootPermission::BootWithoutTest(proof)),
        (None, None) => Way::Test,
        (None, Some(reason)) => match BootWithoutTest::by_policy(&deployment, policy, reason) {
            Ok(proof) => Way::Boot(BootPermission::BootWithoutTest(proof)),
            Err(reason) => return needs_reboot(state, deployment, system, reason, None, context),
        },
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
pub(super) fn override_by(
    deployment: &Deployment,
    system: &System,
    observed: &Observed,
) -> Option<Failure> {
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
        Way::Test => Phase::Arming { deployment, system },
        Way::Boot(permission) => Phase::SettingProfile {
            activation: Activation {
                deployment,
                system,
                baseline: Baseline::default(),
            },
            permission,
        },
    };
    enter(state, phase, release)
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
