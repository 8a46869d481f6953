//! What the service manager and the journal are told: the story of a deployment, the phase, readiness, liveliness.

use std::collections::BTreeSet;

use deploy_flake::report::milestones;
use serde_json::Value;

use crate::common::{DEADLINE, deployed, entries, field, looks, settled, text, web};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;

/// A property of the daemon's unit.
fn property(host: &Host, name: &str) -> String {
    let show = [
        "systemctl",
        "show",
        "--property",
        name,
        "--value",
        "deploy-flake.service",
    ];
    host.run(&show).text().to_owned()
}

#[test]
fn the_journal_tells_the_story_of_a_deployment_in_a_few_lines() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let commit = world.server().repository().publish(&web("second"));
    let second = deployed(&host, &commit);
    let id = text(&host.status()["last"]["deployment"]);

    let own = host.journal(&["_SYSTEMD_UNIT=deploy-flake.service"]);
    let start = own
        .iter()
        .position(|entry| entry["DF_DEPLOYMENT"] == id.as_str());
    let story = &own[start.expect("the deployment is told")..];
    for entry in story {
        println!("{} {}", entry["PRIORITY"], entry["MESSAGE"]);
    }
    let told = [
        milestones::NEW_COMMIT,
        milestones::EVALUATED,
        milestones::BUILT,
        milestones::CHECK_PASSED,
        milestones::TEST_STARTED,
        milestones::ACTIVATED,
        milestones::CONFIRMED,
        milestones::BOOT_ENTRY_WRITTEN,
        milestones::DEPLOYED,
    ];
    assert_eq!(
        field(story, "MESSAGE_ID"),
        told,
        "nothing else, in this order"
    );
    for entry in story {
        assert_eq!(entry["DF_DEPLOYMENT"], id.as_str(), "{entry:#}");
        assert_eq!(entry["PRIORITY"], "6", "{entry:#}");
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "deploy-flake", "{entry:#}");
    }
    let [new_commit, .., done] = story else {
        panic!("a story has a beginning and an end")
    };
    assert_eq!(new_commit["DF_COMMIT"], commit.0);
    assert_eq!(new_commit["DF_BRANCH"], "main");
    assert_eq!(done["DF_COMMIT"], commit.0);
    assert_eq!(done["DF_TOPLEVEL"], second.as_str());
    assert_eq!(done["DF_OUTCOME"], "deployed");
    assert!(
        text(&done["DF_DURATION_MS"])
            .parse::<u64>()
            .is_ok_and(|took| took > 0)
    );
    steps_are_told(&host, &id);
}

/// The lines of the steps are found by the deployment, and by nothing that another deployment has.
#[track_caller]
fn steps_are_told(host: &Host, id: &str) {
    let lines = host.journal(&[&format!("DEPLOY_FLAKE_DEPLOYMENT={id}")]);
    // Some steps say nothing themselves; then systemd says that they were run.
    let units: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line["UNIT"].as_str().or(line["_SYSTEMD_UNIT"].as_str()))
        .collect();
    let steps = [
        "import", "evaluate", "build", "root", "check", "test", "profile", "boot",
    ];
    for step in steps {
        let unit = format!("deploy-flake-{step}.service");
        assert!(units.contains(&*unit), "{unit} in {units:?}");
    }
    let activating = |line: &Value| {
        line["MESSAGE"]
            .as_str()
            .is_some_and(|it| it.contains("activating the configuration"))
    };
    assert!(
        lines.iter().any(activating),
        "switch-to-configuration is heard"
    );
}

#[test]
fn every_line_of_the_daemon_has_a_message_id_of_128_bits() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let bad = web("bad").with("selfCheck", "exit 1");
    let commit = world.server().repository().publish(&bad);
    crate::common::ended_as(&host, &commit, "refused");
    host.run(&["systemctl", "restart", "deploy-flake"])
        .must_succeed();
    for entry in host.journal(&["_SYSTEMD_UNIT=deploy-flake.service"]) {
        let id = entry["MESSAGE_ID"].as_str().unwrap_or_default();
        let is_hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(id.len() == 32 && is_hexadecimal, "{entry:#}");
        assert!(entry.get("F_MESSAGE_ID").is_none(), "{entry:#}");
    }
}

#[test]
fn systemctl_status_shows_the_phase() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let shown = |words: &str| {
        let status = host.run(&["systemctl", "status", "--no-pager", "deploy-flake"]);
        assert!(
            status.text().contains(&format!("Status: \"{words}")),
            "{status}"
        );
    };
    assert!(property(&host, "StatusText").starts_with("converged: The host is what commit"));
    shown("converged: The host is what");

    host.close_gate("build");
    let commit = world.server().repository().publish(&web("second"));
    host.wait_for_gate("build", DEADLINE);
    assert_eq!(
        property(&host, "StatusText"),
        "deploying: building the system"
    );
    shown("deploying: building the system");
    host.open_gate("build");
    deployed(&host, &commit);
    let at_rest = format!(
        "converged: The host is what commit {} of main asks for.",
        &commit.0[..12]
    );
    assert_eq!(property(&host, "StatusText"), at_rest);
}

