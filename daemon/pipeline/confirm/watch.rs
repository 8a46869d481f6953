//! What is seen and heard of the host to a verdict: pure, no clock, no bus.
//!
//! In: looks, probes and polls, each with the time since watching began. Out: a
//! verdict, once. Must not: wait, read, or forgive: what was healthy and is not
//! any more has failed.
//!
//! The host must *become* as healthy as before within the probe deadline: seen
//! [`GOOD_LOOKS`] times in a row, and by two good probes in a row. Then it must
//! *stay* so for the confirm window, counted from the first of those. A bad
//! look ends it; of the probes, which cross a network, three in a row do. The
//! last probe before the end must be good. An operator's word stands for the
//! window, and for nothing of its health.
//!
//! A unit that is failed and that nothing is about to start again does not
//! become better by waiting: seen so [`SETTLED_LOOKS`] times in a row, it is
//! the verdict before the deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::network::Network;
use self::symptom::{leading, of_units, sentence, verdicts};
use crate::host::systemd::SystemState;
use crate::model::failure::FailureCode;
use crate::model::health::Baseline;
use crate::model::policy::Health;
use crate::model::rollback;
use crate::model::stage::Word;
use crate::model::system::Toplevel;

mod symptom;
mod network;

pub(super) use network::Probed;
pub(super) use symptom::Symptom;

/// How many good looks in a row mean that the host has become healthy: one may
/// fall between a unit's crash and its restart.
const GOOD_LOOKS: u32 = 3;

/// How many looks in a row must show the same failed unit, with nothing queued
/// for it, before it is given up early: another unit may be about to start it.
const SETTLED_LOOKS: u32 = 5;

/// How many restarts in the window are a verdict on a unit that systemd only
/// starts again after a failure.
const MOST_FAILURES: u32 = 1;

/// How many are one on a unit that is started again after a good end, too: a
/// login prompt restarts when somebody logs out.
const MOST_ENDS: u32 = 2;

/// What is heard while the host is watched.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// What a look shows.
    Seen(Seen),
    /// It could not be looked; why.
    Unreadable(String),
    /// A probe begins.
    ProbeBegins,
    /// The probe ended.
    Probed(Probed),
    /// This daemon asked its remote; what is wrong if it could not.
    Polled(Result<(), Symptom>),
    /// An operator says what they think of the system.
    Said(Word),
}

/// What a look shows.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// systemd's own verdict.
    pub(super) system: SystemState,
    /// The failed units.
    pub(super) failed: BTreeSet<String>,
    /// The units that must be active and are not.
    pub(super) down: BTreeSet<String>,
    /// Those of both for which a job is queued.
    pub(super) queued: BTreeSet<String>,
    /// The units that failed and wait to be started again.
    pub(super) restarting: BTreeSet<String>,
    /// How often each running service was restarted by itself.
    pub(super) restarts: BTreeMap<String, u32>,
    /// Those of them that are started again after a good end, too, as far as
    /// they were restarted.
    pub(super) recurring: BTreeSet<String>,
    /// `/run/current-system`.
    pub(super) running: Option<Toplevel>,
    /// What the token says, read after everything else.
    pub(super) token: Option<rollback::Verdict>,
}

/// How watching ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As healthy as before, for the whole window.
    Healthy,
    /// Not.
    Unhealthy {
        /// What is wrong first of all.
        code: FailureCode,
        /// What was expected and what was seen.
        message: String,
        /// Every unit that is failed, restarting or down, ignored ones too.
        broken: BTreeSet<String>,
    },
    /// Another system runs.
    Overridden(Toplevel),
    /// The guardian is leading back.
    GuardianActs,
    /// The host is shutting down.
    GoingDown,
}

