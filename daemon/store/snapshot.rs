//! The world-readable state of the daemon: `/run/deploy-flake/status.json`.
//!
//! In: what the daemon knows. Out: a file that is always whole, for `status`,
//! `trigger --wait` and everybody's own programs. Must not: hold a secret;
//! must not need the daemon, the bus or the network to be read.
//!
//! The format is a documented interface. Within one schema, keys are only
//! added, and an older reader ignores what it does not know; a new word for a
//! phase, a state, an outcome or a failure, or another meaning of a key, is a
//! new schema, which an older reader refuses by name. A newer reader reads
//! what older daemons wrote: a key that they did not write has a default.
//!
//! Schema 2 added the words of the way back, and `quarantine`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::deployment::{DeploymentId, Finished, Outcome};
use crate::model::failure::{Failure, FailureClass, FailureCode};
use crate::model::revision::{Branch, CommitId};
use crate::model::system::{BootId, Derivation, Generation, Observed, Toplevel};

/// Where the snapshot is.
pub const FILE: &str = "/run/deploy-flake/status.json";

/// The version of the format that is written here.
pub const SCHEMA: u32 = 2;

/// The oldest version that is read here.
const OLDEST_SCHEMA: u32 = 1;

/// Everybody may read it.
const MODE: u32 = 0o644;

/// The longest file that is read, in bytes; a real one has a few thousand.
const FILE_LIMIT: u64 = 1024 * 1024;

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The version of the format: [`SCHEMA`].
    pub schema: u32,
    /// Who wrote it.
    pub daemon: Daemon,
    /// On which host.
    pub host: Host,
    /// What it follows.
    pub remote: Remote,
    /// How often it looked.
    pub looks: Looks,
    /// What the host is.
    pub system: System,
    /// What the remote asks for, once that is known.
    pub desired: Option<Desired>,
    /// What is going on.
    pub phase: Phase,
    /// Whether the host is what the remote asks for, and if not, why.
    pub condition: Condition,
    /// The last deployment that ended.
    pub last: Option<Last>,
    /// The systems that failed here and are not activated again by themselves,
    /// oldest first. Unknown to schema 1.
    #[serde(default)]
    pub quarantine: Vec<Held>,
    /// Where a reboot leads. Older daemons do not write it.
    #[serde(default)]
    pub reboot: RebootName,
}

/// Where a reboot leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RebootName {
    /// To the system that the default entry is known to start.
    #[default]
    Safe,
    /// Nowhere that anybody knows: the entry could not be put back.
    Unsafe,
}

impl Snapshot {
    /// Whether the host is neither what it was nor what was asked for, and
    /// nothing of ours is going to change that.
    pub fn needs_human(&self) -> bool {
        let outcome = self.last.as_ref().map(|last| last.outcome);
        self.condition.state == ConditionState::Failed
            && outcome == Some(OutcomeName::RollbackFailed)
    }

    /// Why what the remote asks for is not activated by itself, if that is so.
    pub fn held(&self) -> Option<&Held> {
        let wanted = self.desired.as_ref()?.toplevel.as_ref()?;
        self.quarantine.iter().find(|held| held.toplevel == *wanted)
    }
}

/// A system that failed here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The system.
    pub toplevel: Toplevel,
    /// The commit that asked for it then.
    pub commit: CommitId,
    /// How it failed, for programs.
    pub code: FailureCode,
    /// Whether trying again could have helped.
    pub class: FailureClass,
    /// What was expected and what was found.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// The process that wrote the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Drawn at every start.
    pub instance: String,
    /// When it started.
    pub started_at: Timestamp,
}

/// The host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Which of the flake's configurations is its own.
    pub configuration: String,
    /// The boot in which the snapshot was written.
    pub boot_id: BootId,
}

/// The remote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its name in the configuration.
    pub name: String,
    /// Its URL; the configuration lets none with a secret in it through.
    pub url: String,
    /// The branch.
    pub branch: Branch,
    /// Where the branch was when the remote last answered.
    pub head: Option<CommitId>,
    /// When it last answered.
    pub last_answer_at: Option<Timestamp>,
    /// Why it did not answer the last time.
    pub last_error: Option<RemoteError>,
    /// When it is asked next.
    pub next_look_at: Option<Timestamp>,
}

/// Why the remote did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    /// For programs.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

/// Looks are numbered from one within the life of a daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// The number of the look that began last.
    pub started: u64,
    /// The number of the look that ended last.
    pub finished: u64,
}

/// What the host is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// What was activated last.
    pub running: Option<Toplevel>,
    /// What this boot started with.
    pub booted: Option<Toplevel>,
    /// What the profile `system` points to.
    pub profile: Option<Toplevel>,
    /// The profile's generation.
    pub generation: Option<Generation>,
    /// What the boot loader starts next, where that can be read.
    pub default_entry: Option<Toplevel>,
}

