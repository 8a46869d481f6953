//! One unit, as systemd describes it now.
//!
//! In: a name. Out: what it is and does, or how its last run ended. Must not:
//! have systemd load what is not loaded, or ask for more than is wanted: a
//! service's accounts cost it far more than its state.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant};

use super::bus::{Systemd, SystemdError, call, unless_not_loaded};
use super::proxies::{EVERY_INTERFACE, SERVICE_INTERFACE, UNIT_INTERFACE, UnitPropertiesProxy};
use super::state::{ActiveState, Description, UnitState, UnitStatus};
use super::timer::{self, TimerStatus};

impl Systemd {
    /// What a unit is and does; None when it is not loaded.
    pub async fn unit(&self, name: &str) -> Result<Option<UnitState>, SystemdError> {
        self.read(name).await
    }

    /// What systemd knows of a service and its last run; None when it is not
    /// loaded.
    pub async fn status(&self, name: &str) -> Result<Option<UnitStatus>, SystemdError> {
        self.read(name).await
    }

    /// What systemd knows of a timer; None when it is not loaded.
    pub async fn timer(&self, name: &str) -> Result<Option<TimerStatus>, SystemdError> {
        self.read(name).await
    }

    pub(super) async fn read<T: Description>(&self, name: &str) -> Result<Option<T>, SystemdError> {
        let properties = self.read_properties(name, T::INTERFACE).await;
        let properties = properties.map_err(call(format!("describe unit {name}")))?;
        Ok(properties.and_then(|found| T::from_properties(&found)))
    }

    /// The properties of one interface of a unit, or of all: one call, so that
    /// they belong to one instant.
    async fn read_properties(
        &self,
        name: &str,
        interface: &str,
    ) -> zbus::Result<Option<HashMap<String, OwnedVariant>>> {
        let Some(path) = self.find(name).await? else {
            return Ok(None);
        };
        let read = self.properties(path).await?.get_all(interface).await;
        unless_not_loaded(read)
    }

    /// Whether a unit is on its way to another state. Asked for again and
    /// again, so it costs systemd as little as it can.
    pub(super) async fn is_changing(&self, name: &str) -> zbus::Result<bool> {
        let Some(path) = self.find(name).await? else {
            return Ok(false);
        };
        let properties = self.properties(path).await?;
        let read = properties.get(UNIT_INTERFACE, "ActiveState").await;
        let word = unless_not_loaded(read)?;
        let word = word.as_ref().and_then(|word| <&str>::try_from(word).ok());
        Ok(word.map(ActiveState::parse).is_some_and(|state| {
            matches!(state, ActiveState::Activating | ActiveState::Deactivating)
        }))
    }

    /// The object of a unit; None when it is not loaded. Asking an object that
    /// is not there would make systemd look for its unit on disk.
    pub(super) async fn find(&self, name: &str) -> zbus::Result<Option<OwnedObjectPath>> {
        unless_not_loaded(self.manager.get_unit(name).await)
    }

    pub(super) async fn properties(
        &self,
        path: OwnedObjectPath,
    ) -> zbus::Result<UnitPropertiesProxy<'_>> {
        UnitPropertiesProxy::builder(&self.connection)
            .path(path)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
    }

    /// What a service's processes told last of how far it is; None when it is not
    /// loaded, or nothing was told.
    pub async fn status_text(&self, name: &str) -> Result<Option<String>, SystemdError> {
        let read = async {
            let Some(path) = self.find(name).await? else {
                return Ok(None);
            };
            let properties = self.properties(path).await?;
            unless_not_loaded(properties.get(SERVICE_INTERFACE, "StatusText").await)
        };
        let text = read.await.map_err(call(format!("describe unit {name}")))?;
        let text = text.and_then(|text| String::try_from(text).ok());
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// The argument vectors that a service starts with; None when it is not
    /// loaded.
    pub async fn commands(&self, name: &str) -> Result<Option<Vec<Vec<String>>>, SystemdError> {
        let properties = self.read_properties(name, EVERY_INTERFACE).await;
        let properties = properties.map_err(call(format!("describe unit {name}")))?;
        Ok(properties.and_then(|found| timer::commands(&found)))
    }
}
