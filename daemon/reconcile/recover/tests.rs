//! Where each phase goes on.

use super::super::effect::Work;
use super::super::fixtures::*;
use super::super::phase::Way;
use super::*;
use crate::model::deployment::DeploymentId;
use crate::model::deployment::Finished;
use crate::model::rollback::WantedBy;
use crate::model::system::{DefaultEntry, Generation, ProfileEntry};

fn every_phase() -> Vec<Phase> {
    let (deployment, system) = (deployment(1), system(1));
    vec![
        Phase::Importing {
            deployment: deployment.clone(),
        },
        Phase::Evaluating {
            deployment: deployment.clone(),
        },
        Phase::Building {
            deployment: deployment.clone(),
            derivation: derivation(1),
        },
        Phase::Rooting {
            deployment: deployment.clone(),
            system: system.clone(),
        },
        Phase::Inspecting {
            deployment: deployment.clone(),
            system: system.clone(),
        },
        Phase::Checking {
            deployment: deployment.clone(),
            system: system.clone(),
            way: Way::Test,
        },
        Phase::Arming {
            deployment: deployment.clone(),
            system: system.clone(),
        },
        Phase::Testing(activation(1)),
        Phase::Replacing(activation(1)),
        Phase::Confirming(activation(1)),
        Phase::Claiming(activation(1)),
        Phase::SettingProfile {
            activation: activation(1),
            permission: confirmed(),
        },
        Phase::WritingBootEntry {
            activation: activation(1),
            permission: confirmed(),
        },
        Phase::ReadingBack {
            activation: activation(1),
            permission: confirmed(),
        },
        Phase::Restoring {
            deployment,
            system,
            previous: ProfileEntry {
                generation: Generation(1),
                toplevel: toplevel(0),
            },
            then: AfterRestore::RollBack(failure(FailureCode::BootLoaderFailed), baseline()),
        },
        Phase::Disarming {
            activation: activation(1),
            then: AfterDisarm::End(Outcome::Deployed),
        },
        Phase::RollingBack {
            activation: activation(1),
            failure: failure(FailureCode::UnhealthyAfterTest),
            reboot: Reboot::LeadsBack,
        },
    ]
}

fn world(observed: &Observed) -> World {
    World {
        observed: observed.clone(),
        verdict: None,
        record: None,
    }
}

/// What a guardian left that led back from toplevel 1.
fn record(stage: RollbackStage) -> RollbackRecord {
    RollbackRecord {
        deployment: deployment(1).id,
        commit: commit(1),
        previous: toplevel(0),
        candidate: toplevel(1),
        boot_id: boot(0),
        at: now(50).wall,
        wanted_by: WantedBy::Deadline,
        stage,
    }
}

fn recovered(phase: Phase, observed: &Observed, boot_index: u64) -> Step {
    recovered_in(phase, &world(observed), boot_index)
}

fn recovered_in(phase: Phase, world: &World, boot_index: u64) -> Step {
    let policy = policy();
    let mut context = context(&policy, 100);
    context.boot_id = boot(boot_index);
    let state = State {
        phase,
        ..State::default()
    };
    recover(state, world, &context)
}

fn work(step: &Step) -> Option<&Work> {
    match &step.effects[..] {
        [] => None,
        [Effect::Work(_, work)] => Some(work),
        other => panic!("recovery asks for {other:?}"),
    }
}

#[test]
fn a_host_at_rest_stays_at_rest() {
    for boot in [0, 1] {
        let step = recovered(Phase::Resting, &observed(0), boot);
        assert_eq!((step.state, step.effects.len()), (State::default(), 0));
    }
}

#[test]
fn what_an_activation_broke_is_forgiven_until_the_next_boot() {
    let policy = policy();
    let last = Finished {
        deployment: deployment(1),
        toplevel: Some(toplevel(1)),
        outcome: Outcome::Failed(failure(FailureCode::ActivationFailed)),
        finished: now(10),
    };
    let state = State {
        last: Some(last),
        known_broken: ["web.service".to_owned()].into(),
        ..State::default()
    };
    for (index, expected) in [(0, 1), (1, 0)] {
        let mut context = context(&policy, 100);
        context.boot_id = boot(index);
        let next = recover(state.clone(), &world(&observed(0)), &context).state;
        assert_eq!(next.known_broken.len(), expected, "in boot {index}");
    }
}

