//! How far a build is, and one line of text for it.
//!
//! In: counts and a line that others wrote. Out: the same as data and as text, which
//! is read back. Must not: keep more than a line of a terminal can show.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text::one_line;

/// How much of the last line is kept, in characters.
pub const LINE_LIMIT: usize = 200;

/// How far a build is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Derivations that are built.
    #[serde(default)]
    pub built: Count,
    /// Store paths that are fetched from caches.
    #[serde(default)]
    pub fetched: Count,
    /// What was said or begun last; empty, if nothing was.
    #[serde(default)]
    pub last_line: String,
}

/// How much of something is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// So many are.
    pub done: u64,
    /// So many are known to be needed; more may turn up.
    pub expected: u64,
}

impl Progress {
    /// The same, made safe to show and short.
    pub fn new(built: Count, fetched: Count, last_line: &str) -> Self {
        Self {
            built: built.consistent(),
            fetched: fetched.consistent(),
            last_line: one_line(last_line.trim(), LINE_LIMIT),
        }
    }

    /// Whether anything is to be done, as far as is known.
    pub fn is_known(&self) -> bool {
        self.built.expected > 0 || self.fetched.expected > 0
    }

    /// The counts alone, such as `1 of 3 built, 0 of 12 fetched`.
    pub fn counts(&self) -> String {
        let built = self.built.words("built");
        let fetched = self.fetched.words("fetched");
        let told: Vec<String> = [built, fetched].into_iter().flatten().collect();
        told.join(", ")
    }

    /// Reads what [`fmt::Display`] wrote. None: it is nothing of the kind.
    pub fn parse(text: &str) -> Option<Self> {
        let (counts, last_line) = text.split_once(": ").unwrap_or((text, ""));
        let mut progress = Self::new(Count::default(), Count::default(), last_line);
        for part in counts.split(", ") {
            let (count, what) = Count::parse(part)?;
            match what {
                "built" => progress.built = count,
                "fetched" => progress.fetched = count,
                // A newer version counts something more.
                _ => {}
            }
        }
        Some(progress)
    }
}

/// Nothing, before anything is known.
impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.counts())?;
        if self.is_known() && !self.last_line.is_empty() {
            write!(formatter, ": {}", self.last_line)?;
        }
        Ok(())
    }
}

impl Count {
    /// What is done was needed, whoever says otherwise.
    fn consistent(self) -> Self {
        Self {
            expected: self.expected.max(self.done),
            ..self
        }
    }

    fn words(self, what: &str) -> Option<String> {
        let Self { done, expected } = self;
        (expected > 0).then(|| format!("{done} of {expected} {what}"))
    }

    fn parse(text: &str) -> Option<(Self, &str)> {
        let (done, rest) = text.split_once(" of ")?;
        let (expected, what) = rest.split_once(' ')?;
        let (done, expected) = (done.parse().ok()?, expected.parse().ok()?);
        let is_word = what.bytes().all(|byte| byte.is_ascii_lowercase());
        is_word.then_some((Self { done, expected }.consistent(), what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::is_unsafe;

    const fn count(done: u64, expected: u64) -> Count {
        Count { done, expected }
    }

    #[test]
    fn the_text_is_for_people_and_is_read_back() {
        for (built, fetched, line, text) in [
            (count(1, 3), count(0, 0), "", "1 of 3 built"),
            (
                count(1, 3),
                count(2, 70),
                "two> warning: unused, ",
                "1 of 3 built, 2 of 70 fetched: two> warning: unused,",
            ),
            (count(0, 0), count(0, 1), "x", "0 of 1 fetched: x"),
        ] {
            let progress = Progress::new(built, fetched, line);
            assert_eq!(progress.to_string(), text);
            assert_eq!(Progress::parse(text), Some(progress));
        }
        assert_eq!(Progress::default().to_string(), "");
        let newer = Progress::parse("1 of 3 built, 7 of 9 signed: x");
        assert_eq!(newer, Some(Progress::new(count(1, 3), count(0, 0), "x")));
    }

    #[test]
    fn what_is_no_progress_is_not_taken_for_one() {
        for text in [
            "",
            ": x",
            "looking at the remote",
            "1 of 3",
            "-1 of 3 built",
            "1 of 3 built,2 of 3 fetched",
            "1 of 3 built, ",
            "1 of 99999999999999999999 built",
        ] {
            assert_eq!(Progress::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_line_of_others_is_short_and_steers_no_terminal() {
        let hostile = "\u{1b}]52;c;eA==\u{7}\n\u{202e}: 9 of 9 built".repeat(1000);
        let progress = Progress::new(count(1, 3), count(0, 0), &hostile);
        let text = progress.to_string();
        assert!(!text.chars().any(is_unsafe), "{text}");
        assert!(text.chars().count() <= LINE_LIMIT + 20, "{text}");
        assert_eq!(Progress::parse(&text), Some(progress));
    }
}
