//! What scenarios around the confirm window share: who runs, what is armed, what is remembered, and hands that switch,
//! hold the switch lock, or break a unit at a moment of their choice.
//!
//! In: a world's hosts. Out: values. It asserts nothing about how a deployment has to end.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::common::{DEADLINE, deployed, git_url};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;

/// The daemon's unit.
pub(crate) const UNIT: &str = "deploy-flake.service";

/// What every switch holds.
const LOCK: &str = "/run/nixos/switch-to-configuration.lock";

/// From arming to a host that was led back by the guardian alone, with [`generation`]'s deadlines, and as long again.
pub(crate) const GUARDIAN_DEADLINE: Duration = Duration::from_secs(200);

/// A generation that is watched for so many seconds. Nobody has to wait long for the guardian: it acts 84 s and a bit
/// after it was armed, half of which is for the daemon's replacement.
pub(crate) fn generation(label: &str, window: u32) -> Generation {
    let url = git_url();
    Generation::new(label).daemon_config(&format!(
        "[[remote]]\nurl = \"{url}\"\npoll_interval = \"1s\"\n\n\
         [health]\nconfirm_window = \"{window}s\"\nprobe_deadline = \"5s\"\n\n\
         [deadlines]\npoll = \"2s\"\nprobe = \"4s\"\nactivate = \"15s\"\nlock = \"3s\"\nrollback = \"20s\"\n\
         rollback_health = \"8s\"\n"
    ))
}

/// What a host of these scenarios boots into.
pub(crate) fn first(window: u32) -> Generation {
    generation("first", window).with("systemdConf", Value::Null)
}

/// A property of a unit; empty while systemd executes itself anew.
pub(crate) fn property(host: &Host, unit: &str, name: &str) -> String {
    let property = format!("--property={name}");
    let show = ["systemctl", "show", "--value", &property, unit];
    host.run(&show).stdout.trim().to_owned()
}

/// Which program the daemon's process is, by the kernel's word; nothing, while there is none.
pub(crate) fn program(host: &Host) -> String {
    let link = format!("/proc/{}/exe", property(host, UNIT, "MainPID"));
    host.run(&["readlink", &link]).stdout.trim().to_owned()
}

/// The daemon's own state.
pub(crate) fn ledger(host: &Host) -> Value {
    let text = fs::read_to_string(host.path("/var/lib/deploy-flake/ledger")).unwrap_or_default();
    let state = text.split_once('\n').map_or("", |(_header, state)| state);
    serde_json::from_str(state).unwrap_or(Value::Null)
}

/// What the guardian did last.
pub(crate) fn record(host: &Host) -> Value {
    let text = fs::read(host.path("/var/lib/deploy-flake/rollback.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

/// Whether the guardian's timer waits for its time.
pub(crate) fn is_armed(host: &Host) -> bool {
    property(host, "deploy-flake-guardian.timer", "SubState") == "waiting"
}

/// How often a system was tested by anybody, the way back included.
pub(crate) fn tests_of(host: &Host, system: &str) -> usize {
    host.tally_of(&format!("switch-to-configuration-test {system}"))
}

/// Waits until a deployment is in this phase; returns the snapshot.
#[track_caller]
pub(crate) fn wait_for_phase(host: &Host, phase: &str) -> Value {
    host.wait_for_status(&format!("it is {phase}"), DEADLINE, |status| {
        status["phase"]["name"] == phase
    })
}

/// Waits until a commit that ended in another way before is deployed; returns its system.
#[track_caller]
pub(crate) fn deployed_at_last(host: &Host, commit: &CommitId) -> String {
    host.wait_for_status("it is deployed at last", DEADLINE, |status| {
        status["last"]["commit"] == commit.0 && status["last"]["outcome"] == "deployed"
    });
    deployed(host, commit)
}

/// A unit that is well until [`break_it`].
pub(crate) fn breakable(generation: Generation) -> Generation {
    let wait = "while [ ! -e /run/fail ]; do sleep 0.1; done; exit 7";
    let text = format!("[Service]\nExecStart=/bin/sh -c '{wait}'\n");
    generation.wanted_unit("breakable.service", &text)
}

/// Has the breakable unit fail.
pub(crate) fn break_it(host: &Host) {
    host.run(&["touch", "/run/fail"]).must_succeed();
}

/// Has somebody hold the lock of every switch, who has nothing to do with anything.
#[track_caller]
pub(crate) fn hold_lock(host: &Host) {
    let hold = format!("mkdir -p /run/nixos; exec flock {LOCK} sleep 600");
    host.run(&["systemd-run", "--unit=holder", "sh", "-c", &hold])
        .must_succeed();
    host.wait_until("the lock is held", DEADLINE, |host| {
        host.run(&["flock", "--nonblock", LOCK, "true"]).code == Some(1)
    });
}

/// Sets the profile, as `nixos-rebuild` does.
#[track_caller]
pub(crate) fn set_profile(host: &Host, system: &str) {
    let profile = "/nix/var/nix/profiles/system";
    host.run(&["nix-env", "--profile", profile, "--set", system])
        .must_succeed();
}
