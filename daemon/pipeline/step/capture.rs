//! The file that takes a step's standard output.
//!
//! In: a step. Out: what it wrote. Must not: be readable by anybody but root;
//! systemd opens it as root, whoever runs the step.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::model::stage::UnitStep;

/// Where root's files are that nobody else may see.
pub(super) const DIRECTORY: &str = "/run/deploy-flake/private";

/// How much of an output is read: far above a list of store paths.
const LIMIT: u64 = 1024 * 1024;

/// The step's file.
pub(super) fn path(step: UnitStep) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{}.out", step.name()))
}

/// Makes the directory, and removes what an earlier run left: systemd appends.
pub(super) fn prepare(step: UnitStep) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(DIRECTORY)?;
    remove(step)
}

/// Removes the file, if there is one.
pub(super) fn remove(step: UnitStep) -> io::Result<()> {
    match fs::remove_file(path(step)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What the step wrote, up to a limit.
pub(super) fn read(step: UnitStep) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path(step))?
        .take(LIMIT)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
