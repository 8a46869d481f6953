//! What goes missing around a deployment while the host is being activated and watched: the bus, the journal, the Nix
//! daemon, the remote, the default route, room on the disk, the ledger.
//!
//! What goes missing while the way back is armed, or profile and entry are written, is in `enduring_arming` and
//! `enduring_commit`.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::common::{DEADLINE, deployed, ended, ended_as, invariants, is_all, settled, text};
use crate::enduring_fault::{
    STATE, corrupt, fill, make_room, says_that_it_cannot_remember, shrink_state, signal,
};
use crate::invariants::Expected;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::world::World;
use crate::window::{
    GUARDIAN_DEADLINE, UNIT, deployed_at_last, first, generation, is_armed, program, property,
    record, tests_of, wait_for_phase,
};

const TEST_GATE: &str = "switch-to-configuration-test";

/// A world with a host at rest, and its system.
fn scene(window: u32) -> (World, Host, String) {
    let world = World::starting_with(first(window));
    let host = world.boot();
    let old = settled(&host);
    (world, host, old)
}

/// Publishes an ordinary system, and holds its activation in the middle.
#[track_caller]
fn held_in_test(world: &mut World, host: &Host, window: u32) -> CommitId {
    host.close_gate("activate");
    let second = generation("second", window).one_shot("web.service", "true");
    let commit = world.server().repository().publish(&second);
    host.wait_for_gate("activate", DEADLINE);
    commit
}

/// Publishes an ordinary system, and waits until it is watched.
#[track_caller]
fn watched(world: &mut World, host: &Host, window: u32) -> CommitId {
    let second = generation("second", window).one_shot("web.service", "true");
    let commit = world.server().repository().publish(&second);
    wait_for_phase(host, "confirming");
    commit
}

/// What ended is one of the two, and nothing is left of it.
#[track_caller]
fn ends_in_one_of_both(host: &Host, commit: &CommitId, old: &str) {
    let status = ended(host, commit);
    let outcome = text(&status["last"]["outcome"]);
    let tested = text(&status["desired"]["toplevel"]);
    let expected = match &*outcome {
        "deployed" => Expected::New,
        "rolled-back" | "rolled-back-by-reboot" => Expected::Old,
        other => panic!("{other}: {status:#}"),
    };
    invariants(host, old, &tested, expected);
}

#[test]
fn a_bus_that_is_restarted_or_killed_in_test_is_survived() {
    for (verb, window) in [("restart", 1), ("kill", 1)] {
        let (mut world, host, old) = scene(window);
        let commit = held_in_test(&mut world, &host, window);
        match verb {
            "restart" => drop(host.run(&["systemctl", "restart", "dbus.service"])),
            _ => signal(&host, "dbus.service", "KILL"),
        }
        host.open_gate("activate");
        ends_in_one_of_both(&host, &commit, &old);
    }
}

#[test]
fn a_bus_that_is_restarted_or_killed_in_the_window_is_survived() {
    let (mut world, host, old) = scene(5);
    let commit = watched(&mut world, &host, 5);
    host.run(&["systemctl", "restart", "dbus.service"])
        .must_succeed();
    ends_in_one_of_both(&host, &commit, &old);

    let (mut world, host, old) = scene(5);
    let commit = watched(&mut world, &host, 5);
    signal(&host, "dbus.service", "KILL");
    ends_in_one_of_both(&host, &commit, &old);
}

/// The bus neither answers nor ends from now on: only a reboot leads back.
#[track_caller]
fn is_rebooted_without_bus(host: &mut Host, commit: &CommitId, old: &str, new: &str) {
    host.wait_until("the guardian reboots", GUARDIAN_DEADLINE, |host| {
        !record(host)["stage"]["rebooting"].is_null()
    });
    host.wait_for_reboot();
    ended_as(host, commit, "rolled-back-by-reboot");
    invariants(host, old, new, Expected::Old);
}

