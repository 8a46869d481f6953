//! What scenarios of the whole product share: how long things may take, how a deployment's end is awaited, and what
//! holds whenever the daemon is at rest.
//!
//! In: a world's hosts. Out: values, or a panic that says which promise was broken.

use std::time::Duration;

use deploy_flake::report::milestones;
use serde_json::Value;

use crate::invariants::{Expected, Seen};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::network::Address;
use crate::testbed::repository::CommitId;

/// For anything that takes a few seconds; a busy machine may need many more.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// A generation with one service, by which hosts can be told apart from inside.
pub(crate) fn web(label: &str) -> Generation {
    Generation::new(label).one_shot("web.service", &format!("/usr/bin/true {label}"))
}

/// A daemon's configuration that differs from the usual one: lines above the tables, where the remote is, how often it
/// is asked. A remote that does not answer is given up soon.
pub(crate) fn configuration(top: &str, url: &str, poll_interval: &str) -> String {
    format!(
        "{top}\n[[remote]]\nurl = \"{url}\"\npoll_interval = \"{poll_interval}\"\n\n\
         [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n\n[deadlines]\npoll = \"3s\"\n"
    )
}

/// The world's repository over the git protocol.
pub(crate) fn git_url() -> String {
    format!("git://{}/infrastructure.git", Address::FIRST)
}

/// Waits until the daemon rests after this commit, however it ended; returns the snapshot.
#[track_caller]
pub(crate) fn ended(host: &Host, commit: &CommitId) -> Value {
    host.wait_for_status(&format!("{commit} has ended"), DEADLINE, |status| {
        status["last"]["commit"] == commit.0 && status["phase"]["name"] == "resting"
    })
}

/// Waits until the commit has ended in this way, and checks what holds at rest; returns the snapshot.
#[track_caller]
pub(crate) fn ended_as(host: &Host, commit: &CommitId, outcome: &str) -> Value {
    let status = ended(host, commit);
    assert_eq!(status["last"]["outcome"], outcome, "{status:#}");
    nothing_is_left(host);
    status
}

/// Waits until the commit is deployed: what runs, the profile and the default entry are its system, which is returned.
#[track_caller]
pub(crate) fn deployed(host: &Host, commit: &CommitId) -> String {
    let status = ended_as(host, commit, "deployed");
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    assert_eq!(status["last"]["failure"], Value::Null, "{status:#}");
    let system = text(&status["desired"]["toplevel"]);
    is_all(host, &system);
    system
}

/// Waits until the host is what it booted into and the daemon says so: its first commit changes nothing.
#[track_caller]
pub(crate) fn settled(host: &Host) -> String {
    let status = host.wait_for_status("the first commit is known to be there", DEADLINE, |it| {
        it["condition"]["state"] == "converged"
    });
    assert_eq!(status["last"]["outcome"], "unchanged", "{status:#}");
    let first = host.booted_system();
    is_all(host, &first);
    first
}

/// What runs, what the profile is, and what the default entry starts.
pub(crate) fn systems(host: &Host) -> [String; 3] {
    [host.running_system(), host.profile(), host.default_system()]
}

/// The host and the daemon's snapshot agree: running system, profile and default entry are this one.
#[track_caller]
pub(crate) fn is_all(host: &Host, system: &str) {
    assert_eq!(
        systems(host),
        [system, system, system],
        "running, profile, default entry"
    );
    let told = &host.status()["system"];
    for key in ["running", "profile", "default_entry"] {
        assert_eq!(told[key], system, "{key} in {told:#}");
    }
}

/// No step of ours is loaded, running or failed once the daemon rests; only the fetchers stay.
#[track_caller]
pub(crate) fn nothing_is_left(host: &Host) {
    let list = "systemctl list-units --all --plain --no-legend 'deploy-flake-*' | cut -d ' ' -f 1";
    host.wait_until("only the fetchers' units are left", DEADLINE, |host| {
        let units = host.shell(list).stdout;
        let is_fetcher = |unit: &str| unit.starts_with("deploy-flake-fetcher");
        units.lines().all(|unit| is_fetcher(unit.trim()))
    });
    let list = "ls /run/deploy-flake/private 2> /dev/null";
    host.wait_until(
        "captured output, plan and token are removed",
        DEADLINE,
        |host| host.shell(list).stdout.trim().is_empty(),
    );
}

/// Waits for this many more looks to have ended.
#[track_caller]
pub(crate) fn looks(host: &Host, more: u64) {
    let instance = host.status()["daemon"]["instance"].clone();
    let before = host.status()["looks"]["finished"].as_u64().unwrap_or(0);
    host.wait_for_status("the daemon looks again and again", DEADLINE, |status| {
        assert_eq!(status["daemon"]["instance"], instance, "no restart");
        status["looks"]["finished"].as_u64() >= Some(before + more)
    });
}

/// Checks what holds after whatever befell a deployment from one system to another, once the daemon rests: see
/// [`Seen::broken`]. It has the daemon look again, so it is for hosts that poll often.
#[track_caller]
pub(crate) fn invariants(host: &Host, old: &str, new: &str, expected: Expected) {
    host.wait_for_status("the daemon rests", DEADLINE, |status| {
        status["phase"]["name"] == "resting"
    });
    // The first of these may still have begun before the end of the deployment was seen.
    looks(host, 1);
    let before = acts(host);
    looks(host, 2);
    let seen = Seen {
        acts: [before, acts(host)],
        systems: systems(host),
        status: host.status(),
        answers_ssh: host.answers_ssh(),
        retries: entries(host, milestones::RETRY_ASKED).len(),
    };
    let broken = seen.broken(old, new, expected);
    assert!(broken.is_empty(), "{broken:#?}\n{seen:#?}");
}

/// All that was done to the host: what the closures' programs have counted, and what the daemon says to have begun.
fn acts(host: &Host) -> Vec<String> {
    let kinds = ["switch-to-configuration-", "activate ", "boot-loader "];
    let counts = |line: &String| kinds.iter().any(|kind| line.starts_with(kind));
    let mut acts: Vec<String> = host.tally().into_iter().filter(counts).collect();
    acts.extend(
        field(&entries(host, milestones::TEST_STARTED), "DF_TOPLEVEL")
            .into_iter()
            .map(|system| format!("told: test {system}")),
    );
    acts
}

/// The journal's entries with a message id, in their order.
pub(crate) fn entries(host: &Host, message_id: &str) -> Vec<Value> {
    host.journal(&[&format!("MESSAGE_ID={message_id}")])
}

/// A field of each of these entries.
pub(crate) fn field(entries: &[Value], name: &str) -> Vec<String> {
    entries.iter().map(|entry| text(&entry[name])).collect()
}

/// The text of a JSON value that is text.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    let text = value.as_str();
    text.unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}

/// Activates a system by hand, as an operator would.
#[track_caller]
pub(crate) fn switch_by_hand(host: &Host, system: &str, verb: &str) {
    let program = format!("{system}/bin/switch-to-configuration");
    host.run(&[&program, verb]).must_succeed();
}
