//! What a push is to the state machine, from root's word to what ends it.

use super::condition::{Condition, Surroundings, condition};
use super::effect::{Effect, Work};
use super::event::{Asked, Demand, Event, Instead, Look, Report};
use super::fixtures::*;
use super::instead::{self, NotBegun};
use super::phase::{Phase, Way};
use super::recover::{World, recover};
use super::state::{Context, State, Step};
use super::step::{finish, step};
use crate::model::deployment::{Cause, Deployment, DeploymentId, Finished, Outcome, Resolved};
use crate::model::failure::FailureCode;
use crate::model::pause::UserId;
use crate::model::policy::{Mode, OnDrift, OnUnhealthy, Policy, Pushes};
use crate::model::push::{OwnCheck, Push};
use crate::model::revision::{Candidate, CommitId};
use crate::model::stage::{CheckPlan, CheckScope, UnitStep};
use crate::model::system::Observed;

/// The index of what is pushed.
const PUSHED: u8 = 20;

/// Takes everything that is pushed.
fn open() -> Policy {
    Policy {
        pushes: Pushes::Always,
        ..policy()
    }
}

/// A host that was brought to commit 2.
fn host() -> State {
    let deployment = Deployment {
        id: DeploymentId("of-commit-2".to_owned()),
        ..deployment(2)
    };
    State {
        floor: Some(commit(2)),
        resolved: Some(Resolved {
            candidate: deployment.candidate.clone(),
            configuration: String::new(),
            derivation: derivation(2),
            toplevel: Some(toplevel(2)),
        }),
        last: Some(Finished {
            deployment,
            toplevel: Some(toplevel(2)),
            outcome: Outcome::Deployed,
            finished: now(2),
        }),
        ..State::default()
    }
}

fn asked(push: Box<Push>) -> Asked {
    Asked {
        by: UserId(0),
        instead: Instead::Pushed(push),
        head: Some(commit(2)),
        observed: observed(2),
    }
}

fn pushes(options: &[&str]) -> Event {
    Event::RootAsked(asked(push(PUSHED, options)))
}

fn looked(head: Option<u8>, observed: Observed) -> Event {
    Event::Looked(Look {
        head: head.map(commit),
        is_refused: false,
        testing: None,
        observed,
        demand: Demand::Look,
    })
}

fn next(state: State, event: Event) -> State {
    step(state, event, &context(&open(), 20)).state
}

/// The deployment that goes on comes to this end.
fn ended(mut state: State, outcome: Outcome) -> State {
    let policy = open();
    let phase = std::mem::take(&mut state.phase);
    let current = phase.deployment().expect("it goes on").clone();
    let reached = Some(toplevel(PUSHED));
    let context = context(&policy, 30);
    finish(state, current, reached, outcome, None, &context).state
}

/// A host that holds what was pushed.
fn held(options: &[&str]) -> State {
    ended(next(host(), pushes(options)), Outcome::Deployed)
}

fn told(state: &State, observed: &Observed) -> Condition {
    let surroundings = Surroundings {
        unsaved: None,
        busy: None,
        remote: None,
        observed,
    };
    condition(state, &surroundings)
}

fn current(state: &State) -> Option<(Candidate, Cause)> {
    let current = state.phase.deployment()?;
    Some((current.candidate.clone(), current.cause))
}

fn own(index: u8) -> Candidate {
    Candidate::Commit(commit(index))
}

/// A host whose running system alone is that.
fn tests(index: u8) -> Observed {
    Observed {
        running: Some(toplevel(index)),
        ..observed(2)
    }
}

#[test]
fn a_push_is_taken_evaluated_and_built_like_a_commit_and_is_none() {
    let policy = open();
    let next = step(host(), pushes(&[]), &context(&policy, 20));
    let expected = Candidate::Pushed {
        commit: commit(2),
        push: push(PUSHED, &[]),
    };
    assert_eq!(current(&next.state), Some((expected.clone(), Cause::Push)));
    let [Effect::Work(_, Work::Import(imported))] = &next.effects[..] else {
        panic!("{:?}", next.effects);
    };
    assert_eq!(*imported, expected);
    // Though what was evaluated last is of the commit in whose place it comes.
    assert!(matches!(next.state.phase, Phase::Importing { .. }));
    let state = held(&[]);
    assert_eq!((&state.floor, &state.allowed), (&Some(commit(2)), &None));
    let last = state.last.as_ref().map(|last| &last.deployment.candidate);
    assert_eq!(last, Some(&own(2)), "the branch is what it was");
    assert_eq!(state.proven.iter().count(), 0, "it is no commit's system");
}

