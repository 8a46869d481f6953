//! Which milestones a change of state is.
//!
//! In: the state before and after a decision. Out: the milestones between
//! them, about ten for a deployment. Must not: say the same thing twice; a
//! retry that ends as the attempt before it did is not news.

use std::time::Duration;

use tracing::debug;

use super::milestones;
use crate::model::deployment::{Cause, Deployment, DeploymentId, Finished, Outcome};
use crate::model::failure::FailureCode;
use crate::model::revision::Branch;
use crate::model::system::Observed;
use crate::reconcile::condition::Condition;
use crate::reconcile::phase::{Activation, Phase};
use crate::reconcile::state::State;

/// Tells what a decision changed. `took`: how long the phase before lasted.
pub fn tell(branch: &Branch, before: &State, after: &State, took: Duration) {
    let tested = (&before.tested.tried, &after.tested.tried);
    let reverted = (&before.reverted, &after.reverted);
    for (before, after) in [(&before.last, &after.last), tested, reverted] {
        if let Some(finished) = after
            && before != after
        {
            way_back(finished, took);
            ended(before.as_ref(), finished);
        }
    }
    for held in after.quarantine.iter() {
        if !before.quarantine.iter().any(|known| known == held) {
            milestones::quarantined(&held.toplevel, &held.commit, &held.failure);
        }
    }
    if let Phase::Disarming { activation, .. } = &before.phase
        && !matches!(
            after.phase,
            Phase::Disarming { .. } | Phase::RollingBack { .. }
        )
    {
        milestones::disarmed(&activation.deployment.id, took);
    }
    let id = |phase: &Phase| phase.deployment().map(|deployment| deployment.id.clone());
    if id(&before.phase) == id(&after.phase) {
        went_on(&before.phase, &after.phase, took);
    } else if let Some(deployment) = after.phase.deployment() {
        began(branch, deployment);
    }
}

fn began(branch: &Branch, deployment: &Deployment) {
    let commit = deployment.candidate.commit();
    match deployment.cause {
        Cause::NewCommit => {
            let branch = deployment.candidate.testing().unwrap_or(branch);
            milestones::new_commit(&deployment.id, branch, commit);
        }
        Cause::Drift
        | Cause::Operator
        | Cause::Mode
        | Cause::TestingLeft
        | Cause::Rollback
        | Cause::Push
        | Cause::Resumed => {
            milestones::deployment_started(&deployment.id, commit, deployment.cause);
        }
        Cause::Retry => debug!(df_deployment = %deployment.id, "a deployment is tried again"),
    }
}

fn went_on(before: &Phase, after: &Phase, took: Duration) {
    let (Some(deployment), quiet) = (after.deployment(), is_retry(after)) else {
        return;
    };
    let id = &deployment.id;
    match (before, after) {
        (Phase::Evaluating { .. }, Phase::Building { derivation, .. }) if !quiet => {
            milestones::evaluated(id, derivation, took);
        }
        (Phase::Building { .. }, Phase::Rooting { system, .. }) if !quiet => {
            milestones::built(id, &system.toplevel, took);
        }
        (Phase::Checking { system, .. }, Phase::Arming { .. }) => {
            milestones::check_passed(id, &system.toplevel, took);
        }
        (Phase::Arming { system, .. }, Phase::Testing(_)) => {
            milestones::armed(id, &system.toplevel, took);
            milestones::test_started(id, &system.toplevel);
        }
        (Phase::Checking { system, .. }, Phase::SettingProfile { .. }) => {
            milestones::check_passed(id, &system.toplevel, took);
        }
        (Phase::Testing(Activation { system, .. }), Phase::Replacing(_)) => {
            milestones::activated(id, &system.toplevel, took);
        }
        (Phase::Confirming(Activation { system, .. }), Phase::Claiming(_)) => {
            milestones::confirmed(id, &system.toplevel, took);
        }
        (Phase::WritingBootEntry { activation, .. }, Phase::ReadingBack { .. }) => {
            milestones::boot_entry_written(id, &activation.system.toplevel, took);
        }
        (
            _,
            Phase::RollingBack {
                activation,
                failure,
                ..
            },
        ) => milestones::rolling_back(id, &activation.system.toplevel, failure),
        (_, Phase::Restoring { system, .. }) => {
            milestones::restoring(id, &system.toplevel);
        }
        // Every other change of phase is seen in the status.
        (_, _) => {}
    }
}

/// Where a rollback led; `took`: how long it was, if it was live.
fn way_back(finished: &Finished, took: Duration) {
    let id = &finished.deployment.id;
    let previous = finished.deployment.before.running.as_ref();
    match &finished.outcome {
        Outcome::RolledBack(_) => milestones::rolled_back(id, previous, took),
        // What is told of its end says so.
        Outcome::RolledBackByReboot(failure) if failure.code == FailureCode::TestEnded => {}
        Outcome::RolledBackByReboot(failure) => {
            milestones::rolled_back_by_reboot(id, previous, failure);
        }
        Outcome::RollbackFailed(failure) => milestones::rollback_failed(id, previous, failure),
        Outcome::Inconclusive(failure) => milestones::inconclusive(id, previous, failure),
        // Nothing was led back.
        Outcome::Deployed
        | Outcome::Unchanged
        | Outcome::Refused(_)
        | Outcome::Failed(_)
        | Outcome::RebootRequired { .. }
        | Outcome::Superseded
        | Outcome::Overridden(_) => {}
    }
}

