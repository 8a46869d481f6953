//! The state machine's types: phases, events, effects.
//!
//! In: nothing. Out: the vocabulary of `step`, `recover` and the executor.
//! Must not: hold logic beyond naming what a phase is doing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::permission::BootPermission;
use crate::model::deployment::{Deployment, DeploymentId, Finished, Resolved, System};
use crate::model::failure::Failure;
use crate::model::policy::{Policy, Settings};
use crate::model::revision::{Candidate, CommitId};
use crate::model::stage::{
    BuildFailure, CheckScope, Confirmation, Inspection, TestFailure, UnitStep,
};
use crate::model::system::{BootId, Derivation, Observed, ProfileEntry, Toplevel};
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
    /// Units that a failed activation of ours left failed: no verdict on the
    /// host before the next one, or a fix could never be deployed.
    pub known_broken: BTreeSet<String>,
}

/// When to try again, and how often it was tried already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Failed attempts in a row.
    pub attempts: u32,
    /// Not before this; wall clock, because it must outlive a reboot.
    pub not_before: Timestamp,
}

/// What is going on. Each phase has exactly one effect under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing.
    #[default]
    Resting,
    /// The commit is brought into the evaluation's repository.
    Importing {
        /// For which deployment.
        deployment: Deployment,
    },
    /// The derivation is being found.
    Evaluating {
        /// For which deployment.
        deployment: Deployment,
    },
    /// The derivation is being built.
    Building {
        /// For which deployment.
        deployment: Deployment,
        /// What is built.
        derivation: Derivation,
    },
    /// Root registers the toplevel; the host is compared with it.
    Rooting {
        /// For which deployment.
        deployment: Deployment,
        /// What was built.
        system: System,
    },
    /// Health of the host and form of the closure are looked at.
    Inspecting {
        /// For which deployment.
        deployment: Deployment,
        /// What was built.
        system: System,
    },
    /// The closure's own checks run.
    Checking {
        /// For which deployment.
        deployment: Deployment,
        /// What was built.
        system: System,
        /// What follows when they pass.
        way: Way,
    },
    /// `switch-to-configuration test` runs.
    Testing {
        /// For which deployment.
        deployment: Deployment,
        /// What was built.
        system: System,
    },
    /// The host's health is watched through the confirm window.
    Confirming {
        /// For which deployment.
        deployment: Deployment,
        /// What runs now.
        system: System,
    },
    /// The profile is being set.
    SettingProfile {
        /// For which deployment.
        deployment: Deployment,
        /// What it is set to.
        system: System,
        /// Why it may.
        permission: BootPermission,
    },
    /// `switch-to-configuration boot` runs.
    WritingBootEntry {
        /// For which deployment.
        deployment: Deployment,
        /// What becomes the default entry.
        system: System,
        /// Why it may.
        permission: BootPermission,
    },
    /// Profile and default entry are read back.
    ReadingBack {
        /// For which deployment.
        deployment: Deployment,
        /// What they should be.
        system: System,
        /// Why they were written.
        permission: BootPermission,
    },
    /// Profile and default entry are put back.
    Restoring {
        /// For which deployment.
        deployment: Deployment,
        /// What they were meant to become.
        system: System,
        /// What they are put back to.
        previous: ProfileEntry,
        /// What follows.
        then: AfterRestore,
    },
}

/// What follows the closure's checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// `test`.
    Test,
    /// Profile and boot entry at once, by policy.
    Boot(BootPermission),
}

impl Way {
    /// Which checks apply.
    pub fn scope(&self) -> CheckScope {
        match self {
            Self::Test => CheckScope::BeforeTest,
            Self::Boot(_) => CheckScope::BeforeBoot,
        }
    }
}