#[test]
fn what_was_pushed_never_stands_for_the_commit_in_whose_place_it_came() {
    let mut state = held(&[]);
    state.resolved = Some(Resolved {
        candidate: Candidate::Pushed {
            commit: commit(2),
            push: push(PUSHED, &[]),
        },
        configuration: String::new(),
        derivation: derivation(PUSHED),
        toplevel: Some(toplevel(PUSHED)),
    });
    let state = next(state, Event::Resumed);
    let state = next(state, looked(Some(2), observed(PUSHED)));
    assert_eq!(current(&state), Some((own(2), Cause::Resumed)));
    assert!(
        matches!(state.phase, Phase::Importing { .. }),
        "{:?}",
        state.phase
    );
}

#[test]
fn the_host_holds_it_until_a_commit_that_was_not_known_or_resume() {
    let state = held(&[]);
    for head in [Some(2), None] {
        let state = next(state.clone(), looked(head, observed(PUSHED)));
        assert_eq!(state.phase, Phase::Resting, "{head:?}");
        assert_eq!(told(&state, &observed(PUSHED)), Condition::Holding);
    }
    let new = next(state.clone(), looked(Some(3), observed(PUSHED)));
    assert_eq!(current(&new), Some((own(3), Cause::NewCommit)));
    assert_eq!(new.hold, None);
    let back = next(state, Event::Resumed);
    let back = next(back, looked(None, observed(PUSHED)));
    assert_eq!(current(&back), Some((own(2), Cause::Resumed)));
}

#[test]
fn drift_counts_from_there_and_is_corrected_to_there() {
    let state = held(&["test-only"]);
    assert_eq!(told(&state, &tests(PUSHED)), Condition::Holding);
    let drifted = told(&state, &tests(7));
    assert!(matches!(drifted, Condition::Drifted { wanted } if wanted == toplevel(PUSHED)));
    let policy = Policy {
        on_drift: OnDrift::Correct,
        ..open()
    };
    let event = looked(Some(2), tests(7));
    let state = step(state, event, &context(&policy, 40)).state;
    let (candidate, cause) = current(&state).expect("it is corrected");
    assert!(candidate.push().is_some() && cause == Cause::Drift);
    let state = ended(state, Outcome::Deployed);
    assert!(state.hold.is_some());
}

#[test]
fn the_host_is_brought_as_far_as_root_says() {
    for (options, mode, expected) in [
        (&[][..], Mode::Switch, Mode::Switch),
        (&[], Mode::Boot, Mode::Boot),
        (&["test-only"], Mode::Boot, Mode::Test),
        (&["skip-test"], Mode::Switch, Mode::Boot),
        (&["skip-test"], Mode::Test, Mode::Boot),
    ] {
        let policy = Policy { mode, ..open() };
        let state = step(host(), pushes(options), &context(&policy, 20)).state;
        let aim = state.phase.deployment().map(Deployment::aim);
        assert_eq!(aim, Some(expected), "{options:?} in {mode:?}");
    }
}

#[test]
fn another_mode_of_the_host_is_none_of_what_was_only_to_be_tested() {
    let policy = Policy {
        mode: Mode::Boot,
        ..open()
    };
    for (options, expected) in [(&["test-only"][..], None), (&[], Some(Cause::Mode))] {
        let event = looked(Some(2), observed(PUSHED));
        let state = step(held(options), event, &context(&policy, 40)).state;
        assert_eq!(current(&state).map(|(_, cause)| cause), expected);
    }
}

#[test]
fn skipped_checks_are_skipped_and_named_ones_are_asked() {
    for (options, own, unhealthy) in [
        (&[][..], OwnCheck::Configured, OnUnhealthy::Refuse),
        (
            &["skip-preflight"],
            OwnCheck::Skipped,
            OnUnhealthy::ProceedIfNotWorse,
        ),
        (
            &["pre-activate-script=bin/check"],
            OwnCheck::Named("bin/check".to_owned()),
            OnUnhealthy::Refuse,
        ),
    ] {
        let mut state = next(host(), pushes(options));
        let deployment = state.phase.deployment().expect("it goes on").clone();
        state.phase = Phase::Inspecting {
            deployment: deployment.clone(),
            system: system(PUSHED),
        };
        let Some((_, Work::Inspect(_, forgiven))) = state.work() else {
            panic!("it inspects");
        };
        assert_eq!(forgiven.unhealthy, unhealthy, "{options:?}");
        state.phase = Phase::Checking {
            deployment,
            system: system(PUSHED),
            way: Way::Test,
        };
        let scope = CheckScope::BeforeTest;
        let expected = Work::Check(system(PUSHED), CheckPlan { scope, own });
        assert_eq!(state.work().map(|(_, work)| work), Some(expected));
    }
}

