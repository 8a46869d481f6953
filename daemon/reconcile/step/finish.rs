//! How a deployment ends.
//!
//! In: a deployment and its outcome. Out: the state at rest. Must not: start
//! the next one; the next look does.

use super::super::backoff;
use super::super::effect::Effect;
use super::super::holding;
use super::super::phase::Phase;
use super::super::remedy;
use super::super::state::{Context, Retry, State, Step};
use crate::model::deployment::{Cause, Deployment, Finished, Outcome};
use crate::model::failure::{FailureClass, FailureCode};
use crate::model::revision::Candidate;
use crate::model::system::Toplevel;

/// How often in a row memory may run out for one candidate.
const MOST_OUT_OF_MEMORY: u32 = 3;

/// Ends a deployment and rests.
pub(in super::super) fn finish(
    mut state: State,
    deployment: Deployment,
    toplevel: Option<Toplevel>,
    outcome: Outcome,
    release: Option<Effect>,
    context: &Context<'_>,
) -> Step {
    let outcome = unless_hungry(&state, &deployment, outcome);
    let outcome = match deployment.candidate {
        Candidate::Pushed { .. } => for_who_pushed(outcome),
        Candidate::Commit(_) | Candidate::Testing { .. } | Candidate::Earlier { .. } => outcome,
    };
    if let Some(toplevel) = &toplevel {
        let now = context.now.wall;
        state.quarantine.learn(&deployment, toplevel, &outcome, now);
    }
    if matches!(outcome, Outcome::Deployed | Outcome::Unchanged) {
        state.known_broken.clear();
    }
    let retry = next_retry(&state, &deployment, &outcome, context);
    let finished = Finished {
        deployment,
        toplevel,
        outcome,
        finished: context.now,
    };
    match finished.deployment.candidate {
        Candidate::Commit(_) => end_of_branch(&mut state, finished, retry),
        Candidate::Testing { .. } => end_of_test(&mut state, finished, retry),
        Candidate::Earlier { .. } | Candidate::Pushed { .. } => end_by_root(&mut state, finished),
    }
    state.phase = Phase::Resting;
    Step {
        state,
        effects: release.into_iter().collect(),
        stale: false,
    }
}

/// Of the host's own branch: only here the floor rises.
fn end_of_branch(state: &mut State, finished: Finished, retry: Option<Retry>) {
    let commit = finished.deployment.candidate.commit();
    if matches!(finished.outcome, Outcome::Deployed | Outcome::Unchanged) {
        state.floor = Some(commit.clone());
        state.proven.add(&finished, state.resolved.as_ref());
    }
    // It was for one deployment, whatever became of that.
    if state.allowed.as_ref() == Some(commit) {
        state.allowed = None;
    }
    let is_back = finished.deployment.cause == Cause::TestingLeft;
    if leaves_testing(&finished.outcome) {
        (state.tested.standing, state.tested.stuck) = (None, None);
    } else if is_back && state.floor.as_ref() == Some(commit) {
        let failed = state.last.as_ref().map(|last| &last.deployment.candidate);
        state.tested.stuck = failed.map(|failed| failed.commit().clone());
    }
    state.retry = retry;
    state.last = Some(finished);
    state.reverted = None;
    state.tested.is_latest = false;
}

/// Of root's way back or push, or of a correction to where it led. The floor
/// stays: what may be followed is the same as before.
fn end_by_root(state: &mut State, finished: Finished) {
    state.reverted = Some(finished.clone());
    let Some(hold) = &mut state.hold else { return };
    if holding::is_there(&finished.outcome) {
        (state.tested.standing, state.tested.stuck) = (None, None);
        hold.standing = Some(finished);
        return;
    }
    // Root said the same once more, and nothing was touched.
    if matches!(finished.outcome, Outcome::Refused(_) | Outcome::Superseded)
        && finished.deployment.cause == Cause::Push
        && hold.standing.is_some()
    {
        return;
    }
    let candidate = &finished.deployment.candidate;
    match &hold.standing {
        // It was there, and could not be brought there again.
        Some(standing) if standing.deployment.candidate == *candidate => {
            hold.standing = Some(finished);
        }
        // The host is held where it was held before.
        Some(_) => {}
        None => state.hold = None,
    }
}

