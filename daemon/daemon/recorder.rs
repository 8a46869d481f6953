//! The history: what each deployment was on its way, and how it ended.
//!
//! In: the state before and after a decision. Out: a record for each deployment
//! that ended, and what is found out of it afterwards. Must not: keep the daemon
//! from anything; what cannot be written is told, and missing.
//!
//! The ledger keeps how the last deployments ended. So a daemon that was killed
//! before the record was written leaves it to the next one.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::warn;

use crate::model::deployment::{Deployment, DeploymentId, Finished};
use crate::model::health::Baseline;
use crate::model::system::{Observed, Toplevel};
use crate::model::time::Now;
use crate::pipeline::Stages;
use crate::reconcile::phase::Phase;
use crate::reconcile::state::State;
use crate::report::milestones;
use crate::store::history::{Draft, Evidence, History, Origin, Record};
use crate::store::snapshot::PhaseName;

use super::publisher::phase_name;

/// How many packages and units of each kind a record names: more is what the
/// command line finds out as long as the systems are there.
const MOST_NAMED: usize = 200;

/// Keeps the history of one host.
pub(super) struct Recorder<S> {
    stages: Arc<S>,
    shared: Arc<Shared>,
}

/// What tasks that find something out share with the loop.
struct Shared {
    history: History,
    /// The deployment on its way.
    draft: Mutex<Option<Draft>>,
    /// Held by whoever writes a record: each is written under one name first.
    writing: Mutex<()>,
}

/// What is known of the moment besides the state.
pub(super) struct Moment<'a> {
    /// The time.
    pub(super) now: Now,
    /// What the host is.
    pub(super) observed: &'a Observed,
    /// Which remote is followed.
    pub(super) origin: Origin,
}

impl<S: Stages> Recorder<S> {
    pub(super) fn new(stages: Arc<S>, history: History) -> Self {
        let shared = Shared {
            history,
            draft: Mutex::default(),
            writing: Mutex::default(),
        };
        Self {
            stages,
            shared: Arc::new(shared),
        }
    }

    /// Takes up what the daemon before has left: the draft of what goes on, and
    /// the record of what ended.
    pub(super) fn resume(&self, state: &State, now: Now) {
        if let Some(deployment) = state.phase.deployment() {
            self.shared
                .draft_of(&deployment.id, |draft| draft.resume(now));
        }
        let Some(finished) = state.latest() else {
            return;
        };
        let known = self.shared.history.of(&finished.deployment.id);
        if known.is_none() {
            self.shared.end(finished, None);
        }
        let record = known.or_else(|| self.shared.history.of(&finished.deployment.id));
        if let Some(record) = record.filter(|record| record.difference.is_none()) {
            self.compare(&record);
        }
    }

    /// Notes what a decision changed.
    pub(super) fn note(&self, before: &State, after: &State, moment: &Moment<'_>) {
        let id = |state: &State| state.phase.deployment().map(|current| current.id.clone());
        let moved =
            phase_name(&before.phase) != phase_name(&after.phase) || id(before) != id(after);
        if moved && let Some(deployment) = before.phase.deployment() {
            self.shared
                .leave(&deployment.id, phase_name(&before.phase), moment.now);
        }
        let tested = (&before.tested.tried, &after.tested.tried);
        let reverted = (&before.reverted, &after.reverted);
        for (known, ended) in [(&before.last, &after.last), tested, reverted] {
            if let Some(finished) = ended
                && known != ended
            {
                self.shared.end(finished, Some(moment.observed));
                if let Some((old, new)) = two_systems(finished) {
                    self.find_difference(&finished.deployment.id, old, new);
                }
            }
        }
        if let Some(deployment) = after.phase.deployment().filter(|_| moved) {
            if id(before).as_ref() != Some(&deployment.id) {
                self.begin(deployment, moment);
            }
            self.shared.enter(&deployment.id, moment.now);
        }
        if let Some((id, baseline)) = baseline(&after.phase) {
            self.shared.judge_by(id, baseline);
        }
    }

    /// A deployment begins: who wrote its commit is asked aside.
    fn begin(&self, deployment: &Deployment, moment: &Moment<'_>) {
        let origin = moment.origin.clone();
        if deployment.candidate.push().is_some() {
            // It came from no remote, and no mirror has it.
            return;
        }
        self.shared
            .draft_of(&deployment.id, |draft| draft.remote = Some(origin));
        let (stages, shared) = (Arc::clone(&self.stages), Arc::clone(&self.shared));
        let (id, commit) = (deployment.id.clone(), deployment.candidate.commit().clone());
        tokio::spawn(async move {
            if let Some(description) = stages.describe(&commit).await {
                shared.learn(&id, |draft| draft.description = Some(description.clone()));
                shared.amend(&id, |record| record.description = Some(description));
            }
        });
    }

