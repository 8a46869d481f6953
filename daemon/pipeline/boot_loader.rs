//! The boot loader's files to the toplevel that its default entry starts.
//!
//! In: the root directory and which boot loader is configured. Out: a
//! [`DefaultEntry`]: a toplevel only where it is certain, else the reason why
//! it is not. Must not: write, ask the loader's own tools, or guess.
//!
//! *Default* is what starts when nobody chooses: a choice for one boot only
//! (`bootctl set-oneshot`, `grub-reboot`) is used up by the next boot and is
//! not looked at.

mod systemd_boot;
mod grub;
mod extlinux;
mod mounts;
mod patient;
#[cfg(test)]
mod tree;

use std::path::{Path, PathBuf};

pub(crate) use self::patient::Reader;

use super::observe::{profile, running};
use crate::model::policy::BootLoader;
use crate::model::system::{DefaultEntry, StorePath, Toplevel};

/// What a loader's files say; or why they cannot be read, as a sentence
/// without its period.
type Reading = Result<Toplevel, String>;

/// Reads which toplevel the default entry starts. It cannot be read where the
/// system that runs, or the one that the profile names, has its boot loader's
/// files on something that is not mounted.
pub(crate) fn default_entry(root: &Path, boot_loader: BootLoader) -> DefaultEntry {
    let profile = profile(root).map(|profile| profile.toplevel);
    for system in running(root).into_iter().chain(profile) {
        if let Err(reason) = mounted(root, boot_loader, &system) {
            return DefaultEntry::Unreadable(reason);
        }
    }
    let reading = match boot_loader {
        BootLoader::Auto => the_only_one(root),
        BootLoader::SystemdBoot => systemd_boot::default_entry(root),
        BootLoader::Grub => grub::default_entry(root),
        BootLoader::Extlinux => extlinux::default_entry(root),
        BootLoader::None => return DefaultEntry::Unchecked,
    };
    match reading {
        Ok(toplevel) => DefaultEntry::Toplevel(toplevel),
        Err(reason) => DefaultEntry::Unreadable(reason),
    }
}

/// Refuses where the system has its boot loader's files on something that is
/// not mounted; not where there is no boot loader.
fn mounted(root: &Path, boot_loader: BootLoader, system: &Toplevel) -> Result<(), String> {
    match boot_loader {
        BootLoader::None => Ok(()),
        BootLoader::Auto | BootLoader::SystemdBoot | BootLoader::Grub | BootLoader::Extlinux => {
            mounts::must_be_mounted(root, system)
        }
    }
}

/// Where the loader's copies of kernels and initrds are; None: there are none,
/// because it reads the store itself, or nobody knows the loader.
pub(crate) fn kernel_directory(root: &Path, boot_loader: BootLoader) -> Option<PathBuf> {
    match boot_loader {
        BootLoader::Auto => [
            BootLoader::SystemdBoot,
            BootLoader::Grub,
            BootLoader::Extlinux,
        ]
        .into_iter()
        .find_map(|known| kernel_directory(root, known)),
        BootLoader::SystemdBoot => systemd_boot::kernel_directory(root),
        BootLoader::Grub => existing(root.join(grub::KERNELS)),
        BootLoader::Extlinux => existing(root.join(extlinux::KERNELS)),
        BootLoader::None => None,
    }
}

fn existing(directory: PathBuf) -> Option<PathBuf> {
    directory.is_dir().then_some(directory)
}

