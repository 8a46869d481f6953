//! The host goes down in the middle of a deployment: it comes up in the right entry, and the deployment is finished.

use deploy_flake::report::milestones;
use serde_json::Value;

use crate::dying_host::{SOON, Scene};
use crate::dying_story::{BOOT, BUILD, SELF_CHECK, Step, TEST};
use crate::testbed::host::Host;

/// How the host goes down.
#[derive(Clone, Copy, Debug)]
enum Down {
    /// It is shut down in order.
    Shutdown,
    /// Its power fails.
    PowerCut,
}

#[test]
fn a_deployment_cut_off_by_a_shutdown_is_finished_after_it() {
    let mut scene = Scene::new();
    scene.undisturbed();
    for step in [BUILD, SELF_CHECK, TEST] {
        is_finished_after(&mut scene, &step, Down::Shutdown);
    }
    stays_deployed_over_a_reboot(&mut scene);
}

#[test]
fn a_shutdown_waits_for_a_boot_entry_that_is_being_written() {
    let mut scene = Scene::new();
    scene.undisturbed();
    scene.close(&BOOT);
    let commit = scene.publish();
    scene.wait_until_held(&BOOT);
    let new = scene.host.running_system();
    scene
        .host
        .run(&["systemctl", "--no-block", "poweroff"])
        .must_succeed();
    let stopping = |host: &Host| host.state() == "stopping";
    scene
        .host
        .wait_until("the host is going down", SOON, stopping);
    scene.open(&BOOT);
    scene.host.power_off();
    scene.host.start();
    assert_eq!(
        scene.host.booted_system(),
        new,
        "the entry that was written"
    );
    scene.deployed(&commit);
}

#[test]
fn a_daemon_that_sees_its_steps_end_in_a_shutdown_takes_that_for_no_verdict() {
    // What is ordered after others is stopped before them: so daemon and bus outlive the steps.
    const LATE: &str = "[Unit]
After=deploy-flake.service dbus.service dbus.socket
[Service]
ExecStart=sleep infinity
ExecStop=sleep 2
";
    let mut scene = Scene::new();
    scene.late_unit = Some(LATE);
    scene.undisturbed();
    for step in [BUILD, TEST] {
        is_finished_after(&mut scene, &step, Down::Shutdown);
    }
}

#[test]
fn a_deployment_cut_off_by_a_loss_of_power_is_finished_after_it() {
    let mut scene = Scene::new();
    scene.undisturbed();
    for step in [BUILD, SELF_CHECK, TEST, BOOT] {
        is_finished_after(&mut scene, &step, Down::PowerCut);
    }
}

/// Has the host go down while the step is held.
#[track_caller]
fn is_finished_after(scene: &mut Scene, step: &Step, down: Down) {
    eprintln!("the host goes down: {} {down:?}", step.phase);
    let (old, hooks) = (scene.host.running_system(), scene.host.tally().len());
    scene.close(step);
    let commit = scene.publish();
    scene.wait_until_held(step);
    let ours = scene.ledger()["phase"]["deployment"]["id"].clone();
    match down {
        Down::Shutdown => scene.host.power_off(),
        Down::PowerCut => scene.host.kill_all(),
    }
    // A boot activates, too: the gate would hold it.
    scene.open(step);
    scene.host.start();
    assert_eq!(scene.host.booted_system(), old, "the entry before");

    let id = scene.deployed(&commit);
    assert_eq!(id, ours, "the same deployment");
    let cut = scene.milestones(milestones::INTERRUPTED, &id);
    let phases: Vec<&Value> = cut.iter().map(|entry| &entry["DF_PHASE"]).collect();
    assert_eq!(phases, [step.phase]);
    let story = scene.story(&id, hooks);
    let is_build = step.gate == BUILD.gate;
    assert_eq!(story.times("build"), if is_build { 2 } else { 1 });
    assert_eq!(scene.host.booted_system(), old);
}

#[track_caller]
fn stays_deployed_over_a_reboot(scene: &mut Scene) {
    let (new, hooks) = (scene.host.running_system(), scene.host.tally().len());
    scene.host.reboot();
    assert_eq!(
        scene.host.booted_system(),
        new,
        "the entry that was written"
    );
    let looked = |status: &Value| status["looks"]["finished"].as_u64() > Some(0);
    let status = scene
        .host
        .wait_for_status("the daemon has looked", SOON, looked);
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    scene.is_at_rest("");
    let since = scene.host.tally().split_off(hooks);
    assert_eq!(
        since,
        [format!("activate {new}")],
        "only the boot did anything"
    );
}

#[test]
fn a_loss_of_power_in_the_confirm_window_starts_again_from_the_entry_before() {
    let mut scene = Scene::with("[health]\nconfirm_window = \"3s\"\n");
    scene.undisturbed();
    let (old, hooks) = (scene.host.running_system(), scene.host.tally().len());
    let commit = scene.publish();
    scene.wait_for_phase("confirming");
    let ours = scene.ledger()["phase"]["deployment"]["id"].clone();
    scene.host.kill_all();
    scene.host.start();
    assert_eq!(scene.host.booted_system(), old);
    let id = scene.deployed(&commit);
    assert_eq!(id, ours);
    let story = scene.story(&id, hooks);
    let times =
        ["build", "switch-to-configuration-test", "boot-loader"].map(|hook| story.times(hook));
    assert_eq!(times, [1, 2, 1]);
}

#[test]
fn a_commit_that_takes_the_host_down_twice_is_given_up_and_the_next_is_deployed() {
    is_given_up("systemctl --force --force reboot");
}

#[test]
fn a_commit_that_shuts_the_host_down_twice_is_given_up_and_the_next_is_deployed() {
    is_given_up("{ systemctl --no-block reboot; sleep 60; }");
}

/// Has a commit do this in its activation, whenever it is tested.
#[track_caller]
fn is_given_up(deadly: &str) {
    let mut scene = Scene::new();
    scene.undisturbed();
    let old = scene.host.running_system();
    let script = format!("[ \"${{NIXOS_ACTION-}}\" != test ] || {deadly}");
    let bad = scene.next().with("activationScript", script);
    let commit = scene.world.server().repository().publish(&bad);
    for _ in 0..2 {
        scene.host.wait_for_reboot();
        assert_eq!(scene.host.booted_system(), old);
    }
    let ended = |status: &Value| status["last"]["commit"] == commit.0;
    let status = scene
        .host
        .wait_for_status("the commit has an outcome", SOON, ended);
    let last = &status["last"];
    let outcome = [&last["outcome"], &last["failure"]["code"]];
    assert_eq!(outcome, ["failed", "interrupted"], "{status:#}");
    assert_eq!(status["condition"]["state"], "failed");
    scene.is_at_rest("");
    assert_eq!(scene.host.running_system(), old);
    let tests = |scene: &Scene| {
        let tally = scene.host.tally();
        let is_test = |line: &&String| {
            line.starts_with("switch-to-configuration-test ") && line.ends_with("-n2")
        };
        tally.iter().filter(is_test).count()
    };
    assert_eq!(tests(&scene), 2);

    let commit = scene.publish();
    scene.deployed(&commit);
    assert_eq!(tests(&scene), 2, "it is not tried a third time");
}
