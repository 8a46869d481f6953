//! How a deployment ends.
//!
//! In: a deployment and its outcome. Out: the state at rest. Must not: start
//! the next one; the next look does.

use super::super::backoff;
use super::super::state::{Context, Effect, Phase, Retry, State, Step};
use crate::model::deployment::{Deployment, Finished, Outcome};
use crate::model::failure::FailureClass;
use crate::model::system::Toplevel;

/// Ends a deployment and rests.
pub(in super::super) fn finish(
    mut state: State,
    deployment: Deployment,
    toplevel: Option<Toplevel>,
    outcome: Outcome,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    if matches!(outcome, Outcome::Deployed | Outcome::Unchanged) {
        state.known_broken.clear();
    }
    if let Some(toplevel) = &toplevel {
        let now = context.now.wall;
        state.quarantine.learn(&deployment, toplevel, &outcome, now);
    }
    state.retry = next_retry(&state, &deployment, &outcome, context);
    state.phase = Phase::Resting;
    state.last = Some(Finished {
        deployment,
        toplevel,
        outcome,
        finished: context.now,
    });
    Step {
        state,
        effects: release.into_iter().collect(),
        stale: false,
    }
}

fn next_retry(
    state: &State,
    deployment: &Deployment,
    outcome: &Outcome,
    context: &Context<'_>,
) -> Option<Retry> {
    let again = |attempts| {
        Some(backoff::retry_after(
            attempts,
            context.policy.poll_interval,
            context.now.wall,
            context.random,
        ))
    };
    let is_held = matches!(
        outcome,
        Outcome::RolledBack(_) | Outcome::RolledBackByReboot(_) | Outcome::RollbackFailed(_)
    );
    match outcome.failure()?.class {
        _ if is_held => None,
        FailureClass::Deterministic => None,
        // The host may be mended at any time: always after the same while.
        FailureClass::Host => again(1),
        FailureClass::Transient => again(failed_before(state, deployment).saturating_add(1)),
    }
}

/// How often this candidate failed in a row before.
fn failed_before(state: &State, deployment: &Deployment) -> u32 {
    let same_candidate = state
        .last
        .as_ref()
        .is_some_and(|last| last.deployment.candidate == deployment.candidate);
    let before = state.retry.as_ref().filter(|_| same_candidate);
    before.map_or(0, |retry| retry.attempts)
}
