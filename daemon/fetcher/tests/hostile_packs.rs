//! Servers that send a pack that is none: each has its own problem, nothing of
//! it stays, and what was there before does.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::fetcher::limits::Limits;
use crate::fetcher::remote::Fetcher;
use crate::fetcher::tests::bomb;
use crate::fetcher::tests::hostile::{HURRIED, SMALL};
use crate::fetcher::tests::protocol::{
    EMPTY_BLOB, Script, claim, say, say_and_leave, say_and_stay, say_without_end, side_band,
};
use crate::fetcher::tests::upstream::{World, ask, commit, failed, fetch, fetched, git};
use crate::fetcher::wire::{Problem, Request};

/// Fetches what a script sends into a mirror that holds something else, and
/// gives the problem; asserts that nothing is left over and that the next
/// fetch from a good server works.
fn fetched_from(script: Script, tip: &str) -> (Problem, String) {
    fetched_within(SMALL, script, tip)
}

fn fetched_within(limits: Limits, script: Script, tip: &str) -> (Problem, String) {
    let world = World::new();
    drop(world.fetched());
    let mut fetcher = world.fetcher().with_limits(limits);
    let Request::Fetch { remote, commit, .. } = fetch(&script.start(), &commit(tip)) else {
        panic!("it is a fetch");
    };
    let limited = Request::Fetch {
        remote,
        commit,
        pack_limit: 1 << 20,
    };
    let failure = failed(ask(&mut fetcher, &limited));
    assert_nothing_is_left_over(&world);
    goes_on(&world, fetcher);
    failure
}

fn assert_nothing_is_left_over(world: &World) {
    let Ok(entries) = fs::read_dir(world.mirror().join(".git/objects/pack")) else {
        // The mirror was given up as a whole.
        return;
    };
    for entry in entries {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        let is_whole = name.ends_with(".pack") || name.ends_with(".idx");
        assert!(is_whole && !name.starts_with('.'), "{name} was left");
    }
}

/// The same fetcher, or the next one if this one cannot go on.
fn goes_on(world: &World, fetcher: Fetcher) {
    let stuck = fetcher.is_stuck();
    let mut fetcher = if stuck {
        drop(fetcher);
        world.fetcher()
    } else {
        fetcher
    };
    let commit = world.commit("after-it");
    let answer = ask(&mut fetcher, &fetch(&world.remote(), &commit));
    assert_eq!(answer, fetched(&commit));
    world.assert_mirror_is_whole_at(&commit);
}

/// An upstream with something that the mirrors of these tests do not have.
fn other() -> (World, String, Vec<u8>) {
    let world = World::new();
    // Random bytes do not shrink: the pack has several packets.
    let bytes: Vec<u8> = (0..200_000_u32)
        .map(|index| index.wrapping_mul(2_654_435_761).to_be_bytes()[1])
        .collect();
    fs::write(world.upstream().join("noise"), bytes).expect("written");
    let tip = world.commit("other").as_str().to_owned();
    let pack = world.whole_pack();
    (world, tip, pack)
}

#[test]
fn a_pack_that_is_sent_whole_is_taken() {
    let (_world, tip, pack) = other();
    let mirror = World::new();
    let commit = commit(&tip);
    let request = fetch(&Script::new(&tip, pack).start(), &commit);
    assert_eq!(ask(&mut mirror.fetcher(), &request), fetched(&commit));
    mirror.assert_mirror_is_whole_at(&commit);
}

#[test]
fn a_damaged_pack_is_refused_as_a_whole() {
    let (_world, tip, pack) = other();
    let mut checksum = pack.clone();
    *checksum.last_mut().expect("a pack has a checksum") ^= 1;
    let mut content = pack.clone();
    content[pack.len() / 2] ^= 0xff;
    let mut magic = pack.clone();
    magic[0] = b'K';
    let truncated = pack[..pack.len() / 2].to_vec();
    for (name, damaged) in [
        ("checksum", checksum),
        ("content", content),
        ("magic", magic),
        ("truncated", truncated),
        ("nothing", Vec::new()),
    ] {
        let (problem, message) = fetched_from(Script::new(&tip, damaged), &tip);
        assert_eq!(problem, Problem::Pack, "{name}: {message}");
    }
}

#[test]
fn a_connection_that_ends_within_a_pack_leaves_nothing() {
    let (_world, tip, pack) = other();
    let mut script = Script::new(&tip, Vec::new());
    let half = side_band(&pack[..pack.len() / 2]);
    script.pack = say_and_leave(half);
    let (problem, message) = fetched_from(script, &tip);
    let expected = [Problem::Pack, Problem::Fetch];
    assert!(expected.contains(&problem), "{problem:?} {message}");
}

#[test]
fn a_pack_that_lacks_objects_is_refused_and_asked_for_again() {
    let (world, tip, _) = other();
    let tree = git(&world.upstream(), &["rev-parse", "HEAD^{tree}"]);
    let parent = git(&world.upstream(), &["rev-parse", "HEAD~1"]);
    for objects in [
        vec![&*tip],
        vec![&*tip, &*tree],
        vec![&*tip, &*tree, &*parent],
        vec![&*tree],
    ] {
        let pack = world.pack_of(&objects);
        let (problem, message) = fetched_from(Script::new(&tip, pack), &tip);
        assert_eq!(problem, Problem::Incomplete, "{objects:?}: {message}");
    }
}

