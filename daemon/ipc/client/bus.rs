//! The calls themselves, over the system bus.
//!
//! In: what is asked. Out: what the daemon answered. Must not: set deadlines;
//! whoever calls does.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use zbus::{Connection, DBusError as _, fdo};

use super::{Call, CallError, Done, Look, Order};
use crate::ipc::NAME;
use crate::model::deployment::DeploymentId;
use crate::model::text::one_line;

/// How long either question may take that is asked for a better sentence: whoever was refused is told so, also where
/// the daemon hangs.
const ASIDE: Duration = Duration::from_secs(1);

/// How long a version may be, in characters.
const VERSION_LIMIT: usize = 40;

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

    // Asked once, by whom a call failed: nothing of it is worth being kept.
    #[zbus(property(emits_changed_signal = "false"))]
    fn version(&self) -> zbus::Result<String>;
}

impl Call {
    /// The method that it is on the bus.
    fn method(&self) -> &'static str {
        match self {
            Self::Trigger => "Trigger",
            Self::Retry { allowed } if allowed.is_empty() => "Retry",
            Self::Retry { .. } => "RetryAllowing",
            Self::Allow { .. } => "Allow",
            Self::Rollback { .. } => "Rollback",
            Self::Push { .. } => "Push",
        }
    }
}

impl Order {
    /// The method that it is on the bus.
    fn method(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "Pause",
            Self::Resume => "Resume",
            Self::Confirm { .. } => "Confirm",
            Self::Reject { .. } => "Reject",
        }
    }
}

pub(super) async fn call(call: &Call) -> Result<Look, CallError> {
    let control = control().await?;
    let number = match call {
        Call::Trigger => {
            let owed = control.trigger().await;
            let look = owed.map(|(number, begins_in)| Look { number, begins_in });
            return match look {
                Ok(look) => Ok(look),
                Err(error) => Err(sorted(error, call.method(), &control).await),
            };
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
    match number {
        Ok(number) => Ok(Look {
            number,
            begins_in: 0,
        }),
        Err(error) => Err(sorted(error, call.method(), &control).await),
    }
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
    match done {
        Ok(done) => Ok(done),
        Err(error) => Err(sorted(error, order.method(), &control).await),
    }
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

/// Sorts what a call ended with; where the daemon may be too old for it, asks
/// what it knows. The bus, too, turns a call away that its policy, which came with
/// that daemon, does not name: and not with a word about versions.
async fn sorted(error: zbus::Error, method: &'static str, control: &ControlProxy<'_>) -> CallError {
    let error = refused(error);
    let may_be_old = match &error {
        CallError::Denied(_) | CallError::Failed(_) => true,
        CallError::NotRunning
        | CallError::NoBus(_)
        | CallError::Silent
        | CallError::Declined(_)
        | CallError::Unknown { .. } => false,
    };
    if may_be_old
        && let Ok(Ok(known)) = timeout(ASIDE, control.inner().introspect()).await
        && lacks(&known, method)
    {
        let daemon = timeout(ASIDE, control.version()).await.ok();
        let daemon = daemon.and_then(Result::ok);
        let daemon = daemon.unwrap_or_else(|| "of a version that it does not tell".to_owned());
        let daemon = one_line(&daemon, VERSION_LIMIT);
        return CallError::Unknown { method, daemon };
    }
    error
}

/// Whether an object that has our interface has it without this method.
fn lacks(introspection: &str, method: &str) -> bool {
    let interface = format!("<interface name=\"{NAME}\">");
    let ours = introspection.split_once(&interface);
    let ours = ours.and_then(|(_, rest)| rest.split_once("</interface>"));
    ours.is_some_and(|(ours, _)| !ours.contains(&format!("<method name=\"{method}\"")))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ipc::rights;
    use crate::model::policy::Guard;
    use crate::model::push::Push;
    use crate::model::revision::CommitId;

    #[test]
    fn a_method_is_missed_only_where_the_interface_is_known() {
        let of = |interface: &str, methods: &str| {
            format!(
                "<node><interface name=\"org.freedesktop.DBus.Peer\"><method name=\"Ping\"/>\
                 </interface><interface name=\"{interface}\">{methods}</interface></node>"
            )
        };
        let older = of(NAME, "<method name=\"Trigger\"></method>");
        assert!(!lacks(&older, "Trigger"));
        assert!(lacks(&older, "Trigge"));
        assert!(lacks(&older, "Pause") && lacks(&older, "Ping"));
        for other in ["", "<node/>", &of("org.example.Other", "")] {
            assert!(!lacks(other, "Pause"), "{other}");
        }
    }

    #[test]
    fn every_method_that_is_called_is_one_of_the_table() {
        let commit = CommitId::try_from("0".repeat(40)).expect("it is one");
        let source = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-source";
        let push = Push::parse(source.to_owned(), "host".to_owned(), &[]).expect("it is one");
        let none = || None;
        let calls = [
            Call::Trigger,
            Call::Retry {
                allowed: BTreeSet::new(),
            },
            Call::Retry {
                allowed: [Guard::Daemon].into(),
            },
            Call::Allow { commit },
            Call::Rollback { deployment: none() },
            Call::Push {
                push: Box::new(push),
            },
        ];
        let orders = [
            Order::Pause {
                length: None,
                reason: String::new(),
            },
            Order::Resume,
            Order::Confirm { deployment: none() },
            Order::Reject {
                deployment: none(),
                reason: String::new(),
            },
        ];
        let names = calls.iter().map(Call::method);
        for name in names.chain(orders.iter().map(Order::method)) {
            assert!(rights::right(name).is_some(), "{name}");
        }
    }
}
