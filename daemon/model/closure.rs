//! What a system's closure holds, and how two of them differ: packages by name
//! and version, units by their content, the kernel.
//!
//! In: two closures. Out: their difference, as plain data for history and
//! command line. Must not: read the store.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::package::{Package, compare_versions};
use super::system::{StorePath, Toplevel};

/// A package whose versions are the same is told of when its size is another by
/// this much, in bytes: less is the noise of a rebuild.
const NOTABLE: u64 = 64 * 1024;

/// What a system's closure holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The system.
    pub toplevel: Toplevel,
    /// Every path of the closure, and its size in bytes.
    pub paths: BTreeMap<StorePath, u64>,
    /// The kernel's name and version, if it has one.
    pub kernel: Option<String>,
    /// Every unit file, and what tells its content from another.
    pub units: BTreeMap<String, String>,
}

/// How one system differs from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// How many packages of each kind there are.
    pub counts: Counts,
    /// The packages, by name; not all of them where `omitted` says so.
    pub packages: Vec<PackageChange>,
    /// How many packages are counted and not listed.
    #[serde(default)]
    pub omitted: usize,
    /// How many paths have another hash, and the name and version of one before.
    pub rebuilt: usize,
    /// The units.
    pub units: UnitChanges,
    /// The kernel, if it is another.
    pub kernel: Option<KernelChange>,
    /// How large the closure was.
    pub before: Size,
    /// How large it is.
    pub after: Size,
}

/// How many packages of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Only the new system has them.
    pub added: usize,
    /// Only the old system had them.
    pub removed: usize,
    /// Both have them, in other versions.
    pub changed: usize,
    /// Both have them, in the same versions and of another size.
    pub resized: usize,
}

/// One package that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// In which way.
    pub change: Change,
    /// The versions of before, oldest first; "" for one without a version.
    pub before: Vec<String>,
    /// The versions of now.
    pub after: Vec<String>,
    /// By how many bytes it grew.
    pub bytes: i64,
}

/// In which way a package is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Its newest version is newer.
    Upgraded,
    /// Its newest version is older.
    Downgraded,
    /// Its versions are others, and the newest is the same.
    Changed,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its versions are the same, and its size is not.
    Resized,
}

/// The units that are not what they were, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitChanges {
    /// New.
    pub added: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
    /// Their files have other content.
    pub changed: Vec<String>,
}

/// A kernel that is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelChange {
    /// What it was.
    pub before: Option<String>,
    /// What it is.
    pub after: Option<String>,
}

/// How large a closure is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// How many store paths.
    pub paths: usize,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl Difference {
    /// How the new system differs from the old one.
    pub fn between(old: &Closure, new: &Closure) -> Self {
        let (before, after) = (packages(old), packages(new));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changes = names.into_iter().filter_map(|name| {
            let (before, after) = (before.get(name), after.get(name));
            change(
                name,
                &before.cloned().unwrap_or_default(),
                &after.cloned().unwrap_or_default(),
            )
        });
        let packages: Vec<PackageChange> = changes.collect();
        Self {
            counts: Counts::of(&packages),
            packages,
            omitted: 0,
            rebuilt: rebuilt(old, new),
            units: UnitChanges::between(&old.units, &new.units),
            kernel: (old.kernel != new.kernel).then(|| KernelChange {
                before: old.kernel.clone(),
                after: new.kernel.clone(),
            }),
            before: Size::of(old),
            after: Size::of(new),
        }
    }

    /// The same with at most so many packages and units listed of each kind;
    /// the counts stay.
    pub fn shortened(mut self, most: usize) -> Self {
        let listed = self.packages.len();
        self.packages.truncate(most);
        self.omitted += listed - self.packages.len();
        for units in [
            &mut self.units.added,
            &mut self.units.removed,
            &mut self.units.changed,
        ] {
            units.truncate(most);
        }
        self
    }

    /// Whether both hold the same, but for what a rebuild makes another.
    pub fn is_empty(&self) -> bool {
        self.counts == Counts::default() && self.units.is_empty() && self.kernel.is_none()
    }
}

impl Counts {
    fn of(packages: &[PackageChange]) -> Self {
        let mut counts = Self::default();
        for package in packages {
            match package.change {
                Change::Added => counts.added += 1,
                Change::Removed => counts.removed += 1,
                Change::Upgraded | Change::Downgraded | Change::Changed => counts.changed += 1,
                Change::Resized => counts.resized += 1,
            }
        }
        counts
    }
}

impl UnitChanges {
    fn between(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Self {
        let only = |of: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
            of.keys()
                .filter(|name| !other.contains_key(*name))
                .cloned()
                .collect()
        };
        let is_other = |(name, content): &(&String, &String)| {
            old.get(*name).is_some_and(|before| before != *content)
        };
        Self {
            added: only(new, old),
            removed: only(old, new),
            changed: new
                .iter()
                .filter(is_other)
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }

    /// Whether all units are what they were.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Size {
    fn of(closure: &Closure) -> Self {
        Self {
            paths: closure.paths.len(),
            bytes: closure.paths.values().sum(),
        }
    }
}

/// All paths of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    versions: BTreeSet<Version>,
    bytes: u64,
}

/// In the order of age; of the same age, by their text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version(String);

impl Ord for Version {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        compare_versions(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The packages of a closure, without its units, which are told of themselves.
fn packages(closure: &Closure) -> BTreeMap<String, Held> {
    let mut packages: BTreeMap<String, Held> = BTreeMap::new();
    for (path, bytes) in &closure.paths {
        let package = Package::of(path);
        // A toplevel without a version in its name says nothing but whose it is.
        let is_nameless = path == closure.toplevel.path() && package.version.is_none();
        if is_nameless || is_unit(&package) {
            continue;
        }
        let held = packages.entry(package.name).or_default();
        held.versions
            .insert(Version(package.version.unwrap_or_default()));
        held.bytes += bytes;
    }
    packages
}

/// What NixOS makes of each unit of a configuration.
fn is_unit(package: &Package) -> bool {
    package.name.starts_with("unit-") && package.name.contains('.')
}

fn change(name: &str, before: &Held, after: &Held) -> Option<PackageChange> {
    let change = match (before.versions.last(), after.versions.last()) {
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ if before.versions == after.versions => {
            (before.bytes.abs_diff(after.bytes) >= NOTABLE).then_some(Change::Resized)?
        }
        (Some(old), Some(new)) => match compare_versions(&old.0, &new.0) {
            std::cmp::Ordering::Less => Change::Upgraded,
            std::cmp::Ordering::Greater => Change::Downgraded,
            std::cmp::Ordering::Equal => Change::Changed,
        },
    };
    let texts = |held: &Held| {
        held.versions
            .iter()
            .map(|version| version.0.clone())
            .collect()
    };
    let bytes = |held: &Held| i64::try_from(held.bytes).unwrap_or(i64::MAX);
    Some(PackageChange {
        name: name.to_owned(),
        change,
        before: texts(before),
        after: texts(after),
        bytes: bytes(after).saturating_sub(bytes(before)),
    })
}

/// How many new paths have the whole name of an old one.
fn rebuilt(old: &Closure, new: &Closure) -> usize {
    let names = |closure: &Closure, other: &Closure| -> BTreeSet<String> {
        let only = closure
            .paths
            .keys()
            .filter(|path| !other.paths.contains_key(*path));
        only.filter_map(|path| {
            path.as_str()
                .split_once('-')
                .map(|(_, name)| name.to_owned())
        })
        .collect()
    };
    names(old, new).intersection(&names(new, old)).count()
}

#[cfg(test)]
mod tests;
