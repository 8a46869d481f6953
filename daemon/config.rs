//! The configuration file: TOML, read and validated to a [`Config`] that
//! cannot be wrong.
//!
//! In: the file's text. Out: a [`Config`] and what the operator should know, or
//! every mistake in the file at once. Must not: look at anything but the text;
//! reading the file ([`load`]) and understanding it ([`parse`]) are apart.

mod mistakes;
pub(crate) mod nearest;
mod section;
pub(crate) mod duration;
mod size;
mod url;
mod schema;
pub(crate) mod lenient;
#[doc(hidden)]
pub mod fuzzing;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

pub use self::mistakes::{Mistake, Mistakes, Warning};

use crate::model::credential::Credential;
use crate::model::flake::Flake;
use crate::model::policy::{
    BootLoader, Deadlines, FetchLimits, FollowTesting, Guards, Health, OnFailedRollback, Policy,
    Require, Settings, Trust,
};
use crate::model::remote::RemoteAddress;
use crate::model::revision::{Branch, Malformed, TagName};
use crate::model::system::Configuration;

/// Where the file is unless the command line names another.
pub const DEFAULT_FILE: &str = "/etc/deploy-flake/config.toml";

/// The longest file that is read, in bytes; a real one has a few hundred.
const FILE_LIMIT: u64 = 1024 * 1024;

/// What the operator configured, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which of the flake's configurations is this host's; the host name's if
    /// none is given.
    pub configuration: Option<Configuration>,
    /// What this host follows, in order; never empty, and each name once.
    pub remotes: Vec<Remote>,
    /// What decisions depend on.
    pub policy: Policy,
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// How much of a remote's is taken.
    pub fetch: FetchLimits,
    /// What a commit has to show before anything of it is evaluated.
    pub trust: Trust,
    /// The testing branch.
    pub testing: Testing,
    /// What counts as healthy.
    pub health: Health,
    /// What is looked at before anything is activated, besides health.
    pub guards: Guards,
    /// When the previous system could not be brought back live.
    pub on_failed_rollback: OnFailedRollback,
    /// Which boot loader's default entry is read back.
    pub boot_loader: BootLoader,
    /// The closure's own check: a path relative to the toplevel, without `..`.
    pub pre_activate_check: String,
    /// Whether evaluation may build.
    pub import_from_derivation: bool,
    /// Where the flake is, and with what its inputs are fetched.
    pub flake: Flake,
}

impl Config {
    /// What becomes of a commit depends on, for this host's configuration. The
    /// digest may change with a version of ours; a refused commit is then looked
    /// at once more, which is no harm.
    pub fn settings(&self, configuration: &Configuration) -> Settings {
        let text = format!(
            "{:?}",
            (
                self.policy.mode,
                &self.deadlines,
                &self.health,
                &self.guards,
                &self.trust,
                self.boot_loader,
                &self.pre_activate_check,
                self.import_from_derivation,
                &self.flake,
            )
        );
        let digest = Sha256::digest(text)
            .into_iter()
            .map(|byte| format!("{byte:02x}"));
        Settings {
            configuration: configuration.as_str().to_owned(),
            digest: digest.collect(),
        }
    }
}

/// The testing branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Testing {
    /// When it is followed.
    pub follow: FollowTesting,
    /// Its name; the host's after `testing-` if none is given.
    pub branch: Option<Branch>,
}

impl Config {
    /// The testing branch that this host follows, if it follows one; each
    /// remote's only where it is not the very branch that is followed there.
    ///
    /// # Errors
    /// The host's name makes no branch's name.
    pub fn testing_branch(&self, host_name: &str) -> Result<Option<Branch>, Malformed> {
        let is_followed = match self.testing.follow {
            FollowTesting::IfSigned => self.trust.require != Require::Nothing,
            FollowTesting::Always => true,
            FollowTesting::Never => false,
        };
        if !is_followed {
            return Ok(None);
        }
        let branch = match &self.testing.branch {
            Some(branch) => branch.clone(),
            None => Branch::try_from(format!("testing-{host_name}"))?,
        };
        let mut remotes = self.remotes.iter();
        let is_any = remotes.any(|remote| remote.testing_branch(Some(&branch)).is_some());
        Ok(is_any.then_some(branch))
    }
}

/// A remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its name, for people.
    pub name: String,
    /// Where it is, which branch, and how it is asked.
    pub address: RemoteAddress,
    /// What it is shown of this host.
    pub credentials: Vec<Credential>,
    /// The mean time between two looks at it.
    pub poll_interval: Duration,
    /// How long a poll of it may take, where that is said.
    pub timeout: Option<Duration>,
}

impl Config {
    /// The tag by which a remote has to show that it is alive, if it has to.
    pub fn heartbeat_of(&self, remote: &Remote) -> Option<TagName> {
        let heartbeat = self.trust.heartbeat.as_ref()?;
        Some(heartbeat.tag_of(&remote.address.branch))
    }
}

impl Remote {
    /// How long a poll of it may take.
    pub fn timeout(&self, deadlines: &Deadlines) -> Duration {
        self.timeout.unwrap_or(deadlines.poll)
    }

    /// The testing branch that is asked for here: the host's, unless that is
    /// this remote's own branch.
    pub fn testing_branch<'a>(&self, testing: Option<&'a Branch>) -> Option<&'a Branch> {
        testing.filter(|testing| **testing != self.address.branch)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("read the configuration file {path}", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file has mistakes.
    #[error("{0}")]
    Invalid(Mistakes),
}

impl ConfigError {
    /// What to do next, as a sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { path, source } if source.kind() == io::ErrorKind::NotFound => format!(
                "Create {} with at least one remote and its url, or name another file.",
                path.display()
            ),
            Self::Read { path, .. } => format!(
                "Make {} a readable TOML file of at most 1 MiB.",
                path.display()
            ),
            Self::Invalid(_) => {
                "Correct the file; `deploy-flake check-config FILE` checks it without effect."
                    .to_owned()
            }
        }
    }
}

/// Reads and validates a configuration file.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), ConfigError> {
    let text = read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&path.display().to_string(), &text)
}

/// Reads at most [`FILE_LIMIT`] bytes of UTF-8.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(FILE_LIMIT + 1)
        .read_to_string(&mut text)?;
    if read as u64 > FILE_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is larger than 1 MiB",
        ));
    }
    Ok(text)
}

/// Validates the text of a configuration file; `file` is its name in messages.
pub fn parse(file: &str, text: &str) -> Result<(Config, Vec<Warning>), ConfigError> {
    schema::config(file, text).map_err(ConfigError::Invalid)
}

#[cfg(test)]
mod tests;
