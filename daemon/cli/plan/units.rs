//! What a system says that it would do to the units: its own `dry-activate`.
//!
//! In: a system that is built. Out: its words, or why there are none. Must not:
//! be asked while a deployment goes on, whose switch would find the lock held.

use std::time::Duration;

use serde::Serialize;

use crate::host::command::{self, Command, CommandError};
use crate::model::system::Toplevel;
use crate::store::snapshot::PhaseName;

/// How long it may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many lines are told; a system says about ten.
const LINES: usize = 100;

/// What it ends with while somebody switches.
const LOCKED: i32 = 11;

/// What it ends with where it cannot be activated without a reboot.
const NEEDS_REBOOT: i32 = 100;

/// Nothing is written, so nothing has to be synced.
const NO_SYNC: (&str, &str) = ("NIXOS_NO_SYNC", "1");

/// What would become of the units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(super) enum Changes {
    /// There is no other system.
    None,
    /// The system says so.
    Known {
        /// In its own words.
        lines: Vec<String>,
    },
    /// Nobody can say.
    Unknown {
        /// Why, and what to do.
        why: String,
    },
}

impl Changes {
    fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into() }
    }
}

/// Asks the system.
pub(super) async fn changes(phase: PhaseName, system: &Toplevel) -> Changes {
    if phase != PhaseName::Resting {
        return Changes::unknown("a deployment goes on; ask again once it has ended");
    }
    if !rustix::process::geteuid().is_root() {
        return Changes::unknown(
            "`switch-to-configuration dry-activate` is for root; run it as root",
        );
    }
    told(command::run(&dry_activate(system), DEADLINE).await)
}

/// It writes to standard error, of which only the end would be kept.
fn dry_activate(system: &Toplevel) -> Command {
    let program = format!("{}/bin/switch-to-configuration", system.path().as_str());
    let words = ["-c", "exec \"$0\" dry-activate 2>&1", &program];
    let mut command = Command::new("/bin/sh", words);
    command.environment = vec![(NO_SYNC.0.to_owned(), NO_SYNC.1.to_owned())];
    command
}

fn told(output: Result<command::Output, CommandError>) -> Changes {
    let output = match output {
        Ok(output) => output,
        Err(error) => return Changes::unknown(format!("{:#}", anyhow::Error::new(error))),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = said.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<String> = lines.take(LINES).map(str::to_owned).collect();
    match output.status.code() {
        Some(0) => Changes::Known { lines },
        Some(LOCKED) => Changes::unknown("somebody switches just now; ask again"),
        Some(NEEDS_REBOOT) => Changes::unknown("it can only be reached by a reboot"),
        Some(_) | None => {
            let last = lines.last().map_or("it does not say why", String::as_str);
            Changes::unknown(format!(
                "its dry-activate failed ({}): {last}",
                output.status
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::history::example::after;

    async fn said(script: &str) -> Changes {
        told(command::run(&Command::new("/bin/sh", ["-c", script]), DEADLINE).await)
    }

    #[tokio::test]
    async fn its_words_are_told_or_why_there_are_none() {
        for (script, expected) in [
            (
                "echo would stop: a; echo; echo would start: b",
                Changes::Known {
                    lines: vec!["would stop: a".to_owned(), "would start: b".to_owned()],
                },
            ),
            (
                "exit 11",
                Changes::unknown("somebody switches just now; ask again"),
            ),
            (
                "exit 100",
                Changes::unknown("it can only be reached by a reboot"),
            ),
            (
                "echo not today; exit 1",
                Changes::unknown("its dry-activate failed (exit status: 1): not today"),
            ),
        ] {
            assert_eq!(said(script).await, expected, "{script}");
        }
        let Changes::Known { lines } = said("yes | head -n 10000").await else {
            panic!("it said something");
        };
        assert_eq!(lines.len(), LINES);
    }

    #[tokio::test]
    async fn nobody_is_asked_while_a_deployment_goes_on() {
        let changes = changes(PhaseName::Building, &after()).await;
        let Changes::Unknown { why } = changes else {
            panic!("nobody was asked");
        };
        assert!(why.contains("a deployment goes on"), "{why}");
    }
}
