//! When to try a candidate again.
//!
//! In: intervals, counts and random bits. Out: durations and times. Must not:
//! draw the random bits itself.

use std::time::Duration;

use jiff::Timestamp;

use super::state::Retry;

/// The longest wait between two attempts at the same candidate.
pub const RETRY_CAP: Duration = Duration::from_secs(3600);

/// Doubling stops here; the cap is reached long before.
const MOST_DOUBLINGS: u32 = 16;

/// A fraction of a duration, drawn evenly from `from` to `to` thousandths.
fn fraction(duration: Duration, from: u64, to: u64, random: u64) -> Duration {
    let thousandths = from + random % (to - from + 1);
    duration.mul_f64(thousandths as f64 / 1000.0)
}

/// The next attempt after `attempts` failed ones in a row: doubling from the
/// interval, capped, drawn from the upper half (a wait near zero would only
/// repeat the failure).
pub fn retry_after(attempts: u32, interval: Duration, now: Timestamp, random: u64) -> Retry {
    let doublings = attempts.saturating_sub(1).min(MOST_DOUBLINGS);
    let full = interval.saturating_mul(1_u32 << doublings).min(RETRY_CAP);
    let wait = fraction(full, 500, 1000, random);
    Retry {
        attempts,
        out_of_memory: 0,
        not_before: now.saturating_add(wait).unwrap_or(Timestamp::MAX),
    }
}

/// Whether a retry is due. A time further away than the cap can only come from
/// a clock that was set; it is not waited for.
pub fn is_due(retry: &Retry, now: Timestamp) -> bool {
    let latest = now.saturating_add(RETRY_CAP).unwrap_or(Timestamp::MAX);
    retry.not_before <= now || retry.not_before > latest
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds is a time")
    }

    #[test]
    fn retries_double_up_to_the_cap() {
        let wait = |attempts| {
            let retry = retry_after(attempts, MINUTE, at(0), 500);
            retry.not_before.as_second()
        };
        assert_eq!([wait(1), wait(2), wait(3)], [60, 120, 240]);
        assert_eq!(wait(20), 3600);
        assert_eq!(wait(u32::MAX), 3600);
    }

    #[test]
    fn a_retry_beyond_the_cap_is_due_because_the_clock_was_set() {
        let retry = |second| Retry {
            attempts: 1,
            out_of_memory: 0,
            not_before: at(second),
        };
        assert!(is_due(&retry(100), at(100)));
        assert!(!is_due(&retry(100), at(99)));
        assert!(!is_due(&retry(3700), at(100)));
        assert!(is_due(&retry(3701), at(100)));
    }
}
