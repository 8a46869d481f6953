//! Which of the host's two branches it is to be: its own, or the testing branch.
//!
//! In: the state and what the look saw of both. Out: a decision. Must not:
//! decide what becomes of a commit of its own branch; `select` does.
//!
//! A testing branch is tested once the host's own branch has nothing to do. The
//! host stays on what was tested while that is the branch's head, also when its
//! own branch moves on; it leaves when the branch is gone, is merged, or is what
//! may not be followed. A head is tried once: with a reboot, and with whatever
//! else ends a test, the host is its own branch's until the testing branch moves.

use super::event::{Demand, Look};
use super::holding;
use super::select::{self, Decision, same_candidate};
use super::state::{Context, State, Tested};
use crate::model::deployment::{Cause, Deployment, Finished, Outcome};
use crate::model::failure::{FailureClass, FailureCode};
use crate::model::revision::{Branch, Candidate, CommitId};
use crate::model::testing::{Testing, TestingHead};

/// Decides what a look at rest asks for.
pub(super) fn decide(state: &State, look: &Look, context: &Context<'_>) -> Decision {
    if let Some(hold) = &state.hold {
        return holding::decide(state, hold, look, context);
    }
    if let Some(standing) = &state.tested.standing {
        return on_testing(state, standing, look, context);
    }
    let is_asked = matches!(look.demand, Demand::Retry { .. });
    let is_held = is_held(state) && !has_moved(state, look);
    let of_testing = || testing(state, look, context);
    let of_own = || select::decide(state, look, context);
    match is_held {
        true if is_asked => of_testing().or_else(of_own),
        true => of_testing(),
        false => of_own().or_else(of_testing),
    }
}

/// Whether the last test ended with somebody else's system, or with one that
/// nobody knows: then that stays, as after a deployment of the own branch.
pub(super) fn is_held(state: &State) -> bool {
    let tried = state.tested.tried.as_ref();
    let outcome = tried
        .filter(|_| state.tested.is_latest)
        .map(|it| &it.outcome);
    matches!(
        outcome,
        Some(Outcome::Overridden(_) | Outcome::RollbackFailed(_))
    )
}

/// The deployment that the host is what it is for: what root went back to or
/// pushed, what is tested, or what became of its own branch.
pub fn told(state: &State) -> Option<&Finished> {
    let tested = &state.tested;
    let held = tested.tried.as_ref().filter(|_| is_held(state));
    let earlier = holding::told(state);
    let tested = tested.standing.as_ref().or(held);
    earlier.or(tested).or(state.last.as_ref())
}

/// Whether the host's own branch is another commit than the one that was
/// deployed last.
fn has_moved(state: &State, look: &Look) -> bool {
    let last = state.last.as_ref().map(commit_of);
    look.head.is_some() && look.head.as_ref() != last
}

fn commit_of(finished: &Finished) -> &CommitId {
    finished.deployment.candidate.commit()
}

/// The host's own branch has nothing to do: the testing branch may.
fn testing(state: &State, look: &Look, context: &Context<'_>) -> Decision {
    match wanted(look) {
        Some(candidate) => test(state, candidate, look, context),
        None => Decision::Rest,
    }
}

/// What may be tested.
fn wanted(look: &Look) -> Option<Candidate> {
    let testing = look.testing.as_ref()?;
    match &testing.head {
        TestingHead::At(commit) => Some(Candidate::Testing {
            branch: testing.branch.clone(),
            commit: commit.clone(),
        }),
        TestingHead::Unknown
        | TestingHead::Missing
        | TestingHead::Merged(_)
        | TestingHead::Refused(..) => None,
    }
}

/// Tests a head of the testing branch, unless it was tried before.
fn test(state: &State, candidate: Candidate, look: &Look, context: &Context<'_>) -> Decision {
    let tried = state.tested.tried.as_ref();
    let Some(tried) = tried.filter(|it| it.deployment.candidate == candidate) else {
        return Decision::Deploy(candidate, Cause::NewCommit);
    };
    let is_good = matches!(tried.outcome, Outcome::Deployed | Outcome::Unchanged);
    if is_good && !matches!(look.demand, Demand::Retry { .. }) {
        return Decision::Rest;
    }
    match same_candidate(tried, look, context, state.tested.retry.as_ref()) {
        // Somebody brought it here by hand; it is still only what is tested.
        Decision::Arrived => Decision::Rest,
        decision @ (Decision::Rest | Decision::Deploy(..)) => decision,
    }
}

fn on_testing(state: &State, standing: &Finished, look: &Look, context: &Context<'_>) -> Decision {
    let branch = standing.deployment.candidate.testing();
    let followed = look.testing.as_ref();
    let Some(testing) = followed.filter(|it| Some(&it.branch) == branch) else {
        return leave(state, look, context, Cause::TestingLeft);
    };
    match &testing.head {
        head if is_over(head) => leave(state, look, context, Cause::TestingLeft),
        TestingHead::At(commit) if commit != commit_of(standing) => {
            let decision = match wanted(look) {
                Some(candidate) => test(state, candidate, look, context),
                None => Decision::Rest,
            };
            // The head is not what stands: nothing keeps the own branch waiting.
            match (decision, &look.head) {
                (Decision::Rest, Some(head)) if has_moved(state, look) => {
                    own(head, Cause::NewCommit)
                }
                (decision, _) => decision,
            }
        }
        TestingHead::At(_)
        | TestingHead::Unknown
        | TestingHead::Missing
        | TestingHead::Merged(_)
        | TestingHead::Refused(..) => same_candidate(standing, look, context, None),
    }
}

