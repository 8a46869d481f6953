//! `deploy-flake status` answers whatever became of the daemon, at once and truly.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{DEADLINE, deployed, settled, web};
use crate::testbed::child::Output;
use crate::testbed::host::Host;
use crate::testbed::world::World;

/// Far above the 100 ms that are promised: these are measured where nothing else runs (bench).
const AT_ONCE: Duration = Duration::from_secs(2);

/// Asks for the status in text and in JSON, both at once; says how long it took.
#[track_caller]
fn status(host: &Host, when: &str) -> (String, Value) {
    let text = timed(host, when, "text");
    let json = timed(host, when, "json");
    let value = serde_json::from_str(&json.stdout).expect("the status is JSON");
    assert_eq!((text.code, json.code), (Some(0), Some(0)), "{text}{json}");
    let widest = text.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "at most 80 columns: {text}");
    (text.stdout, value)
}

#[track_caller]
fn timed(host: &Host, when: &str, form: &str) -> Output {
    let started = Instant::now();
    let output = host.run(&["deploy-flake", "status", "--output", form]);
    let took = started.elapsed();
    println!("status as {form} {when}: {} ms", took.as_millis());
    assert!(took < AT_ONCE, "{took:?} {when}");
    output
}

#[test]
fn status_tells_the_state_of_a_host_at_rest() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let commit = world.server().repository().publish(&web("second"));
    let second = deployed(&host, &commit);
    let (text, json) = status(&host, "at rest");
    assert!(text.starts_with("host: converged\n"), "{text}");
    assert!(text.contains(&commit.0[..12]), "{text}");
    assert!(text.contains("doing      resting"), "{text}");
    assert_eq!(json["daemon_running"], true);
    assert_eq!(json["system"]["running"], second.as_str());
    assert_eq!(json["last"]["outcome"], "deployed");
    let everybody = host.run(&["runuser", "-u", "visitor", "--", "deploy-flake", "status"]);
    assert!(
        everybody.text().starts_with("host: converged"),
        "{everybody}"
    );
}

#[test]
fn status_says_that_the_daemon_is_stopped_and_what_it_knew() {
    let world = World::new();
    let host = world.boot();
    let first = settled(&host);
    host.run(&["systemctl", "stop", "deploy-flake"])
        .must_succeed();
    let (text, json) = status(&host, "while the daemon is stopped");
    assert!(
        text.starts_with("host: the daemon is NOT RUNNING\n"),
        "{text}"
    );
    assert!(
        text.contains("The last word of the daemon was: converged."),
        "{text}"
    );
    assert!(
        text.contains("to do: `systemctl start deploy-flake`"),
        "{text}"
    );
    assert_eq!(json["daemon_running"], false);
    assert_eq!(json["condition"]["state"], "converged");
    assert_eq!(json["system"]["running"], first.as_str());

    host.run(&["systemctl", "start", "deploy-flake"])
        .must_succeed();
    let (text, json) = status(&host, "after the start");
    assert!(!text.contains("NOT RUNNING"), "{text}");
    assert_eq!(json["daemon_running"], true);
}

#[test]
fn status_answers_while_the_daemon_hangs() {
    let world = World::new();
    let host = world.boot();
    let first = settled(&host);
    host.signal_daemon("STOP");
    let (text, json) = status(&host, "while the daemon hangs");
    assert_eq!(json["daemon_running"], true, "its lock is held");
    assert_eq!(json["condition"]["state"], "converged");
    assert_eq!(json["system"]["running"], first.as_str());
    assert!(
        text.contains("remote     answered"),
        "how old it is: {text}"
    );
    host.signal_daemon("CONT");
}

#[test]
fn status_says_what_goes_on_while_a_step_hangs() {
    let mut world = World::new();
    let host = world.boot();
    let first = settled(&host);
    host.close_gate("build");
    let commit = world.server().repository().publish(&web("second"));
    host.wait_for_gate("build", DEADLINE);
    let (text, json) = status(&host, "while a build hangs");
    assert!(text.starts_with("host: deploying\n"), "{text}");
    assert!(
        text.contains("doing      building the system, since"),
        "{text}"
    );
    let deployment = json["phase"]["deployment"].as_str().unwrap_or_default();
    assert!(
        text.contains(&format!("DEPLOY_FLAKE_DEPLOYMENT={deployment}")),
        "{text}"
    );
    assert_eq!(json["phase"]["name"], "building");
    assert_eq!(json["condition"]["state"], "deploying");
    assert_eq!(json["desired"]["commit"], commit.0);
    assert_eq!(json["system"]["running"], first.as_str());

    host.signal_daemon("KILL");
    let (_, json) = status(&host, "after the daemon was killed in a build");
    assert_eq!(json["phase"]["name"], "building");
    host.open_gate("build");
    deployed(&host, &commit);
}

#[test]
fn status_before_the_first_look_says_that_nobody_has_looked() {
    let mut world = World::new();
    // The first poll waits for an answer that does not come.
    world.server().vanish();
    let host = world.boot();
    host.wait_for_status("the first look is going on", DEADLINE, |status| {
        status["looks"]["started"] == 1
    });
    let (text, json) = status(&host, "before the first look");
    assert_eq!(json["condition"]["state"], "starting", "{json:#}");
    assert_eq!(json["looks"]["finished"], 0);
    assert_eq!(json["desired"], Value::Null);
    assert_eq!(json["last"], Value::Null);
    assert!(text.contains("The daemon has not looked yet."), "{text}");
    assert!(text.contains("never answered yet"), "{text}");
    world.server().come_back();
    settled(&host);
}

#[test]
fn status_where_no_daemon_has_run_says_so() {
    let world = World::new();
    let host = world.boot();
    settled(&host);
    host.run(&["systemctl", "stop", "deploy-flake"])
        .must_succeed();
    host.run(&["rm", "-r", "/run/deploy-flake"]).must_succeed();
    let text = timed(&host, "where no daemon has run", "text");
    assert_eq!(text.code, Some(7), "{text}");
    assert!(
        text.stdout
            .contains("has not run since this host was booted"),
        "{text}"
    );
    let json = timed(&host, "where no daemon has run", "json");
    let value: Value = serde_json::from_str(&json.stdout).expect("the status is JSON");
    assert_eq!((json.code, &value["condition"]), (Some(7), &Value::Null));
}