#[test]
fn what_this_host_does_not_take_is_not_begun() {
    for (pushes, options, expected) in [
        (Pushes::Never, &["test-only"][..], NotBegun::Never),
        (
            Pushes::NotWhereSigned,
            &["test-only"],
            NotBegun::NotWhereSigned,
        ),
        (Pushes::TestOnly, &[], NotBegun::TestOnly),
        (Pushes::TestOnly, &["skip-test"], NotBegun::TestOnly),
    ] {
        let policy = Policy { pushes, ..policy() };
        let asked = asked(push(PUSHED, options));
        let refused = instead::candidate(&host(), &policy, &asked);
        assert_eq!(refused, Err(expected));
        let event = Event::RootAsked(asked);
        let same = step(host(), event, &context(&policy, 20));
        assert!(same.stale && same.effects.is_empty() && same.state == host());
    }
    let asked = asked(push(PUSHED, &["test-only"]));
    assert!(instead::candidate(&host(), &policy(), &asked).is_ok());
}

#[test]
fn a_host_that_is_touched_is_left_alone_and_one_that_prepares_gives_way() {
    let policy = open();
    let mut state = host();
    state.phase = Phase::Testing(activation(3));
    let refused = instead::candidate(&state, &policy, &asked(push(PUSHED, &[])));
    assert_eq!(refused, Err(NotBegun::Busy("testing")));
    assert_eq!(next(state.clone(), pushes(&[])), state);
    state.phase = Phase::Importing {
        deployment: deployment(3),
    };
    let given = step(state, pushes(&[]), &context(&policy, 20));
    let abandon = Effect::Abandon(deployment(3).id, UnitStep::Import);
    assert_eq!(given.effects.first(), Some(&abandon));
    let hold = given.state.hold.as_ref().expect("it is held");
    let left: Vec<&CommitId> = hold.left.iter().collect();
    assert_eq!(left, [&commit(2), &commit(3)]);
    // A look does not make it give way, and it does not begin another.
    let looked = step(
        given.state.clone(),
        looked(Some(4), observed(2)),
        &context(&policy, 25),
    );
    assert!(looked.stale && looked.state.phase == given.state.phase);
}

#[test]
fn one_that_fails_leaves_the_host_as_it_was() {
    for outcome in [
        Outcome::Refused(failure(FailureCode::SourceInvalid)),
        Outcome::Refused(failure(FailureCode::InputUnavailable)),
        Outcome::RolledBack(failure(FailureCode::UnhealthyAfterTest)),
    ] {
        let state = ended(next(host(), pushes(&[])), outcome.clone());
        assert_eq!((&state.hold, &state.retry), (&None, &None));
        let found = state.latest().map(|it| &it.outcome).expect("it ended");
        assert_eq!(found.as_str(), outcome.as_str());
        let (found, failed) = (found.failure(), outcome.failure());
        assert_eq!(found.map(|it| it.code), failed.map(|it| it.code));
        assert_eq!(told(&state, &observed(2)), Condition::Converged);
        let state = next(state, looked(Some(2), observed(2)));
        assert_eq!(state.phase, Phase::Resting, "root's word is one try");
    }
    // Where one was held before, it still is.
    let second = Event::RootAsked(asked(push(PUSHED + 1, &[])));
    let state = next(held(&[]), second);
    let state = ended(state, Outcome::Refused(failure(FailureCode::BuildFailed)));
    let standing = state.hold.as_ref().and_then(|hold| hold.standing.as_ref());
    let source = standing.and_then(|it| it.deployment.candidate.push());
    assert_eq!(source, Some(&*push(PUSHED, &[])));
    // The same once more: it is there all the same.
    let again = next(held(&[]), pushes(&[]));
    for outcome in [
        Outcome::Refused(failure(FailureCode::StepFailed)),
        Outcome::Superseded,
    ] {
        let state = ended(again.clone(), outcome);
        assert_eq!(told(&state, &observed(PUSHED)), Condition::Holding);
    }
    // What is to be done is said of a push.
    let mut refused = failure(FailureCode::BuildFailed);
    "Push a commit that builds.".clone_into(&mut refused.hint);
    let state = ended(next(host(), pushes(&[])), Outcome::Refused(refused));
    let told = state.latest().and_then(|it| it.outcome.failure());
    assert_eq!(told.map(|it| &*it.hint), Some("Mend it and push again."));
}

