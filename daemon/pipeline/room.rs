//! Whether there is room for what is coming: in the store before a build, on
//! the boot partition before an activation.
//!
//! In: the root directory and what is coming. Out: nothing, or `disk-full`
//! with numbers. Must not: make room, or write.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use tracing::warn;

use super::boot_loader;
use super::observe::below;
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::BootLoader;
use crate::model::system::Toplevel;

/// Where everything is built.
const STORE: &str = "/nix/store";

/// One twentieth of the store's file system stays free: file systems get slow
/// and fragmented beyond that, and other services write, too.
const STORE_SHARE: u64 = 20;

/// New boot files are written beside the old ones before those are removed,
/// and each under another name before it is renamed.
const BOOT_FACTOR: u64 = 2;

/// What a boot loader copies of a toplevel.
const BOOT_FILES: [&str; 2] = ["kernel", "initrd"];

/// How much of two files is compared at once.
const CHUNK: usize = 64 * 1024;

/// Makes sure that a build has room: five percent, and the reserve.
pub(crate) fn for_build(root: &Path, reserve: u64) -> Result<(), Failure> {
    match Space::of(&below(root, Path::new(STORE))) {
        Ok(Some(space)) => enough_for_build(space, reserve),
        Ok(None) => Ok(()),
        Err(error) => {
            // The build finds out.
            warn!(path = STORE, %error, "free space cannot be read");
            Ok(())
        }
    }
}

fn enough_for_build(space: Space, reserve: u64) -> Result<(), Failure> {
    let share = space.total / STORE_SHARE;
    let needed = share.saturating_add(reserve);
    if space.free >= needed {
        return Ok(());
    }
    Err(Failure::new(
        FailureCode::DiskFull,
        format!(
            "expected {} to be free for the store (5 % of {}, and {} in reserve), and found {}",
            amount(needed),
            amount(space.total),
            amount(reserve),
            amount(space.free)
        ),
        "Nothing was built. Make room, for example with `nix-collect-garbage \
         --delete-older-than 30d`, or lower reserve.store; it is tried again by itself.",
    ))
}

/// Makes sure that the boot loader's directory takes the toplevel's kernel and
/// initrd. Those that are there already need no room.
pub(crate) fn for_boot_entry(
    root: &Path,
    toplevel: &Toplevel,
    boot_loader: BootLoader,
) -> Result<(), Failure> {
    // Without such a directory the loader reads the store itself.
    let Some(directory) = boot_loader::kernel_directory(root, boot_loader) else {
        return Ok(());
    };
    let space = match Space::of(&directory) {
        Ok(Some(space)) => space,
        Ok(None) => return Ok(()),
        Err(error) => {
            warn!(path = %directory.display(), %error, "free space cannot be read");
            return Ok(());
        }
    };
    let files = boot_files(root, toplevel);
    let all: u64 = files.iter().map(|(_, size)| size).sum();
    if space.free >= all.saturating_mul(BOOT_FACTOR) {
        return Ok(());
    }
    // Only now is it worth to read what is there.
    let missing: Vec<_> = files
        .into_iter()
        .filter(|(file, size)| !is_there(&directory, file, *size))
        .collect();
    let shown = Path::new("/").join(directory.strip_prefix(root).unwrap_or(&directory));
    enough_for_boot(space, &missing, &shown)
}

fn enough_for_boot(
    space: Space,
    missing: &[(PathBuf, u64)],
    directory: &Path,
) -> Result<(), Failure> {
    let coming: u64 = missing.iter().map(|(_, size)| size).sum();
    let needed = coming.saturating_mul(BOOT_FACTOR);
    if space.free >= needed {
        return Ok(());
    }
    Err(Failure::new(
        FailureCode::DiskFull,
        format!(
            "expected {} to be free below {} (twice what kernel and initrd of the new system \
             take), and found {}",
            amount(needed),
            directory.display(),
            amount(space.free)
        ),
        "Nothing was activated. Delete old generations (`nix-env --profile \
         /nix/var/nix/profiles/system --delete-generations old`), then run `boot` of the running \
         system's switch-to-configuration, which removes their files; it is tried again by itself.",
    ))
}

/// Kernel and initrd of a toplevel with their sizes, as far as it has them: a
/// container has none.
fn boot_files(root: &Path, toplevel: &Toplevel) -> Vec<(PathBuf, u64)> {
    BOOT_FILES
        .iter()
        .filter_map(|name| {
            let path = toplevel.path().as_path().join(name);
            let file = fs::canonicalize(below(root, &path)).ok()?;
            let size = fs::metadata(&file).ok()?.len();
            Some((file, size))
        })
        .collect()
}

/// Whether the directory has a file of the same content, under whatever name:
/// each boot loader, and each version of it, names them in its own way.
fn is_there(directory: &Path, file: &Path, size: u64) -> bool {
    let Ok(entries) = fs::read_dir(directory) else {
        return false;
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| {
            entry
                .metadata()
                .is_ok_and(|it| it.is_file() && it.len() == size)
        })
        .any(|entry| is_same(&entry.path(), file).unwrap_or(false))
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut of_one, mut of_other) = (Vec::new(), Vec::new());
    loop {
        of_one.clear();
        of_other.clear();
        let read = (&mut one).take(CHUNK as u64).read_to_end(&mut of_one)?;
        (&mut other).take(CHUNK as u64).read_to_end(&mut of_other)?;
        if of_one != of_other {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// A file system's room, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Space {
    total: u64,
    /// For everybody: what is kept for root alone is no room to plan with.
    free: u64,
}

impl Space {
    /// Reads it; None: the file system does not tell.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let it = statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(it.f_frsize);
        Ok((it.f_blocks > 0).then(|| Self {
            total: bytes(it.f_blocks),
            free: bytes(it.f_bavail),
        }))
    }
}