    fn compare(&self, record: &Record) {
        if let Some((old, new)) = record.systems() {
            self.find_difference(&record.deployment, old.clone(), new.clone());
        }
    }

    /// Has Nix asked, aside, how the systems differ.
    fn find_difference(&self, id: &DeploymentId, old: Toplevel, new: Toplevel) {
        let (stages, shared) = (Arc::clone(&self.stages), Arc::clone(&self.shared));
        let id = id.clone();
        tokio::spawn(async move {
            match stages.compare(&old, &new).await {
                Ok(difference) => {
                    let difference = difference.shortened(MOST_NAMED);
                    shared.amend(&id, |record| record.difference = Some(difference));
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    milestones::difference_unknown(&id, &error);
                }
            }
        });
    }
}

impl Shared {
    /// Changes the draft of a deployment, and begins it where there is none.
    fn draft_of(&self, id: &DeploymentId, change: impl FnOnce(&mut Draft)) {
        let Ok(mut draft) = self.draft.lock() else {
            return;
        };
        let known = draft.take().filter(|draft| draft.deployment == *id);
        let mut new = known.unwrap_or_else(|| self.history.draft(id));
        change(&mut new);
        if let Err(error) = self.history.keep_draft(&new) {
            tell(id, &error);
        }
        *draft = Some(new);
    }

    fn enter(&self, id: &DeploymentId, now: Now) {
        self.draft_of(id, |draft| draft.enter(now));
    }

    fn leave(&self, id: &DeploymentId, phase: PhaseName, now: Now) {
        self.draft_of(id, |draft| draft.leave(phase, now));
    }

    fn judge_by(&self, id: &DeploymentId, baseline: &Baseline) {
        let is_known = self.draft.lock().is_ok_and(|draft| {
            let draft = draft.as_ref().filter(|draft| draft.deployment == *id);
            draft.is_some_and(|draft| draft.health.is_some())
        });
        if !is_known {
            self.draft_of(id, |draft| draft.health = Some(Evidence::of(baseline)));
        }
    }

    /// The same for what was found out aside: the deployment may be over.
    fn learn(&self, id: &DeploymentId, change: impl FnOnce(&mut Draft)) {
        let is_its = self
            .draft
            .lock()
            .is_ok_and(|draft| draft.as_ref().is_some_and(|draft| draft.deployment == *id));
        if is_its {
            self.draft_of(id, change);
        }
    }

    /// Writes the record of a deployment that ended.
    fn end(&self, finished: &Finished, after: Option<&Observed>) {
        // Before the draft is read: what is learned since is added afterwards.
        let _one = self.writing.lock();
        let id = &finished.deployment.id;
        let known = self.draft.lock().ok().and_then(|draft| draft.clone());
        let draft = known.filter(|draft| draft.deployment == *id);
        let draft = draft.unwrap_or_else(|| self.history.draft(id));
        let record = Record::new(finished, &draft, after);
        if let Err(error) = self.history.keep(&record) {
            tell(id, &error);
        }
    }

    /// Adds to a record what was found out since.
    fn amend(&self, id: &DeploymentId, change: impl FnOnce(&mut Record)) {
        let _one = self.writing.lock();
        let Some(mut record) = self.history.of(id) else {
            return;
        };
        change(&mut record);
        if let Err(error) = self.history.keep(&record) {
            tell(id, &error);
        }
    }
}

/// A record that is missing harms nobody.
fn tell(id: &DeploymentId, error: &io::Error) {
    warn!(df_deployment = %id, %error, "the history cannot be written");
}

fn two_systems(finished: &Finished) -> Option<(Toplevel, Toplevel)> {
    let (before, after) = (
        finished.deployment.before.running.as_ref()?,
        finished.toplevel.as_ref()?,
    );
    (before != after).then(|| (before.clone(), after.clone()))
}

/// By what the system of a phase is judged, once it is activated.
fn baseline(phase: &Phase) -> Option<(&DeploymentId, &Baseline)> {
    match phase {
        Phase::Testing(activation)
        | Phase::Replacing(activation)
        | Phase::Confirming(activation)
        | Phase::Claiming(activation)
        | Phase::RollingBack { activation, .. } => {
            Some((&activation.deployment.id, &activation.baseline))
        }
        Phase::Resting
        | Phase::Importing { .. }
        | Phase::Evaluating { .. }
        | Phase::Building { .. }
        | Phase::Rooting { .. }
        | Phase::Inspecting { .. }
        | Phase::Checking { .. }
        | Phase::Arming { .. }
        | Phase::SettingProfile { .. }
        | Phase::WritingBootEntry { .. }
        | Phase::ReadingBack { .. }
        | Phase::Restoring { .. }
        | Phase::Disarming { .. } => None,
    }
}