impl From<&Observed> for System {
    fn from(observed: &Observed) -> Self {
        Self {
            running: observed.running.clone(),
            booted: observed.booted.clone(),
            profile: observed.profile_toplevel().cloned(),
            generation: observed.profile.as_ref().map(|entry| entry.generation),
            default_entry: observed.default_entry.toplevel().cloned(),
        }
    }
}

/// What the remote asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The commit.
    pub commit: CommitId,
    /// Its derivation, once evaluated.
    pub derivation: Option<Derivation>,
    /// Its toplevel, once built.
    pub toplevel: Option<Toplevel>,
}

/// What is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// The phase.
    pub name: PhaseName,
    /// The deployment that is in it.
    pub deployment: Option<DeploymentId>,
    /// Since when.
    pub since: Timestamp,
}

/// The phases of a deployment, in their order, and rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    /// No deployment is going on.
    Resting,
    /// The commit is brought into the evaluation's repository.
    Importing,
    /// `nix eval`.
    Evaluating,
    /// `nix build`.
    Building,
    /// The toplevel's GC root is registered.
    Rooting,
    /// Health, guards and the boot loader are looked at.
    Inspecting,
    /// The closure's own checks run.
    Checking,
    /// The way back is armed.
    Arming,
    /// `switch-to-configuration test` runs.
    Testing,
    /// The new system's daemon takes over.
    Replacing,
    /// The host has to be healthy for the confirm window.
    Confirming,
    /// The verdict is written.
    Claiming,
    /// The profile is set.
    SettingProfile,
    /// `switch-to-configuration boot` runs.
    WritingBootEntry,
    /// Profile and default entry are read back.
    ReadingBack,
    /// Profile and boot entry are put back.
    Restoring,
    /// The way back is disarmed.
    Disarming,
    /// The previous system is brought back.
    RollingBack,
}

/// The one answer to "is this host what the remote asks for, and if not, why".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The answer in one word.
    pub state: ConditionState,
    /// Why, as a sentence.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
    /// What to do, as a sentence, if there is anything to do.
    pub remedy: Option<String>,
}

/// The answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionState {
    /// The daemon has not looked yet.
    Starting,
    /// The host is what the remote asks for.
    Converged,
    /// A deployment is going on.
    Deploying,
    /// The host is busy; nothing is started.
    Waiting,
    /// The host was changed by somebody else.
    Drifted,
    /// The commit, or the host's state, does not allow a deployment.
    Refused,
    /// A deployment failed after it had touched the host.
    Failed,
    /// The commit was activated, failed, and the previous system runs again.
    RolledBack,
    /// A deployment failed for a reason that may pass; it is tried again.
    Retrying,
    /// The system needs a reboot.
    RebootRequired,
    /// The remote cannot be asked.
    RemoteUnreachable,
}

/// The last deployment that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Its id.
    pub deployment: DeploymentId,
    /// Its commit.
    pub commit: CommitId,
    /// How it ended.
    pub outcome: OutcomeName,
    /// Why it did not end well.
    pub failure: Option<LastFailure>,
    /// When it ended.
    pub finished_at: Timestamp,
}

impl From<&Finished> for Last {
    fn from(finished: &Finished) -> Self {
        Self {
            deployment: finished.deployment.id.clone(),
            commit: finished.deployment.candidate.commit().clone(),
            outcome: OutcomeName::from(&finished.outcome),
            failure: finished.outcome.failure().map(LastFailure::from),
            finished_at: finished.finished.wall,
        }
    }
}

/// How a deployment ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeName {
    /// Running system, profile and default entry are the commit's.
    Deployed,
    /// They already were.
    Unchanged,
    /// Nothing on the host was touched.
    Refused,
    /// Profile or boot entry were touched and are not what was asked for.
    Failed,
    /// The system was activated and failed; the previous one runs again.
    RolledBack,
    /// The same, and it took a reboot.
    RolledBackByReboot,
    /// The system was activated and failed, and so did the way back.
    RollbackFailed,
    /// The remote was silent for the new system and for the previous one.
    Inconclusive,
    /// The system needs a reboot.
    RebootRequired,
    /// A newer commit came first.
    Superseded,
    /// Somebody switched the host meanwhile.
    Overridden,
}

impl From<&Outcome> for OutcomeName {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Deployed => Self::Deployed,
            Outcome::Unchanged => Self::Unchanged,
            Outcome::Refused(_) => Self::Refused,
            Outcome::Failed(_) => Self::Failed,
            Outcome::RolledBack(_) => Self::RolledBack,
            Outcome::RolledBackByReboot(_) => Self::RolledBackByReboot,
            Outcome::RollbackFailed(_) => Self::RollbackFailed,
            Outcome::Inconclusive(_) => Self::Inconclusive,
            Outcome::RebootRequired { .. } => Self::RebootRequired,
            Outcome::Superseded => Self::Superseded,
            Outcome::Overridden(_) => Self::Overridden,
        }
    }
}

/// Why a deployment did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// What, for programs.
    pub code: FailureCode,
    /// Whether the same commit may do better next time.
    pub class: FailureClass,
    /// What was expected and what was found.
    pub message: String,
    /// The last lines of the output, or the names of units; may be empty.
    pub detail: String,
    /// What to do next.
    pub hint: String,
}

