//! `systemctl` of the previous system: over the private socket of PID 1, which
//! root may use without any bus.
//!
//! In: verbs and units. Out: what it printed. Must not: wait for a job, or take
//! one refusal for an answer: for a moment after re-executing itself, PID 1
//! does not listen.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use super::say::say;
use crate::host::child::{self, Child, Stdout};

/// How long one call may take; PID 1 is deaf while it reloads.
const CALL: Duration = Duration::from_secs(30);

/// How often a call is tried, and the pause between: longer than PID 1 takes
/// to re-execute itself.
const TRIES: u32 = 4;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// How many units one call names: an argument vector has a limit.
const CHUNK: usize = 100;

/// What `show` is asked for, in the order of [`Shown`].
const PROPERTIES: &str =
    "--property=Id,LoadState,ActiveState,Result,RefuseManualStart,ControlGroup";

/// `systemctl` of the previous system.
#[derive(Clone, Debug)]
pub(super) struct Systemctl(pub(super) PathBuf);

/// A loaded unit as `list-units` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// `active`, `failed`, `activating`, ...
    pub(super) active: String,
    /// Its type's own state, such as `auto-restart`.
    pub(super) sub: String,
}

/// A unit as `show` describes it, loaded or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// `loaded`, `not-found`, `masked`, ...
    pub(super) load: String,
    /// `active`, `inactive`, ...
    pub(super) active: String,
    /// How it ended the last time.
    pub(super) result: String,
    /// Whether nobody may start it by name.
    pub(super) refuses_start: bool,
    /// Its cgroup's name, if it has one.
    pub(super) control_group: String,
}

impl Systemctl {
    /// Every loaded unit; None when PID 1 does not answer.
    pub(super) fn list(&self) -> Option<BTreeMap<String, Listed>> {
        let arguments = [
            "list-units",
            "--all",
            "--full",
            "--plain",
            "--no-legend",
            "--no-pager",
        ];
        let printed = self.insist(&arguments)?;
        Some(printed.lines().filter_map(parse_listed).collect())
    }

    /// What PID 1 knows of these units, in their order; None when it does not
    /// answer.
    pub(super) fn show(&self, units: &[&str]) -> Option<Vec<Shown>> {
        let mut shown = Vec::new();
        for chunk in units.chunks(CHUNK) {
            let mut arguments = vec!["show", PROPERTIES, "--no-pager", "--"];
            arguments.extend(chunk);
            let blocks = parse_shown(&self.insist(&arguments)?);
            if blocks.len() != chunk.len() {
                return None;
            }
            shown.extend(blocks);
        }
        Some(shown)
    }

    /// Has units started, without waiting; failures show in their state.
    pub(super) fn start(&self, units: &[&str]) {
        for chunk in units.chunks(CHUNK) {
            // A unit that failed too often is not started before it is reset.
            self.attempt(&[&["reset-failed", "--"], chunk].concat());
            self.attempt(&[&["start", "--no-block", "--"], chunk].concat());
        }
    }

    /// Runs a verb, again if it fails; None when it keeps failing.
    fn insist(&self, arguments: &[&str]) -> Option<String> {
        for attempt in 1..=TRIES {
            match self.call(arguments, Stdout::Read, CALL) {
                Ok(printed) => return Some(printed),
                Err(why) if attempt == TRIES => say(&why),
                Err(_not_yet) => sleep(PAUSE),
            }
        }
        None
    }

    /// Runs a verb once; whether it said that it worked.
    pub(super) fn attempt(&self, arguments: &[&str]) -> bool {
        self.attempt_within(arguments, CALL)
    }

    /// The same with a limit of its own.
    pub(super) fn attempt_within(&self, arguments: &[&str], limit: Duration) -> bool {
        match self.call(arguments, Stdout::Passed, limit) {
            Ok(_) => true,
            Err(why) => {
                say(&why);
                false
            }
        }
    }

    fn call(&self, arguments: &[&str], stdout: Stdout, limit: Duration) -> Result<String, String> {
        let child = Child {
            program: &self.0,
            arguments: arguments.to_vec(),
            environment: Vec::new(),
            cgroup: None,
            stdout,
        };
        let verb = arguments.first().copied().unwrap_or_default();
        match child::run(&child, limit) {
            Ok(output) if output.status.success() => Ok(output.stdout),
            Ok(output) => Err(format!("systemctl {verb}: {}", output.status)),
            Err(error) => Err(format!("{:#}", anyhow::Error::new(error))),
        }
    }
}

/// One line: unit, load state, active state, sub state, description.
fn parse_listed(line: &str) -> Option<(String, Listed)> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let _load = words.next()?;
    let active = words.next()?.to_owned();
    let sub = words.next()?.to_owned();
    Some((name, Listed { active, sub }))
}

/// Blocks of `NAME=VALUE` lines, an empty line between two.
fn parse_shown(text: &str) -> Vec<Shown> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks.map(parse_block).collect()
}

fn parse_block(block: &str) -> Shown {
    let mut shown = Shown::default();
    for (name, value) in block.lines().filter_map(|line| line.split_once('=')) {
        let value = value.to_owned();
        match name {
            "LoadState" => shown.load = value,
            "ActiveState" => shown.active = value,
            "Result" => shown.result = value,
            "RefuseManualStart" => shown.refuses_start = value == "yes",
            "ControlGroup" => shown.control_group = value,
            _not_asked_for => {}
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_units_are_read_as_systemctl_prints_them() {
        let text = "sshd.service             loaded    active     running OpenSSH server\n\
                    bad.service              loaded    activating auto-restart A bad one\n\
                    gone.service             not-found inactive   dead    gone.service\n\n";
        let listed: BTreeMap<_, _> = text.lines().filter_map(parse_listed).collect();
        assert_eq!(listed.len(), 3);
        assert_eq!(listed["sshd.service"].active, "active");
        assert_eq!(listed["bad.service"].sub, "auto-restart");
        assert_eq!(listed["gone.service"].active, "inactive");
    }

    #[test]
    fn shown_units_are_read_block_by_block() {
        let text = "Id=a.service\nLoadState=loaded\nActiveState=inactive\nResult=exit-code\n\
                    RefuseManualStart=no\nControlGroup=/system.slice/a.service\n\n\
                    Id=b.target\nLoadState=not-found\nActiveState=inactive\nRefuseManualStart=yes\n";
        let shown = parse_shown(text);
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0].result, "exit-code");
        assert_eq!(shown[0].control_group, "/system.slice/a.service");
        assert!(!shown[0].refuses_start && shown[1].refuses_start);
        assert_eq!(shown[1].load, "not-found");
    }
}
