//! One step as a transient unit: started, or adopted from an earlier daemon,
//! watched to its end, read, and let go.
//!
//! In: a plan: commands, user, deadline. Out: how it ended and what it said.
//! Must not: judge; each stage knows what its step's end means.
//!
//! A unit is recognised by its description, which holds the deployment's id.
//! That is all an adopting daemon needs: no file, no memory. The unit remains
//! after its end until [`Steps::release`], so its result can be read as often
//! as daemons die.

use std::sync::Arc;

use tracing::{debug, info, warn};

use crate::host::environment::Programs;
use crate::host::journal::{self, Extent, Run, Said, Words};
use crate::host::systemd::{
    ActiveState, SystemState, Systemd, SystemdError, UnitState, UnitStatus,
};
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::progress::Progress;
use crate::model::stage::UnitStep;

mod plan;
mod outcome;
mod capture;
mod turns;

pub use outcome::StepEnd;
pub(super) use plan::credentials;
pub use plan::{BUILD_DIRECTORY, BUILD_USER, FETCH_GROUP, FETCH_USER, StepPlan, StepUser};

use outcome::end_of;
use plan::{describe, describe_part, is_described};
use turns::Turns;

/// How many lines of a step that failed are read back.
const TAIL_LINES: usize = 60;

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// How it ended.
    pub end: StepEnd,
    /// Its standard output, if that was to be captured.
    pub captured: String,
    /// Its last lines in the journal, if it did not succeed.
    pub tail: String,
    /// Whether these are all that it said.
    pub extent: Extent,
}

/// Runs steps.
#[derive(Clone, Debug)]
pub struct Steps {
    systemd: Systemd,
    programs: Programs,
    turns: Arc<Turns>,
}

impl Steps {
    /// Steps on this host.
    pub fn new(systemd: Systemd, programs: Programs) -> Self {
        Self {
            systemd,
            programs,
            turns: Arc::default(),
        }
    }

    /// The programs that steps run.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Runs a step to its end, or adopts its unit, running or ended, if an
    /// earlier daemon started it for the same deployment.
    ///
    /// Fails with `host-busy` while the system starts or shuts down, also when
    /// the shutdown ended the step; then nothing can be said about what it
    /// did. Fails with `step-failed` when systemd cannot be talked to.
    pub async fn run(&self, plan: &StepPlan) -> Result<StepReport, Failure> {
        self.run_as(plan, describe(plan.step, &plan.deployment))
            .await
    }

    /// Runs one part of a step that has several, each with its own deadline
    /// and result, one after the other under the step's name: a part that has
    /// ended makes room for the next. An earlier part must not be asked for
    /// once a later one [has begun](Self::has_begun).
    pub async fn run_part(&self, plan: &StepPlan, part: &str) -> Result<StepReport, Failure> {
        self.run_as(plan, describe_part(plan.step, &plan.deployment, part))
            .await
    }

    /// Whether the step's unit, running or ended, is this part of it.
    pub async fn has_begun(
        &self,
        step: UnitStep,
        id: &DeploymentId,
        part: &str,
    ) -> Result<bool, Failure> {
        let found = self.read(&step.unit()).await?;
        Ok(found.is_some_and(|found| is_ours(&found, &describe_part(step, id, part))))
    }

    /// Whether the step's unit, running or ended, is this deployment's.
    pub async fn has_unit(&self, step: UnitStep, id: &DeploymentId) -> Result<bool, Failure> {
        let found = self.read(&step.unit()).await?;
        Ok(found.is_some_and(|found| is_ours(&found, &describe(step, id))))
    }

    async fn run_as(&self, plan: &StepPlan, description: String) -> Result<StepReport, Failure> {
        let unit = plan.step.unit();
        self.begin(plan, description).await?;
        let ended = self.systemd.wait_ended(&unit).await;
        self.report(plan, ended.map_err(step_failed)?).await
    }

    /// Starts the step's unit, or adopts it, when it is its turn.
    async fn begin(&self, plan: &StepPlan, description: String) -> Result<(), Failure> {
        let unit = plan.step.unit();
        let _turn = self.turns.take(plan.step).await;
        if self.turns.is_given_up(&plan.deployment) {
            return Err(given_up(&plan.deployment));
        }
        match self.read(&unit).await? {
            Some(found) if is_ours(&found, &description) => {
                info!(unit, deployment = %plan.deployment, "step adopted");
            }
            Some(other) => {
                self.make_room(plan, &other).await?;
                self.start(plan, description).await?;
            }
            None => self.start(plan, description).await?,
        }
        Ok(())
    }

    /// How far the step says it is; None, if it says nothing, or that cannot be
    /// read: nothing depends on it.
    pub async fn progress(&self, step: UnitStep) -> Option<Progress> {
        let text = self.systemd.status_text(&step.unit()).await;
        Progress::parse(&text.ok()??)
    }

