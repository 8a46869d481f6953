//! Health is relative to before, on real hosts: what the probe of the old and of the new closure sees.
//!
//! In: generations that lose something, or change it on purpose. Out: the baseline as the ledger has it, and which
//! commits are kept.

use std::fs;

use deploy_flake::model::failure::FailureCode;
use serde_json::{Value, json};

use crate::common::{DEADLINE, deployed, git_url, settled, text};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::world::World;

const LEDGER: &str = "/var/lib/deploy-flake/ledger";

/// A generation whose daemon has this window, and deadlines that can be waited for.
fn generation(label: &str, confirm_window: &str) -> Generation {
    let url = git_url();
    Generation::new(label).daemon_config(&format!(
        "[[remote]]\nurl = \"{url}\"\npoll_interval = \"1s\"\n\n[health]\nconfirm_window = \"{confirm_window}\"\n\
         probe_deadline = \"6s\"\nignore_units = [\"ignored.service\"]\n\n[deadlines]\npoll = \"2s\"\nprobe = \"4s\"\n"
    ))
}

/// An ssh server that listens on a port. The number in the unit is what has a switch start it again.
fn ssh_on(generation: Generation, configured: u16, unit: u16) -> Generation {
    let config = format!("Port {configured}\nUsePAM no\nPasswordAuthentication no\n");
    let unit = format!(
        "[Unit]\nDescription=OpenSSH server\nAfter=network.target\n[Service]\n\
         ExecStart=/usr/sbin/sshd -D -e\nRuntimeDirectory=sshd\nEnvironment=UNIT={unit}\nX-StopIfChanged=false\n"
    );
    generation
        .etc("ssh/sshd_config", &config)
        .unit("sshd.service", &unit)
}

/// The daemon's own state.
fn ledger(host: &Host) -> Value {
    let text = fs::read_to_string(host.path(LEDGER)).unwrap_or_default();
    let state = text.split_once('\n').map_or("", |(_header, state)| state);
    serde_json::from_str(state).unwrap_or(Value::Null)
}

/// How many runs of the probe have ended.
fn probes(host: &Host) -> usize {
    let unit = "UNIT=deploy-flake-probe.service";
    let entries = host.journal(&["_PID=1", unit]);
    let ended = |entry: &&Value| {
        let message = entry["MESSAGE"].as_str().unwrap_or_default();
        message.starts_with("Finished ")
    };
    entries.iter().filter(ended).count()
}

/// Waits until a commit has failed, and returns why.
#[track_caller]
fn failed(host: &Host, commit: &CommitId) -> Value {
    let status = host.wait_for_status(&format!("{commit} has failed"), DEADLINE, |status| {
        status["last"]["commit"] == commit.0 && status["last"]["failure"] != Value::Null
    });
    status["last"]["failure"].clone()
}

#[test]
fn what_the_host_was_is_in_the_ledger_before_anything_is_activated() {
    let mut world = World::starting_with(generation("first", "2s"));
    let host = world.boot();
    settled(&host);
    host.close_gate("switch-to-configuration-test");
    let second = generation("second", "2s");
    let commit = world.server().repository().publish(&second);
    host.wait_for_gate("switch-to-configuration-test", DEADLINE);
    let baseline = ledger(&host)["phase"]["baseline"].clone();
    let route = host.run(&["ip", "route", "show", "default"]).stdout;
    assert_eq!(
        baseline["probe"],
        json!({
            "remote": "reachable",
            "ssh": [{ "address": "127.0.0.1:22", "banner": { "Ok": null } }],
            "default_route": !route.trim().is_empty(),
            "user": [],
        }),
        "{baseline:#}"
    );
    assert_eq!(
        baseline["required"],
        json!(["deploy-flake.service", "sshd.service"])
    );
    let active = baseline["active"].as_array().expect("a list");
    for unit in ["multi-user.target", "nix-daemon.socket", "sshd.service"] {
        assert!(active.contains(&json!(unit)), "{unit} in {baseline:#}");
    }
    let ours = |unit: &&Value| {
        unit.as_str()
            .is_some_and(|it| it.starts_with("deploy-flake-"))
    };
    assert_eq!(active.iter().filter(ours).count(), 0, "{baseline:#}");
    assert_eq!(baseline["failed"], json!([]));
    assert_eq!(probes(&host), 1, "one probe, from the old closure");

    host.open_gate("switch-to-configuration-test");
    deployed(&host, &commit);
    assert!(probes(&host) >= 3, "and at least two from the new one");
}

