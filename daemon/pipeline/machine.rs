//! The real machine behind the seam: [`Stages`] by the modules around it.
//!
//! In: settings that were validated. Out: what the stages find and do. Must
//! not: add anything to them; each method is one call.

use std::path::Path;

use tokio::sync::watch;

use super::boot::Patience;
use super::boot_loader::Reader;
use super::check::{Checks, Inspecting};
use super::confirm::Watched;
use super::guard::Guard;
use super::health::HostView;
use super::remotes::{Remotes, those_there};
use super::replace::{self, Origin};
use super::step::Steps;
use super::{Stages, activate, boot, build, check, confirm, guard, health, observe, probe};
use crate::config::Config;
use crate::host::closure::{self, ClosureError};
use crate::host::environment::Programs;
use crate::host::systemd::{ShutdownLock, SystemState, Systemd};
use crate::model::closure::{Closure, Difference};
use crate::model::deployment::{DeploymentId, System};
use crate::model::description::Description;
use crate::model::failure::{Failure, FailureCode};
use crate::model::flake::Flake;
use crate::model::health::{Baseline, Reachability};
use crate::model::offer::{Offer, RemoteNumber};
use crate::model::policy::{BootLoader, Deadlines, Guards, Health, OnFailedRollback, OnUnhealthy};
use crate::model::remote::RemoteAddress;
use crate::model::revision::{Branch, Candidate, CommitId, Confirmed};
use crate::model::rollback::Verdict;
use crate::model::stage::{
    Arming, BuildFailure, CheckPlan, Claim, Confirmation, Forgiven, Inspection, Rollback,
    RollbackEnd, TestFailure, UnitStep, Word,
};
use crate::model::system::{BootId, Configuration, Derivation, Observed, ProfileEntry, Toplevel};
use crate::reconcile::permission::BootPermission;

/// Where the host's own file system is; only tests of single stages use another.
const ROOT: &str = "/";

/// This host.
pub struct Machine {
    systemd: Systemd,
    steps: Steps,
    remotes: Remotes,
    addresses: Vec<RemoteAddress>,
    configuration: Configuration,
    deadlines: Deadlines,
    health: Health,
    guards: Guards,
    boot_loader: BootLoader,
    boot_entry: Reader,
    boot_id: BootId,
    on_failed_rollback: OnFailedRollback,
    pre_activate_check: String,
    import_from_derivation: bool,
    flake: Flake,
    inputs: build::Inputs,
    repository: build::Repository,
    /// The system that was compared last.
    compared: tokio::sync::Mutex<Option<Closure>>,
    origin: Origin,
    /// What an operator said last, of which deployment's system.
    said: watch::Sender<Option<(DeploymentId, Word)>>,
    /// How far a build is.
    building: watch::Sender<build::Building>,
}

impl Machine {
    /// This host, with these programs and this configuration.
    pub fn new(
        systemd: Systemd,
        programs: Programs,
        configuration: Configuration,
        boot_id: BootId,
        origin: Origin,
        config: &Config,
        testing: Option<&Branch>,
    ) -> Self {
        let remotes = Remotes::new(&systemd, &programs, config, testing, Path::new(ROOT));
        Self {
            steps: Steps::new(systemd.clone(), programs),
            systemd,
            addresses: remotes.addresses(),
            remotes,
            configuration,
            deadlines: config.deadlines.clone(),
            health: config.health.clone(),
            guards: config.guards.clone(),
            boot_loader: config.boot_loader,
            boot_entry: Reader::new(config.boot_loader),
            boot_id,
            on_failed_rollback: config.on_failed_rollback,
            pre_activate_check: config.pre_activate_check.clone(),
            import_from_derivation: config.import_from_derivation,
            inputs: build::Inputs::new(&config.remotes, &config.flake),
            flake: config.flake.clone(),
            repository: build::Repository::default(),
            compared: tokio::sync::Mutex::default(),
            origin,
            said: watch::Sender::new(None),
            building: watch::Sender::new(None),
        }
    }

