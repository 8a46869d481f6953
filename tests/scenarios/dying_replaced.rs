//! The old daemon is killed in the instant in which the new system's takes over, and the new one right after it was
//! started: systemd starts the new system's again, and the deployment ends as if nobody had died.

use crate::common::{DEADLINE, invariants};
use crate::dying_host::Scene;
use crate::dying_moment::Moment;
use crate::dying_process::Process;
use crate::invariants::Expected;
use crate::testbed::repository::CommitId;
use crate::window::program;

const UNIT: &str = "deploy-flake.service";

/// Who dies while one takes over from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dies {
    /// The one before, once the ledger says that it is to be replaced.
    Old,
    /// The next one, as soon as it is a process.
    NewAtOnce,
    /// The next one, once it has said who it is.
    NewAtWork,
    /// Both, one after the other.
    Both,
}

#[test]
fn a_daemon_killed_while_it_is_replaced_and_its_successor_are_not_missed() {
    let mut scene = Scene::new();
    scene.undisturbed();
    let first = program(&scene.host);
    let mut is_next = false;
    for dies in [Dies::Old, Dies::NewAtOnce, Dies::NewAtWork, Dies::Both] {
        eprintln!("the daemon dies: {dies:?}");
        is_next = !is_next;
        let old = scene.host.running_system();
        let commit = publish(&mut scene, is_next);
        kill(&scene, dies, &commit);
        scene.deployed(&commit);
        let new = scene.host.running_system();
        assert_eq!(program(&scene.host) == first, !is_next, "the new system's");
        let tests = format!("switch-to-configuration-test {new}");
        assert_eq!(scene.host.tally_of(&tests), 1);
        invariants(&scene.host, &old, &new, Expected::New);
    }
}

/// Each has another daemon than the one before.
fn publish(scene: &mut Scene, is_next: bool) -> CommitId {
    let next = scene.next();
    let next = if is_next { next.next_daemon() } else { next };
    scene.world.server().repository().publish(&next)
}

#[track_caller]
fn kill(scene: &Scene, dies: Dies, commit: &CommitId) {
    let before = scene.daemon();
    if matches!(dies, Dies::Old | Dies::Both) {
        Moment::Written("replacing").wait(scene, commit);
        // It may be about to be ended by its own restart.
        before.finish_off();
    }
    if dies == Dies::Old {
        return;
    }
    if dies == Dies::NewAtWork {
        scene
            .host
            .wait_for_status("another daemon speaks", DEADLINE, |status| {
                status["daemon"]["pid"] != before.inside
            });
    }
    let pid = || scene.property(UNIT, "MainPID");
    let is_another = |pid: &str| !["", "0", &*before.inside.to_string()].contains(&pid);
    scene.wait_tightly("another daemon is there", || is_another(&pid()));
    let successor = pid();
    // Or it has ended by itself, which is as good.
    if is_another(&successor) {
        Process::of(&scene.host, successor).finish_off();
    }
}
