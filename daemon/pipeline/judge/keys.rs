//! The files of keys, as they are now.
//!
//! In: their paths. Out: their content. Must not: accept a file that anybody
//! but root can write.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::Trust;
use crate::pipeline::observe::below;
use crate::trust::keys::{KeyTexts, Keys};

/// The longest file that is read, in bytes.
const FILE_LIMIT: u64 = 4 << 20;

/// Write permission of group and others.
const WRITABLE: u32 = 0o022;

/// What stands in the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyFiles {
    allowed_signers: Option<String>,
    keyrings: Vec<String>,
    revoked: Option<Vec<u8>>,
}

impl KeyFiles {
    /// Reads all of them. One that is missing is an error: without the revoked
    /// keys more would be believed than was meant.
    pub(super) fn read(trust: &Trust, root: &Path) -> Result<Self, Failure> {
        let keyrings = trust.keyrings.iter().map(|path| text(path, root));
        Ok(Self {
            allowed_signers: trust
                .allowed_signers
                .as_deref()
                .map(|path| text(path, root))
                .transpose()?,
            keyrings: keyrings.collect::<Result<_, _>>()?,
            revoked: trust
                .revoked
                .as_deref()
                .map(|path| read(path, root))
                .transpose()?,
        })
    }

    /// Understands all of them.
    pub(super) fn parse(&self, trust: &Trust) -> Result<Keys, Failure> {
        let keyrings: Vec<&str> = self.keyrings.iter().map(String::as_str).collect();
        let texts = KeyTexts {
            allowed_signers: self.allowed_signers.as_deref(),
            keyrings: &keyrings,
            revoked: self.revoked.as_deref(),
        };
        Keys::load(&texts).map_err(|error| {
            let paths: Vec<String> = trust
                .allowed_signers
                .iter()
                .chain(&trust.keyrings)
                .chain(&trust.revoked)
                .map(|path| path.display().to_string())
                .collect();
            unusable(
                format!("{:#}", anyhow::Error::new(error)),
                &paths.join(", "),
            )
        })
    }
}

fn text(path: &Path, root: &Path) -> Result<String, Failure> {
    let shown = path.display().to_string();
    String::from_utf8(read(path, root)?).map_err(|_| {
        unusable(
            format!("expected {shown} to be text in UTF-8, found other bytes"),
            &shown,
        )
    })
}

fn read(path: &Path, root: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display().to_string();
    let read = read_file(&below(root, path));
    read.map_err(|error| unusable(format!("{shown}: {error}"), &shown))
}

/// Judges the file that was opened, not one that may stand there since.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let own = rustix::process::geteuid().as_raw();
    if !metadata.is_file() {
        return Err(io::Error::other("expected a file, found something else"));
    }
    if ![0, own].contains(&metadata.uid()) || metadata.mode() & WRITABLE != 0 {
        return Err(io::Error::other(format!(
            "expected a file that only root can write, found mode {:03o} of user {}",
            metadata.mode() & 0o777,
            metadata.uid()
        )));
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(io::Error::other(format!(
            "expected at most {FILE_LIMIT} bytes, found more"
        )));
    }
    Ok(bytes)
}

fn unusable(message: String, files: &str) -> Failure {
    Failure::new(
        FailureCode::KeysUnusable,
        message,
        format!(
            "Nothing new is followed until this is mended. See docs/trust.md for the form of {files}."
        ),
    )
}
