//! Talking to systemd: start, watch, stop, ask.
//!
//! In: units and names. Out: what systemd says of them now. Must not: act on
//! a signal's content. Watching is subscribe, read, and read again after every
//! signal and every so often: a lost signal costs time, never the result.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant};

use super::proxies::{ListedUnit, ManagerProxy, UnitPropertiesProxy};
use super::state::{SystemState, UnitStatus};
use super::timer::{self, TimerStatus, TransientTimer};
use super::transient::TransientUnit;

/// How long systemd may take to answer one call. It is deaf while it reloads.
const CALL_DEADLINE: Duration = Duration::from_secs(25);

/// How often a state is read again although no signal came.
const REREAD_INTERVAL: Duration = Duration::from_secs(5);

/// How long `switch-to-configuration` waits for systemd to re-execute itself,
/// and again to reload.
#[cfg(test)]
const SWITCH_PATIENCE: Duration = Duration::from_secs(180);

/// How long reading may fail in a row while systemd re-executes itself and
/// reloads a large configuration: longer than a switch waits for either, or we
/// would give up a step that goes on.
const PATIENCE: Duration = Duration::from_secs(420);

/// How long stopping and unloading a unit may take: its own ten seconds, and
/// time for a slow machine.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether a stopped unit is unloaded: systemd does
/// that by itself in the next turn of its loop.
const UNLOAD_INTERVAL: Duration = Duration::from_millis(50);

/// The values of `Restart=` by which a service is started again also after it
/// ended well (systemd.service(5)).
const AFTER_SUCCESS: [&str; 2] = ["always", "on-success"];

/// Units whose names begin so are ours, if they are transient.
const OWN_PREFIX: &str = "deploy-flake-";

/// Where systemd keeps the files of transient units.
const TRANSIENT: &str = "/run/systemd/transient/";

/// A connection to systemd over the system bus; clones share it.
#[derive(Clone, Debug)]
pub struct Systemd {
    connection: Connection,
    manager: ManagerProxy<'static>,
}

/// What went wrong between us and systemd.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// There is no system bus, or systemd is not on it.
    #[error("cannot connect to systemd over the system bus")]
    Connect(#[source] zbus::Error),
    /// systemd refused, or did not answer.
    #[error("systemd did not {operation}")]
    Call {
        /// What it was asked, as "start unit x".
        operation: String,
        /// What it, or the bus, answered.
        source: zbus::Error,
    },
    /// The unit is still loaded after all patience.
    #[error("unit {unit} is still there {} s after it was asked to stop", STOP_PATIENCE.as_secs())]
    Lingers {
        /// Its name.
        unit: String,
    },
}

impl Systemd {
    /// Connects to the system bus and asks systemd to send signals.
    pub async fn connect() -> Result<Self, SystemdError> {
        Self::open().await.map_err(SystemdError::Connect)
    }

