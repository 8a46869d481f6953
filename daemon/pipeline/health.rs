//! What is read of the host's health, before and after an activation.
//!
//! In: systemd, the root directory, and what policy and history say of units.
//! Out: which units are broken and which of them are a verdict; before an
//! activation, the baseline. Must not: give the verdict.

mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use tracing::warn;

use super::installed::{DAEMON_UNIT, SSH_UNITS};
use super::step::Steps;
use crate::host::systemd::{Systemd, SystemdError};
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Baseline;
use crate::model::policy::Health;
use crate::model::system::Toplevel;

/// The kinds of units that are to be active again after a rollback. Scopes
/// cannot be started, devices come by themselves, slices with what is in them.
const LASTING: [&str; 6] = [
    ".service", ".socket", ".timer", ".path", ".mount", ".target",
];

/// Services of people who are logged in: they come and go with them.
const OF_LOGINS: [&str; 2] = ["user@", "user-runtime-dir@"];

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
            let unit = self.systemd.status(&name).await?;
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

/// Reads what the host is before an activation: what is broken now is no
/// verdict later. `previous` is the system that runs, whose probe is asked.
///
/// Fails where health cannot be read, units or network: then nothing may be
/// activated.
pub(crate) async fn baseline(
    view: HostView<'_>,
    steps: &Steps,
    id: &DeploymentId,
    previous: Option<&Toplevel>,
    health: &Health,
    deadline: Duration,
) -> Result<Baseline, Failure> {
    let systemd = view.systemd;
    let earlier = systemd.restart_counts().await.map_err(unreadable)?;
    let mut restarting = view.failing_restarts().await.map_err(unreadable)?;
    let probe = match previous {
        Some(previous) => {
            let policy = health.on_unhealthy;
            network::before(steps, view, id, previous, policy, deadline).await?
        }
        None => None,
    };
    // While the probe ran, some time has passed: what crashes between two
    // looks shows in its count.
    restarting.extend(view.failing_restarts().await.map_err(unreadable)?);
    let restarts = systemd.restart_counts().await.map_err(unreadable)?;
    restarting.extend(grown(&earlier, &restarts));
    let active = systemd.active_units_with_file().await.map_err(unreadable)?;
    Ok(Baseline {
        failed: systemd.failed_units().await.map_err(unreadable)?,
        restarting,
        restarts,
        required: required(&active, health),
        active: active.into_iter().filter(|unit| is_lasting(unit)).collect(),
        probe,
    })
}

/// The services that were restarted between two countings.
fn grown<'a>(
    earlier: &'a BTreeMap<String, u32>,
    later: &'a BTreeMap<String, u32>,
) -> impl Iterator<Item = String> + 'a {
    let has_grown = move |(unit, count): &(&String, &u32)| {
        earlier.get(*unit).is_some_and(|before| *count > before)
    };
    later
        .iter()
        .filter(has_grown)
        .map(|(unit, _)| unit.to_owned())
}

/// Whether a unit is to be active again after a rollback.
fn is_lasting(unit: &str) -> bool {
    let is_login = OF_LOGINS.iter().any(|prefix| unit.starts_with(prefix));
    LASTING.iter().any(|suffix| unit.ends_with(suffix)) && !is_login && !is_of_connection(unit)
}

/// Whether a socket started the service for one connection: such instances are
/// called after a number (`sshd@3-10.0.0.1:22-10.0.0.2:4711.service`).
fn is_of_connection(unit: &str) -> bool {
    let instance = unit.split_once('@').map_or("", |(_template, it)| it);
    let number = instance.bytes().take_while(u8::is_ascii_digit).count();
    number > 0 && instance[number..].starts_with('-')
}

/// What must be active after `test` and after a rollback, too: none that is not
/// active now, for the previous system would never be well again.
fn required(active: &BTreeSet<String>, health: &Health) -> BTreeSet<String> {
    let by_default = || SSH_UNITS.into_iter().chain([DAEMON_UNIT]);
    let required: BTreeSet<String> = match &health.require_units {
        Some(units) => units.iter().cloned().collect(),
        None => by_default().map(str::to_owned).collect(),
    };
    required.intersection(active).cloned().collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::OnUnhealthy;

    fn units(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn health(require_units: Option<&[&str]>) -> Health {
        Health {
            probe_deadline: Duration::from_secs(1),
            confirm_window: Duration::from_secs(1),
            ignore_units: Vec::new(),
            require_units: require_units
                .map(|units| units.iter().map(|it| (*it).to_owned()).collect()),
            on_unhealthy: OnUnhealthy::default(),
            probes: Vec::new(),
        }
    }

    #[test]
    fn only_units_that_last_are_to_be_active_again() {
        for (unit, lasts) in [
            ("web.service", true),
            ("sshd.socket", true),
            ("a.timer", true),
            ("a.path", true),
            ("srv.mount", true),
            ("multi-user.target", true),
            ("getty@tty1.service", true),
            ("worker@7.service", true),
            ("system.slice", false),
            ("session-3.scope", false),
            ("dev-sda.device", false),
            ("user@1000.service", false),
            ("user-runtime-dir@1000.service", false),
            ("sshd@3-10.0.0.1:22-10.0.0.2:4711.service", false),
        ] {
            assert_eq!(is_lasting(unit), lasts, "{unit}");
        }
    }

    #[test]
    fn without_a_list_the_active_ssh_units_and_this_daemon_are_required() {
        let active = units(&["a.service", "ssh.socket", "sshd.service", DAEMON_UNIT]);
        let by_default = required(&active, &health(None));
        assert_eq!(
            by_default,
            units(&["ssh.socket", "sshd.service", DAEMON_UNIT])
        );
        let by_list = required(&active, &health(Some(&["a.service"])));
        assert_eq!(by_list, units(&["a.service"]));
        assert_eq!(required(&active, &health(Some(&[]))), units(&[]));
    }

    #[test]
    fn a_unit_that_was_not_active_before_is_not_demanded_of_the_way_back() {
        let active = units(&["a.service"]);
        let by_list = required(&active, &health(Some(&["a.service", "misspelt.service"])));
        assert_eq!(by_list, units(&["a.service"]));
    }

    #[test]
    fn a_service_that_is_restarted_meanwhile_was_restarting_before() {
        let counts = |pairs: &[(&str, u32)]| -> BTreeMap<String, u32> {
            pairs
                .iter()
                .map(|(unit, count)| ((*unit).to_owned(), *count))
                .collect()
        };
        let earlier = counts(&[("a", 1), ("b", 5), ("c", 2)]);
        let later = counts(&[("a", 2), ("b", 5), ("c", 0), ("d", 3)]);
        let grown: Vec<_> = grown(&earlier, &later).collect();
        assert_eq!(grown, ["a"]);
    }
}