/// Reads the one loader whose files are in place. Files of two mean that one
/// of them is a leftover, and nothing here says which.
fn the_only_one(root: &Path) -> Reading {
    let found = [
        (
            "systemd-boot",
            systemd_boot::is_installed(root),
            systemd_boot::default_entry as fn(&Path) -> Reading,
        ),
        ("grub", grub::is_installed(root), grub::default_entry),
        (
            "extlinux",
            extlinux::is_installed(root),
            extlinux::default_entry,
        ),
    ];
    let found: Vec<_> = found
        .into_iter()
        .filter(|(_, installed, _)| *installed)
        .collect();
    match found.as_slice() {
        [] => Err(
            "no files of systemd-boot, GRUB or extlinux were found; is the boot partition \
             mounted? For a host without a boot loader set boot_loader = \"none\""
                .to_owned(),
        ),
        [(_, _, default_entry)] => default_entry(root),
        several => {
            let names: Vec<_> = several.iter().map(|(name, _, _)| *name).collect();
            Err(format!(
                "files of {} were found; set boot_loader to the one that starts this host",
                names.join(" and ")
            ))
        }
    }
}

/// The toplevel that a kernel command line starts: its last `init=`, as both
/// the kernel and stage 1 take the last.
fn toplevel_of(command_line: &str) -> Reading {
    let init = command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("init="))
        .next_back()
        .ok_or("its kernel command line has no init=")?;
    init.strip_suffix("/init")
        .and_then(|path| StorePath::try_from(path.to_owned()).ok())
        .map(Toplevel::new)
        .ok_or_else(|| format!("its init={init} is not the init of a toplevel"))
}

#[cfg(test)]
mod tests {
    use super::tree::{A, toplevel, tree};
    use super::*;

    #[test]
    fn the_last_init_counts() {
        let line = format!("root=x init=/bin/sh quiet init={A}/init loglevel=4");
        assert_eq!(toplevel_of(&line), Ok(toplevel(A)));
        for bad in [
            "",
            "quiet",
            "init=/bin/sh",
            "xinit=/nix",
            &format!("init={A}"),
        ] {
            assert!(toplevel_of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn kernels_are_where_each_loader_puts_them() {
        use BootLoader::{Auto, Extlinux, Grub, None as Nothing, SystemdBoot};
        let systemd_boot = ("efi/EFI/nixos/k.efi", "kernel");
        let grub = ("boot/kernels/k", "kernel");
        let extlinux = ("boot/nixos/k", "kernel");
        for (files, boot_loader, expected) in [
            (&[systemd_boot][..], SystemdBoot, Some("efi/EFI/nixos")),
            (&[systemd_boot], Auto, Some("efi/EFI/nixos")),
            (&[grub], Grub, Some("boot/kernels")),
            (&[grub], Auto, Some("boot/kernels")),
            (&[extlinux], Extlinux, Some("boot/nixos")),
            (&[extlinux], Auto, Some("boot/nixos")),
            (&[grub], SystemdBoot, None),
            (&[systemd_boot, grub, extlinux], Nothing, None),
            (&[], Auto, None),
        ] {
            let root = tree(files);
            let found = kernel_directory(root.path(), boot_loader);
            let expected = expected.map(|directory| root.path().join(directory));
            assert_eq!(found, expected, "{boot_loader:?}");
        }
    }

    #[test]
    fn auto_reads_the_loader_that_is_there_and_refuses_none_and_two() {
        let loader_conf = (
            "boot/loader/loader.conf",
            "default nixos-generation-1.conf\n",
        );
        let entry = (
            "boot/loader/entries/nixos-generation-1.conf",
            "options init=/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-a/init\n",
        );
        let grub = ("boot/grub/grub.cfg", "menuentry \"x\" {\n}\n");
        let one = tree(&[loader_conf, entry]);
        assert_eq!(
            default_entry(one.path(), BootLoader::Auto),
            DefaultEntry::Toplevel(toplevel(A))
        );
        for (files, expected) in [
            (&[][..], "boot_loader = \"none\""),
            (&[loader_conf, entry, grub], "systemd-boot and grub"),
        ] {
            let root = tree(files);
            let DefaultEntry::Unreadable(reason) = default_entry(root.path(), BootLoader::Auto)
            else {
                panic!("{files:?} is readable");
            };
            assert!(reason.contains(expected), "{reason}");
        }
        assert_eq!(
            default_entry(tree(&[grub]).path(), BootLoader::None),
            DefaultEntry::Unchecked
        );
    }
}