/// Watches one tested system.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    tested: &'a Toplevel,
    health: &'a Health,
    baseline: &'a Baseline,
    phase: Phase,
    network: Network<'a>,
    restarts: BTreeMap<String, u32>,
    broken: BTreeSet<String>,
    /// What the last look showed, or why it showed nothing.
    symptoms: Vec<Symptom>,
    /// How long it has to stay healthy.
    window: Duration,
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
    /// Begins to watch. Units that policy ignores are no verdict, nor what was
    /// broken before. What an earlier activation left broken is one: `test`
    /// has forgotten its failure and started it again, so it failed in this
    /// system, too.
    pub(super) fn new(tested: &'a Toplevel, health: &'a Health, baseline: &'a Baseline) -> Self {
        let nothing = "nothing was seen";
        Self {
            tested,
            health,
            baseline,
            phase: Phase::START,
            network: Network::new(baseline),
            restarts: BTreeMap::new(),
            broken: BTreeSet::new(),
            symptoms: vec![Symptom::new(FailureCode::UnhealthyAfterTest, nothing)],
            window: health.confirm_window,
        }
    }

    /// Takes what was heard, `at` since watching began; None: go on.
    pub(super) fn judge(&mut self, at: Duration, heard: &Heard) -> Option<Verdict> {
        match heard {
            Heard::Seen(seen) => self.judge_seen(at, seen),
            Heard::Unreadable(why) => {
                let text = format!("its health cannot be read: {why}");
                self.symptoms = vec![Symptom::new(FailureCode::UnhealthyAfterTest, text)];
                // What cannot be seen is neither good nor bad, but not for ever.
                self.too_late(at)
            }
            Heard::ProbeBegins => {
                self.network.begin_probe(at);
                None
            }
            Heard::Probed(probed) => {
                self.network.end_probe(at, probed);
                self.judge_network(at)
            }
            Heard::Polled(polled) => {
                self.network.end_poll(polled);
                self.judge_network(at)
            }
            Heard::Said(Word::Confirmed) => {
                self.window = Duration::ZERO;
                self.end_if_proven(at)
            }
            // It is led back from by now, whatever is said here.
            Heard::Said(Word::Rejected) => Some(Verdict::GuardianActs),
        }
    }

    fn judge_seen(&mut self, at: Duration, seen: &Seen) -> Option<Verdict> {
        if seen.system == SystemState::Stopping {
            return Some(Verdict::GoingDown);
        }
        // Before it is looked what runs: the guardian decides, then switches.
        if seen.token == Some(rollback::Verdict::RollBack) {
            return Some(Verdict::GuardianActs);
        }
        if let Some(other) = seen.running.as_ref().filter(|it| *it != self.tested) {
            return Some(Verdict::Overridden(other.clone()));
        }
        self.restarts.clone_from(&seen.restarts);
        self.broken = seen.failed.union(&seen.restarting).cloned().collect();
        self.broken.extend(seen.down.iter().cloned());
        self.symptoms = of_units(seen, self.health, self.baseline);
        if self.symptoms.is_empty() {
            self.judge_good(at, seen)
        } else {
            self.judge_bad(at, seen)
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
                good_since.get_or_insert(at);
                self.stay_if_good();
            }
            Phase::Staying { restarts, .. } => {
                let flapping = flapping(restarts, &self.restarts, &seen.recurring);
                if let Some(unit) = verdicts(&flapping, self.health, self.baseline).first() {
                    return Some(self.flaps(unit));
                }
            }
        }
        self.end_if_proven(at)
    }

    fn judge_network(&mut self, at: Duration) -> Option<Verdict> {
        match &self.phase {
            Phase::Becoming { .. } if self.network.was_good() => {
                self.stay_if_good();
                self.end_if_proven(at)
            }
            Phase::Becoming { .. } => self.too_late(at),
            Phase::Staying { .. } if self.network.is_lost() => Some(self.did_not_stay()),
            Phase::Staying { .. } => self.end_if_proven(at),
        }
    }

    /// From becoming to staying, once looks and probes were good often enough.
    fn stay_if_good(&mut self) {
        if let Phase::Becoming {
            good_since: Some(looks_since),
            good_looks: GOOD_LOOKS..,
            ..
        } = self.phase
            && let Some(probes_since) = self.network.has_become_good()
        {
            self.network.stay_good();
            self.phase = Phase::Staying {
                since: looks_since.max(probes_since),
                restarts: self.restarts.clone(),
            };
        }
    }

    /// The end of the window, once nothing more has to be heard.
    fn end_if_proven(&self, at: Duration) -> Option<Verdict> {
        let Phase::Staying { since, .. } = self.phase else {
            // Good, but not proven in time: what is heard next may prove it.
            return None;
        };
        let end = since + self.window;
        if at >= end && self.symptoms.is_empty() && self.network.is_proven(end) {
            return Some(Verdict::Healthy);
        }
        self.too_late(at)
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
            return Some(self.did_not_stay());
        };
        (*good_since, *good_looks) = (None, 0);
        *settled_looks = if hopeless.is_empty() || hopeless != *settled {
            u32::from(!hopeless.is_empty())
        } else {
            *settled_looks + 1
        };
        *settled = hopeless;
        if *settled_looks >= SETTLED_LOOKS {
            return Some(self.unhealthy("the system is not healthy after `test`"));
        }
        self.too_late(at)
    }

    /// The failed or missing units that nothing is about to start again.
    fn hopeless(&self, seen: &Seen) -> BTreeSet<String> {
        let count = |units| verdicts(units, self.health, self.baseline);
        if !count(&seen.restarting).is_empty() {
            return BTreeSet::new();
        }
        let mut hopeless = count(&seen.failed);
        hopeless.extend(seen.down.iter().cloned());
        hopeless.difference(&seen.queued).cloned().collect()
    }

    /// The verdict when it took too long to become healthy, or to prove it.
    fn too_late(&self, at: Duration) -> Option<Verdict> {
        let deadline = self.health.probe_deadline;
        match self.phase {
            Phase::Becoming { .. } => (at >= deadline).then(|| {
                self.unhealthy(&format!(
                    "the system did not become healthy within {deadline:?} after `test`"
                ))
            }),
            Phase::Staying { since, .. } => {
                (at >= since + self.health.confirm_window + deadline).then(|| self.did_not_stay())
            }
        }
    }

    fn did_not_stay(&self) -> Verdict {
        self.unhealthy(&format!(
            "the system became healthy after `test` and did not stay so for {:?}",
            self.health.confirm_window
        ))
    }

    fn unhealthy(&self, what: &str) -> Verdict {
        let mut symptoms = self.symptoms.clone();
        symptoms.extend(self.network.symptoms());
        if symptoms.is_empty() {
            symptoms.push(self.network.doubt());
        }
        Verdict::Unhealthy {
            code: leading(&symptoms),
            message: format!("{what}: {}", sentence(&symptoms)),
            broken: self.broken.clone(),
        }
    }

    fn flaps(&mut self, unit: &str) -> Verdict {
        self.broken.insert(unit.to_owned());
        Verdict::Unhealthy {
            code: FailureCode::UnhealthyAfterTest,
            message: format!(
                "the system became healthy after `test`, and then {unit} ended and was restarted \
                 by systemd"
            ),
            broken: self.broken.clone(),
        }
    }
}

/// The units that were restarted too often since the window began. A count that
/// fell was reset, by somebody's restart of the unit: it is counted from zero.
fn flapping(
    before: &mut BTreeMap<String, u32>,
    now: &BTreeMap<String, u32>,
    recurring: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut flapping = BTreeSet::new();
    for (unit, &count) in now {
        let before = before.entry(unit.clone()).or_default();
        if count < *before {
            *before = 0;
        }
        let too_many = if recurring.contains(unit) {
            MOST_ENDS
        } else {
            MOST_FAILURES
        };
        if count - *before >= too_many {
            flapping.insert(unit.clone());
        }
    }
    flapping
}

#[cfg(test)]
mod tests;
