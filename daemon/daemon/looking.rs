//! When the daemon looks, and what a look is.
//!
//! In: triggers, schedules, what is going on. Out: which remotes are to be asked
//! now, and in which look. Must not: decide what a look leads to.
//!
//! Each remote is asked at its own time, and nobody waits for another. Looks are
//! numbered from one; a look ends when those that were asked in it have
//! answered, but for those that did not the last time either: a remote that is
//! dead keeps nobody waiting who wants to know, as long as another lives.
//!
//! A look begins only while nothing on the host is being touched; one that is
//! asked for meanwhile begins when that is over, so whoever waits for it sees
//! what became of the newest commit.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::standing::Seen;
use crate::ipc::request::Owed;
use crate::model::failure::{Failure, FailureCode};
use crate::model::offer::{Offer, RemoteNumber};
use crate::model::policy::Deadlines;
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

impl Limits {
    /// For a remote whose polls may take so long.
    pub(super) fn new(timeout: Duration, deadlines: &Deadlines) -> Self {
        Self {
            ready: PATIENCE,
            poll: (timeout + deadlines.fetch) * ROUNDS + PATIENCE,
            observe: PATIENCE,
        }
    }
}

/// Looks at host and one remote; each part ends by its limit, so the whole does.
/// `observe`: what the host is, and whether it asks for another daemon.
/// A part that is given up may go on in a thread of its own: nobody can end a
/// read from a file system that does not answer.
pub(super) async fn look(
    limits: Limits,
    ready: impl Future<Output = Result<(), Failure>>,
    poll: impl Future<Output = Result<Offer, Failure>>,
    observe: impl Future<Output = (Observed, bool)>,
) -> Seen {
    match timeout(limits.ready, ready).await {
        Err(_) => return hanging("systemd does not say whether the host is up", limits.ready),
        Ok(Err(failure)) => return Seen::Busy(failure),
        Ok(Ok(())) => {}
    }
    let Ok(offer) = timeout(limits.poll, poll).await else {
        return hanging("the fetcher neither answers nor ends", limits.poll);
    };
    let Ok((observed, is_outdated)) = timeout(limits.observe, observe).await else {
        let what = "running system, profile or boot entry cannot be read to an end";
        return hanging(what, limits.observe);
    };
    Seen::Looked {
        offer,
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

/// How often a trigger has a look begin at once. Those that come sooner are
/// answered by one look together: a flood of them costs the remotes nothing.
const TRIGGER_INTERVAL: Duration = Duration::from_secs(10);

/// The looks of one daemon's life.
#[derive(Debug)]
pub(super) struct Looking {
    remotes: Vec<Asking>,
    /// The number of the look that began last.
    started: u64,
    /// Looks that have not ended, oldest first.
    open: Vec<Open>,
    demanded_next: Demand,
    /// Whether all remotes are to be asked in the next look.
    is_owed: bool,
    /// When the last look was due that a trigger has brought forward.
    triggered_at: Option<Instant>,
}

/// One remote.
#[derive(Debug)]
struct Asking {
    due_at: Instant,
    /// In which look it is being asked.
    asked_in: Option<u64>,
    /// Whether it is to be asked once more right after that.
    is_owed: bool,
    /// Whether it failed the last time.
    is_failing: bool,
    hanging: u32,
}

/// A look that has not ended.
#[derive(Debug)]
struct Open {
    number: u64,
    awaited: BTreeSet<usize>,
    demand: Demand,
}

impl Looking {
    /// The first look at each remote is due then, unless somebody asks for it.
    pub(super) fn new(due_at: Vec<Instant>) -> Self {
        let asking = due_at.into_iter().map(|due_at| Asking {
            due_at,
            asked_in: None,
            is_owed: false,
            is_failing: false,
            hanging: 0,
        });
        Self {
            remotes: asking.collect(),
            started: 0,
            open: Vec::new(),
            demanded_next: Demand::Time,
            is_owed: false,
            triggered_at: None,
        }
    }

    /// Whether looks still come to an end.
    pub(super) fn is_alive(&self) -> bool {
        self.remotes.iter().all(|it| it.hanging < MOST_HANGING)
    }

    /// When the next remote is due that is not being asked.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let idle = self.remotes.iter().filter(|it| it.asked_in.is_none());
        idle.map(|it| it.due_at).min()
    }

    /// When a remote is due. None: it is being asked, and nobody waits for it.
    pub(super) fn remote_due_at(&self, remote: RemoteNumber) -> Option<Instant> {
        let asking = self.remotes.get(remote.0)?;
        let is_awaited = |look: &Open| look.awaited.contains(&remote.0);
        let is_left = asking.asked_in.is_some() && !self.open.iter().any(is_awaited);
        (!is_left).then_some(asking.due_at)
    }

    /// The numbers for the snapshot. A look that is owed counts as started:
    /// whoever follows knows that there is more to come.
    pub(super) fn numbers(&self) -> snapshot::Looks {
        let oldest = self.open.first().map(|look| look.number);
        snapshot::Looks {
            started: self.started + u64::from(self.is_owed),
            finished: oldest.map_or(self.started, |oldest| oldest - 1),
        }
    }

    /// Somebody wants a look now: the number of the one that will answer. What
    /// is under way may have asked already, so it is the next.
    pub(super) fn trigger(&mut self, now: Instant, demand: Demand) -> u64 {
        self.demanded_next = stronger(std::mem::take(&mut self.demanded_next), demand);
        self.hasten(now);
        self.started + 1
    }

    /// The same for whoever may ask as often as they like: soon, if somebody did
    /// just now. What begins sooner by itself, answers as well.
    pub(super) fn trigger_again(&mut self, now: Instant, demand: Demand) -> Owed {
        // What is owed already answers this one, too.
        let interval = if self.is_owed {
            Duration::ZERO
        } else {
            TRIGGER_INTERVAL
        };
        let next = self.triggered_at.map(|last| last + interval);
        let due_at = next.map_or(now, |next| next.max(now));
        self.triggered_at = Some(due_at);
        self.demanded_next = stronger(std::mem::take(&mut self.demanded_next), demand);
        self.hasten(due_at);
        let begins_at = self.due_at().unwrap_or(due_at);
        Owed {
            look: self.started + 1,
            begins_in: begins_at.saturating_duration_since(now),
        }
    }

    /// A look at all remotes is due then at the latest, though nobody asked.
    pub(super) fn hasten(&mut self, due_at: Instant) {
        self.is_owed = true;
        for remote in &mut self.remotes {
            // One that is being asked may have answered already: once more.
            remote.is_owed = remote.asked_in.is_some();
            if remote.is_owed || remote.due_at > due_at {
                remote.due_at = due_at;
            }
        }
    }

    /// A look begins: at the remotes that are due.
    pub(super) fn begin(&mut self, now: Instant) -> Vec<RemoteNumber> {
        let is_due = |it: &Asking| it.asked_in.is_none() && it.due_at <= now;
        let due = self.remotes.iter().enumerate().filter(|(_, it)| is_due(it));
        let due: BTreeSet<usize> = due.map(|(index, _)| index).collect();
        if due.is_empty() {
            return Vec::new();
        }
        self.started += 1;
        for index in &due {
            self.remotes[*index].asked_in = Some(self.started);
        }
        // Those that are being asked are asked once more.
        let is_for_all = std::mem::take(&mut self.is_owed);
        if is_for_all {
            // It may have begun sooner by itself: the next trigger counts from now.
            self.triggered_at = self.triggered_at.map(|at| at.min(now));
        }
        self.open.push(Open {
            number: self.started,
            awaited: if is_for_all {
                (0..self.remotes.len()).collect()
            } else {
                due.clone()
            },
            demand: if is_for_all {
                std::mem::take(&mut self.demanded_next)
            } else {
                Demand::Time
            },
        });
        // What nobody waits for has ended as soon as it begins.
        self.close();
        due.into_iter().map(RemoteNumber).collect()
    }

    /// The look at a remote ended; the next is due after `wait`, unless somebody
    /// asked for it meanwhile. Returns who wanted the looks that end with it.
    pub(super) fn end(
        &mut self,
        remote: RemoteNumber,
        now: Instant,
        wait: Duration,
        is_failing: bool,
    ) -> Demand {
        if let Some(asking) = self.remotes.get_mut(remote.0) {
            asking.hanging = 0;
            asking.is_failing = is_failing;
        }
        self.answered(remote, now + wait);
        self.close()
    }

    /// The look at a remote found the host busy: what was asked for is still
    /// owed, so a forced look stays forced.
    pub(super) fn end_busy(&mut self, remote: RemoteNumber, now: Instant) {
        if let Some(asking) = self.remotes.get_mut(remote.0) {
            asking.hanging = 0;
        }
        self.end_unseen(remote, now);
    }

    /// The look at a remote hangs: nothing was seen, as if the host were busy.
    /// Returns whether that was the last one before it is not alive.
    pub(super) fn end_hanging(&mut self, remote: RemoteNumber, now: Instant) -> bool {
        let asking = self.remotes.get_mut(remote.0);
        let hanging = asking.map_or(0, |asking| {
            asking.hanging += 1;
            asking.hanging
        });
        self.end_unseen(remote, now);
        hanging == MOST_HANGING
    }

    fn end_unseen(&mut self, remote: RemoteNumber, now: Instant) {
        let again_at = now + BUSY_INTERVAL;
        self.answered(remote, again_at);
        if let Some(asking) = self.remotes.get_mut(remote.0) {
            asking.due_at = again_at;
        }
        let demand = self.close();
        if demand == Demand::Time {
            return;
        }
        self.demanded_next = stronger(std::mem::take(&mut self.demanded_next), demand);
        self.is_owed = true;
        for asking in &mut self.remotes {
            asking.due_at = asking.due_at.max(now).min(again_at);
        }
    }

    /// A remote is not awaited any more in what began before it was asked.
    fn answered(&mut self, remote: RemoteNumber, next_at: Instant) {
        let Some(asking) = self.remotes.get_mut(remote.0) else {
            return;
        };
        let asked_in = asking.asked_in.take();
        asking.due_at = match std::mem::take(&mut asking.is_owed) {
            true => asking.due_at.min(next_at),
            false => next_at,
        };
        for look in &mut self.open {
            if asked_in.is_some_and(|asked_in| look.number <= asked_in) {
                look.awaited.remove(&remote.0);
            }
        }
    }

    /// Ends the looks in which nobody is awaited who is worth it; returns who
    /// wanted them.
    fn close(&mut self) -> Demand {
        let lives = self.remotes.iter().any(|it| !it.is_failing);
        let remotes = &self.remotes;
        let is_worth = |index: &usize| remotes.get(*index).is_some_and(|it| !it.is_failing);
        let has_ended = |look: &mut Open| {
            look.awaited.is_empty() || (lives && !look.awaited.iter().any(is_worth))
        };
        let ended: Vec<Open> = self.open.extract_if(.., has_ended).collect();
        let demands = ended.into_iter().map(|look| look.demand);
        demands.fold(Demand::Time, stronger)
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

    const ONE: RemoteNumber = RemoteNumber(0);
    const TWO: RemoteNumber = RemoteNumber(1);

    fn finished(looking: &Looking) -> (u64, u64) {
        let numbers = looking.numbers();
        (numbers.started, numbers.finished)
    }

    #[test]
    fn a_trigger_is_answered_by_a_look_that_begins_after_it() {
        let now = Instant::now();
        let mut looking = Looking::new(vec![now]);
        assert_eq!(looking.trigger(now, Demand::Look), 1);
        assert_eq!(looking.begin(now), [ONE]);
        assert_eq!(
            looking.trigger(now, Demand::Look),
            2,
            "the first has begun already"
        );
        assert_eq!(looking.due_at(), None, "it is being asked");
        assert_eq!(looking.end(ONE, now, MINUTE, false), Demand::Look);
        assert_eq!(looking.due_at(), Some(now), "the second is owed");
        assert_eq!(finished(&looking), (2, 1));
        assert_eq!(looking.begin(now), [ONE]);
        assert_eq!(looking.end(ONE, now, MINUTE, false), Demand::Look);
        assert_eq!(looking.due_at(), Some(now + MINUTE));
        assert_eq!(finished(&looking), (2, 2));
    }

    #[test]
    fn a_busy_host_is_looked_at_soon_and_still_for_whoever_asked() {
        let now = Instant::now();
        let mut looking = Looking::new(vec![now]);
        looking.trigger(now, Demand::Look);
        looking.begin(now);
        looking.end_busy(ONE, now);
        let again_at = now + BUSY_INTERVAL;
        assert_eq!(looking.due_at(), Some(again_at));
        assert_eq!(looking.begin(again_at), [ONE]);
        assert_eq!(looking.end(ONE, now, MINUTE, false), Demand::Look);
    }

    #[test]
    fn triggers_that_polls_answer_keep_no_poll_waiting() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut looking = Looking::new(vec![start]);
        for number in 0..60 {
            let now = start + second * number;
            assert_eq!(looking.begin(now), [ONE], "{number}");
            // While it is asked, and after that.
            looking.trigger_again(now, Demand::Look);
            looking.end(ONE, now, second, false);
            looking.trigger_again(now, Demand::Look);
            let due_at = looking.due_at().expect("it is not being asked");
            assert!(due_at <= now + second, "{number}: {:?}", due_at - now);
        }
        let owed = looking.trigger_again(start + second * 60, Demand::Look);
        assert!(owed.begins_in <= second, "{:?}", owed.begins_in);
        // Of a remote that is asked once an hour: as long as there is to be between two.
        let now = start + second * 61;
        assert_eq!(looking.begin(now), [ONE]);
        looking.end(ONE, now, MINUTE * 60, false);
        let owed = looking.trigger_again(now, Demand::Look);
        assert_eq!(owed.begins_in, TRIGGER_INTERVAL);
    }

    #[test]
    fn triggers_in_a_row_are_answered_together() {
        let now = Instant::now();
        let mut looking = Looking::new(vec![now + MINUTE]);
        let again = |looking: &mut Looking, at| looking.trigger_again(at, Demand::Look);
        let owed = |look, begins_in| Owed { look, begins_in };
        assert_eq!(again(&mut looking, now), owed(1, Duration::ZERO));
        assert_eq!(again(&mut looking, now), owed(1, Duration::ZERO));
        assert_eq!(looking.begin(now), [ONE]);
        // It may have been answered before they came.
        for _ in 0..3 {
            assert_eq!(again(&mut looking, now), owed(2, TRIGGER_INTERVAL));
        }
        assert_eq!(looking.end(ONE, now, MINUTE, false), Demand::Look);
        let soon = now + Duration::from_secs(4);
        let left = TRIGGER_INTERVAL - Duration::from_secs(4);
        assert_eq!(again(&mut looking, soon), owed(2, left));
        assert_eq!(looking.begin(soon), []);
        let next = now + TRIGGER_INTERVAL;
        assert_eq!(looking.due_at(), Some(next));
        assert_eq!(looking.begin(next), [ONE]);
        assert_eq!(looking.end(ONE, next, MINUTE, false), Demand::Look);
        assert_eq!(finished(&looking), (2, 2), "two looks for six triggers");
        // Whoever says something else does not wait.
        assert_eq!(again(&mut looking, next), owed(3, TRIGGER_INTERVAL));
        assert_eq!(looking.trigger(next, Demand::Look), 3);
        assert_eq!(looking.begin(next), [ONE]);
        looking.end(ONE, next, MINUTE, false);
        let later = next + 2 * TRIGGER_INTERVAL;
        assert_eq!(again(&mut looking, later), owed(4, Duration::ZERO));
    }

    #[test]
    fn each_remote_has_its_own_time_and_a_trigger_asks_all() {
        let now = Instant::now();
        let mut looking = Looking::new(vec![now, now + MINUTE]);
        assert_eq!(looking.begin(now), [ONE]);
        assert_eq!(looking.end(ONE, now, 2 * MINUTE, false), Demand::Time);
        assert_eq!(looking.due_at(), Some(now + MINUTE));
        assert_eq!(looking.begin(now), []);
        let later = now + MINUTE;
        assert_eq!(looking.begin(later), [TWO]);
        // The first is free, the second is asked once more.
        assert_eq!(looking.trigger(later, Demand::Look), 3);
        assert_eq!(looking.begin(later), [ONE]);
        assert_eq!(looking.end(ONE, later, MINUTE, false), Demand::Time);
        assert_eq!(looking.end(TWO, later, MINUTE, false), Demand::Time);
        assert_eq!(finished(&looking), (3, 2), "the second was asked before");
        assert_eq!(looking.begin(later), [TWO]);
        assert_eq!(looking.end(TWO, later, MINUTE, false), Demand::Look);
        assert_eq!(finished(&looking), (4, 4));
    }

    #[test]
    fn a_dead_remote_is_awaited_once_and_then_only_where_all_are_dead() {
        let now = Instant::now();
        let mut looking = Looking::new(vec![now, now]);
        assert_eq!(looking.trigger(now, Demand::Look), 1);
        assert_eq!(looking.begin(now), [ONE, TWO]);
        assert_eq!(looking.end(ONE, now, MINUTE, false), Demand::Time);
        assert_eq!(finished(&looking), (1, 0), "nobody knows that it is dead");
        assert_eq!(looking.end(TWO, now, MINUTE, true), Demand::Look);
        assert_eq!(finished(&looking), (1, 1));

        // From now on whoever waits does not wait for it.
        assert_eq!(looking.trigger(now, Demand::Look), 2);
        assert_eq!(looking.begin(now), [ONE, TWO]);
        assert_eq!(looking.end(ONE, now, MINUTE, false), Demand::Look);
        assert_eq!(finished(&looking), (2, 2));
        assert_eq!(looking.end(TWO, now, Duration::ZERO, true), Demand::Time);
        assert_eq!(looking.remote_due_at(TWO), Some(now));
        assert_eq!(looking.begin(now), [TWO], "it is asked all the same");
        assert_eq!(looking.remote_due_at(TWO), None);
        assert_eq!(finished(&looking), (3, 3));
        assert_eq!(looking.trigger(now, Demand::Look), 4);
        assert_eq!(looking.begin(now), [ONE], "not waiting for the other");

        // Once the last one fails, too, all of them have to be heard.
        assert_eq!(looking.end(ONE, now, MINUTE, true), Demand::Time);
        assert_eq!(looking.end(TWO, now, MINUTE, true), Demand::Time);
        assert_eq!(looking.begin(now), [TWO]);
        assert_eq!(looking.end(TWO, now, MINUTE, true), Demand::Look);
        assert_eq!(finished(&looking), (5, 5));
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

    fn no_answer() -> Result<Offer, Failure> {
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
            matches!(whole, Seen::Looked { offer: Err(_), .. }),
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
        let mut now = Instant::now();
        let mut looking = Looking::new(vec![now]);
        let mut hangs = |looking: &mut Looking| {
            now += MINUTE;
            looking.begin(now);
            looking.end_hanging(ONE, now)
        };
        assert!(!hangs(&mut looking) && !hangs(&mut looking));
        looking.end(ONE, Instant::now(), Duration::ZERO, false);
        assert!(!hangs(&mut looking) && !hangs(&mut looking));
        looking.end_busy(ONE, Instant::now());
        assert!(!hangs(&mut looking) && !hangs(&mut looking) && looking.is_alive());
        assert!(hangs(&mut looking), "it is told once");
        assert!(!looking.is_alive() && !hangs(&mut looking));
        looking.end(ONE, Instant::now(), MINUTE, false);
        assert!(looking.is_alive(), "what hung goes on");
    }
}
