//! What a trigger does not do: it has the daemon look, and leads past no signature, window or lock; and many at once are
//! few looks. The daemon asks its remote once an hour by itself, so whatever happens was triggered.

use serde_json::Value;

use crate::common::{DEADLINE, configuration, deployed, git_url, is_all, settled, text, web};
use crate::testbed::child::Output;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;
use crate::triggering::{next, world};
use crate::trusting::Keys;
use crate::window::{hold_lock, tests_of, wait_for_phase};

/// Triggers at once.
const MANY: usize = 20;

/// What docs/control.md says of triggers that come close to each other.
const INTERVAL: u64 = 10;

/// How long a system is watched, in seconds: long enough to trigger in the midst of it.
const WINDOW: u64 = 20;

fn trigger(host: &Host, more: &[&str]) -> Output {
    host.run(&[&["deploy-flake", "trigger"], more].concat())
}

/// Waits until the host has looked twice: once by itself, and once after its first commit was found to be there.
#[track_caller]
fn at_rest(host: &Host) {
    host.wait_for_status("the host is at rest", DEADLINE, |status| {
        status["looks"]["finished"] == 2 && status["phase"]["name"] == "resting"
    });
}

/// Triggers, and waits for the look that answers.
#[track_caller]
fn look(host: &Host) -> Value {
    let finished = host.status()["looks"]["finished"].as_u64();
    trigger(host, &[]).must_succeed();
    host.wait_for_status("the trigger is answered", DEADLINE, |status| {
        status["looks"]["finished"].as_u64() > finished
    })
}

/// A generation that follows only what ann has signed.
fn demanding(label: &str, keys: &Keys) -> Generation {
    let usual = configuration("", &git_url(), "1h");
    let trust = "[trust]\nrequire = \"every-commit\"\n\
                 allowed_signers = \"/etc/deploy-flake/allowed-signers\"\n";
    web(label)
        .daemon_config(&format!("{usual}\n{trust}"))
        .etc("deploy-flake/allowed-signers", &keys.allowed("ann"))
}

#[test]
fn a_trigger_does_not_lead_past_a_signature_that_is_missing() {
    let keys = Keys::new();
    let mut world = world();
    let host = world.boot();
    settled(&host);
    let repository = world.server().repository();
    let begin = repository.publish(&demanding("begin", &keys));
    trigger(&host, &[]).must_succeed();
    let system = deployed(&host, &begin);
    let builds = host.tally_of("build");

    repository.set(&demanding("unsigned", &keys));
    let unsigned = repository.commit("nobody signed this");
    repository.push();
    for attempt in ["first", "second"] {
        let refused = trigger(&host, &["--wait"]);
        assert_eq!(refused.code, Some(3), "{attempt}: {refused}");
        let status = host.status();
        let code = &status["remote"]["last_error"]["code"];
        assert_eq!(code, "commit-unsigned", "{attempt}: {status:#}");
        assert_eq!(status["condition"]["state"], "refused", "{status:#}");
    }
    assert_eq!(host.tally_of("build"), builds, "nothing of it was built");
    assert_eq!(host.status()["last"]["commit"], begin.0);
    is_all(&host, &system);

    // Below a signature it is as little followed; without it, what is signed is.
    keys.commit(repository, "ann");
    repository.push();
    let refused = trigger(&host, &["--wait"]);
    assert_eq!(refused.code, Some(3), "{refused}");
    is_all(&host, &system);
    repository.git(&["reset", "--quiet", "--hard", &begin.0]);
    repository.set(&demanding("signed", &keys));
    let signed = keys.commit(repository, "ann");
    assert_ne!(signed, unsigned);
    let to = format!("{}:refs/heads/main", signed.0);
    repository.git(&["push", "--quiet", "--force", "origin", &to]);
    let followed = trigger(&host, &["--wait"]);
    assert_eq!(followed.code, Some(0), "{followed}");
    deployed(&host, &signed);
}

/// A generation that is watched for the window, or so.
fn watched(label: &str) -> Generation {
    let usual = configuration("", &git_url(), "1h");
    let window = format!("confirm_window = \"{WINDOW}s\"");
    web(label).daemon_config(&usual.replace("confirm_window = \"1s\"", &window))
}