/// Of the testing branch.
fn end_of_test(state: &mut State, finished: Finished, retry: Option<Retry>) {
    state.tested.retry = retry;
    // Where neither holds, what ran before runs again, or still.
    if matches!(finished.outcome, Outcome::Deployed | Outcome::Unchanged) {
        (state.tested.standing, state.tested.stuck) = (Some(finished.clone()), None);
    } else if leaves_testing(&finished.outcome) {
        state.tested.standing = None;
    }
    state.tested.tried = Some(finished);
    state.tested.is_latest = true;
    state.reverted = None;
}

/// Whether the host is not what was tested before: it is something else for
/// good, or with the next reboot, or nobody knows what.
fn leaves_testing(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deployed
        | Outcome::Unchanged
        | Outcome::RolledBackByReboot(_)
        | Outcome::RollbackFailed(_)
        | Outcome::Overridden(_) => true,
        Outcome::RebootRequired { entry_written, .. } => *entry_written,
        Outcome::Refused(_)
        | Outcome::Failed(_)
        | Outcome::RolledBack(_)
        | Outcome::Inconclusive(_)
        | Outcome::Superseded => false,
    }
}

/// A candidate for which memory ran out again and again needs more than there
/// is: it waits for a new commit, or for an operator.
fn unless_hungry(state: &State, deployment: &Deployment, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Refused(mut failure)
            if failure.code == FailureCode::OutOfMemory
                && hungry_before(state, deployment) + 1 >= MOST_OUT_OF_MEMORY =>
        {
            failure.class = FailureClass::Deterministic;
            failure.hint = format!(
                "Memory ran out {MOST_OUT_OF_MEMORY} times in a row, so this commit is not tried \
                 again by itself. Make it need less, give the host more, or build it elsewhere and \
                 substitute; then push a commit or run `deploy-flake retry`."
            );
            Outcome::Refused(failure)
        }
        other @ (Outcome::Deployed
        | Outcome::Unchanged
        | Outcome::Refused(_)
        | Outcome::Failed(_)
        | Outcome::RolledBack(_)
        | Outcome::RolledBackByReboot(_)
        | Outcome::RollbackFailed(_)
        | Outcome::Inconclusive(_)
        | Outcome::RebootRequired { .. }
        | Outcome::Superseded
        | Outcome::Overridden(_)) => other,
    }
}

/// What the steps say to do is about a commit.
fn for_who_pushed(mut outcome: Outcome) -> Outcome {
    match &mut outcome {
        Outcome::Refused(failure)
        | Outcome::Failed(failure)
        | Outcome::RolledBack(failure)
        | Outcome::Inconclusive(failure) => failure.hint = remedy::for_who_pushed(&failure.hint),
        Outcome::Deployed
        | Outcome::Unchanged
        | Outcome::RolledBackByReboot(_)
        | Outcome::RollbackFailed(_)
        | Outcome::RebootRequired { .. }
        | Outcome::Superseded
        | Outcome::Overridden(_) => {}
    }
    outcome
}

/// How often in a row memory ran out for this candidate before.
fn hungry_before(state: &State, deployment: &Deployment) -> u32 {
    retried(state, deployment).map_or(0, |retry| retry.out_of_memory)
}

fn next_retry(
    state: &State,
    deployment: &Deployment,
    outcome: &Outcome,
    context: &Context<'_>,
) -> Option<Retry> {
    let again = |attempts| {
        let mut retry = backoff::retry_after(
            attempts,
            context.policy.poll_interval,
            context.now.wall,
            context.random,
        );
        let code = outcome.failure().map(|failure| failure.code);
        if code == Some(FailureCode::OutOfMemory) {
            retry.out_of_memory = hungry_before(state, deployment) + 1;
        }
        Some(retry)
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
    retried(state, deployment).map_or(0, |retry| retry.attempts)
}

/// The retry that this is, if the deployment before was of the same candidate.
fn retried<'a>(state: &'a State, deployment: &Deployment) -> Option<&'a Retry> {
    let (last, retry) = state.before(&deployment.candidate);
    let is_same = |last: &Finished| last.deployment.candidate == deployment.candidate;
    retry.filter(|_| last.is_some_and(is_same))
}
