//! Daemons that do not do their work: the one of the old system takes over again, in whichever way the new one fails.
//!
//! In: a system whose daemon is broken. Out: its line of the table in `docs/reliability.md`.

use crate::surviving_scene::{End, SHORT, Scene};
use crate::testbed::sabotage::{BrokenDaemon, Sabotage};

/// A configuration that names another remote, or none, is refused unless that is allowed.
const ALLOW_REMOTE: &str = "[guards]\nallow = [\"remote\"]";

#[track_caller]
fn survives(how: BrokenDaemon, tables: &str, code: &'static str) {
    let sabotage = Sabotage::DaemonBroken(how);
    let mut scene = Scene::new(sabotage, &format!("{SHORT}\n{tables}"));
    let allowed = if tables.is_empty() { "" } else { ", allowed" };
    let name = format!("{}{allowed}", sabotage.name());
    let outcome = "rolled-back";
    scene.comes_back(sabotage, &name, End { outcome, code });
    scene.deploys_a_good_commit();
}

#[test]
fn a_daemon_that_ends_at_once_is_replaced_by_the_old_one() {
    survives(BrokenDaemon::Exits, "", "guardian-fired");
}

#[test]
fn a_daemon_that_crashes_again_and_again_is_replaced_by_the_old_one() {
    survives(BrokenDaemon::Crashes, "", "guardian-fired");
}

#[test]
fn a_daemon_that_is_never_ready_is_replaced_by_the_old_one() {
    survives(BrokenDaemon::Hangs, "", "guardian-fired");
}

#[test]
fn a_daemon_whose_configuration_is_none_is_replaced_by_the_old_one() {
    survives(BrokenDaemon::Misconfigured, ALLOW_REMOTE, "guardian-fired");
}

#[test]
fn a_daemon_that_does_not_hear_its_remote_is_replaced_by_the_old_one() {
    survives(BrokenDaemon::Deaf, ALLOW_REMOTE, "remote-lost");
}
