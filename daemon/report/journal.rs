//! Where reports go: to the journal with their fields, or to a terminal.
//!
//! In: what `main` read from the environment. Out: a subscriber for the whole
//! process. Must not: be set up twice.

use std::io;

use rustix::fs::fstat;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::delivery::{self, Flush};
use super::milestones;
use super::terminal::Terminal;

/// What is reported unless `DEPLOY_FLAKE_LOG` says otherwise: our own
/// milestones, and what others warn of.
const DEFAULT_FILTER: &str = "warn,deploy_flake=info";

/// What our entries are found by: `journalctl -t deploy-flake`.
const IDENTIFIER: &str = "deploy-flake";

/// What `main` read from the environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `DEPLOY_FLAKE_LOG`: the filter, as tracing-subscriber's `EnvFilter`.
    pub filter: Option<String>,
    /// `JOURNAL_STREAM`: device and inode of the journal's stream.
    pub journal_stream: Option<String>,
}

/// Reports may still be on their way when this is dropped: it waits for them,
/// for a moment.
#[must_use = "the last reports are lost without it"]
pub struct Reporting {
    journal: Option<Flush>,
}

impl Drop for Reporting {
    fn drop(&mut self) {
        if let Some(journal) = &self.journal {
            journal.wait();
        }
    }
}

/// Sets up reporting for this process: to the journal if that is where our
/// standard error goes anyway, else as lines on standard error.
pub fn install(environment: &Environment) -> Reporting {
    let (filter, problem) = filter(environment.filter.as_deref());
    let registry = tracing_subscriber::registry().with(filter);
    let to_journal = environment
        .journal_stream
        .as_deref()
        .is_some_and(is_standard_error);
    let (journal, journal_problem) = match to_journal.then(journal).transpose() {
        Ok(Some((delivery, flush))) => {
            registry.with(delivery).init();
            (Some(flush), None)
        }
        Ok(None) => {
            registry.with(Terminal::new(io::stderr)).init();
            (None, None)
        }
        Err(error) => {
            registry.with(Terminal::new(io::stderr)).init();
            (None, Some(error))
        }
    };
    if let Some(error) = journal_problem {
        tracing::warn!(%error, "the journal cannot be reached, reports go to standard error");
    }
    if let Some(error) = problem {
        tracing::warn!(%error, "DEPLOY_FLAKE_LOG is no filter and was ignored");
    }
    Reporting { journal }
}

/// The way to the journal, which nobody has to wait for.
fn journal() -> io::Result<(delivery::Delivery, Flush)> {
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    // Any prefix would also be put before MESSAGE_ID.
    let layer = tracing_journald::layer()?
        .with_field_prefix(None)
        .with_syslog_identifier(IDENTIFIER.to_owned())
        .with_priority_mappings(priorities);
    delivery::start(layer, delivery::CAPACITY, milestones::reports_lost)
}

/// The filter, and why it is not the one that was asked for. A daemon that
/// does not start because of its log filter would help nobody.
fn filter(asked: Option<&str>) -> (EnvFilter, Option<String>) {
    let default = || EnvFilter::new(DEFAULT_FILTER);
    match asked.filter(|text| !text.is_empty()) {
        None => (default(), None),
        Some(text) => match EnvFilter::builder().parse(text) {
            Ok(filter) => (filter, None),
            Err(error) => (default(), Some(error.to_string())),
        },
    }
}

/// Whether `JOURNAL_STREAM` speaks of our standard error: the variable is
/// inherited by children whose output goes elsewhere (systemd.exec(5)).
fn is_standard_error(journal_stream: &str) -> bool {
    let Ok(stat) = fstat(io::stderr()) else {
        return false;
    };
    let (device, inode) = journal_stream.split_once(':').unwrap_or_default();
    device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_ignored_and_told() {
        for (asked, is_told) in [
            (None, false),
            (Some(""), false),
            (Some("debug"), false),
            (Some("deploy_flake=trace,zbus=off"), false),
            (Some("deploy_flake=loud"), true),
        ] {
            assert_eq!(filter(asked).1.is_some(), is_told, "{asked:?}");
        }
    }

    #[test]
    fn a_stream_of_somebody_else_is_not_ours() {
        for stream in ["", "0:0", "x", "1:y", "::"] {
            assert!(!is_standard_error(stream), "{stream:?}");
        }
        let own = fstat(io::stderr()).expect("standard error is open");
        assert!(is_standard_error(&format!("{}:{}", own.st_dev, own.st_ino)));
    }
}
