//! The way back: the guardian is armed before anything is activated, leads back when the daemon says so, and when
//! nobody can say anything any more.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::common::{DEADLINE, ended_as, git_url, is_all, settled};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;

/// What the guardian did last, on disk.
const RECORD: &str = "/var/lib/deploy-flake/rollback.json";

/// The guardian acts 75 s after it was armed with these: half of that is for the new system's daemon.
const SHORT: &str = "[health]\nconfirm_window = \"1s\"\nprobe_deadline = \"1s\"\n\
    [deadlines]\nactivate = \"20s\"\nprobe = \"1s\"\nrollback = \"30s\"\nrollback_health = \"20s\"";

/// Longer than that and what follows.
const GUARDIAN_DEADLINE: Duration = Duration::from_secs(150);

/// A host with a service of its own, whose generations name what that runs.
fn generation(label: &str, web: &str) -> Generation {
    Generation::new(label)
        .daemon_config(&format!(
            "[[remote]]\nurl = \"{}\"\npoll_interval = \"1s\"\n\n{SHORT}\n",
            git_url()
        ))
        .one_shot("web.service", web)
}

fn record(host: &Host) -> Value {
    let text = fs::read(host.path(RECORD)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

fn is_active(host: &Host, unit: &str) -> bool {
    host.run(&["systemctl", "is-active", "--quiet", unit]).code == Some(0)
}

/// Takes the daemon's watchdog away, which would end a stopped daemon first: here nobody helps.
fn without_watchdog(host: &Host) {
    let directory = "/run/systemd/system/deploy-flake.service.d";
    let write = format!(
        "mkdir -p {directory} && printf '[Service]\\nWatchdogSec=0\\n' > {directory}/bare.conf && \
         systemctl daemon-reload && systemctl restart deploy-flake.service"
    );
    host.shell(&write).must_succeed();
    settled(host);
}

/// The previous system runs, with all that ran before.
#[track_caller]
fn is_well(host: &Host, system: &str) {
    is_all(host, system);
    assert_eq!(host.state(), "running");
    for unit in ["web.service", "sshd.service", "deploy-flake.service"] {
        assert!(is_active(host, unit), "{unit}");
    }
}

#[test]
fn a_unit_that_fails_after_the_test_is_led_back_from_live() {
    let first = generation("first", "true").with("systemdConf", Value::Null);
    let mut world = World::starting_with(first);
    let host = world.boot();
    let system = settled(&host);

    let bad = generation("bad", "false");
    let commit = world.server().repository().publish(&bad);
    let status = ended_as(&host, &commit, "rolled-back");
    assert_eq!(status["last"]["failure"]["code"], "activation-failed");
    is_well(&host, &system);

    let record = record(&host);
    assert_eq!(record["stage"], "rolled-back", "{record:#}");
    assert_eq!(record["wanted_by"], "daemon");
    assert_eq!(record["commit"], commit.0);
    assert_eq!(record["previous"], system);
}

#[test]
fn a_guardian_that_is_armed_can_be_seen_and_is_gone_afterwards() {
    let first = generation("first", "true");
    let mut world = World::starting_with(first);
    let host = world.boot();
    settled(&host);
    host.close_gate("switch-to-configuration-test");
    let good = generation("good", "true again");
    let commit = world.server().repository().publish(&good);
    host.wait_for_gate("switch-to-configuration-test", DEADLINE);
    let show = |unit: &str, property: &str| {
        let output = host.run(&["systemctl", "show", "--property", property, "--value", unit]);
        output.text().to_owned()
    };
    assert_eq!(show("deploy-flake-guardian.timer", "SubState"), "waiting");
    let command = show("deploy-flake-guardian.service", "ExecStart");
    let program = fs::read_link(host.path("/var/lib/deploy-flake/gcroots/guardian"));
    let program = program
        .expect("the program is rooted")
        .display()
        .to_string();
    assert!(command.contains(&program), "{command}");
    // What was armed outlives whatever a switch does to systemd.
    host.run(&["systemctl", "daemon-reload"]).must_succeed();
    host.run(&["systemctl", "daemon-reexec"]).must_succeed();
    host.wait_until("systemd answers again", DEADLINE, |host| {
        host.run(&["systemctl", "is-system-running"]).stdout.trim() == "running"
    });
    assert_eq!(show("deploy-flake-guardian.timer", "SubState"), "waiting");
    assert_eq!(show("deploy-flake-guardian.service", "LoadState"), "loaded");
    host.open_gate("switch-to-configuration-test");
    ended_as(&host, &commit, "deployed");
}

#[test]
fn a_daemon_that_is_stopped_in_the_test_does_not_keep_the_guardian_from_leading_back() {
    let first = generation("first", "true");
    let mut world = World::starting_with(first);
    let host = world.boot();
    let system = settled(&host);
    without_watchdog(&host);

    host.close_gate("switch-to-configuration-test");
    let good = generation("good", "true again");
    let commit = world.server().repository().publish(&good);
    host.wait_for_gate("switch-to-configuration-test", DEADLINE);
    host.signal_daemon("STOP");
    host.open_gate("switch-to-configuration-test");
    host.wait_until("the new system runs", DEADLINE, |host| {
        host.running_system() != system
    });
    host.wait_until("the guardian led back", GUARDIAN_DEADLINE, |host| {
        record(host)["stage"] == "rolled-back"
    });
    let record = record(&host);
    assert_eq!(record["wanted_by"], "deadline", "{record:#}");
    let status = ended_as(&host, &commit, "rolled-back");
    assert_eq!(status["last"]["failure"]["code"], "guardian-fired");
    is_well(&host, &system);
}

#[test]
fn a_bus_that_is_stopped_with_the_daemon_is_a_reboot_into_the_previous_system() {
    let first = generation("first", "true");
    let mut world = World::starting_with(first);
    let mut host = world.boot();
    let system = settled(&host);
    without_watchdog(&host);

    host.close_gate("switch-to-configuration-test");
    let good = generation("good", "true again");
    let commit = world.server().repository().publish(&good);
    host.wait_for_gate("switch-to-configuration-test", DEADLINE);
    host.signal_daemon("STOP");
    host.open_gate("switch-to-configuration-test");
    host.wait_until("the new system runs", DEADLINE, |host| {
        host.running_system() != system
    });
    host.run(&["systemctl", "kill", "--signal=STOP", "dbus.service"])
        .must_succeed();
    host.wait_until("the guardian reboots", GUARDIAN_DEADLINE, |host| {
        !record(host)["stage"]["rebooting"].is_null()
    });
    host.wait_for_reboot();
    let status = ended_as(&host, &commit, "rolled-back-by-reboot");
    assert_eq!(status["last"]["failure"]["code"], "guardian-fired");
    is_well(&host, &system);
    let record = record(&host);
    assert_eq!(record["wanted_by"], "deadline", "{record:#}");
}

#[test]
fn a_guardian_that_is_killed_on_the_way_is_started_again() {
    let first = generation("first", "true");
    let mut world = World::starting_with(first);
    let host = world.boot();
    let system = settled(&host);

    let bad = generation("bad", "false");
    // The way back stands still in the middle of the previous system's switch.
    host.close_gate("switch-to-configuration-test");
    let commit = world.server().repository().publish(&bad);
    host.wait_for_gate("switch-to-configuration-test", DEADLINE);
    host.open_gate("switch-to-configuration-test");
    host.close_gate("activate");
    host.wait_for_gate("activate", DEADLINE);
    host.open_gate("activate");
    host.close_gate("switch-to-configuration-test");
    host.wait_for_gate("switch-to-configuration-test", DEADLINE);
    let kill = [
        "systemctl",
        "kill",
        "--signal=KILL",
        "deploy-flake-guardian.service",
    ];
    host.run(&kill).must_succeed();
    host.open_gate("switch-to-configuration-test");
    ended_as(&host, &commit, "rolled-back");
    is_well(&host, &system);
    assert_eq!(record(&host)["wanted_by"], "daemon");
}

/// A newer daemon may start an older guardian with words that it does not know.
#[test]
fn a_guardian_acts_though_it_does_not_know_all_of_its_command_line() {
    let world = World::starting_with(generation("first", "true"));
    let host = world.boot();
    let system = settled(&host);
    let candidate = host.build(&generation("second", "true again"));
    let switch = format!("{candidate}/bin/switch-to-configuration");
    host.run(&[&switch, "test"]).must_succeed();
    assert_eq!(host.running_system(), candidate);
    let commit = "0".repeat(40);
    let guardian = [
        "systemd-run",
        "--wait",
        "--unit=deploy-flake-guardian.service",
        "deploy-flake",
        "guardian",
        "--not-known-yet",
        "1",
        "--deployment=0123456789abcdef",
        "--commit",
        &commit,
        "--previous",
        &system,
        "--candidate",
        &candidate,
        "--systemctl=/usr/bin/systemctl",
        "--on-failure=stay",
        "--plan=/nowhere",
        "--nor-this=2",
    ];
    host.run(&guardian).must_succeed();
    assert_eq!(host.running_system(), system);
    assert_eq!(record(&host)["stage"], "rolled-back");
    let journal = ["journalctl", "--unit=deploy-flake-guardian.service"];
    let said = host.run(&journal).stdout;
    let expected = "does not know it: --not-known-yet 1 --nor-this=2";
    assert!(said.contains(expected), "{said}");
}