#[test]
fn a_bus_that_stands_still_in_test_is_rebooted_out_of() {
    let (mut world, mut host, old) = scene(1);
    let commit = held_in_test(&mut world, &host, 1);
    signal(&host, "dbus.service", "STOP");
    host.open_gate("activate");
    host.wait_until("the new system is linked", DEADLINE, |host| {
        host.running_system() != old
    });
    let new = host.running_system();
    is_rebooted_without_bus(&mut host, &commit, &old, &new);
}

#[test]
fn a_bus_that_stands_still_in_the_window_is_rebooted_out_of() {
    let (mut world, mut host, old) = scene(10);
    let commit = watched(&mut world, &host, 10);
    let new = host.running_system();
    signal(&host, "dbus.service", "STOP");
    is_rebooted_without_bus(&mut host, &commit, &old, &new);
}

const NIX_DAEMON: &str = "nix-daemon.service";

#[test]
fn a_nix_daemon_that_is_killed_in_test_or_restarted_in_the_window_is_no_verdict() {
    let awake = "nix store ping --store daemon";
    let (mut world, host, old) = scene(3);
    let commit = held_in_test(&mut world, &host, 3);
    host.shell(awake).must_succeed();
    signal(&host, NIX_DAEMON, "KILL");
    host.open_gate("activate");
    let second = deployed(&host, &commit);
    invariants(&host, &old, &second, Expected::New);

    let third = generation("third", 3).one_shot("web.service", "true third");
    let commit = world.server().repository().publish(&third);
    wait_for_phase(&host, "confirming");
    host.shell(awake).must_succeed();
    host.run(&["systemctl", "restart", NIX_DAEMON])
        .must_succeed();
    let third = deployed(&host, &commit);
    assert_eq!(tests_of(&host, &third), 1);
    invariants(&host, &second, &third, Expected::New);
}

/// Nobody can tell that from a system that breaks it.
#[test]
fn a_nix_daemon_that_is_killed_in_the_window_is_a_failed_unit() {
    let (mut world, host, old) = scene(10);
    let commit = watched(&mut world, &host, 10);
    let new = host.running_system();
    signal(&host, NIX_DAEMON, "KILL");
    let status = ended_as(&host, &commit, "rolled-back");
    let message = text(&status["last"]["failure"]["message"]);
    assert!(message.contains(NIX_DAEMON), "{message}");
    assert_eq!(host.state(), "running", "it was started again");
    invariants(&host, &old, &new, Expected::Old);
}

#[test]
fn a_journal_that_stands_still_in_test_and_window_holds_nothing_up() {
    let (mut world, host, old) = scene(2);
    let commit = held_in_test(&mut world, &host, 2);
    signal(&host, "systemd-journald.service", "STOP");
    host.open_gate("activate");
    let status = ended(&host, &commit);
    assert_eq!(status["last"]["outcome"], "deployed", "{status:#}");
    signal(&host, "systemd-journald.service", "CONT");
    let new = deployed(&host, &commit);
    assert_eq!(tests_of(&host, &new), 1);
    invariants(&host, &old, &new, Expected::New);
}

/// A step that fails is asked for its words, which nobody gives now: its end is known all the same.
#[test]
fn a_journal_that_stands_still_holds_the_end_of_a_step_up_for_a_moment_at_most() {
    const HOOK: &str = "pre-activate-safety-checks";
    // A journald that is waited for to write its files, as it once was, takes longer.
    const MOST: Duration = Duration::from_secs(5);
    let (mut world, host, old) = scene(1);
    host.close_gate(HOOK);
    let refusing = generation("second", 1).with("selfCheck", "echo words; exit 1");
    let commit = world.server().repository().publish(&refusing);
    host.wait_for_gate(HOOK, DEADLINE);
    signal(&host, "systemd-journald.service", "STOP");
    let opened = jiff::Timestamp::now();
    host.open_gate(HOOK);
    let status = ended_as(&host, &commit, "refused");
    let ended: jiff::Timestamp = text(&status["last"]["finished_at"])
        .parse()
        .expect("a time");
    signal(&host, "systemd-journald.service", "CONT");
    assert_eq!(
        status["last"]["failure"]["code"], "check-refused",
        "{status:#}"
    );
    let took = ended.duration_since(opened);
    assert!(took.unsigned_abs() < MOST, "{took:?}");
    is_all(&host, &old);
}

