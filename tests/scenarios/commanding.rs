//! The operator's hands on one host: pause and resume, confirm and reject, and the way back to an earlier system.

use deploy_flake::report::milestones;
use serde_json::Value;

use crate::common::{DEADLINE, deployed, ended_as, entries, field, is_all, looks, settled, text};
use crate::testbed::child::Output;
use crate::testbed::host::Host;
use crate::testbed::world::World;
use crate::window::{first, generation, is_armed, tests_of, wait_for_phase};

/// A confirm window that nobody waits out.
const ENDLESS: u32 = 600;

fn command(host: &Host, words: &str) -> Output {
    host.shell(&format!("deploy-flake {words}"))
}

/// What a command says with `--output json`.
#[track_caller]
fn json(output: &Output) -> Value {
    let value: Value = serde_json::from_str(output.text()).expect("it is JSON");
    assert_eq!(value["schema"], 1, "{value}");
    value
}

/// Waits until the condition is this one; returns the snapshot.
#[track_caller]
fn condition(host: &Host, state: &str) -> Value {
    host.wait_for_status(&format!("it is {state}"), DEADLINE, |status| {
        status["condition"]["state"] == state
    })
}

/// Kills the daemon, and waits for the next one to have looked.
#[track_caller]
fn restart(host: &Host) {
    let before = host.status()["daemon"]["instance"].clone();
    host.signal_daemon("KILL");
    host.wait_for_status("another daemon looks", DEADLINE, |status| {
        status["daemon"]["instance"] != before && status["looks"]["finished"].as_u64() > Some(0)
    });
}

#[test]
fn a_paused_host_begins_nothing_until_it_is_resumed_or_the_time_is_over() {
    let mut world = World::starting_with(first(1));
    let mut host = world.boot();
    let old = settled(&host);

    let said = host.shell(
        "runuser -u operator -- deploy-flake pause --for 3h --reason 'a fair' --output json",
    );
    let said = json(&said);
    assert_eq!(
        (&said["event"], &said["reason"]),
        (&"paused".into(), &"a fair".into())
    );
    let pause = host.status()["pause"].clone();
    let uid = host.run(&["id", "-u", "operator"]);
    assert_eq!(pause["by"].to_string(), uid.text());
    // The bus counts in seconds.
    let second = |until: &Value| text(until).chars().take(19).collect::<String>();
    assert_eq!(second(&pause["until"]), second(&said["until"]));
    let page = command(&host, "status");
    assert!(page.stdout.contains("host: converged\n"), "{page}");
    assert!(
        page.stdout.contains("a fair") && page.stdout.contains("deploy-flake resume"),
        "{page}"
    );
    // It is what the branch asks for: there is nothing to refuse.
    assert_eq!(command(&host, "trigger --wait").code, Some(0));

    let commit = world
        .server()
        .repository()
        .publish(&generation("second", 1));
    let status = condition(&host, "paused");
    assert_eq!(status["pause"]["waiting"], commit.0, "{status:#}");
    for asked in ["trigger --wait", "retry --wait"] {
        let refused = command(&host, asked);
        assert_eq!(refused.code, Some(3), "{asked}: {refused}");
        assert!(refused.stdout.contains("\npaused: "), "{asked}: {refused}");
        assert!(refused.stdout.contains("a fair"), "{asked}: {refused}");
    }
    restart(&host);
    condition(&host, "paused");
    host.reboot();
    let status = condition(&host, "paused");
    assert_eq!(status["pause"]["since"], pause["since"], "{status:#}");
    looks(&host, 2);
    is_all(&host, &old);

    let said = host.shell("runuser -u operator -- deploy-flake resume --output json");
    assert_eq!(json(&said)["event"], "resumed");
    let second = deployed(&host, &commit);
    assert_eq!(host.status()["pause"], Value::Null);
    let told = entries(&host, milestones::PAUSED);
    assert_eq!(field(&told, "DF_REASON"), ["a fair"]);
    assert_eq!(entries(&host, milestones::RESUMED_BY).len(), 1);

    // It ends by itself, and one that is running is finished.
    host.close_gate("build");
    let third = world.server().repository().publish(&generation("third", 1));
    host.wait_for_gate("build", DEADLINE);
    command(&host, "pause --for 5s").must_succeed();
    let fourth = world
        .server()
        .repository()
        .publish(&generation("fourth", 1));
    host.open_gate("build");
    host.wait_for_status("the third is finished", DEADLINE, |status| {
        status["last"]["commit"] == third.0 && status["last"]["outcome"] == "deployed"
    });
    deployed(&host, &fourth);
    assert_eq!(entries(&host, milestones::PAUSE_ENDED).len(), 1);
    assert_ne!(host.running_system(), second);
}

