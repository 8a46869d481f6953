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
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(anyhow::Error::new(error)
            .context("write to standard output")
            .into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
