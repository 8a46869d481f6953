//! The running systemd, asked and told through `systemctl` and `busctl` on the system bus.
//!
//! In: unit names. Out: units as they are, and whether jobs succeeded. Jobs are waited for without a limit, as NixOS
//! does: the caller's deadline is the only one. It must not decide anything.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::environment::Environment;
use crate::unit_file::UnitName;

/// How often a re-executing systemd is asked whether it is back, and for how long (three minutes).
const REEXECUTE_POLL: Duration = Duration::from_millis(100);
const REEXECUTE_POLLS: u32 = 1800;

/// How long the queue of jobs has to stand still for the system to count as settled, and how often that is looked
/// at (90 s).
const SETTLE_INTERVAL: Duration = Duration::from_millis(250);
const SETTLE_INTERVALS: u32 = 360;

/// A unit as systemd holds it.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct Unit {
    #[serde(rename = "unit")]
    name: String,
    #[serde(rename = "active")]
    pub(crate) active_state: String,
    #[serde(rename = "sub")]
    pub(crate) sub_state: String,
}

impl Unit {
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.active_state.as_str(), "active" | "activating")
    }

    #[cfg(test)]
    pub(crate) fn running(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            active_state: "active".to_owned(),
            sub_state: "running".to_owned(),
        }
    }
}

/// Every unit that is not inactive, by name.
pub(crate) type Units = BTreeMap<UnitName, Unit>;

/// A job that was submitted for several units at once.
#[derive(Clone, Copy)]
pub(crate) enum Job {
    Start,
    Stop,
    Restart,
    Reload,
}

impl Job {
    fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

/// The way to PID 1.
pub(crate) struct Systemd<'a> {
    environment: &'a Environment,
}

impl<'a> Systemd<'a> {
    pub(crate) fn new(environment: &'a Environment) -> Self {
        Self { environment }
    }

    /// A child that talks to PID 1 over the bus: its private socket refuses while systemd re-executes itself.
    fn systemctl(&self) -> Command {
        let mut command = self.environment.child("systemctl");
        command.env("SYSTEMCTL_FORCE_BUS", "1").arg("--no-pager");
        command
    }

    /// Lists what is not inactive.
    pub(crate) fn units(&self) -> Result<Units, String> {
        let text = self.ask(&["list-units", "--all", "--output=json"])?;
        let units: Vec<Unit> = serde_json::from_str(&text)
            .map_err(|error| format!("systemctl list-units wrote something else: {error}"))?;
        let units = units
            .into_iter()
            .filter(|unit| unit.active_state != "inactive");
        Ok(units
            .map(|unit| (UnitName(unit.name.clone()), unit))
            .collect())
    }

    /// One property of some units; those without it are left out.
    pub(crate) fn property(
        &self,
        property: &str,
        units: &[&UnitName],
    ) -> Result<BTreeMap<UnitName, String>, String> {
        if units.is_empty() {
            return Ok(BTreeMap::new());
        }
        let wanted = format!("--property=Id,{property}");
        let mut arguments = vec!["show", &wanted, "--"];
        arguments.extend(units.iter().map(|unit| unit.0.as_str()));
        let text = self.ask(&arguments)?;
        let values = text.split("\n\n").filter_map(|block| {
            let value = |name: &str| {
                let mut lines = block.lines().filter_map(|line| line.split_once('='));
                lines
                    .find(|(own, _)| *own == name)
                    .map(|(_, value)| value.to_owned())
            };
            Some((UnitName(value("Id")?), value(property)?))
        });
        Ok(values.collect())
    }

    /// Those that failed, and those that wait for their restart because they failed.
    pub(crate) fn failed(&self, units: &Units) -> Result<BTreeSet<UnitName>, String> {
        let in_state = |wanted: fn(&Unit) -> bool| {
            let units = units.iter().filter(move |(_, unit)| wanted(unit));
            units.map(|(name, _)| name)
        };
        let waiting: Vec<&UnitName> = in_state(|unit| unit.sub_state == "auto-restart")
            .filter(|name| name.is_a("service"))
            .collect();
        let statuses = self.property("ExecMainStatus", &waiting)?;
        let failing = statuses
            .into_iter()
            .filter(|(_, status)| status != "0")
            .map(|(name, _)| name);
        Ok(in_state(|unit| unit.active_state == "failed")
            .cloned()
            .chain(failing)
            .collect())
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self
            .systemctl()
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot run systemctl: {error}"))?;
        if !output.status.success() {
            return Err(format!("systemctl {} failed", arguments.join(" ")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Submits a job for each unit and waits for all; false when one of them did not succeed.
    pub(crate) fn run(&self, job: Job, units: &BTreeSet<String>) -> bool {
        if units.is_empty() {
            return true;
        }
        self.systemctl()
            .args([job.verb(), "--job-mode=replace", "--"])
            .args(units)
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Has systemd re-execute itself and waits until it answers on the bus again.
    pub(crate) fn reexecute(&self) -> Result<(), String> {
        // No reply comes: the one who would send it is replaced.
        self.call_manager("Reexecute");
        for _ in 0..REEXECUTE_POLLS {
            thread::sleep(REEXECUTE_POLL);
            if self.call_manager("ListJobs") {
                return Ok(());
            }
        }
        Err("systemd daemon reexecute failed".into())
    }

    fn call_manager(&self, method: &str) -> bool {
        self.environment
            .child("busctl")
            .args(["--system", "--quiet", "call", "org.freedesktop.systemd1"])
            .args([
                "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1.Manager",
                method,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Forgets every failure of the past, of all units.
    pub(crate) fn reset_failed(&self) -> Result<(), String> {
        self.must("reset-failed")
    }

    pub(crate) fn reload(&self) -> Result<(), String> {
        self.must("daemon-reload")
    }

    fn must(&self, verb: &str) -> Result<(), String> {
        match self.systemctl().arg(verb).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("systemctl {verb} failed ({status})")),
            Err(error) => Err(format!("cannot run systemctl: {error}")),
        }
    }

    /// Waits until the queue of jobs stands still, so that a unit which fails at once is seen; gives up after a
    /// while. (Empty it need not be: this switch may be a job itself.)
    pub(crate) fn settle(&self) {
        let mut before = None;
        for _ in 0..SETTLE_INTERVALS {
            let jobs = self.systemctl().args(["list-jobs", "--no-legend"]).output();
            let jobs = jobs.ok().map(|output| output.stdout);
            if jobs.is_some() && jobs == before {
                return;
            }
            before = jobs;
            thread::sleep(SETTLE_INTERVAL);
        }
    }

    /// Shows the operator what systemd knows about failed units.
    pub(crate) fn show_status(&self, units: &[&str]) {
        let shown = self
            .systemctl()
            .args(["status", "--full", "--"])
            .args(units)
            .status();
        if let Err(error) = shown {
            eprintln!("cannot run systemctl: {error}");
        }
    }
}
