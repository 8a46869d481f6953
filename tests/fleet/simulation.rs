//! A fleet that polls one server, on the daemon's own schedule and a clock of its own.
//!
//! In: how many hosts, how often, and when the server is away. Out: how often it is asked. Must not: know a schedule
//! but the daemon's.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use deploy_flake::reconcile::schedule::{self, Draws};

/// What happens to a fleet that is powered on all at once.
pub(crate) struct Course {
    pub(crate) hosts: u32,
    pub(crate) period: Duration,
    /// From when to when the server answers nobody.
    pub(crate) outage: (Duration, Duration),
    pub(crate) end: Duration,
}

/// What the server saw.
pub(crate) struct Seen {
    /// How often it was asked in each second, answered or not.
    asked: Vec<u32>,
    /// When each host was answered for the first time after the outage.
    pub(crate) back: Vec<Duration>,
}

/// The load in a part of the time.
pub(crate) struct Load {
    /// Polls per second.
    pub(crate) mean: f64,
    /// The most polls in one second.
    pub(crate) peak: u32,
}

impl Course {
    /// A minute's period, an hour's outage.
    pub(crate) fn of(hosts: u32) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            hosts,
            period: minute,
            outage: (10 * minute, 70 * minute),
            end: 190 * minute,
        }
    }

    /// Lets it run.
    pub(crate) fn run(&self) -> Seen {
        let mut draws: Vec<Draws> = (0..self.hosts)
            .map(|host| Draws::new(spread(host)))
            .collect();
        let mut failures = vec![0_u32; draws.len()];
        let mut back = vec![None; draws.len()];
        let seconds = usize::try_from(self.end.as_secs()).expect("hours");
        let mut asked = vec![0; seconds + 1];
        let mut due: BinaryHeap<_> = draws
            .iter_mut()
            .enumerate()
            .map(|(host, draws)| Reverse((schedule::first(self.period, draws.draw()), host)))
            .collect();
        while let Some(Reverse((at, host))) = due.pop() {
            if at >= self.end {
                continue;
            }
            asked[usize::try_from(at.as_secs()).expect("hours")] += 1;
            let (from, to) = self.outage;
            failures[host] = if (from..to).contains(&at) {
                failures[host] + 1
            } else {
                0
            };
            if at >= to {
                back[host].get_or_insert(at - to);
            }
            let wait = schedule::next(self.period, failures[host], draws[host].draw());
            due.push(Reverse((at + wait, host)));
        }
        let mut back: Vec<Duration> = back.into_iter().flatten().collect();
        back.sort();
        Seen { asked, back }
    }
}

impl Seen {
    /// The load from one time to another.
    pub(crate) fn load(&self, from: Duration, to: Duration) -> Load {
        let index = |at: Duration| usize::try_from(at.as_secs()).expect("hours");
        let part = &self.asked[index(from)..index(to)];
        Load {
            mean: f64::from(part.iter().sum::<u32>()) / part.len() as f64,
            peak: part.iter().copied().max().unwrap_or_default(),
        }
    }

    /// After how long so many of a hundred hosts were answered again.
    pub(crate) fn back_after(&self, percent: usize) -> Duration {
        self.back[(self.back.len() * percent).div_ceil(100) - 1]
    }
}

/// Seeds of hosts have nothing in common.
fn spread(host: u32) -> u64 {
    Draws::new(u64::from(host)).draw()
}
