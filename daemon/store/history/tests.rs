//! A history in every state that a crash, a disk or another daemon may leave.

use std::os::unix::fs::MetadataExt as _;

use super::example::{deployed, rolled_back};
use super::*;
use crate::model::time::Now;
use crate::store::snapshot::PhaseName;

fn history() -> (tempfile::TempDir, History) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let history = History::new(directory.path().join("history"));
    (directory, history)
}

fn record(id: &str) -> Record {
    Record {
        deployment: DeploymentId(id.to_owned()),
        ..deployed()
    }
}

fn ids(history: &History) -> Vec<String> {
    let entries = history.entries().expect("it can be listed");
    entries.iter().map(|entry| entry.id.clone()).collect()
}

#[test]
fn what_was_kept_is_read_in_its_order() {
    let (_directory, history) = history();
    assert_eq!(ids(&history), [""; 0]);
    for id in ["ff", "00", "aa"] {
        history.keep(&record(id)).expect("a writable directory");
    }
    assert_eq!(ids(&history), ["ff", "00", "aa"]);
    for entry in history.entries().expect("it can be listed") {
        assert_eq!(
            history.read(&entry).expect("it is whole"),
            record(&entry.id)
        );
    }
}

#[test]
fn a_record_that_is_kept_again_takes_its_own_place() {
    let (_directory, history) = history();
    for id in ["0a", "0b"] {
        history.keep(&record(id)).expect("a writable directory");
    }
    let again = Record {
        difference: None,
        ..record("0a")
    };
    history.keep(&again).expect("a writable directory");
    assert_eq!(ids(&history), ["0a", "0b"]);
    assert_eq!(history.of(&again.deployment), Some(again));
}

#[test]
fn everybody_may_read_it_whatever_the_umask_is() {
    let (_directory, history) = history();
    history.keep(&deployed()).expect("a writable directory");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!(mode(history.directory()), 0o755);
    let entry = &history.entries().expect("it can be listed")[0];
    assert_eq!(mode(&history.directory().join(entry.file_name())), 0o644);
}

/// As a kill or a power cut leaves it, cut after any byte of the file that is being written.
#[test]
fn a_daemon_that_dies_at_any_byte_loses_only_what_it_writes() {
    let (_directory, history) = history();
    history.keep(&deployed()).expect("a writable directory");
    let whole = encode(&rolled_back()).expect("it serialises");
    for length in (0..whole.len()).step_by(97).chain([whole.len()]) {
        fs::write(history.directory().join(NEW), &whole[..length]).expect("ours");
        assert_eq!(ids(&history), [&*deployed().deployment.0], "{length}");
        assert_eq!(history.of(&deployed().deployment), Some(deployed()));
    }
    history
        .keep(&rolled_back())
        .expect("what was left is overwritten");
    assert_eq!(ids(&history).len(), 2);
    assert_eq!(history.of(&rolled_back().deployment), Some(rolled_back()));
    assert!(!history.directory().join(NEW).exists());
}

/// What a disk can make of a file once it was whole.
#[test]
fn a_damaged_record_is_skipped_by_name_and_hides_no_other() {
    let (_directory, history) = history();
    for id in ["0a", "0b", "0c"] {
        history.keep(&record(id)).expect("a writable directory");
    }
    let entries = history.entries().expect("it can be listed");
    let file = history.directory().join(entries[1].file_name());
    let whole = fs::read(&file).expect("it is there");
    for length in (0..whole.len() - 2).step_by(61) {
        fs::write(&file, &whole[..length]).expect("ours");
        let error = history.read(&entries[1]).expect_err("it was torn");
        assert!(
            matches!(error, ReadError::Malformed(_)),
            "{length}: {error}"
        );
    }
    let newer = String::from_utf8_lossy(&whole).replace("\"schema\": 1", "\"schema\": 99");
    fs::write(&file, newer).expect("ours");
    let error = history.read(&entries[1]).expect_err("it is not ours");
    assert!(matches!(error, ReadError::Schema(99)), "{error}");
    fs::write(&file, vec![b' '; 2 << 20]).expect("ours");
    let error = history.read(&entries[1]).expect_err("it is no record");
    assert!(matches!(error, ReadError::TooLong), "{error}");
    for entry in [&entries[0], &entries[2]] {
        assert_eq!(history.read(entry).expect("it is whole"), record(&entry.id));
    }
    history.keep(&record("0d")).expect("nothing is in its way");
    assert_eq!(ids(&history), ["0a", "0b", "0c", "0d"]);
}

