//! A mirror that was damaged, or left by a process that was killed.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use crate::fetcher::remote::Fetcher;
use crate::fetcher::tests::upstream::{World, ask, failed, fetch, fetched, git, head, poll};
use crate::fetcher::wire::Problem;

/// Damages the only pack, which everybody may read but its owner not write.
fn flip_bytes(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("our file");
    let file = OpenOptions::new().write(true).open(path).expect("our file");
    let middle = file.metadata().expect("our file").len() / 2;
    file.write_all_at(&[0xa5; 40], middle).expect("written");
}

fn truncate(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).expect("our file");
    file.set_len(100).expect("truncated");
}

/// What may happen to a mirror while nobody looks: its name, and how to do it.
type Damage = (&'static str, fn(&World));

const DAMAGES: &[Damage] = &[
    ("flipped bytes in a pack", |world| {
        flip_bytes(&world.packs("pack")[0])
    }),
    ("flipped bytes in an index", |world| {
        flip_bytes(&world.packs("idx")[0])
    }),
    ("a truncated index", |world| {
        truncate(&world.packs("idx")[0])
    }),
    ("a missing index", |world| remove(&world.packs("idx")[0])),
    ("a missing pack", |world| remove(&world.packs("pack")[0])),
    ("a lost pack", |world| {
        remove(&world.packs("pack")[0]);
        remove(&world.packs("idx")[0]);
    }),
    ("an empty ref", |world| {
        write(world, "refs/deploy/origin/main", "")
    }),
    ("a ref to nothing", |world| {
        write(world, "refs/deploy/origin/main", &"1".repeat(40));
    }),
    ("an empty HEAD", |world| write(world, "HEAD", "")),
    ("an unreadable configuration", |world| {
        write(world, "config", "[core\n\0")
    }),
    ("no objects at all", |world| {
        fs::remove_dir_all(world.mirror().join(".git/objects")).expect("removed");
    }),
    ("no repository at all", |world| {
        fs::remove_dir_all(world.mirror().join(".git")).expect("removed");
    }),
    ("something else in the way", |world| {
        fs::remove_dir_all(world.mirror().join(".git")).expect("removed");
        fs::write(world.mirror().join(".git"), "not a repository").expect("written");
    }),
];

fn remove(path: &Path) {
    fs::remove_file(path).expect("removed");
}

fn write(world: &World, name: &str, content: &str) {
    fs::write(world.mirror().join(".git").join(name), content).expect("written");
}

#[test]
fn a_damaged_mirror_heals_when_the_same_commit_is_fetched_again() {
    for (name, damage) in DAMAGES {
        let world = World::new();
        drop(world.fetched());
        damage(&world);
        let mut fetcher = world.fetcher();
        assert_eq!(
            ask(&mut fetcher, &poll(&world.remote())),
            head(&world.head()),
            "{name}"
        );
        heal(&world, &mut fetcher, name);
    }
}

#[test]
fn a_damaged_mirror_heals_when_a_new_commit_is_fetched() {
    for (name, damage) in DAMAGES {
        let world = World::new();
        let mut fetcher = world.fetched();
        damage(&world);
        world.commit("three");
        heal(&world, &mut fetcher, name);
        // Damage that a fetch does not touch is found when it is asked for again.
        heal(&world, &mut fetcher, name);
        world.assert_mirror_is_whole_at(&world.head());
    }
}

/// A damaged mirror may cost one failed fetch, and no more than that.
fn heal(world: &World, fetcher: &mut Fetcher, name: &str) {
    let fetch = fetch(&world.remote(), &world.head());
    let mut answer = ask(fetcher, &fetch);
    if answer != fetched(&world.head()) {
        let (problem, message) = failed(answer);
        assert_eq!(problem, Problem::Mirror, "{name}: {message}");
        answer = ask(fetcher, &fetch);
    }
    assert_eq!(answer, fetched(&world.head()), "{name}");
}

#[test]
fn what_a_killed_fetch_left_is_cleared_away() {
    let world = World::new();
    drop(world.fetched());
    let leftovers = [
        "refs/deploy/origin/main.lock",
        "packed-refs.lock",
        "shallow.lock",
        "config.lock",
        "objects/pack/.tmpAbCdEf",
        "objects/pack/pack-0123456789012345678901234567890123456789.keep",
        "objects/pack/pack-0123456789012345678901234567890123456789.pack",
    ];
    for name in leftovers {
        write(&world, name, "");
    }
    let mut fetcher = world.fetcher();
    for name in leftovers {
        assert!(!world.mirror().join(".git").join(name).exists(), "{name}");
    }
    let commit = world.commit("three");
    assert_eq!(
        ask(&mut fetcher, &fetch(&world.remote(), &commit)),
        fetched(&commit)
    );
    world.assert_mirror_is_whole_at(&commit);
}

#[test]
fn a_lock_that_appears_later_does_not_stop_fetches_for_ever() {
    let world = World::new();
    let mut fetcher = world.fetched();
    write(&world, "refs/deploy/origin/main.lock", "");
    let commit = world.commit("three");
    assert_eq!(
        ask(&mut fetcher, &fetch(&world.remote(), &commit)),
        fetched(&commit)
    );
    assert!(world.packs("keep").is_empty());
}

#[test]
fn many_fetches_by_one_process_do_not_run_out_of_pack_slots() {
    let world = World::new();
    let mut fetcher = world.fetched();
    for _ in 0..130 {
        let empty = ["commit", "--quiet", "--allow-empty", "-m", "more"];
        git(&world.upstream(), &empty);
        let commit = world.head();
        assert_eq!(
            ask(&mut fetcher, &fetch(&world.remote(), &commit)),
            fetched(&commit)
        );
    }
    world.assert_mirror_is_whole_at(&world.head());
}
