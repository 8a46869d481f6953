//! The connection to systemd: what may go wrong with it, and starting units.
//!
//! In: units to start. Out: that systemd has taken them. Must not: wait for
//! what becomes of them.

use std::time::Duration;

use zbus::Connection;

use super::proxies::ManagerProxy;
use super::timer::TransientTimer;
use super::transient::TransientUnit;

/// How long systemd may take to answer one call. It is deaf while it reloads.
const CALL_DEADLINE: Duration = Duration::from_secs(25);

/// A connection to systemd over the system bus; clones share it.
#[derive(Clone, Debug)]
pub struct Systemd {
    pub(super) connection: Connection,
    pub(super) manager: ManagerProxy<'static>,
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
    #[error("unit {unit} is still there {} s after it was asked to stop", after.as_secs())]
    Lingers {
        /// Its name.
        unit: String,
        /// How long it was waited for.
        after: Duration,
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

    /// Asks for a restart of a unit, and does not wait for it.
    pub async fn restart(&self, name: &str) -> Result<(), SystemdError> {
        let asked = self.manager.restart_unit(name, "replace").await;
        asked
            .map(drop)
            .map_err(call(format!("restart unit {name}")))
    }
}

pub(super) fn call(operation: impl Into<String>) -> impl FnOnce(zbus::Error) -> SystemdError {
    let operation = operation.into();
    |source| SystemdError::Call { operation, source }
}

pub(super) fn unless_not_loaded<T>(result: zbus::Result<T>) -> zbus::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_no_such_unit(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn is_no_such_unit(error: &zbus::Error) -> bool {
    error_name(error) == Some("org.freedesktop.systemd1.NoSuchUnit")
}

fn error_name(error: &zbus::Error) -> Option<&str> {
    if let zbus::Error::MethodError(name, _text, _message) = error {
        Some(name.as_str())
    } else {
        None
    }
}
