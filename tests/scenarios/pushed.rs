//! What root pushes: a snapshot that lies in the host's store, taken, held, refused, led back from, and replaced.

use std::fs;
use std::thread;
use std::time::Duration;

use deploy_flake::ipc::{NAME, PATH};
use deploy_flake::report::milestones;
use serde_json::Value;

use crate::common::{
    DEADLINE, configuration, deployed, entries, field, git_url, is_all, looks, nothing_is_left,
    settled, systems, text, web,
};
use crate::testbed::child::Output;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;
use crate::window::{tests_of, wait_for_phase};

/// A well-formed path that is in nobody's store.
const NOWHERE: &str = "/nix/store/00000000000000000000000000000000-source";

/// A generation whose daemon's configuration has these lines at its end.
fn taking(label: &str, more: &str) -> Generation {
    let usual = configuration("", &git_url(), "1s");
    web(label).daemon_config(&format!("{usual}\n{more}\n"))
}

fn always(label: &str) -> Generation {
    taking(label, "[push]\nallow = \"always\"")
}

/// Puts a flake of this generation into the host's store, as a copy over ssh would; returns its path.
fn snapshot(world: &World, host: &Host, generation: &Generation) -> String {
    let files = world.flake(generation);
    add(host, files.iter().map(|(path, text)| (&**path, &**text)))
}

/// Puts these files into the host's store.
fn add<'a>(host: &Host, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let inside = "/root/snapshot/source";
    let top = host.path(inside);
    // Nothing is there the first time.
    let _ = fs::remove_dir_all(&top);
    for (path, text) in files {
        let path = top.join(path);
        fs::create_dir_all(path.parent().expect("it is below the top"))
            .and_then(|()| fs::write(&path, text))
            .expect("a running host's files can be written");
    }
    let added = host.run(&["nix-store", "--add", inside]);
    added.must_succeed();
    added.text().to_owned()
}

/// Calls `Push` on the bus, as root.
fn push(host: &Host, source: &str, options: &[&str]) -> Output {
    push_as(host, &[], source, options)
}

fn push_as(host: &Host, prefix: &[&str], source: &str, options: &[&str]) -> Output {
    let count = options.len().to_string();
    let call = ["busctl", "call", NAME, PATH, NAME, "Push", "ssas", source];
    host.run(&[prefix, &call, &["host", &count], options].concat())
}

/// The daemon's words for why it does not take a push.
#[track_caller]
fn declined(answer: &Output) -> String {
    assert_ne!(answer.code, Some(0), "{answer}");
    answer.stderr.clone()
}

/// Waits until the host holds this snapshot; returns the daemon's.
#[track_caller]
fn held(host: &Host, source: &str) -> Value {
    let status = host.wait_for_status("the snapshot is held", DEADLINE, |status| {
        status["hold"]["pushed"]["source"] == source && status["condition"]["state"] == "holding"
    });
    nothing_is_left(host);
    status
}

/// Waits until the push of this snapshot has ended in this way; returns the daemon's.
#[track_caller]
fn ended(host: &Host, source: &str, outcome: &str) -> Value {
    let status = host.wait_for_status("the push has ended", DEADLINE, |status| {
        status["last"]["pushed"]["source"] == source && status["phase"]["name"] == "resting"
    });
    assert_eq!(status["last"]["outcome"], outcome, "{status:#}");
    nothing_is_left(host);
    status
}

/// Kills the daemon, and waits for the next one.
#[track_caller]
fn restart(host: &Host) {
    let before = host.status()["daemon"]["instance"].clone();
    host.signal_daemon("KILL");
    host.wait_for_status("another daemon is there", DEADLINE, |status| {
        status["daemon"]["instance"] != before
    });
}

