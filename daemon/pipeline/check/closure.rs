//! What is read of a toplevel's files before anything of it is run.
//!
//! In: the root directory and a toplevel. Out: plain answers. Must not: run
//! anything.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tracing::warn;

use super::super::installed::{read_short, real_path};
use super::super::observe::below;
use crate::model::failure::{Failure, FailureCode};
use crate::model::system::Toplevel;

/// Why a system cannot be switched to: key and value, as JSON.
const INHIBITORS: &str = "switch-inhibitors";

/// What every toplevel has; `nixos-rebuild` asks for it, too.
const VERSION: &str = "nixos-version";

/// What a closure's own check is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PreActivateCheck {
    /// The closure has none.
    None,
    /// This file cannot be run; that is no "none".
    NotExecutable(String),
    /// The program, by absolute path.
    Program(String),
}

/// Finds the closure's own check.
pub(super) fn pre_activate_check(
    root: &Path,
    toplevel: &Toplevel,
    relative: &str,
) -> PreActivateCheck {
    let path = toplevel.path().join(relative);
    match is_executable(root, &path) {
        Ok(true) => PreActivateCheck::Program(path),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_link(root, &path) => {
            PreActivateCheck::None
        }
        Ok(false) | Err(_) => PreActivateCheck::NotExecutable(path),
    }
}

/// Whether the toplevel is a system that can be switched to.
pub(super) fn switchable(root: &Path, toplevel: &Toplevel) -> Result<(), Failure> {
    let program = toplevel.switch_to_configuration();
    let version = toplevel.path().join(VERSION);
    let missing = if !is_executable(root, &program).unwrap_or(false) {
        program
    } else if !below(root, Path::new(&version)).exists() {
        version
    } else {
        return Ok(());
    };
    Err(Failure::new(
        FailureCode::NotSwitchable,
        format!("the system cannot be switched to: {missing} is missing"),
        "Build a NixOS system with system.switch.enable = true. Nothing was changed.",
    ))
}

/// Reads the switch inhibitors. Closures from before they existed have none.
/// What is malformed is left to the closure's own check, which reads it too.
pub(super) fn inhibitors(root: &Path, toplevel: &Toplevel) -> BTreeMap<String, String> {
    let path = toplevel.path().join(INHIBITORS);
    let Some(real) = real_path(root, Path::new(&path)) else {
        return BTreeMap::new();
    };
    let text = match read_short(root, &real) {
        Ok(text) => text,
        Err(error) => {
            warn!(path, %error, "switch inhibitors cannot be read");
            return BTreeMap::new();
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        warn!(path, %error, "switch inhibitors are malformed");
        BTreeMap::new()
    })
}

/// Whether the output is the usage of a `switch-to-configuration` that does
/// not know the verb `check`: `Usage: PATH [VERB|VERB|...]`.
pub(super) fn knows_no_check(output: &str) -> bool {
    output
        .lines()
        .filter(|line| line.trim_start().to_ascii_lowercase().starts_with("usage:"))
        .filter_map(|line| line.rsplit_once('[')?.1.split_once(']'))
        .any(|(verbs, _)| {
            let mut verbs = verbs.split('|').map(str::trim);
            verbs.clone().any(|verb| verb == "test") && !verbs.any(|verb| verb == "check")
        })
}

fn is_executable(root: &Path, path: &str) -> std::io::Result<bool> {
    let metadata = fs::metadata(below(root, Path::new(path)))?;
    Ok(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn is_link(root: &Path, path: &str) -> bool {
    below(root, Path::new(path)).is_symlink()
}
