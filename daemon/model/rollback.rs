//! The way back: who decides, what is led back to, and how it ended.
//!
//! In: nothing. Out: what daemon and guardian tell each other through files.
//! Must not: read or write them; `store` does.
//!
//! A newer guardian or daemon may have to read what an older one wrote, and
//! the other way round: fields are only ever added, each with a default.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::deployment::DeploymentId;
use super::health::Baseline;
use super::policy::OnFailedRollback;
use super::revision::CommitId;
use super::system::{BootId, Toplevel};

/// Who decided about a tested system. Daemon and guardian both obey whichever
/// was written first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It stays: no way back is needed.
    Commit,
    /// It goes: the previous system comes back.
    RollBack,
}

/// What the guardian is armed with: a file under `/run`, written before it is
/// armed. What it cannot do without, stands on its command line, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackPlan {
    /// For which deployment.
    pub deployment: DeploymentId,
    /// The commit that asked for it.
    pub commit: CommitId,
    /// What is led back to.
    pub previous: Toplevel,
    /// What is led back from.
    pub candidate: Toplevel,
    /// The boot in which it was armed.
    pub boot_id: BootId,
    /// `systemctl` of the previous system.
    pub systemctl: PathBuf,
    /// What the host was before.
    #[serde(default)]
    pub baseline: Baseline,
    /// Units whose failure is nobody's business.
    #[serde(default)]
    pub ignore_units: Vec<String>,
    /// How long to wait for the switch lock.
    pub lock: Duration,
    /// How long `test` of the previous system may take.
    pub switch: Duration,
    /// How long the previous system may take to be healthy again.
    pub health: Duration,
    /// When that fails.
    #[serde(default)]
    pub on_failed_rollback: OnFailedRollback,
}

/// What the guardian did: a file under `/var`, synced before it reboots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackRecord {
    /// For which deployment.
    pub deployment: DeploymentId,
    /// The commit that asked for it.
    pub commit: CommitId,
    /// What was led back to.
    pub previous: Toplevel,
    /// What was led back from: quarantined.
    pub candidate: Toplevel,
    /// The boot in which this was written.
    pub boot_id: BootId,
    /// When.
    pub at: Timestamp,
    /// Who wanted it: `daemon`, or `deadline` when nobody had decided.
    pub wanted_by: WantedBy,
    /// How far it came.
    pub stage: RollbackStage,
}

/// Who wanted the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WantedBy {
    /// The daemon decided.
    Daemon,
    /// Nobody had decided when the guardian's time came.
    Deadline,
}

/// How far a rollback came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollbackStage {
    /// It began.
    RollingBack,
    /// The previous system runs and is as healthy as before.
    RolledBack,
    /// It does not, and policy says to stay; why, and which units are failed.
    Failed {
        /// What is wrong.
        why: String,
        /// The failed units.
        failed_units: BTreeSet<String>,
    },
    /// It does not, and the host is about to reboot; why.
    Rebooting {
        /// What is wrong.
        why: String,
    },
    /// Somebody else switched the host; their system was left alone.
    Overridden {
        /// What runs.
        running: Option<Toplevel>,
    },
}

impl RollbackStage {
    /// Whether nothing more is going to happen in this boot.
    pub fn is_final(&self) -> bool {
        match self {
            Self::RollingBack | Self::Rebooting { .. } => false,
            Self::RolledBack | Self::Failed { .. } | Self::Overridden { .. } => true,
        }
    }
}
