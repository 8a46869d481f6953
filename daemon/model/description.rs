//! What a commit says of itself, and who vouches for it: for people, long after
//! the commit was judged.
//!
//! In: nothing. Out: plain data. Must not: be what anything is decided by.

use serde::{Deserialize, Serialize};

use super::text::{LINE_LIMIT, one_line};

/// A commit, described.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The first line of its message, escaped and cut.
    pub subject: String,
    /// Who signed it, where keys are demanded.
    #[serde(default)]
    pub signer: Option<Signer>,
}

/// Who vouches for a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// By which name the keys know them, escaped and cut.
    pub principal: String,
    /// The key's fingerprint.
    pub key: String,
}

impl Description {
    /// Takes the message of a commit, in whatever encoding.
    pub fn of(message: &[u8], signer: Option<Signer>) -> Self {
        let line = message
            .split(|byte| *byte == b'\n')
            .find(|line| !line.is_empty());
        let line = String::from_utf8_lossy(line.unwrap_or_default());
        Self {
            subject: one_line(line.trim(), LINE_LIMIT),
            signer,
        }
    }
}

impl Signer {
    /// Makes what a file of keys says safe to show.
    pub fn new(principal: &str, key: &str) -> Self {
        Self {
            principal: one_line(principal, LINE_LIMIT),
            key: one_line(key, LINE_LIMIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_is_the_first_line_made_safe() {
        for (message, subject) in [
            (&b"web: serve more\n\nBecause.\n"[..], "web: serve more"),
            (b"\n\nlate", "late"),
            (b"", ""),
            (b"red \x1b[31m", "red \\u{1b}[31m"),
            (b"latin \xe9", "latin \u{fffd}"),
        ] {
            assert_eq!(Description::of(message, None).subject, subject);
        }
        let long = "x".repeat(1 << 20);
        let subject = Description::of(long.as_bytes(), None).subject;
        assert_eq!(subject.chars().count(), LINE_LIMIT + 1);
    }
}