    /// How far a build is, whenever that is new: at most once a second.
    pub fn building(&self) -> watch::Receiver<build::Building> {
        self.building.subscribe()
    }

    /// Whether the remote can be asked from a closure.
    async fn remote_from(&self, id: &DeploymentId, closure: &Toplevel) -> Reachability {
        let patience = self.health.probe_deadline;
        let deadline = self.deadlines.probe;
        probe::remote_from(&self.steps, self.view(), id, closure, deadline, patience).await
    }

    /// From where a candidate is imported.
    async fn source(&self, candidate: &Candidate) -> build::Source {
        let source = self.remotes.source(candidate.commit()).await;
        build::Source {
            mirror: source.mirror,
            origin: self.flake.submodules.then_some(source.url),
        }
    }

    /// With what inputs are fetched: where several remotes show something, one
    /// that has nothing to show keeps nobody from evaluating.
    async fn inputs(&self) -> build::Inputs {
        let mut inputs = self.inputs.clone();
        if self.addresses.len() > 1 {
            inputs.credentials = those_there(&inputs.credentials).await;
        }
        inputs
    }

    fn view(&self) -> HostView<'_> {
        HostView {
            systemd: &self.systemd,
            root: Path::new(ROOT),
        }
    }

    fn guard(&self) -> Guard<'_> {
        Guard {
            systemd: &self.systemd,
            root: Path::new(ROOT),
            path_variable: self.steps.programs().path_variable(),
            deadlines: &self.deadlines,
            health: &self.health,
            on_failed_rollback: self.on_failed_rollback,
            boot_id: &self.boot_id,
        }
    }
}

impl Stages for Machine {
    async fn poll(&self, remote: RemoteNumber, confirmed: &Confirmed) -> Result<Offer, Failure> {
        self.remotes.poll(remote, confirmed).await
    }

    async fn remove_unused_mirrors(&self) {
        self.remotes.remove_unused_mirrors().await;
    }

    async fn observe(&self) -> Observed {
        observe::observe(Path::new(ROOT), &self.boot_entry, self.boot_id.clone()).await
    }

    async fn lost(&self) {
        self.systemd.closed().await;
    }

    async fn inhibit_shutdown(&self, why: &str) -> Result<ShutdownLock, Failure> {
        let lock = self.systemd.inhibit_shutdown(why).await;
        lock.map_err(|error| {
            Failure::new(
                FailureCode::StepFailed,
                format!("{:#}", anyhow::Error::new(error)),
                "Nothing but care keeps this host from being rebooted; see `deploy-flake status`.",
            )
        })
    }

    async fn ready(&self) -> Result<(), Failure> {
        let state = self.systemd.system_state().await;
        let state = state.map_err(super::health::unreadable)?;
        match state {
            SystemState::Initializing | SystemState::Starting | SystemState::Stopping => {
                Err(Failure::new(
                    FailureCode::HostBusy,
                    format!("the system is {state}"),
                    "Nothing has to be done: the daemon goes on once the system is up.",
                ))
            }
            SystemState::Running
            | SystemState::Degraded
            | SystemState::Maintenance
            | SystemState::Offline
            | SystemState::Unknown(_) => Ok(()),
        }
    }

    async fn import(&self, id: &DeploymentId, candidate: &Candidate) -> Result<(), Failure> {
        let deadline = self.deadlines.import;
        if let Some(push) = candidate.push() {
            return build::take(&self.steps, id, &push.source, deadline).await;
        }
        let source = self.source(candidate).await;
        let (steps, repository) = (&self.steps, &self.repository);
        let imported = build::import(steps, repository, id, candidate, &source, deadline).await;
        if imported.is_err() {
            // The mirror may be to blame: the next poll proves it, or makes it anew.
            self.remotes.doubt(candidate.commit()).await;
        }
        imported
    }

