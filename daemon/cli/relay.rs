//! `deploy-flake relay`: runs a build, and relays what it says.
//!
//! In: Nix's command line. Out: lines for the journal, progress for the service
//! manager, and Nix's own end. Must not: be used by hand.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap::Args;
use rustix::process::{Signal, getpid, kill_process};

use super::exit::Exit;
use super::failure::Failure;
use crate::relay::process;
use crate::report::notify;

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
    let status = process::run(program, rest, notify::status)
        .with_context(|| format!("run {}", program.display()))?;
    if let Some(signal) = status.signal().and_then(Signal::from_named_raw) {
        // What cannot be sent to oneself is told by the status below.
        let _ = kill_process(getpid(), signal);
    }
    std::process::exit(status.code().unwrap_or(Exit::Error.code().into()))
}
