//! The command line's side of the bus.
//!
//! In: what is asked. Out: the daemon's answer, or why there is none. Must not: wait longer than [`PATIENCE`] for anything.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use zbus::{Connection, DBusError as _, fdo};

use super::NAME;
use crate::model::deployment::DeploymentId;
use crate::model::policy::Guard;
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
    NoBus(#[source] Box<zbus::Error>),
    /// No answer in time.
    #[error("no answer from the daemon within {} seconds", PATIENCE.as_secs())]
    Silent,
    /// The daemon heard it, and does not do it now.
    #[error("{0}")]
    Declined(String),
    /// Everything else.
    #[error("call the daemon")]
    Failed(#[source] Box<fdo::Error>),
}

#[zbus::proxy(
    interface = "org.deploy_flake.Daemon1",
    default_service = "org.deploy_flake.Daemon1",
    default_path = "/org/deploy_flake/Daemon1"
)]
trait Control {
    fn trigger(&self) -> zbus::Result<(u64, u64)>;
    fn retry(&self) -> zbus::Result<u64>;
    fn retry_allowing(&self, allowed: &[&str]) -> zbus::Result<u64>;
    fn allow(&self, commit: &str) -> zbus::Result<u64>;
    fn rollback(&self, deployment: &str) -> zbus::Result<u64>;
    fn pause(&self, seconds: u64, reason: &str) -> zbus::Result<i64>;
    fn resume(&self) -> zbus::Result<u64>;
    fn confirm(&self, deployment: &str) -> zbus::Result<String>;
    fn reject(&self, deployment: &str, reason: &str) -> zbus::Result<String>;
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
    tokio::time::timeout(PATIENCE, on_bus(call))
        .await
        .unwrap_or(Err(CallError::Silent))
}

async fn on_bus(call: &Call) -> Result<Look, CallError> {
    let control = control().await?;
    let number = match call {
        Call::Trigger => {
            let owed = control.trigger().await;
            let look = owed.map(|(number, begins_in)| Look { number, begins_in });
            return look.map_err(refused);
        }
        Call::Retry { allowed } if allowed.is_empty() => control.retry().await,
        Call::Retry { allowed } => {
            let names: Vec<_> = allowed.iter().map(|guard| guard.name()).collect();
            control.retry_allowing(&names).await
        }
        Call::Allow { commit } => control.allow(commit.as_str()).await,
        Call::Rollback { deployment } => control.rollback(named(deployment)).await,
    };
    let look = number.map(|number| Look {
        number,
        begins_in: 0,
    });
    look.map_err(refused)
}

/// Has the daemon do something.
pub async fn give(order: &Order) -> Result<Done, CallError> {
    tokio::time::timeout(PATIENCE, given(order))
        .await
        .unwrap_or(Err(CallError::Silent))
}

async fn given(order: &Order) -> Result<Done, CallError> {
    let control = control().await?;
    let done = match order {
        Order::Pause { length, reason } => {
            let seconds = length.map_or(0, |length| length.as_secs());
            let until = control.pause(seconds, reason).await;
            until.map(|until| Done::Paused {
                until: (until != 0)
                    .then(|| Timestamp::from_second(until).ok())
                    .flatten(),
            })
        }
        Order::Resume => control.resume().await.map(|look| Done::Resumed { look }),
        Order::Confirm { deployment } => {
            let id = control.confirm(named(deployment)).await;
            id.map(|id| Done::Confirmed(DeploymentId(id)))
        }
        Order::Reject { deployment, reason } => {
            let id = control.reject(named(deployment), reason).await;
            id.map(|id| Done::Rejected(DeploymentId(id)))
        }
    };
    done.map_err(refused)
}

/// As the bus has it: empty, where none is named.
fn named(deployment: &Option<DeploymentId>) -> &str {
    deployment.as_ref().map_or("", |id| &id.0)
}

async fn control() -> Result<ControlProxy<'static>, CallError> {
    let no_bus = |error| CallError::NoBus(Box::new(error));
    let connection = Connection::system().await.map_err(no_bus)?;
    ControlProxy::new(&connection).await.map_err(no_bus)
}

/// Sorts what a call can end with by what there is to do.
fn refused(error: zbus::Error) -> CallError {
    let error = fdo::Error::from(error);
    match error.name().as_str() {
        "org.freedesktop.DBus.Error.ServiceUnknown"
        | "org.freedesktop.DBus.Error.NameHasNoOwner" => CallError::NotRunning,
        // The daemon's connection went while it was answering.
        "org.freedesktop.DBus.Error.NoReply" | "org.freedesktop.DBus.Error.Disconnected" => {
            CallError::NotRunning
        }
        "org.freedesktop.DBus.Error.AccessDenied" => {
            CallError::Denied(error.description().unwrap_or("no reason given").to_owned())
        }
        "org.freedesktop.DBus.Error.Failed" => {
            CallError::Declined(error.description().unwrap_or("no reason given").to_owned())
        }
        _ => CallError::Failed(Box::new(error)),
    }
}