#[test]
fn a_remote_that_is_lost_in_the_window_and_stays_lost_decides_nothing() {
    let (mut world, host, old) = scene(10);
    let commit = watched(&mut world, &host, 10);
    let new = host.running_system();
    world.server().vanish();
    let status = ended_as(&host, &commit, "inconclusive");
    assert_eq!(status["last"]["failure"]["code"], "remote-lost");
    assert_eq!(status["quarantine"], json!([]));
    is_all(&host, &old);
    world.server().come_back();
    assert_eq!(deployed_at_last(&host, &commit), new);
    invariants(&host, &old, &new, Expected::New);
}

#[test]
fn a_default_route_that_the_commit_loses_is_missed() {
    let (mut world, host, old) = scene(2);
    let network =
        "ip link set host0 up\nip address flush dev host0\nip address add \"$address\" dev host0\n";
    let bad = generation("bad", 2).with("network", network);
    let commit = world.server().repository().publish(&bad);
    let status = ended_as(&host, &commit, "rolled-back");
    assert_eq!(
        status["last"]["failure"]["code"], "route-lost",
        "{status:#}"
    );
    assert!(host.has_default_route());
    let bad = text(&status["quarantine"][0]["toplevel"]);
    assert_eq!(tests_of(&host, &bad), 1);
    invariants(&host, &old, &bad, Expected::Old);
}

#[test]
fn nothing_is_armed_or_activated_while_the_disk_of_the_ledger_is_full() {
    let (mut world, host, old) = scene(1);
    shrink_state(&host);
    host.close_gate("pre-activate-safety-checks");
    let checked = generation("second", 1).with("selfCheck", "true");
    let commit = world.server().repository().publish(&checked);
    host.wait_for_gate("pre-activate-safety-checks", DEADLINE);
    fill(&host, STATE);
    host.open_gate("pre-activate-safety-checks");
    host.wait_for_status("it is told", DEADLINE, says_that_it_cannot_remember);
    assert!(!is_armed(&host));
    is_all(&host, &old);
    make_room(&host, STATE);
    let new = deployed(&host, &commit);
    assert_eq!(tests_of(&host, &new), 1);
    invariants(&host, &old, &new, Expected::New);
}

#[test]
fn a_disk_that_is_full_in_the_window_ends_with_the_way_back_and_is_remembered() {
    let (mut world, host, old) = scene(3);
    shrink_state(&host);
    let commit = watched(&mut world, &host, 3);
    let new = host.running_system();
    fill(&host, STATE);
    host.wait_for_status("it is told", DEADLINE, says_that_it_cannot_remember);
    assert!(is_armed(&host), "nothing was decided");
    assert_eq!([host.profile(), host.default_system()], [&*old, &*old]);
    host.wait_until("the guardian leads back", GUARDIAN_DEADLINE, |host| {
        host.running_system() == old
    });
    // Neither ledger nor record could be written on that disk.
    make_room(&host, STATE);
    ended_as(&host, &commit, "rolled-back");
    is_all(&host, &old);
    invariants(&host, &old, &new, Expected::Old);
    assert_eq!(tests_of(&host, &new), 1);
    assert_eq!(host.status()["quarantine"][0]["toplevel"], new);
}

