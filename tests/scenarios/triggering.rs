//! `deploy-flake trigger`: who may, and what its exit code says. The daemon asks its remote once an hour by itself, so
//! whatever happens was triggered.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::common::{DEADLINE, configuration, git_url, is_all, settled, web};
use crate::testbed::child::Output;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;

fn patient() -> String {
    configuration("", &git_url(), "1h")
}

/// A world whose host asks once an hour.
pub(crate) fn world() -> World {
    World::starting_with(Generation::new("first").daemon_config(&patient()))
}

/// A generation that goes on asking once an hour.
pub(crate) fn next(label: &str) -> Generation {
    web(label).daemon_config(&patient())
}

fn trigger(host: &Host, more: &[&str]) -> Output {
    host.run(&[&["deploy-flake", "trigger"], more].concat())
}

/// The phases that a scenario holds until they were told; shorter ones may pass between two glances.
const HELD: [&str; 3] = [
    "building the system",
    "activating the system",
    "watching the host's health",
];

/// The system is not healthy before the scenario says so.
const WATCHED: &str =
    "\n[[probe]]\nname = \"watched\"\ncommand = [\"/usr/bin/test\", \"-e\", \"/run/watched\"]\n";

/// Triggers and waits, and lets each of the held phases go on only once whoever waits was told of it.
#[track_caller]
fn trigger_through_every_phase(host: &Host) -> Output {
    for gate in ["build", "activate"] {
        host.close_gate(gate);
    }
    let wait = "deploy-flake trigger --wait > /run/told; code=$?; cat /run/told; exit $code";
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| host.shell(wait));
        let is_told = |words| {
            host.wait_until(words, DEADLINE, |host| {
                let told = fs::read_to_string(host.path("/run/told"));
                told.is_ok_and(|told| told.contains(words))
            });
        };
        let [building, activating, watching] = HELD;
        is_told(building);
        host.open_gate("build");
        is_told(activating);
        host.open_gate("activate");
        is_told(watching);
        fs::write(host.path("/run/watched"), "").expect("a running host");
        waiting.join().expect("it does not panic")
    })
}

#[test]
fn root_and_operators_may_trigger_and_nobody_else() {
    let mut world = world();
    let host = world.boot();
    let first = settled(&host);
    // A deployment is followed by a look; from then on an hour of nothing.
    let looked = || host.status()["looks"]["started"].as_u64();
    host.wait_for_status("the host is at rest", DEADLINE, |status| {
        status["looks"]["finished"] == 2
    });
    let as_user = |user: &str| host.run(&["runuser", "-u", user, "--", "deploy-flake", "trigger"]);

    let refused = as_user("visitor");
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(
        refused.stderr.contains("join the group deploy-flake"),
        "{refused}"
    );
    assert_eq!((looked(), host.running_system()), (Some(2), first));

    let commit = world.server().repository().publish(&next("second"));
    as_user("operator").must_succeed();
    host.wait_for_status("the operator's commit is deployed", DEADLINE, |status| {
        status["last"]["commit"] == commit.0 && status["last"]["outcome"] == "deployed"
    });
    let commit = world.server().repository().publish(&next("third"));
    as_user("root").must_succeed();
    host.wait_for_status("root's commit is deployed", DEADLINE, |status| {
        status["last"]["commit"] == commit.0 && status["last"]["outcome"] == "deployed"
    });
}

#[test]
fn waiting_ends_with_0_when_deployed_or_there_already() {
    let mut world = world();
    let host = world.boot();
    settled(&host);
    let there = trigger(&host, &["--wait"]);
    assert_eq!(there.code, Some(0), "{there}");
    assert!(there.stdout.contains("converged: "), "{there}");

    let watched = format!("{}{WATCHED}", patient());
    world
        .server()
        .repository()
        .publish(&next("second").daemon_config(&watched));
    let deployed = trigger_through_every_phase(&host);
    assert_eq!(deployed.code, Some(0), "{deployed}");
    let lines: Vec<&str> = deployed.stdout.lines().collect();
    assert!(
        // It was asked only just now.
        lines[0].starts_with("the daemon ") && lines[0].contains("(look "),
        "{deployed}"
    );
    for phase in HELD {
        let told = lines.iter().filter(|line| line.contains(phase)).count();
        assert_eq!(told, 1, "{phase} in {deployed}");
    }
    assert!(host.running_system().ends_with("second"));
    is_all(&host, &host.running_system());

    world.server().repository().publish(&next("third"));
    let json = trigger(&host, &["--wait", "--output", "json"]);
    let events: Vec<Value> = json
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(events[0]["event"], "triggered");
    let end = &events[events.len() - 1];
    assert_eq!((&end["event"], &end["exit"]), (&"end".into(), &0.into()));
    assert_eq!(end["snapshot"]["system"]["running"], host.running_system());
    assert!(events.iter().all(|event| event["schema"] == 1));
}

