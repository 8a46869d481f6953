//! When the daemon looks, and what a look is.
//!
//! In: triggers, intervals, what is going on. Out: whether a look is due, and
//! its number. Must not: decide what a look leads to.
//!
//! Looks are numbered from one. A look begins only while nothing on the host
//! is being touched; one that is asked for meanwhile begins when that is over,
//! so whoever waits for it sees what became of the newest commit.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::snapshot;

/// How soon the daemon looks again while the host itself is busy.
const BUSY_INTERVAL: Duration = Duration::from_secs(2);

/// The looks of one daemon's life.
#[derive(Debug)]
pub(super) struct Looking {
    numbers: snapshot::Looks,
    under_way: Option<Forced>,
    forced_next: Forced,
    due_at: Instant,
    is_owed: bool,
}

/// Whether an operator asked for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forced {
    /// It was its time.
    No,
    /// Somebody triggered it.
    Yes,
}

impl Looking {
    /// The first look is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            numbers: snapshot::Looks::default(),
            under_way: None,
            forced_next: Forced::No,
            due_at: now,
            is_owed: false,
        }
    }

    /// When the next look is due.
    pub(super) fn due_at(&self) -> Instant {
        self.due_at
    }

    /// Whether one is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The numbers for the snapshot. A look that is owed counts as started:
    /// whoever follows knows that there is more to come.
    pub(super) fn numbers(&self) -> snapshot::Looks {
        snapshot::Looks {
            started: self.numbers.started + u64::from(self.is_owed),
            finished: self.numbers.finished,
        }
    }

    /// Somebody wants a look now: the number of the one that will answer. One
    /// that is under way may have asked the remote already, so it is the next.
    pub(super) fn trigger(&mut self, now: Instant) -> u64 {
        self.forced_next = Forced::Yes;
        self.hasten(now);
        self.numbers.started + 1
    }

    /// A look is due now, though nobody asked.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.due_at = now;
        self.is_owed = true;
    }

    /// A look begins.
    pub(super) fn begin(&mut self) {
        self.under_way = Some(self.forced_next);
        self.forced_next = Forced::No;
        self.is_owed = false;
        self.numbers.started += 1;
    }

    /// The look under way ended; the next is due after `wait`, unless somebody
    /// asked for it meanwhile. Returns whether this one was asked for.
    pub(super) fn end(&mut self, now: Instant, wait: Duration) -> Forced {
        self.numbers.finished = self.numbers.started;
        if !self.is_owed {
            self.due_at = now + wait;
        }
        self.under_way.take().unwrap_or(Forced::No)
    }

    /// The look under way found the host busy: what was asked for is still
    /// owed, so a forced look stays forced.
    pub(super) fn end_busy(&mut self, now: Instant) {
        self.numbers.finished = self.numbers.started;
        if self.under_way.take() == Some(Forced::Yes) {
            self.forced_next = Forced::Yes;
        }
        self.due_at = now + BUSY_INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_trigger_is_answered_by_a_look_that_begins_after_it() {
        let now = Instant::now();
        let mut looking = Looking::new(now);
        assert_eq!(looking.trigger(now), 1);
        looking.begin();
        assert_eq!(looking.trigger(now), 2, "the first has begun already");
        assert_eq!(looking.end(now, MINUTE), Forced::Yes);
        assert_eq!(looking.due_at(), now, "the second is owed");
        let numbers = looking.numbers();
        assert_eq!((numbers.started, numbers.finished), (2, 1));
        looking.begin();
        assert_eq!(looking.end(now, MINUTE), Forced::Yes);
        assert_eq!(looking.due_at(), now + MINUTE);
        assert_eq!(looking.numbers().finished, 2);
    }

    #[test]
    fn a_busy_host_is_looked_at_soon_and_still_for_whoever_asked() {
        let now = Instant::now();
        let mut looking = Looking::new(now);
        looking.trigger(now);
        looking.begin();
        looking.end_busy(now);
        assert_eq!(looking.due_at(), now + BUSY_INTERVAL);
        looking.begin();
        assert_eq!(looking.end(now, MINUTE), Forced::Yes);
    }
}
