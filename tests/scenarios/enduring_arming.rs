//! What goes missing, or is done by somebody else, while the way back is being armed: nothing is activated that cannot
//! be led back, and what passes by costs nothing.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{ended_as, git_url, invariants, switch_by_hand, systems, text};
use crate::dying_host::{SOON, Scene};
use crate::dying_process::Process;
use crate::dying_story::TEST;
use crate::enduring_fault::{
    BUS_KILLED, BUS_RESTARTED, Fault, JOURNAL, LINK, NIX_DAEMON, corrupt, signal, stopped_in,
};
use crate::invariants::Expected;
use crate::testbed::generation::Generation;
use crate::testbed::repository::CommitId;

const HURRIED: &str =
    "[health]\nconfirm_window = \"1s\"\n[deadlines]\npoll = \"2s\"\nprobe = \"4s\"\n";

/// A deployment that is being armed, by a daemon that stands still.
struct Arming {
    commit: CommitId,
    daemon: Process,
    old: String,
    /// Where its part of the tally begins: nothing was activated yet.
    hooks: usize,
}

impl Arming {
    #[track_caller]
    fn of(scene: &mut Scene) -> Self {
        let (commit, daemon) = stopped_in(scene, "arming");
        Self {
            commit,
            daemon,
            old: scene.host.running_system(),
            hooks: scene.host.tally().len(),
        }
    }

    /// It ends as if nothing had been amiss: activated once.
    #[track_caller]
    fn is_deployed(&self, scene: &Scene) {
        scene.deployed(&self.commit);
        assert_eq!(self.tests(scene), 1);
        let new = scene.host.running_system();
        invariants(&scene.host, &self.old, &new, Expected::New);
    }

    fn tests(&self, scene: &Scene) -> usize {
        let tally = scene.host.tally().split_off(self.hooks);
        let is_test = |line: &&String| line.starts_with("switch-to-configuration-test ");
        tally.iter().filter(is_test).count()
    }
}

#[test]
fn a_way_back_is_armed_whatever_goes_missing_meanwhile() {
    let mut scene = Scene::with(HURRIED);
    scene.undisturbed();
    for fault in [&LINK, &NIX_DAEMON, &BUS_RESTARTED, &BUS_KILLED, &JOURNAL] {
        eprintln!("arming: {}", fault.name);
        let arming = Arming::of(&mut scene);
        passes_by(&scene, &arming, fault);
        arming.is_deployed(&scene);
    }
}

/// What goes missing comes back once the activation has begun.
#[track_caller]
fn passes_by(scene: &Scene, arming: &Arming, fault: &Fault) {
    scene.close(&TEST);
    (fault.strike)(&scene.host);
    arming.daemon.signal(Signal::CONT);
    scene.wait_until_held(&TEST);
    (fault.mend)(&scene.host);
    scene.open(&TEST);
}

#[test]
fn nothing_is_activated_while_the_bus_stands_still() {
    let mut scene = Scene::with(HURRIED);
    scene.undisturbed();
    let arming = Arming::of(&mut scene);
    signal(&scene.host, "dbus.service", "STOP");
    arming.daemon.signal(Signal::CONT);
    // Every call has its own deadline.
    let status = scene
        .host
        .wait_for_status("it is refused", SOON * 4, |status| {
            status["last"]["commit"] == arming.commit.0 && status["phase"]["name"] == "resting"
        });
    assert_eq!(status["last"]["outcome"], "refused", "{status:#}");
    assert_eq!(status["last"]["failure"]["class"], "transient");
    assert_eq!(arming.tests(&scene), 0);
    assert_eq!(systems(&scene.host), [(); 3].map(|()| arming.old.clone()));
    signal(&scene.host, "dbus.service", "CONT");
    retry_is_deployed(&scene, &arming);
}

/// It is tried again by itself, later and later.
#[track_caller]
fn retry_is_deployed(scene: &Scene, arming: &Arming) {
    let deployed = |status: &Value| {
        status["last"]["commit"] == arming.commit.0 && status["last"]["outcome"] == "deployed"
    };
    let deadline = SOON * 3;
    scene
        .host
        .wait_for_status("it is tried again", deadline, deployed);
    arming.is_deployed(scene);
}

#[test]
fn a_manual_switch_while_the_way_back_is_armed_stays() {
    let mut scene = Scene::with(HURRIED);
    scene.undisturbed();
    let config = format!(
        "[[remote]]\nurl = \"{}\"\npoll_interval = \"1s\"\n{HURRIED}",
        git_url()
    );
    let theirs = Generation::new("theirs").daemon_config(&config);
    let theirs = scene.host.build(&theirs);
    let arming = Arming::of(&mut scene);
    switch_by_hand(&scene.host, &theirs, "test");
    let hooks = scene.host.tally();
    arming.daemon.signal(Signal::CONT);
    let status = ended_as(&scene.host, &arming.commit, "overridden");
    assert_eq!(status["quarantine"], json!([]));
    assert!(!text(&status["condition"]["why"]).is_empty());
    assert_eq!(
        systems(&scene.host),
        [theirs, arming.old.clone(), arming.old.clone()]
    );
    assert_eq!(scene.host.tally(), hooks, "nothing is activated over it");
    let commit = scene.publish();
    scene.deployed(&commit);
}

#[test]
fn a_ledger_that_is_lost_while_the_way_back_is_armed_activates_nothing_twice() {
    let mut scene = Scene::with(HURRIED);
    scene.undisturbed();
    let arming = Arming::of(&mut scene);
    corrupt(&scene.host);
    let said = scene.host.journal(&["MESSAGE=the ledger is damaged"]).len();
    arming.daemon.signal(Signal::KILL);
    arming.is_deployed(&scene);
    let now = scene.host.journal(&["MESSAGE=the ledger is damaged"]).len();
    assert!(now > said, "it is told");
}
