//! A sequence of probes to whether the network is as good as before.
//!
//! In: the beginning and the end of each probe, and of each poll by this
//! daemon. Out: what is known by now. Must not: know of units, or wait.

use std::time::Duration;

use super::symptom::{self, Symptom};
use crate::model::failure::FailureCode;
use crate::model::health::{Baseline, ProbeReport, Reachability};

/// How many good probes in a row mean that the network has become good.
const GOOD_PROBES: u32 = 2;

/// How many bad ones in a row are a verdict once it was good: a single packet
/// may be lost, and a remote may be busy for once.
const BAD_PROBES: u32 = 3;

/// How a probe ended.
#[derive(Clone, Debug)]
pub(in super::super) enum Probed {
    /// It gave a report.
    Seen(ProbeReport),
    /// The new system's daemon knows no probe: no verdict will come of it.
    NoProbe,
    /// The new system's program gave no report; why.
    Broken(String),
    /// It could not be run; why.
    Unreadable(String),
}

/// What is known of the network.
#[derive(Debug)]
pub(super) struct Network<'a> {
    before: Option<&'a ProbeReport>,
    /// Until it is known that there is none.
    has_probe: bool,
    /// When the probe began that has not ended.
    begun_at: Option<Duration>,
    /// When the first of the good ones in a row began.
    good_since: Option<Duration>,
    good: u32,
    bad: u32,
    symptoms: Vec<Symptom>,
    poll: Poll,
}

/// Whether this very daemon can ask its remote.
#[derive(Debug)]
enum Poll {
    /// The remote did not answer before, or nobody knows.
    NotNeeded,
    /// It has not yet; how often in a row it could not, and why.
    Due {
        failures: u32,
        symptom: Option<Symptom>,
    },
    /// It could.
    Done,
}

impl<'a> Network<'a> {
    pub(super) fn new(baseline: &'a Baseline) -> Self {
        let before = baseline.probe.as_ref();
        let was_reachable = before.is_some_and(|it| it.remote == Reachability::Reachable);
        Self {
            before,
            has_probe: true,
            begun_at: None,
            good_since: None,
            good: 0,
            bad: 0,
            symptoms: Vec::new(),
            poll: if was_reachable {
                Poll::Due {
                    failures: 0,
                    symptom: None,
                }
            } else {
                Poll::NotNeeded
            },
        }
    }

    pub(super) fn begin_probe(&mut self, at: Duration) {
        self.begun_at = Some(at);
    }

    /// Takes the end of the probe that was begun last.
    pub(super) fn end_probe(&mut self, at: Duration, probed: &Probed) {
        let begun_at = self.begun_at.take().unwrap_or(at);
        self.symptoms = match probed {
            Probed::Seen(report) => symptom::of_report(report, self.before),
            Probed::Broken(why) => vec![Symptom::new(FailureCode::ProbeFailed, why)],
            Probed::NoProbe => {
                self.has_probe = false;
                Vec::new()
            }
            Probed::Unreadable(why) => {
                let text = format!("the network cannot be looked at: {why}");
                self.symptoms = vec![Symptom::new(FailureCode::UnhealthyAfterTest, text)];
                // Neither good nor bad; but what was good, is not proven any more.
                (self.good, self.good_since) = (0, None);
                return;
            }
        };
        if self.symptoms.is_empty() {
            self.good_since.get_or_insert(begun_at);
            (self.good, self.bad) = (self.good + 1, 0);
        } else {
            (self.good, self.good_since) = (0, None);
            self.bad += 1;
        }
    }

    /// Takes the end of a poll by this daemon. One is enough.
    pub(super) fn end_poll(&mut self, polled: &Result<(), Symptom>) {
        self.poll = match (&self.poll, polled) {
            (Poll::NotNeeded, _) => Poll::NotNeeded,
            (Poll::Done, _) | (Poll::Due { .. }, Ok(())) => Poll::Done,
            (Poll::Due { failures, .. }, Err(symptom)) => Poll::Due {
                failures: failures + 1,
                symptom: Some(symptom.clone()),
            },
        };
    }

    /// Since when it has been good often enough; zero where nobody can know.
    pub(super) fn has_become_good(&self) -> Option<Duration> {
        if !self.has_probe {
            return Some(Duration::ZERO);
        }
        self.good_since.filter(|_| self.good >= GOOD_PROBES)
    }

    /// From now on it must stay good: what failed until now does not count.
    pub(super) fn stay_good(&mut self) {
        self.bad = 0;
        if let Poll::Due { failures, .. } = &mut self.poll {
            *failures = 0;
        }
    }

    /// Whether the last probe was good, or there is none.
    pub(super) fn was_good(&self) -> bool {
        !self.has_probe || self.good > 0
    }

    /// Whether it was good and is not any more.
    pub(super) fn is_lost(&self) -> bool {
        let cannot_poll = matches!(self.poll, Poll::Due { failures, .. } if failures >= BAD_PROBES);
        self.bad >= BAD_PROBES || cannot_poll
    }

    /// Whether nothing more has to be heard for a verdict at `end`: the last
    /// probe that was begun before was good, and this daemon has polled.
    pub(super) fn is_proven(&self, end: Duration) -> bool {
        let is_awaited = self.begun_at.is_some_and(|begun_at| begun_at <= end);
        let is_good = self.was_good() && (!self.has_probe || !is_awaited);
        is_good && !matches!(self.poll, Poll::Due { .. })
    }

    /// What is wrong.
    pub(super) fn symptoms(&self) -> Vec<Symptom> {
        let mut symptoms = self.symptoms.clone();
        if let Poll::Due {
            symptom: Some(symptom),
            ..
        } = &self.poll
            && !symptoms.iter().any(|it| it.code == symptom.code)
        {
            symptoms.push(symptom.clone());
        }
        symptoms
    }

    /// What is not known, although nothing is wrong.
    pub(super) fn doubt(&self) -> Symptom {
        if self.has_probe && self.good < GOOD_PROBES {
            let text = "the network was not seen to be as good as before";
            return Symptom::new(FailureCode::UnhealthyAfterTest, text);
        }
        symptom::remote_lost("this daemon's own poll has not ended")
    }
}