    /// Lets go the unit of a step whose result was read and written down.
    pub async fn release(&self, step: UnitStep) {
        self.let_go(step).await;
    }

    /// Ends a step of a deployment that is not wanted any more, and begins no
    /// other one for it.
    pub async fn abandon(&self, id: &DeploymentId, step: UnitStep) {
        self.turns.give_up(id);
        self.end(id, step).await;
    }

    /// Ends a step of this deployment, if its unit is there.
    pub async fn end(&self, id: &DeploymentId, step: UnitStep) {
        // One that is just being started is there when it is our turn.
        let _turn = self.turns.take(step).await;
        match self.systemd.unit(&step.unit()).await {
            Ok(Some(found)) if is_described(&found.description, step, id) => {
                self.let_go(step).await;
            }
            Ok(_nothing_of_it) => {}
            Err(error) => warn!(unit = step.unit(), %error, "step cannot be ended"),
        }
    }

    /// Lets go every unit of ours, and what units that are gone left, but for the one to keep, those that still
    /// run for its deployment, and those in the middle of changing the system.
    ///
    /// All at once: the daemon is not ready before, and systemd does not wait
    /// for one unit after the other that is slow to end.
    pub async fn sweep(&self, keep: Option<(&DeploymentId, UnitStep)>) {
        let each = UnitStep::ALL.iter().map(|&step| self.sweep_one(step, keep));
        futures_util::future::join_all(each).await;
    }

    async fn sweep_one(&self, step: UnitStep, keep: Option<(&DeploymentId, UnitStep)>) {
        match self.systemd.unit(&step.unit()).await {
            Ok(Some(found)) if !is_kept(step, &found, keep) => self.let_go(step).await,
            Ok(Some(_kept)) => {}
            // A daemon that was killed here had stopped the unit only.
            Ok(None) => remove_output(step),
            Err(error) => warn!(unit = step.unit(), %error, "step cannot be swept"),
        }
    }

    async fn read(&self, unit: &str) -> Result<Option<UnitState>, Failure> {
        self.systemd.unit(unit).await.map_err(step_failed)
    }

    /// Clears the unit's name: another deployment's step is stopped, but not
    /// in the middle of changing the system.
    async fn make_room(&self, plan: &StepPlan, other: &UnitState) -> Result<(), Failure> {
        let unit = plan.step.unit();
        if !is_described(&other.description, plan.step, &plan.deployment) {
            warn!(
                unit,
                description = other.description,
                "a unit of another deployment is in the way"
            );
        }
        if changes_the_system(plan.step) {
            let ended = self.systemd.wait_ended(&unit).await;
            ended.map_err(step_failed)?;
        }
        let stopped = self.systemd.stop_and_reset(&unit).await;
        stopped.map_err(step_failed)
    }

    async fn start(&self, plan: &StepPlan, description: String) -> Result<(), Failure> {
        self.refuse_if_busy().await?;
        if plan.capture {
            capture::prepare(plan.step).map_err(|error| cannot_capture(&error))?;
        }
        let mut unit = plan.unit(self.programs.path_variable(), capture::path(plan.step));
        unit.description = description;
        debug!(unit = unit.name, deployment = %plan.deployment, "step starts");
        let started = self.systemd.start_transient(&unit).await;
        started.map_err(step_failed)
    }

    /// A running one-shot is a job. While the system starts, that would keep
    /// it from ever being up; while it stops, it would be killed half-way.
    async fn refuse_if_busy(&self) -> Result<(), Failure> {
        let state = self.systemd.system_state().await.map_err(step_failed)?;
        match state {
            SystemState::Initializing | SystemState::Starting | SystemState::Stopping => {
                Err(host_busy(&state))
            }
            SystemState::Running
            | SystemState::Degraded
            | SystemState::Maintenance
            | SystemState::Offline
            | SystemState::Unknown(_) => Ok(()),
        }
    }

    async fn report(
        &self,
        plan: &StepPlan,
        status: Option<UnitStatus>,
    ) -> Result<StepReport, Failure> {
        let end = end_of(status.as_ref());
        let run = status.map(|status| status.run(&plan.step.unit()));
        if may_be_cut_short(&end)
            && self.systemd.system_state().await.map_err(step_failed)? == SystemState::Stopping
        {
            return Err(host_busy(&SystemState::Stopping));
        }
        let words = self.words(&end, run.as_ref()).await;
        debug!(unit = plan.step.unit(), deployment = %plan.deployment, ?end, "step ended");
        Ok(StepReport {
            end,
            captured: captured(plan),
            tail: words.text,
            extent: words.extent,
        })
    }