/// A number of bytes as people read it.
fn amount(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::system::StorePath;

    const GIB: u64 = 1 << 30;

    const TOPLEVEL: &str = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-a";

    fn toplevel() -> Toplevel {
        Toplevel::new(StorePath::try_from(TOPLEVEL.to_owned()).expect("a store path"))
    }

    #[test]
    fn a_build_needs_five_percent_and_the_reserve() {
        for (total, free, reserve, enough) in [
            (100 * GIB, 6 * GIB, GIB, true),
            (100 * GIB, 6 * GIB - 1, GIB, false),
            (100 * GIB, 5 * GIB, 0, true),
            (GIB, GIB, u64::MAX, false),
        ] {
            let verdict = enough_for_build(Space { total, free }, reserve);
            assert_eq!(verdict.is_ok(), enough, "{total} {free} {reserve}");
        }
        let space = Space {
            total: 100 * GIB,
            free: 3 * GIB / 2,
        };
        let failure = enough_for_build(space, GIB).expect_err("it is not enough");
        assert_eq!(failure.code, FailureCode::DiskFull);
        assert_eq!(
            failure.message,
            "expected 6.0 GiB to be free for the store (5 % of 100.0 GiB, and 1.0 GiB in \
             reserve), and found 1.5 GiB"
        );
    }

    #[test]
    fn the_store_s_file_system_is_read() {
        let root = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(for_build(root.path(), u64::MAX), Ok(()), "nobody knows");
        fs::create_dir_all(root.path().join("nix/store")).expect("a directory");
        let verdict = for_build(root.path(), u64::MAX);
        assert_eq!(
            verdict.map_err(|failure| failure.code),
            Err(FailureCode::DiskFull)
        );
    }

    /// A host with these files in its toplevel and below `boot/EFI/nixos`.
    fn host(coming: &[(&str, &str)], there: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (directory, files) in [(&TOPLEVEL[1..], coming), ("boot/EFI/nixos", there)] {
            let directory = root.path().join(directory);
            fs::create_dir_all(&directory).expect("a directory");
            for (name, content) in files {
                fs::write(directory.join(name), content).expect("a file");
            }
        }
        root
    }

    #[test]
    fn only_what_is_not_there_yet_needs_room() {
        let coming = [("kernel", "kernel 2"), ("initrd", "initrd 2")];
        for (there, missing) in [
            (&[][..], &["kernel", "initrd"][..]),
            (&[("k.efi", "kernel 1"), ("i.efi", "initrd 2")], &["kernel"]),
            (&[("k.efi", "kernel 2"), ("i.efi", "initrd 2")], &[]),
        ] {
            let root = host(&coming, there);
            let directory = root.path().join("boot/EFI/nixos");
            let found: Vec<_> = boot_files(root.path(), &toplevel())
                .into_iter()
                .filter(|(file, size)| !is_there(&directory, file, *size))
                .filter_map(|(file, _)| Some(file.file_name()?.to_str()?.to_owned()))
                .collect();
            assert_eq!(found, missing, "{there:?}");
        }
    }

    #[test]
    fn files_are_told_apart_beyond_the_first_chunk() {
        let long = "x".repeat(CHUNK);
        let (one, other) = (format!("{long}a"), format!("{long}b"));
        let root = host(&[("kernel", &one)], &[("same", &one), ("other", &other)]);
        let kernel = root.path().join(&TOPLEVEL[1..]).join("kernel");
        let there = root.path().join("boot/EFI/nixos");
        assert!(is_same(&kernel, &there.join("same")).expect("both are there"));
        assert!(!is_same(&kernel, &there.join("other")).expect("both are there"));
    }

    #[test]
    fn a_boot_partition_needs_twice_what_is_coming() {
        let missing = [
            (PathBuf::from("kernel"), 10 << 20),
            (PathBuf::from("initrd"), 20 << 20),
        ];
        let space = |free| Space { total: GIB, free };
        let directory = Path::new("/boot/EFI/nixos");
        assert_eq!(
            enough_for_boot(space(60 << 20), &missing, directory),
            Ok(())
        );
        assert_eq!(enough_for_boot(space(0), &[], directory), Ok(()));
        let failure = enough_for_boot(space((60 << 20) - 1), &missing, directory)
            .expect_err("it is not enough");
        assert_eq!(failure.code, FailureCode::DiskFull);
        assert_eq!(
            failure.message,
            "expected 60.0 MiB to be free below /boot/EFI/nixos (twice what kernel and initrd of \
             the new system take), and found 59.9 MiB"
        );
    }

    #[test]
    fn a_system_without_a_kernel_or_a_loader_needs_no_room() {
        let bare = host(&[], &[]);
        let loader = BootLoader::SystemdBoot;
        assert_eq!(for_boot_entry(bare.path(), &toplevel(), loader), Ok(()));
        let none = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(for_boot_entry(none.path(), &toplevel(), loader), Ok(()));
        let full = host(&[("kernel", "kernel")], &[]);
        assert_eq!(
            for_boot_entry(full.path(), &toplevel(), BootLoader::None),
            Ok(())
        );
    }
}
