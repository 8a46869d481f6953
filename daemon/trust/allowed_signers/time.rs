//! Times as ssh-keygen writes them.
//!
//! In: digits and `Z`. Out: an instant. Must not: know of time zones; a time
//! without `Z` would make the same file mean different things on two hosts.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Parses `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, each with `Z` or `UTC`
/// behind it.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let digits = text
        .strip_suffix('Z')
        .or_else(|| text.strip_suffix("UTC"))?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let full = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| full[from..to].parse::<i8>().ok();
    let year = full[..4].parse().ok()?;
    let time = DateTime::new(
        year,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?,
        0,
    );
    TimeZone::UTC.to_timestamp(time.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_in_utc_and_exact() {
        for (text, shown) in [
            ("20240229Z", "2024-02-29T00:00:00Z"),
            ("202402291530Z", "2024-02-29T15:30:00Z"),
            ("20240229153059Z", "2024-02-29T15:30:59Z"),
            ("20240229UTC", "2024-02-29T00:00:00Z"),
        ] {
            assert_eq!(parse(text).map(|it| it.to_string()).as_deref(), Some(shown));
        }
        for text in [
            "",
            "Z",
            "20240229",
            "20230229Z",
            "2024022Z",
            "20240229Z ",
            "20241301Z",
            "202402292460Z",
            "2024022915Z",
            "+2024229Z",
            "20240229153060Z",
            "２０２４０２２９Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