/// What follows when profile and boot entry are back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterRestore {
    /// The deployment failed.
    Fail(Failure),
    /// A reboot came between: once more from the inspection on.
    Repeat,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody looked at remote and host.
    Looked(Look),
    /// An effect came to its end.
    Completed {
        /// The deployment that the effect was for.
        deployment: DeploymentId,
        /// How it ended.
        report: Report,
    },
}

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The commit that the remote's branch is; `None` while nobody can say.
    pub head: Option<CommitId>,
    /// What the host is.
    pub observed: Observed,
    /// An operator asked for it: a retry is due at once.
    pub forced: bool,
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The commit is in the evaluation's repository, or not.
    Imported(Result<(), Failure>),
    /// The derivation, or why not.
    Evaluated(Result<Derivation, Failure>),
    /// The toplevel, or why not.
    Built(Result<Toplevel, BuildFailure>),
    /// The toplevel is rooted; what the host is to compare it with.
    Rooted(Result<Observed, Failure>),
    /// What the inspection found.
    Inspected(Result<Inspection, Failure>),
    /// The closure's verdict on itself; what the host is after it.
    Checked(Result<Observed, Failure>),
    /// How `test` ended.
    Tested(Result<(), TestFailure>),
    /// How the confirm window ended.
    Confirmed(Confirmation),
    /// The profile is set, or not.
    ProfileSet(Result<(), Failure>),
    /// The boot loader is done, or failed.
    BootEntryWritten(Result<(), Failure>),
    /// What profile and default entry are now.
    ReadBack(Observed),
    /// Profile and entry are what they were, or not.
    Restored(Result<(), Failure>),
}

/// Something to be done, always for one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Let go the unit of a step whose result is known.
    Release(UnitStep),
    /// End a step that is not wanted any more.
    Abandon(DeploymentId, UnitStep),
    /// The work of a phase; its completion carries the same id.
    Work(DeploymentId, Work),
}

/// The work of each phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Of `Importing`.
    Import(Candidate),
    /// Of `Evaluating`.
    Evaluate(Candidate),
    /// Of `Building`.
    Build(Derivation),
    /// Of `Rooting`; the running system is rooted with it.
    Root(System, Option<Toplevel>),
    /// Of `Inspecting`.
    Inspect(System, BTreeSet<String>),
    /// Of `Checking`.
    Check(System, CheckScope),
    /// Of `Testing`.
    Test(System),
    /// Of `Confirming`.
    Confirm(System),
    /// Of `SettingProfile`.
    SetProfile(System, BootPermission),
    /// Of `WritingBootEntry`.
    WriteBootEntry(System, BootPermission),
    /// Of `ReadingBack`.
    ReadBack,
    /// Of `Restoring`.
    Restore {
        /// What they become again.
        previous: ProfileEntry,
        /// What they were meant to become.
        failed: Toplevel,
    },
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

impl Report {
    /// Why the work did not succeed, where it did not.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Imported(result)
            | Self::ProfileSet(result)
            | Self::BootEntryWritten(result)
            | Self::Restored(result) => result.as_ref().err(),
            Self::Evaluated(result) => result.as_ref().err(),
            Self::Built(Err(BuildFailure::Failed(failure))) => Some(failure),
            Self::Built(_) => None,
            Self::Rooted(result) | Self::Checked(result) => result.as_ref().err(),
            Self::Inspected(result) => result.as_ref().err(),
            Self::Tested(result) => result.as_ref().err().map(TestFailure::failure),
            Self::Confirmed(confirmation) => confirmation.failure(),
            Self::ReadBack(_) => None,
        }
    }
}

impl Phase {
    /// The deployment that is going on.
    pub fn deployment(&self) -> Option<&Deployment> {
        match self {
            Self::Resting => None,
            Self::Importing { deployment }
            | Self::Evaluating { deployment }
            | Self::Building { deployment, .. }
            | Self::Rooting { deployment, .. }
            | Self::Inspecting { deployment, .. }
            | Self::Checking { deployment, .. }
            | Self::Testing { deployment, .. }
            | Self::Confirming { deployment, .. }
            | Self::SettingProfile { deployment, .. }
            | Self::WritingBootEntry { deployment, .. }
            | Self::ReadingBack { deployment, .. }
            | Self::Restoring { deployment, .. } => Some(deployment),
        }
    }

