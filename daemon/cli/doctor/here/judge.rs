//! What the answers mean: well, a warning, or a failure with its remedy.
//!
//! In: answers. Out: a [`Check`] for each. Must not: ask anybody.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::Check;
use crate::cli::past::amounts::{bytes, count};
use crate::cli::text::relative;
use crate::config::{Config, ConfigError, Warning};
use crate::ipc::client::CallError;
use crate::model::failure::Failure;
use crate::model::system::{DefaultEntry, Toplevel};
use crate::report::words;
use crate::store::snapshot::{
    ConditionState, PhaseName, PlaceName, ReadError, RebootName, Remote, Snapshot,
};

/// How late a look may be before the daemon is said to hang: as `status` has it
/// while one is going on.
const GRACE: SignedDuration = SignedDuration::from_mins(15);

/// With less than this, ledger and history cannot be counted on, in bytes.
const LITTLE_ROOM: u64 = 64 * 1024 * 1024;

/// With less than this, they cannot be written, in bytes.
const NO_ROOM: u64 = 1024 * 1024;

/// With fewer files than this, a file system is as good as full.
const FEW_FILES: u64 = 1000;

/// What starts the daemon, and tells why it ended.
const START: &str = "`systemctl start deploy-flake`; why it ended: `journalctl -u deploy-flake`.";

