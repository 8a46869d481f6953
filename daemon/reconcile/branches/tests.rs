//! Which branch a host is to be, case by case.

use super::super::fixtures::*;
use super::*;
use crate::model::deployment::DeploymentId;
use crate::model::failure::Failure;
use crate::model::policy::OnDrift;
use crate::model::system::Observed;

const BRANCH: &str = "testing-web1";

fn branch() -> Branch {
    Branch::try_from(BRANCH.to_owned()).expect("it is a branch")
}

fn tested(index: u8) -> Candidate {
    Candidate::Testing {
        branch: branch(),
        commit: commit(index),
    }
}

fn finished(candidate: Candidate, index: u8, outcome: Outcome) -> Finished {
    let mut deployment = deployment(index);
    deployment.id = DeploymentId(format!("of-{index}"));
    deployment.candidate = candidate;
    Finished {
        deployment,
        toplevel: Some(toplevel(index)),
        outcome,
        finished: now(10),
    }
}

/// A host on which commit 1 of its own branch ended this way, at rest.
fn of_own(outcome: Outcome) -> State {
    State {
        last: Some(finished(Candidate::Commit(commit(1)), 1, outcome)),
        floor: Some(commit(1)),
        ..State::default()
    }
}

/// The same, brought to commit 6 of the testing branch since.
fn of_testing() -> State {
    let stands = finished(tested(6), 6, Outcome::Deployed);
    State {
        tested: Tested {
            standing: Some(stands.clone()),
            tried: Some(stands),
            is_latest: true,
            ..Tested::default()
        },
        ..of_own(Outcome::Deployed)
    }
}

/// The same after commit 7 of it was tried in vain.
fn after_a_failure(outcome: Outcome) -> State {
    let mut state = of_testing();
    state.tested.tried = Some(finished(tested(7), 7, outcome));
    state
}

/// What runs while commit 6 is tested.
fn testing_host() -> Observed {
    Observed {
        running: Some(toplevel(6)),
        ..observed(1)
    }
}

fn look(own: u8, head: TestingHead, observed: Observed) -> Look {
    Look {
        head: Some(commit(own)),
        is_refused: false,
        testing: Some(Testing {
            branch: branch(),
            head,
            lacks: None,
        }),
        observed,
        demand: Demand::Time,
    }
}

fn decided(state: &State, look: &Look) -> Decision {
    let policy = policy();
    decide(state, look, &context(&policy, 100))
}

fn test_of(index: u8) -> Decision {
    Decision::Deploy(tested(index), Cause::NewCommit)
}

fn at(index: u8) -> TestingHead {
    TestingHead::At(commit(index))
}

fn refused(code: FailureCode) -> TestingHead {
    TestingHead::Refused(commit(7), failure(code))
}

fn bad() -> Failure {
    failure(FailureCode::UnhealthyAfterTest)
}

#[test]
fn the_testing_branch_is_tested_once_the_hosts_own_has_nothing_to_do() {
    let state = of_own(Outcome::Deployed);
    assert_eq!(decided(&state, &look(1, at(6), observed(1))), test_of(6));
    assert_eq!(
        decided(&state, &look(2, at(6), observed(1))),
        own(&commit(2), Cause::NewCommit)
    );
    // What failed has nothing to do any more.
    let failed = of_own(Outcome::RolledBack(bad()));
    assert_eq!(decided(&failed, &look(1, at(6), observed(0))), test_of(6));
}

#[test]
fn what_is_no_head_to_test_leaves_the_host_to_its_own_branch() {
    for head in [
        TestingHead::Unknown,
        TestingHead::Missing,
        TestingHead::Merged(commit(6)),
        refused(FailureCode::CommitUnsigned),
        refused(FailureCode::Diverged),
        refused(FailureCode::FetchFailed),
    ] {
        let state = of_own(Outcome::Deployed);
        let rest = decided(&state, &look(1, head.clone(), observed(1)));
        assert_eq!(rest, Decision::Rest, "{head:?}");
        let moved = decided(&state, &look(2, head, observed(1)));
        assert_eq!(moved, own(&commit(2), Cause::NewCommit));
    }
}

