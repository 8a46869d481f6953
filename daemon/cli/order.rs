//! What the commands share that have the daemon do something at once: say it,
//! here or on other hosts, and tell what it did.
//!
//! In: the order, and how. Out: one line, and an exit code. Must not: wait for
//! what comes of it.

use std::path::Path;

use anyhow::Context as _;
use clap::Args;

use super::ask::{HINT_NOT_RUNNING, HINT_OPERATE, HINT_OTHER_VERSION};
use super::events::Event;
use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Errand, Repeats, Selection, Stays};
use super::output::{Output, print};
use crate::ipc::client::{self, CallError, Done, Order};
use crate::model::deployment::DeploymentId;
use crate::model::pause::REASON_LIMIT;
use crate::store::lock;

/// The arguments that do not depend on what is said.
#[derive(Clone, Debug, Args)]
pub(super) struct How {
    #[command(flatten)]
    selection: Selection,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Says it, and tells what the daemon did. `words`: the same for the far side.
pub(super) fn run(how: &How, order: &Order, words: Vec<String>) -> Result<Exit, Failure> {
    if how.selection.is_given() {
        return hosts::run(&how.selection, &errand(words), how.output);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let done = runtime.block_on(client::give(order)).map_err(not_given)?;
    print(&told(order, &done).render(how.output)?)?;
    Ok(Exit::Success)
}

/// An order is given once: what it did is not known where the connection died.
fn errand(mut words: Vec<String>) -> Errand {
    words.extend(["--output".to_owned(), Output::Json.as_str().to_owned()]);
    Errand {
        first: words.clone(),
        again: words,
        repeats: Repeats::Never,
        waits: false,
        expected: None,
        timeout: None,
        confirm: None,
        stays: Stays::WithBranch,
        cargo: None,
    }
}

/// What is told of what the daemon did.
fn told<'a>(order: &'a Order, done: &'a Done) -> Event<'a> {
    let reason = match order {
        Order::Pause { reason, .. } | Order::Reject { reason, .. } => reason,
        Order::Resume | Order::Confirm { .. } => "",
    };
    match done {
        Done::Paused { until } => Event::Paused {
            until: *until,
            reason,
        },
        Done::Resumed { look } => Event::Resumed { look: *look },
        Done::Confirmed(deployment) => Event::Confirmed { deployment },
        Done::Rejected(deployment) => Event::Rejected { deployment, reason },
    }
}

/// Why, as everybody may read it later.
pub(super) fn reason(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > REASON_LIMIT {
        return Err(format!(
            "expected at most {REASON_LIMIT} characters, found {length}"
        ));
    }
    Ok(text.to_owned())
}

/// A deployment, as status and journal have it.
pub(super) fn deployment(text: &str) -> Result<DeploymentId, String> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_id {
        true => Ok(DeploymentId(text.to_owned())),
        false => {
            Err("expected 16 hexadecimal digits, as `deploy-flake status` has them".to_owned())
        }
    }
}

/// The same for the far side.
pub(super) fn words_of(deployment: Option<&DeploymentId>) -> Vec<String> {
    let words = |id: &DeploymentId| vec!["--deployment".to_owned(), id.to_string()];
    deployment.map_or_else(Vec::new, words)
}

/// Says what to do about an order that did not get through.
fn not_given(error: CallError) -> Failure {
    let (exit, hint) = match &error {
        CallError::NotRunning => (Exit::NotRunning, HINT_NOT_RUNNING),
        // Without a bus, the lock still tells whether there is a daemon.
        CallError::NoBus(_) if lock::is_held(Path::new(lock::FILE)).is_ok_and(|held| !held) => {
            (Exit::NotRunning, HINT_NOT_RUNNING)
        }
        CallError::NoBus(_) => (Exit::Error, "See `systemctl status dbus`."),
        CallError::Denied(_) => (Exit::Error, HINT_OPERATE),
        CallError::Silent => (
            Exit::Error,
            "See `deploy-flake status`; systemd restarts a daemon that hangs.",
        ),
        CallError::Declined(_) => (Exit::Refused, "See `deploy-flake status`."),
        CallError::Unknown { .. } => (Exit::Error, HINT_OTHER_VERSION),
        CallError::Failed(_) => (Exit::Error, "See `journalctl -u deploy-flake`."),
    };
    Failure::new(exit, error).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_hosts_are_told_once_and_answer_in_lines_that_are_understood() {
        let errand = errand(vec![
            "pause".to_owned(),
            "--for".to_owned(),
            "2h".to_owned(),
        ]);
        assert_eq!(errand.first, ["pause", "--for", "2h", "--output", "json"]);
        assert_eq!(errand.repeats, Repeats::Never);
        assert!(!errand.waits);
    }
}
