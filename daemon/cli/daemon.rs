//! `deploy-flake daemon`: reads the configuration and starts the daemon.
//!
//! In: a file. Out: a process that ends when it is told to, or when it cannot
//! go on. Must not: do anything itself.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use crate::config::{self, Config, ConfigError, DEFAULT_FILE};
use crate::report::{milestones, notify};

/// How long a thread for what may hang is kept: each poll needs one, and by
/// default they are up to a minute and a half apart.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let config = configuration(arguments).map_err(refused)?;
    // One thread: the daemon waits for others nearly all the time, and threads
    // that wake each other were most of what a poll costs. What may hang has
    // threads of its own; anything else that hangs, the watchdog ends.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(KEEP_ALIVE)
        .build()
        .context("start the runtime")?;
    runtime.block_on(crate::daemon::run(&arguments.config, config))?;
    Ok(Exit::Success)
}

fn configuration(arguments: &Arguments) -> Result<Config, ConfigError> {
    let (config, warnings) = config::load(&arguments.config)?;
    for warning in warnings {
        milestones::configuration_warning(&warning.to_string());
    }
    Ok(config)
}

fn refused(error: ConfigError) -> Failure {
    let hint = error.hint();
    milestones::configuration_refused(&error.to_string());
    notify::status("the configuration is not accepted");
    Failure::new(Exit::Error, error).hint(hint)
}
