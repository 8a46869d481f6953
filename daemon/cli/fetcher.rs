//! `deploy-flake fetcher`: the process that talks to remotes.
//!
//! In: the mirror's directory; requests come on standard input. Out: answers
//! there. Must not: be started by anybody but the daemon.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use crate::host::environment;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The mirror's directory.
    #[arg(long, value_name = "DIR")]
    mirror: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let credentials = environment::credentials_directory();
    crate::fetcher::process::run(&arguments.mirror, credentials)?;
    Ok(Exit::Success)
}
