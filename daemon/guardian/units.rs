//! The units that were active before: which of them are not now, and starting
//! those again.
//!
//! In: the baseline and what PID 1 says. Out: jobs for PID 1. Must not: wait
//! for them, or start anything that was not active before.

use std::collections::{BTreeMap, BTreeSet};

use super::say::say;
use super::systemctl::{Listed, Shown, Systemctl};
use crate::model::health::Baseline;

/// The daemon: it is started again at the end, and is no verdict.
pub(super) const DAEMON: &str = "deploy-flake.service";

/// How our own transient units begin.
const OWN_PREFIX: &str = "deploy-flake-";

/// The ssh server's units, where nothing is known of before: those of them
/// that the previous system has.
const SSH_UNITS: [&str; 4] = ["sshd.service", "sshd.socket", "ssh.service", "ssh.socket"];

/// How often a unit is started: what it needs may take longer than itself.
const MOST_STARTS: u32 = 4;

/// Which units are to be active again, those that must be first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) required: BTreeSet<String>,
    pub(super) others: BTreeSet<String>,
}

impl Wanted {
    /// What was active before.
    pub(super) fn of(baseline: &Baseline) -> Self {
        let counts = |unit: &&String| !is_own(unit);
        let required = baseline.required.iter().filter(counts).cloned();
        let others = baseline.active.iter().filter(counts);
        let others = others.filter(|unit| !belongs_to_a_session(unit));
        Self {
            required: required.collect(),
            others: others.cloned().collect(),
        }
    }

    /// Without a baseline: the ssh server, if there is one.
    pub(super) fn unknown() -> Self {
        Self {
            required: BTreeSet::new(),
            others: SSH_UNITS.map(str::to_owned).into(),
        }
    }

    /// All of them, those that must be first.
    fn in_order(&self) -> impl Iterator<Item = &String> {
        let others = self.others.difference(&self.required);
        self.required.iter().chain(others)
    }

    /// Those that are not active, with what PID 1 knows of them, in order;
    /// None when it does not answer.
    pub(super) fn down(
        &self,
        listed: &BTreeMap<String, Listed>,
        systemctl: &Systemctl,
    ) -> Option<Vec<(String, Shown)>> {
        let is_up = |unit: &str| {
            listed
                .get(unit)
                .is_some_and(|found| matches!(&*found.active, "active" | "reloading"))
        };
        let down: Vec<&str> = self
            .in_order()
            .map(String::as_str)
            .filter(|unit| !is_up(unit))
            .collect();
        let shown = systemctl.show(&down)?;
        let names = down.into_iter().map(str::to_owned);
        Some(names.zip(shown).filter(|(_, it)| !it.is_up()).collect())
    }
}

impl Shown {
    /// Whether it is active after all: under another name, or meanwhile.
    fn is_up(&self) -> bool {
        matches!(&*self.active, "active" | "reloading")
    }

    /// Whether it can be started at all.
    pub(super) fn is_startable(&self) -> bool {
        self.load == "loaded" && !self.refuses_start
    }

    /// Whether nothing goes on that may still bring it up.
    fn is_at_rest(&self) -> bool {
        matches!(&*self.active, "inactive" | "failed")
    }
}

/// Ours are neither started nor counted.
pub(super) fn is_own(unit: &str) -> bool {
    unit == DAEMON || unit.starts_with(OWN_PREFIX)
}

/// What comes and goes with those who are logged in, or with one connection
/// (`sshd@0-192.0.2.1:22-...`): nobody can start it by name.
fn belongs_to_a_session(unit: &str) -> bool {
    let Some((name, instance)) = unit.split_once('@') else {
        return false;
    };
    let digits = instance.bytes().take_while(u8::is_ascii_digit).count();
    let is_connection = digits > 0 && instance[digits..].starts_with('-');
    is_connection || matches!(name, "user" | "user-runtime-dir")
}

/// Starts units, each a few times, with more patience each time.
#[derive(Clone, Debug, Default)]
pub(super) struct Starter {
    looks: u32,
    starts: BTreeMap<String, u32>,
}

impl Starter {
    /// Whether it was started here at all.
    pub(super) fn has_started(&self, unit: &str) -> bool {
        self.starts.contains_key(unit)
    }

    /// Starts those whose turn it is.
    pub(super) fn start(&mut self, down: &[(String, Shown)], systemctl: &Systemctl) {
        let due = self.due(down);
        if due.is_empty() {
            return;
        }
        say(&format!("starting again: {}", due.join(", ")));
        let due: Vec<&str> = due.iter().map(String::as_str).collect();
        systemctl.start(&due);
    }

    /// As if it had been started.
    #[cfg(test)]
    pub(super) fn pretend_started(&mut self, unit: &str) {
        self.starts.insert(unit.to_owned(), 1);
    }

    /// Whose turn it is: at once, then after 2, 4, 8, ... looks.
    fn due(&mut self, down: &[(String, Shown)]) -> Vec<String> {
        let look = self.looks;
        self.looks += 1;
        let mut due = Vec::new();
        for (unit, shown) in down {
            let starts = self.starts.get(unit).copied().unwrap_or(0);
            let is_due = starts < MOST_STARTS && (starts == 0 || look >= 1 << starts);
            if is_due && shown.is_startable() && shown.is_at_rest() {
                self.starts.insert(unit.clone(), starts + 1);
                due.push(unit.clone());
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(load: &str, active: &str) -> Shown {
        Shown {
            load: load.to_owned(),
            active: active.to_owned(),
            ..Shown::default()
        }
    }

    #[test]
    fn what_must_be_active_comes_first_and_ours_are_left_out() {
        let baseline = Baseline {
            active: [
                "a.service",
                "sshd.service",
                "deploy-flake.service",
                "user@0.service",
            ]
            .map(str::to_owned)
            .into(),
            required: ["sshd.service", "deploy-flake.service"]
                .map(str::to_owned)
                .into(),
            ..Baseline::default()
        };
        let wanted = Wanted::of(&baseline);
        let order: Vec<&String> = wanted.in_order().collect();
        assert_eq!(order, ["sshd.service", "a.service"]);
    }

    #[test]
    fn instances_of_a_session_are_told_from_others() {
        for (unit, expected) in [
            ("user@1000.service", true),
            ("user-runtime-dir@0.service", true),
            ("sshd@3-192.0.2.1:22-192.0.2.2:5000.service", true),
            ("getty@tty1.service", false),
            ("openvpn@office.service", false),
            ("worker@1.service", false),
            ("sshd.service", false),
        ] {
            assert_eq!(belongs_to_a_session(unit), expected, "{unit}");
        }
    }

    #[test]
    fn a_unit_is_started_a_few_times_and_not_while_it_starts() {
        let mut starter = Starter::default();
        let down = [
            ("a.service".to_owned(), shown("loaded", "failed")),
            ("b.service".to_owned(), shown("loaded", "activating")),
            ("c.service".to_owned(), shown("not-found", "inactive")),
        ];
        let started: Vec<bool> = (0..20)
            .map(|_look| !starter.due(&down).is_empty())
            .collect();
        let looks: Vec<usize> = started
            .iter()
            .enumerate()
            .filter_map(|(look, started)| started.then_some(look))
            .collect();
        assert_eq!(looks, [0, 2, 4, 8]);
        assert!(starter.has_started("a.service"));
        assert!(!starter.has_started("b.service") && !starter.has_started("c.service"));
    }
}
