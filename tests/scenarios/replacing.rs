//! The daemon replaces itself: inside the confirm window with the way back armed, and at rest after somebody else's
//! switch. Who runs is told by the kernel (`/proc/PID/exe`) and by the journal's trusted fields.

use deploy_flake::report::milestones;
use serde_json::Value;

use crate::common::{
    DEADLINE, deployed, ended_as, entries, field, invariants, is_all, looks, settled,
    switch_by_hand, text, web,
};
use crate::invariants::Expected;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::sabotage::{BrokenDaemon, Sabotage};
use crate::testbed::world::World;
use crate::window::{
    GUARDIAN_DEADLINE, UNIT, first, generation, is_armed, ledger, program, property, record,
    set_profile, tests_of,
};

const BOOT_GATE: &str = "switch-to-configuration-boot";

/// Who wrote the last entry with a message id: program and process.
#[track_caller]
fn writer(host: &Host, message_id: &str) -> [String; 2] {
    let entries = entries(host, message_id);
    let last = entries.last().expect("it was told");
    [text(&last["_EXE"]), text(&last["_PID"])]
}

/// Publishes a generation whose daemon is another one, and watches who does what.
#[track_caller]
fn is_handed_over(world: &mut World, host: &Host, generation: &Generation) -> String {
    let (before, old) = (property(host, UNIT, "MainPID"), host.running_system());
    let replaced = entries(host, milestones::DAEMON_REPLACED).len();
    host.close_gate(BOOT_GATE);
    let commit = world.server().repository().publish(generation);
    host.wait_for_status("another daemon confirms", DEADLINE, |status| {
        status["phase"]["name"] == "confirming"
            && status["daemon"]["pid"].as_u64() != before.parse().ok()
    });
    // The gate keeps these as they are until it is opened.
    assert!(is_armed(host), "the way back is armed while it takes over");
    assert_eq!(host.default_system(), old);
    assert_eq!(host.profile(), old);
    host.wait_for_gate(BOOT_GATE, DEADLINE);
    assert!(is_armed(host), "and while the boot entry is written");
    assert_eq!(host.default_system(), old);
    let process = property(host, UNIT, "MainPID");
    assert_ne!(process, before);
    let successor = program(host);
    host.open_gate(BOOT_GATE);

    let new = deployed(host, &commit);
    let told = entries(host, milestones::DAEMON_REPLACED);
    assert_eq!(told.len(), replaced + 1, "{told:#?}");
    for message_id in [
        milestones::DAEMON_REPLACED,
        milestones::CONFIRMED,
        milestones::BOOT_ENTRY_WRITTEN,
    ] {
        assert_eq!(writer(host, message_id), [&*successor, &*process]);
    }
    let activated = writer(host, milestones::ACTIVATED);
    assert_eq!(activated[1], before, "the one before has tested it");
    assert_eq!(tests_of(host, &new), 1);
    assert!(!is_armed(host));
    invariants(host, &old, &new, Expected::New);
    successor
}

#[test]
fn each_version_hands_over_to_the_next_and_back_inside_the_window() {
    let mut world = World::starting_with(first(2));
    let host = world.boot();
    settled(&host);
    let previous = program(&host);
    let next = is_handed_over(&mut world, &host, &generation("next", 2).next_daemon());
    assert_ne!(next, previous);
    let configured = generation("configured", 3).next_daemon();
    let same = is_handed_over(&mut world, &host, &configured);
    assert_eq!(same, next, "only its settings are others");
    let back = is_handed_over(&mut world, &host, &generation("back", 2));
    assert_eq!(back, previous);
}

#[test]
fn a_daemon_that_stays_what_it_is_is_not_started_again() {
    let mut world = World::new();
    let host = world.boot();
    let old = settled(&host);
    let before = property(&host, UNIT, "MainPID");
    let commit = world.server().repository().publish(&web("second"));
    let new = deployed(&host, &commit);
    assert_eq!(property(&host, UNIT, "MainPID"), before);
    assert_eq!(entries(&host, milestones::DAEMON_REPLACED).len(), 0);
    assert_eq!(entries(&host, milestones::DAEMON_GIVES_WAY).len(), 0);
    invariants(&host, &old, &new, Expected::New);
}

