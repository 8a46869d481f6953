//! The tag by which a remote shows that it is alive: asked for with the branch, passed on, and not kept.

use std::fs;

use crate::fetcher::tests::servers::{GitDaemon, HttpServer, free_port};
use crate::fetcher::tests::upstream::{
    World, ask, commit, failed, fetch, fetched, git, poll_with, remote,
};
use crate::fetcher::wire::{Answer, Problem, Request};
use crate::model::remote::RemoteAddress;
use crate::model::revision::{CommitId, TagId, TagName};

const TAG: &str = "heartbeat-main";

fn name() -> TagName {
    TagName::try_from(TAG.to_owned()).expect("a tag's name")
}

/// Makes the tag anew, annotated; returns its id.
fn beat(world: &World, at: &str, message: &str) -> TagId {
    let upstream = world.upstream();
    git(&upstream, &["tag", "--force", "-a", "-m", message, TAG, at]);
    named(world)
}

/// What the ref is.
fn named(world: &World) -> TagId {
    let reference = format!("refs/tags/{TAG}");
    TagId(commit(&git(&world.upstream(), &["rev-parse", &reference])))
}

fn poll(remote: &RemoteAddress) -> Request {
    Request::Poll {
        remote: remote.clone(),
        testing: None,
        heartbeat: Some(name()),
    }
}

fn head(commit: &CommitId, heartbeat: Option<&TagId>) -> Answer {
    Answer::Head {
        commit: commit.clone(),
        testing: None,
        heartbeat: heartbeat.cloned(),
    }
}

fn heartbeat(remote: &RemoteAddress, tag: &TagId) -> Request {
    Request::Heartbeat {
        remote: remote.clone(),
        name: name(),
        tag: tag.clone(),
    }
}

/// The object as git itself has it, as it is passed on.
fn passed_on(world: &World, tag: &TagId) -> Answer {
    // git prints it without the line break at its end.
    let text = git(&world.upstream(), &["cat-file", "tag", tag.0.as_str()]) + "\n";
    let digits = text.bytes().map(|byte| format!("{byte:02x}"));
    Answer::Heartbeat {
        object: digits.collect(),
    }
}

/// All files of the mirror.
fn files(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![world.mirror()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_heartbeat_is_told_with_the_branch_and_passed_on_over_every_transport() {
    let world = World::new();
    let mut fetcher = world.fetched();
    let root = world.directory.path().to_owned();
    let http = HttpServer::default().start(root.clone());
    let port = free_port();
    let _daemon = GitDaemon::serve(&root, port);
    // Servers take what is asked for as the beginning of names.
    git(
        &world.upstream(),
        &["tag", "-a", "-m", "x", "heartbeat-main2"],
    );
    let remotes = [
        format!("http://127.0.0.1:{http}/upstream"),
        format!("git://127.0.0.1:{port}/upstream"),
        format!("file://{}", world.upstream().display()),
    ]
    .map(|url| remote(&url));
    for remote in &remotes {
        assert_eq!(ask(&mut fetcher, &poll(remote)), head(&world.head(), None));
    }
    let tag = beat(&world, "main", "one");
    for remote in &remotes {
        let answer = ask(&mut fetcher, &poll(remote));
        assert_eq!(answer, head(&world.head(), Some(&tag)), "{}", remote.url);
        let both = Request::Poll {
            remote: remote.clone(),
            testing: Some(remote.branch.clone()),
            heartbeat: Some(name()),
        };
        let answer = ask(&mut fetcher, &both);
        let expected = Answer::Head {
            commit: world.head(),
            testing: Some(world.head()),
            heartbeat: Some(tag.clone()),
        };
        assert_eq!(answer, expected, "{}", remote.url);
        let answer = ask(&mut fetcher, &heartbeat(remote, &tag));
        assert_eq!(answer, passed_on(&world, &tag), "{}", remote.url);
    }
    let answer = ask(&mut fetcher, &poll_with(&remotes[2], None));
    assert_eq!(answer, head(&world.head(), None));
}

#[test]
fn heartbeats_leave_the_mirror_as_it_was() {
    let world = World::in_memory();
    let mut fetcher = world.fetched();
    let before = files(&world);
    for number in 0..40 {
        let tag = beat(&world, "main", &format!("beat {number}"));
        let answer = ask(&mut fetcher, &heartbeat(&world.remote(), &tag));
        assert_eq!(answer, passed_on(&world, &tag));
        assert_eq!(files(&world), before);
    }
    world.assert_mirror_is_whole_at(&world.head());
    let next = world.commit("three");
    let answer = ask(&mut fetcher, &fetch(&world.remote(), &next));
    assert_eq!(answer, fetched(&next));
    world.assert_mirror_is_whole_at(&next);
}

/// One of a commit that the branch does not have brings that commit, and it does not stay.
#[test]
fn what_comes_with_a_heartbeat_does_not_stay_and_is_not_taken_without_end() {
    let world = World::new();
    let mut fetcher = world.fetched();
    let before = files(&world);
    git(
        &world.upstream(),
        &["checkout", "--quiet", "-b", "withheld"],
    );
    let withheld = world.commit("withheld");
    let tag = beat(&world, "withheld", "of what is withheld");
    let answer = ask(&mut fetcher, &heartbeat(&world.remote(), &tag));
    assert_eq!(answer, passed_on(&world, &tag));
    assert_eq!(files(&world), before);
    let lineage = Request::Lineage {
        tip: withheld.clone(),
        base: Some(withheld),
        first: 0,
    };
    assert_eq!(failed(ask(&mut fetcher, &lineage)).0, Problem::Incomplete);

    let mut noise = vec![0_u8; 3 << 20];
    let mut state = 1_u64;
    for byte in &mut noise {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = state.to_le_bytes()[6];
    }
    fs::write(world.upstream().join("noise"), noise).expect("a written file");
    world.commit("much");
    let tag = beat(&world, "withheld", "of much");
    let answer = ask(&mut fetcher, &heartbeat(&world.remote(), &tag));
    assert_eq!(failed(answer).0, Problem::TooBig);
    let tag = beat(&world, "main", "of the branch again");
    let answer = ask(&mut fetcher, &heartbeat(&world.remote(), &tag));
    assert_eq!(answer, passed_on(&world, &tag));
    assert_eq!(files(&world), before);
}

#[test]
fn what_is_no_tag_is_told_and_one_that_moved_is_not_passed_on() {
    let world = World::new();
    let mut fetcher = world.fetched();
    let before = files(&world);
    git(&world.upstream(), &["tag", TAG]);
    let light = named(&world);
    assert_eq!(
        ask(&mut fetcher, &poll(&world.remote())),
        head(&world.head(), Some(&light))
    );
    let answer = ask(&mut fetcher, &heartbeat(&world.remote(), &light));
    let (problem, message) = failed(answer);
    assert_eq!(problem, Problem::NotATag, "{message}");
    assert!(message.ends_with("found a commit"), "{message}");

    beat(&world, "main", &"long ".repeat(20_000));
    let answer = ask(&mut fetcher, &heartbeat(&world.remote(), &named(&world)));
    assert_eq!(failed(answer).0, Problem::NotATag);

    let tag = beat(&world, "main", "one");
    beat(&world, "main", "two");
    let answer = ask(&mut fetcher, &heartbeat(&world.remote(), &tag));
    assert_eq!(failed(answer).0, Problem::Moved);
    git(&world.upstream(), &["tag", "--delete", TAG]);
    let answer = ask(&mut fetcher, &heartbeat(&world.remote(), &tag));
    assert_eq!(failed(answer).0, Problem::Moved);
    assert_eq!(files(&world), before);
}
