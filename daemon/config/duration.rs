//! Durations as people write them: "60s", "5m", "6h", "1h30m".
//!
//! In: text and bounds. Out: a `Duration`. Must not: guess a unit.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The units, largest first, in seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Why text is no acceptable duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadDuration {
    /// Only digits.
    NoUnit,
    /// Not numbers with units, each unit at most once, the larger first.
    Malformed,
    /// Outside the bounds.
    OutOfRange,
}

/// Reads a duration within the bounds.
pub(crate) fn parse(
    text: &str,
    bounds: &RangeInclusive<Duration>,
) -> Result<Duration, BadDuration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadDuration::NoUnit);
    }
    let seconds = seconds(text)?;
    let duration = Duration::from_secs(seconds);
    if bounds.contains(&duration) {
        Ok(duration)
    } else {
        Err(BadDuration::OutOfRange)
    }
}

/// Adds up the numbers. A sum too large to count is out of any range.
fn seconds(text: &str) -> Result<u64, BadDuration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next().ok_or(BadDuration::Malformed)?;
        // Taking from the same iterator makes a unit that comes twice, or a
        // larger one after a smaller one, unknown.
        let (_, factor) = units
            .find(|(name, _)| *name == unit)
            .ok_or(BadDuration::Malformed)?;
        if number.is_empty() {
            return Err(BadDuration::Malformed);
        }
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor))
            .and_then(|part| total.checked_add(part))
            .ok_or(BadDuration::OutOfRange)?;
        rest = &tail[unit.len_utf8()..];
    }
    if text.is_empty() {
        return Err(BadDuration::Malformed);
    }
    Ok(total)
}

/// Writes a duration the way it is read.
pub(crate) fn show(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (unit, factor) in UNITS {
        if rest >= factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        let bounds = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
        for (text, seconds) in [
            ("60s", 60),
            ("5m", 300),
            ("6h", 21_600),
            ("1h30m", 5_400),
            ("1d1h1m1s", 90_061),
            ("90s", 90),
        ] {
            assert_eq!(parse(text, &bounds), Ok(Duration::from_secs(seconds)));
        }
        for (text, why) in [
            ("", BadDuration::Malformed),
            ("60", BadDuration::NoUnit),
            ("s", BadDuration::Malformed),
            ("5 m", BadDuration::Malformed),
            ("-5m", BadDuration::Malformed),
            ("1.5h", BadDuration::Malformed),
            ("5ms", BadDuration::Malformed),
            ("1m1m", BadDuration::Malformed),
            ("1s1m", BadDuration::Malformed),
            ("5µ", BadDuration::Malformed),
            ("1m5", BadDuration::Malformed),
            ("0s", BadDuration::OutOfRange),
            ("8d", BadDuration::OutOfRange),
            ("99999999999999999999d", BadDuration::OutOfRange),
            ("9999999999999999999d", BadDuration::OutOfRange),
        ] {
            assert_eq!(parse(text, &bounds), Err(why), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let bounds = Duration::ZERO..=Duration::MAX;
        for seconds in [0, 1, 59, 60, 3_599, 5_400, 90_061] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&show(duration), &bounds), Ok(duration));
        }
    }
}
