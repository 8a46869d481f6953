//! The deployments that ended: one file each, kept for months.
//!
//! In: a [`Record`]. Out: the same after any crash; the oldest are dropped. Must
//! not: be what the daemon depends on. It can be removed at any time, and a disk
//! that takes no record keeps nobody from deploying.
//!
//! A file is called `NUMBER-ID.json`. The number is one more than the greatest
//! before, so their order does not depend on clocks. Each is written beside the
//! others, synced, and renamed to its name: a power cut at any instant loses at
//! most the one that is being written, and touches no other. One that a disk has
//! damaged, or that a newer version wrote, is skipped by name.
//!
//! Everybody may read them: they say no more than what `status` said to everybody
//! at the time.

mod record;
mod draft;

pub use draft::Draft;
pub use record::{Evidence, Lasted, Origin, Record, SCHEMA};

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize as _;

use crate::model::deployment::DeploymentId;

/// Where the history is.
pub const DIRECTORY: &str = "/var/lib/deploy-flake/history";

/// How many deployments are kept: years of ordinary ones, and weeks of one that
/// is tried again every quarter of an hour.
const MOST: usize = 2000;

/// How many bytes they may have together.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// The longest file that is read, in bytes; a real one has a few thousand.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Everybody may list the directory.
const DIRECTORY_MODE: u32 = 0o755;

/// Everybody may read a record.
const FILE_MODE: u32 = 0o644;

/// Under which name a record is written before it has its own.
const NEW: &str = "record.new";

/// The history in one directory.
#[derive(Clone, Debug)]
pub struct History {
    directory: PathBuf,
}

/// A record by its file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    number: u64,
    id: String,
}

/// Why a record cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    /// It is longer than any record.
    #[error("it is longer than {FILE_LIMIT} bytes")]
    TooLong,
    /// A newer version wrote it.
    #[error("it is of schema {0}; at most {SCHEMA} is understood")]
    Schema(u64),
    /// It was damaged.
    #[error("it is no record: it was torn or changed")]
    Malformed(#[source] serde_json::Error),
}

impl Entry {
    /// The deployment's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The file's name.
    pub fn file_name(&self) -> String {
        format!("{:010}-{}.json", self.number, self.id)
    }

    fn of(file_name: &str) -> Option<Self> {
        let (number, id) = file_name.strip_suffix(".json")?.split_once('-')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && is_id(id)).then_some(())?;
        Some(Self {
            number: number.parse().ok()?,
            id: id.to_owned(),
        })
    }
}

/// Whether text is fit for a file's name and for an argument of `journalctl`.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl History {
    /// The history in a directory, which need not be there yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every record there is, oldest first; none where there is no directory.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let listed = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let names = listed.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut entries: Vec<Entry> = names.filter_map(|name| Entry::of(&name)).collect();
        entries.sort();
        Ok(entries)
    }

    /// Reads one record.
    ///
    /// # Errors
    /// It is gone, damaged, or of a newer version: that says nothing of others.
    pub fn read(&self, entry: &Entry) -> Result<Record, ReadError> {
        let mut bytes = Vec::new();
        let file = File::open(self.directory.join(entry.file_name()));
        let file = file.map_err(ReadError::Unreadable)?;
        let read = file.take(FILE_LIMIT + 1).read_to_end(&mut bytes);
        read.map_err(ReadError::Unreadable)?;
        if bytes.len() as u64 > FILE_LIMIT {
            return Err(ReadError::TooLong);
        }
        let json: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(ReadError::Malformed)?;
        // The schema first: another one may have other keys and words.
        match json.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema > u64::from(SCHEMA) => return Err(ReadError::Schema(schema)),
            Some(_) | None => {}
        }
        Record::deserialize(json).map_err(ReadError::Malformed)
    }

    /// The record of a deployment, if it is kept and can be read.
    pub fn of(&self, id: &DeploymentId) -> Option<Record> {
        let entries = self.entries().ok()?;
        let entry = entries.iter().rfind(|entry| entry.id == id.0)?;
        self.read(entry).ok()
    }

    /// Keeps a record, in the place of one of the same deployment, and drops the
    /// oldest; when this returns, it survives a power cut.
    ///
    /// # Errors
    /// The disk is full or cannot be written: then this one is missing, or as it
    /// was before, and all others are there.
    pub fn keep(&self, record: &Record) -> io::Result<()> {
        let id = &record.deployment.0;
        if !is_id(id) {
            return Err(io::Error::other("the deployment's id is no file's name"));
        }
        self.make_directory()?;
        let entries = self.entries()?;
        let known = entries.iter().rfind(|entry| entry.id == *id);
        let next = entries
            .last()
            .map_or(1, |last| last.number.saturating_add(1));
        let entry = Entry {
            number: known.map_or(next, |known| known.number),
            id: id.clone(),
        };
        self.replace(NEW, &entry.file_name(), &encode(record)?, FILE_MODE)?;
        // The rename and the new file's name survive a power cut only with it.
        File::open(&self.directory)?.sync_all()?;
        self.prune()
    }

    /// Replaces a file by one that was written whole and synced under another name.
    fn replace(&self, temporary: &str, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let temporary = self.directory.join(temporary);
        // What a killed daemon left half-written is overwritten.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        let written = file.write_all(bytes).and_then(|()| {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            // Without this a power cut may leave a renamed file without content.
            file.sync_all()
        });
        if let Err(error) = written {
            // On a full disk, half a record is in the way of the next.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        fs::rename(&temporary, self.directory.join(name))
    }

    fn make_directory(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        let made = builder.mode(DIRECTORY_MODE).create(&self.directory);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // The mode above was cut by the umask.
            made => made.and_then(|()| {
                let mode = fs::Permissions::from_mode(DIRECTORY_MODE);
                fs::set_permissions(&self.directory, mode)
            }),
        }
    }

    /// Drops the oldest until the rest is within the bounds.
    fn prune(&self) -> io::Result<()> {
        let mut sizes = Vec::new();
        for entry in self.entries()? {
            let size = fs::metadata(self.directory.join(entry.file_name()));
            sizes.push((entry, size.map_or(0, |metadata| metadata.len())));
        }
        for entry in surplus(&sizes, MOST, MOST_BYTES) {
            fs::remove_file(self.directory.join(entry.file_name()))?;
        }
        Ok(())
    }
}

/// Which records are too many, of all with their sizes, oldest first. The newest
/// is never.
fn surplus(sizes: &[(Entry, u64)], most: usize, most_bytes: u64) -> Vec<&Entry> {
    let mut bytes: u64 = sizes.iter().map(|(_, size)| size).sum();
    let mut left = sizes.len();
    let mut surplus = Vec::new();
    for (entry, size) in sizes {
        if left <= 1 || (left <= most && bytes <= most_bytes) {
            break;
        }
        surplus.push(entry);
        left -= 1;
        bytes -= size;
    }
    surplus
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(record)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Records for tests of what reads them.
#[cfg(test)]
pub(crate) mod example;

#[cfg(test)]
mod tests;