#[test]
fn what_is_no_record_is_left_alone() {
    let (_directory, history) = history();
    history.keep(&deployed()).expect("a writable directory");
    for name in [
        "draft",
        "record.new",
        "notes.txt",
        "x-00.json",
        "0001-.json",
        "1-../a.json",
    ] {
        let path = history.directory().join(name.replace('/', "_"));
        fs::write(path, "x").expect("ours");
        assert_eq!(Entry::of(name), None, "{name}");
    }
    assert_eq!(ids(&history).len(), 1);
    let hostile = record("../../etc/passwd");
    history.keep(&hostile).expect_err("it is no file's name");
}

#[test]
fn a_disk_that_takes_nothing_harms_nothing() {
    let (_directory, history) = history();
    history.keep(&deployed()).expect("a writable directory");
    // A directory in the way: nobody can open it for writing, root neither.
    fs::create_dir(history.directory().join(NEW)).expect("ours");
    history
        .keep(&rolled_back())
        .expect_err("it cannot be written");
    assert_eq!(history.of(&deployed().deployment), Some(deployed()));
    let nowhere = History::new("/proc/nowhere/history");
    nowhere.keep(&deployed()).expect_err("it cannot be written");
    assert_eq!(nowhere.entries().map(|entries| entries.len()).ok(), Some(0));
}

#[test]
fn the_oldest_are_dropped_and_the_newest_never() {
    let sizes = |sizes: &[u64]| -> Vec<(Entry, u64)> {
        let entry = |number| Entry {
            number,
            id: "0a".to_owned(),
        };
        (1..).map(entry).zip(sizes.iter().copied()).collect()
    };
    for (kept, most, most_bytes, dropped) in [
        (&[1, 1, 1][..], 3, 3, 0),
        (&[1, 1, 1], 2, 3, 1),
        (&[1, 1, 1], 3, 2, 1),
        (&[9, 1, 1], 3, 2, 1),
        (&[1, 1, 9], 3, 2, 2),
        (&[9], 0, 0, 0),
        (&[], 0, 0, 0),
    ] {
        let sizes = sizes(kept);
        let numbers: Vec<u64> = surplus(&sizes, most, most_bytes)
            .iter()
            .map(|entry| entry.number)
            .collect();
        let expected: Vec<u64> = (1..=dropped).collect();
        assert_eq!(numbers, expected, "{kept:?}, {most}, {most_bytes}");
    }
}

#[test]
fn a_draft_is_of_one_deployment_and_outlives_the_daemon() {
    let (_directory, history) = history();
    let id = DeploymentId("0a".to_owned());
    assert_eq!(history.draft(&id), Draft::new(id.clone()));
    let now = |seconds| Now {
        wall: jiff::Timestamp::UNIX_EPOCH,
        since_boot: std::time::Duration::from_secs(seconds),
    };
    let mut draft = history.draft(&id);
    draft.enter(now(10));
    history.keep_draft(&draft).expect("a writable directory");
    let mut draft = history.draft(&id);
    draft.leave(PhaseName::Building, now(12));
    let lasted = Lasted {
        phase: PhaseName::Building,
        duration_ms: 2000,
    };
    assert_eq!(draft.phases, [lasted]);
    let other = DeploymentId("0b".to_owned());
    assert_eq!(history.draft(&other), Draft::new(other));
    fs::write(history.directory().join("draft"), "{\"torn").expect("ours");
    assert_eq!(history.draft(&id), Draft::new(id));
}

#[test]
fn the_keys_are_those_of_the_documented_schema() {
    let json = String::from_utf8(encode(&deployed()).expect("it serialises"));
    let text = include_str!("schema-1.json");
    assert_eq!(json.as_deref(), Ok(text));
    assert_eq!(serde_json::from_str::<Record>(text).ok(), Some(deployed()));
}
