//! What each remote has of its own on the host: its fetcher's unit, its mirror.
//!
//! In: the place of a remote in the list, and its name. Out: names and paths;
//! and an end to those that no remote has any more. Must not: look into a
//! mirror.
//!
//! The first remote of the list has the names that the only one has. So a host
//! that gets a second keeps its mirror; a mirror is a cache, and whichever
//! remote is the first brings into it what it lacks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{info, warn};

use crate::host::environment::Programs;
use crate::host::systemd::{Kind, Network, Systemd, SystemdError, TransientUnit};
use crate::model::offer::RemoteNumber;

/// Where mirrors are, for us and for systemd.
const CACHE: &str = "/var/cache";
const DIRECTORY: &str = "deploy-flake";

/// The first remote's mirror; those of the others go on with `-` and a name.
const MIRROR: &str = "mirror";

/// The same for the fetchers' units.
const FETCHER: &str = "deploy-flake-fetcher";

/// What removes mirrors.
const REMOVAL: &str = "deploy-flake-mirrors.service";

/// A mirror is large, and a disk may be slow.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(10 * 60);

/// What a remote has of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    unit: String,
    directory: String,
}

impl Place {
    /// The place of a remote. Its name has letters, digits, `_` and `-`.
    pub(in super::super) fn of(number: RemoteNumber, name: &str) -> Self {
        if number == RemoteNumber(0) {
            return Self {
                unit: format!("{FETCHER}.service"),
                directory: MIRROR.to_owned(),
            };
        }
        Self {
            unit: format!("{FETCHER}-{name}.service"),
            directory: format!("{MIRROR}-{name}"),
        }
    }

    /// The fetcher's unit.
    pub(super) fn unit(&self) -> &str {
        &self.unit
    }

    /// The mirror: a repository that is never checked out.
    pub(in super::super) fn mirror(&self) -> PathBuf {
        directory().join(&self.directory)
    }

    /// The mirror for systemd, which makes it and gives it to the user.
    pub(super) fn cache(&self) -> String {
        format!("{DIRECTORY}/{}", self.directory)
    }
}

fn directory() -> PathBuf {
    Path::new(CACHE).join(DIRECTORY)
}

/// Ends the fetchers and removes the mirrors of remotes that are not in the
/// list any more. What does not work now is found again by the next daemon.
pub(in super::super) async fn remove_unused(
    systemd: &Systemd,
    programs: &Programs,
    used: &[&Place],
) {
    let names = unused(&entries(), used);
    if names.is_empty() {
        return;
    }
    info!(
        df_mirrors = names.join(" "),
        "mirrors that no remote uses are removed"
    );
    if let Err(error) = remove(systemd, programs, &names).await {
        warn!(%error, "mirrors that no remote uses could not be removed");
    }
}

/// The names below the directory of mirrors; none where it cannot be read.
fn entries() -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory()).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.collect()
}

/// Those that are mirrors by their names, and nobody's.
fn unused(entries: &BTreeSet<String>, used: &[&Place]) -> Vec<String> {
    let is_name = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        !name.is_empty() && name.bytes().all(allowed)
    };
    let is_unused = |entry: &&String| {
        let name = entry
            .strip_prefix(MIRROR)
            .and_then(|rest| rest.strip_prefix('-'));
        name.is_some_and(is_name) && used.iter().all(|place| place.directory != **entry)
    };
    entries.iter().filter(is_unused).cloned().collect()
}

async fn remove(
    systemd: &Systemd,
    programs: &Programs,
    names: &[String],
) -> Result<(), SystemdError> {
    for name in names {
        let remote = name.trim_start_matches(MIRROR);
        systemd
            .stop_and_reset(&format!("{FETCHER}{remote}.service"))
            .await?;
    }
    // By root, for whose directory they are in; it follows no link.
    let rm = programs.rm.display().to_string();
    let mut command = vec![rm];
    command.extend(["-rf", "--one-file-system", "--"].map(str::to_owned));
    let paths = names.iter().map(|name| directory().join(name));
    command.extend(paths.map(|path| path.display().to_string()));
    let mut unit = TransientUnit::new(REMOVAL, Kind::OneShot, vec![command]);
    unit.description = "deploy-flake: removal of mirrors that no remote uses".to_owned();
    unit.network = Network::None;
    unit.deadline = Some(REMOVAL_DEADLINE);
    systemd.stop_and_reset(REMOVAL).await?;
    systemd.start_transient(&unit).await?;
    systemd.wait_ended(REMOVAL).await?;
    systemd.stop_and_reset(REMOVAL).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_has_what_the_only_one_had_and_the_others_their_names() {
        let first = Place::of(RemoteNumber(0), "forge");
        assert_eq!(first.unit(), "deploy-flake-fetcher.service");
        assert_eq!(first.mirror(), Path::new("/var/cache/deploy-flake/mirror"));
        assert_eq!(first.cache(), "deploy-flake/mirror");
        let second = Place::of(RemoteNumber(1), "forge");
        assert_eq!(second.unit(), "deploy-flake-fetcher-forge.service");
        assert_eq!(
            second.mirror(),
            Path::new("/var/cache/deploy-flake/mirror-forge")
        );
        assert_eq!(second.cache(), "deploy-flake/mirror-forge");
    }

    #[test]
    fn only_a_mirror_that_nobody_uses_is_removed() {
        let entries = [
            "build",
            "mirror",
            "mirror-a",
            "mirror-b",
            "mirror-",
            "mirror-a b",
            "mirrors",
        ];
        let entries = entries.map(str::to_owned).into_iter().collect();
        let [first, second] = ["origin", "a"].map(str::to_owned);
        let (first, second) = (
            Place::of(RemoteNumber(0), &first),
            Place::of(RemoteNumber(1), &second),
        );
        assert_eq!(unused(&entries, &[&first, &second]), ["mirror-b"]);
        assert_eq!(unused(&entries, &[&first]), ["mirror-a", "mirror-b"]);
    }
}