#[test]
fn the_unit_is_active_when_the_daemon_is_ready() {
    let world = World::new();
    let host = world.boot();
    settled(&host);
    // `restart` returns when the unit is active, which is when the daemon said so.
    for _ in 0..3 {
        let before = entries(&host, milestones::DAEMON_READY).len();
        host.run(&["systemctl", "restart", "deploy-flake"])
            .must_succeed();
        assert_eq!(property(&host, "ActiveState"), "active");
        assert_eq!(
            host.status()["daemon"]["pid"].to_string(),
            property(&host, "MainPID")
        );
        host.run(&["deploy-flake", "trigger"]).must_succeed();
        assert_eq!(entries(&host, milestones::DAEMON_READY).len(), before + 1);
    }
    assert_eq!(property(&host, "NRestarts"), "0");
}

#[test]
fn a_daemon_that_hangs_is_killed_by_the_watchdog_and_one_that_lives_is_not() {
    let hurried = |generation: Generation| {
        generation.unit(
            "deploy-flake.service.d/watchdog.conf",
            "[Service]\nWatchdogSec=2\n",
        )
    };
    let first = hurried(Generation::new("first"));
    let mut world = World::starting_with(first);
    let host = world.boot();
    settled(&host);
    let healthy = property(&host, "MainPID");
    // A look every second or so: these are several periods, at rest and in a step that hangs.
    looks(&host, 8);
    host.close_gate("build");
    let commit = world.server().repository().publish(&hurried(web("second")));
    host.wait_for_gate("build", DEADLINE);
    looks(&host, 4);
    assert_eq!(
        (property(&host, "MainPID"), property(&host, "NRestarts")),
        (healthy, "0".into())
    );

    let before = host.status()["daemon"]["instance"].clone();
    host.signal_daemon("STOP");
    host.wait_for_status(
        "another daemon goes on with the build",
        DEADLINE,
        |status| status["daemon"]["instance"] != before && status["phase"]["name"] == "building",
    );
    assert_eq!(property(&host, "NRestarts"), "1");
    let told = host.journal(&[
        "_PID=1",
        "UNIT=deploy-flake.service",
        "--grep=Watchdog timeout",
    ]);
    assert_eq!(told.len(), 1);
    host.open_gate("build");
    deployed(&host, &commit);
    assert_eq!(
        host.tally_of("build"),
        1,
        "the build was taken up, not repeated"
    );
}

/// Sends a signal to this host's journald, and to no other: its systemd knows which process that is.
fn signal_journald(host: &Host, signal: &str) {
    let signal = format!("--signal={signal}");
    let unit = "systemd-journald.service";
    host.run(&["systemctl", "kill", "--kill-whom=main", &signal, unit])
        .must_succeed();
}

#[test]
fn a_journald_that_stands_still_holds_up_no_deployment_and_is_told_what_it_missed() {
    // Everything that is reported, of the libraries too: more than any socket or queue holds.
    let talkative = |generation: Generation| {
        generation.unit(
            "deploy-flake.service.d/log.conf",
            "[Service]\nEnvironment=DEPLOY_FLAKE_LOG=trace\nWatchdogSec=10\n",
        )
    };
    let mut world = World::starting_with(talkative(Generation::new("first")));
    let host = world.boot();
    settled(&host);
    let daemon = property(&host, "MainPID");
    signal_journald(&host, "STOP");
    let second = world
        .server()
        .repository()
        .publish(&talkative(web("second")));
    deployed(&host, &second);
    let third = world
        .server()
        .repository()
        .publish(&talkative(web("third")));
    deployed(&host, &third);
    // A daemon that stood still would not look, nor be let live by its watchdog.
    looks(&host, 12);
    assert_eq!(property(&host, "NRestarts"), "0");
    assert_eq!(property(&host, "MainPID"), daemon);
    signal_journald(&host, "CONT");

    host.wait_until("the journal is told what it missed", DEADLINE, |host| {
        !entries(host, milestones::REPORTS_LOST).is_empty()
    });
    let lost = field(&entries(&host, milestones::REPORTS_LOST), "DF_LOST");
    for count in &lost {
        assert!(count.parse::<u64>().is_ok_and(|it| it > 0), "{lost:?}");
    }
    // From then on everything is heard again.
    let fourth = world
        .server()
        .repository()
        .publish(&talkative(web("fourth")));
    deployed(&host, &fourth);
    let told = field(&entries(&host, milestones::DEPLOYED), "DF_COMMIT");
    assert!(told.contains(&fourth.0), "{told:?}");
}
