//! What keeps a system from being activated at all: it ends before anything on the host is changed.

use std::fs;

use deploy_flake::model::failure::FailureCode;
use deploy_flake::report::failures;

use super::{Scene, Settings, refused, says, shows, up_to};
use crate::refusing::common::SOON;

/// Another switch, as far as its lock.
const LOCK: &str = "/run/nixos/switch-to-configuration.lock";

impl Scene {
    /// Has somebody hold the lock of every switch.
    fn hold_lock(&self) {
        let hold = format!("mkdir -p /run/nixos; exec flock {LOCK} sleep 600");
        let unit = ["systemd-run", "--unit=holder", "sh", "-c", &hold];
        self.host.run(&unit).must_succeed();
        self.host.wait_until("the lock is held", SOON, |host| {
            host.run(&["flock", "--nonblock", LOCK, "true"]).code == Some(1)
        });
    }

    fn let_go_of_lock(&self) {
        let stop = ["systemctl", "stop", "holder.service"];
        self.host.run(&stop).must_succeed();
    }
}

#[test]
fn a_system_without_switch_to_configuration_is_refused() {
    let mut scene = Scene::new(Settings::Ordinary);
    let image = scene.generation("image").with("switchable", false);
    let commit = scene.publish(&image);
    let end = refused(FailureCode::NotSwitchable, "deterministic", up_to("build"));
    says(
        &scene.ends(&commit, &end),
        "bin/switch-to-configuration is missing",
    );
    assert_eq!(scene.host.status()["condition"]["state"], "refused");
    scene.deploys_a_good_commit();
}

#[test]
fn a_test_that_refuses_before_it_changes_anything_is_refused() {
    let mut scene = Scene::new(Settings::Ordinary);
    let check = "[ \"$2\" != test ] || { echo 'not live' >&2; exit 3; }";
    let refusing = scene.generation("refusing").with("preSwitchCheck", check);
    let commit = scene.publish(&refusing);
    let ran = up_to("pre-switch-check test");
    let end = refused(FailureCode::ActivationRefused, "deterministic", ran);
    let failure = scene.ends(&commit, &end);
    says(&failure, "exit status 1");
    shows(&failure, "not live");
    assert_eq!(scene.host.status()["condition"]["state"], "refused");
    scene.deploys_a_good_commit();
}

#[test]
fn a_switch_by_somebody_else_is_waited_for_before_anything_runs() {
    let mut scene = Scene::new(Settings::Hurried);
    scene.hold_lock();
    let good = scene.generation("good");
    let commit = scene.publish(&good);
    let end = refused(FailureCode::LockHeld, "transient", up_to("build"));
    says(&scene.ends(&commit, &end), "somebody else has held");
    scene.let_go_of_lock();
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}

#[test]
fn a_short_switch_by_somebody_else_delays_a_deployment_and_nothing_more() {
    let mut scene = Scene::new(Settings::Ordinary);
    scene.hold_lock();
    let good = scene.generation("good");
    let commit = scene.publish(&good);
    let waits = "it waits with a built system";
    scene.host.wait_for_status(waits, SOON, |status| {
        status["phase"]["name"] == "inspecting"
    });
    scene.let_go_of_lock();
    scene.deploys(&commit);
    let held = failures::entry(FailureCode::LockHeld).message_id;
    let entries = scene.host.journal(&[&format!("MESSAGE_ID={held}")]);
    assert_eq!(entries.len(), 0, "{entries:#?}");
}

#[test]
fn a_switch_by_somebody_else_just_before_check_or_test_is_waited_for() {
    let mut scene = Scene::new(Settings::Hurried);
    for (label, step) in [
        ("first", "switch-to-configuration-check"),
        ("second", "switch-to-configuration-test"),
    ] {
        scene.host.close_gate(step);
        let good = scene.generation(label);
        let commit = scene.publish(&good);
        scene.host.wait_for_gate(step, SOON);
        scene.hold_lock();
        scene.host.open_gate(step);
        let end = refused(FailureCode::LockHeld, "transient", up_to(step));
        says(&scene.ends(&commit, &end), "exit status 11");
        scene.let_go_of_lock();
        scene.deploys(&commit);
    }
    scene.deploys_a_good_commit();
}

#[test]
fn a_switch_by_somebody_else_while_the_boot_entry_is_written_is_no_failure_of_the_system() {
    let mut scene = Scene::new(Settings::Ordinary);
    let step = "switch-to-configuration-boot";
    scene.host.close_gate(step);
    let good = scene.generation("good");
    let commit = scene.publish(&good);
    scene.host.wait_for_gate(step, SOON);
    scene.hold_lock();
    scene.host.open_gate(step);
    let said = "_SYSTEMD_UNIT=deploy-flake.service";
    scene.host.wait_until("the daemon waits", SOON, |host| {
        // Not by --grep: a journalctl that finds nothing by it fails.
        let told = host.journal(&[said]);
        told.iter()
            .filter_map(|entry| entry["MESSAGE"].as_str())
            .any(|words| words.starts_with("the switch lock is held"))
    });
    scene.let_go_of_lock();
    scene.deploys(&commit);
    let ran = scene.ran();
    let boots = ran.iter().filter(|line| *line == step).count();
    assert_eq!(boots, 2, "once in vain, once well: {ran:?}");
    let tests = ran
        .iter()
        .filter(|line| *line == "switch-to-configuration-test");
    assert_eq!(tests.count(), 1, "{ran:?}");
    scene.deploys_a_good_commit();
}

#[test]
fn nothing_is_activated_while_the_boot_loader_cannot_be_read() {
    let mut scene = Scene::new(Settings::Ordinary);
    let loader = scene.host.path("/boot/loader/loader.conf");
    let away = scene.host.path("/boot/loader/away");
    fs::rename(&loader, &away).expect("a running host");
    let good = scene.generation("good");
    let commit = scene.publish(&good);
    let end = refused(FailureCode::BootLoaderUnreadable, "host", up_to("build"));
    scene.ends(&commit, &end);
    fs::rename(&away, &loader).expect("a running host");
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}
