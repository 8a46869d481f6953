//! The lock that every `switch-to-configuration` holds: whether somebody does.
//!
//! In: the root directory, and until when to wait. Out: whether it is free.
//! Must not: hold it, or delete it; it is the host's, not ours.
//!
//! It is free again at once: what runs next takes it itself, and says so with
//! its exit status if somebody was faster. To look first spares the host a
//! deployment that could only fail.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::activate::LOCK_HELD;
use super::observe::below;
use super::step::{StepEnd, StepPlan, StepReport, Steps};
use crate::model::failure::{Failure, FailureCode};

/// Where it is; nobody ever removes it.
const FILE: &str = "/run/nixos/switch-to-configuration.lock";

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Waits until nobody holds the lock; fails with `lock-held` when somebody
/// still does after `patience`.
pub(crate) async fn wait(root: &Path, patience: Duration) -> Result<(), Failure> {
    if freed(root, Instant::now() + patience).await {
        return Ok(());
    }
    Err(Failure::new(
        FailureCode::LockHeld,
        format!("somebody else has held {FILE} for {patience:?}"),
        "Nothing was changed. It is tried again by itself. If nobody is switching this host, \
         `fuser -v` on the file shows who holds it; ending that frees it. Do not remove the file.",
    ))
}

/// Runs a step that ends with `switch-to-configuration`; as long as it finds
/// the lock held, waits for that and runs it again, until `patience` is over.
/// `plan` is asked anew each time: the world may have changed meanwhile.
pub(super) async fn run_when_free(
    steps: &Steps,
    root: &Path,
    plan: impl Fn() -> StepPlan,
    patience: Duration,
) -> Result<StepReport, Failure> {
    let until = Instant::now() + patience;
    loop {
        let plan = plan();
        let report = steps.run(&plan).await?;
        if report.end != StepEnd::Exited(LOCK_HELD) || Instant::now() >= until {
            return Ok(report);
        }
        info!(deployment = %plan.deployment, "the switch lock is held; waiting for it");
        // Whoever took it between our look and our step may do so again.
        sleep(INTERVAL).await;
        if !freed(root, until).await {
            return Ok(report);
        }
        // Makes room for the next run. A daemon that ends here leaves no unit,
        // and the next one begins with a new run.
        steps.release(plan.step).await;
    }
}

/// Whether it became free in time. Looked at once even if it is too late.
async fn freed(root: &Path, until: Instant) -> bool {
    loop {
        match is_free(root) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => {
                // Whatever needs it finds out by itself.
                warn!(file = FILE, %error, "the switch lock cannot be looked at");
                return true;
            }
        }
        let now = Instant::now();
        if now >= until {
            return false;
        }
        sleep_until(until.min(now + INTERVAL)).await;
    }
}

/// Whether somebody holds it, as far as that can be told.
pub(crate) fn is_held(root: &Path) -> bool {
    matches!(is_free(root), Ok(false))
}

/// Whether nobody holds it. A shared lock is refused as long as somebody has
/// the exclusive one, and is given back before this returns.
fn is_free(root: &Path) -> io::Result<bool> {
    let file = match File::open(below(root, Path::new(FILE))) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn host() -> (tempfile::TempDir, File) {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = below(root.path(), Path::new(FILE));
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        let file = File::create(path).expect("a file");
        (root, file)
    }

    #[test]
    fn a_lock_is_free_unless_somebody_holds_it() {
        let nowhere = tempfile::tempdir().expect("a temporary directory");
        assert!(is_free(nowhere.path()).expect("no file, no lock"));
        let (root, file) = host();
        assert!(is_free(root.path()).expect("a file that can be read"));
        flock(&file, FlockOperation::LockExclusive).expect("free");
        assert!(!is_free(root.path()).expect("a file that can be read"));
        drop(file);
        assert!(is_free(root.path()).expect("a file that can be read"));
    }

    #[test]
    fn looking_does_not_hold_it() {
        let (root, file) = host();
        assert!(is_free(root.path()).expect("a file that can be read"));
        flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody holds it");
    }

    #[tokio::test]
    async fn it_is_waited_for_and_given_up_in_time() {
        let (root, file) = host();
        flock(&file, FlockOperation::LockExclusive).expect("free");
        let failure = wait(root.path(), Duration::ZERO).await;
        assert_eq!(
            failure.map_err(|failure| failure.code),
            Err(FailureCode::LockHeld)
        );
        let patient = wait(root.path(), Duration::from_secs(60));
        let release = async {
            tokio::task::yield_now().await;
            drop(file);
        };
        let (waited, ()) = tokio::join!(patient, release);
        assert_eq!(waited, Ok(()));
    }
}