#[test]
fn a_head_is_tried_once_until_it_moves_or_somebody_asks() {
    for outcome in [
        Outcome::Deployed,
        Outcome::RolledBack(bad()),
        Outcome::RolledBackByReboot(failure(FailureCode::TestEnded)),
        Outcome::Refused(failure(FailureCode::CheckRefused)),
    ] {
        let mut state = of_own(Outcome::Deployed);
        state.tested.tried = Some(finished(tested(6), 6, outcome));
        let mut look = look(1, at(6), observed(1));
        assert_eq!(decided(&state, &look), Decision::Rest, "{state:?}");
        look.demand = Demand::Retry {
            allowed: Default::default(),
        };
        assert_eq!(
            decided(&state, &look),
            Decision::Deploy(tested(6), Cause::Operator)
        );
        look.testing = Some(Testing {
            branch: branch(),
            head: at(7),
            lacks: None,
        });
        assert_eq!(decided(&state, &look), test_of(7));
    }
}

#[test]
fn what_is_tested_stays_while_the_own_branch_moves_on_and_is_left_when_it_is_over() {
    let state = of_testing();
    let on = |own, head| decided(&state, &look(own, head, testing_host()));
    for head in [
        at(6),
        TestingHead::Unknown,
        refused(FailureCode::FetchFailed),
    ] {
        assert_eq!(on(1, head.clone()), Decision::Rest, "{head:?}");
        assert_eq!(on(2, head.clone()), Decision::Rest, "{head:?}");
    }
    assert_eq!(on(2, at(7)), test_of(7));
    for head in [
        TestingHead::Missing,
        TestingHead::Merged(commit(6)),
        refused(FailureCode::CommitUnsigned),
        refused(FailureCode::Diverged),
    ] {
        for head_of_own in [1, 2] {
            let left = on(head_of_own, head.clone());
            assert_eq!(left, own(&commit(head_of_own), Cause::TestingLeft));
        }
    }
}

#[test]
fn a_branch_that_is_not_followed_any_more_is_left_and_not_forgotten() {
    let state = of_testing();
    let mut of_nobody = look(1, TestingHead::Unknown, testing_host());
    of_nobody.testing = None;
    let mut of_another = look(1, TestingHead::Missing, testing_host());
    of_another.testing.as_mut().expect("it was made").branch =
        Branch::try_from("testing-web2".to_owned()).expect("it is a branch");
    for look in [of_nobody, of_another] {
        assert_eq!(decided(&state, &look), own(&commit(1), Cause::TestingLeft));
        let mut left = of_testing();
        left.tested.standing = None;
        forget_what_is_gone(&mut left, &look);
        // Or two systems that disagree about it would be tested in turns.
        assert!(left.tested.tried.is_some());
    }
}

#[test]
fn a_branch_that_was_gone_or_merged_begins_anew() {
    for head in [TestingHead::Missing, TestingHead::Merged(commit(6))] {
        let mut state = of_testing();
        let look = look(1, head, observed(1));
        forget_what_is_gone(&mut state, &look);
        assert_eq!(state, of_testing(), "not while it stands");
        state.tested.standing = None;
        forget_what_is_gone(&mut state, &look);
        assert_eq!(state.tested, Tested::default());
    }
}

#[test]
fn a_head_that_failed_does_not_keep_the_own_branch_waiting() {
    for outcome in [
        Outcome::RolledBack(bad()),
        Outcome::Refused(failure(FailureCode::EvaluationFailed)),
    ] {
        let state = after_a_failure(outcome);
        let on = |own| decided(&state, &look(own, at(7), testing_host()));
        assert_eq!(on(1), Decision::Rest);
        assert_eq!(on(2), own(&commit(2), Cause::NewCommit));
    }
}

#[test]
fn from_a_head_of_the_own_branch_that_failed_it_goes_back_to_what_was_confirmed() {
    let mut state = of_testing();
    state.last = Some(finished(
        Candidate::Commit(commit(2)),
        2,
        Outcome::Refused(failure(FailureCode::EvaluationFailed)),
    ));
    let gone = |own| look(own, TestingHead::Missing, testing_host());
    assert_eq!(
        decided(&state, &gone(2)),
        own(&commit(1), Cause::TestingLeft)
    );
    // That fails, too: not in turns for ever.
    state.tested.stuck = Some(commit(2));
    state.last = Some(finished(
        Candidate::Commit(commit(1)),
        1,
        Outcome::RolledBack(bad()),
    ));
    assert_eq!(decided(&state, &gone(2)), Decision::Rest);
    assert_eq!(
        decided(&state, &gone(3)),
        own(&commit(3), Cause::TestingLeft)
    );
}