    async fn evaluate(
        &self,
        id: &DeploymentId,
        candidate: &Candidate,
    ) -> Result<Derivation, Failure> {
        let inputs = self.inputs().await;
        let source;
        let (configuration, flakes) = match candidate.push() {
            Some(push) => (&push.configuration, build::Flakes::Pushed(&push.source)),
            None => {
                source = self.source(candidate).await;
                let flakes = build::Flakes::Mirrored {
                    candidate,
                    flake: &self.flake,
                    source: &source,
                };
                (&self.configuration, flakes)
            }
        };
        let how = build::Evaluating {
            configuration,
            import_from_derivation: self.import_from_derivation,
            inputs: &inputs,
            flakes,
        };
        build::evaluate(&self.steps, id, how, self.deadlines.evaluate).await
    }

    async fn build(
        &self,
        id: &DeploymentId,
        derivation: &Derivation,
    ) -> Result<Toplevel, BuildFailure> {
        let reserve = self.guards.store_reserve;
        let deadline = self.deadlines.build;
        build::build(
            &self.steps,
            id,
            derivation,
            reserve,
            deadline,
            &self.building,
        )
        .await
    }

    async fn root(
        &self,
        id: &DeploymentId,
        system: &System,
        running: Option<&Toplevel>,
    ) -> Result<(), Failure> {
        build::root(&self.steps, id, system, running, self.deadlines.root).await
    }

    async fn inspect(
        &self,
        _id: &DeploymentId,
        system: &System,
        forgiven: &Forgiven,
    ) -> Result<Inspection, Failure> {
        let mut health = self.health.clone();
        if forgiven.unhealthy == OnUnhealthy::ProceedIfNotWorse {
            health.on_unhealthy = forgiven.unhealthy;
        }
        let inspecting = Inspecting {
            forgiven,
            health: &health,
            guards: &self.guards,
            remotes: &self.addresses,
            boot_loader: self.boot_loader,
            boot_entry: &self.boot_entry,
            lock: self.deadlines.lock,
        };
        let observed = self.observe().await;
        check::inspect(self.view(), observed, system, inspecting).await
    }

    async fn check(
        &self,
        id: &DeploymentId,
        system: &System,
        plan: &CheckPlan,
    ) -> Result<(), Failure> {
        let checks = Checks {
            plan,
            pre_activate_check: &self.pre_activate_check,
            deadlines: &self.deadlines,
        };
        check::check(&self.steps, self.view(), id, system, checks).await
    }

    async fn arm(&self, id: &DeploymentId, arming: &Arming) -> Result<Baseline, Failure> {
        let running = observe::running(Path::new(ROOT));
        guard::stand_back(&self.guard(), id, running.as_ref()).await?;
        let baseline = health::baseline(
            self.view(),
            &self.steps,
            id,
            arming.previous.as_ref(),
            &self.health,
            self.deadlines.probe,
        )
        .await?;
        guard::arm(&self.guard(), id, arming, &baseline).await?;
        Ok(baseline)
    }

    async fn test(
        &self,
        id: &DeploymentId,
        system: &System,
        baseline: &Baseline,
    ) -> Result<(), TestFailure> {
        let excuses = activate::Excuses {
            baseline,
            health: &self.health,
        };
        let deadline = self.deadlines.activate;
        activate::test(&self.steps, self.view(), id, system, excuses, deadline).await
    }

    async fn replace(&self) -> Result<(), Failure> {
        replace::replace(&self.systemd, &self.origin).await
    }

    async fn is_outdated(&self) -> bool {
        let origin = self.origin.clone();
        let read = move || replace::is_outdated(&origin, Path::new(ROOT));
        // As with the links of `observe`.
        let outdated = tokio::task::spawn_blocking(read).await;
        outdated.expect("reading files does not panic, and nobody cancels it")
    }

    async fn confirm(
        &self,
        id: &DeploymentId,
        system: &System,
        baseline: &Baseline,
    ) -> Confirmation {
        confirm::confirm(Watched {
            view: self.view(),
            steps: &self.steps,
            remotes: &self.remotes,
            id,
            system,
            baseline,
            health: &self.health,
            probe_deadline: self.deadlines.probe,
            said: &self.said,
        })
        .await
    }

