//! What is read of the host's health, before and after an activation.
//!
//! In: systemd, the root directory, and what policy and history say of units.
//! Out: which units are broken, and which of them are a verdict. Must not:
//! give the verdict.

use std::collections::BTreeSet;
use std::path::Path;

use tracing::warn;

use crate::host::systemd::{Systemd, SystemdError};
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::Health;

/// Where a host is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostView<'a> {
    /// Its systemd.
    pub(crate) systemd: &'a Systemd,
    /// Its root directory.
    pub(crate) root: &'a Path,
}

impl HostView<'_> {
    /// The units that failed and wait to be started again. A service that ends
    /// well and is started again is none of them.
    pub(super) async fn failing_restarts(&self) -> Result<BTreeSet<String>, SystemdError> {
        let mut failing = BTreeSet::new();
        for name in self.systemd.restarting_units().await? {
            let unit = self.systemd.unit(&name).await?;
            if unit.is_some_and(|unit| unit.result != "success") {
                failing.insert(name);
            }
        }
        Ok(failing)
    }

    /// Every unit that is failed, or failing again and again; as far as can be
    /// read, since this only completes another failure.
    pub(super) async fn broken_units(&self) -> BTreeSet<String> {
        let failed = self.systemd.failed_units().await;
        let restarting = self.failing_restarts().await;
        let mut broken = BTreeSet::new();
        for units in [failed, restarting] {
            match units {
                Ok(units) => broken.extend(units),
                Err(error) => warn!(%error, "broken units cannot be listed"),
            }
        }
        broken
    }
}

/// The units that are a verdict: neither ignored by policy nor left broken by
/// an earlier, failed activation of ours. (Our own transient units are taken
/// out where units are listed.)
pub(super) fn counted(
    units: &BTreeSet<String>,
    health: &Health,
    known_broken: &BTreeSet<String>,
) -> BTreeSet<String> {
    units
        .iter()
        .filter(|unit| !health.ignore_units.contains(unit) && !known_broken.contains(*unit))
        .cloned()
        .collect()
}

/// Names of units as people read them.
pub(super) fn list(units: &BTreeSet<String>) -> String {
    let units: Vec<_> = units.iter().map(String::as_str).collect();
    units.join(", ")
}

/// Health that cannot be read is no health: nothing is decided on it.
pub(super) fn unreadable(error: SystemdError) -> Failure {
    Failure::new(
        FailureCode::StepFailed,
        format!("{:#}", anyhow::Error::new(error)),
        "This is tried again by itself; see `systemctl status dbus` and the journal of PID 1.",
    )
}
