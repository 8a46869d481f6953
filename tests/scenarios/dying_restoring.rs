//! Profile and entry are put back because the boot loader failed, and the daemon is killed, or the power fails, in the
//! middle of that: the host ends in the system before, all of it.

use rustix::process::Signal;

use crate::common::{ended, invariants, text};
use crate::dying_host::Scene;
use crate::dying_moment::Moment;
use crate::dying_story::{BOOT, Step, Story};
use crate::invariants::Expected;
use crate::testbed::generation::Generation;
use crate::testbed::repository::CommitId;

/// Held before the profile is put back.
const PROFILE_BACK: Step = Step {
    phase: "restoring",
    unit: "deploy-flake-restore.service",
    gate: "deploy-flake-restore.service",
};

/// Held before the entry is put back, with the profile in its place again.
const ENTRY_BACK: Step = Step {
    phase: "restoring",
    unit: "deploy-flake-restore.service",
    gate: BOOT.gate,
};

/// A boot loader that fails before it has written anything.
const FAILS_AT_ONCE: &str = "exit 1";

/// A boot loader that has made the new entry the default, and then fails.
const FAILS_LATE: &str = "/opt/mini/install-bootloader \"$1\"; exit 1";

/// Publishes a generation whose boot loader fails, and holds what puts its entry back; returns its system, too.
#[track_caller]
fn held(scene: &mut Scene, boot_loader: &str, step: &Step) -> (CommitId, String) {
    scene.close(&PROFILE_BACK);
    let bad = scene.next().with("bootLoader", boot_loader);
    let commit = publish(scene, &bad);
    scene.wait_until_held(&PROFILE_BACK);
    if step.gate == ENTRY_BACK.gate {
        scene.close(&ENTRY_BACK);
        scene.open(&PROFILE_BACK);
        scene.wait_until_held(&ENTRY_BACK);
    }
    let new = text(&scene.ledger()["phase"]["system"]["toplevel"]);
    (commit, new)
}

fn publish(scene: &mut Scene, generation: &Generation) -> CommitId {
    scene.world.server().repository().publish(generation)
}

fn open_all(scene: &Scene) {
    scene.open(&PROFILE_BACK);
    scene.open(&ENTRY_BACK);
}

#[test]
fn a_daemon_killed_while_profile_and_entry_are_put_back_is_not_missed() {
    let mut scene = Scene::new();
    scene.undisturbed();
    let undisturbed = story(&mut scene, |scene| {
        let bad = scene.next().with("bootLoader", FAILS_LATE);
        publish(scene, &bad)
    });
    assert_eq!(undisturbed.times("boot-loader"), 2, "{undisturbed:#?}");
    let deaths: [fn(&mut Scene) -> CommitId; 4] = [
        |scene| {
            let bad = scene.next().with("bootLoader", FAILS_LATE);
            let commit = publish(scene, &bad);
            Moment::Written("restoring").kill_daemon(scene, &commit);
            commit
        },
        |scene| killed_at(scene, &PROFILE_BACK),
        |scene| killed_at(scene, &ENTRY_BACK),
        |scene| {
            let (commit, _) = held(scene, FAILS_LATE, &ENTRY_BACK);
            let daemon = scene.daemon();
            daemon.signal(Signal::STOP);
            scene.open(&ENTRY_BACK);
            scene.wait_until_ended(ENTRY_BACK.unit);
            daemon.kill();
            commit
        },
    ];
    for (number, death) in deaths.into_iter().enumerate() {
        eprintln!("the daemon dies: restoring, {number}");
        assert_eq!(story(&mut scene, death), undisturbed);
    }
    let commit = scene.publish();
    scene.deployed(&commit);
}

#[track_caller]
fn killed_at(scene: &mut Scene, step: &Step) -> CommitId {
    let (commit, _) = held(scene, FAILS_LATE, step);
    let daemon = scene.daemon();
    daemon.kill();
    scene.wait_for_successor(&daemon, step.phase);
    open_all(scene);
    commit
}

/// Has a commit led back from whose entry cannot be written, with a death in it.
#[track_caller]
fn story(scene: &mut Scene, death: fn(&mut Scene) -> CommitId) -> Story {
    let (old, hooks) = (scene.host.running_system(), scene.host.tally().len());
    let commit = death(scene);
    let id = scene.led_back(&commit, &old, "rolled-back");
    let last = scene.host.status()["last"].clone();
    assert_eq!(last["failure"]["code"], "boot-loader-failed", "{last:#}");
    let new = text(&scene.ledger()["last"]["toplevel"]);
    let story = scene.story(&id, hooks);
    invariants(&scene.host, &old, &new, Expected::Old);
    story
}

#[test]
fn a_loss_of_power_while_profile_and_entry_are_put_back_ends_in_the_system_before() {
    let mut scene = Scene::new();
    scene.undisturbed();
    for (boot_loader, step) in [
        (FAILS_AT_ONCE, PROFILE_BACK),
        (FAILS_AT_ONCE, ENTRY_BACK),
        (FAILS_LATE, PROFILE_BACK),
        (FAILS_LATE, ENTRY_BACK),
    ] {
        eprintln!("the power fails: {boot_loader:?} {}", step.gate);
        let old = scene.host.running_system();
        let (commit, new) = held(&mut scene, boot_loader, &step);
        assert_eq!(scene.ledger()["phase"]["name"], "restoring");
        let entry = scene.host.default_system();
        scene.host.kill_all();
        open_all(&scene);
        scene.host.start();
        assert_eq!(scene.host.booted_system(), entry, "the entry that stood");
        let status = ended(&scene.host, &commit);
        eprintln!("{}", status["last"]);
        scene.is_at_rest(&old);
        invariants(&scene.host, &old, &new, Expected::Old);
        let commit = scene.publish();
        scene.deployed(&commit);
    }
}