/// At rest after commit 1 was tested in boot 0, and recovered in that boot.
fn after_a_test(mode: Mode, observed: &Observed, boot_index: u64) -> State {
    let mut deployment = deployment(1);
    deployment.mode = mode;
    let state = State {
        last: Some(Finished {
            deployment,
            toplevel: Some(toplevel(1)),
            outcome: Outcome::Deployed,
            finished: now(10),
        }),
        ..State::default()
    };
    let policy = policy();
    let mut context = context(&policy, 100);
    context.boot_id = boot(boot_index);
    recover(state, &world(observed), &context).state
}

#[test]
fn a_reboot_ends_a_test_and_a_manual_switch_does_not() {
    for (mode, index, boot, expected) in [
        (Mode::Test, 0, 1, Some(FailureCode::TestEnded)),
        (Mode::Test, 0, 0, None),
        (Mode::Test, 1, 1, None),
        (Mode::Switch, 0, 1, None),
    ] {
        let last = after_a_test(mode, &observed(index), boot).last;
        let outcome = last.expect("it was there").outcome;
        let code = outcome.failure().map(|failure| failure.code);
        assert_eq!(code, expected, "{mode:?}, system {index}, boot {boot}");
    }
}

#[test]
fn what_a_reboot_cuts_off_in_a_test_is_neither_tried_again_nor_held_against_it() {
    let mut tested = activation(1);
    tested.deployment.mode = Mode::Test;
    for phase in [
        Phase::Testing(tested.clone()),
        Phase::Replacing(tested.clone()),
        Phase::Confirming(tested.clone()),
        Phase::Claiming(tested.clone()),
        Phase::Disarming {
            activation: tested.clone(),
            then: AfterDisarm::End(Outcome::Deployed),
        },
    ] {
        let from = phase.name();
        let state = recovered(phase, &observed(0), 1).state;
        assert_eq!(state.phase, Phase::Resting, "from {from}");
        let last = state.last.expect("it ended");
        let Outcome::RolledBackByReboot(failure) = last.outcome else {
            panic!("from {from}: {:?}", last.outcome);
        };
        assert_eq!(failure.code, FailureCode::TestEnded, "from {from}");
        assert_eq!(state.quarantine.iter().count(), 0, "from {from}");
        assert_eq!(state.floor, None, "from {from}");
    }
}

#[test]
fn in_the_same_boot_every_phase_takes_up_its_own_work() {
    for phase in every_phase() {
        let step = recovered(phase.clone(), &observed(0), 0);
        assert_eq!(step.state.phase, phase);
        let state = State {
            phase,
            ..State::default()
        };
        assert_eq!(work(&step), state.work().map(|(_, work)| work).as_ref());
    }
}

#[test]
fn after_a_reboot_into_the_old_system_nothing_is_written_before_a_new_test() {
    let expected = [
        ("importing", 0),
        ("evaluating", 0),
        ("building", 0),
        ("rooting", 0),
        ("inspecting", 0),
        ("inspecting", 1),
        ("inspecting", 0),
        ("inspecting", 1),
        ("inspecting", 1),
        ("inspecting", 1),
        ("inspecting", 1),
        ("inspecting", 1),
        ("inspecting", 1),
        ("inspecting", 1),
        ("restoring", 0),
    ];
    for (phase, (name, interruptions)) in every_phase().into_iter().zip(expected) {
        let from = phase.name();
        let step = recovered(phase, &observed(0), 1);
        let deployment = step.state.phase.deployment().expect("it goes on");
        assert_eq!(step.state.phase.name(), name, "from {from}");
        assert_eq!(deployment.interruptions, interruptions, "from {from}");
        assert_eq!(deployment.boot_id, boot(1), "from {from}");
    }
}

#[test]
fn after_a_reboot_into_the_new_system_the_writing_is_finished() {
    for phase in every_phase().into_iter().skip(11).take(3) {
        let step = recovered(phase, &observed(1), 1);
        assert_eq!(step.state.phase.name(), "setting-profile");
    }
}

