//! What outlives the daemon, and what one decision takes and gives.
//!
//! In: nothing. Out: the vocabulary of `step` and `recover`. Must not: hold
//! logic beyond naming the work that a phase waits for.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::earlier::Proven;
use super::effect::{Effect, Work};
use super::holding::Hold;
use super::phase::{Phase, Reboot};
use super::quarantine::Quarantine;
use crate::model::deployment::{Deployment, DeploymentId, Finished, Outcome, Resolved};
use crate::model::failure::FailureCode;
use crate::model::pause::Pause;
use crate::model::policy::{OnUnhealthy, Policy, Settings};
use crate::model::push::OwnCheck;
use crate::model::revision::{Candidate, CommitId, Confirmed};
use crate::model::stage::{Arming, CheckPlan, Forgiven, Rollback};
use crate::model::system::{BootId, Observed};
use crate::model::time::Now;

/// Everything that outlives the daemon: what the ledger holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What is going on.
    pub phase: Phase,
    /// What the last evaluated candidate asks for.
    pub resolved: Option<Resolved>,
    /// How the last deployment ended.
    pub last: Option<Finished>,
    /// When a transient failure is tried again.
    pub retry: Option<Retry>,
    /// Units that a failed rollback of ours left failed: no verdict on the
    /// host before the next activation, or a fix could never be deployed.
    pub known_broken: BTreeSet<String>,
    /// Toplevels that failed: none is activated again by itself.
    #[serde(default)]
    pub quarantine: Quarantine,
    /// Where a reboot leads: astray from a boot entry that could not be put
    /// back, until it is read back as what runs.
    #[serde(default)]
    pub reboot: Reboot,
    /// The commit that was confirmed last: the next one has to follow it.
    #[serde(default)]
    pub floor: Option<CommitId>,
    /// What root allowed to be followed once, whatever the floor is.
    #[serde(default)]
    pub allowed: Option<CommitId>,
    /// What became of the testing branch.
    #[serde(default)]
    pub tested: Tested,
    /// Why nothing new is begun, if an operator wants it so.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// What was confirmed here, and can be gone back to.
    #[serde(default)]
    pub proven: Proven,
    /// What root went back to or pushed, and is not to be left by itself.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// How root's rollback or push ended, where no deployment has ended since.
    #[serde(default)]
    pub reverted: Option<Finished>,
    /// What the host's own branch was when somebody could last say.
    #[serde(default)]
    pub newest: Option<Newest>,
}

/// A commit, and since when there is none that is newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// The commit.
    pub commit: CommitId,
    /// When this host saw it first; wall clock, because it must outlive a reboot.
    pub seen_at: Timestamp,
}

/// What became of the testing branch. What the rest of the state says of a last
/// deployment is of the host's own branch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tested {
    /// What the host was brought to, and is to stay.
    pub standing: Option<Finished>,
    /// How the deployment of the head that was tried last ended.
    pub tried: Option<Finished>,
    /// Whether that was after the last one of the host's own branch.
    pub is_latest: bool,
    /// When a transient failure of it is tried again.
    pub retry: Option<Retry>,
    /// The commit that had failed when going back to what was confirmed failed,
    /// too.
    pub stuck: Option<CommitId>,
}

/// When to try again, and how often it was tried already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Failed attempts in a row.
    pub attempts: u32,
    /// How often in a row memory ran out.
    #[serde(default)]
    pub out_of_memory: u32,
    /// Not before this; wall clock, because it must outlive a reboot.
    pub not_before: Timestamp,
}

/// What a decision is made with besides state and event.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The operator's.
    pub policy: &'a Policy,
    /// The operator's other settings, as far as an outcome depends on them.
    pub settings: Settings,
    /// The time of the event.
    pub now: Now,
    /// This boot.
    pub boot_id: BootId,
    /// The id of the next deployment, should one start.
    pub fresh_id: DeploymentId,
    /// Random bits for jitter.
    pub random: u64,
}

/// What a decision led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The next state; on disk before any effect.
    pub state: State,
    /// What is due, in this order.
    pub effects: Vec<Effect>,
    /// Whether the event belonged to something that is over.
    pub stale: bool,
}

impl State {
    /// What the next commit is judged by.
    pub fn confirmed(&self) -> Confirmed {
        Confirmed {
            floor: self.floor.clone().or_else(|| self.confirmed_last()),
            allowed: self.allowed.clone(),
        }
    }

    /// For ledgers of versions that had no floor.
    fn confirmed_last(&self) -> Option<CommitId> {
        let last = self.last.as_ref()?;
        let is_confirmed = matches!(last.outcome, Outcome::Deployed | Outcome::Unchanged);
        is_confirmed.then(|| last.deployment.candidate.commit().clone())
    }

    /// The deployment that ended last, of whichever branch.
    pub fn latest(&self) -> Option<&Finished> {
        let tested = self.tested.tried.as_ref();
        let tested = tested.filter(|_| self.tested.is_latest);
        self.reverted.as_ref().or(tested).or(self.last.as_ref())
    }

    /// The last deployment of that candidate's branch, and when it is tried again.
    pub(super) fn before(&self, candidate: &Candidate) -> (Option<&Finished>, Option<&Retry>) {
        match candidate {
            Candidate::Commit(_) => (self.last.as_ref(), self.retry.as_ref()),
            Candidate::Testing { .. } => (self.tested.tried.as_ref(), self.tested.retry.as_ref()),
            // It is one try.
            Candidate::Earlier { .. } | Candidate::Pushed { .. } => (self.reverted.as_ref(), None),
        }
    }