fn is_retry(phase: &Phase) -> bool {
    phase
        .deployment()
        .is_some_and(|deployment| deployment.cause == Cause::Retry)
}

fn ended(before: Option<&Finished>, finished: &Finished) {
    let failure = |finished: &Finished| {
        let failure = finished.outcome.failure()?;
        Some((failure.code, failure.message.clone()))
    };
    let same = before.is_some_and(|before| {
        before.deployment.candidate == finished.deployment.candidate
            && failure(before).is_some()
            && failure(before) == failure(finished)
    });
    if same && finished.deployment.cause == Cause::Retry {
        debug!(df_deployment = %finished.deployment.id, "the retry ended as the attempt before");
        return;
    }
    milestones::ended(finished, duration(finished));
}

/// How long a deployment took; over a reboot only the wall clock can say.
fn duration(finished: &Finished) -> Duration {
    let (started, ended) = (finished.deployment.started, finished.finished);
    if ended.since_boot >= started.since_boot {
        return ended.since_boot - started.since_boot;
    }
    let wall = ended.wall.duration_since(started.wall);
    Duration::try_from(wall).unwrap_or_default()
}

/// Tells what a restarted daemon took up again.
pub fn resumed(before: &State, after: &State) {
    let Some(deployment) = before.phase.deployment() else {
        return;
    };
    let commit = deployment.candidate.commit();
    let phase = before.phase.name();
    match after.phase.deployment() {
        Some(now) if now.boot_id == deployment.boot_id => {
            if matches!(before.phase, Phase::Replacing(_)) {
                milestones::daemon_replaced(&deployment.id, commit);
            } else {
                milestones::resumed(&deployment.id, commit, phase);
            }
        }
        // A reboot that was the way back, is told as that.
        None if was_led_back(after, &deployment.id) => {}
        Some(_) | None => milestones::interrupted(&deployment.id, commit, phase),
    }
}

fn was_led_back(state: &State, id: &DeploymentId) -> bool {
    state.last.as_ref().is_some_and(|last| {
        last.deployment.id == *id && matches!(last.outcome, Outcome::RolledBackByReboot(_))
    })
}

/// Whether a host at rest stopped being what it was brought to, and that was
/// told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drift {
    is_told: bool,
}

/// What there is to tell about drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Nothing,
    Drifted,
    Corrected,
}

impl Drift {
    /// Tells when the host drifted, or is what it was brought to again.
    pub fn tell(&mut self, now: &Condition, observed: &Observed) {
        match (self.news(now), now) {
            (News::Drifted, Condition::Drifted { wanted }) => {
                milestones::drifted(wanted, observed);
            }
            (News::Corrected, _) => {
                if let Some(running) = &observed.running {
                    milestones::drift_corrected(running);
                }
            }
            (News::Nothing | News::Drifted, _) => {}
        }
    }

    /// A manual switch makes the host busy for a moment, and the remote may
    /// come and go: neither makes the same drift news again, or its end none.
    fn news(&mut self, now: &Condition) -> News {
        let was_told = self.is_told;
        match now {
            Condition::Drifted { .. } => {
                self.is_told = true;
                if was_told {
                    News::Nothing
                } else {
                    News::Drifted
                }
            }
            Condition::Converged | Condition::Testing | Condition::Holding => {
                self.is_told = false;
                if was_told {
                    News::Corrected
                } else {
                    News::Nothing
                }
            }
            Condition::Starting
            | Condition::Waiting(_)
            | Condition::Paused(_)
            | Condition::RemoteUnreachable(_) => News::Nothing,
            // From here on it is the deployment that is told of.
            Condition::Deploying
            | Condition::Refused(_)
            | Condition::Failed(_)
            | Condition::RolledBack(_)
            | Condition::Retrying(_)
            | Condition::RebootRequired { .. } => {
                self.is_told = false;
                News::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;
    use crate::model::system::Toplevel;

    fn drifted() -> Condition {
        let path = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-web1".to_owned();
        let wanted = Toplevel::new(path.try_into().expect("it is a store path"));
        Condition::Drifted { wanted }
    }

    fn failure(code: FailureCode) -> Failure {
        Failure::new(code, "m", "h")
    }

    fn told(conditions: &[Condition]) -> Vec<News> {
        let mut drift = Drift::default();
        conditions.iter().map(|now| drift.news(now)).collect()
    }

    #[test]
    fn drift_and_its_end_are_told_once_whatever_comes_between() {
        use News::{Corrected, Drifted, Nothing};
        let busy = || Condition::Waiting(failure(FailureCode::HostBusy));
        let unreachable = || Condition::RemoteUnreachable(failure(FailureCode::RemoteUnreachable));
        let conditions = [
            Condition::Converged,
            drifted(),
            busy(),
            drifted(),
            busy(),
            unreachable(),
            Condition::Converged,
            Condition::Converged,
            drifted(),
        ];
        assert_eq!(
            told(&conditions),
            [
                Nothing, Drifted, Nothing, Nothing, Nothing, Nothing, Corrected, Nothing, Drifted
            ]
        );
    }

    #[test]
    fn a_drift_that_a_deployment_ends_is_told_by_the_deployment() {
        use News::{Drifted, Nothing};
        let conditions = [drifted(), Condition::Deploying, Condition::Converged];
        assert_eq!(told(&conditions), [Drifted, Nothing, Nothing]);
    }
}
