//! What the guardian did, on disk: so that the next daemon, and the next boot,
//! can tell its reboot from a power cut.
//!
//! In: a [`RollbackRecord`]. Out: the same after any crash. Must not: decide,
//! or need anything but the file system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::model::deployment::DeploymentId;
use crate::model::rollback::{RollbackRecord, RollbackStage};

/// Where it is.
pub const FILE: &str = "/var/lib/deploy-flake/rollback.json";

/// Where it is, too, for the time until the next boot: `/var` may be full.
pub const VOLATILE_FILE: &str = "/run/deploy-flake/private/rollback.json";

/// Room that was taken before anything was activated: the record before a reboot
/// is written into it where the disk has no other.
pub const SPARE: &str = "/var/lib/deploy-flake/rollback.spare";

/// How much that is.
const ROOM: usize = 16 * 1024;

/// How long a reason may be where there is no other room, in characters: with
/// every one escaped it still fits.
const SHORT_REASON: usize = 1500;

/// A record has a few hundred bytes, and the reasons in it are bounded.
const LIMIT: u64 = 1024 * 1024;

/// Takes the room for the record before a reboot; when this returns without an
/// error, it is there after a power cut, too.
///
/// # Errors
/// `/var` cannot be written, or is full.
pub fn reserve() -> io::Result<()> {
    reserve_at(Path::new(SPARE))
}

/// Writes the record; when this returns without an error, it survives a power
/// cut. Where `/var` cannot be written it is kept under `/run`. One that says
/// that the host reboots goes into the room that was kept for it, where `/var`
/// is full: without it the next boot would take that for a power cut.
///
/// # Errors
/// Neither could be written, or only the one under `/run`.
pub fn write(record: &RollbackRecord) -> io::Result<()> {
    let bytes = serde_json::to_vec(record)?;
    let volatile = write_to(Path::new(VOLATILE_FILE), &bytes);
    let lasting = write_lasting(Path::new(FILE), Path::new(SPARE), record, &bytes);
    lasting.and(volatile)
}

fn write_lasting(
    file: &Path,
    spare: &Path,
    record: &RollbackRecord,
    bytes: &[u8],
) -> io::Result<()> {
    match (write_to(file, bytes), &record.stage) {
        (Err(error), RollbackStage::Rebooting { .. }) => {
            write_into_spare(spare, file, record).map_err(|_also| error)
        }
        (written, _) => written,
    }
}

/// The last record, if there is one that can be read: that of this boot before
/// one that lasts.
pub fn read() -> Option<RollbackRecord> {
    [VOLATILE_FILE, FILE]
        .into_iter()
        .find_map(|path| read_from(Path::new(path)))
}

/// Removes the copy under `/run` of a deployment that is over, where the one
/// that lasts says the same.
///
/// # Errors
/// The directory cannot be written.
pub fn settle(id: &DeploymentId) -> io::Result<()> {
    settle_in(Path::new(VOLATILE_FILE), Path::new(FILE), id)
}

fn settle_in(volatile: &Path, file: &Path, id: &DeploymentId) -> io::Result<()> {
    let Some(copy) = read_from(volatile).filter(|record| record.deployment == *id) else {
        return Ok(());
    };
    if read_from(file).as_ref() != Some(&copy) {
        // `/var` was full: now it may not be.
        write_to(file, &serde_json::to_vec(&copy)?)?;
    }
    fs::remove_file(volatile)
}

fn read_from(path: &Path) -> Option<RollbackRecord> {
    let is_small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LIMIT);
    let bytes = is_small.then(|| fs::read(path).ok()).flatten()?;
    serde_json::from_slice(&bytes).ok()
}

fn reserve_at(spare: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(spare)?;
    // Whatever it was: a guardian takes no other length.
    file.set_len(ROOM as u64)?;
    // Blocks that nobody has written to yet are kept in place also by file
    // systems that write everything else anew.
    match fallocate(&file, FallocateFlags::empty(), 0, ROOM as u64) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.write_all(&[b' '; ROOM])?,
        Err(error) => return Err(error.into()),
    }
    file.sync_all()?;
    sync_directory_of(spare)
}

/// Overwrites the spare room, and has it become the record: nothing of that
/// takes a block more. A record that is torn by a power cut never does.
fn write_into_spare(spare: &Path, path: &Path, record: &RollbackRecord) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(spare)?;
    // Spaces at the end of JSON are nothing to whoever reads it.
    let mut bytes = serde_json::to_vec(&shortened(record))?;
    if bytes.len() > ROOM || file.metadata()?.len() != ROOM as u64 {
        return Err(ErrorKind::StorageFull.into());
    }
    bytes.resize(ROOM, b' ');
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(spare, path)?;
    sync_directory_of(path)
}

