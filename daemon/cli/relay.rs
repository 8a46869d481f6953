//! `deploy-flake relay`: runs a build, and relays what it says.
//!
//! In: Nix's command line. Out: lines for the journal, progress for the service
//! manager, and Nix's own end. Must not: be used by hand.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use anyhow::anyhow;
use clap::Args;
use rustix::process::{Signal, getpid, kill_process};

use super::exit::Exit;
use super::failure::Failure;
use crate::relay::process;
use crate::report::notify;

/// What systemd ends with where it cannot start a program (systemd.exec(5)).
const EXIT_EXEC: i32 = 203;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The command, which writes `--log-format internal-json`.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Ends as the command did: systemd and the daemon judge the build by it.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (program, rest) = arguments
        .command
        .split_first()
        .ok_or_else(|| Failure::new(Exit::Usage, anyhow!("there is no command")))?;
    let program = Path::new(program);
    let status = match process::run(program, rest, notify::status) {
        Ok(status) => status,
        // The build never ran, and no commit is judged by that.
        Err(error) => {
            eprintln!("cannot run {}: {error}", program.display());
            std::process::exit(EXIT_EXEC);
        }
    };
    match status.code() {
        Some(code) => std::process::exit(code),
        None => end_by(status.signal().and_then(Signal::from_named_raw)),
    }
}

/// Ends by that signal, and never as if the command had said no.
fn end_by(signal: Option<Signal>) -> ! {
    for signal in signal.into_iter().cycle().take(2) {
        // Rust's own handler of some takes the first one, and steps aside.
        let _ = kill_process(getpid(), signal);
    }
    std::process::abort()
}
