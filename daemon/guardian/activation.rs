//! Making room: the activation that went wrong is ended, and the lock of
//! `switch-to-configuration` becomes free.
//!
//! In: nothing. Out: whether the lock is free. Must not: delete the lock, or
//! end a switch that is not ours.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::say::say;
use super::systemctl::Systemctl;
use crate::host::cgroup::Cgroup;
use crate::host::clock;
use crate::model::stage::UnitStep;

/// What every `switch-to-configuration` holds while it runs.
const LOCK: &str = "/run/nixos/switch-to-configuration.lock";

/// How often the lock is tried.
const POLL: Duration = Duration::from_millis(200);

/// Ends the activation with everything that it has started, if it still runs.
pub(super) fn end(systemctl: &Systemctl) {
    let unit = UnitStep::Test.unit();
    // The usual place first: PID 1 need not answer for this.
    let usual = format!("/system.slice/{unit}");
    let found = Cgroup::named(&usual).or_else(|| {
        let shown = systemctl.show(&[&unit])?;
        Cgroup::named(&shown.first()?.control_group)
    });
    let Some(cgroup) = found.filter(|cgroup| !cgroup.is_empty()) else {
        return;
    };
    say("the activation still runs and is ended");
    if !cgroup.kill() {
        say("not everything of the activation could be ended");
    }
}

/// Waits until nobody holds the switch lock, and does not keep it.
pub(super) fn wait_for_lock(limit: Duration) -> bool {
    let is_free = wait_for(Path::new(LOCK), limit);
    if !is_free {
        say(&format!("somebody still holds {LOCK}"));
    }
    is_free
}

fn wait_for(lock: &Path, limit: Duration) -> bool {
    let give_up_at = clock::awake() + limit;
    loop {
        if is_free(lock) {
            return true;
        }
        if clock::awake() >= give_up_at {
            return false;
        }
        sleep(POLL);
    }
}

fn is_free(lock: &Path) -> bool {
    match File::open(lock) {
        // Dropping the file lets go of the lock.
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_free_when_nobody_holds_it_and_is_not_kept() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("lock");
        assert!(wait_for(&path, Duration::ZERO), "there is none");
        let holder = File::create(&path).expect("writable");
        flock(&holder, FlockOperation::LockExclusive).expect("nobody holds it");
        assert!(!wait_for(&path, Duration::ZERO), "somebody holds it");
        drop(holder);
        assert!(wait_for(&path, Duration::ZERO));
        assert!(wait_for(&path, Duration::ZERO), "it was not kept");
        assert!(path.exists());
    }
}
