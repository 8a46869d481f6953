//! `deploy-flake probe`: what the network looks like from this closure.
//!
//! In: the closure's files. Out: one line of JSON. Must not: have any effect.
//!
//! Daemons of other versions run this: arguments are only ever added, and none
//! that is not given may be needed. What this does not understand, it refuses
//! with the code for arguments, which those daemons take for "has no probe".

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::output::print;
use crate::config;
use crate::host::environment;
use crate::probe::process::{self, Probe};

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The closure's configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A configuration file of the closure's ssh server; if it is missing, the
    /// server's defaults count.
    #[arg(long, value_name = "FILE")]
    sshd_config: Vec<PathBuf>,
    /// Where systemd listens for the closure's ssh server (`ListenStream=`).
    #[arg(long, value_name = "ADDRESS")]
    ssh_listen: Vec<String>,
    /// The closure's own program that says whether the host is well.
    #[arg(long, value_name = "PROGRAM")]
    health_check: Option<PathBuf>,
    /// How long all of it may take, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS")]
    within: u64,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let (config, _warnings) = config::load(&arguments.config).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Error, error).hint(hint)
    })?;
    let line = process::run(&Probe {
        config,
        credentials: environment::credentials_directory(),
        sshd_configs: arguments.sshd_config,
        ssh_listen: arguments.ssh_listen,
        health_check: arguments.health_check,
        within: Duration::from_millis(arguments.within),
    })?;
    print(&line)?;
    Ok(Exit::Success)
}
