//! The daemon is killed while the way back is armed, claimed, disarmed or taken, and nobody can tell from the result.
//!
//! As in `dying`, the story of each deployment has to be that of one in which nobody died: of a good commit, and of a
//! bad one that is led back from.

use deploy_flake::report::milestones;
use rustix::process::Signal;

use crate::common::{invariants, text};
use crate::dying_host::{GUARDIAN, Scene, TRIES};
use crate::dying_moment::Moment;
use crate::dying_process::Process;
use crate::dying_story::{BACK, Story, TEST};
use crate::invariants::Expected;
use crate::testbed::repository::CommitId;

#[test]
fn a_daemon_killed_while_it_arms_is_not_missed() {
    each_is_deployed(&[
        Moment::Written("arming"),
        Moment::Armed,
        Moment::Written("testing"),
    ]);
}

#[test]
fn a_daemon_killed_while_it_hands_over_claims_or_disarms_is_not_missed() {
    each_is_deployed(&[
        Moment::Written("replacing"),
        Moment::Written("claiming"),
        Moment::Decided,
        Moment::Written("disarming"),
        Moment::Over,
    ]);
}

fn each_is_deployed(moments: &[Moment]) {
    let mut scene = Scene::new();
    let undisturbed = scene.undisturbed();
    for moment in moments {
        let (mut old, mut hooks) = (String::new(), 0);
        let death = || {
            (old, hooks) = (scene.host.running_system(), scene.host.tally().len());
            let commit = scene.publish();
            let left = moment.try_to_kill_daemon(&scene, &commit);
            // Missed: it is met in the next commit.
            let id = scene.deployed(&commit);
            left.map(|left| (left, id))
        };
        let mut deaths = std::iter::repeat_with(death).take(TRIES);
        let (left, id) = deaths
            .find_map(|death| death)
            .unwrap_or_else(|| panic!("{moment:?} was over too soon, {TRIES} times"));
        assert_eq!(scene.story(&id, hooks), undisturbed);
        // Going on there is told as what it usually is: the next daemon has taken over.
        let replaced = scene.milestones(milestones::DAEMON_REPLACED, &id).len();
        assert_eq!(replaced, usize::from(left == "replacing"));
        let is_told = !["replacing", "resting"].contains(&&*left);
        assert_eq!(scene.resumed(&id), Vec::from_iter(is_told.then_some(left)));
        let new = scene.host.running_system();
        invariants(&scene.host, &old, &new, Expected::New);
    }
}

/// Publishes a bad commit, and has somebody die while it is led back from.
type Death = fn(&mut Scene) -> CommitId;

#[test]
fn a_daemon_killed_while_a_bad_commit_is_led_back_from_is_not_missed() {
    let deaths: [Death; 6] = [
        |scene| killed_at(scene, Moment::Written("testing")),
        after_a_test_that_nobody_saw_fail,
        |scene| killed_at(scene, Moment::Written("rolling-back")),
        while_the_guardian_leads_back,
        when_the_guardian_has_led_back,
        when_it_is_over,
    ];
    let mut scene = Scene::new();
    scene.undisturbed();
    let undisturbed = story_of_a_bad_one(&mut scene, Scene::publish_bad);
    led_back_once(&undisturbed, 1);
    for death in deaths {
        assert_eq!(story_of_a_bad_one(&mut scene, death), undisturbed);
    }
    let commit = scene.publish();
    scene.deployed(&commit);
}

#[test]
fn a_guardian_that_is_killed_is_started_again_also_by_the_next_daemon() {
    let deaths: [Death; 2] = [
        |scene| {
            let commit = held_on_the_way_back(scene);
            scene.process_of(GUARDIAN).kill();
            commit
        },
        |scene| {
            let commit = held_on_the_way_back(scene);
            let [daemon, guardian] = [scene.daemon(), scene.process_of(GUARDIAN)];
            daemon.signal(Signal::KILL);
            guardian.kill();
            commit
        },
    ];
    let mut scene = Scene::new();
    scene.undisturbed();
    for death in deaths {
        let story = story_of_a_bad_one(&mut scene, death);
        // The one that was killed had only begun.
        led_back_once(&story, 2);
    }
    let commit = scene.publish();
    scene.deployed(&commit);
}

