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
//! Schema 2 added the words of the way back, and `quarantine`; schema 3 the
//! conditions `testing`, `paused` and `holding`, the codes `waits-for-reboot`,
//! `test-ended`, `remote-stale` and `rejected`, what the testing branch is, when a
//! commit was new, `pause`, `hold`, what root pushed, and the code
//! `source-invalid`.

mod last;
mod pushed;
mod file;

pub use file::{ReadError, read, write};
pub use last::{Last, LastFailure, OutcomeName};
pub use pushed::Pushed;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::deployment::DeploymentId;
use crate::model::failure::{FailureClass, FailureCode};
use crate::model::pause::UserId;
use crate::model::progress::Progress;
use crate::model::revision::{Branch, CommitId};
use crate::model::system::{BootId, Derivation, Generation, Observed, Toplevel};

/// Where the snapshot is.
pub const FILE: &str = "/run/deploy-flake/status.json";

/// The version of the format that is written here.
pub const SCHEMA: u32 = 3;

/// The oldest version that is read here.
const OLDEST_SCHEMA: u32 = 1;

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The version of the format: [`SCHEMA`].
    pub schema: u32,
    /// Who wrote it.
    pub daemon: Daemon,
    /// On which host.
    pub host: Host,
    /// What it follows: of several remotes the one that is followed now, or the
    /// one that is to blame that none is.
    pub remote: Remote,
    /// All of them, in the order of the configuration. Older daemons do not
    /// write it.
    #[serde(default)]
    pub remotes: Vec<Remote>,
    /// How often it looked.
    pub looks: Looks,
    /// What the host is.
    pub system: System,
    /// What the remote asks for, once that is known.
    pub desired: Option<Desired>,
    /// When the host last saw a new commit on its own branch. Unknown to schema 2.
    #[serde(default)]
    pub last_new_commit_at: Option<Timestamp>,
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
    /// The testing branch, if one is followed. Unknown to schema 2.
    #[serde(default)]
    pub testing: Option<Testing>,
    /// Why nothing new is begun, if an operator wants it so. Unknown to schema
    /// 2.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// What root went back to or pushed, and is not left by itself. Unknown to
    /// schema 2.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// The commit that was confirmed last, which the next one has to descend
    /// from. Older daemons do not write it.
    #[serde(default)]
    pub floor: Option<CommitId>,
}

/// The host is held at an earlier system, or at what root pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who said so, by the number of the user.
    pub by: UserId,
    /// The deployment that had brought that system.
    pub deployment: DeploymentId,
    /// Its commit; of a push the one in whose place it came.
    pub commit: CommitId,
    /// Since when the host is held there.
    pub since: Timestamp,
    /// What was pushed, if it was.
    #[serde(default)]
    pub pushed: Option<Pushed>,
    /// Whether a reboot ends it, too.
    #[serde(default)]
    pub ends_with_boot: bool,
}

/// An operator wants nothing new begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who, by the number of the user.
    pub by: UserId,
    /// Why, in their words; may be empty.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself; null: only when somebody says so.
    pub until: Option<Timestamp>,
    /// The commit that waits for its end, if one does.
    pub waiting: Option<CommitId>,
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

    /// All remotes, whoever wrote it.
    pub fn all_remotes(&self) -> &[Remote] {
        if self.remotes.is_empty() {
            std::slice::from_ref(&self.remote)
        } else {
            &self.remotes
        }
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

/// A remote.
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
    /// Where it stands among the others. Older daemons do not write it.
    #[serde(default)]
    pub place: PlaceName,
}

/// Where a remote stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceName {
    /// Nobody knows yet.
    #[default]
    Unknown,
    /// It offers nothing.
    Silent,
    /// It offers what may not be followed.
    Refused,
    /// Its commit is the one that is followed.
    Followed,
    /// It offers the same commit as the one that is followed.
    Same,
    /// It offers an older one.
    Behind,
    /// It offers one that neither descends from the one that is followed, nor
    /// is older.
    Diverged,
}

impl PlaceName {
    /// The word, as in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::Followed => "followed",
            Self::Same => "same",
            Self::Behind => "behind",
            Self::Diverged => "diverged",
        }
    }
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
    /// Its branch, if that is not the host's own. Unknown to schema 2.
    #[serde(default)]
    pub testing: Option<Branch>,
    /// What root pushed in its place, where status speaks of that. Unknown to
    /// schema 2.
    #[serde(default)]
    pub pushed: Option<Pushed>,
    /// Its derivation, once evaluated.
    pub derivation: Option<Derivation>,
    /// Its toplevel, once built.
    pub toplevel: Option<Toplevel>,
}

/// The testing branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testing {
    /// Its name.
    pub branch: Branch,
    /// What it is to this host.
    pub state: TestingState,
    /// Where it was when somebody could last say.
    pub head: Option<CommitId>,
    /// Which of its commits the host runs.
    pub running: Option<CommitId>,
    /// The same as a sentence.
    pub why: String,
    /// Why it is not tested, for programs.
    pub code: Option<FailureCode>,
}

/// What a testing branch is to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestingState {
    /// Nobody can say.
    Unknown,
    /// The remote has none.
    Absent,
    /// The host's own branch holds all of it.
    Merged,
    /// What it is may not be tested, or could not be fetched or judged.
    Refused,
    /// It is going to be tested.
    Pending,
    /// It is what runs.
    Running,
    /// It was tried, and is not tried again by itself.
    Held,
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
    /// How far a build is, once that is known. Older daemons do not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
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
    /// The running system is what the testing branch asks for.
    Testing,
    /// An operator wants nothing begun, and something waits for that.
    Paused,
    /// The host is what root went back to.
    Holding,
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

/// A snapshot in which everything is known, for tests of what reads one.
#[cfg(test)]
pub(crate) mod example;

#[cfg(test)]
mod tests;
