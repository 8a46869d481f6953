//! A sequence of looks at the host to a verdict: pure, no clock, no bus.
//!
//! In: looks, each with the time since watching began. Out: a verdict, once.
//! Must not: wait, read, or forgive: what was healthy and is not any more has
//! failed.
//!
//! The host must *become* healthy, seen [`GOOD_LOOKS`] times in a row, within
//! the probe deadline; then it must *stay* so for the confirm window, counted
//! from the first of those looks. A unit that is failed and that nothing is
//! about to start again does not become better by waiting: seen so
//! [`SETTLED_LOOKS`] times in a row, it is the verdict before the deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::health::{counted, list};
use crate::host::systemd::SystemState;
use crate::model::policy::Health;
use crate::model::system::Toplevel;

/// How many good looks in a row mean that the host has become healthy: one may
/// fall between a unit's crash and its restart.
const GOOD_LOOKS: u32 = 3;

/// How many looks in a row must show the same failed unit, with nothing queued
/// for it, before it is given up early: another unit may be about to start it.
const SETTLED_LOOKS: u32 = 5;

/// How many restarts of one unit in the window mean that it flaps. One is not
/// enough: a login prompt restarts when somebody logs out.
const FLAPPING_RESTARTS: u32 = 2;

/// One look at the host.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// What was seen.
    Seen(Seen),
    /// It could not be looked; why.
    Unreadable(String),
}

/// What a look shows.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// systemd's own verdict.
    pub(super) system: SystemState,
    /// The failed units.
    pub(super) failed: BTreeSet<String>,
    /// Those of them for which a job is queued.
    pub(super) queued: BTreeSet<String>,
    /// The units that failed and wait to be started again.
    pub(super) restarting: BTreeSet<String>,
    /// How often each running service was restarted by itself.
    pub(super) restarts: BTreeMap<String, u32>,
    /// `/run/current-system`.
    pub(super) running: Option<Toplevel>,
}

/// How watching ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Healthy for the whole window.
    Healthy,
    /// Not; in words, and the units that are broken now.
    Unhealthy {
        /// What was expected and what was seen.
        message: String,
        /// Every unit that is failed or restarting, ignored ones too.
        broken: BTreeSet<String>,
    },
    /// Another system runs.
    Overridden(Toplevel),
    /// The host is shutting down.
    GoingDown,
}

/// Watches one tested system.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    tested: &'a Toplevel,
    health: &'a Health,
    phase: Phase,
    broken: BTreeSet<String>,
    symptoms: String,
}

#[derive(Debug)]
enum Phase {
    /// Not yet healthy, or only just.
    Becoming {
        good_since: Option<Duration>,
        good_looks: u32,
        settled: BTreeSet<String>,
        settled_looks: u32,
    },
    /// Healthy since then; how often each unit had been restarted.
    Staying {
        since: Duration,
        restarts: BTreeMap<String, u32>,
    },
}

impl Phase {
    const START: Self = Self::Becoming {
        good_since: None,
        good_looks: 0,
        settled: BTreeSet::new(),
        settled_looks: 0,
    };
}

impl<'a> Watch<'a> {
    /// Begins to watch. Units that policy ignores are no verdict. Those that an
    /// earlier activation left broken are one: `test` has forgotten their
    /// failures and started them again, so they failed in this system, too.
    pub(super) fn new(tested: &'a Toplevel, health: &'a Health) -> Self {
        Self {
            tested,
            health,
            phase: Phase::START,
            broken: BTreeSet::new(),
            symptoms: "nothing was seen".to_owned(),
        }
    }

    /// Takes the next look, `at` since watching began; None means: look again.
    pub(super) fn judge(&mut self, at: Duration, look: &Look) -> Option<Verdict> {
        match look {
            Look::Unreadable(why) => self.judge_nothing(at, why),
            Look::Seen(seen) => self.judge_seen(at, seen),
        }
    }

    /// What cannot be seen is neither good nor bad, but not for ever.
    fn judge_nothing(&mut self, at: Duration, why: &str) -> Option<Verdict> {
        self.symptoms = format!("its health cannot be read: {why}");
        let limit = match &self.phase {
            Phase::Becoming { .. } => self.health.probe_deadline,
            Phase::Staying { since, .. } => {
                *since + self.health.confirm_window + self.health.probe_deadline
            }
        };
        (at >= limit).then(|| self.too_late())
    }

    fn judge_seen(&mut self, at: Duration, seen: &Seen) -> Option<Verdict> {
        if seen.system == SystemState::Stopping {
            return Some(Verdict::GoingDown);
        }
        if let Some(other) = seen.running.as_ref().filter(|it| *it != self.tested) {
            return Some(Verdict::Overridden(other.clone()));
        }
        self.broken = seen.failed.union(&seen.restarting).cloned().collect();
        match self.symptoms_of(seen) {
            None => self.judge_good(at, seen),
            Some(symptoms) => {
                self.symptoms = symptoms;
                self.judge_bad(at, seen)
            }
        }
    }

