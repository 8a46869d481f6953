//! What goes missing while a host follows: the remote, or what was evaluated.

use deploy_flake::model::failure::FailureCode;
use deploy_flake::report::{failures, milestones};
use serde_json::Value;

use crate::common::{
    DEADLINE, configuration, deployed, entries, field, git_url, is_all, looks, settled, systems,
    text, web,
};
use crate::enduring_fault::{fill, make_room};
use crate::testbed::generation::Generation;
use crate::testbed::world::World;

/// How long an evaluation takes that does this much: a few seconds, long enough to stop the daemon in.
const LONG_WORK: u32 = 3_000_000;

#[test]
fn a_remote_that_is_gone_for_three_polls_is_followed_again() {
    let config = configuration("", &git_url(), "1s");
    let follower = |label: &str| Generation::new(label).daemon_config(&config);
    let mut world = World::starting_with(follower("first"));
    let host = world.boot();
    let first = settled(&host);
    let before = host.tally();
    let unreachable = failures::entry(FailureCode::RemoteUnreachable).message_id;

    world.server().vanish();
    let commit = world.server().repository().publish(&follower("second"));
    let status = host.wait_for_status("the remote is missed", DEADLINE, |status| {
        status["condition"]["state"] == "remote-unreachable"
    });
    assert_eq!(status["remote"]["last_error"]["code"], "remote-unreachable");
    assert_ne!(status["remote"]["last_error"]["message"], "");
    looks(&host, 3);
    let status = host.status();
    assert_eq!(status["condition"]["state"], "remote-unreachable");
    assert_eq!(status["last"]["outcome"], "unchanged");
    assert_eq!(systems(&host), [&*first, &*first, &*first]);
    assert_eq!(host.tally(), before);
    assert_eq!(entries(&host, unreachable).len(), 1);
    assert_eq!(entries(&host, milestones::REMOTE_REACHABLE).len(), 0);

    world.server().come_back();
    deployed(&host, &commit);
    assert_eq!(host.status()["remote"]["last_error"], Value::Null);
    assert_eq!(entries(&host, unreachable).len(), 1);
    assert_eq!(entries(&host, milestones::REMOTE_REACHABLE).len(), 1);
}

#[test]
fn a_server_that_refuses_connections_is_a_remote_that_cannot_be_asked() {
    let mut world = World::new();
    let host = world.boot();
    let first = settled(&host);
    let listening = "ss -Hltnp 'sport = :9418' | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p' | sort -u";
    let kill = format!("kill -9 $({listening})");
    world.server().run(&["sh", "-c", &kill]).must_succeed();
    // A look that was going on saw its connection end; the next ones are refused.
    let status = host.wait_for_status("the status says why", DEADLINE, |status| {
        let message = status["remote"]["last_error"]["message"].as_str();
        message.is_some_and(|it| it.contains("could not be asked: Connection refused"))
    });
    assert_eq!(status["remote"]["last_error"]["code"], "remote-unreachable");
    assert_eq!(status["condition"]["state"], "remote-unreachable");
    assert!(text(&status["condition"]["why"]).contains("Connection refused"));
    is_all(&host, &first);
}

#[test]
fn a_commit_for_which_the_mirror_has_no_room_is_fetched_when_there_is_some() {
    const CACHE: &str = "/var/cache";
    let mut world = World::new();
    let mut host = world.host();
    host.limit_disk(CACHE, "64m");
    host.start();
    let first = settled(&host);
    fill(&host, CACHE);
    let commit = world.server().repository().publish(&web("second"));
    host.wait_for_status("the disk is told", DEADLINE, |status| {
        status["remote"]["last_error"]["code"] == "disk-full"
    });
    looks(&host, 2);
    assert_eq!(host.status()["remote"]["last_error"]["code"], "disk-full");
    is_all(&host, &first);
    make_room(&host, CACHE);
    deployed(&host, &commit);
    assert_eq!(host.status()["remote"]["last_error"], Value::Null);
}

/// The daemon is stopped between evaluation and build, and the derivation is deleted meanwhile.
#[test]
fn a_derivation_that_is_collected_before_it_is_built_is_evaluated_again() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let slow = web("second").with("evaluationWork", LONG_WORK);
    let commit = world.server().repository().publish(&slow);
    host.wait_for_status("the evaluation goes on", DEADLINE, |status| {
        status["phase"]["name"] == "evaluating"
    });
    host.signal_daemon("STOP");
    host.wait_until("the evaluation has ended", DEADLINE, |host| {
        let show = [
            "systemctl",
            "show",
            "-P",
            "SubState",
            "deploy-flake-evaluate",
        ];
        host.run(&show).stdout.trim() == "exited"
    });
    let found = "ls -d /nix/store/*-nixos-system-host-second.drv";
    let derivation = host.shell(found).text().to_owned();
    host.run(&["nix-store", "--delete", "--ignore-liveness", &derivation])
        .must_succeed();
    host.signal_daemon("CONT");

    deployed(&host, &commit);
    let evaluated = entries(&host, milestones::EVALUATED);
    let of_second = field(&evaluated, "DF_DERIVATION");
    let again = of_second.iter().filter(|path| **path == derivation).count();
    assert_eq!(again, 2, "evaluated {of_second:?}");
    let id = format!(
        "DF_DEPLOYMENT={}",
        text(&host.status()["last"]["deployment"])
    );
    let told = host.journal(&[&id, "--priority=warning"]);
    assert_eq!(told, Vec::<Value>::new(), "no word against the commit");
}

/// The same with a garbage collection of everything that nothing holds, and a daemon that is killed.
#[test]
fn garbage_that_is_collected_between_evaluation_and_build_costs_no_deployment() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let slow = web("second").with("evaluationWork", LONG_WORK);
    let commit = world.server().repository().publish(&slow);
    host.wait_for_status("the evaluation goes on", DEADLINE, |status| {
        status["phase"]["name"] == "evaluating"
    });
    host.run(&["systemctl", "stop", "deploy-flake"])
        .must_succeed();
    host.wait_until("the evaluation has ended", DEADLINE, |host| {
        let show = [
            "systemctl",
            "show",
            "-P",
            "SubState",
            "deploy-flake-evaluate",
        ];
        host.run(&show).stdout.trim() == "exited"
    });
    host.run(&["nix-collect-garbage", "--quiet"]).must_succeed();
    host.run(&["systemctl", "start", "deploy-flake"])
        .must_succeed();
    deployed(&host, &commit);
}
