//! What is kept of one deployment.
//!
//! In: what the ledger says of its end, and what was learned on the way. Out:
//! plain data, a documented interface. Must not: word it for people.
//!
//! Within one schema keys are only added, and a reader ignores what it does not
//! know; a new word for an outcome, a phase or a failure is a new schema, which
//! an older reader skips by name.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Draft;
use crate::model::closure::Difference;
use crate::model::deployment::{Cause, DeploymentId, Finished};
use crate::model::description::Description;
use crate::model::health::{Baseline, ProbeReport};
use crate::model::policy::Mode;
use crate::model::revision::{Branch, CommitId};
use crate::model::system::{Observed, Toplevel};
use crate::model::text::{LINE_LIMIT, lines, one_line};
use crate::model::time::Now;
use crate::store::snapshot::{LastFailure, OutcomeName, PhaseName, Pushed, System};

/// The version of the format that is written here.
pub const SCHEMA: u32 = 1;

/// How much of a failure's detail is kept, in characters.
const DETAIL_LIMIT: usize = 8000;

/// How many units of each kind are named.
const MOST_UNITS: usize = 50;

/// A deployment that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format: [`SCHEMA`].
    pub schema: u32,
    /// Its id.
    pub deployment: DeploymentId,
    /// How it ended.
    pub outcome: OutcomeName,
    /// Why it did not end well.
    pub failure: Option<LastFailure>,
    /// Why it was started.
    pub cause: Cause,
    /// What it was to make of the host.
    pub mode: Mode,
    /// Its commit.
    pub commit: CommitId,
    /// The commit's branch, if that is not the host's own.
    pub testing: Option<Branch>,
    /// What root pushed, if it was a push: then the commit is the one in whose
    /// place it came.
    #[serde(default)]
    pub pushed: Option<Pushed>,
    /// From where the commit came, if that is known.
    pub remote: Option<Origin>,
    /// What the commit says of itself, and who signed it, if that is known.
    pub description: Option<Description>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// How often a reboot came between.
    pub interruptions: u32,
    /// How long its phases took, in their order, as far as that is known.
    pub phases: Vec<Lasted>,
    /// What the host was when it started.
    pub before: System,
    /// What the commit asks for, if it came so far.
    pub toplevel: Option<Toplevel>,
    /// What the host was when it ended, if somebody looked.
    pub after: Option<System>,
    /// How healthy the host was, if anything was activated.
    pub health: Option<Evidence>,
    /// How the commit's system differs from the one that ran before, once that
    /// is found out.
    pub difference: Option<Difference>,
}

/// From where a commit came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The remote's name.
    pub name: String,
    /// Its URL; the configuration lets none with a secret in it through.
    pub url: String,
    /// The host's own branch there.
    pub branch: Branch,
}

/// How long a phase took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasted {
    /// Which.
    pub phase: PhaseName,
    /// In milliseconds.
    pub duration_ms: u64,
}

/// By what the system was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How long it was watched, in milliseconds.
    pub watched_ms: u64,
    /// Units that had failed before, and so were no verdict.
    pub failed_before: Vec<String>,
    /// Units that had to be active.
    pub required: Vec<String>,
    /// What the previous system's probe saw: what had to be seen again.
    pub expected: Option<ProbeReport>,
}

impl Evidence {
    /// Before anybody watched.
    pub fn of(baseline: &Baseline) -> Self {
        let few = |units: &std::collections::BTreeSet<String>| {
            let few = units.iter().take(MOST_UNITS);
            few.map(|unit| one_line(unit, LINE_LIMIT)).collect()
        };
        Self {
            watched_ms: 0,
            failed_before: few(&baseline.failed),
            required: few(&baseline.required),
            expected: baseline.probe.clone(),
        }
    }
}

impl Record {
    /// What the ledger says of the end, and the draft of the way there.
    pub fn new(finished: &Finished, draft: &Draft, after: Option<&Observed>) -> Self {
        let deployment = &finished.deployment;
        let watched = draft.phases.iter();
        let watched = watched.filter(|lasted| lasted.phase == PhaseName::Confirming);
        let watched_ms = watched.map(|lasted| lasted.duration_ms).sum();
        Self {
            schema: SCHEMA,
            deployment: deployment.id.clone(),
            outcome: OutcomeName::from(&finished.outcome),
            failure: finished.outcome.failure().map(|it| bounded(it.into())),
            cause: deployment.cause,
            mode: deployment.aim(),
            commit: deployment.candidate.commit().clone(),
            testing: deployment.candidate.testing().cloned(),
            pushed: deployment.candidate.push().map(Pushed::from),
            remote: draft.remote.clone(),
            description: draft.description.clone(),
            started_at: deployment.started.wall,
            finished_at: finished.finished.wall,
            duration_ms: milliseconds(between(deployment.started, finished.finished)),
            interruptions: deployment.interruptions,
            phases: draft.phases.clone(),
            before: System::from(&deployment.before),
            toplevel: finished.toplevel.clone(),
            after: after.map(System::from),
            health: draft.health.clone().map(|health| Evidence {
                watched_ms,
                ..health
            }),
            difference: None,
        }
    }

    /// The two systems whose difference is of interest, where there are two.
    pub fn systems(&self) -> Option<(&Toplevel, &Toplevel)> {
        let (before, after) = (self.before.running.as_ref()?, self.toplevel.as_ref()?);
        (before != after).then_some((before, after))
    }
}

fn bounded(failure: LastFailure) -> LastFailure {
    LastFailure {
        message: lines(&failure.message, DETAIL_LIMIT),
        detail: lines(&failure.detail, DETAIL_LIMIT),
        hint: lines(&failure.hint, DETAIL_LIMIT),
        ..failure
    }
}

/// From one reading to a later one; over a reboot only the wall clock can say.
pub(super) fn between(begun: Now, ended: Now) -> Duration {
    if ended.since_boot >= begun.since_boot {
        return ended.since_boot - begun.since_boot;
    }
    let wall = ended.wall.duration_since(begun.wall);
    Duration::try_from(wall).unwrap_or_default()
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
