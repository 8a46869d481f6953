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

use crate::reconcile::state::Demand;
use crate::store::snapshot;

/// How soon the daemon looks again while the host itself is busy.
const BUSY_INTERVAL: Duration = Duration::from_secs(2);

/// The looks of one daemon's life.
#[derive(Debug)]
pub(super) struct Looking {
    numbers: snapshot::Looks,
    under_way: Option<Demand>,
    demanded_next: Demand,
    due_at: Instant,
    is_owed: bool,
}

impl Looking {
    /// The first look is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            numbers: snapshot::Looks::default(),
            under_way: None,
            demanded_next: Demand::Time,
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
    pub(super) fn trigger(&mut self, now: Instant, demand: Demand) -> u64 {
        self.demanded_next = stronger(std::mem::take(&mut self.demanded_next), demand);
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
        self.under_way = Some(std::mem::take(&mut self.demanded_next));
        self.is_owed = false;
        self.numbers.started += 1;
    }

    /// The look under way ended; the next is due after `wait`, unless somebody
    /// asked for it meanwhile. Returns who wanted this one.
    pub(super) fn end(&mut self, now: Instant, wait: Duration) -> Demand {
        self.numbers.finished = self.numbers.started;
        if !self.is_owed {
            self.due_at = now + wait;
        }
        self.under_way.take().unwrap_or_default()
    }

    /// The look under way found the host busy: what was asked for is still
    /// owed, so a forced look stays forced.
    pub(super) fn end_busy(&mut self, now: Instant) {
        self.numbers.finished = self.numbers.started;
        if let Some(demand) = self.under_way.take() {
            self.demanded_next = stronger(std::mem::take(&mut self.demanded_next), demand);
        }
        self.due_at = now + BUSY_INTERVAL;
    }
}

/// Of two demands that one look answers, the one that asks for more.
fn stronger(one: Demand, other: Demand) -> Demand {
    match (one, other) {
        (Demand::Retry { mut allowed }, Demand::Retry { allowed: more }) => {
            allowed.extend(more);
            Demand::Retry { allowed }
        }
        (retry @ Demand::Retry { .. }, Demand::Time | Demand::Look)
        | (Demand::Time | Demand::Look, retry @ Demand::Retry { .. }) => retry,
        (Demand::Look, Demand::Time | Demand::Look) | (Demand::Time, Demand::Look) => Demand::Look,
        (Demand::Time, Demand::Time) => Demand::Time,
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
        assert_eq!(looking.trigger(now, Demand::Look), 1);
        looking.begin();
        assert_eq!(
            looking.trigger(now, Demand::Look),
            2,
            "the first has begun already"
        );
        assert_eq!(looking.end(now, MINUTE), Demand::Look);
        assert_eq!(looking.due_at(), now, "the second is owed");
        let numbers = looking.numbers();
        assert_eq!((numbers.started, numbers.finished), (2, 1));
        looking.begin();
        assert_eq!(looking.end(now, MINUTE), Demand::Look);
        assert_eq!(looking.due_at(), now + MINUTE);
        assert_eq!(looking.numbers().finished, 2);
    }

    #[test]
    fn a_busy_host_is_looked_at_soon_and_still_for_whoever_asked() {
        let now = Instant::now();
        let mut looking = Looking::new(now);
        looking.trigger(now, Demand::Look);
        looking.begin();
        looking.end_busy(now);
        assert_eq!(looking.due_at(), now + BUSY_INTERVAL);
        looking.begin();
        assert_eq!(looking.end(now, MINUTE), Demand::Look);
    }
}
