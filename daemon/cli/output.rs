//! Where and how a command writes its results.
//!
//! In: text. Out: standard output. Must not: panic when nobody reads any more.

use std::io::{self, Write as _};

use clap::ValueEnum;

use super::failure::Failure;

/// For whom a command writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    #[value(alias = "tui")]
    Text,
    /// For programs: JSON of a versioned schema.
    Json,
}

impl Output {
    /// The word on the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Writes the text and a line break, at once. A reader who has seen enough, as
/// in `deploy-flake status | head`, is no error: the exit code still counts.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

/// Writes the text as it is, at once; for a reader who has gone see [`print`].
pub(super) fn write(text: &str) -> Result<(), Failure> {
    attempt(text).map(drop)
}

/// Whether somebody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Nothing says otherwise.
    There,
    /// Nobody will ever read what is written.
    Gone,
}

/// Writes a line as [`print`] does, and says whether it is worth going on.
pub(super) fn offer(text: &str) -> Result<Reader, Failure> {
    attempt(&format!("{text}\n"))
}

fn attempt(text: &str) -> Result<Reader, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(anyhow::Error::new(error)
            .context("write to standard output")
            .into()),
    }
}
