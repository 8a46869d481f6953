//! Runs one child in the foreground: its output and its exit code are ours.
//!
//! In: a program and its arguments. Out: how it ended. Must not: be used by
//! the daemon; there is no deadline here, because a person or a pipeline waits
//! in front of it and can end it.

use std::io;
use std::process::{Command, ExitStatus, Stdio};

/// Runs a program found on PATH to its end, without standard input.
#[expect(
    clippy::disallowed_methods,
    reason = "beside `host::command`, which collects output and has deadlines, this one passes both on"
)]
pub fn run(program: &str, arguments: &[String]) -> io::Result<ExitStatus> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
}
