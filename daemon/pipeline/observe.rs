//! The host to what it is: running, booted, profiled, and what boots next.
//!
//! In: the root directory and a reader of the boot entry. Out: [`Observed`].
//! Must not: fail, write, or remember; what is missing is `None`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::system::{BootId, Generation, Observed, ProfileEntry, StorePath, Toplevel};

use super::boot_loader::Reader;

/// Where `activate` links the system that it activated.
const RUNNING: &str = "/run/current-system";

/// Where stage 2 links the system that this boot started.
const BOOTED: &str = "/run/booted-system";

/// The profile whose generations the boot loaders list.
pub(crate) const PROFILE: &str = "/nix/var/nix/profiles/system";

/// How many links are followed: a profile takes two, anything near this is a
/// circle.
const LINK_LIMIT: usize = 8;

/// Reads what the host is. `root` is `/`, except in tests.
///
/// The links come first, and apart: they are on the file systems that the daemon
/// itself lives on, and are known also where the boot partition does not answer.
pub(crate) async fn observe(root: &Path, entry: &Reader, boot_id: BootId) -> Observed {
    let links = {
        let root = root.to_owned();
        move || (running(&root), booted(&root), profile(&root))
    };
    // A disk that is slow must not hold up the loop.
    let links = tokio::task::spawn_blocking(links).await;
    let (running, booted, profile) =
        links.expect("reading links does not panic, and nobody cancels it");
    Observed {
        running,
        booted,
        profile,
        default_entry: entry.default_entry(root).await,
        boot_id,
    }
}

/// Reads which system was activated last.
pub(crate) fn running(root: &Path) -> Option<Toplevel> {
    toplevel_behind(root, Path::new(RUNNING))
}

/// Reads which system this boot started.
pub(crate) fn booted(root: &Path) -> Option<Toplevel> {
    toplevel_behind(root, Path::new(BOOTED))
}

/// Reads the current generation of the profile `system`.
pub(crate) fn profile(root: &Path) -> Option<ProfileEntry> {
    let link = fs::read_link(below(root, Path::new(PROFILE))).ok()?;
    Some(ProfileEntry {
        generation: generation_of(link.file_name()?.to_str()?)?,
        toplevel: toplevel_behind(root, Path::new(PROFILE))?,
    })
}

/// Lists every generation of the profile `system`, oldest first.
pub(crate) fn generations(root: &Path) -> Vec<ProfileEntry> {
    let directory = Path::new(PROFILE).parent().unwrap_or(Path::new("/"));
    let Ok(names) = fs::read_dir(below(root, directory)) else {
        return Vec::new();
    };
    let mut generations: Vec<_> = names
        .filter_map(|name| {
            let name = name.ok()?.file_name();
            let generation = generation_of(name.to_str()?)?;
            let toplevel = toplevel_behind(root, &directory.join(&name))?;
            Some(ProfileEntry {
                generation,
                toplevel,
            })
        })
        .collect();
    generations.sort_by_key(|entry| entry.generation);
    generations
}

/// The path of something on the host. Absolute paths, and what absolute links
/// name, stand below `root`.
pub(crate) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The N of `system-N-link`.
fn generation_of(name: &str) -> Option<Generation> {
    let number = name.strip_prefix("system-")?.strip_suffix("-link")?;
    number.parse().ok().map(Generation)
}

/// Follows links, each relative to its own directory or absolute, until one
/// names a store path. What is inside the store is not followed: a store path
/// is its own name.
fn toplevel_behind(root: &Path, link: &Path) -> Option<Toplevel> {
    let mut path = link.to_owned();
    for _ in 0..LINK_LIMIT {
        let target = fs::read_link(below(root, &path)).ok()?;
        path = path.parent()?.join(target);
        if let Ok(found) = StorePath::try_from(path.to_str()?.to_owned()) {
            return Some(Toplevel::new(found));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::model::policy::BootLoader;
    use crate::model::system::DefaultEntry;

    const A: &str = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-a";
    const B: &str = "/nix/store/1c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-b";

    fn toplevel(path: &str) -> Toplevel {
        Toplevel::new(StorePath::try_from(path.to_owned()).expect("a store path"))
    }

    fn host(links: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (link, target) in links {
            let link = root.path().join(link);
            fs::create_dir_all(link.parent().expect("not the root")).expect("a directory");
            symlink(target, link).expect("a link");
        }
        root
    }

    async fn look(root: &Path) -> Observed {
        let entry = Reader::new(BootLoader::None);
        observe(root, &entry, BootId("boot".to_owned())).await
    }

    #[tokio::test]
    async fn a_host_is_read_through_its_absolute_and_relative_links() {
        let root = host(&[
            ("run/current-system", B),
            ("run/booted-system", A),
            ("nix/var/nix/profiles/system", "system-12-link"),
            ("nix/var/nix/profiles/system-12-link", B),
            ("nix/var/nix/profiles/system-9-link", A),
            ("nix/var/nix/profiles/per-user", "/elsewhere"),
        ]);
        let profile = |generation, path| ProfileEntry {
            generation: Generation(generation),
            toplevel: toplevel(path),
        };
        assert_eq!(
            look(root.path()).await,
            Observed {
                running: Some(toplevel(B)),
                booted: Some(toplevel(A)),
                profile: Some(profile(12, B)),
                default_entry: DefaultEntry::Unchecked,
                boot_id: BootId("boot".to_owned()),
            }
        );
        assert_eq!(
            generations(root.path()),
            [profile(9, A), profile(12, B)],
            "by number, not by name"
        );
    }

    #[tokio::test]
    async fn absolute_links_between_profile_and_generation_stay_below_the_root() {
        let root = host(&[
            (
                "nix/var/nix/profiles/system",
                "/nix/var/nix/profiles/system-3-link",
            ),
            ("nix/var/nix/profiles/system-3-link", A),
            ("run/current-system", "/nix/var/nix/profiles/system"),
        ]);
        let observed = look(root.path()).await;
        assert_eq!(observed.running, Some(toplevel(A)));
        assert_eq!(observed.profile_toplevel(), Some(&toplevel(A)));
    }

    #[tokio::test]
    async fn what_is_missing_or_damaged_is_none() {
        for links in [
            &[][..],
            &[
                ("run/current-system", "/tmp/result"),
                ("run/booted-system", "booted-system"),
                ("nix/var/nix/profiles/system", "system-x-link"),
            ],
            &[("nix/var/nix/profiles/system", "system-4-link")],
        ] {
            let root = host(links);
            let observed = look(root.path()).await;
            assert_eq!(observed.running, None, "{links:?}");
            assert_eq!(observed.booted, None, "{links:?}");
            assert_eq!(observed.profile, None, "{links:?}");
            assert_eq!(generations(root.path()), [], "{links:?}");
        }
    }
}
