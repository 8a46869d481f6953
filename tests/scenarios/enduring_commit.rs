//! What goes missing around a confirmed system while its profile is set, its boot entry is written, or its guardian is
//! disarmed: it was confirmed, so all of it is finished, once. And a link that is gone only for a part of the test.

use rustix::process::Signal;

use crate::common::{ended_as, invariants, systems};
use crate::dying_host::Scene;
use crate::dying_story::{BOOT, PROFILE, Step, Story, TEST};
use crate::enduring_fault::{
    BUS_KILLED, BUS_RESTARTED, Fault, JOURNAL, LEDGER_FULL, LINK, NIX_DAEMON, shrink_state, signal,
    stopped_in,
};
use crate::invariants::Expected;
use crate::testbed::repository::CommitId;

const FAULTS: [&Fault; 6] = [
    &LINK,
    &NIX_DAEMON,
    &BUS_RESTARTED,
    &BUS_KILLED,
    &JOURNAL,
    &LEDGER_FULL,
];

/// It neither answers nor ends for as long as the step takes.
const BUS_STANDS_STILL: Fault = Fault {
    name: "the bus stands still",
    strike: |host| signal(host, "dbus.service", "STOP"),
    until: |scene| scene.wait_until_ended(BOOT.unit),
    mend: |host| signal(host, "dbus.service", "CONT"),
};

#[test]
fn a_profile_is_set_whatever_goes_missing_meanwhile() {
    let (mut scene, undisturbed) = scene();
    for fault in FAULTS {
        is_finished(&mut scene, &undisturbed, &PROFILE, fault);
    }
}

#[test]
fn a_boot_entry_is_written_whatever_goes_missing_meanwhile() {
    let (mut scene, undisturbed) = scene();
    for fault in FAULTS.into_iter().chain([&BUS_STANDS_STILL]) {
        is_finished(&mut scene, &undisturbed, &BOOT, fault);
    }
}

#[test]
fn a_guardian_is_disarmed_whatever_goes_missing_meanwhile() {
    let (mut scene, undisturbed) = scene();
    for fault in FAULTS {
        eprintln!("disarming: {}", fault.name);
        let (commit, daemon) = stopped_in(&mut scene, "disarming");
        let begun = Begun::of(&scene);
        (fault.strike)(&scene.host);
        daemon.signal(Signal::CONT);
        (fault.until)(&scene);
        (fault.mend)(&scene.host);
        begun.ends(&scene, &commit, &undisturbed);
    }
}

/// It comes after the verdict, and is no drift that policy could correct.
#[test]
fn a_manual_switch_while_profile_and_entry_are_written_stays() {
    let (mut scene, _) = scene();
    let theirs = scene.next();
    let theirs = scene.host.build(&theirs);
    for step in [PROFILE, BOOT] {
        scene.close(&step);
        let commit = scene.publish();
        scene.wait_until_held(&step);
        let ours = scene.host.running_system();
        // As long as an entry is written, the lock is held: there it is the daemon that does not see its end before.
        let switched = scene
            .host
            .command(&["sh", "-c", &until_free(&theirs)])
            .spawn();
        let mut switching = switched.expect("a running host");
        let daemon = scene.daemon();
        if step.phase == BOOT.phase {
            daemon.signal(Signal::STOP);
            scene.open(&step);
        }
        switching.wait().expect("it ends");
        daemon.signal(Signal::CONT);
        scene.open(&step);
        ended_as(&scene.host, &commit, "overridden");
        let now = systems(&scene.host);
        assert_eq!(now, [&theirs, &ours, &ours].map(Clone::clone));
        let commit = scene.publish();
        scene.deployed(&commit);
    }
}

/// Switches to a system as soon as nobody else does.
fn until_free(system: &str) -> String {
    format!(
        "until {system}/bin/switch-to-configuration test > /dev/null 2>&1; do [ $? = 11 ] && sleep 0.1 || exit 1; done"
    )
}

#[test]
fn a_link_that_is_lost_for_a_while_in_test_and_window_is_no_verdict() {
    let hurried = "[health]\nconfirm_window = \"1s\"\n[deadlines]\npoll = \"2s\"\nprobe = \"4s\"\n";
    let mut scene = Scene::with(hurried);
    let undisturbed = scene.undisturbed();
    let until_watched = Fault {
        until: |scene| scene.wait_for_phase("confirming"),
        ..LINK
    };
    is_finished(&mut scene, &undisturbed, &TEST, &until_watched);
}

fn scene() -> (Scene, Story) {
    let mut scene = Scene::new();
    shrink_state(&scene.host);
    let undisturbed = scene.undisturbed();
    (scene, undisturbed)
}

/// Has the next commit deployed, with a fault while the step is held.
#[track_caller]
fn is_finished(scene: &mut Scene, undisturbed: &Story, step: &Step, fault: &Fault) {
    eprintln!("{}: {}", step.phase, fault.name);
    scene.close(step);
    let commit = scene.publish();
    scene.wait_until_held(step);
    let begun = Begun::of(scene);
    (fault.strike)(&scene.host);
    scene.open(step);
    (fault.until)(scene);
    (fault.mend)(&scene.host);
    begun.ends(scene, &commit, undisturbed);
}

/// A deployment whose new system runs, and whose default entry is still the old one.
struct Begun {
    old: String,
    /// Where its part of the tally begins.
    hooks: usize,
}

impl Begun {
    fn of(scene: &Scene) -> Self {
        let tally = scene.host.tally();
        let build = tally.iter().rposition(|line| line.starts_with("build "));
        Self {
            old: scene.host.booted_system(),
            hooks: build.expect("it was built"),
        }
    }

    /// It is the story of a deployment around which nothing was amiss.
    #[track_caller]
    fn ends(self, scene: &Scene, commit: &CommitId, undisturbed: &Story) {
        let id = scene.deployed(commit);
        let story = scene.story(&id, self.hooks);
        assert_eq!(story.hooks, undisturbed.hooks);
        let new = scene.host.running_system();
        invariants(&scene.host, &self.old, &new, Expected::New);
    }
}