/// Whether there is nothing to test any more. What could not be fetched or
/// judged may be what stands.
fn is_over(head: &TestingHead) -> bool {
    match head {
        TestingHead::Missing | TestingHead::Merged(_) => true,
        TestingHead::Refused(_, failure) => failure.class == FailureClass::Deterministic,
        TestingHead::Unknown | TestingHead::At(_) => false,
    }
}

fn own(commit: &CommitId, cause: Cause) -> Decision {
    Decision::Deploy(Candidate::Commit(commit.clone()), cause)
}

/// Goes back to the host's own branch: to its head, or where that has failed,
/// to what was confirmed last.
pub(super) fn leave(state: &State, look: &Look, context: &Context<'_>, cause: Cause) -> Decision {
    let to = |commit: &CommitId| own(commit, cause);
    let stuck = state.tested.stuck.as_ref();
    let Some(last) = &state.last else {
        return look.head.as_ref().map_or(Decision::Rest, to);
    };
    // Where neither a head nor what was confirmed can be gone to, that is not
    // tried in turns for ever.
    if let Some(head) = &look.head
        && head != commit_of(last)
        && stuck != Some(head)
    {
        return to(head);
    }
    if can_be_gone_to(&last.outcome) {
        return to(commit_of(last));
    }
    if let Some(floor) = &state.confirmed().floor
        && floor != commit_of(last)
        && stuck != Some(commit_of(last))
    {
        return to(floor);
    }
    match same_candidate(last, look, context, state.retry.as_ref()) {
        Decision::Arrived => Decision::Rest,
        decision @ (Decision::Rest | Decision::Deploy(..)) => decision,
    }
}

/// Whether the last deployment of the own branch led somewhere.
fn can_be_gone_to(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deployed | Outcome::Unchanged => true,
        Outcome::RebootRequired { entry_written, .. } => *entry_written,
        Outcome::RolledBackByReboot(failure) => failure.code == FailureCode::TestEnded,
        Outcome::Refused(_)
        | Outcome::Failed(_)
        | Outcome::RolledBack(_)
        | Outcome::RollbackFailed(_)
        | Outcome::Inconclusive(_)
        | Outcome::Superseded
        | Outcome::Overridden(_) => false,
    }
}

/// A testing branch that is gone or merged begins anew when it comes back.
pub(super) fn forget_what_is_gone(state: &mut State, look: &Look) {
    let Some(testing) = &look.testing else { return };
    let is_gone = matches!(testing.head, TestingHead::Missing | TestingHead::Merged(_));
    let tried = state.tested.tried.as_ref();
    let branch = tried.and_then(|tried| tried.deployment.candidate.testing());
    let is_its = branch == Some(&testing.branch);
    if is_gone && is_its && state.tested.standing.is_none() && !is_held(state) {
        state.tested = Tested::default();
    }
}

/// What becomes of a deployment that has touched nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Succession {
    /// It goes on.
    GoOn,
    /// Another takes over.
    TakeOver(Candidate),
    /// Nobody wants it any more.
    GiveUp,
}

/// After a few in a row one is let through, or a busy branch would starve the
/// host.
const MOST_IN_A_ROW: u32 = 3;

/// Decides whether a newer commit takes over from a deployment that has touched
/// nothing yet.
pub(super) fn succession(state: &State, current: &Deployment, look: &Look) -> Succession {
    let may_give_way = current.superseded_before < MOST_IN_A_ROW;
    match &current.candidate {
        Candidate::Commit(commit) => match &look.head {
            Some(head) if head != commit && may_give_way && !is_way_back(state, current, head) => {
                Succession::TakeOver(Candidate::Commit(head.clone()))
            }
            Some(_) | None => Succession::GoOn,
        },
        Candidate::Testing { branch, .. } => {
            if let Some(head) = &look.head
                && state.tested.standing.is_none()
                && has_moved(state, look)
            {
                return Succession::TakeOver(Candidate::Commit(head.clone()));
            }
            of_testing(branch, current, look, may_give_way)
        }
        // It is what root wants now.
        Candidate::Earlier { .. } | Candidate::Pushed { .. } => Succession::GoOn,
    }
}

fn of_testing(
    branch: &Branch,
    current: &Deployment,
    look: &Look,
    may_give_way: bool,
) -> Succession {
    let followed: Option<&Testing> = look.testing.as_ref();
    if followed.is_none_or(|it| it.branch != *branch || is_over(&it.head)) {
        return Succession::GiveUp;
    }
    match wanted(look) {
        Some(candidate) if candidate != current.candidate && may_give_way => {
            Succession::TakeOver(candidate)
        }
        Some(_) | None => Succession::GoOn,
    }
}

/// Whether it goes back to what was confirmed because the head has failed.
fn is_way_back(state: &State, current: &Deployment, head: &CommitId) -> bool {
    let last = state.last.as_ref().map(commit_of);
    let is_back = matches!(current.cause, Cause::TestingLeft | Cause::Resumed);
    is_back && last == Some(head)
}

#[cfg(test)]
mod tests;
