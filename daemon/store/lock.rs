//! The lock that says "a daemon lives": `/run/deploy-flake/daemon.lock`.
//!
//! In: the lock's path. Out: for the daemon, being alone; for `status`,
//! whether one lives, without asking it. Must not: be trusted with more; who
//! may own the name on the bus decides who is the daemon.
//!
//! The kernel drops the lock with the process, however it ends, so it never
//! has to be cleaned up, and a pid that was given to somebody else cannot lie.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Where the lock is.
pub const FILE: &str = "/run/deploy-flake/daemon.lock";

/// Everybody may look whether it is held.
const MODE: u32 = 0o644;

/// The lock, held until this is dropped.
#[derive(Debug)]
pub struct DaemonLock {
    _file: File,
}

/// Why the lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon lives.
    #[error("another daemon holds {path}", path = .0.display())]
    Held(PathBuf),
    /// The file could not be opened or locked.
    #[error("lock {path}", path = .path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl DaemonLock {
    /// Takes the lock, or says that another daemon has it.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Failed {
            path: path.to_owned(),
            source,
        };
        let file = open(path).map_err(failed)?;
        if try_lock(&file, Access::Exclusive).map_err(failed)? {
            return Ok(Self { _file: file });
        }
        if !try_lock(&file, Access::Shared).map_err(failed)? {
            return Err(LockError::Held(path.to_owned()));
        }
        // Only readers are in the way. The file is world-readable, so any user
        // could sit on it for ever: they may keep that file, and the daemon
        // makes a new one, locked before it gets the name.
        let replacement = path.with_extension("lock.new");
        match fs::remove_file(&replacement) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let file = open(&replacement).map_err(failed)?;
        if !try_lock(&file, Access::Exclusive).map_err(failed)? {
            return Err(LockError::Held(replacement));
        }
        fs::rename(&replacement, path).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Whether a daemon lives. A file that is not there is held by nobody.
pub fn is_held(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Closing the file gives a shared lock back at once.
    Ok(!try_lock(&file, Access::Shared)?)
}

/// How the lock is tried.
#[derive(Clone, Copy)]
enum Access {
    /// By the one daemon.
    Exclusive,
    /// By whoever looks.
    Shared,
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)?;
    // `mode` was cut by the umask.
    if file.metadata()?.mode() & 0o777 != MODE {
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE))?;
    }
    Ok(file)
}

/// Whether the lock was to be had; never waits.
fn try_lock(file: &File, access: Access) -> io::Result<bool> {
    let operation = match access {
        Access::Exclusive => FlockOperation::NonBlockingLockExclusive,
        Access::Shared => FlockOperation::NonBlockingLockShared,
    };
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_says_whether_a_daemon_lives() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("daemon.lock");
        let held = || is_held(&path).expect("it can be looked at");
        assert!(!held(), "before the first daemon");
        let lock = DaemonLock::acquire(&path).expect("nobody has it");
        assert!(held(), "while it lives");
        assert!(held(), "looking does not take it away");
        let second = DaemonLock::acquire(&path);
        assert!(matches!(second, Err(LockError::Held(_))), "{second:?}");
        drop(lock);
        assert!(!held(), "after its death");
    }

    #[test]
    fn a_reader_that_sits_on_the_lock_does_not_keep_the_daemon_away() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("daemon.lock");
        drop(DaemonLock::acquire(&path).expect("nobody has it"));
        let sitter = File::open(&path).expect("everybody may read it");
        assert!(try_lock(&sitter, Access::Shared).expect("it can be locked"));
        let lock = DaemonLock::acquire(&path).expect("readers are no daemon");
        assert!(is_held(&path).expect("it can be looked at"));
        drop(lock);
        drop(DaemonLock::acquire(&path).expect("nobody has it"));
    }
}