    /// Takes what the branch is now. Where nobody has noted when it was new, the
    /// deployment that it was for may know.
    pub(super) fn learn_head(&mut self, head: &CommitId, now: Timestamp) {
        if self.newest.as_ref().is_some_and(|it| it.commit == *head) {
            return;
        }
        let last = self.last.as_ref().map(|last| &last.deployment);
        let began = last.filter(|it| it.candidate == Candidate::Commit(head.clone()));
        let began = began.filter(|_| self.newest.is_none());
        self.newest = Some(Newest {
            commit: head.clone(),
            seen_at: began.map_or(now, |it| it.started.wall),
        });
    }

    /// Takes what the host is now: a default entry that starts what runs leads
    /// nobody astray, whoever repaired it.
    pub(super) fn learn_entry(&mut self, observed: &Observed) {
        let entry = observed.default_entry.toplevel();
        if entry.is_some() && entry == observed.running.as_ref() {
            self.reboot = Reboot::LeadsBack;
        }
    }

    /// The work that the phase is waiting for: what a restarted daemon takes up.
    /// None at rest; nothing is armed, and so nothing is ever rolled back,
    /// without a system to go back to.
    pub fn work(&self) -> Option<(DeploymentId, Work)> {
        let work = match &self.phase {
            Phase::Resting => return None,
            Phase::Importing { deployment } => Work::Import(deployment.candidate.clone()),
            Phase::Evaluating { deployment } => Work::Evaluate(deployment.candidate.clone()),
            Phase::Building { derivation, .. } => Work::Build(derivation.clone()),
            Phase::Rooting { deployment, system } => {
                Work::Root(system.clone(), deployment.before.running.clone())
            }
            Phase::Inspecting { deployment, system } => {
                Work::Inspect(system.clone(), self.forgiven(deployment))
            }
            Phase::Checking {
                deployment,
                system,
                way,
            } => {
                let push = deployment.candidate.push();
                let own = push.map(|push| push.own_check.clone());
                let (scope, own) = (way.scope(), own.unwrap_or_default());
                Work::Check(system.clone(), CheckPlan { scope, own })
            }
            Phase::Arming { deployment, system } => Work::Arm(Arming {
                candidate: deployment.candidate.clone(),
                toplevel: system.toplevel.clone(),
                previous: deployment.before.running.clone(),
                may_reboot: Reboot::away_from(system, deployment) == Reboot::LeadsBack,
            }),
            Phase::Testing(it) => Work::Test(it.system.clone(), it.baseline.clone()),
            Phase::Replacing(_) => Work::Replace,
            Phase::Confirming(it) => Work::Confirm(it.system.clone(), it.baseline.clone()),
            Phase::Claiming(_) => Work::Claim,
            Phase::SettingProfile {
                activation,
                permission,
            } => Work::SetProfile(activation.system.clone(), permission.clone()),
            Phase::WritingBootEntry {
                activation,
                permission,
            } => Work::WriteBootEntry(activation.system.clone(), permission.clone()),
            Phase::ReadingBack { .. } => Work::ReadBack,
            Phase::Restoring {
                previous, system, ..
            } => Work::Restore {
                previous: previous.clone(),
                failed: system.toplevel.clone(),
            },
            Phase::Disarming { .. } => Work::Disarm,
            Phase::RollingBack {
                activation: it,
                failure,
                reboot,
            } => Work::RollBack(Rollback {
                asked_by: it.deployment.candidate.clone(),
                previous: it.deployment.before.running.clone()?,
                candidate: it.system.toplevel.clone(),
                baseline: it.baseline.clone(),
                ask_remote: failure.code == FailureCode::RemoteLost,
                may_reboot: *reboot == Reboot::LeadsBack,
            }),
        };
        let deployment = self.phase.deployment()?;
        Some((deployment.id.clone(), work))
    }

    fn forgiven(&self, deployment: &Deployment) -> Forgiven {
        Forgiven {
            broken: self.known_broken.clone(),
            lacking: deployment.allowed.clone(),
            unhealthy: match &deployment.candidate {
                // Who goes back, does so because something is not well.
                Candidate::Earlier { .. } => OnUnhealthy::ProceedIfNotWorse,
                Candidate::Pushed { push, .. } => match push.own_check {
                    OwnCheck::Skipped => OnUnhealthy::ProceedIfNotWorse,
                    OwnCheck::Configured | OwnCheck::Named(_) => OnUnhealthy::Refuse,
                },
                Candidate::Commit(_) | Candidate::Testing { .. } => OnUnhealthy::Refuse,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, deployment};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn seen_at(state: &State) -> Option<Timestamp> {
        state.newest.as_ref().map(|newest| newest.seen_at)
    }

    #[test]
    fn a_commit_is_new_once() {
        let mut state = State::default();
        for (head, now, expected) in [(1, 100, 100), (1, 200, 100), (2, 300, 300), (2, 400, 300)] {
            state.learn_head(&commit(head), at(now));
            assert_eq!(seen_at(&state), Some(at(expected)), "at {now}");
        }
    }

    #[test]
    fn of_an_older_ledger_the_deployment_says_when_its_commit_was_new() {
        let deployment = deployment(1);
        let started = deployment.started;
        let last = Finished {
            deployment,
            toplevel: None,
            outcome: Outcome::Deployed,
            finished: started,
        };
        for (head, expected) in [(1, started.wall), (2, at(500))] {
            let mut state = State {
                last: Some(last.clone()),
                ..State::default()
            };
            state.learn_head(&commit(head), at(500));
            assert_eq!(seen_at(&state), Some(expected));
        }
    }
}
