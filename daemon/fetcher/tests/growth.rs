//! A mirror that lives for years: many fetches, forced pushes, and what they leave.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::fetcher::mirror::Mirror;
use crate::fetcher::tests::upstream::{World, ask, commit, fetch, fetched, git, git_command};

/// How many commits are fetched, one by one.
const FETCHES: usize = 400;

/// Of so many commits one is forced away by the next.
const FORCED: usize = 10;

/// What each forced commit brings, and no other keeps, in bytes.
const BALLAST: usize = 100_000;

/// Makes a history in which some commits are siblings of their successors, and gives their ids in order.
fn history(world: &World) -> Vec<String> {
    let mut stream = String::new();
    let mut trunk = None;
    for number in 1..=FETCHES {
        let is_forced = number.is_multiple_of(FORCED);
        let branch = if is_forced { "side" } else { "trunk" };
        let _ = write!(
            stream,
            "commit refs/heads/{branch}-{number}\nmark :{number}\ncommitter t <t@localhost> {} +0000\ndata 1\nx",
            1_700_000_000 + number
        );
        if let Some(trunk) = trunk {
            let _ = write!(stream, "\nfrom :{trunk}");
        }
        let text = if is_forced {
            noise(number)
        } else {
            format!("{number}")
        };
        let _ = write!(stream, "\nM 644 inline file\ndata {}\n{text}\n", text.len());
        if !is_forced {
            trunk = Some(number);
        }
    }
    let marks = world.directory.path().join("marks");
    let export = format!("--export-marks={}", marks.display());
    let mut child = git_command(&world.upstream())
        .args(["fast-import", "--quiet", &export])
        .stdin(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut input = child.stdin.take().expect("piped");
    input
        .write_all(stream.as_bytes())
        .expect("a stream that is read");
    drop(input);
    assert!(child.wait().expect("our child").success());
    let text = fs::read_to_string(marks).expect("written");
    let mut ids: Vec<(usize, String)> = text
        .lines()
        .filter_map(|line| line.trim_start_matches(':').split_once(' '))
        .map(|(mark, id)| (mark.parse().expect("a number"), id.to_owned()))
        .collect();
    ids.sort();
    ids.into_iter().map(|(_, id)| id).collect()
}

/// Text that does not shrink much, and that no other number has.
fn noise(number: usize) -> String {
    let mut state = number as u64;
    let mut text = String::new();
    while text.len() < BALLAST {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let _ = write!(text, "{state:016x}");
    }
    text
}

/// Moves the branch as a push does, without a process for it.
fn push(upstream: &Path, id: &str) {
    fs::write(upstream.join(".git/refs/heads/main"), format!("{id}\n")).expect("written");
}

/// How many bytes are below a directory.
fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| match entry.metadata().expect("our file") {
            inner if inner.is_dir() => size(&entry.path()),
            inner => inner.len(),
        })
        .sum()
}

#[test]
fn a_mirror_stays_small_over_hundreds_of_fetches_and_forced_pushes() {
    let world = World::in_memory();
    let ids = history(&world);
    assert_eq!(ids.len(), FETCHES);
    let remote = world.remote();
    let mut fetcher = world.fetcher();
    let mut most_packs = 0;
    for id in &ids {
        push(&world.upstream(), id);
        let commit = commit(id);
        assert_eq!(
            ask(&mut fetcher, &fetch(&remote, &commit)),
            fetched(&commit)
        );
        most_packs = most_packs.max(world.packs("pack").len());
    }
    assert!(most_packs <= 80, "{most_packs} packs");
    let bytes = size(&world.mirror());
    let ballast = (BALLAST / 2 * FETCHES / FORCED) as u64;
    assert!(
        bytes < ballast / 2,
        "{bytes} bytes: what was forced away is still there"
    );
    world.assert_mirror_is_whole_at(&commit(&ids[FETCHES - 1]));
    let first = git_command(&world.mirror())
        .args(["cat-file", "-e", &ids[FORCED - 1]])
        .output()
        .expect("git is installed");
    assert!(!first.status.success(), "it was forced away long ago");
    let refs = git(&world.mirror(), &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs, "refs/deploy/origin/main");
}

#[test]
fn a_new_mirror_that_was_not_finished_is_cleared_away() {
    let world = World::new();
    drop(world.fetched());
    let fresh = world.mirror().join(".fresh/.git/objects/pack");
    fs::create_dir_all(&fresh).expect("made");
    fs::write(fresh.join("pack-1.pack"), "half").expect("written");
    drop(Mirror::own(&world.mirror()));
    assert!(!world.mirror().join(".fresh").exists());
    world.assert_mirror_is_whole_at(&world.head());
}
