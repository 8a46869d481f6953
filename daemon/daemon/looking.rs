//! When the daemon looks, and what a look is.
//!
//! In: triggers, intervals, what is going on. Out: whether a look is due, and
//! its number. Must not: decide what a look leads to.
//!
//! Looks are numbered from one. A look begins only while nothing on the host
//! is being touched; one that is asked for meanwhile begins when that is over,
//! so whoever waits for it sees what became of the newest commit.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::standing::Seen;
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::Deadlines;
use crate::model::revision::CommitId;
use crate::model::system::Observed;
use crate::reconcile::event::Demand;
use crate::store::snapshot;

/// How soon the daemon looks again while the host itself is busy.
const BUSY_INTERVAL: Duration = Duration::from_secs(2);

/// How many looks in a row may hang before the daemon is not alive any more:
/// once is an accident, and a restart costs nothing but the looks themselves.
const MOST_HANGING: u32 = 3;

/// How long the parts of a look may take: a part that has not ended by then is
/// not going to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// systemd's answer, whether the host is up.
    ready: Duration,
    /// The remote's answer, and the fetch.
    poll: Duration,
    /// Reading links and boot entries.
    observe: Duration,
}

/// What systemd and a slow disk are given. A reload of all units holds PID 1
/// for a while; a disk that was asleep, or is busy, is waited for as well.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often poll and fetch may follow each other within one look: the branch
/// moves in between, or the fetcher that was kept is gone and a new one begins.
const ROUNDS: u32 = 4;

impl From<&Deadlines> for Limits {
    fn from(deadlines: &Deadlines) -> Self {
        Self {
            ready: PATIENCE,
            poll: (deadlines.poll + deadlines.fetch) * ROUNDS + PATIENCE,
            observe: PATIENCE,
        }
    }
}

/// Looks at host and remote; each part ends by its limit, so the whole does.
/// `observe`: what the host is, and whether it asks for another daemon.
/// A part that is given up may go on in a thread of its own: nobody can end a
/// read from a file system that does not answer.
pub(super) async fn look(
    limits: Limits,
    ready: impl Future<Output = Result<(), Failure>>,
    poll: impl Future<Output = Result<CommitId, Failure>>,
    observe: impl Future<Output = (Observed, bool)>,
) -> Seen {
    match timeout(limits.ready, ready).await {
        Err(_) => return hanging("systemd does not say whether the host is up", limits.ready),
        Ok(Err(failure)) => return Seen::Busy(failure),
        Ok(Ok(())) => {}
    }
    let Ok(head) = timeout(limits.poll, poll).await else {
        return hanging("the fetcher neither answers nor ends", limits.poll);
    };
    let Ok((observed, is_outdated)) = timeout(limits.observe, observe).await else {
        let what = "running system, profile or boot entry cannot be read to an end";
        return hanging(what, limits.observe);
    };
    Seen::Looked {
        head,
        observed,
        is_outdated,
    }
}

fn hanging(what: &str, limit: Duration) -> Seen {
    Seen::Hanging(Failure::new(
        FailureCode::StepFailed,
        format!("a look hangs: {what}, {} s long", limit.as_secs()),
        "Look for a file system that does not answer (`findmnt`, `dmesg`; /boot and /nix above \
         all) and at `systemctl status`. The daemon looks again by itself, and restarts after a \
         few looks that hang.",
    ))
}

/// The looks of one daemon's life.
#[derive(Debug)]
pub(super) struct Looking {
    numbers: snapshot::Looks,
    under_way: Option<Demand>,
    demanded_next: Demand,
    due_at: Instant,
    is_owed: bool,
    hanging: u32,
}

impl Looking {
    /// The first look is due then, unless somebody asks for it.
    pub(super) fn new(due_at: Instant) -> Self {
        Self {
            numbers: snapshot::Looks::default(),
            under_way: None,
            demanded_next: Demand::Time,
            due_at,
            is_owed: false,
            hanging: 0,
        }
    }

    /// Whether looks still come to an end.
    pub(super) fn is_alive(&self) -> bool {
        self.hanging < MOST_HANGING
    }

    /// The look under way hangs: nothing was seen, as if the host were busy.
    /// Returns whether that was the last one before it is not alive.
    pub(super) fn end_hanging(&mut self, now: Instant) -> bool {
        let hanging = self.hanging + 1;
        self.end_busy(now);
        self.hanging = hanging;
        hanging == MOST_HANGING
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
        self.hanging = 0;
        self.numbers.finished = self.numbers.started;
        if !self.is_owed {
            self.due_at = now + wait;
        }
        self.under_way.take().unwrap_or_default()
    }

    /// The look under way found the host busy: what was asked for is still
    /// owed, so a forced look stays forced.
    pub(super) fn end_busy(&mut self, now: Instant) {
        self.hanging = 0;
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

    const LIMITS: Limits = Limits {
        ready: Duration::from_millis(20),
        poll: Duration::from_millis(20),
        observe: Duration::from_millis(20),
    };

    fn observed() -> Observed {
        Observed {
            running: None,
            booted: None,
            profile: None,
            default_entry: crate::model::system::DefaultEntry::Unreadable("none".to_owned()),
            boot_id: crate::model::system::BootId("boot".to_owned()),
        }
    }

    fn no_answer() -> Result<CommitId, Failure> {
        Err(Failure::new(FailureCode::RemoteUnreachable, "m", "h"))
    }

    #[tokio::test]
    async fn a_part_of_a_look_that_hangs_is_named_and_ends_the_look() {
        use std::future::{pending, ready};
        let whole = look(
            LIMITS,
            ready(Ok(())),
            ready(no_answer()),
            ready((observed(), false)),
        )
        .await;
        assert!(
            matches!(whole, Seen::Looked { head: Err(_), .. }),
            "{whole:?}"
        );
        for (seen, named) in [
            (
                look(
                    LIMITS,
                    pending(),
                    ready(no_answer()),
                    ready((observed(), false)),
                )
                .await,
                "systemd",
            ),
            (
                look(LIMITS, ready(Ok(())), pending(), ready((observed(), false))).await,
                "the fetcher",
            ),
            (
                look(LIMITS, ready(Ok(())), ready(no_answer()), pending()).await,
                "boot entry",
            ),
        ] {
            let Seen::Hanging(failure) = seen else {
                panic!("{named}: {seen:?}")
            };
            assert_eq!(failure.code, FailureCode::StepFailed);
            assert!(failure.message.contains(named), "{failure:?}");
        }
    }

    #[test]
    fn after_some_looks_in_a_row_that_hang_the_daemon_is_not_alive() {
        let now = Instant::now();
        let mut looking = Looking::new(now);
        let hangs = |looking: &mut Looking| {
            looking.begin();
            looking.end_hanging(now)
        };
        assert!(!hangs(&mut looking) && !hangs(&mut looking));
        looking.begin();
        looking.end(now, MINUTE);
        assert!(!hangs(&mut looking) && !hangs(&mut looking));
        looking.begin();
        looking.end_busy(now);
        assert!(!hangs(&mut looking) && !hangs(&mut looking) && looking.is_alive());
        assert!(hangs(&mut looking), "it is told once");
        assert!(!looking.is_alive() && !hangs(&mut looking));
        looking.begin();
        looking.end(now, MINUTE);
        assert!(looking.is_alive(), "what hung goes on");
    }
}
