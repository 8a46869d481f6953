//! The command line's side of the bus.
//!
//! In: what is asked. Out: the daemon's answer, or why there is none. Must not: wait longer than [`PATIENCE`] for anything.

#[cfg(target_os = "linux")]
mod bus;
#[cfg(not(target_os = "linux"))]
mod no_bus;

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;

#[cfg(not(target_os = "linux"))]
use self::no_bus as bus;
use super::NAME;
use crate::model::deployment::DeploymentId;
use crate::model::policy::Guard;
use crate::model::push::Push;
use crate::model::revision::CommitId;

/// How long the bus and the daemon have to answer. The daemon's loop answers
/// at once, whatever is going on.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// To look at the remote now.
    Trigger,
    /// To try what the branch asks for once more, whatever became of it.
    Retry {
        /// What its system may lack.
        allowed: BTreeSet<Guard>,
    },
    /// To follow this commit once, whatever was confirmed before.
    Allow {
        /// Which.
        commit: CommitId,
    },
    /// To go back to an earlier system.
    Rollback {
        /// Which deployment's; None: the one before this one.
        deployment: Option<DeploymentId>,
    },
    /// To deploy a snapshot of a flake that lies in the host's store.
    Push {
        /// Which, and what is to become of it.
        push: Box<Push>,
    },
}

/// What is said to the daemon that it does at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// To begin nothing new.
    Pause {
        /// For how long; None: until somebody says otherwise.
        length: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// To go on.
    Resume,
    /// To wait for nothing more than the health of a system in its confirm
    /// window.
    Confirm {
        /// Which deployment's; None: whichever is in its window.
        deployment: Option<DeploymentId>,
    },
    /// To lead back from it.
    Reject {
        /// Which deployment's; None: whichever is in its window.
        deployment: Option<DeploymentId>,
        /// Why.
        reason: String,
    },
}

/// What the daemon did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It begins nothing new.
    Paused {
        /// When that ends by itself, if it does.
        until: Option<Timestamp>,
    },
    /// It goes on.
    Resumed {
        /// The number of the look that follows.
        look: u64,
    },
    /// It waits for nothing more than the health of that deployment's system.
    Confirmed(DeploymentId),
    /// It leads back from that deployment's system.
    Rejected(DeploymentId),
}

/// Why a call did not get through.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody owns the name.
    #[error("nobody answers to {NAME} on the bus")]
    NotRunning,
    /// The bus or the daemon turned us away.
    #[error("not allowed to call the daemon: {0}")]
    Denied(String),
    /// There is no bus to be had.
    #[error("reach the system bus")]
    NoBus(#[source] Box<dyn Error + Send + Sync>),
    /// No answer in time.
    #[error("no answer from the daemon within {} seconds", PATIENCE.as_secs())]
    Silent,
    /// The daemon heard it, and does not do it now.
    #[error("{0}")]
    Declined(String),
    /// The daemon is older than this command, and has no such method.
    #[error(
        "the daemon, which is deploy-flake {daemon}, does not know the method {method} that this \
         command, which is {}, needs",
        env!("CARGO_PKG_VERSION")
    )]
    Unknown {
        /// The method.
        method: &'static str,
        /// The daemon's version, safe to show.
        daemon: String,
    },
    /// Everything else.
    #[error("call the daemon")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

/// The look that will answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Its number.
    pub number: u64,
    /// In how many seconds it begins: somebody asked only just now.
    pub begins_in: u64,
}

/// Calls the daemon; returns the look that will answer.
pub async fn call(call: &Call) -> Result<Look, CallError> {
    tokio::time::timeout(PATIENCE, bus::call(call))
        .await
        .unwrap_or(Err(CallError::Silent))
}

/// Has the daemon do something.
pub async fn give(order: &Order) -> Result<Done, CallError> {
    tokio::time::timeout(PATIENCE, bus::give(order))
        .await
        .unwrap_or(Err(CallError::Silent))
}
