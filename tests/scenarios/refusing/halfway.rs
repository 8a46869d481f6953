//! A test that fails after it began to change the host: it is told loudly, the old system runs again, the boot entry
//! is the old one all the while, and the next good commit is deployed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use deploy_flake::model::failure::FailureCode;
use serde_json::Value;

use super::{End, Scene, Settings, WAY_BACK, and_back, rolled_back, says, shows, up_to};
use crate::refusing::common::SOON;
use crate::testbed::generation::Generation;
use crate::testbed::repository::CommitId;

impl Scene {
    /// Asserts that a commit fails in its test, and that the old system runs again.
    #[track_caller]
    fn fails_half_way(&mut self, generation: &Generation, end: &End<'_>) -> Value {
        let commit = self.publish(generation);
        self.ends_half_way(&commit, end)
    }

    #[track_caller]
    fn ends_half_way(&mut self, commit: &CommitId, end: &End<'_>) -> Value {
        let failure = self.ends(commit, end);
        assert_eq!(self.host.running_system(), self.before.running);
        assert_eq!(self.host.status()["condition"]["state"], "rolled-back");
        assert_eq!(self.host.state(), "running");
        failure
    }
}

#[test]
fn a_failing_activation_script_fails_and_the_next_good_commit_is_deployed() {
    let mut scene = Scene::new(Settings::Ordinary);
    let script = "echo 'no such group' >&2; false";
    let bad = scene.generation("bad").with("activationScript", script);
    let ran = and_back("activate");
    let end = rolled_back(FailureCode::ActivationFailed, &ran);
    let failure = scene.fails_half_way(&bad, &end);
    says(&failure, "exit status 2");
    shows(&failure, "no such group");
    scene.deploys_a_good_commit();
}

#[test]
fn a_failing_service_fails_the_test_and_a_repair_is_deployed() {
    let mut scene = Scene::new(Settings::Ordinary);
    let bad = scene.generation("bad").one_shot("web.service", "false");
    let ran = and_back("activate");
    let end = rolled_back(FailureCode::ActivationFailed, &ran);
    let failure = scene.fails_half_way(&bad, &end);
    says(&failure, "exit status 4");
    says(&failure, "failed units: web.service");
    let repair = scene.generation("repair").one_shot("web.service", "true");
    scene.deploys_generation(&repair);
    let is_active = ["systemctl", "is-active", "web.service"];
    assert_eq!(scene.host.run(&is_active).text(), "active");
}

#[test]
fn a_service_that_fails_after_the_test_is_seen_before_the_boot_entry_is_written() {
    let mut scene = Scene::new(Settings::Hurried);
    let wait = "while [ ! -e /run/fail ]; do sleep 0.1; done; exit 7";
    let late = format!("[Service]\nExecStart=/bin/sh -c '{wait}'\n");
    let bad = scene.generation("bad").wanted_unit("late.service", &late);
    let commit = scene.publish(&bad);
    scene
        .host
        .wait_for_status("it is being confirmed", SOON, |status| {
            status["phase"]["name"] == "confirming"
        });
    fs::write(scene.host.path("/run/fail"), "").expect("a running host");
    let ran = and_back("activate");
    let end = rolled_back(FailureCode::UnhealthyAfterTest, &ran);
    let failure = scene.ends_half_way(&commit, &end);
    says(&failure, "late.service");
    scene.deploys_a_good_commit();
}

#[test]
fn a_test_over_its_deadline_is_ended_as_a_whole_and_told() {
    let mut scene = Scene::new(Settings::Hurried);
    scene.host.close_gate("activate");
    let slow = scene.generation("slow");
    let commit = scene.publish(&slow);
    scene.host.wait_for_gate("activate", SOON);
    let group = "/sys/fs/cgroup/system.slice/deploy-flake-test.service";
    let processes = scene.host.shell(&format!("cat {group}/cgroup.procs"));
    let processes = processes.text().to_owned();
    assert!(processes.lines().count() >= 3, "{processes}");
    for process in processes.lines() {
        let gone = format!("process {process} of the test is ended");
        scene.host.wait_until(&gone, SOON, |host| {
            host.run(&["kill", "-0", process]).code != Some(0)
        });
    }
    // The way back stands at the same gate.
    scene.host.open_gate("activate");
    let ran = and_back("activate");
    let end = rolled_back(FailureCode::ActivationTimeout, &ran);
    says(&scene.ends_half_way(&commit, &end), "deadline");
    scene.deploys_a_good_commit();
}

/// A fake in the place of switch-to-configuration: its `test` activates, and then ends as no sound one does. Every
/// other verb is the real program's.
struct Fake;

impl Fake {
    const PROGRAM: &'static str = "/opt/mini/switch-to-configuration";
    const REAL: &'static str = "/opt/mini/switch-to-configuration.real";

    fn that_ends_with(scene: &Scene, status: u8) -> Self {
        let program = scene.host.path(Self::PROGRAM);
        fs::rename(&program, scene.host.path(Self::REAL)).expect("a running host");
        let text = format!(
            "#!/bin/sh\n[ \"$1\" = test ] || exec {} \"$@\"\n\
             echo 'activating the configuration...' >&2\n\"$OUT/activate\" \"$OUT\"\n\
             echo 'the fake ends here' >&2\nexit {status}\n",
            Self::REAL
        );
        fs::write(&program, text).expect("a running host");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&program, executable).expect("a running host");
        Self
    }

    fn away(self, scene: &Scene) {
        let program = scene.host.path(Self::PROGRAM);
        fs::rename(scene.host.path(Self::REAL), program).expect("a running host");
    }
}

#[test]
fn a_test_that_breaks_off_in_its_middle_fails_and_is_never_taken_for_untouched() {
    let mut scene = Scene::new(Settings::Ordinary);
    // The fake stands in the way back, too: it does what it should and breaks off, so it is run once more; how it ends
    // is no verdict there.
    let ran = [up_to("activate"), &WAY_BACK, &WAY_BACK].concat();
    let ran: Vec<&str> = ran
        .into_iter()
        .filter(|line| *line != "pre-switch-check test")
        .collect();
    for status in [1, 101] {
        let fake = Fake::that_ends_with(&scene, status);
        let bad = scene.generation(&format!("bad-{status}"));
        let end = rolled_back(FailureCode::ActivationFailed, &ran);
        let failure = scene.fails_half_way(&bad, &end);
        says(&failure, &format!("exit status {status}"));
        shows(&failure, "the fake ends here");
        fake.away(&scene);
        scene.deploys_a_good_commit();
    }
}