#[test]
fn a_branch_that_is_no_commit_is_told_as_such() {
    let (world, _, pack) = other();
    git(&world.upstream(), &["tag", "-a", "-m", "t", "v1"]);
    let with_tag = {
        let tag = git(&world.upstream(), &["rev-parse", "v1"]);
        (tag.clone(), world.pack_of(&[&tag]))
    };
    let id = |name| git(&world.upstream(), &["rev-parse", name]);
    for (name, (tip, pack)) in [
        ("tree", (id("HEAD^{tree}"), pack.clone())),
        ("blob", (id("HEAD:noise"), pack)),
        ("tag", with_tag),
    ] {
        let (problem, message) = fetched_from(Script::new(&tip, pack), &tip);
        assert_eq!(problem, Problem::NotACommit, "{name}: {message}");
    }
}

#[test]
fn a_pack_without_end_is_not_taken() {
    let tip = "1".repeat(40);
    for claimed in [1_000_000, u32::MAX] {
        let mut script = Script::new(&tip, Vec::new());
        let head = side_band(&claim(claimed));
        script.pack = say_without_end(head, side_band(&EMPTY_BLOB.repeat(5000)));
        let (problem, message) = fetched_from(script, &tip);
        assert_eq!(problem, Problem::TooBig, "{claimed}: {message}");
    }
}

#[test]
fn a_few_bytes_that_unpack_to_many_are_not_unpacked() {
    let world = World::new();
    let file = fs::File::create(world.upstream().join("bomb")).expect("a file");
    // A hole: it takes no room but in whoever reads it.
    file.set_len(129 << 20).expect("a hole");
    let tip = world.commit("boom").as_str().to_owned();
    let pack = world.whole_pack();
    assert!(pack.len() < 1 << 20, "it is small: {}", pack.len());
    let (problem, message) = fetched_from(Script::new(&tip, pack), &tip);
    assert_eq!(problem, Problem::TooBig, "{message}");
}

#[test]
fn a_difference_that_copies_its_base_again_and_again_is_not_followed() {
    let tip = "1".repeat(40);
    let pack = bomb::of_copies();
    assert!(pack.len() < 1 << 17, "it is small: {}", pack.len());
    let (problem, message) = fetched_from(Script::new(&tip, pack), &tip);
    assert_eq!(problem, Problem::TooBig, "{message}");
}

#[test]
fn a_pack_that_stops_coming_is_given_up() {
    let (_world, tip, pack) = other();
    let half = side_band(&pack[..pack.len() / 2]);
    let mut silent = Script::new(&tip, Vec::new());
    silent.pack = say_and_stay(half.clone());
    let (problem, message) = fetched_within(HURRIED, silent, &tip);
    assert_eq!(problem, Problem::TooSlow, "{message}");

    let mut slow = Script::new(&tip, Vec::new());
    slow.pack = Arc::new(move |stream| {
        stream.write_all(&half)?;
        for byte in &pack[pack.len() / 2..] {
            stream.write_all(&side_band(&[*byte]))?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let (problem, message) = fetched_within(HURRIED, slow, &tip);
    assert_eq!(problem, Problem::TooSlow, "{message}");
}

#[test]
fn an_answer_to_a_fetch_that_announces_no_pack_is_survived() {
    let tip = "1".repeat(40);
    for nonsense in ["zzzz", "0000", "fff1", "0001", "0013ERR not for you"] {
        let mut script = Script::new(&tip, Vec::new());
        script.pack = say(nonsense);
        let (problem, message) = fetched_within(HURRIED, script, &tip);
        let expected = [Problem::Pack, Problem::Fetch, Problem::TooSlow];
        assert!(
            expected.contains(&problem),
            "{nonsense:?}: {problem:?} {message}"
        );
    }
}

#[test]
fn a_commit_that_is_malformed_is_told_as_what_the_remote_sent() {
    let world = World::new();
    let tree = git(&world.upstream(), &["rev-parse", "HEAD^{tree}"]);
    let who = "A <a@example.org> 1 +0000";
    for (name, text) in [
        ("nothing", String::new()),
        ("no tree", format!("author {who}\ncommitter {who}\n\nx\n")),
        ("no author", format!("tree {tree}\ncommitter {who}\n\nx\n")),
        (
            "half a tree",
            format!("tree {}\nauthor {who}\ncommitter {who}\n\nx\n", &tree[..8]),
        ),
        (
            "two trees",
            format!("tree {tree}\ntree {tree}\nauthor {who}\ncommitter {who}\n\nx\n"),
        ),
    ] {
        fs::write(world.directory.path().join("object"), text).expect("written");
        let write = [
            "hash-object",
            "-w",
            "-t",
            "commit",
            "--literally",
            "../object",
        ];
        let tip = git(&world.upstream(), &write);
        let pack = world.pack_of(&[&tip, &tree]);
        let mirror = World::new();
        let mut fetcher = mirror.fetched();
        let request = fetch(&Script::new(&tip, pack).start(), &commit(&tip));
        let (problem, message) = failed(ask(&mut fetcher, &request));
        assert_eq!(problem, Problem::Pack, "{name}: {message}");
        let next = mirror.commit("after-it");
        let answer = ask(&mut fetcher, &fetch(&mirror.remote(), &next));
        assert_eq!(answer, fetched(&next), "{name}");
    }
}
