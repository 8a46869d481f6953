//! A git repository to fetch from, and the fetcher under test beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::fetcher::credentials::Credentials;
use crate::fetcher::mirror::Mirror;
use crate::fetcher::process::serve;
use crate::fetcher::remote::Fetcher;
use crate::fetcher::wire::{Answer, Problem, Request};
use crate::model::remote::{Access, RemoteAddress};
use crate::model::revision::{Branch, CommitId};

/// As many bytes of pack as the configuration's default allows.
const PACK_LIMIT: u64 = 512 << 20;

/// A git that reads nobody's configuration.
pub(super) fn git_command(directory: &Path) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests build repositories with git itself"
    )]
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
        .args(["-c", "init.defaultBranch=main", "-c", "gc.auto=0"]);
    command
}

/// Runs git and gives what it printed.
pub(super) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = git_command(directory)
        .args(arguments)
        .output()
        .expect("git is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A world with one upstream repository and one mirror.
pub(super) struct World {
    pub(super) directory: TempDir,
}

impl World {
    /// An upstream of two commits on `main`, and no mirror yet.
    pub(super) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// The same without a disk, for what writes and syncs a lot.
    pub(super) fn in_memory() -> Self {
        Self::below(Path::new("/dev/shm"))
    }

    fn below(parent: &Path) -> Self {
        let world = Self {
            directory: TempDir::new_in(parent).expect("a temporary directory"),
        };
        fs::create_dir(world.upstream()).expect("a new directory");
        git(&world.upstream(), &["init", "--quiet"]);
        world.commit("one");
        world.commit("two");
        world
    }

    pub(super) fn upstream(&self) -> PathBuf {
        self.directory.path().join("upstream")
    }

    pub(super) fn mirror(&self) -> PathBuf {
        self.directory.path().join("mirror")
    }

    /// Commits a file to the current branch.
    pub(super) fn commit(&self, text: &str) -> CommitId {
        fs::write(self.upstream().join(text), text.repeat(200)).expect("a written file");
        git(&self.upstream(), &["add", "."]);
        git(&self.upstream(), &["commit", "--quiet", "-m", text]);
        self.head()
    }

    pub(super) fn head(&self) -> CommitId {
        commit(&git(&self.upstream(), &["rev-parse", "HEAD"]))
    }

    /// The upstream by its path.
    pub(super) fn remote(&self) -> RemoteAddress {
        remote(&format!("file://{}", self.upstream().display()))
    }

    pub(super) fn fetcher(&self) -> Fetcher {
        self.fetcher_with(None)
    }

    /// A fetcher with credentials below a directory.
    pub(super) fn fetcher_with(&self, credentials: Option<PathBuf>) -> Fetcher {
        let mirror = Mirror::own(&self.mirror()).expect("a mirror that nobody else owns");
        Fetcher::new(mirror, Credentials::new(credentials).expect("memory"))
    }

    /// A fetcher that has fetched the head.
    pub(super) fn fetched(&self) -> Fetcher {
        let mut fetcher = self.fetcher();
        let fetch = fetch(&self.remote(), &self.head());
        assert_eq!(ask(&mut fetcher, &fetch), fetched(&self.head()));
        fetcher
    }

    /// The files of the mirror with this extension.
    pub(super) fn packs(&self, extension: &str) -> Vec<PathBuf> {
        fs::read_dir(self.mirror().join(".git/objects/pack"))
            .expect("a mirror")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|found| found == extension))
            .collect()
    }

    /// What git itself thinks of the mirror.
    pub(super) fn assert_mirror_is_whole_at(&self, commit: &CommitId) {
        git(&self.mirror(), &["fsck", "--full", "--strict"]);
        let at = git(&self.mirror(), &["rev-parse", "refs/deploy/origin/main"]);
        assert_eq!(at, commit.as_str());
    }
}

pub(super) fn commit(text: &str) -> CommitId {
    CommitId::try_from(text.to_owned()).expect("git prints ids")
}

pub(super) fn remote(url: &str) -> RemoteAddress {
    RemoteAddress {
        name: "origin".to_owned(),
        url: url.to_owned(),
        branch: Branch::try_from("main".to_owned()).expect("a branch name"),
        access: Access::default(),
    }
}

pub(super) fn poll(remote: &RemoteAddress) -> Request {
    poll_with(remote, None)
}

/// The same with a testing branch.
pub(super) fn poll_with(remote: &RemoteAddress, testing: Option<&str>) -> Request {
    let branch = |name: &str| Branch::try_from(name.to_owned()).expect("a branch name");
    Request::Poll {
        remote: remote.clone(),
        testing: testing.map(branch),
        heartbeat: None,
    }
}

pub(super) fn fetch(remote: &RemoteAddress, commit: &CommitId) -> Request {
    Request::Fetch {
        remote: remote.clone(),
        commit: commit.clone(),
        pack_limit: PACK_LIMIT,
    }
}

pub(super) fn head(commit: &CommitId) -> Answer {
    head_with(commit, None)
}

/// The same with a testing branch.
pub(super) fn head_with(commit: &CommitId, testing: Option<&CommitId>) -> Answer {
    Answer::Head {
        commit: commit.clone(),
        testing: testing.cloned(),
        heartbeat: None,
    }
}

pub(super) fn fetched(commit: &CommitId) -> Answer {
    Answer::Fetched {
        commit: commit.clone(),
    }
}

/// One request over the wire, one answer.
pub(super) fn ask(fetcher: &mut Fetcher, request: &Request) -> Answer {
    let mut line = serde_json::to_vec(request).expect("requests serialise");
    line.push(b'\n');
    let mut answer = Vec::new();
    serve(fetcher, &*line, &mut answer, || false).expect("one whole request");
    serde_json::from_slice(&answer).expect("an answer")
}

/// The problem and the message of an answer that has to be a failure.
pub(super) fn failed(answer: Answer) -> (Problem, String) {
    let Answer::Failed { problem, message } = answer else {
        panic!("expected a failure, found {answer:?}");
    };
    (problem, message)
}
