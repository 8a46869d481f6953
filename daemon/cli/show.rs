//! `deploy-flake show`: all that is kept of one deployment.
//!
//! In: the beginning of an id. Out: a page, or the record as JSON. Must not: need
//! the daemon, or the systems of that time.

use anyhow::Context as _;
use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, print};
use super::past::{self, page};
use crate::host::clock;
use crate::store::history::{self, History};

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The beginning of the deployment's id, as `history` shows it.
    #[arg(value_name = "ID")]
    id: String,
    /// For people, or the record as JSON.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let history = History::new(history::DIRECTORY);
    let entry = past::find(past::entries(&history)?, &arguments.id)?;
    let record = past::read(&history, &entry)?;
    print(&match arguments.output {
        Output::Text => page::render(&record, clock::now().wall),
        Output::Json => {
            serde_json::to_string_pretty(&record).context("write the deployment as JSON")?
        }
    })?;
    Ok(Exit::Success)
}
