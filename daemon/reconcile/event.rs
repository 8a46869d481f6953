//! What happens to the state machine: looks, and ends of work.
//!
//! In: nothing. Out: the vocabulary of `step` and the executor. Must not: hold
//! logic.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::deployment::DeploymentId;
use crate::model::failure::Failure;
use crate::model::pause::UserId;
use crate::model::policy::Guard;
use crate::model::push::Push;
use crate::model::revision::CommitId;
use crate::model::rollback::Verdict;
use crate::model::stage::{
    Armed, BuildFailure, Claim, Confirmation, Inspection, RollbackEnd, TestFailure,
};
use crate::model::system::{Derivation, Observed, Toplevel};
use crate::model::testing::Testing;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody looked at remote and host.
    Looked(Look),
    /// Root lets a commit be followed once.
    Allowed(CommitId),
    /// An operator wants nothing new begun.
    Paused {
        /// Who.
        by: UserId,
        /// Why, in their words.
        reason: String,
        /// For how long; None: until they say otherwise.
        length: Option<Duration>,
    },
    /// An operator lets the host go on.
    Resumed,
    /// The time of a pause may have come.
    PauseEnded,
    /// Root wants something else than what the branch asks for.
    RootAsked(Asked),
    /// An operator says that a system in its confirm window is good.
    Confirmed(DeploymentId),
    /// An operator says that it is not.
    Rejected {
        /// Which deployment's.
        deployment: DeploymentId,
        /// Who says so.
        by: UserId,
        /// Why, in their words.
        reason: String,
    },
    /// An effect came to its end.
    Completed {
        /// The deployment that the effect was for.
        deployment: DeploymentId,
        /// How it ended.
        report: Report,
    },
}

/// What root wants, and how host and branch are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who says so.
    pub by: UserId,
    /// What.
    pub instead: Instead,
    /// The commit that the branch is, if anybody knows.
    pub head: Option<CommitId>,
    /// What the host is.
    pub observed: Observed,
}

/// What root wants instead of what the branch asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// The system of that deployment; None: of the one before this one.
    Earlier(Option<DeploymentId>),
    /// A snapshot of their own.
    Pushed(Box<Push>),
}

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The commit that the remote's branch is; `None` while nobody can say.
    pub head: Option<CommitId>,
    /// Whether the remote answered, and what it offers may not be followed.
    pub is_refused: bool,
    /// What the testing branch is; `None` where none is followed.
    pub testing: Option<Testing>,
    /// What the host is.
    pub observed: Observed,
    /// Who wants it.
    pub demand: Demand,
}

/// Who wants a look, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// It was its time.
    #[default]
    Time,
    /// An operator wants to know: a retry that waits is due at once.
    Look,
    /// An operator wants the same commit once more, whatever became of it.
    Retry {
        /// What its system may lack.
        allowed: BTreeSet<Guard>,
    },
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The commit is in the evaluation's repository, or not.
    Imported(Result<(), Failure>),
    /// The derivation, or why not.
    Evaluated(Result<Derivation, Failure>),
    /// The toplevel, or why not.
    Built(Result<Toplevel, BuildFailure>),
    /// The toplevel is rooted; what the host is to compare it with.
    Rooted(Result<Observed, Failure>),
    /// What the inspection found.
    Inspected(Result<Inspection, Failure>),
    /// The closure's verdict on itself; what the host is after it.
    Checked(Result<Observed, Failure>),
    /// What the host was when the way back was armed; or why it could not be.
    Armed(Result<Armed, Failure>),
    /// How `test` ended.
    Tested(Result<(), TestFailure>),
    /// The new system's daemon runs, or could not take over.
    Replaced(Result<(), Failure>),
    /// How the confirm window ended.
    Confirmed(Confirmation),
    /// Whose verdict stands, or why none could be written.
    Claimed(Result<Claim, Failure>),
    /// The profile is set, or not.
    ProfileSet(Result<(), Failure>),
    /// The boot loader is done, or failed.
    BootEntryWritten(Result<(), Failure>),
    /// What profile and default entry are now.
    ReadBack(Observed),
    /// Profile and entry are what they were, or not.
    Restored(Result<(), Failure>),
    /// Whose verdict stands; the guardian is disarmed if it is ours.
    Disarmed(Verdict),
    /// How the way back ended.
    RolledBack(RollbackEnd),
}

impl Report {
    /// Why the work did not succeed, where it did not.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Imported(result)
            | Self::ProfileSet(result)
            | Self::BootEntryWritten(result)
            | Self::Replaced(result)
            | Self::Restored(result) => result.as_ref().err(),
            Self::Evaluated(result) => result.as_ref().err(),
            Self::Built(Err(BuildFailure::Failed(failure))) => Some(failure),
            Self::Built(_) => None,
            Self::Rooted(result) | Self::Checked(result) => result.as_ref().err(),
            Self::Inspected(result) => result.as_ref().err(),
            Self::Armed(result) => result.as_ref().err(),
            Self::Tested(result) => result.as_ref().err().map(TestFailure::failure),
            Self::Confirmed(confirmation) => confirmation.failure(),
            Self::Claimed(result) => result.as_ref().err(),
            Self::RolledBack(
                RollbackEnd::Failed { failure, .. } | RollbackEnd::Pending(failure),
            ) => Some(failure),
            Self::ReadBack(_) | Self::Disarmed(_) | Self::RolledBack(_) => None,
        }
    }
}
