//! The host's power fails while it is guarded: it comes up in the right entry, and the deployment is tried once more,
//! finished, or known to be led back from, as far as it had come.

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{invariants, text};
use crate::dying_host::{Scene, TRIES};
use crate::dying_moment::Moment;
use crate::dying_story::{BACK, BOOT, PROFILE, Story, TEST};
use crate::invariants::Expected;
use crate::testbed::repository::CommitId;

/// What becomes of a deployment that the power is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Nothing was activated: it goes on as if nothing had been.
    GoesOn,
    /// It may have been the commit's own doing: once more, and counted.
    OnceMore,
    /// It is there already.
    Stands,
}

#[test]
fn a_loss_of_power_before_anything_is_activated_does_not_count() {
    let mut scene = Scene::new();
    scene.undisturbed();
    let arming = cut_off(&mut scene, Then::GoesOn, |scene| {
        scene.close(&TEST);
        let commit = scene.publish();
        Moment::Written("arming").wait(scene, &commit);
        commit
    });
    assert_eq!(arming.phase, "arming");
}

#[test]
fn a_loss_of_power_in_a_system_that_is_not_written_has_it_tried_once_more() {
    let mut scene = Scene::new();
    scene.undisturbed();
    for phase in ["testing", "replacing", "confirming", "claiming"] {
        let cut = cut_off(&mut scene, Then::OnceMore, |scene| {
            // It gets no further than to the verdict.
            scene.close(&PROFILE);
            let commit = scene.publish();
            Moment::Written(phase).wait(scene, &commit);
            commit
        });
        assert!(!cut.story.steps.iter().any(|step| step.contains("restore")));
    }
}

#[test]
fn a_loss_of_power_between_profile_and_entry_has_both_written_again() {
    let mut scene = Scene::new();
    scene.undisturbed();
    for step in [PROFILE, BOOT] {
        let cut = cut_off(&mut scene, Then::OnceMore, |scene| {
            scene.close(&step);
            let commit = scene.publish();
            scene.wait_until_held(&step);
            commit
        });
        assert_eq!(cut.phase, step.phase);
        // Only a profile that was moved goes back.
        let is_moved = step.phase == BOOT.phase;
        let restored = cut.story.steps.iter().any(|it| it.contains("restore"));
        assert_eq!(restored, is_moved, "{:#?}", cut.story);
    }
}

#[test]
fn a_loss_of_power_after_the_entry_is_written_leads_to_the_new_system() {
    let mut scene = Scene::new();
    scene.undisturbed();
    let written = cut_off(&mut scene, Then::Stands, |scene| {
        scene.close(&BOOT);
        let commit = scene.publish();
        scene.wait_until_held(&BOOT);
        // The ledger says that it is being written.
        scene.daemon().signal(Signal::STOP);
        scene.open(&BOOT);
        scene.wait_until_ended(BOOT.unit);
        commit
    });
    assert_eq!(written.phase, "writing-boot-entry");
    for phase in ["reading-back", "disarming"] {
        let is_met = || {
            let cut = cut_off(&mut scene, Then::Stands, |scene| {
                let commit = scene.publish();
                scene.sees_phase(phase, &commit);
                commit
            });
            cut.phase != "resting"
        };
        let is_met = std::iter::repeat_with(is_met).take(TRIES).any(|met| met);
        assert!(is_met, "{phase} is over too soon to be seen");
    }
}

/// What a deployment was that the power was taken from.
struct Cut {
    /// In which phase.
    phase: String,
    story: Story,
}

/// Has the next commit deployed, and the power fail at a moment of that.
#[track_caller]
fn cut_off(scene: &mut Scene, then: Then, at: impl FnOnce(&mut Scene) -> CommitId) -> Cut {
    let (old, hooks) = (scene.host.running_system(), scene.host.tally().len());
    let commit = at(scene);
    scene.host.kill_all();
    // A boot activates, too.
    [TEST, PROFILE, BOOT].iter().for_each(|it| scene.open(it));
    let ledger = scene.ledger();
    let phase = text(&ledger["phase"]["name"]);
    eprintln!("the power failed: {phase}");
    let before = tests_of(scene, hooks);
    scene.host.start();
    let booted = scene.host.booted_system();
    let id = scene.deployed(&commit);
    let new = scene.host.running_system();
    let expected = if then == Then::Stands { &new } else { &old };
    assert_eq!(booted, *expected, "the entry that stood");
    if phase != "resting" {
        assert_eq!(ledger["phase"]["deployment"]["id"], id);
    }
    let counted = &scene.ledger()["last"]["deployment"]["interruptions"];
    assert_eq!(*counted, u32::from(then == Then::OnceMore), "{phase}");
    let after = tests_of(scene, hooks) - before;
    match then {
        Then::GoesOn => assert_eq!((before, after), (0, 1), "{phase}"),
        // It may not have begun when the power failed.
        Then::OnceMore => assert!(before <= 1 && after == 1, "{phase}: {before}, {after}"),
        Then::Stands => assert_eq!((before, after), (1, 0), "{phase}"),
    }
    let story = scene.story(&id, hooks);
    assert_eq!(story.times("build"), 1, "{phase}");
    invariants(&scene.host, &old, &new, Expected::New);
    Cut { phase, story }
}

/// How often `test` was called since the tally was so long.
fn tests_of(scene: &Scene, hooks: usize) -> usize {
    let tally = scene.host.tally().split_off(hooks);
    let is_test = |line: &&String| line.starts_with("switch-to-configuration-test ");
    tally.iter().filter(is_test).count()
}

#[test]
fn a_loss_of_power_on_the_way_back_leads_back_and_nothing_is_activated_again() {
    let mut scene = Scene::new();
    scene.undisturbed();
    is_led_back_by_the_boot(&mut scene, |scene| {
        let commit = scene.publish_bad();
        Moment::Written("rolling-back").wait(scene, &commit);
        commit
    });
    is_led_back_by_the_boot(&mut scene, |scene| {
        scene.close(&TEST);
        let commit = scene.publish_bad();
        scene.wait_until_held(&TEST);
        scene.close(&BACK);
        scene.open(&TEST);
        scene.wait_until_held(&BACK);
        commit
    });
    let commit = scene.publish();
    scene.deployed(&commit);
}

/// Has the power fail at a moment of a bad commit.
#[track_caller]
fn is_led_back_by_the_boot(scene: &mut Scene, at: impl FnOnce(&mut Scene) -> CommitId) {
    let old = scene.host.running_system();
    let commit = at(scene);
    scene.host.kill_all();
    [TEST, BACK].iter().for_each(|it| scene.open(it));
    let hooks = scene.host.tally().len();
    scene.host.start();
    assert_eq!(scene.host.booted_system(), old);
    scene.led_back(&commit, &old, "rolled-back-by-reboot");
    let last: Value = scene.host.status()["last"].clone();
    assert_eq!(last["failure"]["code"], "activation-failed", "{last:#}");
    let since = scene.host.tally().split_off(hooks);
    assert_eq!(since, [format!("activate {old}")], "only the boot");
    let new = text(&scene.ledger()["last"]["toplevel"]);
    invariants(&scene.host, &old, &new, Expected::Old);
}