#[test]
fn waiting_ends_with_3_when_the_commit_is_refused_and_says_why() {
    let mut world = world();
    let host = world.boot();
    let first = settled(&host);
    let bad = next("bad").with(
        "selfCheck",
        "echo the database is being migrated >&2; exit 1",
    );
    world.server().repository().publish(&bad);
    for attempt in ["first", "second"] {
        let refused = trigger(&host, &["--wait"]);
        assert_eq!(refused.code, Some(3), "{attempt}: {refused}");
        assert!(refused.stdout.contains("refused: "), "{attempt}: {refused}");
        let reason = "the database is being migrated";
        assert!(refused.stdout.contains(reason), "{attempt}: {refused}");
    }
    assert_eq!(host.tally_of("pre-activate-safety-checks"), 1, "asked once");
    is_all(&host, &first);
}

#[test]
fn waiting_ends_with_4_when_the_remote_cannot_be_asked() {
    let mut world = world();
    let host = world.boot();
    settled(&host);
    world.server().vanish();
    let unreachable = trigger(&host, &["--wait"]);
    assert_eq!(unreachable.code, Some(4), "{unreachable}");
    assert!(
        unreachable.stdout.contains("remote unreachable: "),
        "{unreachable}"
    );
    world.server().come_back();
    trigger(&host, &["--wait"]).must_succeed();
}

#[test]
fn waiting_ends_with_5_when_a_reboot_is_required() {
    let mut world = world();
    let host = world.boot();
    let first = settled(&host);
    let other = next("other").with("initInterface", "systemd 2");
    world.server().repository().publish(&other);
    let reboot = trigger(&host, &["--wait"]);
    assert_eq!(reboot.code, Some(5), "{reboot}");
    assert!(
        reboot.stdout.contains("on_reboot_required"),
        "what to do: {reboot}"
    );
    is_all(&host, &first);
}

#[test]
fn waiting_ends_with_6_when_it_takes_too_long_and_the_daemon_goes_on() {
    let mut world = world();
    let host = world.boot();
    settled(&host);
    host.close_gate("build");
    let commit = world.server().repository().publish(&next("second"));
    let gave_up = trigger(&host, &["--wait", "--timeout", "5s"]);
    assert_eq!(gave_up.code, Some(6), "{gave_up}");
    host.open_gate("build");
    host.wait_for_status("the daemon went on", DEADLINE, |status| {
        status["last"]["commit"] == commit.0 && status["last"]["outcome"] == "deployed"
    });
}

#[test]
fn a_daemon_that_is_stopped_cannot_be_triggered() {
    let world = world();
    let host = world.boot();
    settled(&host);
    host.run(&["systemctl", "stop", "deploy-flake"])
        .must_succeed();
    for more in [&[][..], &["--wait"]] {
        let stopped = trigger(&host, more);
        assert_eq!(stopped.code, Some(7), "{more:?}: {stopped}");
        let to_do = "systemctl start deploy-flake";
        assert!(stopped.stderr.contains(to_do), "{more:?}: {stopped}");
    }
}

#[test]
fn whoever_waits_outlives_a_restart_of_the_daemon() {
    let mut world = world();
    let host = world.boot();
    settled(&host);
    host.close_gate("build");
    world.server().repository().publish(&next("second"));
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| trigger(&host, &["--wait"]));
        host.wait_for_gate("build", DEADLINE);
        let before = host.status()["daemon"]["instance"].clone();
        host.signal_daemon("KILL");
        host.wait_for_status("another daemon lives", Duration::from_secs(30), |status| {
            status["daemon"]["instance"] != before && status["phase"]["name"] == "building"
        });
        host.open_gate("build");
        waiting.join().expect("it does not panic")
    });
    assert_eq!(waiting.code, Some(0), "{waiting}");
    assert!(
        waiting.stdout.contains("the daemon was restarted"),
        "{waiting}"
    );
    assert!(host.running_system().ends_with("second"));
    assert_eq!(host.tally_of("build"), 1);
}
