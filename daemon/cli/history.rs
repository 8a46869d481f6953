//! `deploy-flake history`: the deployments that ended, newest first.
//!
//! In: the files of the history. Out: a table or JSON. Must not: need the daemon,
//! or let one damaged file hide the others.

use clap::Args;
use serde::Serialize;

use anyhow::Context as _;

use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Question, Selection};
use super::json;
use super::output::{Output, print};
use super::past::{self, table};
use super::text::WIDTH;
use crate::host::{clock, terminal};
use crate::store::history::{self, History, Record};

/// The version of the JSON.
const SCHEMA: u32 = 1;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// How many are shown, newest first.
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// How wide the table may be, for whoever asks from afar.
    #[arg(long, value_name = "N", hide = true)]
    columns: Option<usize>,
    /// For people, or JSON: all that is kept of each.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// The JSON.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    /// How many are kept.
    kept: usize,
    /// Newest first.
    deployments: &'a [Record],
    unreadable: Vec<Unreadable<'a>>,
}

/// A file that could not be read.
#[derive(Serialize)]
struct Unreadable<'a> {
    file: &'a str,
    why: &'a str,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.selection.is_given() {
        let limit = ["--limit".to_owned(), arguments.limit.to_string()];
        // What is usual is not said: an older host does not know the word.
        let columns = match columns() {
            WIDTH => Vec::new(),
            other => vec!["--columns".to_owned(), other.to_string()],
        };
        let question = Question {
            name: "history",
            words: [limit.to_vec(), columns].concat(),
            codes: &[0],
        };
        return hosts::pages(&arguments.selection, &question, arguments.output);
    }
    let history = History::new(history::DIRECTORY);
    let entries = past::entries(&history)?;
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    for entry in entries.iter().rev().take(arguments.limit) {
        match history.read(entry) {
            Ok(record) => records.push(record),
            Err(error) => {
                let why = format!("{:#}", anyhow::Error::new(error));
                unreadable.push((entry.file_name(), why));
            }
        }
    }
    print(&match arguments.output {
        Output::Text => {
            let table = table::Table {
                records: &records,
                unreadable: &unreadable,
                kept: entries.len(),
                columns: arguments.columns.unwrap_or_else(columns),
            };
            table::render(&table, clock::now().wall)
        }
        Output::Json => json(&records, &unreadable, entries.len())?,
    })?;
    Ok(Exit::Success)
}

/// How wide the table is: as the terminal, but not so narrow that nothing fits.
fn columns() -> usize {
    terminal::size().map_or(WIDTH, |size| size.columns.max(WIDTH))
}

fn json(
    records: &[Record],
    unreadable: &[(String, String)],
    kept: usize,
) -> Result<String, Failure> {
    let unreadable = unreadable
        .iter()
        .map(|(file, why)| Unreadable { file, why });
    let document = Document {
        schema: SCHEMA,
        kept,
        deployments: records,
        unreadable: unreadable.collect(),
    };
    Ok(json::pretty(&document).context("write the history as JSON")?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::history::example::deployed;

    #[test]
    fn the_json_has_a_schema_and_each_record_as_it_is() {
        let torn = ("7-0a.json".to_owned(), "torn".to_owned());
        let text = json(&[deployed()], &[torn], 2).expect("it serialises");
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(
            value,
            json!({
                "schema": 1,
                "kept": 2,
                "deployments": [serde_json::to_value(deployed()).expect("it serialises")],
                "unreadable": [{ "file": "7-0a.json", "why": "torn" }],
            })
        );
    }
}
