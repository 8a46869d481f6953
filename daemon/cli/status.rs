//! `deploy-flake status`: what runs, what is wanted, what is going on or why
//! nothing is, since when, and what to do.
//!
//! In: the snapshot and the daemon's lock, or what other hosts say of theirs.
//! Out: text or JSON, in a few milliseconds. Must not: need the daemon, the bus
//! or the network for this host; that is when it is needed.

mod page;
mod watch;

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::ask::{HINT_NOT_RUNNING, HINT_OTHER_VERSION};
use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Selection};
use super::json;
use super::output::{Output, print};
use crate::host::clock;
use crate::model::text::{LINE_LIMIT, one_line};
use crate::store::snapshot::{ReadError, SCHEMA, Snapshot};
use crate::store::{lock, snapshot};

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// For people, or the snapshot as JSON with `daemon_running` and
    /// `last_new_commit_age` (in seconds) added; of other hosts one JSON object a
    /// line, with the snapshot in it.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// Shows it again whenever it changes, until Ctrl-C; without a terminal it
    /// tells each change on a line.
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match (arguments.selection.is_given(), arguments.watch) {
        (true, false) => hosts::status(&arguments.selection, arguments.output),
        (true, true) => hosts::watch(&arguments.selection, arguments.output),
        (false, false) => here(arguments.output),
        (false, true) => watch::run(arguments.output),
    }
}

/// The state of this host.
pub(super) fn here(output: Output) -> Result<Exit, Failure> {
    let life = life(Path::new(lock::FILE));
    match snapshot::read(Path::new(snapshot::FILE)) {
        Ok((snapshot, json)) => {
            print(&known(output, &snapshot, json, life)?)?;
            Ok(Exit::Success)
        }
        Err(ReadError::Missing(_)) => {
            print(&match output {
                Output::Text => page::never(life),
                Output::Json => pretty(&unknown(life))?,
            })?;
            Ok(Exit::NotRunning)
        }
        Err(error) => Err(not_read(error)),
    }
}

/// Says what to do about a snapshot that cannot be read.
pub(super) fn not_read(error: ReadError) -> Failure {
    let (exit, hint) = match &error {
        ReadError::Schema { .. } => (Exit::Error, HINT_OTHER_VERSION),
        ReadError::Missing(_) => (Exit::NotRunning, HINT_NOT_RUNNING),
        ReadError::Unreadable { .. } | ReadError::Malformed { .. } => (
            Exit::Error,
            "Run `systemctl restart deploy-flake`, which writes it anew.",
        ),
    };
    Failure::new(exit, error).hint(hint)
}

/// The page of another host, from its JSON: as this host would show it. What
/// this version does not understand is told by its parts.
pub(super) fn page_of(json: &Value, now: Timestamp) -> String {
    let life = match json.get("daemon_running").and_then(Value::as_bool) {
        Some(true) => Life::Running,
        Some(false) => Life::Stopped,
        None => Life::Unknown,
    };
    if json.get("host").is_none_or(Value::is_null) {
        return page::never(life);
    }
    match Snapshot::deserialize(json) {
        Ok(snapshot) => page::render(&snapshot, life, now),
        Err(error) => {
            let why = one_line(&error.to_string(), LINE_LIMIT);
            format!("its state is of another version, see --output json: {why}")
        }
    }
}

/// Whether the daemon lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// The lock is held.
    Running,
    /// The lock is free.
    Stopped,
    /// The lock cannot be looked at.
    Unknown,
}

impl Life {
    fn json(self) -> Value {
        match self {
            Self::Running => true.into(),
            Self::Stopped => false.into(),
            Self::Unknown => Value::Null,
        }
    }
}

fn life(path: &Path) -> Life {
    match lock::is_held(path) {
        Ok(true) => Life::Running,
        Ok(false) => Life::Stopped,
        Err(_) => Life::Unknown,
    }
}

fn known(output: Output, snapshot: &Snapshot, json: Value, life: Life) -> Result<String, Failure> {
    match output {
        Output::Text => Ok(page::render(snapshot, life, clock::now().wall)),
        Output::Json => pretty(&document(snapshot, json, life)),
    }
}

/// The snapshot as it was written, and what only the present can add.
fn document(snapshot: &Snapshot, mut json: Value, life: Life) -> Value {
    json["daemon_running"] = life.json();
    json["last_new_commit_age"] = age(snapshot, clock::now().wall).into();
    json
}

/// How many seconds ago the host last saw a new commit.
fn age(snapshot: &Snapshot, now: Timestamp) -> Option<i64> {
    let seen_at = snapshot.last_new_commit_at?;
    // The clock may have been set back.
    Some(now.duration_since(seen_at).as_secs().max(0))
}

/// The same when no daemon has written anything in this boot.
fn unknown(life: Life) -> Value {
    json!({
        "schema": SCHEMA,
        "daemon_running": life.json(),
        "daemon": null,
        "host": null,
        "remote": null,
        "remotes": null,
        "looks": null,
        "system": null,
        "desired": null,
        "last_new_commit_at": null,
        "last_new_commit_age": null,
        "phase": null,
        "condition": null,
        "last": null,
        "quarantine": null,
        "reboot": null,
        "testing": null,
        "pause": null,
        "hold": null,
        "floor": null,
    })
}

fn pretty(json: &Value) -> Result<String, Failure> {
    Ok(json::pretty(json).context("write the status as JSON")?)
}

#[cfg(test)]
pub(super) use self::page::tests::screen;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::snapshot::example::full;

    #[test]
    fn the_json_is_the_snapshot_and_whether_the_daemon_runs() {
        let written = serde_json::to_value(full()).expect("it serialises");
        for (life, running) in [
            (Life::Running, json!(true)),
            (Life::Stopped, json!(false)),
            (Life::Unknown, Value::Null),
        ] {
            let text = known(Output::Json, &full(), written.clone(), life).expect("it is told");
            let mut json: Value = serde_json::from_str(&text).expect("it is JSON");
            assert_eq!(json["daemon_running"], running);
            let age = json["last_new_commit_age"].as_i64();
            assert!(age > Some(0), "the example is of the past: {age:?}");
            for added in ["daemon_running", "last_new_commit_age"] {
                json.as_object_mut().map(|keys| keys.remove(added));
            }
            assert_eq!(json, written);
        }
    }

    #[test]
    fn without_a_snapshot_every_key_is_there_and_null() {
        let json = unknown(Life::Stopped);
        let written = serde_json::to_value(full()).expect("it serialises");
        for key in written.as_object().expect("it is an object").keys() {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["daemon_running"], false);
    }
}
