//! `deploy-flake show`: all that is kept of one deployment.
//!
//! In: the beginning of an id, or none. Out: a page, or the record as JSON. Must not: need
//! the daemon, or the systems of that time.

use anyhow::Context as _;
use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Question, Reach, Selection};
use super::json;
use super::output::{Output, print};
use super::past::{self, page};
use crate::host::clock;
use crate::store::history::{self, History};

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The beginning of the deployment's id, as `history` shows it; without one,
    /// the deployment that ended last. Then the hosts to ask, through your own
    /// ssh; here if none is given. Of an id at least 4 digits tell it from a host;
    /// nixos://HOST is always a host.
    #[arg(value_name = "ID|HOST")]
    words: Vec<String>,
    #[command(flatten)]
    reach: Reach,
    /// For people, or the record as JSON.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (ids, hosts) = past::split(&arguments.words, 1, past::is_id);
    let selection = Selection::new(hosts, &arguments.reach)?;
    if selection.is_given() {
        let question = Question {
            name: "show",
            words: ids.to_vec(),
            codes: &[0],
        };
        return hosts::pages(&selection, &question, arguments.output);
    }
    let history = History::new(history::DIRECTORY);
    let mut entries = past::entries(&history)?;
    let entry = match ids.first() {
        Some(id) => past::find(entries, id)?,
        None => entries.pop().ok_or_else(past::nothing_kept)?,
    };
    let record = past::read(&history, &entry)?;
    print(&match arguments.output {
        Output::Text => page::render(&record, clock::now().wall),
        Output::Json => json::pretty(&record).context("write the deployment as JSON")?,
    })?;
    Ok(Exit::Success)
}
