//! The words for a testing branch.
//!
//! In: what it is, and what became of it here. Out: its state, as a word and as
//! a sentence. Must not: depend on the time or on where they are shown.

use crate::model::deployment::{Finished, Outcome};
use crate::model::failure::{Failure, FailureCode};
use crate::model::revision::{Branch, CommitId};
use crate::model::testing::{Testing, TestingHead};
use crate::reconcile::state::{State, Tested};
use crate::store::snapshot::{self, TestingState};

/// A host that is what its testing branch asks for: why, and what to do.
pub(super) fn condition(
    target: &str,
    own: &Branch,
    lacks: Option<&CommitId>,
) -> (String, Option<String>) {
    let why = format!("The host tests {target}; a reboot leads back to {own}.");
    match lacks {
        None => (why, None),
        Some(commit) => (
            format!(
                "{why} Commit {} of {own}, which it does not contain, waits for the end of the test.",
                commit.short()
            ),
            Some(format!(
                "Rebase the testing branch onto {own}, or remove it to have {own} followed."
            )),
        ),
    }
}

/// What the testing branch is to this host, for everybody.
pub fn testing(testing: &Testing, state: &State, own: &Branch) -> snapshot::Testing {
    let standing = state.tested.standing.as_ref().map(commit_of);
    let said = said(testing, state, own);
    snapshot::Testing {
        branch: testing.branch.clone(),
        state: said.state,
        head: head(&testing.head).cloned(),
        running: standing.cloned(),
        why: said.why,
        code: said.code,
    }
}

struct Said {
    state: TestingState,
    why: String,
    code: Option<FailureCode>,
}

impl Said {
    fn new(state: TestingState, why: impl Into<String>) -> Self {
        Self {
            state,
            why: why.into(),
            code: None,
        }
    }

    fn because(state: TestingState, begin: &str, failure: &Failure) -> Self {
        Self {
            state,
            why: format!("{begin}: {}.", failure.message),
            code: Some(failure.code),
        }
    }
}

fn said(testing: &Testing, state: &State, own: &Branch) -> Said {
    match &testing.head {
        TestingHead::Unknown => Said::new(TestingState::Unknown, "Nobody can say what it is now."),
        TestingHead::Missing => Said::new(TestingState::Absent, "The remote has no such branch."),
        TestingHead::Merged(_) => {
            Said::new(TestingState::Merged, format!("{own} contains all of it."))
        }
        TestingHead::Refused(commit, failure) => {
            let begin = format!("Commit {} is not tested", commit.short());
            Said::because(TestingState::Refused, &begin, failure)
        }
        TestingHead::At(commit) => at(commit, &state.tested, own),
    }
}

fn at(commit: &CommitId, tested: &Tested, own: &Branch) -> Said {
    if tested.standing.as_ref().map(commit_of) == Some(commit) {
        return Said::new(
            TestingState::Running,
            format!("The host runs it; a reboot leads back to {own}."),
        );
    }
    let short = commit.short();
    match tested.tried.as_ref().filter(|it| commit_of(it) == commit) {
        None => Said::new(
            TestingState::Pending,
            format!("Commit {short} is going to be tested."),
        ),
        Some(tried) => tried_before(short, &tried.outcome),
    }
}

fn tried_before(short: &str, outcome: &Outcome) -> Said {
    match outcome {
        Outcome::Superseded => Said::new(
            TestingState::Pending,
            format!("Commit {short} is going to be tested."),
        ),
        Outcome::Deployed | Outcome::Unchanged => Said::new(
            TestingState::Held,
            format!("Commit {short} was tested, and is not tested again before the branch moves."),
        ),
        Outcome::Refused(failure)
        | Outcome::Failed(failure)
        | Outcome::RolledBack(failure)
        | Outcome::RolledBackByReboot(failure)
        | Outcome::RollbackFailed(failure)
        | Outcome::Inconclusive(failure)
        | Outcome::Overridden(failure)
        | Outcome::RebootRequired {
            reason: failure, ..
        } => {
            let begin = format!("Commit {short} was tried ({})", outcome.as_str());
            Said::because(TestingState::Held, &begin, failure)
        }
    }
}

fn head(head: &TestingHead) -> Option<&CommitId> {
    match head {
        TestingHead::Unknown | TestingHead::Missing => None,
        TestingHead::Merged(commit) | TestingHead::Refused(commit, _) | TestingHead::At(commit) => {
            Some(commit)
        }
    }
}

fn commit_of(finished: &Finished) -> &CommitId {
    finished.deployment.candidate.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::snapshot::example;

    fn branch(name: &str) -> Branch {
        Branch::try_from(name.to_owned()).expect("it is a branch")
    }

    #[test]
    fn a_host_that_tests_says_what_waits_and_how_to_end_it() {
        let (main, commit) = (branch("main"), example::commit());
        let (why, remedy) = condition("commit 1 of testing-web1", &main, None);
        assert_eq!(
            why,
            "The host tests commit 1 of testing-web1; a reboot leads back to main."
        );
        assert_eq!(remedy, None);
        let (why, remedy) = condition("commit 1 of testing-web1", &main, Some(&commit));
        assert!(why.contains("Commit 0123456789ab of main"), "{why}");
        assert!(remedy.is_some_and(|remedy| remedy.contains("Rebase")));
    }

    #[test]
    fn what_is_not_tested_says_why() {
        let commit = example::commit();
        let failure = Failure::new(FailureCode::Diverged, "it is aside", "h");
        for (head, state, code) in [
            (TestingHead::Unknown, TestingState::Unknown, None),
            (TestingHead::Missing, TestingState::Absent, None),
            (
                TestingHead::Merged(commit.clone()),
                TestingState::Merged,
                None,
            ),
            (
                TestingHead::Refused(commit.clone(), failure),
                TestingState::Refused,
                Some(FailureCode::Diverged),
            ),
            (TestingHead::At(commit), TestingState::Pending, None),
        ] {
            let it = Testing {
                branch: branch("testing-web1"),
                head,
                lacks: None,
            };
            let told = testing(&it, &State::default(), &branch("main"));
            assert_eq!((told.state, told.code), (state, code), "{told:?}");
            assert!(told.why.ends_with('.'), "{told:?}");
        }
    }
}