    async fn open() -> zbus::Result<Self> {
        let connection = zbus::connection::Builder::system()
            .method_timeout(CALL_DEADLINE)
            .build()
            .await?;
        let manager = ManagerProxy::builder(&connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        // Without a subscriber systemd sends no signals about units.
        manager.subscribe().await?;
        Ok(Self {
            connection,
            manager,
        })
    }

    /// The connection, for what else is on the bus.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Resolves when the connection to the bus is lost.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }

    /// The state of the whole system.
    pub async fn system_state(&self) -> Result<SystemState, SystemdError> {
        let word = self.manager.system_state().await;
        let word = word.map_err(call("tell the system's state"))?;
        Ok(SystemState::parse(&word))
    }

    /// The names of the failed units, without our own transient ones.
    pub async fn failed_units(&self) -> Result<BTreeSet<String>, SystemdError> {
        self.names("failed", |_any| true).await
    }

    /// The names of the units that wait to be restarted after a failure,
    /// without our own transient ones.
    pub async fn restarting_units(&self) -> Result<BTreeSet<String>, SystemdError> {
        // Since systemd 254 there is `auto-restart-queued`, too.
        self.names("activating", |unit| unit.4.starts_with("auto-restart"))
            .await
    }

    /// How often each running service was restarted by systemd itself since
    /// somebody last started it.
    pub async fn restart_counts(&self) -> Result<BTreeMap<String, u32>, SystemdError> {
        let listed = self.manager.list_units_filtered(&["active"]).await;
        let listed = listed.map_err(call("list the active units"))?;
        let mut counts = BTreeMap::new();
        for unit in listed {
            if unit.0.ends_with(".service") && unit.4 == "running" {
                // One that ended meanwhile has no count.
                if let Some(count) = self.restarts(&unit).await? {
                    counts.insert(unit.0, count);
                }
            }
        }
        Ok(counts)
    }

    /// Whether systemd starts a service again after it ended well, too: then a
    /// restart need not be a failure. One that is gone is none.
    pub async fn restarts_after_success(&self, name: &str) -> Result<bool, SystemdError> {
        let properties = self.read_properties(name).await;
        let properties = properties.map_err(call(format!("describe unit {name}")))?;
        let policy = properties.as_ref().and_then(|all| all.get("Restart"));
        let policy = policy.and_then(|policy| <&str>::try_from(policy).ok());
        Ok(policy.is_some_and(|policy| AFTER_SUCCESS.contains(&policy)))
    }

    /// The names of the active units, all read in one call. One that is being
    /// reloaded is active, too.
    pub async fn active_units(&self) -> Result<BTreeSet<String>, SystemdError> {
        let listed = self.list_active().await?;
        Ok(listed.into_iter().map(|unit| unit.0).collect())
    }

    /// The names of the active units that were started from a file: neither
    /// transient ones nor what systemd only found, such as a mount by hand.
    pub async fn active_units_with_file(&self) -> Result<BTreeSet<String>, SystemdError> {
        let mut names = BTreeSet::new();
        for unit in self.list_active().await? {
            if self.has_file(&unit).await? {
                names.insert(unit.0);
            }
        }
        Ok(names)
    }

    async fn list_active(&self) -> Result<Vec<ListedUnit>, SystemdError> {
        let states = ["active", "reloading"];
        let listed = self.manager.list_units_filtered(&states).await;
        listed.map_err(call("list the active units"))
    }

    async fn has_file(&self, unit: &ListedUnit) -> Result<bool, SystemdError> {
        const INTERFACE: &str = "org.freedesktop.systemd1.Unit";
        match self.read_property(unit, INTERFACE, "FragmentPath").await {
            Ok(path) => Ok(<&str>::try_from(&path)
                .is_ok_and(|path| !path.is_empty() && !path.starts_with(TRANSIENT))),
            // One that ended meanwhile is not active any more.
            Err(error) if is_no_such_unit(&error) => Ok(false),
            Err(error) => Err(call(format!("describe unit {}", unit.0))(error)),
        }
    }

    async fn restarts(&self, unit: &ListedUnit) -> Result<Option<u32>, SystemdError> {
        const INTERFACE: &str = "org.freedesktop.systemd1.Service";
        match self.read_property(unit, INTERFACE, "NRestarts").await {
            Ok(count) => Ok(u32::try_from(count).ok()),
            Err(error) if is_no_such_unit(&error) => Ok(None),
            Err(error) => Err(call(format!("describe unit {}", unit.0))(error)),
        }
    }

    async fn read_property(
        &self,
        unit: &ListedUnit,
        interface: &str,
        property: &str,
    ) -> zbus::Result<zbus::OwnedVariant> {
        let properties = UnitPropertiesProxy::builder(&self.connection)
            .path(&unit.6)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        properties.get(interface, property).await
    }

    async fn names(
        &self,
        state: &str,
        wanted: impl Fn(&ListedUnit) -> bool,
    ) -> Result<BTreeSet<String>, SystemdError> {
        let listed = self.manager.list_units_filtered(&[state]).await;
        let listed = listed.map_err(call(format!("list the {state} units")))?;
        let mut names = BTreeSet::new();
        for unit in listed.into_iter().filter(|unit| wanted(unit)) {
            if !self.is_own(&unit.0).await? {
                names.insert(unit.0);
            }
        }
        Ok(names)
    }

    async fn is_own(&self, name: &str) -> Result<bool, SystemdError> {
        if !name.starts_with(OWN_PREFIX) {
            return Ok(false);
        }
        let status = self.unit(name).await?;
        // One that is gone meanwhile is no verdict either.
        Ok(status.is_none_or(|status| status.is_transient))
    }

    /// What systemd knows of a unit; None when it is not loaded.
    pub async fn unit(&self, name: &str) -> Result<Option<UnitStatus>, SystemdError> {
        self.read_unit(name)
            .await
            .map_err(call(format!("describe unit {name}")))
    }

    async fn read_unit(&self, name: &str) -> zbus::Result<Option<UnitStatus>> {
        let properties = self.read_properties(name).await?;
        Ok(properties.and_then(|found| UnitStatus::from_properties(&found)))
    }

    async fn read_properties(
        &self,
        name: &str,
    ) -> zbus::Result<Option<HashMap<String, OwnedVariant>>> {
        let path = match self.manager.get_unit(name).await {
            Ok(path) => path,
            Err(error) if is_no_such_unit(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let unit = UnitPropertiesProxy::builder(&self.connection)
            .path(path)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        // One call for all properties: they belong to one instant.
        match unit.get_all("").await {
            Ok(properties) => Ok(Some(properties)),
            Err(error) if is_no_such_unit(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What systemd knows of a timer; None when it is not loaded.
    pub async fn timer(&self, name: &str) -> Result<Option<TimerStatus>, SystemdError> {
        let properties = self.read_properties(name).await;
        let properties = properties.map_err(call(format!("describe unit {name}")))?;
        Ok(properties.and_then(|found| TimerStatus::from_properties(&found)))
    }

    /// The argument vectors that a service starts with; None when it is not
    /// loaded.
    pub async fn commands(&self, name: &str) -> Result<Option<Vec<Vec<String>>>, SystemdError> {
        let properties = self.read_properties(name).await;
        let properties = properties.map_err(call(format!("describe unit {name}")))?;
        Ok(properties.and_then(|found| timer::commands(&found)))
    }

    /// Starts a timer with the service that it is for: neither has a file. The
    /// service is loaded as long as the timer is.
    pub async fn start_timer(
        &self,
        timer: &TransientTimer,
        service: &TransientUnit,
    ) -> Result<(), SystemdError> {
        let properties = timer.properties();
        let auxiliary = [(service.name.as_str(), service.properties())];
        self.manager
            .start_transient_unit(&timer.name, "fail", &properties, &auxiliary)
            .await
            .map_err(call(format!("start unit {}", timer.name)))?;
        Ok(())
    }

    /// Starts a unit that is loaded, and returns as soon as systemd has taken
    /// it.
    pub async fn start(&self, name: &str) -> Result<(), SystemdError> {
        let started = self.manager.start_unit(name, "replace").await;
        started
            .map(drop)
            .map_err(call(format!("start unit {name}")))
    }

    /// Starts a transient unit, and returns as soon as systemd has taken it.
    /// One of the same name that failed is forgotten first; one that is still
    /// active makes this fail.
    pub async fn start_transient(&self, unit: &TransientUnit) -> Result<(), SystemdError> {
        let old = self.unit(&unit.name).await?;
        if old.is_some_and(|old| old.has_ended()) {
            self.stop_and_reset(&unit.name).await?;
        }
        let properties = unit.properties();
        self.manager
            .start_transient_unit(&unit.name, "fail", &properties, &[])
            .await
            .map_err(call(format!("start unit {}", unit.name)))?;
        Ok(())
    }

    /// Waits until the unit neither runs nor is about to, and returns what
    /// became of it; None when it is not loaded (any more).
    ///
    /// Cancel-safe: nothing is lost when the future is dropped.
    pub async fn wait_ended(&self, name: &str) -> Result<Option<UnitStatus>, SystemdError> {
        let watching = call(format!("send signals about unit {name}"));
        // Before the first reading: what happens after it, wakes us.
        let mut changes = self.changes(name).await.map_err(watching)?;
        let mut failing_until: Option<Instant> = None;
        loop {
            match self.unit(name).await {
                Ok(Some(status)) if !status.has_ended() => failing_until = None,
                Ok(ended_or_gone) => return Ok(ended_or_gone),
                Err(error) => self.bear(error, &mut failing_until).await?,
            }
            // Elapsed or not, the state is read again.
            let _ = timeout(REREAD_INTERVAL, changes.next()).await;
        }
    }

    /// Lets an error pass while systemd may only be re-executing itself.
    async fn bear(
        &self,
        error: SystemdError,
        failing_until: &mut Option<Instant>,
    ) -> Result<(), SystemdError> {
        // Not the clock that decisions use: only our own waiting is measured.
        let now = deadline_after(Duration::ZERO);
        let until = *failing_until.get_or_insert_with(|| deadline_after(PATIENCE));
        let is_closed = timeout(Duration::ZERO, self.closed()).await.is_ok();
        if is_closed || now >= until {
            return Err(error);
        }
        sleep(UNLOAD_INTERVAL).await;
        Ok(())
    }

    /// A stream that yields whenever a property of the unit changes.
    async fn changes(&self, name: &str) -> zbus::Result<MessageStream> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender("org.freedesktop.systemd1")
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path(object_path(name))
            .build()?;
        MessageStream::for_match_rule(rule, &self.connection, None).await
    }

    /// Asks for a restart of a unit, and does not wait for it.
    pub async fn restart(&self, name: &str) -> Result<(), SystemdError> {
        let asked = self.manager.restart_unit(name, "replace").await;
        asked
            .map(drop)
            .map_err(call(format!("restart unit {name}")))
    }

    /// Stops a unit, waits for its end, and makes systemd forget it. Does
    /// nothing when there is none.
    pub async fn stop_and_reset(&self, name: &str) -> Result<(), SystemdError> {
        let deadline = deadline_after(STOP_PATIENCE);
        let gone = timeout_at(deadline, self.stop_until_unloaded(name)).await;
        gone.unwrap_or_else(|_elapsed| {
            Err(SystemdError::Lingers {
                unit: name.to_owned(),
            })
        })
    }

    async fn stop_until_unloaded(&self, name: &str) -> Result<(), SystemdError> {
        let stopped = self.manager.stop_unit(name, "replace").await;
        unless_gone(stopped.map(drop)).map_err(call(format!("stop unit {name}")))?;
        self.wait_ended(name).await?;
        // Until it is unloaded, another one cannot take its name.
        loop {
            let reset = self.manager.reset_failed_unit(name).await;
            unless_gone(reset).map_err(call(format!("forget unit {name}")))?;
            if self.unit(name).await?.is_none() {
                return Ok(());
            }
            sleep(UNLOAD_INTERVAL).await;
        }
    }
}

/// The path of a unit's object, whether or not it is loaded: every byte but
/// letters and digits becomes `_` and its two hexadecimal digits (`sd_bus_path_encode`).
fn object_path(name: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The only reading of tokio's clock: for patience, never for decisions.
fn deadline_after(patience: Duration) -> Instant {
    Instant::now() + patience
}

pub(super) fn call(operation: impl Into<String>) -> impl FnOnce(zbus::Error) -> SystemdError {
    let operation = operation.into();
    |source| SystemdError::Call { operation, source }
}

fn unless_gone(result: zbus::Result<()>) -> zbus::Result<()> {
    match result {
        Err(error) if is_no_such_unit(&error) => Ok(()),
        other => other,
    }
}

fn is_no_such_unit(error: &zbus::Error) -> bool {
    error_name(error) == Some("org.freedesktop.systemd1.NoSuchUnit")
}

fn error_name(error: &zbus::Error) -> Option<&str> {
    if let zbus::Error::MethodError(name, _text, _message) = error {
        Some(name.as_str())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_may_be_deaf_for_as_long_as_a_switch_lets_it() {
        assert!(PATIENCE > 2 * SWITCH_PATIENCE);
    }

    #[test]
    fn object_paths_are_escaped_as_systemd_does() {
        for (name, path) in [
            (
                "deploy-flake-test.service",
                "deploy_2dflake_2dtest_2eservice",
            ),
            ("1a.service", "_31a_2eservice"),
        ] {
            assert_eq!(
                object_path(name),
                format!("/org/freedesktop/systemd1/unit/{path}")
            );
        }
    }
}
