//! What a system must not lack: it is refused before anything is activated. If an operator has allowed it, it is what
//! they wanted: it is kept, as far as nothing else that they asked for is broken, and the host goes on following.
//!
//! In: a system without ssh server, or without daemon. Out: its line of the table in `docs/reliability.md`.

use serde_json::json;

use crate::common::{ended_as, is_all, looks};
use crate::surviving_scene::{End, SHORT, Scene};
use crate::surviving_table::Row;
use crate::testbed::sabotage::{BrokenDaemon, Sabotage};

/// Nothing is activated.
#[track_caller]
fn is_refused(sabotage: Sabotage, code: &str) {
    let mut scene = Scene::new(sabotage, SHORT);
    let before = scene.host.tally_of("activate ");
    let commit = scene.publish(sabotage);
    let status = ended_as(&scene.host, &commit, "refused");
    assert_eq!(status["last"]["failure"]["code"], code, "{status:#}");
    let tests = scene.host.tally_of("switch-to-configuration-test");
    assert_eq!((tests, scene.host.tally_of("activate ")), (0, before));
    scene.is_well();
    tell(&sabotage.name(), "refused", code);
    looks(&scene.host, 2);
    assert_eq!(scene.host.tally_of("switch-to-configuration-"), 0);
    scene.deploys_a_good_commit();
}

fn tell(sabotage: &str, outcome: &str, code: &str) {
    let row = Row {
        sabotage: sabotage.to_owned(),
        outcome: outcome.to_owned(),
        code: code.to_owned(),
        healthy: None,
        following: None,
    };
    row.write();
}

/// A host that allows this, with what more is in `[health]`.
fn allowing(sabotage: Sabotage, guard: &str, health: &str) -> Scene {
    let short = SHORT.replace("[health]\n", &format!("[health]\n{health}"));
    Scene::new(
        sabotage,
        &format!("{short}\n[guards]\nallow = [\"{guard}\"]"),
    )
}

/// It is kept, although it lacks what it lacks.
#[track_caller]
fn is_kept(scene: &mut Scene, sabotage: Sabotage) {
    let commit = scene.publish(sabotage);
    let status = ended_as(&scene.host, &commit, "deployed");
    assert_eq!(status["quarantine"], json!([]), "{status:#}");
    let system = status["desired"]["toplevel"].as_str().unwrap_or_default();
    is_all(&scene.host, system);
    assert_eq!(scene.host.state(), "running");
    tell(&format!("{}, allowed", sabotage.name()), "deployed", "-");
}

#[test]
fn a_system_without_an_ssh_server_is_refused() {
    is_refused(Sabotage::SshdRemoved, "ssh-server-missing");
}

#[test]
fn a_system_without_a_daemon_is_refused() {
    is_refused(Sabotage::DaemonRemoved, "daemon-missing");
}

#[test]
fn configurations_that_are_none_or_name_another_remote_are_refused() {
    for how in [BrokenDaemon::Misconfigured, BrokenDaemon::Deaf] {
        is_refused(Sabotage::DaemonBroken(how), "remote-missing");
    }
}

#[test]
fn an_ssh_server_that_may_be_removed_is_and_the_next_commit_brings_it_back() {
    let sabotage = Sabotage::SshdRemoved;
    let mut scene = allowing(sabotage, "ssh-server", "");
    is_kept(&mut scene, sabotage);
    assert!(!scene.host.answers_ssh(), "as the operator wanted");
    scene.deploys_a_good_commit();
}

#[test]
fn an_ssh_server_that_may_be_removed_and_is_required_is_led_back_to() {
    let sabotage = Sabotage::SshdRemoved;
    let required = "require_units = [\"sshd.service\"]\n";
    let mut scene = allowing(sabotage, "ssh-server", required);
    let end = End {
        outcome: "rolled-back",
        code: "required-unit-down",
    };
    let name = format!("{}, allowed and required", sabotage.name());
    scene.comes_back(sabotage, &name, end);
    scene.deploys_a_good_commit();
}

/// It runs on until it is stopped: so it can still take the commit that brings it back.
#[test]
fn a_daemon_that_may_be_removed_follows_until_it_is_stopped() {
    let sabotage = Sabotage::DaemonRemoved;
    let mut scene = allowing(sabotage, "daemon", "");
    is_kept(&mut scene, sabotage);
    looks(&scene.host, 2);
    assert!(scene.host.answers_ssh());
    scene.deploys_a_good_commit();
}