#[test]
fn a_next_daemon_that_ends_at_once_is_rolled_back_and_the_one_before_follows_again() {
    let mut world = World::starting_with(first(2));
    let host = world.boot();
    let (old, before) = (settled(&host), program(&host));
    let broken = Sabotage::DaemonBroken(BrokenDaemon::Exits).spoil(generation("broken", 2));
    let commit = world.server().repository().publish(&broken);
    host.wait_until("the next one is started in vain", DEADLINE, |host| {
        let restarts = property(host, UNIT, "NRestarts");
        host.running_system() != old && restarts.parse::<u32>().is_ok_and(|it| it >= 2)
    });
    let new = host.running_system();
    assert!(is_armed(&host), "nobody but the guardian can help");
    assert_eq!([host.profile(), host.default_system()], [&*old, &*old]);
    assert_eq!(ledger(&host)["phase"]["name"], "replacing");

    host.wait_until("the guardian leads back", GUARDIAN_DEADLINE, |host| {
        record(host)["stage"] == "rolled-back"
    });
    assert_eq!(record(&host)["wanted_by"], "deadline");
    let status = ended_as(&host, &commit, "rolled-back");
    assert_eq!(status["last"]["failure"]["code"], "guardian-fired");
    assert_eq!(program(&host), before);
    is_all(&host, &old);
    invariants(&host, &old, &new, Expected::Old);
    assert_eq!(tests_of(&host, &new), 1);
    let commit = world.server().repository().publish(&generation("good", 2));
    deployed(&host, &commit);
}

/// Switches as `nixos-rebuild switch` does, and waits for another daemon.
#[track_caller]
fn is_taken_up_after_a_switch(host: &Host, system: &str, times: usize) {
    let instance = host.status()["daemon"]["instance"].clone();
    set_profile(host, system);
    switch_by_hand(host, system, "switch");
    let status = host.wait_for_status("another daemon has looked", DEADLINE, |status| {
        status["daemon"]["instance"] != instance
            && status["looks"]["finished"].as_u64() >= Some(1)
            && status["system"]["running"] == system
    });
    assert_eq!(status["phase"]["name"], "resting", "{status:#}");
    // It is the right one: nobody gives way any more.
    looks(host, 2);
    assert_eq!(entries(host, milestones::DAEMON_GIVES_WAY).len(), times);
}

#[test]
fn a_daemon_at_rest_gives_way_after_a_manual_switch_to_a_system_with_another() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let before = program(&host);
    let next = host.build(&Generation::new("next").next_daemon());
    is_taken_up_after_a_switch(&host, &next, 1);
    let successor = program(&host);
    assert_ne!(successor, before);

    // Its settings are read by nobody but a new one.
    let configured = host.build(&generation("configured", 2).next_daemon());
    is_taken_up_after_a_switch(&host, &configured, 2);
    assert_eq!(program(&host), successor);
    assert_eq!(host.status()["condition"]["state"], "drifted");
    assert_eq!(
        entries(&host, milestones::DAEMON_REPLACED),
        Vec::<Value>::new()
    );

    let commit = world.server().repository().publish(&generation("third", 2));
    let third = deployed(&host, &commit);
    assert_eq!(program(&host), before);
    invariants(&host, &configured, &third, Expected::New);
}

#[test]
fn a_manual_switch_to_another_daemon_during_a_deployment_ends_that_first() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let next = host.build(&Generation::new("next").next_daemon());
    let before = program(&host);
    host.close_gate("build");
    let commit = world.server().repository().publish(&web("second"));
    host.wait_for_gate("build", DEADLINE);
    switch_by_hand(&host, &next, "test");
    // Looks go on while it is built.
    looks(&host, 2);
    assert_eq!(program(&host), before);
    assert_eq!(host.status()["phase"]["name"], "building");
    host.open_gate("build");
    ended_as(&host, &commit, "overridden");
    host.wait_until("the other one runs", DEADLINE, |host| {
        // None at all, while one gives way to the other.
        !["", &before].contains(&&*program(host))
    });
    let told = field(&entries(&host, milestones::DAEMON_GIVES_WAY), "_EXE");
    assert_eq!(told, [before]);
    assert_eq!(host.running_system(), next, "nothing is undone");
}