#[test]
fn an_operator_confirms_rejects_and_goes_back_and_the_host_stays_where_it_was_led() {
    let mut world = World::starting_with(first(1));
    let host = world.boot();
    settled(&host);
    let nothing = command(&host, "confirm");
    assert_eq!(nothing.code, Some(3), "{nothing}");
    assert!(
        nothing
            .stderr
            .contains("no system is in its confirm window"),
        "{nothing}"
    );
    let nothing = command(&host, "rollback");
    assert_eq!(nothing.code, Some(3), "{nothing}");
    assert!(nothing.stderr.contains("no earlier system"), "{nothing}");
    let commit = world
        .server()
        .repository()
        .publish(&generation("second", 1));
    let second = deployed(&host, &commit);
    let to_second = text(&host.status()["last"]["deployment"]);

    // A word ends the window, and nobody waits ten minutes.
    let commit = world
        .server()
        .repository()
        .publish(&generation("third", ENDLESS));
    let status = wait_for_phase(&host, "confirming");
    let id = text(&status["phase"]["deployment"]);
    let other = command(&host, "reject --deployment ffffffffffffffff");
    assert_eq!(other.code, Some(3), "{other}");
    assert!(other.stderr.contains(&id), "{other}");
    let confirm =
        format!("runuser -u operator -- deploy-flake confirm --deployment {id} --output json");
    let said = json(&host.shell(&confirm));
    assert_eq!(
        (&said["event"], &said["deployment"]),
        (&"confirmed".into(), &id.into())
    );
    let third = deployed(&host, &commit);

    // And the other one ends it, too.
    let commit = world
        .server()
        .repository()
        .publish(&generation("fourth", ENDLESS));
    wait_for_phase(&host, "confirming");
    let fourth = host.running_system();
    assert!(is_armed(&host));
    let reject = "runuser -u operator -- deploy-flake reject --reason 'too slow'";
    host.shell(reject).must_succeed();
    let status = ended_as(&host, &commit, "rolled-back");
    let failure = &status["last"]["failure"];
    assert_eq!(failure["code"], "rejected", "{status:#}");
    assert!(text(&failure["message"]).contains("too slow"), "{status:#}");
    assert_eq!(status["quarantine"][0]["toplevel"], fourth, "{status:#}");
    is_all(&host, &third);
    looks(&host, 2);
    assert_eq!(tests_of(&host, &fourth), 1, "it is held");

    // Root goes back, and the host stays there.
    let back = command(&host, "rollback --wait --output json");
    assert_eq!(back.code, Some(0), "{back}");
    assert!(back.stdout.contains("\"event\":\"goes-back\""), "{back}");
    let status = condition(&host, "holding");
    assert_eq!(status["last"]["earlier"], to_second, "{status:#}");
    assert_eq!(status["hold"]["by"], 0, "{status:#}");
    is_all(&host, &second);
    restart(&host);
    looks(&host, 2);
    is_all(&host, &second);
    let refused = command(&host, "trigger --wait");
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stdout.contains("deploy-flake resume"), "{refused}");
    let page = command(&host, "status");
    assert!(page.stdout.starts_with("host: holding\n"), "{page}");

    // A new commit ends that.
    let commit = world.server().repository().publish(&generation("fifth", 1));
    let fifth = deployed(&host, &commit);
    assert_eq!(host.status()["hold"], Value::Null);

    // So does an operator; also where something is broken, which going back is for.
    host.shell("systemd-run --unit=broken false").must_succeed();
    host.wait_until("a unit is failed", DEADLINE, |host| {
        host.state() == "degraded"
    });
    let back = command(&host, &format!("rollback --to {to_second} --wait"));
    assert_eq!(back.code, Some(0), "{back}");
    is_all(&host, &second);
    // It may be gone with the switch.
    let _ = host.run(&["systemctl", "reset-failed", "broken"]);
    let resumed = host.shell("runuser -u operator -- deploy-flake resume");
    resumed.must_succeed();
    let status = condition(&host, "converged");
    assert_eq!(status["last"]["commit"], commit.0, "{status:#}");
    is_all(&host, &fifth);
    assert_eq!(entries(&host, milestones::ROLLBACK_ASKED).len(), 2);
}
