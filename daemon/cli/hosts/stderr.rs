//! What ssh, or the command on the far side, wrote to standard error.
//!
//! In: the end of it, which others wrote. Out: why it failed and what to do, safe
//! to show. Must not: decide how anything ended.

use crate::model::text::{LINE_LIMIT, one_line};

/// Why a command failed and what to do, from what ours write to standard error.
pub(super) fn refusal(stderr: &str) -> (String, Option<String>) {
    let find = |start: &str| {
        let mut lines = stderr.lines();
        let line = lines.find_map(|line| line.trim().strip_prefix(start))?;
        Some(one_line(line, LINE_LIMIT))
    };
    let why = match (find("error: "), find("caused by: ")) {
        (Some(error), Some(cause)) => format!("{error}: {cause}"),
        (Some(error), None) => error,
        (None, _) => last_line(stderr).unwrap_or_else(|| "it does not say why".to_owned()),
    };
    (why, find("hint: "))
}

/// The last line that says anything.
pub(super) fn last_line(stderr: &str) -> Option<String> {
    let line = stderr.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(one_line(line.trim(), LINE_LIMIT))
}

/// Whether trying again is of no use, by what OpenSSH's client says.
pub(super) fn is_final(stderr: &str) -> bool {
    const FINAL: [&str; 5] = [
        "Permission denied",
        "Host key verification failed",
        "Could not resolve hostname",
        "Bad configuration option",
        "hostname contains invalid characters",
    ];
    FINAL.iter().any(|words| stderr.contains(words))
}
