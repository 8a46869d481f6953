//! What goes missing around a host, and comes back: link, bus, journal, Nix daemon, room on a disk, the ledger.
//!
//! In: a host whose daemon is at work. Out: the fault, and its end. Nothing here says what is to happen then.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::DEADLINE;
use crate::dying_host::{SOON, Scene};
use crate::dying_moment::Moment;
use crate::dying_process::Process;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::world::wait_until;
use crate::window::UNIT;

/// Where the daemon's state is.
pub(crate) const STATE: &str = "/var/lib/deploy-flake";

/// How often a phase is tried for that lasts a few milliseconds.
const MOST_TRIES: u32 = 6;

/// Something that goes missing, and comes back.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) strike: fn(&Host),
    /// What is seen before it comes back.
    pub(crate) until: fn(&Scene),
    pub(crate) mend: fn(&Host),
}

/// The link to everybody.
pub(crate) const LINK: Fault = Fault {
    name: "the link is cut",
    strike: Host::cut_link,
    until: wait_until_at_rest,
    mend: Host::join_link,
};

pub(crate) const NIX_DAEMON: Fault = Fault {
    name: "the Nix daemon is killed",
    strike: |host| {
        wake_nix(host);
        signal(host, "nix-daemon.service", "KILL");
    },
    until: wait_until_at_rest,
    mend: wake_nix,
};

pub(crate) const BUS_RESTARTED: Fault = Fault {
    name: "the bus is restarted",
    strike: |host| {
        // systemctl itself may lose its answer.
        drop(host.run(&["systemctl", "restart", "dbus.service"]));
    },
    until: |_| (),
    mend: |_| (),
};

pub(crate) const BUS_KILLED: Fault = Fault {
    name: "the bus is killed",
    strike: |host| signal(host, "dbus.service", "KILL"),
    until: |_| (),
    mend: |_| (),
};

pub(crate) const JOURNAL: Fault = Fault {
    name: "the journal stands still",
    strike: |host| signal(host, "systemd-journald.service", "STOP"),
    until: wait_until_at_rest,
    mend: |host| signal(host, "systemd-journald.service", "CONT"),
};

/// Needs [`shrink_state`].
pub(crate) const LEDGER_FULL: Fault = Fault {
    name: "the disk of the ledger is full",
    strike: |host| fill(host, STATE),
    until: |scene| {
        let told = says_that_it_cannot_remember;
        scene.host.wait_for_status("it is told", SOON, told);
    },
    mend: |host| make_room(host, STATE),
};

fn wait_until_at_rest(scene: &Scene) {
    wait_until("the daemon rests", SOON, || scene.is_in("resting"));
}

/// Sends a signal to all of a unit.
#[track_caller]
pub(crate) fn signal(host: &Host, unit: &str, signal: &str) {
    let signal = format!("--signal={signal}");
    host.run(&["systemctl", "kill", &signal, unit])
        .must_succeed();
}

fn wake_nix(host: &Host) {
    host.shell("nix store ping --store daemon").must_succeed();
}

/// Puts the daemon's state on a small disk of its own. It is not there any more after a reboot.
pub(crate) fn shrink_state(host: &Host) {
    host.run(&["systemctl", "stop", UNIT]).must_succeed();
    shrink(host, STATE, "size=1m,mode=0700");
    host.run(&["systemctl", "start", UNIT]).must_succeed();
    host.wait_for_status("the daemon is back", DEADLINE, |status| {
        status["looks"]["finished"].as_u64() >= Some(1) && status["phase"]["name"] == "resting"
    });
}

/// Puts a directory on a disk in memory with these options, and with what is there.
#[track_caller]
pub(crate) fn shrink(host: &Host, directory: &str, options: &str) {
    let script = format!(
        "rm -rf /run/kept && mkdir /run/kept && cp -a {directory}/. /run/kept && \
         mount -t tmpfs -o {options} small {directory} && cp -a /run/kept/. {directory}"
    );
    host.shell(&script).must_succeed();
}

/// Takes all room on a directory's disk.
#[track_caller]
pub(crate) fn fill(host: &Host, directory: &str) {
    let filled = host.shell(&format!("cat /dev/zero > {directory}/filler"));
    assert!(filled.stderr.contains("No space left"), "{filled}");
}

/// Gives it back.
pub(crate) fn make_room(host: &Host, directory: &str) {
    fs::remove_file(host.path(directory).join("filler")).expect("it is there");
}

/// Whether the status says that nothing can be written down.
pub(crate) fn says_that_it_cannot_remember(status: &Value) -> bool {
    let why = status["condition"]["why"].as_str().unwrap_or_default();
    status["condition"]["state"] == "waiting" && why.contains("the ledger cannot be written")
}

/// Both copies of the ledger become something else.
pub(crate) fn corrupt(host: &Host) {
    for file in ["ledger", "ledger.previous"] {
        fs::write(host.path(&format!("{STATE}/{file}")), "rubbish").expect("it can be written");
    }
}

/// Publishes generations until the daemon could be stopped in a phase that lasts only an instant; returns the commit
/// and the stopped daemon.
#[track_caller]
pub(crate) fn stopped_in(scene: &mut Scene, phase: &'static str) -> (CommitId, Process) {
    for _ in 0..MOST_TRIES {
        let daemon = scene.daemon();
        let commit = scene.publish();
        if !Moment::Written(phase).is_seen(scene, &commit) {
            scene.deployed(&commit);
            continue;
        }
        daemon.signal(Signal::STOP);
        scene.wait_tightly("it stands still", || {
            daemon.status("State").starts_with('T')
        });
        if scene.is_in(phase) {
            return (commit, daemon);
        }
        daemon.signal(Signal::CONT);
        scene.deployed(&commit);
    }
    panic!("{phase} was over {MOST_TRIES} times before the daemon stood still");
}
