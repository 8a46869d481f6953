//! A cgroup of our own, to end what was started in it as a whole.
//!
//! In: the delegated cgroup that this process is in. Out: children that cannot
//! escape their end. Must not: touch a cgroup that systemd manages, but to
//! kill all of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Where the unified hierarchy is, alone or beside the old ones.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Kernels before 5.14 have no `cgroup.kill`: then each process is killed, and
/// again what it started meanwhile.
const ROUNDS: u32 = 50;

/// Between two rounds.
const ROUND: Duration = Duration::from_millis(20);

/// A cgroup, by its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// The cgroup that systemd calls so, as `/system.slice/a.service`; None if
    /// there is none.
    pub fn named(name: &str) -> Option<Self> {
        let relative = Path::new(name).strip_prefix("/").ok()?;
        // The root cgroup is everybody's.
        if relative.as_os_str().is_empty() {
            return None;
        }
        let found = MOUNTS.iter().map(|mount| Path::new(mount).join(relative));
        found
            .into_iter()
            .find(|directory| directory.join("cgroup.procs").exists())
            .map(Self)
    }

    /// The cgroup that this process is in.
    pub fn own() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::named(unified(&text)?)
    }

    /// A cgroup below this one, made if need be.
    ///
    /// # Errors
    /// This one was not delegated to us.
    pub fn below(&self, name: &str) -> io::Result<Self> {
        let directory = self.0.join(name);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _made_or_there => Ok(Self(directory)),
        }
    }

    /// Moves this process there; what it starts from now on begins there.
    ///
    /// # Errors
    /// It was not delegated to us.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), "0")
    }

    /// Kills everything in it and below it, and waits a moment for the end.
    /// Whether nothing is left.
    pub fn kill(&self) -> bool {
        for _round in 0..ROUNDS {
            if self.is_empty() {
                return true;
            }
            if fs::write(self.0.join("cgroup.kill"), "1").is_err() {
                kill_each(&self.0);
            }
            sleep(ROUND);
        }
        self.is_empty()
    }

    /// Whether no process is in it or below it; one that is gone is empty.
    pub fn is_empty(&self) -> bool {
        match fs::read_to_string(self.0.join("cgroup.events")) {
            Ok(events) => !events.lines().any(|line| line == "populated 1"),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// The unified hierarchy's line in `/proc/self/cgroup`.
fn unified(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

fn kill_each(directory: &Path) {
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let ids = processes.lines().filter_map(|line| line.parse().ok());
    for process in ids.filter_map(Pid::from_raw) {
        // One that is gone already is what is wanted.
        let _ = kill_process(process, Signal::KILL);
    }
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_each(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_line_is_found_among_the_others() {
        let text = "12:cpu:/x\n1:name=systemd:/y\n0::/system.slice/a.service\n";
        assert_eq!(unified(text), Some("/system.slice/a.service"));
        assert_eq!(unified("12:cpu:/x\n"), None);
    }

    #[test]
    fn neither_the_root_nor_what_is_not_there_is_a_cgroup_to_kill() {
        for name in ["/", "", "relative", "/deploy-flake-there-is-none.service"] {
            assert_eq!(Cgroup::named(name), None, "{name}");
        }
    }

    #[test]
    fn a_cgroup_that_is_gone_is_empty() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cgroup = Cgroup(directory.path().join("gone"));
        assert!(cgroup.is_empty());
        assert!(cgroup.kill());
    }
}
