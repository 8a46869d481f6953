//! Commits that somebody pushes meanwhile.
//!
//! In: a repository of the scene. Out: one small commit after the other.

use std::path::PathBuf;

use crate::proxy::now;
use crate::repositories::git;
use crate::scene::Scene;

/// A work tree from which is pushed.
pub struct Work {
    directory: PathBuf,
    number: usize,
}

impl Work {
    /// One of a repository of the scene; there is at most one of each.
    pub fn of(scene: &mut Scene, repository: &str) -> Self {
        let bare = scene.bare(repository);
        let directory = scene.world.directory().join(format!("work-{repository}"));
        if !directory.exists() {
            let [from, to] = [&bare, &directory].map(|path| path.display().to_string());
            // Without files: one commit is all that is needed.
            git(&bare, &["clone", "--quiet", "--no-checkout", &from, &to]);
            git(&directory, &["read-tree", "HEAD"]);
        }
        Self {
            directory,
            number: 0,
        }
    }

    /// Pushes a commit that changes one file, and says what it is, and when the push was over.
    pub fn push(&mut self) -> (String, u64) {
        self.number += 1;
        std::fs::write(
            self.directory.join("note"),
            format!("{} {}\n", self.number, now()),
        )
        .expect("the work tree can be written");
        git(&self.directory, &["add", "note"]);
        git(
            &self.directory,
            &["commit", "--quiet", "--message", "a note"],
        );
        git(&self.directory, &["push", "--quiet", "origin", "HEAD:main"]);
        (git(&self.directory, &["rev-parse", "HEAD"]), now())
    }
}
