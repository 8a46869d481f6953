//! A system that only a reboot reaches: nothing is written, unless policy says that the boot entry is.

use deploy_flake::model::failure::FailureCode;
use serde_json::json;

use super::{End, Scene, Settings, reboot_required, says, up_to};
use crate::common::nothing_is_left;
use crate::refusing::common::{SOON, Systems, wait_for_outcome};
use crate::testbed::generation::Generation;

fn with_bus(generation: Generation, bus: &str) -> Generation {
    generation.with("switchInhibitors", json!({ "dbus-implementation": bus }))
}

#[test]
fn a_system_for_another_init_is_not_written_by_default() {
    let mut scene = Scene::new(Settings::Ordinary);
    let other = scene.generation("other").with("initInterface", "systemd 2");
    let commit = scene.publish(&other);
    let ran = up_to("pre-switch-check test");
    let end = reboot_required(FailureCode::RebootRequired, ran);
    says(&scene.ends(&commit, &end), "exit status 100");
    let condition = scene.host.status()["condition"].clone();
    assert_eq!(condition["state"], "reboot-required", "{condition:#}");
    scene.deploys_a_good_commit();
}

#[test]
fn a_switch_inhibitor_is_seen_before_anything_is_run() {
    let mut scene = Scene::new(Settings::Ordinary);
    let old = with_bus(scene.generation("old"), "dbus");
    scene.deploys_generation(&old);
    let new = with_bus(scene.generation("new"), "broker");
    let commit = scene.publish(&new);
    let end = reboot_required(FailureCode::SwitchInhibited, up_to("build"));
    says(
        &scene.ends(&commit, &end),
        "dbus-implementation: dbus -> broker",
    );
    let condition = scene.host.status()["condition"].clone();
    assert_eq!(condition["state"], "reboot-required", "{condition:#}");
    scene.deploys_a_good_commit();
}

impl Scene {
    /// Asserts that policy has profile and boot entry of a commit written without a test, and that the commit is
    /// deployed by the reboot.
    #[track_caller]
    fn is_written_untested(&mut self, generation: &Generation, code: FailureCode, ran: &[&str]) {
        let commit = self.publish(generation);
        let status = wait_for_outcome(&self.host, &commit, "reboot-required");
        let End {
            outcome,
            code,
            class,
            ran,
        } = reboot_required(code, ran);
        self.is_told_once(
            &commit,
            &End {
                outcome,
                code,
                class,
                ran,
            },
        );
        assert_eq!(status["last"]["failure"]["code"], code.as_str());
        self.goes_on_polling();
        let status = self.host.status();
        assert_eq!(
            status["condition"]["state"], "reboot-required",
            "{status:#}"
        );
        assert_eq!(self.ran(), ran);
        let wanted = status["desired"]["toplevel"].as_str().unwrap_or_default();
        let now = Systems::of(&self.host);
        assert_ne!(now.entry, self.before.entry);
        assert_eq!(
            (&*now.running, &*now.profile, &*now.default),
            (&*self.before.running, wanted, wanted)
        );
        nothing_is_left(&self.host);

        self.host.reboot();
        let description = "the commit arrived with the reboot";
        let status = self.host.wait_for_status(description, SOON, |status| {
            status["host"]["boot_id"] != self.boot_id && status["condition"]["state"] == "converged"
        });
        assert_eq!(status["last"]["commit"], commit.0);
        assert_eq!(status["last"]["outcome"], "deployed");
        let systems = Systems::of(&self.host);
        assert!(
            systems.are_all(wanted),
            "expected {wanted}, found {systems:?}"
        );
        assert_eq!(self.host.booted_system(), wanted);
        let after = self.ran();
        let booted: Vec<&str> = ran.iter().copied().chain(["activate"]).collect();
        assert_eq!(after, booted, "the boot activates it, and nothing else");
        self.process = status["daemon"].clone();
    }
}

/// What is run for a boot entry without a test.
const UNTESTED: [&str; 3] = [
    "switch-to-configuration-boot",
    "pre-switch-check boot",
    "boot-loader",
];

#[test]
fn policy_has_the_entry_of_a_system_for_another_init_written_and_a_reboot_arrives_there() {
    let mut scene = Scene::new(Settings::Lenient);
    let other = |scene: &Scene, label| scene.generation(label).with("initInterface", "systemd 2");
    let ran = [up_to("pre-switch-check test"), &UNTESTED].concat();
    let generation = other(&scene, "other");
    scene.is_written_untested(&generation, FailureCode::RebootRequired, &ran);
    let good = other(&scene, "good");
    scene.deploys_generation(&good);
}

#[test]
fn policy_has_the_entry_of_an_inhibited_system_written_and_a_reboot_arrives_there() {
    let mut scene = Scene::new(Settings::Lenient);
    let old = with_bus(scene.generation("old"), "dbus");
    scene.deploys_generation(&old);
    let new = with_bus(scene.generation("new"), "broker");
    let new = new
        .with("selfCheckPath", "etc/checks/first")
        .with("selfCheck", "true");
    let ran = [&["build", "pre-activate-safety-checks"], &UNTESTED[..]].concat();
    scene.is_written_untested(&new, FailureCode::SwitchInhibited, &ran);
    let good = with_bus(scene.generation("good"), "broker");
    scene.deploys_generation(&good);
}
