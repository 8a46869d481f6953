//! The daemon is restarted, killed again and again, cut off from the bus, left without a fetcher; the deployment goes on.
//!
//! As in `dying`, what hooks and PID 1 tell of it has to be what they tell of an undisturbed one.

use deploy_flake::report::milestones;
use rustix::process::Signal;

use crate::dying_host::{SOON, Scene};
use crate::dying_process::Process;
use crate::dying_story::{
    BOOT, BUILD, EVALUATE, IMPORT, PROFILE, ROOT, SELF_CHECK, SWITCH_CHECK, TEST,
};
use crate::testbed::world::wait_until;

const FETCHER: &str = "deploy-flake-fetcher.service";

#[test]
fn a_daemon_that_is_restarted_in_build_and_test_goes_on_with_what_runs() {
    let mut scene = Scene::new();
    let undisturbed = scene.undisturbed();
    for (number, step) in [BUILD, TEST].iter().enumerate() {
        let (hooks, daemon) = (scene.host.tally().len(), scene.daemon());
        scene.close(step);
        let commit = scene.publish();
        scene.wait_until_held(step);
        scene
            .host
            .run(&["systemctl", "restart", "deploy-flake.service"])
            .must_succeed();
        scene.wait_for_successor(&daemon, step.phase);
        scene.open(step);
        let id = scene.deployed(&commit);
        assert_eq!(scene.story(&id, hooks), undisturbed);
        assert_eq!(scene.resumed(&id), [step.phase]);
        let stops = scene.count_of(milestones::DAEMON_STOPPING);
        assert_eq!(stops, number + 1, "it was asked to stop and said so");
    }
}

#[test]
fn a_daemon_killed_ten_times_in_one_deployment_is_not_missed() {
    let mut scene = Scene::new();
    let undisturbed = scene.undisturbed();
    let (hooks, starts) = (scene.host.tally().len(), scene.starts());
    let deaths = [
        IMPORT,
        EVALUATE,
        BUILD,
        BUILD,
        ROOT,
        SELF_CHECK,
        SWITCH_CHECK,
        TEST,
        PROFILE,
        BOOT,
    ];
    deaths.iter().for_each(|step| scene.close(step));
    let commit = scene.publish();
    for (number, step) in deaths.iter().enumerate() {
        scene.wait_until_held(step);
        let daemon = scene.daemon();
        daemon.kill();
        scene.wait_for_successor(&daemon, step.phase);
        let next = deaths.get(number + 1);
        if next.is_none_or(|next| next.gate != step.gate) {
            scene.open(step);
        }
    }
    let id = scene.deployed(&commit);
    assert_eq!(scene.story(&id, hooks), undisturbed);
    assert_eq!(scene.resumed(&id), deaths.map(|step| step.phase));
    assert_eq!(scene.starts(), starts + deaths.len());
}

#[test]
fn a_restart_of_the_bus_in_the_middle_of_a_step_loses_nothing() {
    let mut scene = Scene::with("[health]\nconfirm_window = \"3s\"\n");
    let undisturbed = scene.undisturbed();
    for step in [IMPORT, BUILD, SELF_CHECK, PROFILE] {
        let (hooks, daemon) = (scene.host.tally().len(), scene.daemon());
        scene.close(&step);
        let commit = scene.publish();
        scene.wait_until_held(&step);
        restart_bus(&scene);
        scene.wait_for_successor(&daemon, step.phase);
        scene.open(&step);
        let id = scene.deployed(&commit);
        assert_eq!(scene.story(&id, hooks), undisturbed);
        assert_eq!(scene.resumed(&id), [step.phase]);
    }

    let hooks = scene.host.tally().len();
    let commit = scene.publish();
    scene.wait_for_phase("confirming");
    restart_bus(&scene);
    let id = scene.deployed(&commit);
    assert_eq!(scene.story(&id, hooks), undisturbed);
    assert_eq!(scene.resumed(&id), ["confirming"]);
}

fn restart_bus(scene: &Scene) {
    scene
        .host
        .run(&["systemctl", "restart", "dbus.service"])
        .must_succeed();
}

#[test]
fn a_fetcher_that_is_killed_or_hangs_is_replaced() {
    let mut scene = Scene::with("[health]\nconfirm_window = \"1s\"\n[deadlines]\npoll = \"2s\"\n");
    let undisturbed = scene.undisturbed();
    let starts = scene.starts();
    for signal in [Signal::KILL, Signal::STOP] {
        let hooks = scene.host.tally().len();
        let fetcher = Process::of(&scene.host, scene.property(FETCHER, "MainPID"));
        fetcher.signal(signal);
        let commit = scene.publish();
        let id = scene.deployed(&commit);
        assert_eq!(scene.story(&id, hooks), undisturbed);
        wait_until("the old fetcher is gone", SOON, || !fetcher.lives());
        assert!(scene.host.status()["remote"]["last_error"].is_null());
    }
    assert_eq!(scene.starts(), starts, "the daemon lives all the while");
}