    async fn words(&self, end: &StepEnd, run: Option<&Run>) -> Words {
        let Some(run) = run else {
            return Words::default();
        };
        let said = match end {
            StepEnd::Succeeded => return Words::default(),
            // Then only systemd can say why.
            StepEnd::CouldNotStart(_) => Said::WithSystemd,
            StepEnd::Exited(_)
            | StepEnd::Signalled(_)
            | StepEnd::TimedOut
            | StepEnd::OutOfMemory => Said::ByProcesses,
        };
        journal::tail(&self.programs.journalctl, run, TAIL_LINES, said).await
    }

    async fn let_go(&self, step: UnitStep) {
        let unit = step.unit();
        // It has ended, unless it could not be watched to its end: then it must
        // still not be stopped half-way.
        if changes_the_system(step)
            && let Err(error) = self.systemd.wait_ended(&unit).await
        {
            // The next start of this step waits for it.
            warn!(unit, %error, "step may still run and is left alone");
            return;
        }
        if let Err(error) = self.systemd.stop_and_reset(&unit).await {
            // The next start of this step tries again.
            warn!(unit, %error, "step cannot be let go");
        }
        // Not before: a unit that is still starting would make it anew.
        remove_output(step);
    }
}

fn remove_output(step: UnitStep) {
    capture::remove(step).unwrap_or_else(
        |error| warn!(unit = step.unit(), %error, "captured output cannot be removed"),
    );
}

/// Whether the unit is this deployment's, and its result can still be had.
fn is_ours(found: &UnitState, description: &str) -> bool {
    // One that was stopped by somebody and is about to be unloaded has none.
    let is_stopped = found.has_ended() && found.active_state == ActiveState::Inactive;
    found.description == description && !is_stopped
}

fn is_kept(step: UnitStep, found: &UnitState, keep: Option<(&DeploymentId, UnitStep)>) -> bool {
    let is_running = !found.has_ended();
    let is_kept = keep.is_some_and(|(id, kept)| {
        is_described(&found.description, step, id) && (step == kept || is_running)
    });
    is_kept || (is_running && changes_the_system(step))
}

/// Whether it could have ended well, had the host not gone down: many programs
/// catch the signal that ends them, and exit with a status of their own.
fn may_be_cut_short(end: &StepEnd) -> bool {
    match end {
        StepEnd::Exited(_) | StepEnd::Signalled(_) | StepEnd::CouldNotStart(_) => true,
        StepEnd::Succeeded | StepEnd::TimedOut | StepEnd::OutOfMemory => false,
    }
}

/// Whether stopping the step half-way leaves the system half-changed.
fn changes_the_system(step: UnitStep) -> bool {
    match step {
        UnitStep::Import
        | UnitStep::Evaluate
        | UnitStep::Build
        | UnitStep::Root
        | UnitStep::Check
        | UnitStep::Probe => false,
        UnitStep::Test | UnitStep::Profile | UnitStep::Boot | UnitStep::Restore => true,
    }
}

/// What the step wrote; empty when that cannot be read, which no stage takes
/// for an answer.
fn captured(plan: &StepPlan) -> String {
    if !plan.capture {
        return String::new();
    }
    capture::read(plan.step).unwrap_or_else(|error| {
        warn!(unit = plan.step.unit(), %error, "captured output cannot be read");
        String::new()
    })
}

fn step_failed(error: SystemdError) -> Failure {
    let chain = format!("{:#}", anyhow::Error::new(error));
    Failure::new(
        FailureCode::StepFailed,
        chain,
        "This is tried again by itself; see `systemctl status` and the journal of PID 1.",
    )
}

/// Nobody waits for it: another deployment has taken its place.
fn given_up(id: &DeploymentId) -> Failure {
    Failure::new(
        FailureCode::StepFailed,
        format!("deployment {id} was given up"),
        "Nothing has to be done: another one took its place.",
    )
}

fn host_busy(state: &SystemState) -> Failure {
    Failure::new(
        FailureCode::HostBusy,
        format!("the system is {state}; nothing is started now"),
        "Nothing has to be done: this is tried again once the system is up.",
    )
}

fn cannot_capture(error: &std::io::Error) -> Failure {
    Failure::new(
        FailureCode::StepFailed,
        format!("cannot prepare {}: {error}", capture::DIRECTORY),
        "The daemon's unit needs RuntimeDirectory=deploy-flake.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_that_a_shutdown_brings_about_is_no_verdict_while_it_goes_on() {
        for (end, expected) in [
            (StepEnd::Succeeded, false),
            (StepEnd::Exited(1), true),
            (StepEnd::Signalled(15), true),
            (StepEnd::CouldNotStart("resources".to_owned()), true),
            (StepEnd::TimedOut, false),
            (StepEnd::OutOfMemory, false),
        ] {
            assert_eq!(may_be_cut_short(&end), expected, "{end:?}");
        }
    }
}