#[test]
fn a_port_of_the_ssh_server_that_is_changed_on_purpose_is_kept() {
    let mut world = World::starting_with(ssh_on(generation("first", "2s"), 22, 22));
    let host = world.boot();
    settled(&host);
    let moved = ssh_on(generation("moved", "2s"), 2222, 2222);
    let commit = world.server().repository().publish(&moved);
    deployed(&host, &commit);
    let listening = host.run(&["ss", "-Hltn"]).stdout;
    assert!(listening.contains(":2222 "), "{listening}");
    assert!(!listening.contains(":22 "), "{listening}");
}

#[test]
fn an_ssh_server_that_does_not_answer_where_it_should_is_not_kept() {
    let mut world = World::starting_with(ssh_on(generation("first", "2s"), 22, 22));
    let host = world.boot();
    settled(&host);
    // Nothing starts it again: it goes on where it was.
    let unmoved = ssh_on(generation("unmoved", "2s"), 2222, 22);
    let commit = world.server().repository().publish(&unmoved);
    let failure = failed(&host, &commit);
    assert_eq!(failure["code"], FailureCode::SshUnreachable.as_str());
    let message = text(&failure["message"]);
    assert!(message.contains("127.0.0.1:2222, found: "), "{message}");
}

#[test]
fn a_remote_that_vanishes_in_the_window_is_told_as_lost() {
    let mut world = World::starting_with(generation("first", "30s"));
    let host = world.boot();
    settled(&host);
    let second = generation("second", "30s");
    let commit = world.server().repository().publish(&second);
    host.wait_until("the new system is probed well", DEADLINE, |host| {
        ledger(host)["phase"]["name"] == "confirming" && probes(host) >= 4
    });
    world.server().vanish();
    let failure = failed(&host, &commit);
    assert_eq!(failure["code"], FailureCode::RemoteLost.as_str());
    assert_eq!(failure["class"], "transient");
}

#[test]
fn a_closure_whose_own_health_check_fails_is_not_kept() {
    let mut world = World::starting_with(generation("first", "2s"));
    let host = world.boot();
    settled(&host);
    let checked = |label: &str, script: &str| {
        let generation = generation(label, "2s").with("selfCheckPath", "health-check");
        generation.with("selfCheck", script)
    };
    let well = world
        .server()
        .repository()
        .publish(&checked("well", "true"));
    deployed(&host, &well);
    let ill = checked("ill", "echo 'no web' >&2; exit 3");
    let ill = world.server().repository().publish(&ill);
    let failure = failed(&host, &ill);
    assert_eq!(failure["code"], FailureCode::ProbeFailed.as_str());
    let message = text(&failure["message"]);
    assert!(message.contains("probe health-check"), "{message}");
    assert!(message.contains("no web"), "{message}");
}

#[test]
fn a_unit_that_is_ignored_does_not_fail_the_activation_that_starts_it() {
    let mut world = World::starting_with(generation("first", "2s"));
    let host = world.boot();
    settled(&host);
    let second = generation("second", "2s").one_shot("ignored.service", "/usr/bin/false");
    let commit = world.server().repository().publish(&second);
    deployed(&host, &commit);
    assert_eq!(host.state(), "degraded");
}

/// It is down for a moment that no look sees; systemd has counted it.
#[test]
fn a_service_that_fails_once_in_the_window_and_is_started_again_at_once_is_not_kept() {
    let blink = "[ -e /run/fail ] && exec sleep infinity; \
                 while [ ! -e /run/fail ]; do sleep 0.1; done; exit 1";
    let unit =
        format!("[Service]\nExecStart=/bin/sh -c '{blink}'\nRestart=on-failure\nRestartSec=0\n");
    let mut world = World::starting_with(generation("first", "30s"));
    let host = world.boot();
    let old = settled(&host);
    let blinking = generation("second", "30s").wanted_unit("blinking.service", &unit);
    let commit = world.server().repository().publish(&blinking);
    host.wait_until("the new system is probed well", DEADLINE, |host| {
        ledger(host)["phase"]["name"] == "confirming" && probes(host) >= 4
    });
    host.run(&["touch", "/run/fail"]).must_succeed();
    let failure = failed(&host, &commit);
    assert_eq!(failure["code"], "unhealthy-after-test", "{failure:#}");
    let message = text(&failure["message"]);
    let said = "blinking.service ended and was restarted";
    assert!(message.contains(said), "{message}");
    assert_eq!(host.running_system(), old);
}
