//! The commits that the systems on this host were built from.
//!
//! In: the root directory. Out: their ids, where they are known. Must not:
//! fail, or run anything.
//!
//! It is what is left of the floor when the ledger is lost. A system knows its
//! commit where `system.configurationRevision` is set; the module writes it
//! into the closure's `/etc`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::observe::{self, below};
use crate::model::revision::CommitId;
use crate::model::system::Toplevel;

/// The file within a toplevel.
const FILE: &str = "etc/deploy-flake/revision";

/// An id has forty digits, or is none.
const LIMIT: u64 = 64;

/// The commits of the running, the booted and the profiled system, each once.
pub(super) fn embedded(root: &Path) -> Vec<CommitId> {
    commits_of(
        root,
        [
            observe::running(root),
            observe::booted(root),
            profiled(root),
        ],
    )
}

/// The same without the running system: it may only be tested.
pub(super) fn lasting(root: &Path) -> Vec<CommitId> {
    commits_of(root, [observe::booted(root), profiled(root)])
}

fn profiled(root: &Path) -> Option<Toplevel> {
    observe::profile(root).map(|entry| entry.toplevel)
}

fn commits_of(root: &Path, systems: impl IntoIterator<Item = Option<Toplevel>>) -> Vec<CommitId> {
    let mut commits = Vec::new();
    for system in systems.into_iter().flatten() {
        if let Some(commit) = of(root, &system)
            && !commits.contains(&commit)
        {
            commits.push(commit);
        }
    }
    commits
}

fn of(root: &Path, system: &Toplevel) -> Option<CommitId> {
    let path = below(root, Path::new(system.path().as_str())).join(FILE);
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(LIMIT).read_to_string(&mut text).ok()?;
    CommitId::try_from(text.trim().to_owned()).ok()
}
