//! What runs on the system, and what is wrong with it.
//!
//! In: nothing. Out: the system's state, and names of units. Must not: change
//! anything, or count our own transient units as the system's.

use std::collections::{BTreeMap, BTreeSet};

use zbus::OwnedVariant;

use super::bus::{Systemd, SystemdError, call, is_no_such_unit, unless_not_loaded};
use super::proxies::{ListedUnit, SERVICE_INTERFACE, UNIT_INTERFACE};
use super::state::SystemState;

/// The values of `Restart=` by which a service is started again also after it
/// ended well (systemd.service(5)).
const AFTER_SUCCESS: [&str; 2] = ["always", "on-success"];

/// Units whose names begin so are ours, if they are transient.
const OWN_PREFIX: &str = "deploy-flake-";

/// Where systemd keeps the files of transient units.
const TRANSIENT: &str = "/run/systemd/transient/";

impl Systemd {
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
        let policy = self.read_policy(name).await;
        let policy = policy.map_err(call(format!("describe unit {name}")))?;
        let policy = policy.as_ref().and_then(|it| <&str>::try_from(it).ok());
        Ok(policy.is_some_and(|policy| AFTER_SUCCESS.contains(&policy)))
    }

    async fn read_policy(&self, name: &str) -> zbus::Result<Option<OwnedVariant>> {
        let Some(path) = self.find(name).await? else {
            return Ok(None);
        };
        let properties = self.properties(path).await?;
        unless_not_loaded(properties.get(SERVICE_INTERFACE, "Restart").await)
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
        match self
            .read_property(unit, UNIT_INTERFACE, "FragmentPath")
            .await
        {
            Ok(path) => Ok(<&str>::try_from(&path)
                .is_ok_and(|path| !path.is_empty() && !path.starts_with(TRANSIENT))),
            // One that ended meanwhile is not active any more.
            Err(error) if is_no_such_unit(&error) => Ok(false),
            Err(error) => Err(call(format!("describe unit {}", unit.0))(error)),
        }
    }

    async fn restarts(&self, unit: &ListedUnit) -> Result<Option<u32>, SystemdError> {
        match self
            .read_property(unit, SERVICE_INTERFACE, "NRestarts")
            .await
        {
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
    ) -> zbus::Result<OwnedVariant> {
        let properties = self.properties(unit.6.clone()).await?;
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
        let unit = self.unit(name).await?;
        // One that is gone meanwhile is no verdict either.
        Ok(unit.is_none_or(|unit| unit.is_transient))
    }
}
