//! Effect to stage to event.
//!
//! In: the effects of a decision, in order. Out: one [`Completion`] for the
//! work among them. Must not: decide, sleep, or touch the ledger.
//!
//! The work runs in a task of its own, so the loop never waits for the
//! machine. Units are let go in the order in which the decisions were taken: a
//! unit is never started before the one that had its name is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{Instrument, info_span};

use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::stage::{Armed, Arming};
use crate::model::system::Observed;
use crate::pipeline::Stages;
use crate::reconcile::effect::{Effect, Work};
use crate::reconcile::event::{Event, Report};

/// How soon after a call that failed its cause, a lost connection, shows.
const LOSS_GRACE: Duration = Duration::from_secs(1);

/// How often it is looked whether a host that goes down stays up after all.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);

/// The end of a decision's work.
#[derive(Debug)]
pub struct Completion {
    /// What to decide on.
    pub event: Event,
    /// What the host is afterwards, for whoever asks meanwhile.
    pub observed: Observed,
}

/// Performs effects and reports completions.
pub struct Executor<S> {
    stages: Arc<S>,
    completions: mpsc::UnboundedSender<Completion>,
    /// Resolves when the units of the decision before are let go.
    before: Option<oneshot::Receiver<()>>,
}

impl<S: Stages> Executor<S> {
    /// An executor and where its completions arrive.
    pub fn new(stages: Arc<S>) -> (Self, mpsc::UnboundedReceiver<Completion>) {
        let (completions, receiver) = mpsc::unbounded_channel();
        let executor = Self {
            stages,
            completions,
            before: None,
        };
        (executor, receiver)
    }

    /// Begins the effects of one decision and returns at once.
    pub fn perform(&mut self, effects: Vec<Effect>) {
        let stages = Arc::clone(&self.stages);
        let completions = self.completions.clone();
        let (let_go, after) = oneshot::channel();
        let before = self.before.replace(after);
        tokio::spawn(async move {
            if let Some(before) = before {
                // An error means that the task before is gone: that is as good.
                let _ = before.await;
            }
            let mut work = None;
            for effect in effects {
                match effect {
                    Effect::Release(step) => stages.release(step).await,
                    Effect::Dismiss(id) => stages.dismiss(&id).await,
                    Effect::Abandon(id, step) => stages.abandon(&id, step).await,
                    Effect::Say(id, word) => stages.say(&id, word),
                    Effect::Work(id, due) => work = Some((id, due)),
                }
            }
            // Nobody waits where no decision has followed yet.
            let _ = let_go.send(());
            let Some((deployment, work)) = work else {
                return;
            };
            let span = info_span!("deployment", df_deployment = %deployment);
            let work = perform(&*stages, &deployment, &work).instrument(span);
            let Some(report) = heard(&*stages, work).await else {
                return;
            };
            let completion = Completion {
                event: Event::Completed { deployment, report },
                observed: stages.observe().await,
            };
            // Only a daemon that is going away has dropped the receiver.
            let _ = completions.send(completion);
        });
    }
}

/// What a work came to; `None` when the connection to systemd was lost: then
/// nothing is known, the step may go on, and the next daemon finds out.
///
/// A failure while the host goes down is the shutdown's: it ends steps, and
/// what they need, in any order. It is kept back until there is no daemon any
/// more to decide on it, and the ledger takes it for a reboot in the middle.
async fn heard<S: Stages>(stages: &S, work: impl Future<Output = Report>) -> Option<Report> {
    // Dropping the work ends only our watching, never its unit.
    let report = tokio::select! {
        biased;
        () = stages.lost() => return None,
        report = work => report,
    };
    let in_doubt = report
        .failure()
        .is_some_and(|failure| failure.code == FailureCode::StepFailed);
    if in_doubt && timeout(LOSS_GRACE, stages.lost()).await.is_ok() {
        return None;
    }
    // A shutdown can be called off; then the failure counts after all.
    while report.failure().is_some() && is_going_down(stages).await {
        if timeout(BUSY_INTERVAL, stages.lost()).await.is_ok() {
            return None;
        }
    }
    Some(report)
}

async fn is_going_down<S: Stages>(stages: &S) -> bool {
    let ready = stages.ready().await;
    ready.is_err_and(|failure| failure.code == FailureCode::HostBusy)
}

async fn perform<S: Stages>(stages: &S, id: &DeploymentId, work: &Work) -> Report {
    match work {
        Work::Import(candidate) => Report::Imported(stages.import(id, candidate).await),
        Work::Evaluate(candidate) => Report::Evaluated(stages.evaluate(id, candidate).await),
        Work::Build(derivation) => Report::Built(stages.build(id, derivation).await),
        Work::Root(system, running) => {
            let rooted = stages.root(id, system, running.as_ref()).await;
            Report::Rooted(and_observed(stages, rooted).await)
        }
        Work::Inspect(system, forgiven) => {
            Report::Inspected(stages.inspect(id, system, forgiven).await)
        }
        Work::Check(system, plan) => {
            let checked = stages.check(id, system, plan).await;
            Report::Checked(and_observed(stages, checked).await)
        }
        Work::Arm(arming) => Report::Armed(arm(stages, id, arming).await),
        Work::Test(system, baseline) => Report::Tested(stages.test(id, system, baseline).await),
        Work::Replace => Report::Replaced(stages.replace().await),
        Work::Confirm(system, baseline) => {
            Report::Confirmed(stages.confirm(id, system, baseline).await)
        }
        Work::Claim => Report::Claimed(stages.claim(id).await),
        Work::SetProfile(system, permission) => {
            Report::ProfileSet(stages.set_profile(id, system, permission).await)
        }
        Work::WriteBootEntry(system, permission) => {
            Report::BootEntryWritten(stages.write_boot_entry(id, system, permission).await)
        }
        Work::ReadBack => Report::ReadBack(stages.observe().await),
        Work::Restore { previous, failed } => {
            Report::Restored(stages.restore(id, previous, failed).await)
        }
        Work::Disarm => Report::Disarmed(stages.disarm(id).await),
        Work::RollBack(rollback) => Report::RolledBack(stages.roll_back(id, rollback).await),
    }
}

/// Arms the guardian, and looks whether the host still is what is led back to.
async fn arm<S: Stages>(stages: &S, id: &DeploymentId, arming: &Arming) -> Result<Armed, Failure> {
    let baseline = stages.arm(id, arming).await?;
    let observed = stages.observe().await;
    Ok(Armed { baseline, observed })
}

/// What the host is after a work that went well, for the decision that follows.
async fn and_observed<S: Stages>(
    stages: &S,
    result: Result<(), Failure>,
) -> Result<Observed, Failure> {
    match result {
        Ok(()) => Ok(stages.observe().await),
        Err(failure) => Err(failure),
    }
}
