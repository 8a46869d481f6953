//! One failure, one activation: what failed is not activated again by anything but an operator's word. And what may
//! pass is tried again, ever later.

use std::fs;

use deploy_flake::report::milestones;
use serde_json::Value;

use crate::common::{
    DEADLINE, deployed, ended_as, entries, field, invariants, is_all, looks, settled,
    switch_by_hand, text,
};
use crate::invariants::Expected;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::world::World;
use crate::window::{UNIT, deployed_at_last, first, generation, hold_lock, ledger, tests_of};

/// What a generation asks for, and a commit cannot know.
const PERMIT: &str = "/run/permit";

/// Works only where it is permitted.
fn asking(label: &str) -> Generation {
    generation(label, 1).one_shot("web.service", &format!("test -e {PERMIT}"))
}

fn permit(host: &Host) {
    host.run(&["touch", PERMIT]).must_succeed();
}

/// Commits something that changes no host.
fn publish_words(world: &mut World, words: &str) -> CommitId {
    let repository = world.server().repository();
    repository.write("README.md", words);
    let commit = repository.commit("words");
    repository.push();
    commit
}

/// The commit is refused because its toplevel failed before, and nothing of it is activated.
#[track_caller]
fn is_held(host: &Host, commit: &CommitId, bad: &str, old: &str) {
    let status = ended_as(host, commit, "refused");
    assert_eq!(
        status["last"]["failure"]["code"], "quarantined",
        "{status:#}"
    );
    let message = text(&status["last"]["failure"]["message"]);
    assert!(message.contains(bad), "{message}");
    is_all(host, old);
    invariants(host, old, bad, Expected::Old);
}

fn restart(host: &Host) {
    host.run(&["systemctl", "restart", UNIT]).must_succeed();
    looked_again(host);
}

fn looked_again(host: &Host) {
    host.wait_for_status("the next daemon has looked", DEADLINE, |status| {
        let process = crate::window::property(host, UNIT, "MainPID").parse().ok();
        status["daemon"]["pid"].as_u64() == process
            && status["looks"]["finished"].as_u64() >= Some(2)
            && status["phase"]["name"] == "resting"
    });
}

#[test]
fn what_was_rolled_back_is_activated_again_by_nobody_but_an_operator() {
    let mut world = World::starting_with(first(1));
    let mut host = world.boot();
    let old = settled(&host);
    let commit = world.server().repository().publish(&asking("bad"));
    let status = ended_as(&host, &commit, "rolled-back");
    let bad = text(&status["quarantine"][0]["toplevel"]);
    assert_eq!(status["quarantine"][0]["class"], "deterministic");
    assert_eq!(tests_of(&host, &bad), 1);
    // From now on it would work.
    permit(&host);

    let looked = host.run(&["deploy-flake", "trigger", "--wait"]);
    assert_eq!(looked.code, Some(9), "{looked}");
    restart(&host);
    invariants(&host, &old, &bad, Expected::Old);
    host.reboot();
    looked_again(&host);
    invariants(&host, &old, &bad, Expected::Old);
    let words = publish_words(&mut world, "other words");
    is_held(&host, &words, &bad, &old);
    assert_eq!(tests_of(&host, &bad), 1);

    let good = world.server().repository().publish(&generation("good", 1));
    let good = deployed(&host, &good);
    let again = world.server().repository().publish(&asking("bad"));
    is_held(&host, &again, &bad, &good);
    host.run(&["systemctl", "stop", UNIT]).must_succeed();
    for file in ["ledger", "ledger.previous"] {
        let file = host.path(&format!("/var/lib/deploy-flake/{file}"));
        fs::remove_file(file).expect("it is there");
    }
    host.run(&["systemctl", "start", UNIT]).must_succeed();
    is_held(&host, &again, &bad, &good);
    assert_eq!(
        tests_of(&host, &bad),
        1,
        "the guardian's record still tells"
    );

    host.run(&["rm", "--force", PERMIT]).must_succeed();
    for times in [2, 3] {
        let tried = host.run(&["deploy-flake", "retry", "--wait"]);
        assert_eq!(tried.code, Some(9), "{tried}");
        ended_as(&host, &again, "rolled-back");
        invariants(&host, &good, &bad, Expected::Old);
        assert_eq!(tests_of(&host, &bad), times, "one word, one activation");
    }
    permit(&host);
    looks(&host, 2);
    is_all(&host, &good);
    let tried = host.run(&["deploy-flake", "retry", "--wait"]);
    assert_eq!(tried.code, Some(0), "{tried}");
    assert_eq!(deployed(&host, &again), bad);
    assert_eq!(host.status()["quarantine"], serde_json::json!([]));
    let told = field(&entries(&host, milestones::QUARANTINED), "DF_TOPLEVEL");
    assert!(told.iter().all(|toplevel| *toplevel == bad), "{told:?}");
    invariants(&host, &good, &bad, Expected::New);
}

