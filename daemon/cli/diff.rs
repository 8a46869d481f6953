//! `deploy-flake diff`: how two systems differ.
//!
//! In: deployments or systems. Out: packages, kernel, units and size, as text or
//! JSON. Must not: need the daemon; what is no longer in the store is told as far
//! as the history noted it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Serialize;

use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Question, Reach, Selection};
use super::json;
use super::output::{Output, print};
use super::past;
use super::past::difference;
use super::sheet::Sheet;
use super::text::{WIDTH, system};
use crate::host::closure::{self, ClosureError};
use crate::model::closure::Difference;
use crate::model::system::{StorePath, Toplevel};
use crate::store::history::{self, History, Record};

/// The version of the JSON.
const SCHEMA: u32 = 1;

/// The user's own, from PATH.
const NIX: &str = "nix";

/// Systems that have a name.
const NAMED: [(&str, &str); 3] = [
    ("running", "/run/current-system"),
    ("booted", "/run/booted-system"),
    ("profile", "/nix/var/nix/profiles/system"),
];

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One deployment, by the beginning of its id: what it changes. Two, or
    /// `running`, `booted`, `profile`, or paths of systems: from the first to the
    /// second. One system: from it to what runs. Nothing: what the last
    /// deployment changes that changes anything. Then the hosts to ask, through
    /// your own ssh; here if none is given. Of an id at least 4 digits tell it
    /// from a host; nixos://HOST is always a host.
    #[arg(value_name = "ID|SYSTEM|HOST")]
    words: Vec<String>,
    #[command(flatten)]
    reach: Reach,
    /// For people, or JSON.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Told {
    schema: u32,
    before: Toplevel,
    after: Toplevel,
    /// Whether Nix was asked now, or the history noted it then.
    from: Source,
    difference: Difference,
}

/// From where a difference is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    /// From the closures as they are in the store.
    Store,
    /// From the history, because a system is not in the store any more.
    History,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (of, hosts) = past::split(&arguments.words, 2, |word| {
        past::is_id(word) || path_of(word).is_some()
    });
    let selection = Selection::new(hosts, &arguments.reach)?;
    if !selection.is_given() {
        return here(of, arguments.output);
    }
    let question = Question {
        name: "diff",
        words: of.to_vec(),
        codes: &[0],
    };
    hosts::pages(&selection, &question, arguments.output)
}

fn here(of: &[String], output: Output) -> Result<Exit, Failure> {
    let history = History::new(history::DIRECTORY);
    let (before, after, noted) = asked(&history, of)?;
    let told = told(before, after, noted)?;
    print(&match output {
        Output::Text => text(&told),
        Output::Json => json::pretty(&told).context("write it as JSON")?,
    })?;
    Ok(Exit::Success)
}

/// The two systems, and what the history noted of their difference.
type Asked = (Toplevel, Toplevel, Option<Difference>);

fn asked(history: &History, of: &[String]) -> Result<Asked, Failure> {
    match of {
        [] => last(history),
        [one] => match named(one) {
            Some(system) => Ok((system?, running()?, None)),
            None => of_record(record(history, one)?),
        },
        [one, other, ..] => Ok((one_side(history, one)?, one_side(history, other)?, None)),
    }
}

/// The last deployment whose system is another than what ran before it.
fn last(history: &History) -> Result<Asked, Failure> {
    let entries = past::entries(history)?;
    // One that cannot be read is told by `history`.
    let records = entries
        .iter()
        .rev()
        .filter_map(|entry| history.read(entry).ok());
    let mut changing = records.filter(|record| record.systems().is_some());
    match changing.next() {
        Some(record) => of_record(record),
        None => Err(
            Failure::from(anyhow!("no deployment is kept that changed the system"))
                .hint("Name two systems: `deploy-flake diff booted running`."),
        ),
    }
}

fn of_record(record: Record) -> Result<Asked, Failure> {
    let systems = record
        .systems()
        .map(|(before, after)| (before.clone(), after.clone()));
    match systems {
        Some((before, after)) => Ok((before, after, record.difference)),
        None => {
            let why = match &record.toplevel {
                Some(_) => "its system is the one that ran before",
                None => "it ended before its system was built",
            };
            let id = past::short(&record.deployment.0);
            Err(
                Failure::from(anyhow!("deployment {id} changes nothing: {why}"))
                    .hint(format!("`deploy-flake show {id}` tells what became of it.")),
            )
        }
    }
}

fn record(history: &History, id: &str) -> Result<Record, Failure> {
    let entry = past::find(past::entries(history)?, id)?;
    past::read(history, &entry)
}

/// A system by its path or its word; none, if the text is neither.
fn named(text: &str) -> Option<Result<Toplevel, Failure>> {
    path_of(text).map(toplevel)
}

fn path_of(text: &str) -> Option<&str> {
    let known = NAMED.iter().find(|(name, _)| *name == text);
    let path = known.map_or(text, |(_, path)| path);
    path.starts_with('/').then_some(path)
}

fn running() -> Result<Toplevel, Failure> {
    toplevel(NAMED[0].1)
}

