//! The daemon is killed at every point of a deployment, and nobody can tell from the result.
//!
//! Each row of a table is one deployment with one death in it. Its story, told by hooks and by PID 1, has to be that of
//! the first deployment on the same host, in which nobody died: nothing done twice, nothing stopped, nothing left.

use std::time::{Duration, Instant};

use deploy_flake::report::milestones;
use rustix::process::Signal;

use crate::dying_host::{SOON, Scene, TRIES};
use crate::dying_story::{
    BOOT, BUILD, EVALUATE, IMPORT, PROFILE, ROOT, SELF_CHECK, SWITCH_CHECK, Step, Story, TEST,
};
use crate::testbed::world::wait_until;

/// When in a step the daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// As soon as the ledger holds the phase; the unit may be asked for, or not yet.
    Start,
    /// While the step is held.
    Middle,
    /// Stopped in the middle, killed after the unit has ended: nobody was there to see that.
    End,
}

use When::{End, Middle, Start};

#[test]
fn a_daemon_killed_while_it_imports_or_evaluates_is_not_missed() {
    each_is_survived(&[
        (IMPORT, Start),
        (IMPORT, Middle),
        (IMPORT, End),
        (EVALUATE, Start),
        (EVALUATE, Middle),
        (EVALUATE, End),
    ]);
}

#[test]
fn a_daemon_killed_while_it_builds_or_roots_is_not_missed() {
    each_is_survived(&[
        (BUILD, Start),
        (BUILD, Middle),
        (BUILD, End),
        (ROOT, Start),
        (ROOT, Middle),
        (ROOT, End),
    ]);
}

#[test]
fn a_daemon_killed_while_it_inspects_or_checks_is_not_missed() {
    const INSPECT: Step = Step {
        phase: "inspecting",
        unit: "",
        gate: "",
    };
    each_is_survived(&[
        (INSPECT, Start),
        (SELF_CHECK, Start),
        (SELF_CHECK, Middle),
        (SELF_CHECK, End),
        (SWITCH_CHECK, Middle),
        (SWITCH_CHECK, End),
    ]);
}

#[test]
fn a_daemon_killed_during_test_is_not_missed() {
    each_is_survived(&[(TEST, Start), (TEST, Middle), (TEST, End)]);
}

#[test]
fn a_daemon_killed_while_it_writes_profile_and_entry_is_not_missed() {
    const READ_BACK: Step = Step {
        phase: "reading-back",
        unit: "",
        gate: "",
    };
    each_is_survived(&[
        (PROFILE, Start),
        (PROFILE, Middle),
        (PROFILE, End),
        (BOOT, Start),
        (BOOT, Middle),
        (BOOT, End),
        (READ_BACK, Start),
    ]);
}

fn each_is_survived(points: &[(Step, When)]) {
    let mut scene = Scene::new();
    let undisturbed = scene.undisturbed();
    for (step, when) in points {
        eprintln!("the daemon dies: {} {when:?}", step.phase);
        let is_survived = || is_survived(&mut scene, &undisturbed, step, *when);
        let is_met = std::iter::repeat_with(is_survived)
            .take(TRIES)
            .any(|met| met);
        assert!(is_met, "{} is over too soon to be seen", step.phase);
    }
}

/// Has the next commit deployed with a death in it; false: the moment was missed.
#[track_caller]
fn is_survived(scene: &mut Scene, undisturbed: &Story, step: &Step, when: When) -> bool {
    let (hooks, starts) = (scene.host.tally().len(), scene.starts());
    let daemon = scene.daemon();
    if when != Start {
        scene.close(step);
    }
    let commit = scene.publish();
    match when {
        Start if !scene.sees_phase(step.phase, &commit) => {
            scene.deployed(&commit);
            return false;
        }
        Start => {}
        Middle => scene.wait_until_held(step),
        End => {
            scene.wait_until_held(step);
            daemon.signal(Signal::STOP);
            scene.open(step);
            scene.wait_until_ended(step.unit);
        }
    }
    daemon.kill();
    let left = scene.ledger()["phase"].clone();
    if when == Middle {
        scene.wait_for_successor(&daemon, step.phase);
        scene.open(step);
    }
    let id = scene.deployed(&commit);
    assert_eq!(scene.story(&id, hooks), *undisturbed);
    assert_eq!(scene.starts(), starts + 1, "the daemon died once");
    // A phase may be over between the sight of it and the death.
    if when == Start && left["name"] == "resting" {
        return true;
    }
    assert_eq!(left["deployment"]["id"], id);
    assert_eq!(
        scene.resumed(&id),
        [left["name"].as_str().unwrap_or_default()]
    );
    if when != Start {
        assert_eq!(left["name"], step.phase);
    }
    true
}

#[test]
fn a_daemon_killed_in_the_confirm_window_watches_anew() {
    let window = Duration::from_secs(2);
    let mut scene = Scene::with("[health]\nconfirm_window = \"2s\"\n");
    let undisturbed = scene.undisturbed();
    for when in [Start, Middle, End] {
        eprintln!("the daemon dies: confirming {when:?}");
        let (hooks, daemon) = (scene.host.tally().len(), scene.daemon());
        let commit = scene.publish();
        scene.wait_for_phase("confirming");
        let begun = Instant::now();
        let half_over = || begun.elapsed() > window / 2;
        if when != Start {
            wait_until("half of the window is over", SOON, half_over);
        }
        if when == End {
            daemon.signal(Signal::STOP);
            let over = || begun.elapsed() > window * 2;
            wait_until("the window is over, and nobody watched", SOON, over);
        }
        daemon.kill();
        assert_eq!(scene.ledger()["phase"]["name"], "confirming");
        let killed = Instant::now();
        let id = scene.deployed(&commit);
        assert!(killed.elapsed() > window, "half a window is none");
        assert_eq!(scene.story(&id, hooks), undisturbed);
        assert_eq!(scene.resumed(&id), ["confirming"]);
        let confirmed = scene.milestones(milestones::CONFIRMED, &id);
        assert_eq!(confirmed.len(), 1);
    }
}
