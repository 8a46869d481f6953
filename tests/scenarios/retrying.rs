//! `deploy-flake retry`: what was refused is tried once more when an operator says so, and by nobody else.

use serde_json::Value;

use deploy_flake::report::milestones;

use crate::common::{DEADLINE, ended_as, entries, field, is_all, settled};
use crate::testbed::child::Output;
use crate::testbed::host::Host;
use crate::triggering::{next, world};

/// What the commit's own check asks for, and the commit cannot know.
const PERMIT: &str = "/run/permit";

fn retry(host: &Host, more: &[&str]) -> Output {
    host.run(&[&["deploy-flake", "retry"], more].concat())
}

/// A world whose host refused a commit for a reason outside of it.
fn refused() -> (crate::testbed::world::World, Host, String) {
    let mut world = world();
    let host = world.boot();
    let first = settled(&host);
    let asking = next("second").with("selfCheck", format!("test -e {PERMIT}"));
    let commit = world.server().repository().publish(&asking);
    host.run(&["deploy-flake", "trigger"]).must_succeed();
    let status = ended_as(&host, &commit, "refused");
    let held = status["quarantine"].as_array().expect("it is a list");
    assert_eq!(held.len(), 1, "{status:#}");
    assert_eq!(held[0]["commit"], commit.0);
    assert_eq!(held[0]["code"], "check-refused");
    assert_eq!(held[0]["class"], "deterministic");
    assert_eq!(held[0]["toplevel"], status["desired"]["toplevel"]);
    is_all(&host, &first);
    (world, host, first)
}

#[test]
fn what_failed_is_tried_again_only_when_an_operator_says_so() {
    let (_world, host, first) = refused();
    let page = host.run(&["deploy-flake", "status"]);
    assert!(page.stdout.contains("what is wanted failed here"), "{page}");
    assert!(page.stdout.contains("deploy-flake retry"), "{page}");

    let checks = || host.tally_of("pre-activate-safety-checks");
    let before = checks();
    host.shell(&format!("touch {PERMIT}")).must_succeed();
    let looked = host.run(&["deploy-flake", "trigger", "--wait"]);
    assert_eq!(looked.code, Some(3), "a look alone is none: {looked}");
    for (user, more, hint) in [
        ("visitor", &[][..], "join the group deploy-flake"),
        ("visitor", &["--allow", "ssh-server"], "as root"),
        ("operator", &["--allow", "ssh-server"], "as root: it"),
    ] {
        let as_user = ["runuser", "-u", user, "--", "deploy-flake", "retry"];
        let turned_away = host.run(&[&as_user[..], more].concat());
        assert_eq!(turned_away.code, Some(1), "{user}: {turned_away}");
        assert!(turned_away.stderr.contains(hint), "{user}: {turned_away}");
    }
    assert_eq!((checks(), host.running_system()), (before, first));

    let operator = "runuser -u operator -- deploy-flake retry --wait --output json";
    let tried = host.shell(operator);
    assert_eq!(tried.code, Some(0), "{tried}");
    let events: Vec<Value> = tried
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(events[0]["event"], "retried");
    assert_eq!(events[0]["allowed"], serde_json::json!([]));
    assert!(host.running_system().ends_with("second"));
    is_all(&host, &host.running_system());
    let status = host.status();
    assert_eq!(status["quarantine"], serde_json::json!([]), "{status:#}");
    assert_eq!(entries(&host, milestones::RETRY_ASKED).len(), 1);
    let causes = field(&entries(&host, milestones::DEPLOYMENT_STARTED), "DF_CAUSE");
    assert_eq!(causes, ["operator"]);
}

#[test]
fn a_retry_that_fails_again_is_one_try_and_ends_with_3() {
    let (_world, host, first) = refused();
    let checks = || host.tally_of("pre-activate-safety-checks");
    let before = checks();
    for allowed in [&["--wait"][..], &["--wait", "--allow", "ssh-server"]] {
        let tried = retry(&host, allowed);
        assert_eq!(tried.code, Some(3), "{tried}");
        assert!(tried.stdout.contains("refused: "), "{tried}");
    }
    assert_eq!(checks(), before + 2);
    is_all(&host, &first);
    let asked = field(&entries(&host, milestones::RETRY_ASKED), "DF_ALLOWED");
    assert_eq!(asked, ["", "ssh-server"]);
    // The daemon judges by itself: the command line would not send this.
    let call = "busctl call org.deploy_flake.Daemon1 /org/deploy_flake/Daemon1 \
                org.deploy_flake.Daemon1 RetryAllowing as 1 everything";
    let unknown = host.shell(call);
    assert_ne!(unknown.code, Some(0), "{unknown}");
    assert!(unknown.stderr.contains("expected any of"), "{unknown}");
    assert_eq!(checks(), before + 2);
}

#[test]
fn a_retry_is_not_said_twice_when_the_daemon_is_killed_meanwhile() {
    let (_world, host, first) = refused();
    let checks = || host.tally_of("pre-activate-safety-checks");
    let before = checks();
    host.close_gate("pre-activate-safety-checks");
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| retry(&host, &["--wait"]));
        host.wait_for_status("it is being checked", DEADLINE, |status| {
            status["phase"]["name"] == "checking"
        });
        let instance = host.status()["daemon"]["instance"].clone();
        host.signal_daemon("KILL");
        host.wait_for_status("another daemon lives", DEADLINE, |status| {
            status["daemon"]["instance"] != instance && status["phase"]["name"] == "checking"
        });
        host.open_gate("pre-activate-safety-checks");
        waiting.join().expect("it does not panic")
    });
    assert_eq!(waiting.code, Some(3), "{waiting}");
    assert_eq!(checks(), before + 1, "one try");
    is_all(&host, &first);
}

#[test]
fn a_retry_on_a_host_that_is_there_already_does_nothing() {
    let world = world();
    let host = world.boot();
    let first = settled(&host);
    let hooks = host.tally();
    let there = retry(&host, &["--wait"]);
    assert_eq!(there.code, Some(0), "{there}");
    assert_eq!(host.tally(), hooks);
    is_all(&host, &first);
}