pub(super) fn configuration(
    file: &str,
    loaded: &Result<(Config, Vec<Warning>), ConfigError>,
) -> Check {
    const CHECK: &str = "configuration";
    match loaded {
        Ok((_, warnings)) if warnings.is_empty() => {
            Check::pass(CHECK, format!("{file} is correct"))
        }
        Ok((_, warnings)) => Check::warn(
            CHECK,
            warnings[0].to_string(),
            format!(
                "`deploy-flake check-config` tells {}.",
                count(warnings.len(), "warning")
            ),
        ),
        Err(error) => Check::fail(CHECK, first_line(&error.to_string()), error.hint()),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

pub(super) fn daemon(
    is_held: Option<bool>,
    known: &Result<Snapshot, ReadError>,
    now: Timestamp,
) -> Check {
    const CHECK: &str = "daemon";
    match (is_held, known) {
        (Some(false), _) => Check::fail(CHECK, "it does not run", START),
        (_, Err(error @ ReadError::Missing(_))) => Check::fail(CHECK, error.to_string(), START),
        (_, Err(error)) => Check::fail(
            CHECK,
            error.to_string(),
            "`systemctl restart deploy-flake`, which writes it anew; steps that run go on.",
        ),
        (_, Ok(snapshot)) if is_overdue(snapshot, now) => Check::fail(
            CHECK,
            "it runs, and its next look is long past",
            "`systemctl restart deploy-flake`; steps that run go on.",
        ),
        (Some(true), Ok(snapshot)) => {
            let started = relative(snapshot.daemon.started_at, now);
            Check::pass(CHECK, format!("it runs, started {started}"))
        }
        (None, Ok(_)) => Check::warn(CHECK, "whether it runs is not known", "Run this as root."),
    }
}

fn is_overdue(snapshot: &Snapshot, now: Timestamp) -> bool {
    let mut next = snapshot
        .all_remotes()
        .iter()
        .filter_map(|it| it.next_look_at);
    snapshot.phase.name == PhaseName::Resting && next.any(|at| now.duration_since(at) > GRACE)
}

/// Whether the host is what its remote asks for.
pub(super) fn condition(snapshot: &Snapshot) -> Check {
    const CHECK: &str = "host";
    let condition = &snapshot.condition;
    let message = format!("{}: {}", words::headline(snapshot), condition.why);
    let remedy = condition.remedy.clone();
    let remedy = remedy.unwrap_or_else(|| "`deploy-flake status` tells more.".to_owned());
    if snapshot.needs_human() || snapshot.reboot == RebootName::Unsafe {
        return Check::fail(CHECK, message, remedy);
    }
    match condition.state {
        ConditionState::Starting
        | ConditionState::Converged
        | ConditionState::Testing
        | ConditionState::Deploying => Check::pass(CHECK, message),
        ConditionState::Waiting
        | ConditionState::Drifted
        | ConditionState::Refused
        | ConditionState::Failed
        | ConditionState::RolledBack
        | ConditionState::Retrying
        | ConditionState::RebootRequired
        | ConditionState::Paused
        | ConditionState::Holding
        | ConditionState::RemoteUnreachable => Check::warn(CHECK, message, remedy),
    }
}

/// Each remote, as the daemon saw it last: a host that follows another one only
/// lacks a way.
pub(super) fn remotes(snapshot: &Snapshot) -> Vec<Check> {
    const CHECK: &str = "remote";
    let all = snapshot.all_remotes();
    let is_followed = all.iter().any(|it| it.place == PlaceName::Followed);
    let check = |remote: &Remote| {
        let url = &remote.url;
        match (&remote.last_error, remote.last_answer_at) {
            (Some(error), _) => {
                let message = format!("{url}: {}: {}", error.code.as_str(), error.message);
                let remedy = "Correct what it says, then `deploy-flake trigger --wait`; \
                              docs/failures.md has the code.";
                if is_followed {
                    Check::warn(CHECK, message, remedy)
                } else {
                    Check::fail(CHECK, message, remedy)
                }
            }
            (None, Some(_)) => Check::pass(CHECK, format!("{url} answered the last time")),
            (None, None) => Check::warn(
                CHECK,
                format!("{url} was not asked yet by the daemon that runs"),
                "Look again in a moment, or `deploy-flake trigger --wait`.",
            ),
        }
    };
    all.iter().map(check).collect()
}

pub(super) fn bus(present: Result<bool, CallError>) -> Check {
    const CHECK: &str = "bus";
    match present {
        Ok(true) => Check::pass(CHECK, "the daemon is to be found on the system bus"),
        Ok(false) => Check::fail(
            CHECK,
            "the bus answers, and nobody owns the daemon's name",
            "If the daemon runs: `systemctl reload dbus`, then `systemctl restart deploy-flake`.",
        ),
        Err(error) => Check::fail(
            CHECK,
            format!("{:#}", anyhow::Error::new(error)),
            "`systemctl status dbus.socket dbus.service`.",
        ),
    }
}

pub(super) fn nix(asked: Result<(), String>) -> Check {
    const CHECK: &str = "nix";
    match asked {
        Ok(()) => Check::pass(CHECK, "the Nix daemon answers and knows the running system"),
        Err(why) => Check::fail(
            CHECK,
            format!("the Nix daemon was asked in vain: {}", first_line(&why)),
            "`systemctl status nix-daemon.socket nix-daemon.service`.",
        ),
    }
}

pub(super) fn store(room: &Result<(), Failure>) -> Check {
    const CHECK: &str = "store";
    match room {
        Ok(()) => Check::pass(CHECK, "there is room for a build"),
        Err(failure) => Check::fail(CHECK, failure.message.clone(), failure.hint.clone()),
    }
}

/// What a file system says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) path: PathBuf,
    /// In bytes, for everybody.
    pub(super) free: u64,
    /// How many more files it takes, if it counts them.
    pub(super) files: Option<u64>,
    pub(super) is_read_only: bool,
}

pub(super) fn disk(disk: &Disk) -> Check {
    const CHECK: &str = "disk";
    let path = disk.path.display();
    let make_room = format!("Make room on the file system of {path}.");
    let is_short_of_files = disk.files.is_some_and(|files| files < FEW_FILES);
    if disk.is_read_only {
        let remedy = format!("See why in the kernel's log, then remount {path} for writing.");
        return Check::fail(CHECK, format!("{path} is mounted read-only"), remedy);
    }
    let free = format!("{path} has {} free", bytes(disk.free));
    if disk.free < NO_ROOM {
        Check::fail(CHECK, free, make_room)
    } else if is_short_of_files {
        let message = format!("{path} takes hardly any more files");
        Check::fail(CHECK, message, make_room)
    } else if disk.free < LITTLE_ROOM {
        Check::warn(CHECK, free, make_room)
    } else {
        Check::pass(CHECK, free)
    }
}

/// A wrong clock fails certificates and signatures.
pub(super) fn clock(synchronised: Result<bool, String>) -> Check {
    const CHECK: &str = "clock";
    match synchronised {
        Ok(true) => Check::pass(CHECK, "it is synchronised"),
        Ok(false) => Check::warn(
            CHECK,
            "it is not synchronised: certificates and signatures are judged by it",
            "Enable a time service, such as services.timesyncd.enable; `timedatectl` tells more.",
        ),
        Err(why) => Check::warn(
            CHECK,
            format!(
                "whether it is synchronised is not known: {}",
                first_line(&why)
            ),
            "`timedatectl` tells more.",
        ),
    }
}

pub(super) fn boot_loader(
    entry: &DefaultEntry,
    running: Option<&Toplevel>,
    is_root: bool,
) -> Check {
    const CHECK: &str = "boot loader";
    match entry {
        DefaultEntry::Toplevel(toplevel) if Some(toplevel) == running => {
            Check::pass(CHECK, "its default entry is what runs")
        }
        DefaultEntry::Toplevel(toplevel) => {
            Check::pass(CHECK, format!("its default entry starts {toplevel}"))
        }
        DefaultEntry::Unchecked => {
            Check::pass(CHECK, "it is not looked at, as the configuration has it")
        }
        DefaultEntry::Unreadable(why) if is_root => Check::fail(
            CHECK,
            format!("its default entry cannot be read: {why}"),
            "Nothing is activated before it can be: mount it, or set boot_loader in the \
             configuration (docs/configuration.md).",
        ),
        DefaultEntry::Unreadable(why) => Check::warn(
            CHECK,
            format!("its default entry cannot be read: {why}"),
            "Run this as root.",
        ),
    }
}

pub(super) fn state_directory(path: &str, metadata: Result<&Metadata, &io::Error>) -> Check {
    const CHECK: &str = "state";
    /// Write permission of group and others.
    const WRITABLE: u32 = 0o022;
    match metadata {
        Ok(it) if !it.is_dir() => Check::fail(
            CHECK,
            format!("{path} is no directory"),
            "Remove what is there.",
        ),
        Ok(it) if it.uid() != 0 || it.mode() & WRITABLE != 0 => Check::fail(
            CHECK,
            format!("others than root can write to {path}"),
            format!("`chown root {path}` and `chmod 711 {path}`; see who did it."),
        ),
        Ok(_) => Check::pass(CHECK, format!("{path} is root's")),
        Err(error) => Check::fail(CHECK, format!("{path}: {error}"), START),
    }
}

pub(super) fn history(kept: Result<usize, &io::Error>, unreadable: usize) -> Check {
    const CHECK: &str = "history";
    match kept {
        Ok(kept) if unreadable > 0 => Check::warn(
            CHECK,
            format!(
                "{} of {} cannot be read",
                unreadable,
                count(kept, "deployment")
            ),
            "`deploy-flake history` names the files; nothing depends on them.",
        ),
        Ok(kept) => Check::pass(CHECK, format!("{} kept", count(kept, "deployment"))),
        Err(error) => Check::warn(
            CHECK,
            format!("it cannot be listed: {error}"),
            "Run this as root.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::model::failure::FailureCode;
    use crate::store::snapshot::example::full;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("it is a time")
    }

    #[test]
    fn a_daemon_is_well_while_it_lives_and_looks() {
        let now = at("2026-11-22T12:10:00Z");
        let known = || Ok(full());
        assert_eq!(daemon(Some(true), &known(), now).state, State::Pass);
        assert_eq!(daemon(None, &known(), now).state, State::Warn);
        assert_eq!(daemon(Some(false), &known(), now).state, State::Fail);
        let missing = Err(ReadError::Missing("x".into()));
        assert_eq!(daemon(Some(true), &missing, now).state, State::Fail);
        let late = daemon(Some(true), &known(), at("2026-11-22T12:15:01Z"));
        assert_eq!(late.state, State::Fail);
        assert!(late.message.contains("long past"), "{late:?}");
    }

    #[test]
    fn a_remote_that_fails_is_a_failure_only_where_it_is_the_only_one() {
        let mut snapshot = full();
        assert_eq!(remotes(&snapshot)[0].state, State::Fail);
        let mut other = snapshot.remotes[0].clone();
        other.last_error = None;
        other.place = PlaceName::Followed;
        snapshot.remotes.push(other);
        let states: Vec<State> = remotes(&snapshot).iter().map(|it| it.state).collect();
        assert_eq!(states, [State::Warn, State::Pass]);
    }

    #[test]
    fn a_host_that_needs_a_human_fails_and_one_that_waits_warns() {
        let mut snapshot = full();
        assert_eq!(condition(&snapshot).state, State::Pass);
        snapshot.condition.state = ConditionState::RolledBack;
        assert_eq!(condition(&snapshot).state, State::Warn);
        snapshot.reboot = RebootName::Unsafe;
        assert_eq!(condition(&snapshot).state, State::Fail);
    }

    #[test]
    fn disks_are_judged_by_room_files_and_whether_they_can_be_written() {
        let with = |free, files, is_read_only| {
            let path = PathBuf::from("/var/lib/deploy-flake");
            disk(&Disk {
                path,
                free,
                files,
                is_read_only,
            })
            .state
        };
        for (free, files, is_read_only, state) in [
            (1 << 30, None, false, State::Pass),
            (1 << 30, Some(5000), false, State::Pass),
            (1 << 30, Some(5), false, State::Fail),
            (1 << 22, None, false, State::Warn),
            (1 << 10, Some(5000), false, State::Fail),
            (1 << 30, None, true, State::Fail),
        ] {
            assert_eq!(with(free, files, is_read_only), state, "{free} {files:?}");
        }
    }

    #[test]
    fn everything_that_is_not_well_has_a_remedy() {
        let room = Failure::new(FailureCode::DiskFull, "no room", "make some");
        let unreadable = DefaultEntry::Unreadable("/boot is not mounted".to_owned());
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        for (check, state) in [
            (bus(Ok(false)), State::Fail),
            (bus(Err(CallError::Silent)), State::Fail),
            (nix(Err("no daemon\nand more".to_owned())), State::Fail),
            (store(&Err(room)), State::Fail),
            (clock(Ok(false)), State::Warn),
            (clock(Err("no timedatectl".to_owned())), State::Warn),
            (boot_loader(&unreadable, None, true), State::Fail),
            (boot_loader(&unreadable, None, false), State::Warn),
            (state_directory("/x", Err(&denied)), State::Fail),
            (history(Ok(3), 1), State::Warn),
            (history(Err(&denied), 0), State::Warn),
        ] {
            assert_eq!(check.state, state, "{check:?}");
            assert!(
                check.remedy.is_some_and(|remedy| !remedy.is_empty()),
                "{}",
                check.message
            );
            assert!(!check.message.contains('\n'), "{}", check.message);
        }
        for check in [
            bus(Ok(true)),
            nix(Ok(())),
            store(&Ok(())),
            clock(Ok(true)),
            boot_loader(&DefaultEntry::Unchecked, None, false),
            history(Ok(3), 0),
        ] {
            assert_eq!(
                (check.state, check.remedy),
                (State::Pass, None),
                "{}",
                check.message
            );
        }
    }

    #[test]
    fn a_state_directory_that_others_can_write_to_fails() {
        let directory = tempfile::tempdir().expect("a directory");
        let metadata = std::fs::metadata(directory.path()).expect("it is there");
        let own = metadata.uid() == 0;
        let found = state_directory("/x", Ok(&metadata)).state;
        assert_eq!(found, if own { State::Pass } else { State::Fail });
        let file = tempfile::NamedTempFile::new().expect("a file");
        let metadata = file.as_file().metadata().expect("it is there");
        assert_eq!(state_directory("/x", Ok(&metadata)).state, State::Fail);
    }
}