    fn judge_good(&mut self, at: Duration, seen: &Seen) -> Option<Verdict> {
        match &mut self.phase {
            Phase::Becoming {
                good_since,
                good_looks,
                settled_looks,
                ..
            } => {
                *settled_looks = 0;
                *good_looks += 1;
                let since = *good_since.get_or_insert(at);
                if *good_looks >= GOOD_LOOKS {
                    let restarts = seen.restarts.clone();
                    self.phase = Phase::Staying { since, restarts };
                }
            }
            Phase::Staying { restarts, .. } => {
                if let Some(flapping) = flapping(restarts, &seen.restarts, |unit| {
                    self.health.ignore_units.contains(unit)
                }) {
                    self.broken.insert(flapping.clone());
                    return Some(self.unhealthy(format!(
                        "the system became healthy after `test`, and then {flapping} was \
                         restarted again and again"
                    )));
                }
            }
        }
        match self.phase {
            Phase::Staying { since, .. } => {
                (at >= since + self.health.confirm_window).then_some(Verdict::Healthy)
            }
            // Good, but not proven in time: the next looks may prove it.
            Phase::Becoming { .. } => None,
        }
    }

    fn judge_bad(&mut self, at: Duration, seen: &Seen) -> Option<Verdict> {
        let hopeless = self.hopeless(seen);
        let Phase::Becoming {
            good_since,
            good_looks,
            settled,
            settled_looks,
        } = &mut self.phase
        else {
            return Some(self.unhealthy(format!(
                "the system became healthy after `test` and did not stay so for {:?}: {}",
                self.health.confirm_window, self.symptoms
            )));
        };
        (*good_since, *good_looks) = (None, 0);
        *settled_looks = if hopeless.is_empty() || hopeless != *settled {
            u32::from(!hopeless.is_empty())
        } else {
            *settled_looks + 1
        };
        *settled = hopeless;
        if *settled_looks >= SETTLED_LOOKS {
            return Some(self.unhealthy(format!(
                "the system is not healthy after `test`: {}",
                self.symptoms
            )));
        }
        (at >= self.health.probe_deadline).then(|| self.too_late())
    }

    /// The failed units that nothing is about to start again.
    fn hopeless(&self, seen: &Seen) -> BTreeSet<String> {
        if !self.counted(&seen.restarting).is_empty() {
            return BTreeSet::new();
        }
        let failed = self.counted(&seen.failed);
        failed.difference(&seen.queued).cloned().collect()
    }

    /// What is wrong, if anything is.
    fn symptoms_of(&self, seen: &Seen) -> Option<String> {
        let failed = self.counted(&seen.failed);
        let restarting = self.counted(&seen.restarting);
        let mut symptoms = Vec::new();
        if !failed.is_empty() {
            symptoms.push(format!("failed: {}", list(&failed)));
        }
        if !restarting.is_empty() {
            symptoms.push(format!("failing and restarting: {}", list(&restarting)));
        }
        if seen.running.is_none() {
            symptoms.push("/run/current-system is missing".to_owned());
        }
        match &seen.system {
            SystemState::Running | SystemState::Degraded => {}
            state @ (SystemState::Initializing
            | SystemState::Starting
            | SystemState::Maintenance
            | SystemState::Stopping
            | SystemState::Offline
            | SystemState::Unknown(_)) => symptoms.push(format!("the system is {state}")),
        }
        (!symptoms.is_empty()).then(|| symptoms.join("; "))
    }

    /// Those units that are a verdict.
    fn counted(&self, units: &BTreeSet<String>) -> BTreeSet<String> {
        counted(units, self.health, &BTreeSet::new())
    }

    fn too_late(&self) -> Verdict {
        self.unhealthy(format!(
            "the system did not become healthy within {:?} after `test`: {}",
            self.health.probe_deadline, self.symptoms
        ))
    }

    fn unhealthy(&self, message: String) -> Verdict {
        Verdict::Unhealthy {
            message,
            broken: self.broken.clone(),
        }
    }
}

/// The first unit that was restarted too often since the window began.
fn flapping(
    before: &BTreeMap<String, u32>,
    now: &BTreeMap<String, u32>,
    is_ignored: impl Fn(&String) -> bool,
) -> Option<String> {
    now.iter()
        .filter(|(unit, _)| !is_ignored(unit))
        .find(|(unit, count)| {
            let before = before.get(*unit).copied().unwrap_or(0);
            count.saturating_sub(before) >= FLAPPING_RESTARTS
        })
        .map(|(unit, _)| unit.clone())
}

#[cfg(test)]
mod tests;
