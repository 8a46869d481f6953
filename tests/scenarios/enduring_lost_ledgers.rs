//! The ledger is damaged and the daemon killed while a confirmed system is being written: the verdict says that it was
//! confirmed, so it becomes what runs, profile and entry, and never something half.

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{invariants, is_all, text};
use crate::dying_host::{SOON, Scene};
use crate::dying_story::{BOOT, PROFILE, Step};
use crate::enduring_fault::{corrupt, stopped_in};
use crate::invariants::Expected;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;

#[test]
fn a_ledger_that_is_lost_while_profile_and_entry_are_written_has_them_written_again() {
    let mut scene = Scene::new();
    scene.undisturbed();
    for step in [PROFILE, BOOT] {
        eprintln!("the ledger is lost: {}", step.phase);
        let (old, commit) = held(&mut scene, &step);
        let daemon = scene.daemon();
        corrupt(&scene.host);
        daemon.kill();
        scene.wait_for_successor(&daemon, "resting");
        scene.open(&step);
        // Whoever comes late finds all of it there.
        let known = is_known(&scene, &commit);
        assert!(["deployed", "unchanged"].contains(&&*known), "{known}");
        is_new(&scene, &old);
        // The step of the lost deployment may stay loaded, ended, until its name is needed.
        let commit = scene.publish();
        scene.deployed(&commit);
    }
}

#[test]
fn a_ledger_that_is_damaged_while_profile_and_entry_are_written_is_read_from_the_copy_before() {
    let mut scene = Scene::new();
    scene.undisturbed();
    for step in [PROFILE, BOOT] {
        eprintln!("the ledger is damaged: {}", step.phase);
        let (old, commit) = held(&mut scene, &step);
        let daemon = scene.daemon();
        let tests = tests(&scene.host);
        damage(&scene.host);
        daemon.kill();
        scene.wait_for_successor(&daemon, step.phase);
        scene.open(&step);
        scene.deployed(&commit);
        is_new(&scene, &old);
        assert_eq!(
            tests,
            self::tests(&scene.host),
            "nothing is activated again"
        );
    }
}

#[test]
fn a_ledger_that_is_lost_while_the_guardian_is_disarmed_costs_nothing() {
    let mut scene = Scene::new();
    scene.undisturbed();
    let (commit, daemon) = stopped_in(&mut scene, "disarming");
    let old = scene.host.booted_system();
    let tests = tests(&scene.host);
    corrupt(&scene.host);
    daemon.signal(Signal::KILL);
    assert_eq!(is_known(&scene, &commit), "unchanged");
    assert_eq!(
        tests,
        self::tests(&scene.host),
        "nothing is activated again"
    );
    is_new(&scene, &old);
}

/// Waits until a daemon that knew nothing of the commit has found the host to be it; returns how that ended.
#[track_caller]
fn is_known(scene: &Scene, commit: &CommitId) -> String {
    let known = |status: &Value| {
        status["last"]["commit"] == commit.0
            && status["phase"]["name"] == "resting"
            && status["condition"]["state"] == "converged"
    };
    let status = scene.host.wait_for_status("it is known", SOON, known);
    text(&status["last"]["outcome"])
}

/// Publishes the next generation, and holds it in a step; returns the system before, too.
#[track_caller]
fn held(scene: &mut Scene, step: &Step) -> (String, CommitId) {
    let old = scene.host.running_system();
    scene.close(step);
    let commit = scene.publish();
    scene.wait_until_held(step);
    (old, commit)
}

/// What was confirmed runs, and profile and entry are its.
#[track_caller]
fn is_new(scene: &Scene, old: &str) {
    let new = scene.host.running_system();
    assert_ne!(new, old);
    is_all(&scene.host, &new);
    invariants(&scene.host, old, &new, Expected::New);
}

/// Only what was written last.
fn damage(host: &Host) {
    let ledger = host.path(crate::enduring_fault::STATE).join("ledger");
    // Both copies may be one file.
    std::fs::remove_file(&ledger).expect("it is there");
    std::fs::write(ledger, "rubbish").expect("it can be written");
}

fn tests(host: &Host) -> usize {
    host.tally_of("switch-to-configuration-test")
}