#[test]
fn a_profile_that_was_moved_and_not_booted_goes_back_first() {
    let mut half = observed(0);
    half.profile = Some(ProfileEntry {
        generation: Generation(2),
        toplevel: toplevel(1),
    });
    let phase = every_phase().swap_remove(12);
    let step = recovered(phase, &half, 1);
    let Some(Work::Restore { previous, .. }) = work(&step) else {
        panic!("{step:?}");
    };
    assert_eq!(previous.toplevel, toplevel(0));
}

#[test]
fn an_entry_that_policy_lets_write_untested_is_finished_after_a_reboot() {
    let phase = Phase::WritingBootEntry {
        activation: Activation {
            baseline: Baseline::default(),
            ..activation(1)
        },
        permission: untested(),
    };
    let mut old = observed(0);
    old.default_entry = DefaultEntry::Unchecked;
    let step = recovered(phase, &old, 1);
    assert_eq!(step.state.phase.name(), "setting-profile");
}

#[test]
fn the_second_interruption_ends_the_deployment() {
    let mut once = activation(1);
    once.deployment.interruptions = 1;
    let phases = [Phase::Testing(once.clone()), Phase::Confirming(once)];
    for phase in phases {
        let step = recovered(phase, &observed(0), 1);
        let last = step.state.last.as_ref().expect("it came to its end");
        assert_eq!(step.state.phase, Phase::Resting);
        assert_eq!(
            last.outcome.failure().map(|failure| failure.code),
            Some(FailureCode::Interrupted)
        );
        assert_eq!(work(&step), None);
    }
}

#[test]
fn whoever_was_led_back_by_the_guardian_in_this_boot_obeys() {
    for phase in every_phase() {
        let name = phase.name();
        let guarded_until_claimed = [
            "arming",
            "testing",
            "replacing",
            "confirming",
            "claiming",
            "disarming",
            "rolling-back",
        ];
        let mut world = world(&observed(0));
        world.verdict = Some(Verdict::RollBack);
        let step = recovered_in(phase, &world, 0);
        let now = step.state.phase.name();
        if guarded_until_claimed.contains(&name) {
            assert_eq!(now, "rolling-back", "from {name}");
        } else {
            assert_eq!(now, name);
        }
    }
}

#[test]
fn a_reboot_by_the_guardian_is_told_from_a_power_cut() {
    let why = "sshd does not answer".to_owned();
    for phase in every_phase().into_iter().skip(8).take(3) {
        let from = phase.name();
        let mut world = world(&observed(0));
        world.record = Some(record(RollbackStage::Rebooting { why: why.clone() }));
        let state = recovered_in(phase.clone(), &world, 1).state;
        let last = state.last.as_ref().expect("it came to its end");
        let Outcome::RolledBackByReboot(failure) = &last.outcome else {
            panic!("from {from}: {:?}", last.outcome);
        };
        assert!(failure.detail.contains(&why), "from {from}");
        assert!(state.quarantine.contains(&toplevel(1)), "from {from}");
        // Without the record it is nobody's verdict, and tried once more.
        let state = recovered(phase, &observed(0), 1).state;
        assert_eq!(state.phase.name(), "inspecting", "from {from}");
        assert!(!state.quarantine.contains(&toplevel(1)), "from {from}");
    }
}

#[test]
fn a_record_of_another_deployment_is_no_verdict_on_this_one_and_is_not_forgotten() {
    let mut other = record(RollbackStage::RolledBack);
    other.deployment = DeploymentId("another".to_owned());
    other.candidate = toplevel(7);
    let mut world = world(&observed(0));
    world.record = Some(other);
    let phase = every_phase().swap_remove(10);
    let state = recovered_in(phase, &world, 1).state;
    assert_eq!(state.phase.name(), "inspecting");
    assert!(state.quarantine.contains(&toplevel(7)));
}

