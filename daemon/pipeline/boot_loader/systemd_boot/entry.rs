//! The entries that systemd-boot finds on its partitions.
//!
//! In: the partitions' directories. Out: entries, each with what the loader
//! sorts by and what it starts. Must not: decide which one starts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Reading, toplevel_of};

/// Entries as text files (type #1 of the Boot Loader Specification).
const ENTRIES: &str = "loader/entries";

/// Entries as one image with kernel, initrd and command line (type #2).
const IMAGES: &str = "EFI/Linux";

/// How NixOS begins the version of an entry.
const GENERATION: &str = "Generation ";

/// An entry.
#[derive(Debug)]
pub(super) struct Entry {
    id: String,
    tries_left: Option<u32>,
    content: Content,
}

/// What is known of it.
#[derive(Debug)]
enum Content {
    /// A text file.
    File {
        /// The partition that its paths are relative to.
        partition: PathBuf,
        /// The text.
        text: String,
    },
    /// An image, which is not opened.
    Image,
}

impl Entry {
    /// The name by which variables and settings call it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether it was tried as often as it may be.
    pub(super) fn is_bad(&self) -> bool {
        self.tries_left == Some(0)
    }

    /// What it starts, if the files for that are there. An entry that names no
    /// files needs none.
    pub(super) fn start(&self) -> Reading {
        let Content::File { partition, text } = &self.content else {
            return Err(format!(
                "the default entry {} is a unified kernel image, which is not read; set \
                 boot_loader = \"none\" to deploy without this check",
                self.id
            ));
        };
        let toplevel = self.toplevel()?;
        for path in values(text, "linux").chain(values(text, "initrd")) {
            if !partition.join(path.trim_start_matches('/')).exists() {
                return Err(format!(
                    "the default entry {} needs {path} on {}, which does not exist",
                    self.id,
                    partition.display()
                ));
            }
        }
        Ok(toplevel)
    }

    /// Whether it does not matter which of the two the loader takes.
    pub(super) fn starts_the_same_as(&self, other: &Self) -> bool {
        self.toplevel()
            .is_ok_and(|toplevel| other.toplevel() == Ok(toplevel))
    }

    /// What the loader sorts by before it looks at versions; images have it
    /// inside.
    pub(super) fn group(&self) -> Option<(Option<String>, Option<String>)> {
        let Content::File { text, .. } = &self.content else {
            return None;
        };
        Some((key(text, "sort-key"), key(text, "machine-id")))
    }

    /// The number of the generation, which begins the version that NixOS
    /// writes.
    pub(super) fn generation(&self) -> Option<u64> {
        let Content::File { text, .. } = &self.content else {
            return None;
        };
        let version = key(text, "version")?;
        let number = version.strip_prefix(GENERATION)?;
        number.split_ascii_whitespace().next()?.parse().ok()
    }

    fn toplevel(&self) -> Reading {
        let Content::File { text, .. } = &self.content else {
            return Err(format!("{} is not read", self.id));
        };
        let command_line: Vec<_> = values(text, "options").collect();
        toplevel_of(&command_line.join(" "))
            .map_err(|reason| format!("the default entry {}: {reason}", self.id))
    }
}

/// Reads every entry of every partition.
pub(super) fn read_all(partitions: &BTreeSet<PathBuf>) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for partition in partitions {
        for file in files(&partition.join(ENTRIES), ".conf") {
            let text = fs::read_to_string(&file)
                .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
            let partition = partition.clone();
            entries.push(entry(&file, Content::File { partition, text }));
        }
        for file in files(&partition.join(IMAGES), ".efi") {
            entries.push(entry(&file, Content::Image));
        }
    }
    Ok(entries)
}

/// The value of a key; of the last, if there are several.
pub(super) fn key(text: &str, wanted: &str) -> Option<String> {
    values(text, wanted).last().map(str::to_owned)
}

/// The values of a key, in order: one key a line, then blanks, then the value.
fn values<'a>(text: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(|c: char| c.is_ascii_whitespace()))
        .filter(move |(key, _)| *key == wanted)
        .map(|(_, value)| value.trim())
}

/// The files of a directory that the loader looks at, in a fixed order.
fn files(directory: &Path, suffix: &str) -> BTreeSet<PathBuf> {
    let Ok(files) = fs::read_dir(directory) else {
        return BTreeSet::new();
    };
    files
        .flatten()
        .map(|file| file.path())
        .filter(|file| {
            let name = lower_case_name(file);
            name.ends_with(suffix) && !name.starts_with('.') && file.is_file()
        })
        .collect()
}

/// Takes the count of tries (`+LEFT` or `+LEFT-DONE` before the suffix) off the
/// file's name, as the loader does.
fn entry(file: &Path, content: Content) -> Entry {
    let name = lower_case_name(file);
    let counted = name.rsplit_once('.').and_then(|(stem, suffix)| {
        let (stem, count) = stem.rsplit_once('+')?;
        let (left, done) = count.split_once('-').unwrap_or((count, "0"));
        done.parse::<u32>().ok()?;
        Some((format!("{stem}.{suffix}"), left.parse().ok()?))
    });
    match counted {
        Some((id, tries_left)) => Entry {
            id,
            tries_left: Some(tries_left),
            content,
        },
        None => Entry {
            id: name,
            tries_left: None,
            content,
        },
    }
}

fn lower_case_name(file: &Path) -> String {
    file.file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}