#[test]
fn a_disk_that_is_full_does_not_let_a_reboot_be_forgotten() {
    let mut world = World::starting_with(first(10));
    let mut host = world.host();
    fs::create_dir_all(host.path(STATE)).expect("the overlay can be written");
    host.limit_disk(STATE, "1m");
    host.start();
    let old = settled(&host);
    let commit = watched(&mut world, &host, 10);
    let new = host.running_system();
    fill(&host, STATE);
    signal(&host, "dbus.service", "STOP");
    host.wait_until("the guardian reboots", GUARDIAN_DEADLINE, |host| {
        !record(host)["stage"]["rebooting"].is_null()
    });
    host.wait_for_reboot();
    assert_eq!(host.running_system(), old);
    make_room(&host, STATE);
    let status = ended_as(&host, &commit, "rolled-back-by-reboot");
    assert_eq!(status["quarantine"][0]["toplevel"], new, "{status:#}");
    // Taken for a loss of power it would have been tried once more.
    assert_eq!(tests_of(&host, &new), 1);
    invariants(&host, &old, &new, Expected::Old);
}

#[test]
fn a_disk_that_is_full_for_a_while_in_the_window_costs_nothing_else() {
    let (mut world, host, old) = scene(3);
    shrink_state(&host);
    let commit = watched(&mut world, &host, 3);
    fill(&host, STATE);
    host.wait_for_status("it is told", DEADLINE, says_that_it_cannot_remember);
    make_room(&host, STATE);
    let new = deployed(&host, &commit);
    assert_eq!(tests_of(&host, &new), 1);
    invariants(&host, &old, &new, Expected::New);
}

/// The guardian knows what the ledger does not: it decides at its deadline, and the commit is not tried again.
#[track_caller]
fn is_left_to_the_guardian(host: &Host, commit: &CommitId, old: &str) {
    host.wait_until("the new system runs", DEADLINE, |host| {
        host.running_system() != old
    });
    let new = host.running_system();
    host.wait_until("the guardian leads back", GUARDIAN_DEADLINE, |host| {
        record(host)["stage"] == "rolled-back"
    });
    assert_eq!(record(host)["wanted_by"], "deadline");
    host.wait_for_status("it is known to have failed", DEADLINE, |status| {
        status["last"]["failure"]["code"] == "quarantined" && status["phase"]["name"] == "resting"
    });
    let status = ended_as(host, commit, "refused");
    assert_eq!(status["quarantine"][0]["toplevel"], new, "{status:#}");
    assert_eq!(tests_of(host, &new), 1);
    is_all(host, old);
    invariants(host, old, &new, Expected::Old);
}

#[test]
fn a_ledger_that_is_damaged_in_test_with_a_dead_daemon_leaves_it_to_the_guardian() {
    let (mut world, host, old) = scene(1);
    let daemon = program(&host);
    host.close_gate(TEST_GATE);
    let second = generation("second", 1).one_shot("web.service", "true");
    let commit = world.server().repository().publish(&second);
    host.wait_for_gate(TEST_GATE, DEADLINE);
    host.run(&["systemctl", "stop", UNIT]).must_succeed();
    corrupt(&host);
    host.open_gate(TEST_GATE);
    // The switch itself starts the daemon again, which knows nothing and has to keep its hands off.
    is_left_to_the_guardian(&host, &commit, &old);
    assert_eq!(program(&host), daemon);
}

#[test]
fn a_ledger_that_is_damaged_in_test_does_not_let_the_guardian_go() {
    let (mut world, host, old) = scene(1);
    let commit = held_in_test(&mut world, &host, 1);
    host.run(&["systemctl", "stop", UNIT]).must_succeed();
    corrupt(&host);
    host.run(&["systemctl", "start", UNIT]).must_succeed();
    host.wait_for_status("the next daemon lives", DEADLINE, |status| {
        status["daemon"]["pid"].as_u64() == property(&host, UNIT, "MainPID").parse().ok()
    });
    assert_eq!(
        host.running_system(),
        old,
        "what is being activated does not run yet"
    );
    assert!(is_armed(&host), "it may lock everybody out at any moment");
    host.open_gate("activate");
    is_left_to_the_guardian(&host, &commit, &old);
}