fn toplevel(path: &str) -> Result<Toplevel, Failure> {
    let found = fs::canonicalize(path).with_context(|| format!("find the system {path}"))?;
    let found = found.display().to_string();
    let store_path = StorePath::try_from(found).map_err(|error| {
        Failure::from(anyhow!(error).context(format!("take {path} for a system")))
    })?;
    Ok(Toplevel::new(store_path))
}

fn one_side(history: &History, text: &str) -> Result<Toplevel, Failure> {
    if let Some(system) = named(text) {
        return system;
    }
    let record = record(history, text)?;
    record.toplevel.ok_or_else(|| {
        let id = past::short(&record.deployment.0);
        anyhow!("deployment {id} ended before its system was built").into()
    })
}

/// Asks Nix, unless the history noted everything.
fn told(before: Toplevel, after: Toplevel, noted: Option<Difference>) -> Result<Told, Failure> {
    let told = |from, difference| Told {
        schema: SCHEMA,
        before: before.clone(),
        after: after.clone(),
        from,
        difference,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    match (runtime.block_on(compare(&before, &after)), noted) {
        (Ok(difference), _) => Ok(told(Source::Store, difference)),
        (Err(ClosureError::Gone(_)), Some(noted)) => Ok(told(Source::History, noted)),
        (Err(error), _) => Err(Failure::from(anyhow!(error)).hint(
            "Only systems that are in this host's store can be compared: `nix-store --query \
             --roots PATH` tells what keeps one.",
        )),
    }
}

async fn compare(before: &Toplevel, after: &Toplevel) -> Result<Difference, ClosureError> {
    let before = closure::read(Path::new(NIX), before).await?;
    let after = closure::read(Path::new(NIX), after).await?;
    Ok(Difference::between(&before, &after))
}

fn text(told: &Told) -> String {
    let mut sheet = Sheet::default();
    sheet.line(format!("  {}", system(&told.before, WIDTH - 4)));
    sheet.line(format!("→ {}", system(&told.after, WIDTH - 4)));
    sheet.paragraph(&difference::sentence(&told.difference));
    match told.from {
        Source::Store => {}
        Source::History => sheet.paragraph(
            "One of them is not in the store any more: this is what was noted at the time.",
        ),
    }
    sheet.blank();
    difference::write(&mut sheet, &told.difference);
    sheet.text()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::history::example::{after, before, deployed, difference};

    fn kept(records: &[Record]) -> (tempfile::TempDir, History) {
        let directory = tempfile::tempdir().expect("a directory");
        let history = History::new(directory.path().join("history"));
        for record in records {
            history.keep(record).expect("a writable directory");
        }
        (directory, history)
    }

    /// The page for docs/screens.md.
    pub(in crate::cli) fn screen() -> String {
        let told = Told {
            schema: SCHEMA,
            before: before(),
            after: after(),
            from: Source::Store,
            difference: difference(),
        };
        text(&told)
    }

    #[test]
    fn a_deployment_is_compared_with_what_ran_before_it() {
        let (_directory, history) = kept(&[deployed()]);
        let expected = (before(), after(), Some(difference()));
        for of in [&[][..], &["00c0".to_owned()]] {
            assert_eq!(asked(&history, of).ok(), Some(expected.clone()));
        }
        let two = ["00c0".to_owned(), "00c0ffee".to_owned()];
        assert_eq!(asked(&history, &two).ok(), Some((after(), after(), None)));
    }

    #[test]
    fn what_changed_nothing_is_told_so() {
        let unchanged = Record {
            toplevel: Some(before()),
            ..deployed()
        };
        let refused = Record {
            toplevel: None,
            ..deployed()
        };
        for (record, why) in [
            (unchanged, "the one that ran before"),
            (refused, "was built"),
        ] {
            let (_directory, history) = kept(&[record]);
            let error = asked(&history, &["00".to_owned()]).expect_err("there is nothing");
            assert!(error.to_string().contains(why), "{error}");
            let error = asked(&history, &[]).expect_err("there is nothing");
            assert!(error.to_string().contains("diff booted running"), "{error}");
        }
    }

    #[test]
    fn systems_that_are_gone_are_told_as_the_history_noted_them() {
        let told = told(before(), after(), Some(difference())).expect("it was noted");
        assert_eq!(
            (told.from, &told.difference),
            (Source::History, &difference())
        );
        let text = text(&told);
        assert!(
            text.starts_with(
                "  aaaaaaaaaaaa…-nixos-system-web1-24.11.1\n\
                 → bbbbbbbbbbbb…-nixos-system-web1-24.11.2\n\
                 2 packages changed, 1 package added, 1 package removed, 3 units, another kernel.\n\
                 One of them is not in the store any more: this is what was noted at the time.\n\n\
                 changed\n"
            ),
            "{text}"
        );
        let error = super::told(before(), after(), None).expect_err("nobody knows");
        assert!(
            error.to_string().contains("is not in the store any more"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_system_is_refused() {
        for bad in ["/", "/etc", "/nowhere/at/all"] {
            assert!(named(bad).is_some_and(|found| found.is_err()), "{bad}");
        }
        assert!(named("00c0ffee").is_none());
    }
}
