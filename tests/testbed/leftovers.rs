//! The record of what a world has made on the machine, by which it is taken down.
//!
//! In: names of namespaces and containers, ids of processes (with their start times, for ids are used again), a directory. Out: all
//! of it gone. Only what is recorded is touched, never what merely looks like ours.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Once;

use super::{cache, cgroup, child};

/// What one world has on the machine.
pub(crate) struct Record {
    directory: PathBuf,
}

impl Record {
    /// Opens a record in a directory of its own; this process owns it.
    pub(crate) fn open(name: &str) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(remove_those_of_killed_runs);
        let owner = process_identity(std::process::id()).expect("we are running");
        Self::owned_by(&owner, name)
    }

    /// Opens a record that a process (its id and start time) owns.
    pub(crate) fn owned_by(owner: &str, name: &str) -> Self {
        let part = runs().join(format!("{name}.part"));
        fs::create_dir_all(&part).expect("the cache can be written");
        Self {
            directory: part.clone(),
        }
        .add("owner", owner);
        let directory = runs().join(name);
        // Another run may look at any time: a record without an owner would be taken for a dead one's.
        fs::rename(part, &directory).expect("the cache can be written");
        Self { directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn add_namespace(&self, name: &str) {
        self.add("namespace", name);
    }

    pub(crate) fn add_container(&self, name: &str) {
        self.add("container", name);
    }

    pub(crate) fn add_process(&self, id: u32) {
        if let Some(identity) = process_identity(id) {
            self.add("process", &identity);
        }
    }

    fn add(&self, kind: &str, what: &str) {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join("record"))
            .and_then(|mut file| writeln!(file, "{kind} {what}"))
            .expect("the record can be written");
    }

    /// Takes everything down: processes first, for they hold the rest.
    pub(crate) fn take_down(&self) {
        let record = fs::read_to_string(self.directory.join("record")).unwrap_or_default();
        let of_kind = |kind: &'static str| {
            let entries = record.lines().filter_map(|line| line.split_once(' '));
            entries
                .filter(move |(own, _)| *own == kind)
                .map(|(_, what)| what)
        };
        of_kind("process").for_each(kill);
        of_kind("container").for_each(remove_container);
        unmount_below(&self.directory);
        for namespace in of_kind("namespace") {
            child::attempt("ip", &["netns", "delete", namespace]);
        }
        // What cannot be removed now is still recorded, so the next run tries again.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn runs() -> PathBuf {
    cache::directory().join("run")
}

/// Takes down the worlds whose processes are gone.
pub(crate) fn remove_those_of_killed_runs() {
    for entry in fs::read_dir(runs()).into_iter().flatten().flatten() {
        let record = Record {
            directory: entry.path(),
        };
        let finished = record
            .directory
            .extension()
            .is_none_or(|ending| ending != "part");
        if finished && !record.owner_lives() {
            record.take_down();
        }
    }
}

impl Record {
    fn owner_lives(&self) -> bool {
        let record = fs::read_to_string(self.directory.join("record")).unwrap_or_default();
        let owner = record.lines().find_map(|line| line.strip_prefix("owner "));
        owner.is_some_and(is_running)
    }
}

/// A process id and when it started, which together name one process for good.
fn process_identity(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold spaces; after it come the state and, as the 20th field, the start time.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // A zombie runs no more; it is only not waited for yet.
    if fields.next()? == "Z" {
        return None;
    }
    let started = fields.nth(18)?;
    Some(format!("{id} {started}"))
}

fn is_running(identity: &str) -> bool {
    let id = identity.split(' ').next().and_then(|id| id.parse().ok());
    id.and_then(process_identity)
        .is_some_and(|now| now == identity)
}

fn kill(identity: &str) {
    if let (true, Some((id, _))) = (is_running(identity), identity.split_once(' ')) {
        child::attempt("kill", &["-KILL", id]);
    }
}

/// Removes what a container has on the machine beside its mounts: its control group, and directories that nspawn
/// leaves where `/run` is not a tmpfs.
pub(crate) fn remove_container(name: &str) {
    cgroup::remove(name);
    for kind in ["propagate", "unix-export"] {
        // Not every version of nspawn makes both.
        let _ = fs::remove_dir(Path::new("/run/systemd/nspawn").join(kind).join(name));
    }
}

/// Unmounts everything at or below a directory, the last mounted first.
pub(crate) fn unmount_below(directory: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let below: Vec<&str> = points
        .filter(|point| Path::new(point).starts_with(directory))
        .collect();
    for point in below.iter().rev() {
        child::attempt("umount", &["--lazy", point]);
    }
}