impl From<&Failure> for LastFailure {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code,
            class: failure.class,
            message: failure.message.clone(),
            detail: failure.detail.clone(),
            hint: failure.hint.clone(),
        }
    }
}

/// Why there is no snapshot to be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing was ever written in this boot.
    #[error("there is no snapshot at {path}", path = .0.display())]
    Missing(PathBuf),
    /// The file could not be read.
    #[error("read {path}", path = .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another version wrote it.
    #[error("expected a snapshot of schema {OLDEST_SCHEMA} to {SCHEMA}, found schema {found}")]
    Schema {
        /// What the file says.
        found: u64,
    },
    /// It is no snapshot.
    #[error("understand {path}", path = .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

/// Replaces the snapshot: readers see the old one or the new one, whole.
///
/// Nothing is synced to disk: `/run` is memory, gone with the boot that the
/// snapshot speaks of, and what has to survive a boot is in the ledger.
pub fn write(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(snapshot)?;
    text.push(b'\n');
    // One fixed name: the daemon is alone (`lock`), and what a killed one left
    // half-written is overwritten by the next.
    let temporary = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&temporary)?;
    file.write_all(&text)?;
    // `mode` above was cut by the umask, and is ignored for a left-over file.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    drop(file);
    fs::rename(&temporary, path)
}

/// Reads the snapshot as its types and as the JSON that it is.
pub fn read(path: &Path) -> Result<(Snapshot, serde_json::Value), ReadError> {
    let text = read_text(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            ReadError::Missing(path)
        } else {
            ReadError::Unreadable { path, source }
        }
    })?;
    let malformed = |source| ReadError::Malformed {
        path: path.to_owned(),
        source,
    };
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(malformed)?;
    // The schema first: another one may have other keys.
    match json.get("schema").and_then(serde_json::Value::as_u64) {
        Some(found) if !(u64::from(OLDEST_SCHEMA)..=u64::from(SCHEMA)).contains(&found) => {
            return Err(ReadError::Schema { found });
        }
        Some(_) | None => {}
    }
    let snapshot = Snapshot::deserialize(&json).map_err(malformed)?;
    Ok((snapshot, json))
}

fn read_text(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_LIMIT).read_to_end(&mut text)?;
    Ok(text)
}

/// A snapshot in which everything is known, for tests of what reads one.
#[cfg(test)]
pub(crate) mod example;

#[cfg(test)]
mod tests {
    use super::example::full;
    use super::*;

    #[test]
    fn what_is_written_is_read_back_by_everybody() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("status.json");
        let mut snapshot = full();
        write(&path, &snapshot).expect("it is written");
        snapshot.looks.finished += 1;
        write(&path, &snapshot).expect("it is replaced");
        let mode = fs::metadata(&path).expect("it is there").permissions();
        assert_eq!(mode.mode() & 0o777, MODE);
        let (back, _) = read(&path).expect("it is read");
        assert_eq!(back, snapshot);
        let left = fs::read_dir(directory.path()).expect("it is a directory");
        assert_eq!(left.count(), 1, "no temporary file is left");
    }

    #[test]
    fn the_keys_are_those_of_the_documented_schema() {
        let json = serde_json::to_string_pretty(&full()).expect("it serialises");
        assert_eq!(json, include_str!("snapshot/schema-2.json").trim_end());
    }

    #[test]
    fn what_an_older_daemon_wrote_is_read_without_what_it_did_not_know() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("status.json");
        fs::write(&path, include_str!("snapshot/schema-1.json")).expect("it is written");
        let (snapshot, _) = read(&path).expect("it is read");
        let expected = Snapshot {
            schema: 1,
            quarantine: Vec::new(),
            ..full()
        };
        assert_eq!(snapshot, expected);
    }

    #[test]
    fn keys_that_are_not_known_are_ignored() {
        let mut json = serde_json::to_value(full()).expect("it serialises");
        json["future"] = true.into();
        json["remote"]["future"] = true.into();
        assert_eq!(Snapshot::deserialize(&json).ok(), Some(full()));
    }

    #[test]
    fn a_file_that_is_no_snapshot_says_why() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let path = directory.path().join("status.json");
        let failure = |text: &str| {
            fs::write(&path, text).expect("it is written");
            read(&path).expect_err(text)
        };
        assert!(matches!(failure(""), ReadError::Malformed { .. }));
        assert!(matches!(
            failure("{\"schema\":1}"),
            ReadError::Malformed { .. }
        ));
        assert!(matches!(
            failure("{\"schema\":3,\"other\":true}"),
            ReadError::Schema { found: 3 }
        ));
        assert!(matches!(
            failure("{\"schema\":0}"),
            ReadError::Schema { found: 0 }
        ));
        let none = read(&directory.path().join("none")).expect_err("there is none");
        assert!(matches!(none, ReadError::Missing(_)));
    }
}
