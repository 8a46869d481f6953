//! A command that did not do what it was asked for: why, and what to do.
//!
//! In: an error with its causes, and hints. Out: the same lines everywhere:
//! message, causes, hints. Must not: let anything through that steers a
//! terminal.

use std::fmt;

use super::exit::Exit;
use crate::model::text::lines;

/// How much of one message is shown, in characters: all mistakes of a
/// configuration file fit.
const MESSAGE_LIMIT: usize = 32 * 1024;

/// Why a command ended, and with which code.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// The message and its causes.
    pub error: anyhow::Error,
    /// What to do, as sentences.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure with its code.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
            hints: Vec::new(),
        }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Error, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |message: String| lines(&message, MESSAGE_LIMIT);
        write!(formatter, "error: {}", shown(self.error.to_string()))?;
        for cause in self.error.chain().skip(1) {
            write!(formatter, "\n  caused by: {}", shown(cause.to_string()))?;
        }
        for hint in &self.hints {
            write!(formatter, "\nhint: {}", shown(hint.clone()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn message_causes_and_hints_stand_on_lines_of_their_own() {
        let error = anyhow!("no \u{1b}[1mroute").context("reach the bus");
        let failure = Failure::new(Exit::Error, error).hint("Try it as root.");
        assert_eq!(
            failure.to_string(),
            "error: reach the bus\n  caused by: no \\u{1b}[1mroute\nhint: Try it as root."
        );
    }
}
