//! The snapshot as a file: replaced as a whole, read with a limit.
//!
//! In: a snapshot, or a path. Out: the file, or what stands in it. Must not:
//! leave half a file, or take one of another schema for ours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize as _;

use super::{OLDEST_SCHEMA, SCHEMA, Snapshot};
use crate::model::text::one_line;

/// Everybody may read it.
pub(super) const MODE: u32 = 0o644;

/// The longest file that is read, in bytes; a real one has a few thousand.
const FILE_LIMIT: u64 = 1024 * 1024;

/// How long a version may be, in characters.
const VERSION_LIMIT: usize = 40;

/// Why there is no snapshot to be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing was ever written in this boot.
    #[error("there is no snapshot at {path}", path = .0.display())]
    Missing(PathBuf),
    /// The file could not be read.
    #[error("read {path}", path = .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another version wrote it.
    #[error(
        "expected a snapshot of schema {OLDEST_SCHEMA} to {SCHEMA}, which this command, deploy-flake {}, \
         reads; found schema {found}, written by deploy-flake {version}",
        env!("CARGO_PKG_VERSION")
    )]
    Schema {
        /// What the file says.
        found: u64,
        /// Whose it is, safe to show.
        version: String,
    },
    /// It is no snapshot.
    #[error("understand {path}", path = .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

/// Replaces the snapshot: readers see the old one or the new one, whole.
///
/// Nothing is synced to disk: `/run` is memory, gone with the boot that the
/// snapshot speaks of, and what has to survive a boot is in the ledger.
pub fn write(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(snapshot)?;
    text.push(b'\n');
    // One fixed name: the daemon is alone (`lock`), and what a killed one left
    // half-written is overwritten by the next.
    let temporary = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&temporary)?;
    file.write_all(&text)?;
    // `mode` above was cut by the umask, and is ignored for a left-over file.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    drop(file);
    fs::rename(&temporary, path)
}

/// Reads the snapshot as its types and as the JSON that it is.
pub fn read(path: &Path) -> Result<(Snapshot, serde_json::Value), ReadError> {
    let text = read_text(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            ReadError::Missing(path)
        } else {
            ReadError::Unreadable { path, source }
        }
    })?;
    let malformed = |source| ReadError::Malformed {
        path: path.to_owned(),
        source,
    };
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(malformed)?;
    // The schema first: another one may have other keys.
    match json.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if !(u64::from(OLDEST_SCHEMA)..=u64::from(SCHEMA)).contains(&found) => {
            let version = json.pointer("/daemon/version");
            let version = version.and_then(serde_json::Value::as_str);
            let version = one_line(version.unwrap_or("of an unknown version"), VERSION_LIMIT);
            return Err(ReadError::Schema { found, version });
        }
        Some(_) | None => {}
    }
    let snapshot = Snapshot::deserialize(&json).map_err(malformed)?;
    Ok((snapshot, json))
}

fn read_text(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_LIMIT).read_to_end(&mut text)?;
    Ok(text)
}