#[test]
fn what_its_own_check_refused_is_asked_again_only_under_other_settings() {
    let mut world = World::starting_with(first(1));
    let host = world.boot();
    let old = settled(&host);
    let asking = generation("asking", 1).with("selfCheck", format!("test -e {PERMIT}"));
    let commit = world.server().repository().publish(&asking);
    let status = ended_as(&host, &commit, "refused");
    assert_eq!(status["last"]["failure"]["code"], "check-refused");
    let refused = text(&status["quarantine"][0]["toplevel"]);
    let checks = || host.tally_of("pre-activate-safety-checks");
    assert_eq!(checks(), 1);
    permit(&host);
    let words = publish_words(&mut world, "other words");
    is_held(&host, &words, &refused, &old);
    restart(&host);
    assert_eq!(checks(), 1);

    // The daemon takes up the settings of the system that it is switched to.
    let config = "[[remote]]\nurl = \"{url}\"\npoll_interval = \"1s\"\n\n\
        [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\nignore_units = [\"other.service\"]\n";
    let config = config.replace("{url}", &crate::common::git_url());
    let others = host.build(&Generation::new("others").daemon_config(&config));
    switch_by_hand(&host, &others, "test");
    assert_eq!(deployed_at_last(&host, &words), refused);
    assert_eq!(checks(), 2);
    assert_eq!(host.status()["quarantine"], serde_json::json!([]));
    invariants(&host, &old, &refused, Expected::New);
}

/// How long it is waited after this attempt, and how long that may be.
#[track_caller]
fn is_backed_off(retry: &Value, finished: &Value) {
    let attempts = retry["attempts"].as_u64().expect("a number");
    let time = |value: &Value| -> jiff::Timestamp { text(value).parse().expect("a time") };
    let wait = time(&retry["not_before"]).duration_since(time(finished));
    let full = 1000_i128 << (attempts - 1).min(16);
    let wait = wait.as_millis();
    let bounds = full / 2 - 1..=full + 1;
    assert!(
        bounds.contains(&wait),
        "{wait} ms after {attempts} attempts"
    );
}

#[test]
fn what_may_pass_is_tried_again_ever_later_over_restarts_too() {
    let mut world = World::starting_with(first(1));
    let host = world.boot();
    let old = settled(&host);
    hold_lock(&host);
    let commit = world
        .server()
        .repository()
        .publish(&generation("second", 1));
    let attempts = |host: &Host| ledger(host)["retry"]["attempts"].as_u64().unwrap_or(0);
    for least in 1..=3 {
        host.wait_until("it is tried again", DEADLINE, |host| {
            attempts(host) >= least && ledger(host)["phase"]["name"] == "resting"
        });
        let ledger = ledger(&host);
        assert_eq!(ledger["quarantine"], serde_json::json!([]));
        is_backed_off(&ledger["retry"], &ledger["last"]["finished"]["wall"]);
    }
    host.run(&["systemctl", "stop", UNIT]).must_succeed();
    let before = ledger(&host)["retry"].clone();
    host.run(&["systemctl", "start", UNIT]).must_succeed();
    host.wait_until("it goes on from there", DEADLINE, |host| {
        attempts(host) > before["attempts"].as_u64().unwrap_or(0)
    });
    assert_eq!(tests_of(&host, &old), 0);
    host.run(&["systemctl", "stop", "holder.service"])
        .must_succeed();
    host.run(&["deploy-flake", "trigger"]).must_succeed();
    let new = deployed_at_last(&host, &commit);
    assert_eq!(ledger(&host)["retry"], Value::Null);
    assert_eq!(tests_of(&host, &new), 1);
    invariants(&host, &old, &new, Expected::New);
}
