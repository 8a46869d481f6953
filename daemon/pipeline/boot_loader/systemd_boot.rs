//! systemd-boot's files and variables to the toplevel of its default entry.
//!
//! In: the root directory: the partitions where they are usually mounted, and
//! efivarfs. Out: a reading. Must not: take a pattern for an answer where the
//! loader's own order of entries is not certain.
//!
//! The loader takes the first of these that selects an entry (loader.conf(5),
//! systemd-boot(7), the Boot Loader Interface): since version 260 *preferred*,
//! from the variable, then from `loader.conf`, passing over entries without
//! tries left; then the variable `LoaderEntryDefault`, which `bootctl
//! set-default` and the menu write; then `default` of `loader.conf`; then the
//! first entry of all.

mod entry;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use self::entry::{Entry, key};
use super::Reading;

/// Where the ESP and XBOOTLDR partitions are mounted, by convention.
const MOUNTS: [&str; 3] = ["boot", "efi", "boot/efi"];

/// The loader's settings, always on the ESP.
const LOADER_CONF: &str = "loader/loader.conf";

/// Where NixOS copies kernels and initrds to, on the partition of the entries.
const KERNELS: &str = "EFI/nixos";

/// Where the kernel shows EFI variables.
const EFI_VARIABLES: &str = "sys/firmware/efi/efivars";

/// The vendor of the Boot Loader Interface's variables.
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// efivarfs puts the variable's attributes in front of its value.
const ATTRIBUTES_LENGTH: usize = 4;

/// The first version that knows `preferred`.
const PREFERRED_SINCE: u32 = 260;

/// What stands before the version in the loader's own file.
const VERSION_MARK: &[u8] = b"#### LoaderInfo: systemd-boot ";

/// Whether its settings are there.
pub(super) fn is_installed(root: &Path) -> bool {
    !settings_files(root).is_empty()
}

/// Where NixOS copies kernels and initrds to: on the partition that has them.
pub(super) fn kernel_directory(root: &Path) -> Option<PathBuf> {
    MOUNTS
        .iter()
        .map(|mount| root.join(mount).join(KERNELS))
        .find(|directory| directory.is_dir())
}

/// Reads the entry that starts when nobody chooses.
pub(super) fn default_entry(root: &Path) -> Reading {
    let settings = settings(root)?;
    let entries = entry::read_all(&partitions(root))?;
    let default = by_default(root, &settings, &entries);
    let Some(preferred) = by_preference(root, &settings, &entries)? else {
        return default;
    };
    let preferred = preferred.start();
    if default == preferred {
        return preferred;
    }
    // They differ, so it depends on whether the loader knows `preferred`.
    match version(root)? {
        old if old < PREFERRED_SINCE => default,
        _ => preferred,
    }
}

/// What `preferred` selects, in loaders that know it.
fn by_preference<'a>(
    root: &Path,
    settings: &str,
    entries: &'a [Entry],
) -> Result<Option<&'a Entry>, String> {
    let patterns = [
        variable(root, "LoaderEntryPreferred")?,
        key(settings, "preferred"),
    ];
    for pattern in patterns.into_iter().flatten() {
        let good = matching(entries, &pattern)?
            .into_iter()
            .filter(|entry| !entry.is_bad())
            .collect();
        if let Some(entry) = first_in_order(good)? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// What the loader takes without `preferred`.
fn by_default(root: &Path, settings: &str, entries: &[Entry]) -> Reading {
    let patterns = [
        variable(root, "LoaderEntryDefault")?,
        key(settings, "default"),
        Some("*".to_owned()),
    ];
    for pattern in patterns.into_iter().flatten() {
        if let Some(entry) = first_in_order(matching(entries, &pattern)?)? {
            return entry.start();
        }
    }
    Err("there is no entry in loader/entries".to_owned())
}

/// The entries that a pattern matches. Entries are known by their file name
/// without the count of tries, in lower case.
fn matching<'a>(entries: &'a [Entry], pattern: &str) -> Result<Vec<&'a Entry>, String> {
    if pattern.starts_with('@') {
        return Err(format!(
            "the default entry is {pattern}, which depends on what was started last; remove it \
             with `bootctl set-default ''`"
        ));
    }
    if pattern.contains(['[', '\\']) {
        return Err(format!(
            "the pattern {pattern} of the default entry is not understood; set an entry's name"
        ));
    }
    let pattern = pattern.to_lowercase();
    Ok(entries
        .iter()
        .filter(|entry| matches(pattern.as_bytes(), entry.id().as_bytes()))
        .collect())
}

