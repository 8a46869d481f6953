//! A default entry that is the candidate's before it is activated: somebody
//! made it that, and a reboot is no way back from it.

use std::collections::BTreeSet;

use super::condition::{Condition, Surroundings, condition};
use super::effect::{Effect, Work};
use super::event::{Demand, Event, Look, Report};
use super::fixtures::*;
use super::phase::{Activation, AfterRestore, Phase, Reboot};
use super::recover::{World, recover};
use super::state::{State, Step};
use super::step::step;
use crate::model::deployment::{Deployment, Finished, Outcome};
use crate::model::failure::FailureCode;
use crate::model::health::Reachability;
use crate::model::rollback::{RollbackRecord, RollbackStage, Verdict, WantedBy};
use crate::model::stage::{Confirmation, RollbackEnd};
use crate::model::system::{DefaultEntry, Generation, Observed, ProfileEntry};

/// A host that runs 0, and whose next boot is 1.
fn prepared() -> Observed {
    Observed {
        profile: Some(ProfileEntry {
            generation: Generation(2),
            toplevel: toplevel(1),
        }),
        default_entry: DefaultEntry::Toplevel(toplevel(1)),
        ..observed(0)
    }
}

/// The deployment of 1 there.
fn prepared_activation() -> Activation {
    Activation {
        deployment: Deployment {
            before: prepared(),
            ..deployment(1)
        },
        ..activation(1)
    }
}

fn in_phase(phase: Phase) -> State {
    State {
        phase,
        ..State::default()
    }
}

/// The host came up again, with 1, after the guardian had rebooted it.
fn rebooted(phase: Phase) -> Step {
    let world = World {
        observed: observed(1),
        verdict: None,
        record: Some(RollbackRecord {
            deployment: deployment(1).id,
            commit: commit(1),
            previous: toplevel(0),
            candidate: toplevel(1),
            boot_id: boot(0),
            at: now(50).wall,
            wanted_by: WantedBy::Deadline,
            stage: RollbackStage::Rebooting {
                why: "the bus is dead".to_owned(),
            },
        }),
    };
    let policy = policy();
    let mut context = context(&policy, 100);
    context.boot_id = boot(1);
    recover(in_phase(phase), &world, &context)
}

fn may_reboot(step: &Step) -> Option<bool> {
    step.effects.iter().find_map(|effect| match effect {
        Effect::Work(_, Work::RollBack(rollback)) => Some(rollback.may_reboot),
        Effect::Work(..)
        | Effect::Release(_)
        | Effect::Abandon(..)
        | Effect::Dismiss(_)
        | Effect::Say(..) => None,
    })
}

#[test]
fn the_guardian_does_not_reboot_into_what_it_leads_back_from() {
    for (before, expected) in [(prepared(), false), (observed(0), true)] {
        let deployment = Deployment {
            before,
            ..deployment(1)
        };
        let system = system(1);
        let state = in_phase(Phase::Arming { deployment, system });
        let Some((_, Work::Arm(arming))) = state.work() else {
            panic!("arming has its work");
        };
        assert_eq!(arming.may_reboot, expected);
    }
}

#[test]
fn nor_does_the_daemon_have_it_reboot_and_says_that_a_reboot_is_unsafe() {
    let policy = policy();
    let unhealthy = Report::Confirmed(Confirmation::Unhealthy {
        failure: failure(FailureCode::UnhealthyAfterTest),
        failed_units: BTreeSet::new(),
    });
    let event = Event::Completed {
        deployment: deployment(1).id,
        report: unhealthy,
    };
    let state = in_phase(Phase::Confirming(prepared_activation()));
    let next = step(state, event, &context(&policy, 100));
    assert_eq!(may_reboot(&next), Some(false));
    assert_eq!(next.state.reboot, Reboot::LeadsAstray);
}