    /// The system on its way, once built.
    pub fn system(&self) -> Option<&System> {
        match self {
            Self::Resting
            | Self::Importing { .. }
            | Self::Evaluating { .. }
            | Self::Building { .. } => None,
            Self::Rooting { system, .. }
            | Self::Inspecting { system, .. }
            | Self::Checking { system, .. }
            | Self::Testing { system, .. }
            | Self::Confirming { system, .. }
            | Self::SettingProfile { system, .. }
            | Self::WritingBootEntry { system, .. }
            | Self::ReadingBack { system, .. }
            | Self::Restoring { system, .. } => Some(system),
        }
    }

    /// The unit that does the phase's work, where one does.
    pub fn unit_step(&self) -> Option<UnitStep> {
        match self {
            Self::Resting
            | Self::Inspecting { .. }
            | Self::Confirming { .. }
            | Self::ReadingBack { .. } => None,
            Self::Importing { .. } => Some(UnitStep::Import),
            Self::Evaluating { .. } => Some(UnitStep::Evaluate),
            Self::Building { .. } => Some(UnitStep::Build),
            Self::Rooting { .. } => Some(UnitStep::Root),
            Self::Checking { .. } => Some(UnitStep::Check),
            Self::Testing { .. } => Some(UnitStep::Test),
            Self::SettingProfile { .. } => Some(UnitStep::Profile),
            Self::WritingBootEntry { .. } => Some(UnitStep::Boot),
            Self::Restoring { .. } => Some(UnitStep::Restore),
        }
    }

    /// Whether nothing on the host was touched and a newer commit may take over.
    pub fn is_preparing(&self) -> bool {
        matches!(
            self,
            Self::Importing { .. } | Self::Evaluating { .. } | Self::Building { .. }
        )
    }

    /// The phase's name in status and journal.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resting => "resting",
            Self::Importing { .. } => "importing",
            Self::Evaluating { .. } => "evaluating",
            Self::Building { .. } => "building",
            Self::Rooting { .. } => "rooting",
            Self::Inspecting { .. } => "inspecting",
            Self::Checking { .. } => "checking",
            Self::Testing { .. } => "testing",
            Self::Confirming { .. } => "confirming",
            Self::SettingProfile { .. } => "setting-profile",
            Self::WritingBootEntry { .. } => "writing-boot-entry",
            Self::ReadingBack { .. } => "reading-back",
            Self::Restoring { .. } => "restoring",
        }
    }
}

impl State {
    /// The work that the phase is waiting for: what a restarted daemon takes up.
    pub fn work(&self) -> Option<(DeploymentId, Work)> {
        let work = match &self.phase {
            Phase::Resting => return None,
            Phase::Importing { deployment } => Work::Import(deployment.candidate.clone()),
            Phase::Evaluating { deployment } => Work::Evaluate(deployment.candidate.clone()),
            Phase::Building { derivation, .. } => Work::Build(derivation.clone()),
            Phase::Rooting { deployment, system } => {
                Work::Root(system.clone(), deployment.before.running.clone())
            }
            Phase::Inspecting { system, .. } => {
                Work::Inspect(system.clone(), self.known_broken.clone())
            }
            Phase::Checking { system, way, .. } => Work::Check(system.clone(), way.scope()),
            Phase::Testing { system, .. } => Work::Test(system.clone()),
            // No unit is forgiven here: `test` forgets every failure before it
            // starts anything, so what is failed now, failed in this system.
            Phase::Confirming { system, .. } => Work::Confirm(system.clone()),
            Phase::SettingProfile {
                system, permission, ..
            } => Work::SetProfile(system.clone(), permission.clone()),
            Phase::WritingBootEntry {
                system, permission, ..
            } => Work::WriteBootEntry(system.clone(), permission.clone()),
            Phase::ReadingBack { .. } => Work::ReadBack,
            Phase::Restoring {
                previous, system, ..
            } => Work::Restore {
                previous: previous.clone(),
                failed: system.toplevel.clone(),
            },
        };
        let deployment = self.phase.deployment()?;
        Some((deployment.id.clone(), work))
    }
}
