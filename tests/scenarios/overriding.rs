//! Somebody switches the host by hand while a deployment of ours is undecided: that is never undone, and the guardian
//! lets go. And somebody who only holds the switch lock is in the guardian's way, but not for ever.

use std::thread;

use crate::common::{DEADLINE, deployed, ended_as, looks, settled, switch_by_hand, systems, text};
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::world::World;
use crate::window::{
    GUARDIAN_DEADLINE, break_it, breakable, first, generation, hold_lock, is_armed, property,
    record, set_profile, tests_of, wait_for_phase,
};

/// The commit ended because of somebody else, whose systems are these, and nothing is undone. The next one is deployed.
#[track_caller]
fn is_left_alone(world: &mut World, host: &Host, commit: &CommitId, theirs: [&str; 3]) {
    let status = ended_as(host, commit, "overridden");
    assert_eq!(
        status["last"]["failure"]["code"], "overridden",
        "{status:#}"
    );
    assert!(!text(&status["condition"]["why"]).is_empty());
    assert!(!is_armed(host), "the guardian is disarmed");
    assert_eq!(status["quarantine"], serde_json::json!([]));
    let before = host.tally();
    looks(host, 3);
    assert_eq!(systems(host), theirs, "running, profile, default entry");
    assert_eq!(host.tally(), before, "nothing is done");
    assert_eq!(host.status()["system"]["running"], theirs[0]);
    assert!(host.answers_ssh());
    let next = generation("next", 1).one_shot("web.service", "true next");
    let commit = world.server().repository().publish(&next);
    deployed(host, &commit);
}

#[test]
fn a_manual_switch_right_after_test_stays() {
    let mut world = World::starting_with(first(1));
    let host = world.boot();
    let old = settled(&host);
    let third = host.build(&generation("third", 1));
    host.close_gate("activate");
    let commit = world
        .server()
        .repository()
        .publish(&generation("second", 1));
    host.wait_for_gate("activate", DEADLINE);
    // The daemon does not see that the test has ended before somebody has switched.
    host.signal_daemon("STOP");
    host.open_gate("activate");
    host.wait_until("the test has ended", DEADLINE, |host| {
        property(host, "deploy-flake-test.service", "SubState") == "exited"
    });
    switch_by_hand(&host, &third, "test");
    host.signal_daemon("CONT");
    is_left_alone(&mut world, &host, &commit, [&third, &old, &old]);
}

#[test]
fn a_manual_switch_in_the_confirm_window_stays() {
    let mut world = World::starting_with(first(20));
    let host = world.boot();
    let old = settled(&host);
    let third = host.build(&generation("third", 20));
    let commit = world
        .server()
        .repository()
        .publish(&generation("second", 20));
    wait_for_phase(&host, "confirming");
    switch_by_hand(&host, &third, "test");
    is_left_alone(&mut world, &host, &commit, [&third, &old, &old]);
}

#[test]
fn a_profile_that_is_set_by_hand_in_the_confirm_window_stays() {
    let mut world = World::starting_with(first(8));
    let host = world.boot();
    let old = settled(&host);
    let third = host.build(&generation("third", 8));
    let commit = world
        .server()
        .repository()
        .publish(&generation("second", 8));
    wait_for_phase(&host, "confirming");
    let second = host.running_system();
    assert_ne!(second, old);
    set_profile(&host, &third);
    is_left_alone(&mut world, &host, &commit, [&second, &third, &old]);
}

#[test]
fn a_manual_switch_while_the_guardian_waits_for_the_lock_stays() {
    let mut world = World::starting_with(first(30));
    let host = world.boot();
    let old = settled(&host);
    let third = host.build(&breakable(generation("third", 30)));
    let second = breakable(generation("second", 30));
    let commit = world.server().repository().publish(&second);
    wait_for_phase(&host, "confirming");
    let second = host.running_system();
    // Somebody's switch stands in its middle, with the lock, when the unit fails.
    host.close_gate("activate");
    thread::scope(|scope| {
        let manual = scope.spawn(|| {
            let program = format!("{third}/bin/switch-to-configuration");
            host.run(&[&program, "test"])
        });
        host.wait_for_gate("activate", DEADLINE);
        break_it(&host);
        host.wait_until("the guardian begins", DEADLINE, |host| {
            record(host)["stage"] == "rolling-back"
        });
        assert_eq!(host.running_system(), second);
        // Before the new start of its unit in the third system.
        host.run(&["rm", "/run/fail"]).must_succeed();
        host.open_gate("activate");
        manual.join().expect("it does not panic");
    });
    assert!(
        record(&host)["stage"]["overridden"]["running"] == third || host.running_system() == third
    );
    is_left_alone(&mut world, &host, &commit, [&third, &old, &old]);
    assert_eq!(tests_of(&host, &old), 0, "nobody led back");
}

#[test]
fn a_lock_that_an_orphan_holds_is_waited_for_and_then_the_host_is_rebooted() {
    let mut world = World::starting_with(first(30));
    let mut host = world.boot();
    let old = settled(&host);
    let commit = world
        .server()
        .repository()
        .publish(&breakable(generation("second", 30)));
    wait_for_phase(&host, "confirming");
    let second = host.running_system();
    hold_lock(&host);
    break_it(&host);
    host.wait_until("the guardian reboots", GUARDIAN_DEADLINE, |host| {
        !record(host)["stage"]["rebooting"].is_null()
    });
    assert_eq!(host.default_system(), old);
    host.wait_for_reboot();
    let status = ended_as(&host, &commit, "rolled-back-by-reboot");
    assert_eq!(status["last"]["failure"]["code"], "unhealthy-after-test");
    assert_eq!(record(&host)["wanted_by"], "daemon");
    crate::common::invariants(&host, &old, &second, crate::invariants::Expected::Old);
}
