//! What one exchange with a remote has brought, and how long it was waited for.
//!
//! In: bytes and waits, told by whoever reads; the time, asked by whoever
//! watches. Out: whether to go on. Must not: end anything itself.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::fetcher::limits::Limits;
use crate::host::clock;

/// The meter of one exchange, shared by the thread that reads and the one that
/// watches. All times are those of [`clock::awake`]: nobody sends to a host
/// that is suspended.
pub(super) struct Meter {
    limits: Limits,
    /// Tells gix to stop, wherever it is.
    pub(super) is_given_up: AtomicBool,
    pace: Mutex<Pace>,
}

/// How far it came.
#[derive(Debug)]
struct Pace {
    /// How many bytes came.
    received: u64,
    /// At how many it ends.
    end: u64,
    stage: Stage,
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// An answer, which is short.
    Answer { since: Duration },
    /// The server prepares a pack, for as long as the daemon's deadline allows.
    Preparing,
    /// A pack comes.
    Pack(Flow),
}

/// The pace of a pack. Only time spent waiting counts: a slow disk is not the
/// remote's fault.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// Since when the reader waits, if it does.
    waits_since: Option<Duration>,
    /// How long it has waited before, in this window.
    waited: Duration,
    /// How many bytes had come when the window began.
    began_at: u64,
}

/// More came than is taken.
#[derive(Debug)]
pub(super) struct TooBig(u64);

impl fmt::Display for TooBig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected at most {} bytes, found more", self.0)
    }
}

impl std::error::Error for TooBig {}

impl Meter {
    /// A meter of an exchange that begins now with a question.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            is_given_up: AtomicBool::new(false),
            pace: Mutex::new(Pace {
                received: 0,
                end: limits.refs,
                stage: Stage::Answer {
                    since: clock::awake(),
                },
            }),
        }
    }

    /// From here on a pack is expected, of at most so many bytes.
    pub(super) fn expect_pack(&self, most: u64) {
        let mut pace = self.pace();
        pace.end = pace.received.saturating_add(most);
        pace.stage = Stage::Preparing;
    }

    /// Bytes of a line came. An error says that no more is taken.
    pub(super) fn take(&self, bytes: usize) -> io::Result<()> {
        let mut pace = self.pace();
        pace.received = pace.received.saturating_add(bytes as u64);
        self.may_go_on(&pace)
    }

    /// Bytes of a pack came.
    pub(super) fn take_pack(&self, bytes: usize) {
        let mut pace = self.pace();
        pace.received = pace.received.saturating_add(bytes as u64);
        if let Stage::Preparing = pace.stage {
            pace.stage = Stage::Pack(Flow {
                waits_since: None,
                waited: Duration::ZERO,
                began_at: pace.received,
            });
        }
    }

    /// The reader begins to wait for bytes of a pack, if it may.
    pub(super) fn begin_wait(&self) -> io::Result<()> {
        let mut pace = self.pace();
        if let Stage::Pack(flow) = &mut pace.stage {
            flow.waits_since = Some(clock::awake());
        }
        self.may_go_on(&pace)
    }

    /// The reader got what it waited for.
    pub(super) fn end_wait(&self) {
        if let Stage::Pack(flow) = &mut self.pace().stage
            && let Some(since) = flow.waits_since.take()
        {
            flow.waited += clock::awake().saturating_sub(since);
        }
    }

    /// Whether what came by now is too little.
    pub(super) fn is_too_slow(&self) -> bool {
        let now = clock::awake();
        let mut pace = self.pace();
        let received = pace.received;
        match &mut pace.stage {
            Stage::Answer { since } => now.saturating_sub(*since) > self.limits.window,
            Stage::Preparing => false,
            Stage::Pack(flow) => flow.is_too_slow(now, received, self.limits),
        }
    }

    /// Whoever reads is to stop.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Whether more was offered than is taken.
    pub(super) fn is_too_big(&self) -> bool {
        let pace = self.pace();
        pace.received > pace.end
    }

    fn may_go_on(&self, pace: &Pace) -> io::Result<()> {
        if pace.received > pace.end {
            return Err(io::Error::other(TooBig(pace.end)));
        }
        if self.is_given_up.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flow {
    /// Looks once a whole window was spent waiting, and begins the next one.
    fn is_too_slow(&mut self, now: Duration, received: u64, limits: Limits) -> bool {
        let waits = self.waits_since.map(|since| now.saturating_sub(since));
        if self.waited + waits.unwrap_or_default() < limits.window {
            return false;
        }
        let came = received.saturating_sub(self.began_at);
        *self = Self {
            waits_since: waits.map(|_| now),
            waited: Duration::ZERO,
            began_at: received,
        };
        came < limits.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn flow() -> Flow {
        Flow {
            waits_since: Some(SECOND),
            waited: Duration::ZERO,
            began_at: 0,
        }
    }

    #[test]
    fn a_pack_that_comes_too_slowly_is_found_out_after_a_window_and_not_before() {
        let limits = Limits::default();
        let (mut late, mut slow, mut fast) = (flow(), flow(), flow());
        assert!(!late.is_too_slow(limits.window, limits.least - 1, limits));
        let end = limits.window + SECOND;
        assert!(slow.is_too_slow(end, limits.least - 1, limits));
        assert!(!fast.is_too_slow(end, limits.least, limits));
        assert!(!fast.is_too_slow(end + SECOND, limits.least, limits));
        assert!(fast.is_too_slow(end + limits.window, limits.least + 1, limits));
    }

    #[test]
    fn time_that_was_not_spent_waiting_does_not_count() {
        let limits = Limits::default();
        let mut busy = flow();
        busy.waits_since = None;
        assert!(!busy.is_too_slow(limits.window * 100, 0, limits));
    }

    #[test]
    fn a_pack_has_a_limit_of_its_own() {
        let meter = Meter::new(Limits::default());
        meter.take(1000).expect("far from the limit");
        meter.expect_pack(10);
        meter.take_pack(10);
        assert!(meter.begin_wait().is_ok() && !meter.is_too_big());
        meter.take_pack(1);
        assert!(meter.begin_wait().is_err() && meter.is_too_big());
    }
}
