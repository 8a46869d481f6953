//! When a remote is looked at again.
//!
//! In: the period, how often in a row it failed, and bits of the machine's own.
//! Out: durations. Must not: read a clock, or know a machine.
//!
//! A thousand hosts that were powered on at once, or that were all told
//! "connection refused" at once, must not ask at once either. The same bits
//! give the same schedule, so all of this can be simulated (`tests/fleet`).

use std::time::Duration;

/// The latest first look after a start: whoever waits for a host that came up
/// waits no longer than that for its commit.
const FIRST: Duration = Duration::from_secs(30);

/// The longest wait for a remote that fails, unless the period is longer.
const BACKOFF_CAP: Duration = Duration::from_secs(3600);

/// The shortest wait for a remote that fails.
const BACKOFF_LEAST: Duration = Duration::from_secs(1);

/// Doubling stops here; the cap is reached before, whatever the period.
const MOST_DOUBLINGS: u32 = 12;

/// Draws of one machine: never the same twice, always the same for its seed.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    counter: u64,
}

impl Draws {
    /// The draws of a seed, from the first.
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// The next one (SplitMix64: even, and a step for each count).
    pub fn draw(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        let step = self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed.wrapping_add(step);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// The time from the start to the first look: any point of the first period,
/// and soon.
pub fn first(period: Duration, random: u64) -> Duration {
    between(Duration::ZERO, period.min(FIRST), random)
}

/// The time to the next look after so many failures in a row: half to one and
/// a half of the period, or any time up to a limit that doubles.
pub fn next(period: Duration, failures: u32, random: u64) -> Duration {
    if failures == 0 {
        return between(period / 2, period + period / 2, random);
    }
    let doublings = failures.min(MOST_DOUBLINGS);
    let cap = BACKOFF_CAP.max(period);
    let full = period.saturating_mul(1 << doublings).min(cap);
    between(BACKOFF_LEAST.min(full), full, random)
}

/// Drawn evenly, to the microsecond: what is drawn from few values is drawn by
/// many at once.
fn between(from: Duration, to: Duration, random: u64) -> Duration {
    let span = to.saturating_sub(from).as_micros();
    let share = span * u128::from(random) / (u128::from(u64::MAX) + 1);
    from + Duration::from_micros(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn bounds(wait: impl Fn(u64) -> Duration) -> (u64, u64) {
        let mut draws = Draws::new(7);
        let waits: Vec<Duration> = (0..10_000).map(|_| wait(draws.draw())).collect();
        let (least, most) = (waits.iter().min(), waits.iter().max());
        let edge = |wait: Option<&Duration>| wait.expect("there are many").as_secs_f64();
        (edge(least).round() as u64, edge(most).round() as u64)
    }

    #[test]
    fn the_first_look_is_within_the_first_period_and_half_a_minute() {
        assert_eq!(bounds(|bits| first(SECOND, bits)), (0, 1));
        assert_eq!(bounds(|bits| first(MINUTE, bits)), (0, 30));
        assert_eq!(bounds(|bits| first(DAY, bits)), (0, 30));
    }

    #[test]
    fn looks_are_spread_over_half_to_one_and_a_half_periods() {
        assert_eq!(bounds(|bits| next(MINUTE, 0, bits)), (30, 90));
    }

    #[test]
    fn a_remote_that_fails_is_asked_at_any_time_up_to_twice_as_late_and_at_most_an_hour() {
        for (failures, latest) in [(1, 120), (2, 240), (5, 1920), (6, 3600), (u32::MAX, 3600)] {
            let (least, most) = bounds(|bits| next(MINUTE, failures, bits));
            assert!(least <= 2, "{failures}: {least}");
            assert!(most.abs_diff(latest) <= latest / 100, "{failures}: {most}");
        }
        assert_eq!(bounds(|bits| next(SECOND, 1, bits)), (1, 2));
        let (_, most) = bounds(|bits| next(DAY, 3, bits));
        assert!(most.abs_diff(DAY.as_secs()) < 60, "never sooner than usual");
    }

    #[test]
    fn draws_are_those_of_their_seed_and_of_no_other() {
        let draws = |seed| {
            let mut draws = Draws::new(seed);
            [draws.draw(), draws.draw(), draws.draw()]
        };
        assert_eq!(draws(1), draws(1));
        let all: std::collections::HashSet<u64> = (0..100).flat_map(draws).collect();
        assert_eq!(all.len(), 300);
    }
}
