//! What the guardian did, on disk: so that the next daemon, and the next boot,
//! can tell its reboot from a power cut.
//!
//! In: a [`RollbackRecord`]. Out: the same after any crash. Must not: decide,
//! or need anything but the file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::model::rollback::RollbackRecord;

/// Where it is.
pub const FILE: &str = "/var/lib/deploy-flake/rollback.json";

/// Where it is, too, for the time until the next boot: `/var` may be full.
pub const VOLATILE_FILE: &str = "/run/deploy-flake/private/rollback.json";

/// A record has a few hundred bytes, and the reasons in it are bounded.
const LIMIT: u64 = 1024 * 1024;

/// Writes the record; when this returns without an error, it survives a power
/// cut. Where `/var` cannot be written it is kept under `/run`.
///
/// # Errors
/// Neither could be written, or only the one under `/run`.
pub fn write(record: &RollbackRecord) -> io::Result<()> {
    let bytes = serde_json::to_vec(record)?;
    let volatile = write_to(Path::new(VOLATILE_FILE), &bytes);
    write_to(Path::new(FILE), &bytes).and(volatile)
}

/// The last record, if there is one that can be read: that of this boot before
/// one that lasts.
pub fn read() -> Option<RollbackRecord> {
    [VOLATILE_FILE, FILE]
        .into_iter()
        .find_map(|path| read_from(Path::new(path)))
}

fn read_from(path: &Path) -> Option<RollbackRecord> {
    let is_small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LIMIT);
    let bytes = is_small.then(|| fs::read(path).ok()).flatten()?;
    serde_json::from_slice(&bytes).ok()
}

fn write_to(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // A torn record would be none: it is renamed once it is whole, and the
    // directory is synced, so that it is there after the reboot that follows.
    fs::rename(&new, path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory)?.sync_all()
}
