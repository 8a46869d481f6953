//! The lists under `/run/nixos` by which an interrupted switch is taken up by the next one.
//!
//! In: unit names. Out: lines in a file, before the units are touched. Nothing is written for `dry-activate`.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;

/// What is still to be done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Start,
    Restart,
    Reload,
    /// Written by activation scripts that want a unit restarted.
    ActivationRestart,
    /// Written by activation scripts that want a unit reloaded.
    ActivationReload,
}

impl List {
    fn path(self) -> &'static str {
        match self {
            Self::Start => "/run/nixos/start-list",
            Self::Restart => "/run/nixos/restart-list",
            Self::Reload => "/run/nixos/reload-list",
            Self::ActivationRestart => "/run/nixos/activation-restart-list",
            Self::ActivationReload => "/run/nixos/activation-reload-list",
        }
    }

    /// The units on the list; none when there is no list.
    pub(crate) fn read(self) -> BTreeSet<String> {
        let content = fs::read_to_string(self.path()).unwrap_or_default();
        let lines = content.lines().filter(|line| !line.is_empty());
        lines.map(String::from).collect()
    }

    /// Adds the units that are not on the list yet.
    pub(crate) fn record(self, units: &BTreeSet<String>) -> Result<(), String> {
        let known = self.read();
        let new: String = units
            .difference(&known)
            .map(|unit| format!("{unit}\n"))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path())
            .and_then(|mut list| list.write_all(new.as_bytes()))
            .map_err(|error| format!("cannot write {}: {error}", self.path()))
    }

    /// Removes the list: what was on it is done.
    pub(crate) fn clear(self) -> Result<(), String> {
        match fs::remove_file(self.path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {error}", self.path()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
