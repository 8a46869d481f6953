//! A build that takes its time: whoever looks is told how far it is, and what was said last.

use std::fs;

use serde_json::Value;

use crate::common::{DEADLINE, deployed, settled};
use crate::testbed::host::Host;
use crate::testbed::world::wait_until;
use crate::triggering::{next, world};

/// What the builder says before it stops at a gate of its own, with what could be done to a terminal.
const SAYS: &str = "printf 'unpacking \\033]52;c;eA==\\007the sources\\n'; /opt/mini/hook late";

/// As much of it as fits on 80 columns, with the progress in front.
const SHOWN: &str = "2 of 3 built: nixos-system-host-second> ";

/// What the host itself says of its build; waits until that is this.
#[track_caller]
fn is_told(host: &Host, built: &Value) {
    host.wait_for_status("it is told how far the build is", DEADLINE, |status| {
        let progress = &status["phase"]["progress"];
        progress["built"] == *built
            && progress["last_line"] == "nixos-system-host-second> unpacking the sources"
    });
}

#[test]
fn how_far_a_build_is_is_seen_from_near_and_far_and_after_a_restart() {
    let mut world = world();
    let (host, client) = (world.boot(), world.client());
    settled(&host);
    client.knows("web1", &host, "operator");
    client.knows("again", &host, "operator");

    host.close_gate("late");
    let slow = next("second").with("parts", 2).with("buildScript", SAYS);
    let commit = world.server().repository().publish(&slow);
    let board = "TERM=xterm script --quiet --return --flush \
                 --command 'deploy-flake trigger web1 again' /dev/null > /tmp/screen";
    let lines = "deploy-flake trigger web1 --output json > /tmp/json";
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| client.run_for(&["sh", "-c", board], DEADLINE));
        let following = scope.spawn(|| client.run_for(&["sh", "-c", lines], DEADLINE));
        host.wait_for_gate("late", DEADLINE);
        let built = serde_json::json!({"done": 2, "expected": 3});
        is_told(&host, &built);
        for (file, words) in [
            ("/tmp/screen", SHOWN),
            (
                "/tmp/json",
                r#""event":"progress","fetched":{"done":0,"expected":0},"host":"web1","last_line":"nixos-system-host-second> unpacking the sources""#,
            ),
        ] {
            wait_until(words, DEADLINE, || {
                client.run(&["cat", file]).stdout.contains(words)
            });
        }
        let table = client.run(&["deploy-flake", "status", "web1", "again"]);
        assert!(table.stdout.contains("2 of 3 built: nixos"), "{table}");
        let page = client.run(&["deploy-flake", "status", "web1"]);
        assert!(
            page.stdout
                .contains("2 of 3 built: nixos-system-host-second>"),
            "{page}"
        );

        // The next daemon finds it where the one before did.
        host.run(&["systemctl", "restart", "deploy-flake"])
            .must_succeed();
        is_told(&host, &built);
        host.open_gate("late");
        for ended in [watching, following] {
            let ended = ended.join().expect("it does not panic");
            assert_eq!(ended.code, Some(0), "{ended}");
        }
    });
    deployed(&host, &commit);
    let screen = client.run(&["cat", "/tmp/screen"]).stdout;
    assert!(!screen.contains("]52"), "no builder writes to a terminal");

    // What Nix itself would have written, and nothing of its stream, is what the journal has.
    let logs = host.run(&["deploy-flake", "logs"]).stdout;
    for said in [
        "these 3 derivations will be built:",
        "part-1> part 1 is made",
        "nixos-system-host-second> unpacking the sources",
    ] {
        assert!(logs.contains(said), "{said}: {logs}");
    }
    assert!(!logs.contains("@nix"), "{logs}");
    let progress = fs::read_to_string(host.path("/run/deploy-flake/status.json"));
    let progress = progress.expect("there is a snapshot");
    assert!(!progress.contains("\"progress\""), "it is over: {progress}");

    // The build's end is its own: systemd tells a build that said no from one that crashed, or never ran.
    for (command, code) in [
        ("sh -c 'exit 7'", 7),
        ("sh -c 'kill -SEGV $$'", 128 + 11),
        ("sh -c 'kill -KILL $$'", 128 + 9),
        ("/nowhere/at/all", 203),
    ] {
        let line = format!("ulimit -c 0; deploy-flake relay -- {command}; exit $?");
        assert_eq!(host.shell(&line).code, Some(code), "{command}");
    }
}