#[test]
fn a_quarantined_system_is_tried_once_more_by_roots_word() {
    let failed = Outcome::RolledBack(failure(FailureCode::UnhealthyAfterTest));
    let state = ended(next(host(), pushes(&[])), failed);
    assert!(state.quarantine.contains(&toplevel(PUSHED)));
    let mut state = next(state, pushes(&[]));
    let deployment = state.phase.deployment().expect("it goes on").clone();
    let id = deployment.id.clone();
    state.phase = Phase::Rooting {
        deployment,
        system: system(PUSHED),
    };
    let report = Report::Rooted(Ok(observed(2)));
    let event = Event::Completed {
        deployment: id,
        report,
    };
    let state = next(state, event);
    assert_eq!(state.phase.name(), "inspecting");
}

#[test]
fn a_paused_host_takes_it_all_the_same() {
    let pause = Event::Paused {
        by: UserId(0),
        reason: String::new(),
        length: None,
    };
    let state = next(next(host(), pause), pushes(&[]));
    assert!(state.pause.is_some() && state.phase.name() == "importing");
}

#[test]
fn rollback_leads_from_a_push_to_what_was_confirmed_before_it() {
    let mut state = host();
    let last = state.last.clone().expect("it was made");
    state.proven.add(&last, state.resolved.clone().as_ref());
    let state = ended(next(state, pushes(&[])), Outcome::Deployed);
    let back = Asked {
        instead: Instead::Earlier(None),
        observed: observed(PUSHED),
        ..asked(push(PUSHED, &[]))
    };
    let state = next(state, Event::RootAsked(back));
    let (candidate, cause) = current(&state).expect("it goes back");
    assert_eq!((candidate.commit(), cause), (&commit(2), Cause::Rollback));
}

fn rebooted<'a>(policy: &'a Policy, observed: &mut Observed) -> Context<'a> {
    let mut later = context(policy, 60);
    later.boot_id = boot(1);
    observed.boot_id = boot(1);
    later
}

fn recovered(state: State, mut observed: Observed) -> Step {
    let policy = open();
    let context = rebooted(&policy, &mut observed);
    let world = World {
        observed,
        verdict: None,
        record: None,
    };
    recover(state, &world, &context)
}

#[test]
fn a_reboot_ends_what_was_only_tested_and_nothing_else() {
    let state = recovered(held(&["test-only"]), observed(2)).state;
    assert_eq!(state.hold, None);
    let code = state.latest().and_then(|it| it.outcome.failure());
    assert_eq!(code.map(|it| it.code), Some(FailureCode::TestEnded));
    assert_eq!(told(&state, &observed(2)), Condition::Converged);
    let state = recovered(held(&[]), observed(PUSHED)).state;
    assert!(state.hold.is_some());
    assert_eq!(told(&state, &observed(PUSHED)), Condition::Holding);
    // Nor what was pushed since, and goes on.
    let second = Event::RootAsked(asked(push(PUSHED + 1, &[])));
    let state = recovered(next(held(&["test-only"]), second), observed(2)).state;
    assert_eq!(state.phase.name(), "importing");
    let hold = state.hold.expect("the host is to be held");
    assert_eq!(hold.standing, None);
}

#[test]
fn a_system_that_waits_for_its_reboot_is_held_after_it() {
    let waits = Outcome::RebootRequired {
        reason: failure(FailureCode::WaitsForReboot),
        entry_written: true,
    };
    let state = ended(next(host(), pushes(&["skip-test"])), waits);
    let before = Observed {
        running: Some(toplevel(2)),
        ..observed(PUSHED)
    };
    let required = told(&state, &before);
    assert!(
        matches!(required, Condition::RebootRequired { .. }),
        "{required:?}"
    );
    let state = recovered(state, observed(PUSHED)).state;
    let state = next(state, looked(Some(2), observed(PUSHED)));
    assert_eq!(told(&state, &observed(PUSHED)), Condition::Holding);
    let outcome = state.latest().map(|it| &it.outcome);
    assert_eq!(outcome, Some(&Outcome::Deployed));
    assert_eq!(state.floor, Some(commit(2)));
}

#[test]
fn a_host_that_knows_no_commit_takes_it_in_place_of_none() {
    let asked = Asked {
        head: None,
        ..asked(push(PUSHED, &[]))
    };
    let candidate = instead::candidate(&State::default(), &open(), &asked);
    let candidate = candidate.expect("it is begun");
    assert_eq!(candidate.commit(), &CommitId::null());
}

#[test]
fn what_is_in_the_ledger_is_read_back() {
    let mut state = next(host(), pushes(&["test-only", "dirty", "name=try it"]));
    for _ in 0..2 {
        let text = serde_json::to_string(&state).expect("it serialises");
        let back: State = serde_json::from_str(&text).expect("it reads back");
        assert_eq!(back, state);
        state = ended(state, Outcome::Deployed);
        state.phase = next(state.clone(), pushes(&["skip-test"])).phase;
    }
}
