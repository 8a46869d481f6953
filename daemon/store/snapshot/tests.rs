//! The file as readers of other versions find it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::example::full;
use super::file::MODE;
use super::*;

#[test]
fn what_is_written_is_read_back_by_everybody() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("status.json");
    let mut snapshot = full();
    write(&path, &snapshot).expect("it is written");
    snapshot.looks.finished += 1;
    write(&path, &snapshot).expect("it is replaced");
    let mode = fs::metadata(&path).expect("it is there").permissions();
    assert_eq!(mode.mode() & 0o777, MODE);
    let (back, _) = read(&path).expect("it is read");
    assert_eq!(back, snapshot);
    let left = fs::read_dir(directory.path()).expect("it is a directory");
    assert_eq!(left.count(), 1, "no temporary file is left");
}

#[test]
fn the_keys_are_those_of_the_documented_schema() {
    let json = serde_json::to_string_pretty(&full()).expect("it serialises");
    assert_eq!(json, include_str!("schema-3.json").trim_end());
}

#[test]
fn what_operators_said_has_these_keys() {
    let text = |value: serde_json::Value| value.to_string();
    let pause = serde_json::to_value(super::example::pause()).expect("it serialises");
    assert_eq!(
        text(pause),
        r#"{"by":1000,"reason":"a fair","since":"2026-11-22T12:00:00Z","until":"2026-11-22T12:00:00Z","waiting":null}"#
    );
    let hold = serde_json::to_value(super::example::hold()).expect("it serialises");
    assert_eq!(
        text(hold),
        r#"{"by":0,"commit":"0123456789abcdef0123456789abcdef01234567","deployment":"00c0ffee00c0ffee","ends_with_boot":false,"pushed":null,"since":"2026-11-22T12:00:00Z"}"#
    );
    let pushed = serde_json::to_value(super::example::pushed()).expect("it serialises");
    assert_eq!(
        text(pushed),
        r#"{"aim":"test-only","commit":"0123456789abcdef0123456789abcdef01234567","configuration":"web1","dirty":true,"name":"web: try it","source":"/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-source"}"#
    );
}

#[test]
fn what_an_older_daemon_wrote_is_read_without_what_it_did_not_know() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("status.json");
    let unknown = Remote {
        place: PlaceName::Unknown,
        ..full().remote
    };
    let of_schema_1 = Snapshot {
        schema: 1,
        remote: unknown.clone(),
        remotes: Vec::new(),
        quarantine: Vec::new(),
        testing: None,
        last_new_commit_at: None,
        floor: None,
        ..full()
    };
    let of_schema_2 = Snapshot {
        schema: 2,
        testing: None,
        last_new_commit_at: None,
        floor: None,
        ..full()
    };
    for (text, expected, remotes) in [
        (include_str!("schema-1.json"), of_schema_1, vec![unknown]),
        (include_str!("schema-2.json"), of_schema_2, full().remotes),
    ] {
        fs::write(&path, text).expect("it is written");
        let (snapshot, _) = read(&path).expect("it is read");
        assert_eq!(snapshot, expected);
        assert_eq!(snapshot.all_remotes(), remotes);
    }
}

/// A program that was written for the first schema goes on: no key that it could know is gone, or of another kind.
#[test]
fn what_is_written_has_every_key_that_was_ever_documented() {
    fn holds(new: &serde_json::Value, old: &serde_json::Value, path: &str) {
        use serde_json::Value;
        match (new, old) {
            (Value::Object(new), Value::Object(old)) => {
                for (key, old) in old {
                    let new = new.get(key);
                    let new = new.unwrap_or_else(|| panic!("{path}/{key} is gone"));
                    holds(new, old, &format!("{path}/{key}"));
                }
            }
            (Value::Array(new), Value::Array(old)) => {
                assert!(old.is_empty() || !new.is_empty(), "{path} shows nothing");
                for (index, old) in old.iter().enumerate() {
                    holds(&new[0], old, &format!("{path}/{index}"));
                }
            }
            (new, old) => {
                let kind = std::mem::discriminant::<Value>;
                assert_eq!(kind(new), kind(old), "{path}: {old} became {new}");
            }
        }
    }
    let written = serde_json::to_value(full()).expect("it serialises");
    for old in [
        include_str!("schema-1.json"),
        include_str!("schema-2.json"),
        include_str!("schema-3.json"),
    ] {
        let old = serde_json::from_str(old).expect("it is JSON");
        holds(&written, &old, "");
    }
}

#[test]
fn keys_that_are_not_known_are_ignored() {
    let mut json = serde_json::to_value(full()).expect("it serialises");
    json["future"] = true.into();
    json["remote"]["future"] = true.into();
    assert_eq!(Snapshot::deserialize(&json).ok(), Some(full()));
}

#[test]
fn a_file_that_is_no_snapshot_says_why() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("status.json");
    let failure = |text: &str| {
        fs::write(&path, text).expect("it is written");
        read(&path).expect_err(text)
    };
    assert!(matches!(failure(""), ReadError::Malformed { .. }));
    assert!(matches!(
        failure("{\"schema\":1}"),
        ReadError::Malformed { .. }
    ));
    assert!(matches!(
        failure("{\"schema\":0}"),
        ReadError::Schema { found: 0, .. }
    ));
    let newer = "{\"schema\":4,\"other\":true,\"daemon\":{\"version\":\"9.0\\u001b[2J\"}}";
    assert_eq!(
        failure(newer).to_string(),
        format!(
            "expected a snapshot of schema 1 to 3, which this command, deploy-flake {}, reads; \
             found schema 4, written by deploy-flake 9.0\\u{{1b}}[2J",
            env!("CARGO_PKG_VERSION")
        )
    );
    let none = read(&directory.path().join("none")).expect_err("there is none");
    assert!(matches!(none, ReadError::Missing(_)));
}