/// Whether a pattern of `*` and `?` matches the whole name.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if matches(rest, name) => true,
        (Some((b'*', _)), Some((_, name))) => matches(pattern, name),
        (Some((b'?', rest)), Some((_, name))) => matches(rest, name),
        (Some((wanted, rest)), Some((found, name))) => wanted == found && matches(rest, name),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The entry that the loader lists first: those without tries left come last,
/// and of one installation (the same sort key and machine id) the highest
/// generation first. Any other order is its own business.
fn first_in_order(mut entries: Vec<&Entry>) -> Result<Option<&Entry>, String> {
    if entries.iter().any(|entry| !entry.is_bad()) {
        entries.retain(|entry| !entry.is_bad());
    }
    let Some((first, others)) = entries.split_first() else {
        return Ok(None);
    };
    if others.iter().all(|other| other.starts_the_same_as(first)) {
        return Ok(Some(first));
    }
    let uncertain = || {
        let names: Vec<_> = entries.iter().map(|entry| entry.id()).take(4).collect();
        format!(
            "the default entry may be any of {} entries ({}, ...), and their order is not certain",
            entries.len(),
            names.join(", ")
        )
    };
    if others.iter().any(|other| other.group() != first.group()) {
        return Err(uncertain());
    }
    let newest = entries.iter().filter_map(|entry| entry.generation()).max();
    let mut newest_entries = entries.iter().filter(|entry| entry.generation() == newest);
    let all_numbered = entries.iter().all(|entry| entry.generation().is_some());
    match (newest_entries.next(), newest_entries.next(), all_numbered) {
        (Some(newest), None, true) => Ok(Some(newest)),
        (_, _, true | false) => Err(uncertain()),
    }
}

/// The text of the one `loader.conf`.
fn settings(root: &Path) -> Result<String, String> {
    match settings_files(root).as_slice() {
        [] => Err("there is no loader/loader.conf in /boot, /efi or /boot/efi".to_owned()),
        [file] => fs::read_to_string(file)
            .map_err(|error| format!("{} cannot be read: {error}", file.display())),
        several => {
            let files: Vec<_> = several
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            Err(format!(
                "{} all exist, and only one is the loader's; remove the leftover",
                files.join(" and ")
            ))
        }
    }
}

fn settings_files(root: &Path) -> Vec<PathBuf> {
    partitions(root)
        .into_iter()
        .map(|partition| partition.join(LOADER_CONF))
        .filter(|file| file.exists())
        .collect()
}

/// The directories that may be an ESP or an XBOOTLDR, each once, whatever
/// links there are between them.
fn partitions(root: &Path) -> BTreeSet<PathBuf> {
    MOUNTS
        .iter()
        .filter_map(|mount| fs::canonicalize(root.join(mount)).ok())
        .collect()
}

/// Reads a variable of the Boot Loader Interface: UTF-16, ended by a zero.
fn variable(root: &Path, name: &str) -> Result<Option<String>, String> {
    let file = root.join(EFI_VARIABLES).join(format!("{name}-{VENDOR}"));
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("the EFI variable {name} cannot be read: {error}")),
    };
    let units: Vec<_> = bytes
        .get(ATTRIBUTES_LENGTH..)
        .unwrap_or_default()
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    let value =
        String::from_utf16(&units).map_err(|_| format!("the EFI variable {name} is not UTF-16"))?;
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// Reads the version of the installed loader from its own files. Where several
/// are installed, they must agree on what matters.
fn version(root: &Path) -> Result<u32, String> {
    let mut versions = BTreeSet::new();
    for partition in partitions(root) {
        let Ok(files) = fs::read_dir(partition.join("EFI/systemd")) else {
            continue;
        };
        for file in files.flatten() {
            let name = file.file_name().to_string_lossy().to_lowercase();
            if name.starts_with("systemd-boot") && name.ends_with(".efi") {
                versions.extend(
                    fs::read(file.path())
                        .ok()
                        .and_then(|file| version_in(&file)),
                );
            }
        }
    }
    let knows = |version: &u32| *version >= PREFERRED_SINCE;
    match (versions.first(), versions.last()) {
        (Some(oldest), Some(newest)) if knows(oldest) == knows(newest) => Ok(*newest),
        (Some(_) | None, _) => Err(format!(
            "loader.conf has both `preferred` and `default`, and whether systemd-boot is of \
             version {PREFERRED_SINCE} or later cannot be read from EFI/systemd"
        )),
    }
}

/// The version that the loader's file carries for programs that look for it.
fn version_in(file: &[u8]) -> Option<u32> {
    let start = file
        .windows(VERSION_MARK.len())
        .position(|window| window == VERSION_MARK)?
        + VERSION_MARK.len();
    let digits = file[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    String::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