#[test]
fn a_ledger_that_was_lost_still_knows_what_the_guardian_led_back_from() {
    let mut world = world(&observed(0));
    world.record = Some(record(RollbackStage::RolledBack));
    let state = recovered_in(Phase::Resting, &world, 0).state;
    assert!(state.quarantine.contains(&toplevel(1)));
    // Unless somebody put it in place since.
    let mut world = self::world(&observed(1));
    world.record = Some(record(RollbackStage::RolledBack));
    let state = recovered_in(Phase::Resting, &world, 0).state;
    assert!(!state.quarantine.contains(&toplevel(1)));
}

#[test]
fn a_ledger_that_was_written_since_knows_better_than_the_record() {
    let policy = policy();
    let mut world = world(&observed(2));
    let mut record = record(RollbackStage::RolledBack);
    record.deployment = DeploymentId("the first try".to_owned());
    world.record = Some(record);
    for (finished, expected) in [(40, true), (60, false)] {
        let state = State {
            last: Some(Finished {
                deployment: deployment(2),
                toplevel: Some(toplevel(2)),
                outcome: Outcome::Deployed,
                finished: now(finished),
            }),
            ..State::default()
        };
        let state = recover(state, &world, &context(&policy, 100)).state;
        let is_held = state.quarantine.contains(&toplevel(1));
        assert_eq!(
            is_held, expected,
            "the record is of 50, the ledger of {finished}"
        );
    }
}

#[test]
fn what_was_lifted_from_quarantine_does_not_come_back_with_the_record() {
    let mut world = world(&observed(2));
    world.record = Some(record(RollbackStage::RolledBack));
    let quarantined = |started| {
        let mut later = deployment(2);
        later.id = DeploymentId("later".to_owned());
        later.started = started;
        let phase = Phase::Importing { deployment: later };
        let state = recovered_in(phase, &world, 0).state;
        state.quarantine.contains(&toplevel(1))
    };
    assert!(!quarantined(now(51)), "its daemon knew of the record");
    assert!(quarantined(now(49)), "the ledger is older than the record");
}

#[test]
fn a_system_that_was_overridden_while_it_was_led_back_from_is_not_in_quarantine() {
    let mut world = world(&observed(2));
    world.record = Some(record(RollbackStage::Overridden { running: None }));
    let state = recovered_in(Phase::Resting, &world, 0).state;
    assert!(!state.quarantine.contains(&toplevel(1)));
}

#[test]
fn a_reboot_in_the_middle_of_a_rollback_has_rolled_back() {
    let phase = every_phase().pop().expect("there are some");
    assert_eq!(phase.name(), "rolling-back");
    let state = recovered(phase, &observed(0), 1).state;
    let last = state.last.as_ref().expect("it came to its end");
    assert_eq!(last.outcome.as_str(), "rolled-back-by-reboot");
    let code = last.outcome.failure().map(|failure| failure.code);
    assert_eq!(code, Some(FailureCode::UnhealthyAfterTest));
}

#[test]
fn a_reboot_into_what_is_led_back_from_restores_the_entry_first() {
    let phase = every_phase().pop().expect("there are some");
    let state = recovered(phase, &observed(1), 1).state;
    let Phase::Restoring { previous, then, .. } = &state.phase else {
        panic!("{:?}", state.phase);
    };
    assert_eq!(previous.toplevel, toplevel(0));
    assert!(matches!(then, AfterRestore::RollBack(..)), "{then:?}");
}

#[test]
fn a_reboot_disarms() {
    let phase = every_phase()
        .into_iter()
        .rev()
        .nth(1)
        .expect("there are some");
    assert_eq!(phase.name(), "disarming");
    let state = recovered(phase, &observed(1), 1).state;
    assert_eq!(state.phase, Phase::Resting);
    assert_eq!(state.last.map(|last| last.outcome), Some(Outcome::Deployed));
}

#[test]
fn every_phase_is_read_back_from_the_form_that_every_daemon_writes() {
    for phase in every_phase() {
        let written = serde_json::to_value(&phase).expect("a phase serialises");
        for part in ["name", "deployment"] {
            assert!(written.get(part).is_some(), "no {part} in {written}");
        }
        let is_built = phase.system().is_some();
        assert_eq!(written.get("system").is_some(), is_built, "{written}");
        let read: Phase = serde_json::from_value(written).expect("what was written");
        assert_eq!(read, phase);
    }
}