#[test]
fn a_manual_switch_is_drift_from_what_is_tested() {
    let state = of_testing();
    let look = look(1, at(6), observed(1));
    let mut policy = policy();
    assert_eq!(
        decide(&state, &look, &context(&policy, 100)),
        Decision::Rest
    );
    policy.on_drift = OnDrift::Correct;
    assert_eq!(
        decide(&state, &look, &context(&policy, 100)),
        Decision::Deploy(tested(6), Cause::Drift)
    );
}

#[test]
fn what_somebody_switched_to_during_a_test_stays() {
    let mut state = of_own(Outcome::Deployed);
    let overridden = Outcome::Overridden(failure(FailureCode::Overridden));
    state.tested.tried = Some(finished(tested(6), 6, overridden));
    state.tested.is_latest = true;
    let mut policy = policy();
    policy.on_drift = OnDrift::Correct;
    let decided = |own| {
        let look = look(own, at(6), observed(7));
        decide(&state, &look, &context(&policy, 100))
    };
    assert_eq!(decided(1), Decision::Rest);
    assert_eq!(decided(2), own(&commit(2), Cause::NewCommit));
}

fn current(candidate: Candidate, superseded_before: u32) -> Deployment {
    Deployment {
        candidate,
        superseded_before,
        ..deployment(1)
    }
}

#[test]
fn a_busy_branch_cannot_starve_the_host() {
    let state = of_own(Outcome::Deployed);
    for (before, gives_way) in [(0, true), (2, true), (3, false)] {
        for (candidate, look, next) in [
            (
                Candidate::Commit(commit(2)),
                look(3, TestingHead::Missing, observed(1)),
                Candidate::Commit(commit(3)),
            ),
            (tested(6), look(1, at(7), observed(1)), tested(7)),
        ] {
            let expected = match gives_way {
                true => Succession::TakeOver(next),
                false => Succession::GoOn,
            };
            let found = succession(&state, &current(candidate, before), &look);
            assert_eq!(found, expected, "after {before}");
        }
    }
    let same = look(2, at(6), observed(1));
    for candidate in [Candidate::Commit(commit(2)), tested(6)] {
        let mut state = state.clone();
        state
            .last
            .as_mut()
            .expect("it was made")
            .deployment
            .candidate = Candidate::Commit(commit(2));
        let found = succession(&state, &current(candidate, 0), &same);
        assert_eq!(found, Succession::GoOn);
    }
}

#[test]
fn a_test_gives_way_to_the_own_branch_and_is_given_up_when_nobody_wants_it() {
    let state = of_own(Outcome::Deployed);
    let current = current(tested(6), 3);
    assert_eq!(
        succession(&state, &current, &look(2, at(6), observed(1))),
        Succession::TakeOver(Candidate::Commit(commit(2)))
    );
    for head in [
        TestingHead::Missing,
        TestingHead::Merged(commit(6)),
        refused(FailureCode::CommitUnsigned),
    ] {
        let look = look(1, head, observed(1));
        assert_eq!(succession(&state, &current, &look), Succession::GiveUp);
    }
    for head in [TestingHead::Unknown, refused(FailureCode::FetchFailed)] {
        let look = look(1, head, observed(1));
        assert_eq!(succession(&state, &current, &look), Succession::GoOn);
    }
}

#[test]
fn the_way_back_does_not_give_way_to_the_head_that_failed() {
    let mut state = of_testing();
    let outcome = Outcome::Refused(failure(FailureCode::EvaluationFailed));
    state.last = Some(finished(Candidate::Commit(commit(2)), 2, outcome));
    let mut current = current(Candidate::Commit(commit(1)), 0);
    current.cause = Cause::TestingLeft;
    let gone = |own| look(own, TestingHead::Missing, testing_host());
    assert_eq!(succession(&state, &current, &gone(2)), Succession::GoOn);
    assert_eq!(
        succession(&state, &current, &gone(3)),
        Succession::TakeOver(Candidate::Commit(commit(3)))
    );
}
