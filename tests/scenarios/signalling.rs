//! What whoever listens on the bus is told of a deployment: `PropertiesChanged`, for everybody who may read.
//!
//! The listener is an ordinary user. `dbus-monitor` may not watch the whole bus then, and asks for what its match names,
//! as any program does that follows a property.

use std::fs;

use deploy_flake::ipc::{NAME, PATH};

use crate::common::{DEADLINE, deployed, settled};
use crate::testbed::host::Host;
use crate::triggering::{next, world};

/// Where the listener writes what it hears.
const HEARD: &str = "/run/heard";

/// The properties that docs/control.md says to be signalled.
const SIGNALLED: [&str; 3] = ["Phase", "Condition", "Branch"];

/// Has the visitor listen from now on.
#[track_caller]
fn listen(host: &Host) {
    let rule = format!(
        "type='signal',sender='{NAME}',path='{PATH}',\
         interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
    );
    let output = format!("--property=StandardOutput=append:{HEARD}");
    let unit = ["systemd-run", "--unit=listener", "--uid=visitor", &output];
    let monitor = ["dbus-monitor", "--system", &rule];
    host.run(&[&unit[..], &monitor].concat()).must_succeed();
    // It reads what it is sent once the bus has its rule; the first is a word to itself.
    host.wait_until("the visitor listens", DEADLINE, |host| {
        !text(host).is_empty()
    });
}

fn text(host: &Host) -> String {
    fs::read_to_string(host.path(HEARD)).unwrap_or_default()
}

/// The values of a property that were told, in their order, each once however often it was repeated.
fn heard(host: &Host, property: &str) -> Vec<String> {
    let text = text(host);
    let name = format!("string \"{property}\"");
    let mut lines = text.lines().map(str::trim);
    let mut values = Vec::new();
    while lines.any(|line| line == name) {
        let value = lines.next().and_then(|line| line.split('"').nth(1));
        // Not there yet, or not written to its end.
        values.extend(value.map(str::to_owned));
    }
    values.dedup();
    values
}

/// What the visitor reads.
#[track_caller]
fn read(host: &Host, property: &str) -> String {
    let get = ["busctl", "get-property", NAME, PATH, NAME, property];
    let visitor = ["runuser", "-u", "visitor", "--"];
    let value = host.run(&[&visitor[..], &get].concat());
    let value = value.text().strip_prefix("s \"");
    let value = value.and_then(|value| value.strip_suffix('"'));
    value.expect("it is a text").to_owned()
}

/// Waits until the property was told to have this value.
#[track_caller]
fn is_told(host: &Host, property: &str, value: &str) {
    host.wait_until(&format!("{property} is {value}"), DEADLINE, |host| {
        heard(host, property).iter().any(|it| it == value)
    });
}

/// Whether these values were told in this order, with others between them.
fn are_in_order(values: &[String], expected: &[&str]) -> bool {
    let mut values = values.iter();
    expected.iter().all(|it| values.any(|value| value == it))
}

#[test]
fn everybody_who_listens_is_told_how_a_deployment_goes_and_how_it_ended() {
    let mut world = world();
    let host = world.boot();
    settled(&host);
    host.wait_for_status("the host is at rest", DEADLINE, |status| {
        status["looks"]["finished"] == 2
    });
    listen(&host);
    // At rest, nobody is told anything.
    assert_eq!(heard(&host, "Phase"), [""; 0]);

    for gate in ["build", "activate"] {
        host.close_gate(gate);
    }
    let commit = world.server().repository().publish(&next("second"));
    host.run(&["deploy-flake", "trigger"]).must_succeed();
    // The deployment stands still until the signal of where it stands is there.
    is_told(&host, "Phase", "building");
    assert_eq!(read(&host, "Phase"), "building");
    is_told(&host, "Condition", "deploying");
    assert_eq!(read(&host, "Condition"), "deploying");
    host.open_gate("build");
    is_told(&host, "Phase", "testing");
    host.open_gate("activate");
    deployed(&host, &commit);

    for property in SIGNALLED {
        let present = read(&host, property);
        let what = format!("the last {property} that was told is {present}");
        host.wait_until(&what, DEADLINE, |host| {
            heard(host, property).last() == Some(&present)
        });
    }
    let phases = heard(&host, "Phase");
    let way = ["building", "testing", "confirming", "resting"];
    assert!(are_in_order(&phases, &way), "{phases:?}");
    assert_eq!(phases.last().map(String::as_str), Some("resting"));
    let conditions = heard(&host, "Condition");
    assert_eq!(conditions, ["deploying", "converged"]);
    assert_eq!(heard(&host, "Branch"), ["main"]);
}