#[test]
fn a_pushed_snapshot_is_tested_and_held_until_the_next_commit_or_a_reboot() {
    let mut world = World::starting_with(taking("first", ""));
    let mut host = world.boot();
    let first = settled(&host);
    let source = snapshot(&world, &host, &taking("pushed", ""));

    let refused = declined(&push(&host, &source, &[]));
    assert!(
        refused.contains("with --test-only") && refused.contains("[push]"),
        "{refused}"
    );
    for (source, options, expected) in [
        (&*source, &["everything"][..], "test-only, skip-test"),
        (&*source, &["test-only", "test-only"], "test-only once"),
        (&*source, &["test-only", "skip-test"], "found both"),
        ("/etc", &["test-only"], "directly below /nix/store"),
        (
            &format!("{source}/hosts"),
            &["test-only"],
            "directly below /nix/store",
        ),
    ] {
        let refused = declined(&push(&host, source, options));
        assert!(refused.contains(expected), "{options:?}: {refused}");
    }
    for user in ["operator", "visitor"] {
        let prefix = ["runuser", "-u", user, "--"];
        let refused = declined(&push_as(&host, &prefix, &source, &["test-only"]));
        assert!(
            ["enied", "not authorized", "Rejected"]
                .iter()
                .any(|it| refused.contains(it)),
            "{user}: {refused}"
        );
    }
    assert_eq!(entries(&host, milestones::PUSH_ASKED).len(), 0);

    // What Nix does not know, and what is no flake, is taken no further than that.
    push(&host, NOWHERE, &["test-only"]).must_succeed();
    let status = ended(&host, NOWHERE, "refused");
    assert_eq!(
        status["last"]["failure"]["code"], "source-invalid",
        "{status:#}"
    );
    let bare = add(&host, [("README", "nothing\n")]);
    push(&host, &bare, &["test-only"]).must_succeed();
    let status = ended(&host, &bare, "refused");
    assert_eq!(
        status["last"]["failure"]["code"], "flake-missing",
        "{status:#}"
    );
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    is_all(&host, &first);

    let commit = "c".repeat(40);
    let made_of = format!("commit={commit}");
    let options = ["test-only", "dirty", "name=try\u{1b}it", &made_of];
    push(&host, &source, &options).must_succeed();
    let status = held(&host, &source);
    let pushed = &status["hold"]["pushed"];
    assert_eq!(pushed["commit"], commit, "{status:#}");
    assert_eq!(pushed["name"], "try\\u{1b}it", "{status:#}");
    assert_eq!(pushed["dirty"], true, "{status:#}");
    let system = host.running_system();
    assert_ne!(system, first);
    assert_eq!(systems(&host), [&*system, &*first, &*first]);
    looks(&host, 2);
    assert_eq!(tests_of(&host, &system), 1);
    let page = host.shell("deploy-flake status");
    assert!(page.stdout.starts_with("host: holding\n"), "{page}");
    assert!(
        page.stdout.contains("pushed snapshot try\\u{1b}it"),
        "{page}"
    );
    let waited = host.shell("deploy-flake trigger --wait");
    assert_eq!(waited.code, Some(3), "{waited}");
    let told = entries(&host, milestones::PUSH_ASKED);
    assert_eq!(field(&told, "DF_SOURCE"), [NOWHERE, &*bare, &*source]);
    let id = text(&status["last"]["deployment"]);
    let record = host.shell(&format!("deploy-flake show {id} --output json"));
    assert!(record.stdout.contains(&source), "{record}");

    let commit = world.server().repository().publish(&taking("second", ""));
    let second = deployed(&host, &commit);
    assert_eq!(host.status()["hold"], Value::Null);

    push(&host, &source, &["test-only"]).must_succeed();
    held(&host, &source);
    assert_eq!(systems(&host), [&*system, &*second, &*second]);
    host.reboot();
    let status = host.wait_for_status("the test is over", DEADLINE, |status| {
        status["condition"]["state"] == "converged"
    });
    assert_eq!(status["hold"], Value::Null, "{status:#}");
    assert_eq!(
        status["last"]["failure"]["code"], "test-ended",
        "{status:#}"
    );
    looks(&host, 2);
    is_all(&host, &second);
}

