//! `deploy-flake show`: all that is kept of one deployment.
//!
//! In: the beginning of an id. Out: a page, or the record as JSON. Must not: need
//! the daemon, or the systems of that time.

use anyhow::Context as _;
use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Question, Selection};
use super::output::{Output, print};
use super::past::{self, page};
use crate::host::clock;
use crate::store::history::{self, History};

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The beginning of the deployment's id, as `history` shows it.
    #[arg(value_name = "ID", value_parser = id)]
    id: String,
    #[command(flatten)]
    selection: Selection,
    /// For people, or the record as JSON.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.selection.is_given() {
        let question = Question {
            name: "show",
            words: vec![arguments.id.clone()],
            codes: &[0],
        };
        return hosts::pages(&arguments.selection, &question, arguments.output);
    }
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

/// What begins an id: nothing that the far side would take for an option.
fn id(text: &str) -> Result<String, String> {
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one
        .then(|| text.to_owned())
        .ok_or_else(|| "expected hexadecimal digits, as `deploy-flake history` has them".to_owned())
}
