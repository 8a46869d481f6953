//! How long whoever waits puts up with what should not last.
//!
//! In: the clock and the daemon's lock. Out: whether it has lasted too long. Must
//! not: wait.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;

use super::ask::HINT_NOT_RUNNING;
use super::exit::Exit;
use super::failure::Failure;
use crate::config::duration;
use crate::host::clock;
use crate::store::lock;

/// How long a daemon may be gone: it is restarted after a second, and takes
/// up a deployment before it answers.
const ABSENCE: Duration = Duration::from_secs(30);

/// How long the branch has to show the expected commit: mirrors of a forge lag.
const EXPECT_PATIENCE: Duration = Duration::from_secs(30);

/// How often lines tell people how far a build is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// When people were last told what changes all the time.
#[derive(Debug, Default)]
pub(super) struct Sparing {
    since_boot: Option<Duration>,
}

impl Sparing {
    /// Whether they may be told again now; then they are.
    pub(super) fn is_due(&mut self) -> bool {
        let now = clock::now().since_boot;
        let is_due = self
            .since_boot
            .is_none_or(|last| now.saturating_sub(last) >= PROGRESS_INTERVAL);
        if is_due {
            self.since_boot = Some(now);
        }
        is_due
    }
}

/// Since when no daemon lives.
#[derive(Default)]
pub(super) struct Absence {
    since_boot: Option<Duration>,
}

impl Absence {
    /// Fails once no daemon has lived for too long.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        // A lock that cannot be looked at says nothing against the daemon.
        if lock::is_held(Path::new(lock::FILE)).unwrap_or(true) {
            self.since_boot = None;
            return Ok(());
        }
        let now = clock::now().since_boot;
        let since = *self.since_boot.get_or_insert(now);
        if now.saturating_sub(since) < ABSENCE {
            return Ok(());
        }
        let error = anyhow!(
            "the daemon stopped and did not come back within {}",
            duration::show(ABSENCE)
        );
        Err(Failure::new(Exit::NotRunning, error).hint(HINT_NOT_RUNNING))
    }
}

/// How long a branch has asked for another commit than the expected one.
#[derive(Default)]
pub(super) struct Patience {
    since_boot: Option<Duration>,
}

impl Patience {
    /// Whether it begins now.
    pub(super) fn is_new(&mut self) -> bool {
        let now = clock::now().since_boot;
        self.since_boot
            .replace(self.since_boot.unwrap_or(now))
            .is_none()
    }

    pub(super) fn is_over(&self) -> bool {
        let now = clock::now().since_boot;
        let since = self.since_boot;
        since.is_some_and(|since| now.saturating_sub(since) >= EXPECT_PATIENCE)
    }
}
