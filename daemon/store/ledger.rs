//! The state on disk: before every effect, atomic, checksummed, with the copy
//! before it kept.
//!
//! In: a [`State`]. Out: the same after any crash. Must not: interpret it.
//!
//! The file is one header line (`deploy-flake ledger 3 sha256 <hex>`) and the
//! state as JSON; the checksum is of version, space, and JSON. `ledger` always
//! exists once it was written: the new copy is written beside it, synced, and
//! renamed over it; `ledger.previous` is a hard link to the one before.
//!
//! Versions. *New daemon, old ledger:* versions 1 and 2 are read; what they did
//! not know has a default. *Old daemon, new ledger* (a rollback brought it back): what
//! it cannot understand is kept aside as `ledger.from-version-N` and named
//! aloud; it goes on from the copy before, if that is its own, or afresh, and
//! `recover` holds what the guardian's record says was rolled back. *Old
//! writer, new ledger:* it never writes into one; it writes its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::reconcile::state::State;

/// The version of the format that is written: 2 knows the way back, 3 what is
/// only to be tested (a daemon that did not would write its boot entry).
const VERSION: u32 = 3;

/// The oldest version that is read.
const OLDEST: u32 = 1;

/// How every header line begins.
const MAGIC: &str = "deploy-flake ledger";

/// A ledger larger than this is not ours.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;

/// The ledger in one directory, owned by one daemon.
#[derive(Clone, Debug)]
pub struct Ledger {
    directory: PathBuf,
}

/// What was found on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The state to go on from.
    pub state: State,
    /// Where it comes from.
    pub source: Source,
    /// What could not be read, for the journal.
    pub problems: Vec<String>,
}

/// Where a state comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The ledger itself.
    Current,
    /// The copy before it, because the ledger was damaged.
    Previous,
    /// Nowhere: a first start, or both were damaged.
    Fresh,
}

/// Why a copy could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("it is larger than a ledger can be")]
    TooLarge,
    #[error("its first line is not a ledger's")]
    Header,
    #[error("it is of version {0}, which a newer daemon wrote; at most {VERSION} is understood")]
    Version(u32),
    #[error("its checksum does not match: it was torn or changed")]
    Checksum,
    #[error("it is whole, of version {version}, and says what this daemon does not understand")]
    Content {
        version: u32,
        source: serde_json::Error,
    },
}

impl ReadError {
    /// What a copy is called that is kept aside; none for one that may be
    /// whole, and could only not be read now. What another daemon wrote is not
    /// damaged: that daemon may come back, and somebody may want to look.
    fn aside(&self, name: &str) -> Option<String> {
        match self {
            Self::Read(_) => None,
            Self::TooLarge | Self::Header | Self::Checksum => Some(format!("{name}.damaged")),
            Self::Version(version) | Self::Content { version, .. } => {
                Some(format!("{name}.from-version-{version}"))
            }
        }
    }
}

impl Ledger {
    /// The ledger in a directory that exists.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// Puts the state on disk; when this returns, it is there.
    ///
    /// # Errors
    /// The disk is full or cannot be written; the copy before is untouched.
    pub fn save(&self, state: &State) -> io::Result<()> {
        let new = self.path("ledger.new");
        write_synced(&new, &encode(state)?)?;
        self.keep_previous()?;
        // The rename makes the new copy the ledger in one step; the sync of the
        // directory makes that step survive a power cut.
        fs::rename(&new, self.path("ledger"))?;
        File::open(&self.directory)?.sync_all()
    }

    /// Reads the ledger, or the copy before it, or starts afresh. A copy that
    /// cannot be read is kept aside, never removed.
    pub fn load(&self) -> Loaded {
        let mut problems = Vec::new();
        for (name, source) in [
            ("ledger", Source::Current),
            ("ledger.previous", Source::Previous),
        ] {
            match read(&self.path(name)) {
                Ok(Some(state)) => {
                    if source == Source::Previous && problems.is_empty() {
                        problems.push("ledger: it is missing, and the copy before is not".into());
                    }
                    return Loaded {
                        state,
                        source,
                        problems,
                    };
                }
                Ok(None) => {}
                Err(error) => {
                    problems.push(format!("{name}: {}", chain(&error)));
                    if let Some(aside) = error.aside(name) {
                        self.set_aside(name, &aside, &mut problems);
                    }
                }
            }
        }
        Loaded {
            state: State::default(),
            source: Source::Fresh,
            problems,
        }
    }

    /// Links the ledger under its second name; the ledger itself stays in place
    /// all the time, so there is no instant without one.
    fn keep_previous(&self) -> io::Result<()> {
        let previous = self.path("ledger.previous");
        remove_if_there(&previous)?;
        match fs::hard_link(self.path("ledger"), &previous) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn set_aside(&self, name: &str, aside: &str, problems: &mut Vec<String>) {
        let aside = self.path(aside);
        match fs::rename(self.path(name), &aside) {
            Ok(()) => problems.push(format!("{name} was kept as {}", aside.display())),
            Err(error) => problems.push(format!("{name} could not be set aside: {error}")),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn encode(state: &State) -> io::Result<Vec<u8>> {
    let content = serde_json::to_vec(state)?;
    let mut bytes = header_of(VERSION, &content).into_bytes();
    bytes.push(b'\n');
    bytes.extend(content);
    bytes.push(b'\n');
    Ok(bytes)
}

fn header_of(version: u32, content: &[u8]) -> String {
    format!("{MAGIC} {version} sha256 {}", checksum(version, content))
}

/// From version 3 on it is of the version, too: a flipped bit in that would
/// make a whole ledger of another version of it.
fn checksum(version: u32, content: &[u8]) -> String {
    let mut digest = Sha256::new();
    if version >= 3 {
        digest.update(format!("{version} "));
    }
    digest.update(content);
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn decode(bytes: &[u8]) -> Result<State, ReadError> {
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(ReadError::Header)?;
    let header = std::str::from_utf8(&bytes[..end]).map_err(|_| ReadError::Header)?;
    let content = bytes[end + 1..]
        .strip_suffix(b"\n")
        .ok_or(ReadError::Checksum)?;
    let version = version_of(header).ok_or(ReadError::Header)?;
    if version > VERSION {
        return Err(ReadError::Version(version));
    }
    if version < OLDEST {
        return Err(ReadError::Header);
    }
    if header != header_of(version, content) {
        return Err(ReadError::Checksum);
    }
    let state = serde_json::from_slice(content);
    state.map_err(|source| ReadError::Content { version, source })
}

/// The version that a header names. The rest of it, a later version may have
/// changed.
fn version_of(header: &str) -> Option<u32> {
    let fields = header.strip_prefix(MAGIC)?;
    fields.split_whitespace().next()?.parse().ok()
}

fn read(path: &Path) -> Result<Option<State>, ReadError> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::Read(error)),
    };
    if size > SIZE_LIMIT {
        return Err(ReadError::TooLarge);
    }
    decode(&fs::read(path).map_err(ReadError::Read)?).map(Some)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove_if_there(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    // Without this a power cut may leave a renamed file without its content.
    file.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod tests;
