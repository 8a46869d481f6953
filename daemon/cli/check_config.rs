//! `deploy-flake check-config`: what the daemon would say of a file.
//!
//! In: a file. Out: that it is correct and what it means, or every mistake in
//! it. Must not: have any effect.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::output::print;
use crate::config::{self, Config, DEFAULT_FILE, duration};

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (config, warnings) = config::load(&arguments.file).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Error, error).hint(hint)
    })?;
    for warning in warnings {
        print(&format!("warning: {warning}"))?;
    }
    print(&meaning(&arguments.file.display().to_string(), &config))?;
    Ok(Exit::Success)
}

fn meaning(file: &str, config: &Config) -> String {
    let configuration = match &config.configuration {
        Some(name) => format!("nixosConfigurations.\"{name}\""),
        None => "the configuration named like the host".to_owned(),
    };
    let remotes = config.remotes.iter().map(|remote| {
        let (address, every) = (&remote.address, duration::show(remote.poll_interval));
        format!("{} of {}, asked every {every}", address.branch, address.url)
    });
    let remotes: Vec<String> = remotes.collect();
    format!(
        "{file} is correct: this host follows {}, and runs {configuration}.",
        remotes.join(", or "),
    )
}
