//! Sizes as people write them: "512MiB", "1GiB".
//!
//! In: text and bounds. Out: a number of bytes. Must not: guess a unit, or
//! whether a GB has 1000 or 1024 of anything.

use std::ops::RangeInclusive;

/// The units, largest first, in bytes.
const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Why text is no acceptable size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadSize {
    /// Only digits.
    NoUnit,
    /// Not a whole number with one unit.
    Malformed,
    /// Outside the bounds.
    OutOfRange,
}

/// Reads a size within the bounds.
pub(crate) fn parse(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, BadSize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(BadSize::Malformed);
    }
    if unit.is_empty() {
        return Err(BadSize::NoUnit);
    }
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(BadSize::Malformed)?;
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .filter(|bytes| bounds.contains(bytes))
        .ok_or(BadSize::OutOfRange)
}

/// Writes a size in the largest unit that needs no fraction, so that it is
/// read back as the same.
pub(crate) fn show(bytes: u64) -> String {
    let fits = |factor: u64| bytes >= factor && bytes.is_multiple_of(factor);
    match UNITS.iter().find(|(_, factor)| fits(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => "0B".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: RangeInclusive<u64> = 0..=(1 << 50);

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, expected) in [
            ("0B", Ok(0)),
            ("1KiB", Ok(1024)),
            ("512MiB", Ok(512 << 20)),
            ("1GiB", Ok(1 << 30)),
            ("1024TiB", Ok(1 << 50)),
            ("1025TiB", Err(BadSize::OutOfRange)),
            ("99999999999999999999B", Err(BadSize::OutOfRange)),
            ("99999999999TiB", Err(BadSize::OutOfRange)),
            ("1024", Err(BadSize::NoUnit)),
            ("", Err(BadSize::Malformed)),
            ("GiB", Err(BadSize::Malformed)),
            ("1GB", Err(BadSize::Malformed)),
            ("1 GiB", Err(BadSize::Malformed)),
            ("1.5GiB", Err(BadSize::Malformed)),
            ("-1GiB", Err(BadSize::Malformed)),
            ("1GiB1MiB", Err(BadSize::Malformed)),
        ] {
            assert_eq!(parse(text, &BOUNDS), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [0, 1, 1023, 1024, 1536, 1 << 30, (1 << 30) + 1, 1 << 50] {
            assert_eq!(parse(&show(bytes), &BOUNDS), Ok(bytes), "{}", show(bytes));
        }
    }
}
