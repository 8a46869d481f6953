//! The calls themselves, over the system bus.
//!
//! In: what is asked. Out: what the daemon answered. Must not: set deadlines;
//! whoever calls does.

use jiff::Timestamp;
use zbus::{Connection, DBusError as _, fdo};

use super::{Call, CallError, Done, Look, Order};
use crate::model::deployment::DeploymentId;

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
    fn push(&self, source: &str, configuration: &str, options: &[String]) -> zbus::Result<u64>;
    fn pause(&self, seconds: u64, reason: &str) -> zbus::Result<i64>;
    fn resume(&self) -> zbus::Result<u64>;
    fn confirm(&self, deployment: &str) -> zbus::Result<String>;
    fn reject(&self, deployment: &str, reason: &str) -> zbus::Result<String>;
}

pub(super) async fn call(call: &Call) -> Result<Look, CallError> {
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
        Call::Push { push } => {
            let (source, configuration) = (push.source.as_str(), push.configuration.as_str());
            control.push(source, configuration, &push.options()).await
        }
    };
    let look = number.map(|number| Look {
        number,
        begins_in: 0,
    });
    look.map_err(refused)
}

pub(super) async fn give(order: &Order) -> Result<Done, CallError> {
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
    let no_bus = |error: zbus::Error| CallError::NoBus(Box::new(error));
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
