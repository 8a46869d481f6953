//! The one verdict between daemon and guardian.
//!
//! In: a deployment's id and what was decided. Out: whose decision stands.
//! Must not: change its mind, except where the daemon takes its own verdict
//! back; need anything but the file system.
//!
//! A symbolic link, created in one atomic call, its target the verdict: there
//! is no instant at which it exists and says nothing.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::model::deployment::DeploymentId;
use crate::model::rollback::Verdict;

/// Where tokens are; root's alone.
pub const DIRECTORY: &str = "/run/deploy-flake/private";

/// Writes the verdict unless there is one; returns the one that stands.
///
/// # Errors
/// The directory cannot be written, or the link cannot be read.
pub fn claim(id: &DeploymentId, verdict: Verdict) -> io::Result<Verdict> {
    claim_in(Path::new(DIRECTORY), id, verdict)
}

/// The verdict that stands, if there is one.
pub fn read(id: &DeploymentId) -> Option<Verdict> {
    read_in(Path::new(DIRECTORY), id).ok().flatten()
}

/// Takes the daemon's own `commit` back: the way back begins after all.
/// Nobody else may call this, and the daemon only once it has begun to undo.
///
/// # Errors
/// The directory cannot be written.
pub fn revoke(id: &DeploymentId) -> io::Result<()> {
    revoke_in(Path::new(DIRECTORY), id)
}

/// Removes the token of a deployment that is over.
pub fn remove(id: &DeploymentId) -> io::Result<()> {
    unless_missing(fs::remove_file(path(Path::new(DIRECTORY), id)))
}

fn claim_in(directory: &Path, id: &DeploymentId, verdict: Verdict) -> io::Result<Verdict> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    match symlink(target(id, verdict), path(directory, id)) {
        Ok(()) => Ok(verdict),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read_in(directory, id)?.ok_or_else(|| io::Error::from(ErrorKind::InvalidData))
        }
        Err(error) => Err(error),
    }
}

fn read_in(directory: &Path, id: &DeploymentId) -> io::Result<Option<Verdict>> {
    let target_found = match fs::read_link(path(directory, id)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let verdicts = [Verdict::Commit, Verdict::RollBack];
    let found = verdicts
        .into_iter()
        .find(|verdict| target_found == Path::new(&target(id, *verdict)));
    Ok(found)
}

fn revoke_in(directory: &Path, id: &DeploymentId) -> io::Result<()> {
    let new = directory.join(format!("token.{id}.new"));
    unless_missing(fs::remove_file(&new))?;
    symlink(target(id, Verdict::RollBack), &new)?;
    // Over the old one in one step: there is a verdict at every instant.
    fs::rename(new, path(directory, id))
}

fn path(directory: &Path, id: &DeploymentId) -> PathBuf {
    directory.join(format!("token.{id}"))
}

fn target(id: &DeploymentId, verdict: Verdict) -> String {
    match verdict {
        Verdict::Commit => format!("commit:{id}"),
        Verdict::RollBack => format!("rollback:{id}"),
    }
}

fn unless_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> DeploymentId {
        DeploymentId("0123456789abcdef".to_owned())
    }

    #[test]
    fn whoever_comes_second_obeys() {
        for (first, second) in [
            (Verdict::Commit, Verdict::RollBack),
            (Verdict::RollBack, Verdict::Commit),
            (Verdict::Commit, Verdict::Commit),
        ] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let claim = |verdict| claim_in(directory.path(), &id(), verdict).expect("writable");
            assert_eq!(claim(first), first);
            assert_eq!(claim(second), first);
            let read = read_in(directory.path(), &id()).expect("readable");
            assert_eq!(read, Some(first));
        }
    }

    #[test]
    fn a_verdict_about_one_deployment_is_none_about_another() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let other = DeploymentId("fedcba9876543210".to_owned());
        claim_in(directory.path(), &other, Verdict::Commit).expect("writable");
        let read = read_in(directory.path(), &id()).expect("readable");
        assert_eq!(read, None);
    }

    #[test]
    fn the_daemon_takes_its_own_verdict_back() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        claim_in(directory.path(), &id(), Verdict::Commit).expect("writable");
        revoke_in(directory.path(), &id()).expect("writable");
        let read = read_in(directory.path(), &id()).expect("readable");
        assert_eq!(read, Some(Verdict::RollBack));
    }
}
