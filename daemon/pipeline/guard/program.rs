//! What the guardian needs from the store: its own program, and from the
//! previous system `systemctl` and `switch-to-configuration`.
//!
//! In: links. Out: paths that exist, can be run, and cannot be collected as
//! garbage; or what is missing. Must not: ask Nix.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::host::environment;
use crate::model::system::{StorePath, Toplevel};

/// The root that holds the guardian's program.
pub(crate) const ROOT: &str = "/var/lib/deploy-flake/gcroots/guardian";

/// Where Nix registers roots that are elsewhere: links to those.
const REGISTERED: &str = "/nix/var/nix/gcroots/auto";

/// Where a system has its `systemctl`, the first that it has.
const SYSTEMCTL: [&str; 2] = ["sw/bin/systemctl", "systemd/bin/systemctl"];

/// The programs that lead back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    /// Our own.
    pub(super) guardian: PathBuf,
    /// `systemctl` of the previous system.
    pub(super) systemctl: PathBuf,
}

/// The store path that our own program is part of; None: it is not from the
/// store.
pub(crate) fn own_store_path() -> Option<StorePath> {
    store_path_of(&environment::own_program().ok()?)
}

/// Finds the programs; or says what is wrong.
pub(super) fn find(previous: &Toplevel) -> Result<Programs, String> {
    let guardian = environment::own_program()
        .map_err(|error| format!("our own program cannot be found: {error}"))?;
    let store_path = store_path_of(&guardian)
        .ok_or_else(|| format!("our own program {} is not in the store", guardian.display()))?;
    must_run(&guardian)?;
    must_be_rooted(&store_path, Path::new(ROOT), Path::new(REGISTERED))?;
    must_run(Path::new(&previous.switch_to_configuration()))?;
    Ok(Programs {
        guardian,
        systemctl: systemctl(previous.path().as_path())?,
    })
}

/// Finds them when it is too late to refuse: the rooted program that was armed,
/// since ours may be the new system's by now.
pub(super) fn find_again(previous: &Toplevel) -> Result<Programs, String> {
    let own = environment::own_program()
        .map_err(|error| format!("our own program cannot be found: {error}"))?;
    let armed = rooted(&own, Path::new(ROOT)).filter(|program| is_program(program));
    Ok(Programs {
        guardian: armed.unwrap_or(own),
        systemctl: systemctl(previous.path().as_path())?,
    })
}

/// The program that is where ours is, in what the root holds.
fn rooted(own: &Path, root: &Path) -> Option<PathBuf> {
    let relative = own.strip_prefix(store_path_of(own)?.as_path()).ok()?;
    Some(fs::read_link(root).ok()?.join(relative))
}

/// The previous system's `systemctl`, by the path that it really has: the
/// links that lead there may be another system's by then.
pub(super) fn systemctl(system: &Path) -> Result<PathBuf, String> {
    SYSTEMCTL
        .iter()
        .filter_map(|relative| fs::canonicalize(system.join(relative)).ok())
        .find(|found| is_program(found))
        .ok_or_else(|| format!("{} has no systemctl", system.display()))
}

fn must_run(program: &Path) -> Result<(), String> {
    if is_program(program) {
        Ok(())
    } else {
        Err(format!("{} cannot be run", program.display()))
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// Whether the root holds that store path already, and Nix knows it.
pub(crate) fn is_rooted(store_path: &StorePath) -> bool {
    must_be_rooted(store_path, Path::new(ROOT), Path::new(REGISTERED)).is_ok()
}

/// The root links to the store path, and Nix knows the root.
fn must_be_rooted(store_path: &StorePath, root: &Path, registered: &Path) -> Result<(), String> {
    let target = fs::read_link(root)
        .map_err(|error| format!("{} cannot be read: {error}", root.display()))?;
    if target != store_path.as_path() {
        return Err(format!(
            "{} holds {}, and our own program is from {store_path}",
            root.display(),
            target.display()
        ));
    }
    let entries = fs::read_dir(registered)
        .map_err(|error| format!("{} cannot be read: {error}", registered.display()))?;
    let is_known = entries
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == root));
    if is_known {
        Ok(())
    } else {
        Err(format!("Nix does not know the root {}", root.display()))
    }
}

/// The store path that a file is part of.
fn store_path_of(file: &Path) -> Option<StorePath> {
    file.ancestors()
        .filter_map(|ancestor| ancestor.to_str())
        .find_map(|ancestor| StorePath::try_from(ancestor.to_owned()).ok())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const STORE_PATH: &str = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-deploy-flake";

    fn program(path: &Path) {
        fs::create_dir_all(path.parent().expect("not the root")).expect("writable");
        fs::write(path, "").expect("writable");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }

    #[test]
    fn a_file_is_part_of_its_store_path_or_of_none() {
        let part = Path::new(STORE_PATH).join("bin/deploy-flake");
        assert_eq!(
            store_path_of(&part).map(|path| path.to_string()).as_deref(),
            Some(STORE_PATH)
        );
        assert_eq!(store_path_of(Path::new("/usr/bin/deploy-flake")), None);
    }

    #[test]
    fn a_root_counts_if_it_holds_the_program_and_nix_knows_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().join("guardian");
        let registered = directory.path().join("auto");
        fs::create_dir(&registered).expect("writable");
        let path = StorePath::try_from(STORE_PATH.to_owned()).expect("a store path");
        let check = || must_be_rooted(&path, &root, &registered);

        assert!(check().is_err(), "no root");
        symlink("/nix/store/1c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-other", &root).expect("a link");
        assert!(check().is_err(), "the root of something else");
        fs::remove_file(&root).expect("ours");
        symlink(STORE_PATH, &root).expect("a link");
        assert!(check().is_err(), "not registered");
        symlink(&root, registered.join("abc")).expect("a link");
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn what_was_armed_is_found_again_through_its_root() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().join("guardian");
        let own = Path::new(STORE_PATH).join("bin/deploy-flake");
        assert_eq!(rooted(&own, &root), None);
        symlink("/nix/store/armed", &root).expect("a link");
        let armed = PathBuf::from("/nix/store/armed/bin/deploy-flake");
        assert_eq!(rooted(&own, &root), Some(armed));
    }

    #[test]
    fn systemctl_is_the_previous_systems_by_its_real_path() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("system")).expect("writable");
        assert!(systemctl(&at("system")).is_err(), "it has none");
        program(&at("systemd-257/bin/systemctl"));
        symlink(at("systemd-257"), at("system/systemd")).expect("a link");
        let real = fs::canonicalize(at("systemd-257/bin/systemctl")).expect("it is there");
        assert_eq!(systemctl(&at("system")), Ok(real));
        program(&at("system/sw/bin/systemctl"));
        let first = fs::canonicalize(at("system/sw/bin/systemctl")).expect("it is there");
        assert_eq!(systemctl(&at("system")), Ok(first));
    }
}
