//! Programs of different versions that meet: on the bus, in a file, and over ssh.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::common::{DEADLINE, deployed, settled};
use crate::testbed::child::Output;
use crate::testbed::host::Host;
use crate::triggering::{next, world};

/// This command, and with it the daemon under test.
const OWN: &str = env!("CARGO_PKG_VERSION");

const BUS: [&str; 3] = [
    "org.deploy_flake.Daemon1",
    "/org/deploy_flake/Daemon1",
    "org.deploy_flake.Daemon1",
];

/// A daemon of a time when there was one method.
struct Older;

#[zbus::interface(name = "org.deploy_flake.Daemon1")]
impl Older {
    fn trigger(&self) -> (u64, u64) {
        (7, 0)
    }

    #[zbus(property)]
    fn version(&self) -> &'static str {
        "0.0.1"
    }
}

/// All that a command wrote, on one line: people have it wrapped.
fn said(output: &Output) -> String {
    let text = format!("{} {}", output.stdout, output.stderr);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Puts it on the host's own bus for as long as something is done.
fn with_older_daemon(host: &Host, act: impl FnOnce()) {
    let socket = host.path("/run/dbus/system_bus_socket");
    let address = format!("unix:path={}", socket.display());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let older = runtime.block_on(async {
        zbus::connection::Builder::address(address.as_str())
            .serve_at(BUS[1], Older)
            .name(BUS[0])
            .build()
            .await
            .expect("the bus takes it for root's")
    });
    act();
    drop(older);
    runtime.shutdown_timeout(Duration::from_secs(5));
}

#[test]
fn an_older_client_works_with_this_daemon_and_an_older_daemon_is_named() {
    let mut world = world();
    let (host, client) = (world.boot(), world.client());
    settled(&host);
    client.knows("web1", &host, "operator");

    // All that the oldest programs know: one method, the version, and the first keys of the file.
    let call = |words: &[&str]| host.run(&[&["busctl"], words].concat());
    let version = call(&[&["get-property"], &BUS[..], &["Version"]].concat());
    assert_eq!(version.stdout.trim(), format!("s \"{OWN}\""));
    let commit = world.server().repository().publish(&next("second"));
    let told = call(&[&["call"], &BUS[..], &["Trigger"]].concat());
    assert!(told.stdout.starts_with("tt "), "{told}");
    deployed(&host, &commit);
    let status = host.status();
    assert_eq!(status["last"]["outcome"], "deployed", "{status:#}");

    host.run(&["systemctl", "stop", "deploy-flake"])
        .must_succeed();
    with_older_daemon(&host, || {
        let known = host.run(&["deploy-flake", "trigger"]);
        assert_eq!(known.code, Some(0), "{known}");
        assert!(known.stdout.contains("(look 7)"), "{known}");
        let sentence = format!(
            "the daemon, which is deploy-flake 0.0.1, does not know the method Pause that this command, \
             which is {OWN}, needs"
        );
        let here = host.run(&["deploy-flake", "pause"]);
        assert_eq!(here.code, Some(1), "{here}");
        assert!(here.stderr.contains(&sentence), "{here}");
        assert!(here.stderr.contains("use the command from"), "{here}");
        // As an operator, and from afar.
        let there = client.run(&["deploy-flake", "pause", "web1"]);
        assert_eq!(there.code, Some(1), "{there}");
        assert!(said(&there).contains(&sentence), "{there}");
    });

    // A file of a daemon that is not there yet.
    let file = host.path("/run/deploy-flake/status.json");
    let newer = r#"{"schema": 9, "daemon": {"version": "9.1"}, "phase": {"name": "dreaming"}}"#;
    fs::write(file, newer).expect("a running host");
    let refused = host.run(&["deploy-flake", "status"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    for words in [
        "found schema 9, written by deploy-flake 9.1",
        &format!("deploy-flake {OWN}"),
    ] {
        assert!(refused.stderr.contains(words), "{refused}");
    }
}

/// The command of another host, as it was when there were `trigger` and `status`, or as it may be one day.
const OTHER: &str = r#"#!/bin/sh
case $SSH_ORIGINAL_COMMAND in
    *--version*) echo "deploy-flake 0.0.1" ;;
    *--expect*) echo "error: unexpected argument '--expect' found" >&2; exit 2 ;;
    *trigger*) cat /opt/lines ;;
    *status*) cat /opt/state ;;
    *) echo "error: unrecognized subcommand" >&2; exit 2 ;;
esac
"#;

/// What it says, with this schema of lines, event, phase and state.
fn lines(schema: u32, event: &str, phase: &str, state: &str) -> String {
    let deployment = "00c0ffee00c0ffee";
    format!(
        "{{\"schema\":{schema},\"event\":\"triggered\",\"look\":6}}\n\
         {{\"schema\":{schema},\"event\":\"{event}\",\"of\":[1]}}\n\
         {{\"schema\":{schema},\"event\":\"phase\",\"name\":\"{phase}\",\"deployment\":\"{deployment}\"}}\n\
         {{\"schema\":{schema},\"event\":\"end\",\"exit\":0,\"snapshot\":{state}}}\n"
    )
}

#[test]
fn hosts_whose_command_is_older_or_newer_are_asked_all_the_same() {
    let world = world();
    let (host, client) = (world.boot(), world.client());
    settled(&host);
    client.knows("other", &host, "visitor");
    client.knows("web1", &host, "operator");
    let write = |path: &str, text: &str| fs::write(host.path(path), text).expect("a running host");
    write("/opt/other", OTHER);
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(host.path("/opt/other"), executable).expect("a running host");
    let sed = "s|^|command=\"/opt/other\",restrict |";
    host.run(&["sed", "-i", sed, "/home/visitor/.ssh/authorized_keys"])
        .must_succeed();
    let ask = |words: &[&str]| client.run_for(&[&["deploy-flake"], words].concat(), DEADLINE);

    let oldest: serde_json::Value =
        serde_json::from_str(include_str!("../../daemon/store/snapshot/schema-1.json"))
            .expect("it is JSON");
    let mut newest = oldest.clone();
    newest["schema"] = 99.into();
    newest["phase"]["name"] = "dreaming-aloud".into();
    newest["future"] = "x".into();
    for (state, event, phase, shown) in [
        (&oldest, "phase-of-old", "building", "building the system"),
        (&newest, "dreamt", "dreaming-aloud", "dreaming aloud"),
    ] {
        write("/opt/lines", &lines(1, event, phase, &state.to_string()));
        write("/opt/state", &format!("{state}\n"));
        let triggered = ask(&["trigger", "other"]);
        assert_eq!(triggered.code, Some(0), "{triggered}");
        assert!(
            triggered.stdout.contains("there already, 0123456789ab"),
            "{triggered}"
        );
        assert!(
            triggered.stdout.contains(&format!("other: {shown}")),
            "{triggered}"
        );
        let table = ask(&["status", "other", "web1"]);
        assert!(table.stdout.contains("0123456789ab"), "{table}");
    }

    let refused = ask(&["trigger", "other", "--expect", "0123456"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    let text = said(&refused);
    let both = format!("(deploy-flake 0.0.1 there, {OWN} here)");
    assert!(text.contains(&both), "{refused}");
    assert!(text.contains("unexpected argument '--expect'"), "{refused}");

    write(
        "/opt/lines",
        &lines(2, "x", "building", &oldest.to_string()),
    );
    let foreign = ask(&["trigger", "other"]);
    assert_eq!(foreign.code, Some(1), "{foreign}");
    let why = "expected lines of schema 1, found schema 2";
    assert!(said(&foreign).contains(why), "{foreign}");
}
