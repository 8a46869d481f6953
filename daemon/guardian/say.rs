//! What the guardian says, for the journal.
//!
//! In: a line. Out: nothing. Must not: fail or panic when nobody listens; a
//! journal that is dead is one of the things it is there for.

use std::io::Write as _;

/// Writes one line to standard error.
pub(super) fn say(line: &str) {
    // A line that is lost is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{line}");
}
