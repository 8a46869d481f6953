//! What the snapshot says of the deployment that ended last.
//!
//! In: the ledger's word for it. Out: plain data for everybody. Must not: word it
//! for people; `report` does.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Pushed;
use crate::model::deployment::{DeploymentId, Finished, Outcome};
use crate::model::failure::{Failure, FailureClass, FailureCode};
use crate::model::revision::{Branch, Candidate, CommitId};

/// The last deployment that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Its id.
    pub deployment: DeploymentId,
    /// Its commit.
    pub commit: CommitId,
    /// Its branch, if that is not the host's own. Unknown to schema 2.
    #[serde(default)]
    pub testing: Option<Branch>,
    /// The deployment whose system was gone back to, if it was a rollback that
    /// root asked for. Unknown to schema 2.
    #[serde(default)]
    pub earlier: Option<DeploymentId>,
    /// What was pushed, if it was a push: then the commit is the one in whose
    /// place it came. Unknown to schema 2.
    #[serde(default)]
    pub pushed: Option<Pushed>,
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
            testing: finished.deployment.candidate.testing().cloned(),
            earlier: earlier(&finished.deployment.candidate).cloned(),
            pushed: finished.deployment.candidate.push().map(Pushed::from),
            outcome: OutcomeName::from(&finished.outcome),
            failure: finished.outcome.failure().map(LastFailure::from),
            finished_at: finished.finished.wall,
        }
    }
}

fn earlier(candidate: &Candidate) -> Option<&DeploymentId> {
    match candidate {
        Candidate::Earlier { deployment, .. } => Some(deployment),
        Candidate::Commit(_) | Candidate::Testing { .. } | Candidate::Pushed { .. } => None,
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