#[test]
fn a_reboot_that_led_there_is_no_rollback_and_is_not_repeated() {
    let prepared = prepared_activation();
    let rolling_back = Phase::RollingBack {
        activation: prepared.clone(),
        failure: failure(FailureCode::UnhealthyAfterTest),
        reboot: Reboot::LeadsBack,
    };
    for phase in [
        Phase::Testing(prepared.clone()),
        Phase::Confirming(prepared),
        rolling_back,
    ] {
        let name = phase.name();
        let step = rebooted(phase);
        assert_eq!(step.state.phase.name(), "rolling-back", "from {name}");
        assert_eq!(may_reboot(&step), Some(false), "from {name}");
        assert_eq!(step.state.reboot, Reboot::LeadsAstray, "from {name}");
    }
    // Where the profile was another, it is put back first.
    let step = rebooted(Phase::Testing(activation(1)));
    let Phase::Restoring { previous, then, .. } = &step.state.phase else {
        panic!("{:?}", step.state.phase);
    };
    assert_eq!(previous.toplevel, toplevel(0));
    assert!(matches!(then, AfterRestore::RollBack(..)));
}

/// A host at rest after 1 failed there in this way.
fn failed(outcome: Outcome, before: Observed) -> State {
    State {
        last: Some(Finished {
            deployment: Deployment {
                before,
                ..deployment(1)
            },
            toplevel: Some(toplevel(1)),
            outcome,
            finished: now(60),
        }),
        ..State::default()
    }
}

#[test]
fn what_failed_has_not_arrived_because_the_host_boots_it_as_it_did_before() {
    let policy = policy();
    let look = || {
        Event::Looked(Look {
            is_refused: false,
            testing: None,
            head: Some(commit(1)),
            observed: observed(1),
            demand: Demand::Time,
        })
    };
    let outcome = || Outcome::RollbackFailed(failure(FailureCode::RollbackFailed));
    let state = failed(outcome(), prepared());
    let next = step(state.clone(), look(), &context(&policy, 100));
    assert_eq!(next.state.last, state.last);
    // Where somebody has made it all of the host since, it has.
    let state = failed(outcome(), observed(0));
    let next = step(state, look(), &context(&policy, 100));
    let last = next.state.last.map(|last| last.outcome);
    assert_eq!(last, Some(Outcome::Deployed));
}

#[test]
fn a_host_that_is_not_where_it_was_led_back_to_does_not_say_so() {
    let why = failure(FailureCode::UnhealthyAfterTest);
    let state = failed(Outcome::RolledBack(why.clone()), observed(0));
    for (running, expected) in [
        (0, Condition::RolledBack(why.clone())),
        (1, Condition::Failed(why.clone())),
        (
            7,
            Condition::Drifted {
                wanted: toplevel(0),
            },
        ),
    ] {
        let observed = observed(running);
        let surroundings = Surroundings {
            unsaved: None,
            busy: None,
            remote: None,
            observed: &observed,
        };
        assert_eq!(condition(&state, &surroundings), expected);
    }
}

#[test]
fn a_guardian_that_fired_before_anything_was_activated_holds_nothing_against_the_commit() {
    let policy = policy();
    let world = World {
        observed: observed(0),
        verdict: Some(Verdict::RollBack),
        record: None,
    };
    let arming = Phase::Arming {
        deployment: deployment(1),
        system: system(1),
    };
    let mut context = context(&policy, 100);
    context.boot_id = boot(0);
    let state = recover(in_phase(arming), &world, &context).state;
    let event = Event::Completed {
        deployment: deployment(1).id,
        report: Report::RolledBack(RollbackEnd::RolledBack {
            remote: Reachability::Unknown,
        }),
    };
    let state = step(state, event, &context).state;
    let last = state.last.as_ref().expect("it came to its end");
    assert!(
        matches!(last.outcome, Outcome::Inconclusive(_)),
        "{:?}",
        last.outcome
    );
    assert!(!state.quarantine.contains(&toplevel(1)));
    assert!(state.retry.is_some());
}
