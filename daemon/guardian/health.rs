//! Whether the previous system is as healthy as it was.
//!
//! In: the baseline and what is seen now. Out: what is wrong, in words. Must
//! not: change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;

use super::network;
use super::systemctl::{Listed, Shown, Systemctl};
use super::units::{Starter, Wanted, is_own};
use crate::model::health::Baseline;
use crate::model::rollback::RollbackPlan;
use crate::model::system::{StorePath, Toplevel};

/// Where `activate` links the system that it activated.
const RUNNING: &str = "/run/current-system";

/// The system that was activated last, if that can be told.
pub(super) fn running() -> Option<Toplevel> {
    let target = fs::read_link(RUNNING).ok()?;
    let path = StorePath::try_from(target.to_str()?.to_owned());
    path.ok().map(Toplevel::new)
}

/// What is compared with.
#[derive(Clone, Debug)]
pub(super) struct Before {
    previous: Toplevel,
    /// None: nothing is known, and no failed unit is a verdict.
    baseline: Option<Baseline>,
    ignore_units: Vec<String>,
    pub(super) wanted: Wanted,
}

/// What is seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    running: Option<Toplevel>,
    /// None: PID 1 does not answer.
    units: Option<BTreeMap<String, Listed>>,
    /// Those that were active and are not.
    pub(super) down: Vec<(String, Shown)>,
    /// Each address on which the ssh server answered before and does not now.
    silent: Vec<String>,
    has_default_route: bool,
}

/// What is wrong; nothing is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Complaints {
    pub(super) words: Vec<String>,
    pub(super) failed_units: BTreeSet<String>,
}

impl Complaints {
    pub(super) fn is_none(&self) -> bool {
        self.words.is_empty()
    }
}

impl Before {
    /// What the plan says; without one, next to nothing.
    pub(super) fn of(previous: &Toplevel, plan: Option<&RollbackPlan>) -> Self {
        Self {
            previous: previous.clone(),
            baseline: plan.map(|plan| plan.baseline.clone()),
            ignore_units: plan.map_or_else(Vec::new, |plan| plan.ignore_units.clone()),
            wanted: plan.map_or_else(Wanted::unknown, |plan| Wanted::of(&plan.baseline)),
        }
    }

    /// Looks at the host.
    pub(super) fn look(&self, systemctl: &Systemctl) -> Seen {
        let units = systemctl.list();
        let down = units
            .as_ref()
            .and_then(|units| self.wanted.down(units, systemctl));
        Seen {
            running: running(),
            // What is half known is not known.
            units: units.filter(|_| down.is_some()),
            down: down.unwrap_or_default(),
            silent: self.silent(),
            has_default_route: network::has_default_route(),
        }
    }

    fn silent(&self) -> Vec<String> {
        let probe = self.baseline.as_ref().and_then(|it| it.probe.as_ref());
        let ports = probe.map_or(&[][..], |probe| &probe.ssh);
        let answered = ports.iter().filter(|port| port.banner.is_ok());
        answered
            .filter_map(|port| {
                // One that is no address was never asked as one.
                let address: SocketAddr = port.address.parse().ok()?;
                let error = network::ssh_answers(address).err()?;
                Some(format!("{address}: {error}"))
            })
            .collect()
    }

    /// Compares.
    pub(super) fn judge(&self, seen: &Seen, starter: &Starter) -> Complaints {
        let mut complaints = Complaints::default();
        let mut words = Vec::new();
        if seen.running.as_ref() != Some(&self.previous) {
            let running = seen.running.as_ref();
            let running = running.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            words.push(format!("the running system is {running}"));
        }
        match &seen.units {
            None => words.push("systemd does not answer".to_owned()),
            Some(units) => {
                complaints.failed_units = self.newly_failed(units);
                let failed = complaints.failed_units.iter();
                words.extend(failed.map(|unit| format!("{unit} is failed")));
            }
        }
        for (unit, shown) in &seen.down {
            if !complaints.failed_units.contains(unit) && self.is_missed(unit, shown, starter) {
                words.push(format!("{unit} is {}", shown.active));
            }
        }
        for silent in &seen.silent {
            words.push(format!("the ssh server does not answer on {silent}"));
        }
        let probe = self.baseline.as_ref().and_then(|it| it.probe.as_ref());
        if probe.is_some_and(|probe| probe.default_route) && !seen.has_default_route {
            words.push("the default route is gone".to_owned());
        }
        complaints.words = words;
        complaints
    }

    /// What was not broken before, and is nobody's business to ignore.
    fn newly_failed(&self, units: &BTreeMap<String, Listed>) -> BTreeSet<String> {
        let Some(baseline) = &self.baseline else {
            return BTreeSet::new();
        };
        let is_new = |unit: &str| {
            !is_own(unit)
                && !self.is_ignored(unit)
                && !baseline.failed.contains(unit)
                && !baseline.restarting.contains(unit)
        };
        units
            .iter()
            .filter(|(unit, found)| found.is_broken() && is_new(unit))
            .map(|(unit, _)| unit.clone())
            .collect()
    }

    /// Whether a unit that is not active had to be.
    fn is_missed(&self, unit: &str, shown: &Shown, starter: &Starter) -> bool {
        if self.wanted.required.contains(unit) {
            return true;
        }
        // Without a baseline nobody knows that it was active.
        if self.is_ignored(unit) || self.baseline.is_none() || !shown.is_startable() {
            return false;
        }
        // What was at work when we looked, and has done its work since.
        let has_ended_well = shown.active == "inactive" && shown.result == "success";
        !(has_ended_well && starter.has_started(unit))
    }

    fn is_ignored(&self, unit: &str) -> bool {
        self.ignore_units.iter().any(|ignored| ignored == unit)
    }
}

impl Listed {
    fn is_broken(&self) -> bool {
        self.active == "failed" || self.sub.starts_with("auto-restart")
    }
}

#[cfg(test)]
mod tests;
