//! What Nix and NixOS name: store paths, toplevels, generations, and what is
//! observed of a host.
//!
//! In: text from Nix, from links and from files. Out: values that cannot be
//! malformed. Must not: look at the file system.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::revision::Malformed;

/// Where every store path stands.
const STORE: &str = "/nix/store/";

/// How long the hash part of a store path's name is, in characters.
const HASH_LENGTH: usize = 32;

/// A path directly below `/nix/store`, well formed: a hash of 32 characters of
/// Nix's base 32, a dash, and a name of the characters that Nix allows
/// (Nix manual, "Store path").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StorePath(String);

impl StorePath {
    /// The absolute path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The absolute path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The path of something inside, given relative and without `..`.
    pub fn join(&self, relative: &str) -> String {
        format!("{}/{relative}", self.0)
    }
}

impl TryFrom<String> for StorePath {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let base32 = |byte: u8| {
            (byte.is_ascii_digit() || byte.is_ascii_lowercase()) && !b"eotu".contains(&byte)
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte);
        let well_formed = text
            .strip_prefix(STORE)
            .and_then(|base| base.split_at_checked(HASH_LENGTH))
            .and_then(|(hash, rest)| Some((hash, rest.strip_prefix('-')?)))
            .is_some_and(|(hash, name)| {
                hash.bytes().all(base32)
                    && !name.is_empty()
                    && name.len() <= 211
                    && !name.starts_with('.')
                    && name.bytes().all(allowed)
            });
        if well_formed {
            Ok(Self(text))
        } else {
            Err(Malformed::new("a path directly below /nix/store", &text))
        }
    }
}

impl From<StorePath> for String {
    fn from(path: StorePath) -> Self {
        path.0
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The store path of a derivation (`.drv`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StorePath", into = "StorePath")]
pub struct Derivation(StorePath);

impl Derivation {
    /// The store path.
    pub fn path(&self) -> &StorePath {
        &self.0
    }
}

impl TryFrom<StorePath> for Derivation {
    type Error = Malformed;

    fn try_from(path: StorePath) -> Result<Self, Malformed> {
        if path.as_str().ends_with(".drv") {
            Ok(Self(path))
        } else {
            Err(Malformed::new("the store path of a .drv", path.as_str()))
        }
    }
}

impl From<Derivation> for StorePath {
    fn from(derivation: Derivation) -> Self {
        derivation.0
    }
}

impl fmt::Display for Derivation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The store path of a system closure: `config.system.build.toplevel`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Toplevel(StorePath);

impl Toplevel {
    /// Takes a store path for a toplevel; whether it is one, `check` finds out.
    pub fn new(path: StorePath) -> Self {
        Self(path)
    }

    /// The store path.
    pub fn path(&self) -> &StorePath {
        &self.0
    }

    /// The closure's `bin/switch-to-configuration`.
    pub fn switch_to_configuration(&self) -> String {
        self.0.join("bin/switch-to-configuration")
    }
}

/// Has `switch-to-configuration` skip the closure's pre-switch checks: only on
/// the way back, never for what is deployed.
pub const NO_CHECKS: (&str, &str) = ("NIXOS_NO_CHECK", "1");

impl fmt::Display for Toplevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The number of a profile's generation: the N of `system-N-link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// A name below `nixosConfigurations`: letters, digits, `_`, `-` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Configuration(String);

impl Configuration {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The flake attribute of the toplevel's derivation path.
    pub fn attribute(&self) -> String {
        format!(
            "nixosConfigurations.\"{}\".config.system.build.toplevel.drvPath",
            self.0
        )
    }
}

impl TryFrom<String> for Configuration {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if !text.is_empty() && text.len() <= 253 && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(Malformed::new(
                "a configuration name of letters, digits, '_', '-' and '.'",
                &text,
            ))
        }
    }
}

impl From<Configuration> for String {
    fn from(configuration: Configuration) -> Self {
        configuration.0
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Identifies one boot of the kernel: `/proc/sys/kernel/random/boot_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

/// What the boot loader would start next, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultEntry {
    /// The default entry starts this toplevel.
    Toplevel(Toplevel),
    /// The configuration says that there is no boot loader to read.
    Unchecked,
    /// The default entry could not be read; why.
    Unreadable(String),
}

impl DefaultEntry {
    /// The toplevel of the default entry, where known.
    pub fn toplevel(&self) -> Option<&Toplevel> {
        match self {
            Self::Toplevel(toplevel) => Some(toplevel),
            Self::Unchecked | Self::Unreadable(_) => None,
        }
    }

    /// Whether the entry is the given toplevel, or nobody can know.
    pub fn is_or_unchecked(&self, toplevel: &Toplevel) -> bool {
        match self {
            Self::Toplevel(found) => found == toplevel,
            Self::Unchecked => true,
            Self::Unreadable(_) => false,
        }
    }
}

/// What a host is, read from the host itself and never from memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// `/run/current-system`: what was activated last.
    pub running: Option<Toplevel>,
    /// `/run/booted-system`: what this boot started with.
    pub booted: Option<Toplevel>,
    /// `/nix/var/nix/profiles/system`: its generation and toplevel.
    pub profile: Option<ProfileEntry>,
    /// The boot loader's default entry.
    pub default_entry: DefaultEntry,
    /// This boot.
    pub boot_id: BootId,
}

/// The current generation of the profile `system`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileEntry {
    /// Its number.
    pub generation: Generation,
    /// What it points to.
    pub toplevel: Toplevel,
}

impl Observed {
    /// The profile's toplevel, where there is one.
    pub fn profile_toplevel(&self) -> Option<&Toplevel> {
        self.profile.as_ref().map(|entry| &entry.toplevel)
    }

    /// Whether running system, profile and default entry are all this one.
    pub fn is_all(&self, toplevel: &Toplevel) -> bool {
        self.running.as_ref() == Some(toplevel) && self.boots(toplevel)
    }

    /// Whether profile and default entry are this one.
    pub fn boots(&self, toplevel: &Toplevel) -> bool {
        self.profile_toplevel() == Some(toplevel) && self.default_entry.is_or_unchecked(toplevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_paths_are_directly_below_the_store_and_well_formed() {
        let good = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-web1-24.11";
        assert!(StorePath::try_from(good.to_owned()).is_ok());
        for bad in [
            "",
            "/nix/store/",
            "/nix/store/x",
            "/tmp/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-a",
            "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv",
            "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-",
            "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-a/b",
            "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-..",
            "/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-a",
            "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-a\n",
            "/nix/store/äöüäöüäöüäöüäöüä-a",
        ] {
            assert!(StorePath::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_derivation_ends_in_drv() {
        let path = |name: &str| {
            StorePath::try_from(format!(
                "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-{name}"
            ))
        };
        let derivation = |name: &str| path(name).and_then(Derivation::try_from);
        assert!(derivation("a.drv").is_ok());
        assert!(derivation("a").is_err());
    }

    #[test]
    fn configuration_names_cannot_leave_their_quotes() {
        for good in ["web1", "host.example", "a_b-c"] {
            assert!(Configuration::try_from(good.to_owned()).is_ok(), "{good:?}");
        }
        for bad in ["", "a\"b", "a b", "${x}", "a\\"] {
            assert!(Configuration::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