fn shortened(record: &RollbackRecord) -> RollbackRecord {
    let mut record = record.clone();
    if let RollbackStage::Rebooting { why } = &mut record.stage {
        *why = why.chars().take(SHORT_REASON).collect();
    }
    record
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory)?.sync_all()
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
    sync_directory_of(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::revision::CommitId;
    use crate::model::rollback::{RollbackStage, WantedBy};
    use crate::model::system::{BootId, StorePath, Toplevel};

    fn record(stage: RollbackStage) -> RollbackRecord {
        let path = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-x".to_owned();
        let toplevel = Toplevel::new(StorePath::try_from(path).expect("a store path"));
        RollbackRecord {
            deployment: DeploymentId("0123456789abcdef".to_owned()),
            commit: CommitId::try_from("0".repeat(40)).expect("a commit"),
            previous: toplevel.clone(),
            candidate: toplevel,
            boot_id: BootId("boot".to_owned()),
            at: jiff::Timestamp::UNIX_EPOCH,
            wanted_by: WantedBy::Deadline,
            stage,
        }
    }

    fn put(path: &Path, record: &RollbackRecord) {
        let bytes = serde_json::to_vec(record).expect("plain data");
        write_to(path, &bytes).expect("writable");
    }

    #[test]
    fn every_stage_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("rollback.json");
        let why = "the bus is dead".to_owned();
        let failed_units = ["a.service".to_owned()].into();
        for stage in [
            RollbackStage::RollingBack,
            RollbackStage::RolledBack,
            RollbackStage::Rebooting { why: why.clone() },
            RollbackStage::Failed { why, failed_units },
            RollbackStage::Overridden { running: None },
        ] {
            put(&path, &record(stage.clone()));
            assert_eq!(read_from(&path), Some(record(stage)));
        }
        fs::write(&path, "{").expect("writable");
        assert_eq!(read_from(&path), None);
    }

    /// Where this stands in the way of a new file, no record can be written: a
    /// full disk as far as a test can make one.
    fn obstruct(file: &Path) {
        fs::create_dir(file.with_extension("json.new")).expect("writable");
    }

    #[test]
    fn the_record_before_a_reboot_has_room_of_its_own() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let spare = directory.path().join("rollback.spare");
        let file = directory.path().join("rollback.json");
        let write = |record: &RollbackRecord| {
            let bytes = serde_json::to_vec(record).expect("plain data");
            write_lasting(&file, &spare, record, &bytes)
        };
        let rebooting = |why: &str| {
            let why = why.to_owned();
            record(RollbackStage::Rebooting { why })
        };
        let earlier = record(RollbackStage::RollingBack);
        put(&file, &earlier);
        obstruct(&file);
        assert!(write(&rebooting("x")).is_err(), "nothing is reserved");
        reserve_at(&spare).expect("writable");
        // Only the reboot forgets what is under `/run`.
        assert!(write(&record(RollbackStage::RolledBack)).is_err());
        assert_eq!(read_from(&file), Some(earlier));

        for why in ["the bus is dead", &"\u{1}".repeat(ROOM)] {
            reserve_at(&spare).expect("writable");
            fs::write(&spare, "y".repeat(ROOM + 1)).expect("writable");
            reserve_at(&spare).expect("writable again");
            write(&rebooting(why)).expect("the room is enough");
            let short: String = why.chars().take(SHORT_REASON).collect();
            assert_eq!(read_from(&file), Some(rebooting(&short)));
            assert!(!spare.exists(), "it is used up");
            let size = fs::metadata(&file).expect("it is there").len();
            assert_eq!(size, ROOM as u64, "as long as before");
        }
    }

    #[test]
    fn the_copy_goes_once_what_lasts_says_the_same() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (copy, file) = (
            directory.path().join("copy.json"),
            directory.path().join("rollback.json"),
        );
        let ended = record(RollbackStage::RolledBack);
        put(&copy, &ended);
        put(&file, &record(RollbackStage::RollingBack));
        let other = DeploymentId("fedcba9876543210".to_owned());
        settle_in(&copy, &file, &other).expect("nothing to do");
        assert!(copy.exists());
        settle_in(&copy, &file, &ended.deployment).expect("writable");
        assert!(!copy.exists());
        assert_eq!(read_from(&file), Some(ended.clone()));
        settle_in(&copy, &file, &ended.deployment).expect("nothing to do");
    }
}
