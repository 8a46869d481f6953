//! A process of a host, in the hands of the machine.
//!
//! In: its id inside the host. Out: signals to it, and what the machine's /proc has of it. No command inside the host
//! is needed for that, so a moment is not missed.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::dying_host::SOON;
use crate::testbed::host::Host;
use crate::testbed::world::wait_until;

/// A process of a host; it stays the same one even if its id is used again.
pub(crate) struct Process {
    handle: OwnedFd,
    id: u32,
    /// Its id inside the host.
    pub(crate) inside: u32,
}

impl Process {
    /// Finds the process that has this id inside the host.
    #[track_caller]
    pub(crate) fn of(host: &Host, inside: impl AsRef<str>) -> Self {
        let inside: u32 = inside.as_ref().parse().expect("an id is a number");
        let root = host.path("/");
        let namespace = pid_namespace(root.parent().expect("it is /proc/ID/root"));
        let id = processes()
            .filter(|id| innermost_id(*id) == Some(inside))
            .find(|id| pid_namespace(&Path::new("/proc").join(id.to_string())) == namespace)
            .unwrap_or_else(|| panic!("no process {inside} on the host"));
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        let handle = pidfd_open(pid.expect("a process has an id"), PidfdFlags::empty());
        Self {
            handle: handle.expect("the process lives"),
            id,
            inside,
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.handle, signal).expect("the process lives");
    }

    /// Kills it and waits until it is gone.
    #[track_caller]
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
        wait_until("the killed process is gone", SOON, || !self.lives());
    }

    /// Kills it, if nobody else has, and waits until it is gone.
    #[track_caller]
    pub(crate) fn finish_off(&self) {
        // It may be gone already.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
        wait_until("the killed process is gone", SOON, || !self.lives());
    }

    /// Whether it is more than a zombie.
    pub(crate) fn lives(&self) -> bool {
        let stat = fs::read_to_string(self.directory().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, fields)| fields.trim_start());
        // Of a zombie only the exit status is left.
        state.is_some_and(|state| !state.starts_with(['Z', 'X']))
    }

    /// What the machine's /proc has of it.
    pub(crate) fn directory(&self) -> PathBuf {
        Path::new("/proc").join(self.id.to_string())
    }

    /// A field of its status.
    pub(crate) fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(self.directory().join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn innermost_id(id: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let ids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().last()?.parse().ok()
}

fn pid_namespace(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/pid")).ok()
}
