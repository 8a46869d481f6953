//! What a remote can do, in good faith.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::fetcher::mirror::Mirror;
use crate::fetcher::process::{End, serve};
use crate::fetcher::tests::servers::{GitDaemon, HttpServer, free_port};
use crate::fetcher::tests::upstream::{
    World, ask, failed, fetch, fetched, git, head, poll, remote,
};
use crate::fetcher::wire::{Answer, LINE_LIMIT, Problem};

#[test]
fn a_branch_is_polled_and_fetched_commit_by_commit() {
    let world = World::new();
    let mut fetcher = world.fetcher();
    for text in ["three", "four"] {
        let commit = world.commit(text);
        assert_eq!(ask(&mut fetcher, &poll(&world.remote())), head(&commit));
        let fetch = fetch(&world.remote(), &commit);
        assert_eq!(ask(&mut fetcher, &fetch), fetched(&commit));
        world.assert_mirror_is_whole_at(&commit);
    }
    assert_eq!(
        git(
            &world.mirror(),
            &["rev-list", "--count", "refs/deploy/origin/main"]
        ),
        "4"
    );
}

#[test]
fn only_the_branch_is_fetched() {
    let world = World::new();
    git(&world.upstream(), &["tag", "-a", "-m", "t", "v1"]);
    git(&world.upstream(), &["branch", "main-2"]);
    world.fetched();
    let refs = git(&world.mirror(), &["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs, "refs/deploy/origin/main");
}

#[test]
fn nothing_is_ever_checked_out() {
    let world = World::new();
    world.fetched();
    let names: Vec<_> = fs::read_dir(world.mirror())
        .expect("a mirror")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, [".git"]);
}

#[test]
fn a_branch_that_was_forced_elsewhere_is_followed() {
    let world = World::new();
    let mut fetcher = world.fetched();
    git(&world.upstream(), &["reset", "--quiet", "--hard", "HEAD~1"]);
    let commit = world.commit("elsewhere");
    assert_eq!(ask(&mut fetcher, &poll(&world.remote())), head(&commit));
    assert_eq!(
        ask(&mut fetcher, &fetch(&world.remote(), &commit)),
        fetched(&commit)
    );
    world.assert_mirror_is_whole_at(&commit);
}

#[test]
fn a_branch_that_went_back_is_followed_without_a_pack() {
    let world = World::new();
    let mut fetcher = world.fetched();
    git(&world.upstream(), &["reset", "--quiet", "--hard", "HEAD~1"]);
    let commit = world.head();
    assert_eq!(
        ask(&mut fetcher, &fetch(&world.remote(), &commit)),
        fetched(&commit)
    );
    world.assert_mirror_is_whole_at(&commit);
    assert_eq!(world.packs("pack").len(), 1);
}

#[test]
fn a_branch_that_moved_since_the_poll_is_not_fetched() {
    let world = World::new();
    let mut fetcher = world.fetcher();
    let polled = world.head();
    let moved = world.commit("three");
    let (problem, message) = failed(ask(&mut fetcher, &fetch(&world.remote(), &polled)));
    assert_eq!(problem, Problem::Moved);
    assert_eq!(message, format!("expected main at {polled}, found {moved}"));
    assert!(world.packs("pack").is_empty());
}

#[test]
fn a_missing_branch_is_told_from_a_remote_that_cannot_be_asked() {
    let world = World::new();
    git(
        &world.upstream(),
        &["branch", "-m", "main", "main-but-longer"],
    );
    let mut fetcher = world.fetcher();
    assert_eq!(
        ask(&mut fetcher, &poll(&world.remote())),
        Answer::BranchMissing
    );
    assert_eq!(
        ask(&mut fetcher, &fetch(&world.remote(), &world.head())),
        Answer::BranchMissing
    );
    let nowhere = remote("file:///nonexistent/repository");
    let (problem, message) = failed(ask(&mut fetcher, &poll(&nowhere)));
    assert_eq!(problem, Problem::Remote);
    assert!(message.contains("/nonexistent/repository"), "{message}");
}

#[test]
fn an_empty_repository_has_no_branch() {
    let world = World::new();
    let empty = world.directory.path().join("empty");
    git(
        world.directory.path(),
        &["init", "--quiet", "--bare", "empty"],
    );
    let remote = remote(&format!("file://{}", empty.display()));
    assert_eq!(
        ask(&mut world.fetcher(), &poll(&remote)),
        Answer::BranchMissing
    );
}

#[test]
fn a_repository_of_sha_256_is_refused_with_the_reason() {
    let world = World::new();
    let other = world.directory.path().join("sha256");
    let init = ["init", "--quiet", "--object-format=sha256", "sha256"];
    git(world.directory.path(), &init);
    git(&other, &["commit", "--quiet", "--allow-empty", "-m", "one"]);
    let http = HttpServer::default().start(world.directory.path().to_owned());
    let port = free_port();
    let _daemon = GitDaemon::serve(world.directory.path(), port);
    for url in [
        format!("file://{}", other.display()),
        format!("http://127.0.0.1:{http}/sha256"),
        format!("git://127.0.0.1:{port}/sha256"),
    ] {
        let (problem, message) = failed(ask(&mut world.fetcher(), &poll(&remote(&url))));
        assert_eq!(problem, Problem::Unsupported, "{url}: {message}");
        assert!(
            message.contains("SHA-1") && message.contains("found sha256"),
            "{message}"
        );
    }
}

#[test]
fn the_mirror_is_readable_by_its_group_and_by_nobody_else() {
    let world = World::new();
    world.fetched();
    let listing = git(&world.mirror(), &["rev-parse", "--git-dir"]);
    assert_eq!(listing, ".git");
    let mut pending = vec![world.mirror().join(".git")];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).expect("it was listed");
        let expected = if metadata.is_dir() { 0o750 } else { 0o640 };
        assert_eq!(metadata.permissions().mode() & 0o7777, expected, "{path:?}");
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            pending.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
}