#[test]
fn a_trigger_neither_ends_nor_shortens_the_confirm_window() {
    let mut world = world();
    let host = world.boot();
    settled(&host);
    at_rest(&host);
    let second = world.server().repository().publish(&watched("second"));
    trigger(&host, &[]).must_succeed();
    let begun = wait_for_phase(&host, "confirming");
    let system = host.running_system();
    let builds = host.tally_of("build");

    // A newer commit has to wait, and so has the look at it.
    let third = world.server().repository().publish(&next("third"));
    trigger(&host, &[]).must_succeed();
    let seen = host.wait_for_status("a look is owed", DEADLINE, |status| {
        status["looks"]["started"].as_u64() > status["looks"]["finished"].as_u64()
    });
    for key in ["name", "deployment", "since"] {
        assert_eq!(seen["phase"][key], begun["phase"][key], "{key}: {seen:#}");
    }
    assert_eq!(host.running_system(), system);
    assert_eq!(host.tally_of("build"), builds, "nothing is begun meanwhile");
    let status = host.wait_for_status("the window is over", DEADLINE, |status| {
        status["phase"]["name"] != "confirming"
    });
    let time = |value: &Value| -> jiff::Timestamp { text(value).parse().expect("a time") };
    let lasted = time(&status["phase"]["since"]).duration_since(time(&begun["phase"]["since"]));
    assert!(lasted.as_secs() >= WINDOW as i64 - 1, "{lasted:?}");
    host.wait_for_status("the second is deployed", DEADLINE, |status| {
        status["last"]["commit"] == second.0 && status["last"]["outcome"] == "deployed"
    });
    deployed(&host, &third);
}

#[test]
fn a_trigger_does_not_get_around_the_lock_of_another_switch() {
    let hurried = |label: &str| {
        let usual = configuration("", &git_url(), "1h");
        web(label).daemon_config(&format!("{usual}lock = \"3s\"\n"))
    };
    let mut world = World::starting_with(hurried("first"));
    let host = world.boot();
    let first = settled(&host);
    at_rest(&host);
    hold_lock(&host);
    let acts = || host.tally_of("switch-to-configuration-") + host.tally_of("activate ");
    let before = acts();
    let commit = world.server().repository().publish(&hurried("second"));
    trigger(&host, &[]).must_succeed();
    // While it waits, and when it has given up: a trigger leads to a look, and to nothing else.
    wait_for_phase(&host, "inspecting");
    trigger(&host, &[]).must_succeed();
    let is_held = |status: &Value| {
        status["last"]["commit"] == commit.0 && status["last"]["failure"]["code"] == "lock-held"
    };
    host.wait_for_status("the lock is found held", DEADLINE, is_held);
    look(&host);
    let status = host.wait_for_status("it ends in the same way", DEADLINE, |status| {
        status["phase"]["name"] == "resting"
    });
    assert!(is_held(&status), "{status:#}");
    assert_eq!(acts(), before, "{:?}", host.tally());
    is_all(&host, &first);

    host.run(&["systemctl", "stop", "holder.service"])
        .must_succeed();
    trigger(&host, &[]).must_succeed();
    host.wait_for_status("it is deployed at last", DEADLINE, |status| {
        status["last"]["commit"] == commit.0 && status["last"]["outcome"] == "deployed"
    });
    let second = deployed(&host, &commit);
    assert_eq!(tests_of(&host, &second), 1);
}

#[test]
fn many_triggers_at_once_are_answered_by_two_looks() {
    let world = world();
    let host = world.boot();
    settled(&host);
    at_rest(&host);
    let call = "busctl call org.deploy_flake.Daemon1 /org/deploy_flake/Daemon1 org.deploy_flake.Daemon1 Trigger";
    let all = host.shell(&format!(
        "date +%s; for it in $(seq {MANY}); do {call} & done; wait; date +%s"
    ));
    let started = host.status()["looks"]["started"].as_u64();
    let lines: Vec<&str> = all.text().lines().collect();
    let second = |line: &str| line.parse::<u64>().expect("a second");
    let took = second(lines[lines.len() - 1]) - second(lines[0]);
    assert!(
        took < INTERVAL / 2,
        "they came close to each other: {took} s"
    );
    assert!(started <= Some(4), "at most two looks: {started:?}");

    // Each is told which look answers it, and when that begins.
    let answers = &lines[1..lines.len() - 1];
    assert_eq!(answers.len(), MANY, "{all}");
    let owed = |line: &&str| {
        let mut words = line.split_whitespace().skip(1).map(second);
        (words.next(), words.next())
    };
    let owed: Vec<_> = answers.iter().map(owed).collect();
    let at_once = owed.iter().filter(|it| **it == (Some(3), Some(0))).count();
    assert!(at_once >= 1, "{owed:?}");
    let together = owed.iter().filter(|(look, begins_in)| {
        *look == Some(4) && *begins_in > Some(0) && *begins_in <= Some(INTERVAL)
    });
    assert_eq!(at_once + together.count(), MANY, "{owed:?}");
    let status = host.wait_for_status("all are answered", DEADLINE, |status| {
        status["looks"]["finished"].as_u64() >= Some(4)
    });
    // What is asked for now is the next one: there was no look beside those two.
    assert_eq!(status["looks"]["started"], 4, "{status:#}");
    let status = look(&host);
    assert_eq!(status["looks"]["started"], 5, "{status:#}");
}
