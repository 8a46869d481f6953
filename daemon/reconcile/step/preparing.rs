//! From the commit to a rooted toplevel: nothing on the host is touched.

use super::super::effect::Effect;
use super::super::phase::Phase;
use super::super::quarantine;
use super::super::state::{Context, State, Step};
use super::{enter, finish::finish};
use crate::model::deployment::{Cause, Deployment, Outcome, Resolved, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::stage::{BuildFailure, UnitStep};
use crate::model::system::{Derivation, Observed, Toplevel};

/// How often a derivation may vanish before it is built, in one deployment.
const MOST_REEVALUATIONS: u32 = 3;

pub(super) fn importing(
    state: State,
    deployment: Deployment,
    result: Result<(), Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Import));
    match result {
        Ok(()) => enter(state, Phase::Evaluating { deployment }, release),
        Err(failure) => refuse(state, deployment, failure, release, context),
    }
}

pub(super) fn evaluating(
    mut state: State,
    deployment: Deployment,
    result: Result<Derivation, Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Evaluate));
    match result {
        Ok(derivation) => {
            state.resolved = Some(Resolved {
                candidate: deployment.candidate.clone(),
                configuration: deployment.settings.configuration.clone(),
                derivation: derivation.clone(),
                toplevel: None,
            });
            let phase = Phase::Building {
                deployment,
                derivation,
            };
            enter(state, phase, release)
        }
        Err(failure) => refuse(state, deployment, failure, release, context),
    }
}

pub(super) fn building(
    mut state: State,
    deployment: Deployment,
    derivation: Derivation,
    result: Result<Toplevel, BuildFailure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Build));
    match result {
        Ok(toplevel) => {
            state.resolved = Some(Resolved {
                candidate: deployment.candidate.clone(),
                configuration: deployment.settings.configuration.clone(),
                derivation: derivation.clone(),
                toplevel: Some(toplevel.clone()),
            });
            let system = System {
                derivation,
                toplevel,
            };
            enter(state, Phase::Rooting { deployment, system }, release)
        }
        Err(BuildFailure::DerivationMissing) => evaluate_again(state, deployment, release, context),
        Err(BuildFailure::Failed(failure)) => refuse(state, deployment, failure, release, context),
    }
}

/// A derivation that was garbage-collected is never held against the commit.
fn evaluate_again(
    mut state: State,
    mut deployment: Deployment,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    state.resolved = None;
    if deployment.reevaluations < MOST_REEVALUATIONS {
        deployment.reevaluations += 1;
        return enter(state, Phase::Importing { deployment }, release);
    }
    let failure = Failure::new(
        FailureCode::StepFailed,
        format!(
            "the derivation was garbage-collected {MOST_REEVALUATIONS} times before it could be built"
        ),
        "Find out what collects garbage so often; it is tried again later.",
    );
    refuse(state, deployment, failure, release, context)
}

pub(super) fn rooting(
    state: State,
    deployment: Deployment,
    system: System,
    result: Result<Observed, Failure>,
    context: &Context<'_>,
) -> Step {
    let release = Some(Effect::Release(UnitStep::Root));
    match result {
        Ok(observed) if deployment.is_reached(&system.toplevel, &observed) => {
            let toplevel = Some(system.toplevel);
            finish(
                state,
                deployment,
                toplevel,
                Outcome::Unchanged,
                release,
                context,
            )
        }
        Ok(_) => match quarantined(&state, &deployment, &system) {
            None => enter(state, Phase::Inspecting { deployment, system }, release),
            Some(failure) => refuse_built(state, deployment, system, failure, release, context),
        },
        Err(failure) => refuse_built(state, deployment, system, failure, release, context),
    }
}

/// Why a toplevel that failed before is not activated, unless an operator says
/// so.
fn quarantined(state: &State, deployment: &Deployment, system: &System) -> Option<Failure> {
    if matches!(
        deployment.cause,
        Cause::Operator | Cause::Rollback | Cause::Push
    ) {
        return None;
    }
    let held = state
        .quarantine
        .holds(&system.toplevel, &deployment.settings)?;
    Some(quarantine::refusal(held))
}

fn refuse_built(
    state: State,
    deployment: Deployment,
    system: System,
    failure: Failure,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    let outcome = Outcome::Refused(failure);
    let toplevel = Some(system.toplevel);
    finish(state, deployment, toplevel, outcome, release, context)
}

fn refuse(
    state: State,
    deployment: Deployment,
    failure: Failure,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    let outcome = Outcome::Refused(failure);
    finish(state, deployment, None, outcome, release, context)
}
