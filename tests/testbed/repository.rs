//! The repository of a scenario: commits that describe hosts, pushed to the world's server.
//!
//! In: generations and files. Out: commit ids. It is changed with git itself, in a work tree of its own.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{self, Output};
use super::generation::Generation;
use super::layer::Layer;

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitId(pub String);

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A work tree and the bare repository it is pushed to.
pub struct Repository {
    work: PathBuf,
}

impl Repository {
    /// Makes both; the first commit on `main` describes the first generation, and is pushed.
    pub(crate) fn create(bare: &Path, work: &Path, layer: &Layer, first: &Generation) -> Self {
        let repository = Self {
            work: work.to_owned(),
        };
        fs::create_dir_all(work).expect("the world's directory can be written");
        fs::create_dir_all(bare).expect("the overlay can be written");
        let bare = bare.display().to_string();
        repository.git(&["init", "--quiet", "--bare", "--initial-branch=main", &bare]);
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.git(&["remote", "add", "origin", &bare]);
        for (path, text) in layer.flake(&first.to_json()) {
            repository.write(&path, &text);
        }
        repository.commit("the first generation");
        repository.push();
        repository
    }

    /// Makes both; they hold what the other repository holds.
    pub(crate) fn mirror(bare: &Path, work: &Path, of: &Self) -> Self {
        let repository = Self {
            work: work.to_owned(),
        };
        fs::create_dir_all(work).expect("the world's directory can be written");
        fs::create_dir_all(bare).expect("the overlay can be written");
        let bare = bare.display().to_string();
        repository.git(&["init", "--quiet", "--bare", "--initial-branch=main", &bare]);
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.git(&["remote", "add", "origin", &bare]);
        repository.take(of);
        repository
    }

    /// Takes over and pushes what the other repository's work tree is at.
    pub fn take(&self, other: &Self) {
        let other = other.work.display().to_string();
        self.git(&["fetch", "--quiet", &other, "HEAD"]);
        self.git(&["reset", "--quiet", "--hard", "FETCH_HEAD"]);
        self.push();
    }

    /// Commits and pushes a generation of the host.
    pub fn publish(&self, generation: &Generation) -> CommitId {
        self.set(generation);
        let id = self.commit("another generation");
        self.push();
        id
    }

    /// Writes a generation of the host into the work tree.
    pub fn set(&self, generation: &Generation) {
        self.write("hosts/host.json", &generation.to_json());
    }

    /// Writes a file of the work tree.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a directory"))
            .and_then(|()| fs::write(&path, text))
            .expect("the work tree can be written");
    }

    /// Reads a file of the work tree.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.work.join(path)).expect("the file is in the work tree")
    }

    /// Removes a file from the work tree.
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.work.join(path)).expect("the file is in the work tree");
    }

    /// Commits the work tree as it is, also when nothing changed.
    pub fn commit(&self, message: &str) -> CommitId {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// Commits the opposite of the newest commit; does not push.
    pub fn revert(&self) -> CommitId {
        self.git(&["revert", "--no-edit", "HEAD"]);
        self.head()
    }

    /// Pushes the current branch, with force if its history is another one.
    pub fn push(&self) {
        self.git(&["push", "--quiet", "--force", "origin", "HEAD"]);
    }

    /// The newest commit of the work tree.
    pub fn head(&self) -> CommitId {
        CommitId(self.git(&["rev-parse", "HEAD"]).text().to_owned())
    }

    /// Runs any git command in the work tree; panics if it fails.
    pub fn git(&self, arguments: &[&str]) -> Output {
        self.git_with(&[], arguments)
    }

    /// The same with variables in git's environment.
    pub fn git_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut git = Command::new("git");
        git.arg("-C")
            .arg(&self.work)
            .args(arguments)
            .envs(variables.iter().copied())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "Scenario")
                .env(format!("GIT_{role}_EMAIL"), "scenario@example.org");
        }
        let output = child::run(&mut git, child::DEADLINE);
        output.must_succeed();
        output
    }
}