#[test]
fn a_mirror_has_one_owner() {
    let world = World::new();
    let owner = world.fetcher();
    let error = Mirror::own(&world.mirror()).err().expect("it is owned");
    assert!(format!("{error:#}").contains("another process holds the mirror"));
    drop(owner);
    assert!(Mirror::own(&world.mirror()).is_ok());
}

#[test]
fn what_is_no_request_is_answered_and_survived() {
    let world = World::new();
    let poll = serde_json::to_string(&poll(&world.remote())).expect("requests serialise");
    let mut answers = Vec::new();
    let input = format!("{{\"request\":\"push\"}}\nnonsense\n{poll}\n");
    serve(&mut world.fetcher(), input.as_bytes(), &mut answers, || {
        false
    })
    .expect("whole lines");
    let answers = String::from_utf8(answers).expect("JSON is text");
    let problems: Vec<_> = answers
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer"))
        .collect::<Vec<Answer>>();
    assert_eq!(problems.len(), 3);
    assert_eq!(failed(problems[0].clone()).0, Problem::Protocol);
    assert_eq!(failed(problems[1].clone()).0, Problem::Protocol);
    assert_eq!(problems[2], head(&world.head()));
}

#[test]
fn a_process_that_has_grown_answers_and_leaves_the_next_request_to_its_successor() {
    let world = World::new();
    let poll = serde_json::to_string(&poll(&world.remote())).expect("requests serialise");
    let input = format!("{poll}\n{poll}\n");
    for (has_grown, end, answered) in [
        ((|| true) as fn() -> bool, End::Grown, 1),
        (|| false, End::HungUp, 2),
    ] {
        let mut answers = Vec::new();
        let ended = serve(
            &mut world.fetcher(),
            input.as_bytes(),
            &mut answers,
            has_grown,
        );
        assert_eq!(ended.expect("whole lines"), end);
        let answers = String::from_utf8(answers).expect("JSON is text");
        assert_eq!(answers.lines().count(), answered);
    }
}

#[test]
fn a_line_without_end_ends_the_process() {
    let world = World::new();
    for (input, expected) in [
        (vec![b'x'; LINE_LIMIT * 2], "longer than"),
        (b"{\"request\"".to_vec(), "ends within a request"),
    ] {
        let error =
            serve(&mut world.fetcher(), &*input, Vec::new(), || false).expect_err("no whole line");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
