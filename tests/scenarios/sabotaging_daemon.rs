//! The sabotages of the daemon itself, proven by hand: the daemon that runs is left alone by the switch, and what the
//! new system has in its place shows when it is started.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::bed::{is_active, switch};
use crate::common::{DEADLINE, deployed, settled, switch_by_hand, web};
use crate::testbed::generation::Generation;
use crate::testbed::git_server::GitServer;
use crate::testbed::host::Host;
use crate::testbed::sabotage::{BrokenDaemon, Sabotage};
use crate::testbed::world::World;

const SOON: Duration = Duration::from_secs(30);
const UNIT: &str = "deploy-flake.service";

fn property(host: &Host, name: &str) -> String {
    let property = format!("--property={name}");
    let show = ["systemctl", "show", "--value", &property, UNIT];
    host.run(&show).text().to_owned()
}

/// Switches to a system with another daemon, as if the daemon that runs did not look meanwhile: at its next look it
/// would give way to the other one. It stays stopped.
#[track_caller]
fn switch_unseen(host: &Host, system: &str) {
    let before = property(host, "MainPID");
    host.signal_daemon("STOP");
    switch_by_hand(host, system, "test");
    assert_eq!(property(host, "MainPID"), before, "the one that runs stays");
}

/// Has systemd start what the running system has as its daemon, and does not wait for it.
fn start_anew(host: &Host) {
    host.run(&["systemctl", "--no-block", "restart", UNIT])
        .must_succeed();
}

/// Where the daemon's program is.
fn program(host: &Host) -> String {
    let link = format!("/proc/{}/exe", property(host, "MainPID"));
    host.run(&["readlink", &link]).text().to_owned()
}

fn is_of_the_running_daemon(status: &Value, host: &Host) -> bool {
    let process = property(host, "MainPID").parse().ok();
    status["daemon"]["pid"].as_u64() == process
}

fn is_restarted_again_and_again(host: &Host) -> bool {
    property(host, "NRestarts")
        .parse::<u32>()
        .is_ok_and(|restarts| restarts >= 2)
}

fn shows(host: &Host, how: BrokenDaemon) -> bool {
    match how {
        BrokenDaemon::Exits | BrokenDaemon::Crashes | BrokenDaemon::Misconfigured => {
            is_restarted_again_and_again(host)
        }
        BrokenDaemon::Hangs => property(host, "SubState") == "start",
        BrokenDaemon::Deaf => {
            let status = host.status();
            let is_its_own = is_of_the_running_daemon(&status, host);
            // That the host is not what it was brought to comes first in the condition.
            is_its_own && status["remote"]["last_error"] != Value::Null
        }
    }
}

#[test]
fn a_broken_daemon_is_left_to_the_first_restart_and_a_working_one_comes_back() {
    let world = World::new();
    let host = world.boot();
    let first = settled(&host);
    for how in BrokenDaemon::ALL {
        let sabotage = Sabotage::DaemonBroken(how);
        let bad = host.build(&sabotage.spoil(Generation::new("bad")));
        switch_unseen(&host, &bad);
        start_anew(&host);
        let name = sabotage.name();
        host.wait_until(&name, SOON, |host| shows(host, how));
        let answers = host.run(&["deploy-flake", "--version"]);
        assert_eq!(answers.code, Some(0), "the command line works: {answers}");

        // A switch waits for all that is being started: one that is never ready would hold it for its time-out.
        host.run(&["systemctl", "stop", UNIT]).must_succeed();
        switch(&host, &first, "test");
        start_anew(&host);
        host.wait_for_status("a working daemon is back", DEADLINE, |status| {
            is_of_the_running_daemon(status, &host)
        });
        settled(&host);
    }
}

#[test]
fn a_removed_daemon_runs_on_and_is_not_there_any_more() {
    let world = World::new();
    let host = world.boot();
    let first = settled(&host);
    let sabotage = Sabotage::DaemonRemoved;
    let bad = host.build(&sabotage.spoil(Generation::new("bad")));
    switch_by_hand(&host, &bad, "test");
    assert!(is_active(&host, UNIT));
    assert!(fs::symlink_metadata(host.path("/run/current-system/sw/bin/deploy-flake")).is_err());
    host.run(&["systemctl", "stop", UNIT]).must_succeed();
    assert_ne!(host.run(&["systemctl", "start", UNIT]).code, Some(0));

    // The bus learns of the daemon's policy by itself, and perhaps only when the daemon has asked for its name once.
    switch(&host, &first, "test");
    start_anew(&host);
    settled(&host);
}

#[test]
fn the_next_daemon_is_another_program_and_works() {
    let world = World::new();
    let host = world.boot();
    let first = settled(&host);
    let before = program(&host);
    let next = host.build(&Generation::new("next").next_daemon());
    switch_unseen(&host, &next);
    host.run(&["systemctl", "restart", UNIT]).must_succeed();
    let after = program(&host);
    assert_ne!(after, before);
    assert!(after.starts_with("/nix/store/"), "{after}");
    let same = host.run(&["cmp", &before, &after]);
    assert_eq!(same.code, Some(0), "{same}");
    host.wait_for_status("it looks at its remote", DEADLINE, |status| {
        status["looks"]["finished"].as_u64() >= Some(1)
    });
    switch_unseen(&host, &first);
    host.run(&["systemctl", "restart", UNIT]).must_succeed();
    settled(&host);
}

#[test]
fn a_remote_with_a_name_is_followed_as_long_as_names_are_found() {
    let named = |label: &str| web(label).named_remote();
    let mut world = World::starting_with(Generation::first().named_remote());
    let host = world.boot();
    settled(&host);
    let commit = world.server().repository().publish(&named("second"));
    let second = deployed(&host, &commit);
    let url = GitServer::named_url("git");
    assert_eq!(host.status()["remote"]["url"], url.as_str());

    let answers = |status: &Value| status["remote"]["last_error"].is_null();
    let bad = host.build(&Sabotage::DnsBroken.spoil(named("bad")));
    switch_by_hand(&host, &bad, "test");
    host.wait_for_status("the remote is not found", DEADLINE, |status| {
        !answers(status)
    });
    switch_by_hand(&host, &second, "test");
    host.wait_for_status("the remote is found again", DEADLINE, answers);
}
