//! A testing branch beside the branch: asked for with it, kept beside it.

use crate::fetcher::tests::servers::{GitDaemon, HttpServer, free_port};
use crate::fetcher::tests::upstream::{
    World, ask, commit, fetch, fetched, git, head_with, poll_with, remote,
};
use crate::model::remote::RemoteAddress;
use crate::model::revision::{Branch, CommitId};

const TESTING: &str = "testing-web1";

/// A remote's other branch.
fn testing_of(remote: &RemoteAddress) -> RemoteAddress {
    let branch = Branch::try_from(TESTING.to_owned()).expect("a branch name");
    RemoteAddress {
        branch,
        ..remote.clone()
    }
}

/// Puts the upstream's testing branch where its head is.
fn branch(world: &World) -> CommitId {
    git(&world.upstream(), &["branch", "--force", TESTING]);
    world.head()
}

#[test]
fn both_branches_are_told_in_one_answer_over_every_transport() {
    let world = World::new();
    let mut fetcher = world.fetcher();
    let root = world.directory.path().to_owned();
    let http = HttpServer::default().start(root.clone());
    let port = free_port();
    let _daemon = GitDaemon::serve(&root, port);
    // Servers take what is asked for as the beginning of names.
    git(&world.upstream(), &["branch", "testing-web10"]);
    let remotes = [
        format!("http://127.0.0.1:{http}/upstream"),
        format!("git://127.0.0.1:{port}/upstream"),
        format!("file://{}", world.upstream().display()),
    ]
    .map(|url| remote(&url));
    for remote in &remotes {
        let answer = ask(&mut fetcher, &poll_with(remote, Some(TESTING)));
        assert_eq!(answer, head_with(&world.head(), None), "{}", remote.url);
    }
    let tested = branch(&world);
    let main = world.commit("three");
    for remote in &remotes {
        let answer = ask(&mut fetcher, &poll_with(remote, Some(TESTING)));
        assert_eq!(answer, head_with(&main, Some(&tested)), "{}", remote.url);
        let answer = ask(&mut fetcher, &poll_with(remote, None));
        assert_eq!(answer, head_with(&main, None), "{}", remote.url);
    }
}

/// The refs that the mirror holds.
fn refs(world: &World) -> String {
    git(&world.mirror(), &["for-each-ref", "--format=%(refname)"])
}

/// Fetches commits of main until the mirror is made anew.
fn until_renewed(world: &World, begin: usize) -> CommitId {
    let mut fetcher = world.fetcher();
    let mut packs = 0;
    for number in begin.. {
        let main = world.commit(&format!("m{number}"));
        let answer = ask(&mut fetcher, &fetch(&world.remote(), &main));
        assert_eq!(answer, fetched(&main));
        let now = world.packs("pack").len();
        if now < packs {
            return main;
        }
        packs = now;
    }
    unreachable!("it grows for ever")
}

#[test]
fn a_mirror_that_is_made_anew_holds_the_testing_branch_until_it_is_gone() {
    let world = World::in_memory();
    let tested = {
        let mut fetcher = world.fetched();
        git(&world.upstream(), &["checkout", "--quiet", "-b", TESTING]);
        let tested = world.commit("tested");
        git(&world.upstream(), &["checkout", "--quiet", "main"]);
        let answer = ask(&mut fetcher, &fetch(&testing_of(&world.remote()), &tested));
        assert_eq!(answer, fetched(&tested));
        tested
    };
    let main = until_renewed(&world, 0);
    world.assert_mirror_is_whole_at(&main);
    let at = git(
        &world.mirror(),
        &["rev-parse", &format!("refs/deploy/origin/{TESTING}")],
    );
    assert_eq!(commit(&at), tested);
    git(&world.mirror(), &["ls-tree", "-r", tested.as_str()]);
    git(&world.upstream(), &["branch", "-D", TESTING]);
    let main = until_renewed(&world, 1000);
    world.assert_mirror_is_whole_at(&main);
    assert_eq!(refs(&world), "refs/deploy/origin/main");
}
