//! How figures are shown.
//!
//! In: durations, bytes, and several of a kind. Out: text.

use std::time::Duration;

/// The middle one of some.
pub fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations[durations.len() / 2]
}

/// Milliseconds with two digits, or none where there are many.
pub fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    let digits = if milliseconds < 100.0 { 2 } else { 0 };
    format!("{milliseconds:.digits$} ms")
}

/// Millions of bytes.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// The middle one of some, with the least and the most.
pub fn spread(mut figures: Vec<f64>, digits: usize) -> String {
    figures.sort_by(f64::total_cmp);
    let (middle, last) = (figures[figures.len() / 2], figures[figures.len() - 1]);
    format!(
        "{middle:.digits$} ({:.digits$}..{last:.digits$})",
        figures[0]
    )
}
