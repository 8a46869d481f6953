//! Which generations there were before a deployment set the profile: what is
//! newer may be its own, what is not belongs to others.
//!
//! In: the root directory and the deployment. Out: the number of the newest
//! generation then. Must not: be needed; without it nothing is deleted.
//!
//! The links alone do not tell: setting the profile to a system that the
//! newest generation already is makes no other, and the time of a link is that
//! of a clock that may be set.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::observe::{below, generations};
use crate::model::deployment::DeploymentId;
use crate::model::system::Generation;

/// In the daemon's own directory, so that it is still there after a reboot in
/// the middle of the deployment.
const FILE: &str = "/var/lib/deploy-flake/generations.json";

/// It holds two short values.
const LIMIT: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Before {
    deployment: DeploymentId,
    /// Zero where there was none: generations count from one.
    newest: Generation,
}

/// Writes it down, unless this deployment did before: what came since may be
/// its own. Survives a loss of power once this returns.
pub(super) fn remember(root: &Path, id: &DeploymentId) -> io::Result<()> {
    if newest(root, id).is_some() {
        return Ok(());
    }
    let newest = generations(root).last().map(|entry| entry.generation);
    let before = Before {
        deployment: id.clone(),
        newest: newest.unwrap_or(Generation(0)),
    };
    let path = below(root, Path::new(FILE));
    let new = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(&before)?)?;
    file.sync_all()?;
    // Half a file would be none: it gets its name once it is whole.
    fs::rename(&new, &path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// The newest generation before this deployment, if that is known.
pub(super) fn newest(root: &Path, id: &DeploymentId) -> Option<Generation> {
    let path = below(root, Path::new(FILE));
    let is_short = fs::metadata(&path).is_ok_and(|it| it.len() <= LIMIT);
    let bytes = is_short.then(|| fs::read(path).ok()).flatten()?;
    let before: Before = serde_json::from_slice(&bytes).ok()?;
    (before.deployment == *id).then_some(before.newest)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const SYSTEM: &str = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system";

    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        for directory in ["var/lib/deploy-flake", "nix/var/nix/profiles"] {
            fs::create_dir_all(root.path().join(directory)).expect("a directory");
        }
        root
    }

    fn add_generation(root: &Path, number: u64) {
        let link = format!("nix/var/nix/profiles/system-{number}-link");
        symlink(SYSTEM, root.join(link)).expect("a link");
    }

    #[test]
    fn the_first_look_of_a_deployment_counts() {
        let (root, id) = (host(), DeploymentId("0123456789abcdef".to_owned()));
        let newest = |id| newest(root.path(), id);
        assert_eq!(newest(&id), None);
        remember(root.path(), &id).expect("writable");
        assert_eq!(newest(&id), Some(Generation(0)));
        for number in [9, 10] {
            add_generation(root.path(), number);
        }
        remember(root.path(), &id).expect("writable");
        assert_eq!(newest(&id), Some(Generation(0)), "they may be its own");

        let next = DeploymentId("fedcba9876543210".to_owned());
        assert_eq!(newest(&next), None);
        remember(root.path(), &next).expect("writable");
        assert_eq!((newest(&next), newest(&id)), (Some(Generation(10)), None));
    }

    #[test]
    fn a_damaged_file_says_nothing_and_is_replaced() {
        let (root, id) = (host(), DeploymentId("0123456789abcdef".to_owned()));
        let file = below(root.path(), Path::new(FILE));
        for text in ["", "{", "[]", &"x".repeat(5000)] {
            fs::write(&file, text).expect("writable");
            assert_eq!(newest(root.path(), &id), None, "{text:.9}");
        }
        remember(root.path(), &id).expect("writable");
        assert_eq!(newest(root.path(), &id), Some(Generation(0)));
    }
}
