//! Whether the daemon is to be found on the bus.
//!
//! In: nothing. Out: whether somebody owns its name. Must not: call the daemon,
//! or wait longer than a call does.

use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;

use super::NAME;
use super::client::{CallError, PATIENCE};

/// Asks the bus who owns the daemon's name.
///
/// # Errors
/// There is no bus to be had, or it does not answer.
pub async fn is_present() -> Result<bool, CallError> {
    tokio::time::timeout(PATIENCE, ask())
        .await
        .unwrap_or(Err(CallError::Silent))
}

async fn ask() -> Result<bool, CallError> {
    let no_bus = |error: zbus::Error| CallError::NoBus(Box::new(error));
    let connection = Connection::system().await.map_err(no_bus)?;
    let bus = DBusProxy::new(&connection).await.map_err(no_bus)?;
    let name = BusName::try_from(NAME).map_err(no_bus)?;
    bus.name_has_owner(name)
        .await
        .map_err(|error| no_bus(error.into()))
}