    fn say(&self, id: &DeploymentId, word: Word) {
        self.said.send_replace(Some((id.clone(), word)));
    }

    async fn claim(&self, id: &DeploymentId) -> Result<Claim, Failure> {
        Ok(Claim {
            verdict: guard::claim(id)?,
            observed: self.observe().await,
        })
    }

    async fn disarm(&self, id: &DeploymentId) -> Verdict {
        guard::disarm(&self.guard(), id).await
    }

    async fn roll_back(&self, id: &DeploymentId, rollback: &Rollback) -> RollbackEnd {
        match guard::roll_back(&self.guard(), id, rollback).await {
            RollbackEnd::RolledBack { .. } if rollback.ask_remote => RollbackEnd::RolledBack {
                remote: self.remote_from(id, &rollback.previous).await,
            },
            end @ (RollbackEnd::RolledBack { .. }
            | RollbackEnd::Failed { .. }
            | RollbackEnd::Pending(_)
            | RollbackEnd::Overridden(_)) => end,
        }
    }

    async fn dismiss(&self, id: &DeploymentId) {
        guard::dismiss(&self.guard(), id).await;
        // Where the guardian acted alone, nobody has read these to their end.
        for step in [UnitStep::Test, UnitStep::Probe] {
            self.steps.end(id, step).await;
        }
    }

    async fn set_profile(
        &self,
        id: &DeploymentId,
        system: &System,
        permission: &BootPermission,
    ) -> Result<(), Failure> {
        let (root, deadline) = (Path::new(ROOT), self.deadlines.profile);
        boot::set_profile(&self.steps, root, id, system, permission, deadline).await
    }

    async fn write_boot_entry(
        &self,
        id: &DeploymentId,
        system: &System,
        permission: &BootPermission,
    ) -> Result<(), Failure> {
        let patience = Patience {
            deadline: self.deadlines.boot_loader,
            lock: self.deadlines.lock,
        };
        let root = Path::new(ROOT);
        boot::write_boot_entry(&self.steps, root, id, system, permission, patience).await
    }

    async fn restore(
        &self,
        id: &DeploymentId,
        previous: &ProfileEntry,
        failed: &Toplevel,
    ) -> Result<(), Failure> {
        let restoration = boot::Restoration {
            generation: previous.generation,
            toplevel: &previous.toplevel,
            failed: Some(failed),
            patience: Patience {
                deadline: self.deadlines.restore,
                lock: self.deadlines.lock,
            },
        };
        let (root, entry) = (Path::new(ROOT), &self.boot_entry);
        boot::restore(&self.steps, root, id, restoration, entry).await
    }

    async fn describe(&self, commit: &CommitId) -> Option<Description> {
        self.remotes.describe(commit).await
    }

    async fn compare(&self, old: &Toplevel, new: &Toplevel) -> Result<Difference, ClosureError> {
        let nix = &self.steps.programs().nix;
        // What is new now is what is old the next time.
        let mut compared = self.compared.lock().await;
        let old = match compared.take().filter(|it| it.toplevel == *old) {
            Some(known) => known,
            None => closure::read(nix, old).await?,
        };
        let new = closure::read(nix, new).await?;
        let difference = Difference::between(&old, &new);
        *compared = Some(new);
        Ok(difference)
    }

    async fn abandon(&self, id: &DeploymentId, step: UnitStep) {
        self.steps.abandon(id, step).await;
    }

    async fn release(&self, step: UnitStep) {
        self.steps.release(step).await;
    }

    async fn sweep(&self, current: Option<&DeploymentId>, step: Option<UnitStep>) {
        self.steps.sweep(current.zip(step)).await;
        let running = observe::running(Path::new(ROOT));
        guard::sweep(&self.guard(), current, running.as_ref()).await;
    }
}
