//! A poll that finds nothing new writes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::fetcher::tests::servers::{GitDaemon, HttpServer, free_port};
use crate::fetcher::tests::upstream::{World, ask, head, poll, remote};

/// When a file was changed last, in which place on the disk, and how long it is.
type Trace = (u64, i64, i64, i64, u64);

fn traces(directory: &Path, found: &mut BTreeMap<PathBuf, Trace>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let is = fs::symlink_metadata(&path).expect("it was listed");
        let trace = (
            is.ino(),
            is.mtime(),
            is.mtime_nsec(),
            is.ctime_nsec(),
            is.size(),
        );
        if is.is_dir() {
            traces(&path, found);
        }
        found.insert(path, trace);
    }
}

#[test]
fn a_poll_that_finds_nothing_new_leaves_the_mirror_as_it_is() {
    let world = World::new();
    let mut fetcher = world.fetched();
    let root = world.directory.path().to_owned();
    let http = HttpServer::default().start(root.clone());
    let port = free_port();
    let _daemon = GitDaemon::serve(&root, port);
    let mut before = BTreeMap::new();
    traces(&world.mirror(), &mut before);
    assert!(before.len() > 10, "there is a mirror");
    for _ in 0..10 {
        for url in [
            format!("http://127.0.0.1:{http}/upstream"),
            format!("git://127.0.0.1:{port}/upstream"),
            format!("file://{}", world.upstream().display()),
        ] {
            assert_eq!(ask(&mut fetcher, &poll(&remote(&url))), head(&world.head()));
        }
    }
    let mut after = BTreeMap::new();
    traces(&world.mirror(), &mut after);
    assert_eq!(before, after);
}
