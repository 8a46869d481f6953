//! Lengths of time and numbers of bytes for people.
//!
//! In: numbers. Out: words. Must not: be read by programs; JSON has the
//! numbers themselves.

/// A length of time in its two largest units: `0.3 s`, `12 s`, `1 min 30 s`.
pub(in super::super) fn lasted(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (hours, minutes, seconds) {
        (0, 0, 0..10) => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        (0, 0, _) => format!("{seconds} s"),
        (0, _, _) => format!("{minutes} min {} s", seconds % 60),
        (0..48, _, _) => format!("{hours} h {} min", minutes % 60),
        (_, _, _) => format!("{} days {} h", hours / 24, hours % 24),
    }
}

/// How many bytes, to a tenth of the largest unit.
pub(in super::super) fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

/// The same with its sign.
pub(in super::super) fn growth(by: i64) -> String {
    let sign = if by < 0 { '-' } else { '+' };
    format!("{sign}{}", bytes(by.unsigned_abs()))
}

/// A number with its noun.
pub(in super::super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_told_in_two_units() {
        for (milliseconds, told) in [
            (0, "0.0 s"),
            (340, "0.3 s"),
            (9_999, "9.9 s"),
            (12_000, "12 s"),
            (90_250, "1 min 30 s"),
            (3_600_000, "1 h 0 min"),
            (47 * 3_600_000, "47 h 0 min"),
            (50 * 3_600_000, "2 days 2 h"),
        ] {
            assert_eq!(lasted(milliseconds), told);
        }
    }

    #[test]
    fn bytes_are_told_with_a_tenth() {
        for (number, told) in [
            (0, "+0 B"),
            (-1023, "-1023 B"),
            (1536, "+1.5 KiB"),
            (-(5 << 30), "-5.0 GiB"),
            (i64::MIN, "-8589934592.0 GiB"),
        ] {
            assert_eq!(growth(number), told);
        }
    }

    #[test]
    fn a_number_has_its_noun() {
        assert_eq!(
            (count(1, "path"), count(2, "path")),
            ("1 path".into(), "2 paths".into())
        );
    }
}