#[test]
fn a_reboot_that_came_up_is_all_that_is_known_of_an_entry_that_nobody_reads() {
    let unreadable = DefaultEntry::Unreadable("torn".to_owned());
    for (boot_now, default_entry, reboot) in [
        (0, DefaultEntry::Unchecked, Reboot::LeadsAstray),
        (1, DefaultEntry::Unchecked, Reboot::LeadsBack),
        (1, unreadable, Reboot::LeadsAstray),
        (0, DefaultEntry::Toplevel(toplevel(0)), Reboot::LeadsBack),
    ] {
        let state = State {
            last: Some(Finished {
                deployment: deployment(1),
                toplevel: Some(toplevel(1)),
                outcome: Outcome::RolledBack(failure(FailureCode::BootLoaderFailed)),
                finished: now(50),
            }),
            reboot: Reboot::LeadsAstray,
            ..State::default()
        };
        let world = world(&Observed {
            default_entry,
            ..observed(0)
        });
        let policy = policy();
        let context = Context {
            boot_id: boot(boot_now),
            ..context(&policy, 60)
        };
        assert_eq!(recover(state, &world, &context).state.reboot, reboot);
    }
}

#[test]
fn who_was_overridden_before_a_reboot_is_told_so_whatever_was_booted() {
    for phase in every_phase() {
        let name = phase.name();
        let is_led_back_from = [
            "testing",
            "replacing",
            "confirming",
            "claiming",
            "rolling-back",
        ];
        // What somebody switched to, what was there before, what failed.
        for booted in [2, 0, 1] {
            let mut world = world(&observed(booted));
            world.record = Some(record(RollbackStage::Overridden {
                running: Some(toplevel(2)),
            }));
            let state = recovered_in(phase.clone(), &world, 1).state;
            let outcome = state.last.as_ref().map(|last| last.outcome.as_str());
            if is_led_back_from.contains(&name) {
                assert_eq!(
                    (&state.phase, outcome),
                    (&Phase::Resting, Some("overridden"))
                );
                assert!(!state.quarantine.contains(&toplevel(1)), "{name}, {booted}");
            }
            assert_ne!(outcome, Some("rolled-back-by-reboot"), "{name}, {booted}");
        }
    }
}

/// What became of a failed way back, once the guardian has left this record.
fn adopted(stage: RollbackStage, running: u8, boot_index: u64) -> Outcome {
    let policy = policy();
    let mut context = context(&policy, 100);
    context.boot_id = boot(boot_index);
    let state = State {
        last: Some(Finished {
            deployment: deployment(1),
            toplevel: Some(toplevel(1)),
            outcome: Outcome::RollbackFailed(failure(FailureCode::UnhealthyAfterTest)),
            finished: now(20),
        }),
        ..State::default()
    };
    let world = World {
        record: Some(record(stage)),
        ..world(&Observed {
            running: Some(toplevel(running)),
            boot_id: boot(boot_index),
            ..observed(0)
        })
    };
    let last = recover(state, &world, &context).state.last;
    last.expect("it is not forgotten").outcome
}

#[test]
fn a_guardian_that_led_back_at_its_deadline_has_not_failed() {
    let outcome = adopted(RollbackStage::RolledBack, 0, 0);
    assert!(matches!(outcome, Outcome::RolledBack(_)), "{outcome:?}");
    let why = || "x".to_owned();
    let outcome = adopted(RollbackStage::Rebooting { why: why() }, 0, 1);
    assert!(
        matches!(outcome, Outcome::RolledBackByReboot(_)),
        "{outcome:?}"
    );
    let failed = RollbackStage::Failed {
        why: why(),
        failed_units: std::collections::BTreeSet::new(),
    };
    for (stage, running, boot) in [
        (RollbackStage::RolledBack, 1, 0),
        (RollbackStage::Rebooting { why: why() }, 0, 0),
        (failed, 0, 0),
    ] {
        let outcome = adopted(stage.clone(), running, boot);
        assert!(matches!(outcome, Outcome::RollbackFailed(_)), "{stage:?}");
    }
}