#[test]
fn a_guardian_that_has_ended_the_daemon_and_is_killed_comes_back_by_itself() {
    let mut scene = Scene::new();
    scene.undisturbed();
    let (old, hooks) = (scene.host.running_system(), scene.host.tally().len());
    scene.close(&TEST);
    let commit = scene.publish();
    scene.wait_until_held(&TEST);
    scene.close(&BACK);
    // As its timer does when nobody has decided in time. A daemon that lives may see the activation end before it is ended
    // itself, and take that for its failure.
    scene.daemon().signal(Signal::STOP);
    let start = ["systemctl", "start", "--no-block", GUARDIAN];
    scene.host.run(&start).must_succeed();
    scene.wait_until_held(&BACK);
    scene.open(&TEST);
    let is_down = || scene.property("deploy-flake.service", "ActiveState") == "inactive";
    scene.wait_tightly("there is no daemon", is_down);
    scene.process_of(GUARDIAN).kill();
    scene.open(&BACK);
    let id = scene.led_back(&commit, &old, "rolled-back");
    let last = scene.host.status()["last"].clone();
    assert_eq!(last["failure"]["code"], "guardian-fired", "{last:#}");
    led_back_once(&scene.story(&id, hooks), 2);
    let new = text(&scene.ledger()["last"]["toplevel"]);
    invariants(&scene.host, &old, &new, Expected::Old);
}

/// Has a bad commit led back from with a death in it.
#[track_caller]
fn story_of_a_bad_one(scene: &mut Scene, death: Death) -> Story {
    let (old, hooks) = (scene.host.running_system(), scene.host.tally().len());
    let commit = death(scene);
    [TEST, BACK].iter().for_each(|step| scene.open(step));
    let id = scene.led_back(&commit, &old, "rolled-back");
    let last = scene.host.status()["last"].clone();
    assert_eq!(last["failure"]["code"], "activation-failed", "{last:#}");
    // The guardian's last act is that the daemon of the previous system goes on.
    let resumed = scene.resumed(&id);
    assert_eq!(resumed.last().map(String::as_str), Some("rolling-back"));
    let (story, new) = (
        scene.story(&id, hooks),
        text(&scene.ledger()["last"]["toplevel"]),
    );
    invariants(&scene.host, &old, &new, Expected::Old);
    story
}

/// `test` of the failed system was called once, that of the previous one so often; nothing was written.
#[track_caller]
fn led_back_once(story: &Story, back: usize) {
    let times = |system: &str| {
        let test = format!("switch-to-configuration-test {system}");
        story.hooks.iter().filter(|hook| **hook == test).count()
    };
    assert_eq!([times("FAILED"), times("SYSTEM")], [1, back], "{story:#?}");
    assert_eq!(story.times("boot-loader"), 0, "{story:#?}");
}

fn killed_at(scene: &mut Scene, moment: Moment) -> CommitId {
    let commit = scene.publish_bad();
    moment.kill_daemon(scene, &commit);
    commit
}

fn after_a_test_that_nobody_saw_fail(scene: &mut Scene) -> CommitId {
    scene.close(&TEST);
    let commit = scene.publish_bad();
    scene.wait_until_held(&TEST);
    let daemon = scene.daemon();
    daemon.signal(Signal::STOP);
    scene.open(&TEST);
    scene.wait_until_ended(TEST.unit);
    daemon.kill();
    commit
}

/// Publishes a bad commit; the guardian stands before the previous system's switch.
fn held_on_the_way_back(scene: &mut Scene) -> CommitId {
    scene.close(&TEST);
    let commit = scene.publish_bad();
    scene.wait_until_held(&TEST);
    scene.close(&BACK);
    scene.open(&TEST);
    scene.wait_until_held(&BACK);
    commit
}

fn while_the_guardian_leads_back(scene: &mut Scene) -> CommitId {
    let commit = held_on_the_way_back(scene);
    let daemon = scene.daemon();
    daemon.kill();
    scene.wait_for_successor(&daemon, BACK.phase);
    commit
}

fn when_the_guardian_has_led_back(scene: &mut Scene) -> CommitId {
    let commit = held_on_the_way_back(scene);
    let daemon = scene.daemon();
    scene.open(&BACK);
    wait_until_led_back(scene, &commit);
    // The guardian may have been first.
    daemon.finish_off();
    commit
}

fn when_it_is_over(scene: &mut Scene) -> CommitId {
    let commit = held_on_the_way_back(scene);
    let before = scene.host.status()["daemon"]["pid"].clone();
    scene.open(&BACK);
    wait_until_led_back(scene, &commit);
    let pid = || scene.host.status()["daemon"]["pid"].clone();
    scene.wait_tightly("the daemon that goes on", || pid() != before);
    let killed = pid();
    let daemon = Process::of(&scene.host, killed.to_string());
    Moment::Over.wait(scene, &commit);
    daemon.kill();
    // Until then status tells of the one that is dead.
    scene.wait_tightly("the daemon after that", || pid() != killed);
    commit
}

#[track_caller]
fn wait_until_led_back(scene: &Scene, commit: &CommitId) {
    scene.wait_tightly("the guardian has led back", || {
        let record = scene.record();
        record["commit"] == commit.0 && record["stage"] == "rolled-back"
    });
}
