//! The state on disk: before every effect, atomic, checksummed, with the copy
//! before it kept.
//!
//! In: a [`State`]. Out: the same after any crash. Must not: interpret it.
//!
//! The file is one header line (`deploy-flake ledger 1 sha256 <hex>`) and the
//! state as JSON. `ledger` always exists once it was written: the new copy is
//! written beside it, synced, and renamed over it; `ledger.previous` is a hard
//! link to the one before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::reconcile::state::State;

/// The version of the format that is written.
const VERSION: u32 = 1;

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
    #[error("it is of version {0}, and version {VERSION} was expected")]
    Version(u32),
    #[error("its checksum does not match: it was torn or changed")]
    Checksum,
    #[error("its content is not a state")]
    Content(#[source] serde_json::Error),
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
                    // What could not be read now may be whole.
                    if !matches!(error, ReadError::Read(_)) {
                        self.set_aside(name, &mut problems);
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

    fn set_aside(&self, name: &str, problems: &mut Vec<String>) {
        let aside = self.path(&format!("{name}.damaged"));
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
    let mut bytes = header_of(&content).into_bytes();
    bytes.push(b'\n');
    bytes.extend(content);
    bytes.push(b'\n');
    Ok(bytes)
}

fn header_of(content: &[u8]) -> String {
    format!("{MAGIC} {VERSION} sha256 {}", checksum(content))
}

fn checksum(content: &[u8]) -> String {
    Sha256::digest(content)
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
    if header != header_of(content) {
        return Err(mismatch(header));
    }
    serde_json::from_slice(content).map_err(ReadError::Content)
}

/// Says what is wrong with a header that is not the content's own.
fn mismatch(header: &str) -> ReadError {
    let version = header
        .strip_prefix(MAGIC)
        .and_then(|fields| fields.split_whitespace().next()?.parse().ok());
    match version {
        None => ReadError::Header,
        Some(VERSION) => ReadError::Checksum,
        Some(version) => ReadError::Version(version),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::state::Retry;

    fn state(attempts: u32) -> State {
        State {
            retry: Some(Retry {
                attempts,
                not_before: jiff::Timestamp::UNIX_EPOCH,
            }),
            ..State::default()
        }
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ledger = Ledger::new(directory.path());
        (directory, ledger)
    }

    #[test]
    fn a_first_start_is_fresh_and_nobodys_fault() {
        let (_directory, ledger) = ledger();
        let loaded = ledger.load();
        assert_eq!(loaded.source, Source::Fresh);
        assert_eq!(loaded.problems, Vec::<String>::new());
    }

    #[test]
    fn what_was_saved_last_is_loaded() {
        let (_directory, ledger) = ledger();
        for attempts in 1..4 {
            ledger.save(&state(attempts)).expect("a writable directory");
            let loaded = ledger.load();
            assert_eq!(
                (loaded.source, loaded.state),
                (Source::Current, state(attempts))
            );
        }
    }

    #[test]
    fn a_ledger_cut_at_any_byte_gives_the_one_before() {
        let (_directory, ledger) = ledger();
        ledger.save(&state(1)).expect("a writable directory");
        ledger.save(&state(2)).expect("a writable directory");
        let whole = fs::read(ledger.path("ledger")).expect("the ledger");
        let previous = fs::read(ledger.path("ledger.previous")).expect("the copy before");
        for length in 0..whole.len() {
            remove_if_there(&ledger.path("ledger")).expect("removable");
            fs::write(ledger.path("ledger"), &whole[..length]).expect("writable");
            fs::write(ledger.path("ledger.previous"), &previous).expect("writable");
            let loaded = ledger.load();
            assert_eq!(
                (loaded.source, loaded.state),
                (Source::Previous, state(1)),
                "cut at {length}"
            );
            assert!(!loaded.problems.is_empty());
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let whole = encode(&state(3)).expect("a state serialises");
        for index in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[index] ^= 1 << bit;
                assert!(
                    decode(&damaged).is_err(),
                    "byte {index}, bit {bit} was not noticed"
                );
            }
        }
    }

    #[test]
    fn a_ledger_of_a_later_version_is_kept_aside_and_named() {
        let (_directory, ledger) = ledger();
        let text = format!("{MAGIC} 2 sha256 {}\n{{}}\n", checksum(b"{}"));
        fs::write(ledger.path("ledger"), text).expect("writable");
        let loaded = ledger.load();
        assert_eq!(loaded.source, Source::Fresh);
        assert!(loaded.problems[0].contains("version 2"), "{loaded:?}");
        assert!(ledger.path("ledger.damaged").exists());
    }

    #[test]
    fn a_missing_ledger_is_noticed_by_the_copy_before() {
        let (_directory, ledger) = ledger();
        ledger.save(&state(1)).expect("a writable directory");
        ledger.save(&state(2)).expect("a writable directory");
        remove_if_there(&ledger.path("ledger")).expect("removable");
        let loaded = ledger.load();
        assert_eq!((loaded.source, loaded.state), (Source::Previous, state(1)));
        assert!(
            loaded.problems[0].contains("missing"),
            "{:?}",
            loaded.problems
        );
    }

    #[test]
    fn leftovers_of_a_kill_between_the_writes_do_no_harm() {
        let (_directory, ledger) = ledger();
        ledger.save(&state(1)).expect("a writable directory");
        fs::write(ledger.path("ledger.new"), b"half").expect("writable");
        remove_if_there(&ledger.path("ledger.previous")).expect("removable");
        assert_eq!(ledger.load().state, state(1));
        ledger.save(&state(2)).expect("a writable directory");
        assert_eq!(ledger.load().state, state(2));
    }
}