#[test]
fn a_push_that_lasts_outlives_killed_daemons_and_one_that_is_bad_leaves_the_one_before() {
    let mut world = World::starting_with(always("first"));
    let mut host = world.boot();
    let first = settled(&host);

    let source = snapshot(&world, &host, &always("pushed"));
    host.close_gate("build");
    push(&host, &source, &[]).must_succeed();
    host.wait_for_gate("build", DEADLINE);
    restart(&host);
    host.open_gate("build");
    held(&host, &source);
    let pushed = host.running_system();
    assert_ne!(pushed, first);
    is_all(&host, &pushed);
    assert_eq!(tests_of(&host, &pushed), 1);

    let slow = always("long").one_shot("slow.service", "/bin/sleep 3");
    let long = snapshot(&world, &host, &slow);
    push(&host, &long, &[]).must_succeed();
    wait_for_phase(&host, "testing");
    restart(&host);
    held(&host, &long);
    let pushed = host.running_system();
    is_all(&host, &pushed);
    assert_eq!(tests_of(&host, &pushed), 1);

    let bad = always("bad").one_shot("bad.service", "/usr/bin/false");
    let bad = snapshot(&world, &host, &bad);
    push(&host, &bad, &[]).must_succeed();
    let status = ended(&host, &bad, "rolled-back");
    assert_eq!(status["hold"]["pushed"]["source"], long, "{status:#}");
    is_all(&host, &pushed);

    // The way there is a reboot, and the host is held after it.
    let booted = snapshot(&world, &host, &always("booted"));
    push(&host, &booted, &["skip-test"]).must_succeed();
    let status = ended(&host, &booted, "reboot-required");
    let code = &status["last"]["failure"]["code"];
    assert_eq!(code, "waits-for-reboot", "{status:#}");
    let waiting = host.default_system();
    assert_eq!(systems(&host), [&*pushed, &*waiting, &*waiting]);
    host.reboot();
    let status = held(&host, &booted);
    assert_eq!(status["last"]["outcome"], "deployed", "{status:#}");
    is_all(&host, &waiting);
    assert_eq!(tests_of(&host, &waiting), 0);
    looks(&host, 2);

    host.shell("deploy-flake resume").must_succeed();
    host.wait_for_status("the branch is followed again", DEADLINE, |status| {
        status["condition"]["state"] == "converged" && status["hold"] == Value::Null
    });
    is_all(&host, &first);
    let commit = world.server().repository().publish(&always("second"));
    deployed(&host, &commit);
}

#[test]
fn of_pushes_that_follow_each_other_at_once_the_last_one_counts() {
    let world = World::starting_with(always("first"));
    let host = world.boot();
    settled(&host);
    let sources = ["one", "two"].map(|label| snapshot(&world, &host, &always(label)));
    // Each in the middle of what the one before does, at another place.
    for number in 0..100_u64 {
        push(&host, &sources[number as usize % 2], &[]).must_succeed();
        thread::sleep(Duration::from_millis(number % 30 * 7));
    }
    held(&host, &sources[1]);
    let system = host.running_system();
    assert!(system.ends_with("two"), "{system}");
    is_all(&host, &system);
    // None of them failed because another one came.
    let ended = host.run(&[
        "deploy-flake",
        "history",
        "--limit",
        "100",
        "--output",
        "json",
    ]);
    let json: Value = serde_json::from_str(ended.text()).expect("it is JSON");
    for deployment in json["deployments"].as_array().expect("a list") {
        let outcome = text(&deployment["outcome"]);
        let is_well = ["deployed", "unchanged", "superseded"].contains(&outcome.as_str());
        assert!(is_well, "{deployment:#}");
    }
}

#[test]
fn a_host_that_takes_no_pushes_or_only_what_is_signed_says_which_key_that_is() {
    let mut world = World::starting_with(taking("first", "[push]\nallow = \"never\""));
    let host = world.boot();
    let first = settled(&host);
    let source = snapshot(&world, &host, &taking("pushed", ""));
    for options in [&["test-only"][..], &[]] {
        let refused = declined(&push(&host, &source, options));
        assert!(refused.contains("allow = \"never\""), "{refused}");
    }
    is_all(&host, &first);

    let signed = "[trust]\nrequire = \"tip\"\nallowed_signers = \"/etc/deploy-flake/signers\"\n\
                  [push]\nallow = \"always\"";
    let key = "ann@example.org ssh-ed25519 \
               AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n";
    let signed = taking("second", signed).etc("deploy-flake/signers", key);
    let commit = world.server().repository().publish(&signed);
    host.wait_for_status("signatures are demanded", DEADLINE, |status| {
        status["last"]["commit"] == commit.0 && status["last"]["outcome"] == "deployed"
    });
    let refused = declined(&push(&host, &source, &["test-only"]));
    assert!(refused.contains("although_signed = true"), "{refused}");
    assert_eq!(entries(&host, milestones::PUSH_ASKED).len(), 0);
}
