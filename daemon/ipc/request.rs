//! What callers ask of the daemon's loop, once they were found to have the
//! right.
//!
//! In: nothing. Out: the vocabulary between bus and loop. Must not: hold logic.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::model::deployment::DeploymentId;
use crate::model::pause::UserId;
use crate::model::policy::Guard;
use crate::model::push::Push;
use crate::model::revision::CommitId;

/// Takes the answer.
pub type Reply<T> = oneshot::Sender<Result<T, Declined>>;

/// The look that will answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its number.
    pub look: u64,
    /// In how long it begins at the latest, if nothing goes on.
    pub begins_in: Duration,
}

/// Why something is not done now: one sentence without its period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined(pub String);

/// What a caller asks for.
#[derive(Debug)]
pub enum Request {
    /// Look at the remote now.
    Trigger {
        /// Takes the look that will answer.
        reply: Reply<Owed>,
    },
    /// Try what the branch asks for once more, whatever became of it.
    Retry {
        /// What its system may lack.
        allowed: BTreeSet<Guard>,
        /// Takes the number of the look that will answer.
        reply: Reply<u64>,
    },
    /// Follow this commit once, whatever was confirmed before.
    Allow {
        /// Which.
        commit: CommitId,
        /// Takes the number of the look that will answer.
        reply: Reply<u64>,
    },
    /// Begin nothing new.
    Pause {
        /// Who says so.
        by: UserId,
        /// Why, in their words.
        reason: String,
        /// For how long; None: until somebody says otherwise.
        length: Option<Duration>,
        /// Takes when it ends by itself, if it does.
        reply: Reply<Option<Timestamp>>,
    },
    /// Wait for nothing more than the health of a system in its confirm window.
    Confirm {
        /// Who says so.
        by: UserId,
        /// Which deployment's; None: whichever is in its window.
        deployment: Option<DeploymentId>,
        /// Takes which it was.
        reply: Reply<DeploymentId>,
    },
    /// Lead back from a system in its confirm window.
    Reject {
        /// Who says so.
        by: UserId,
        /// Which deployment's; None: whichever is in its window.
        deployment: Option<DeploymentId>,
        /// Why, in their words.
        reason: String,
        /// Takes which it was.
        reply: Reply<DeploymentId>,
    },
    /// Go back to an earlier system, and stay there.
    Rollback {
        /// Who says so.
        by: UserId,
        /// Which deployment's; None: the one before this one.
        deployment: Option<DeploymentId>,
        /// Takes the number of the look that will answer.
        reply: Reply<u64>,
    },
    /// Deploy a snapshot, and stay there.
    Push {
        /// Who says so.
        by: UserId,
        /// The snapshot, and what is to become of it.
        push: Box<Push>,
        /// Takes the number of the look that will answer.
        reply: Reply<u64>,
    },
    /// Go on.
    Resume {
        /// Who says so.
        by: UserId,
        /// Takes the number of the look that will answer.
        reply: Reply<u64>,
    },
}
