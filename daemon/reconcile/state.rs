//! The state machine's types: phases, events, effects.
//!
//! In: nothing. Out: the vocabulary of `step`, `recover` and the executor.
//! Must not: hold logic beyond naming what a phase is doing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::permission::BootPermission;
use super::quarantine::Quarantine;
use crate::model::deployment::{Deployment, DeploymentId, Finished, Outcome, Resolved, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Baseline;
use crate::model::policy::{Guard, Policy, Settings};
use crate::model::revision::{Candidate, CommitId};
use crate::model::rollback::Verdict;
use crate::model::stage::{
    Arming, BuildFailure, CheckScope, Claim, Confirmation, Forgiven, Inspection, Rollback,
    RollbackEnd, TestFailure, UnitStep,
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
    /// Units that a failed rollback of ours left failed: no verdict on the
    /// host before the next activation, or a fix could never be deployed.
    pub known_broken: BTreeSet<String>,
    /// Toplevels that failed: none is activated again by itself.
    #[serde(default)]
    pub quarantine: Quarantine,
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
    /// The way back is armed and read back; the baseline is taken.
    Arming {
        /// For which deployment.
        deployment: Deployment,
        /// What was built.
        system: System,
    },
    /// `switch-to-configuration test` runs.
    Testing {
        /// For which deployment.
        deployment: Deployment,
        /// What was built.
        system: System,
        /// What the host was before.
        #[serde(default)]
        baseline: Baseline,
    },
    /// The daemon of the new system takes over, if it is another.
    Replacing {
        /// For which deployment.
        deployment: Deployment,
        /// What runs now.
        system: System,
        /// What the host was before.
        baseline: Baseline,
    },
    /// The host's health is watched through the confirm window.
    Confirming {
        /// For which deployment.
        deployment: Deployment,
        /// What runs now.
        system: System,
        /// What the host was before.
        #[serde(default)]
        baseline: Baseline,
    },
    /// The verdict is written, unless the guardian was first.
    Claiming {
        /// For which deployment.
        deployment: Deployment,
        /// What runs now.
        system: System,
        /// What the host was before.
        baseline: Baseline,
    },
    /// The profile is being set.
    SettingProfile {
        /// For which deployment.
        deployment: Deployment,
        /// What it is set to.
        system: System,
        /// Why it may.
        permission: BootPermission,
        /// What the host was before.
        #[serde(default)]
        baseline: Baseline,
    },
    /// `switch-to-configuration boot` runs.
    WritingBootEntry {
        /// For which deployment.
        deployment: Deployment,
        /// What becomes the default entry.
        system: System,
        /// Why it may.
        permission: BootPermission,
        /// What the host was before.
        #[serde(default)]
        baseline: Baseline,
    },
    /// Profile and default entry are read back.
    ReadingBack {
        /// For which deployment.
        deployment: Deployment,
        /// What they should be.
        system: System,
        /// Why they were written.
        permission: BootPermission,
        /// What the host was before.
        #[serde(default)]
        baseline: Baseline,
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
    /// The way back is disarmed: it is not needed any more.
    Disarming {
        /// For which deployment.
        deployment: Deployment,
        /// What it was armed for.
        system: System,
        /// What follows.
        then: AfterDisarm,
        /// What the host was before, should the guardian have been first.
        baseline: Baseline,
    },
    /// The previous system is brought back.
    RollingBack {
        /// For which deployment.
        deployment: Deployment,
        /// What failed.
        system: System,
        /// Why.
        failure: Failure,
        /// What the host was before.
        baseline: Baseline,
        /// Whether a reboot leads to the previous system.
        #[serde(default)]
        reboot: Reboot,
    },
}

/// Whether a reboot is a way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reboot {
    /// The default entry is the previous system's.
    #[default]
    LeadsBack,
    /// Nobody can say what the default entry starts.
    LeadsAstray,
}

/// What follows when the guardian is disarmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterDisarm {
    /// The deployment ends so.
    End(Outcome),
    /// Nothing was activated; the boot entry is written by policy.
    Write(BootPermission),
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
    /// The running system goes back, too.
    RollBack(Failure, Baseline),
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
    /// Who wants it.
    pub demand: Demand,
}

/// Who wants a look, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// It was its time.
    #[default]
    Time,
    /// An operator wants to know: a retry that waits is due at once.
    Look,
    /// An operator wants the same commit once more, whatever became of it.
    Retry {
        /// What its system may lack.
        allowed: BTreeSet<Guard>,
    },
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
    /// What the host was when the way back was armed; or why it could not be.
    Armed(Result<Baseline, Failure>),
    /// How `test` ended.
    Tested(Result<(), TestFailure>),
    /// The new system's daemon runs, or could not take over.
    Replaced(Result<(), Failure>),
    /// How the confirm window ended.
    Confirmed(Confirmation),
    /// Whose verdict stands, or why none could be written.
    Claimed(Result<Claim, Failure>),
    /// The profile is set, or not.
    ProfileSet(Result<(), Failure>),
    /// The boot loader is done, or failed.
    BootEntryWritten(Result<(), Failure>),
    /// What profile and default entry are now.
    ReadBack(Observed),
    /// Profile and entry are what they were, or not.
    Restored(Result<(), Failure>),
    /// Whose verdict stands; the guardian is disarmed if it is ours.
    Disarmed(Verdict),
    /// How the way back ended.
    RolledBack(RollbackEnd),
}

/// Something to be done, always for one deployment.
#[expect(
    clippy::large_enum_variant,
    reason = "a decision has a handful of them, for an instant"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Let go the unit of a step whose result is known.
    Release(UnitStep),
    /// Let go the guardian of a deployment that came to its end.
    Dismiss(DeploymentId),
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
    Inspect(System, Forgiven),
    /// Of `Checking`.
    Check(System, CheckScope),
    /// Of `Arming`.
    Arm(Arming),
    /// Of `Testing`.
    Test(System, Baseline),
    /// Of `Replacing`.
    Replace,
    /// Of `Confirming`.
    Confirm(System, Baseline),
    /// Of `Claiming`.
    Claim,
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
    /// Of `Disarming`.
    Disarm,
    /// Of `RollingBack`.
    RollBack(Rollback),
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
            | Self::Replaced(result)
            | Self::Restored(result) => result.as_ref().err(),
            Self::Evaluated(result) => result.as_ref().err(),
            Self::Built(Err(BuildFailure::Failed(failure))) => Some(failure),
            Self::Built(_) => None,
            Self::Rooted(result) | Self::Checked(result) => result.as_ref().err(),
            Self::Inspected(result) => result.as_ref().err(),
            Self::Armed(result) => result.as_ref().err(),
            Self::Tested(result) => result.as_ref().err().map(TestFailure::failure),
            Self::Confirmed(confirmation) => confirmation.failure(),
            Self::Claimed(result) => result.as_ref().err(),
            Self::RolledBack(RollbackEnd::Failed { failure, .. }) => Some(failure),
            Self::ReadBack(_) | Self::Disarmed(_) | Self::RolledBack(_) => None,
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
            | Self::Arming { deployment, .. }
            | Self::Testing { deployment, .. }
            | Self::Replacing { deployment, .. }
            | Self::Confirming { deployment, .. }
            | Self::Claiming { deployment, .. }
            | Self::SettingProfile { deployment, .. }
            | Self::WritingBootEntry { deployment, .. }
            | Self::ReadingBack { deployment, .. }
            | Self::Restoring { deployment, .. }
            | Self::Disarming { deployment, .. }
            | Self::RollingBack { deployment, .. } => Some(deployment),
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
            | Self::Arming { system, .. }
            | Self::Testing { system, .. }
            | Self::Replacing { system, .. }
            | Self::Confirming { system, .. }
            | Self::Claiming { system, .. }
            | Self::SettingProfile { system, .. }
            | Self::WritingBootEntry { system, .. }
            | Self::ReadingBack { system, .. }
            | Self::Restoring { system, .. }
            | Self::Disarming { system, .. }
            | Self::RollingBack { system, .. } => Some(system),
        }
    }

    /// The unit that does the phase's work, where one does.
    pub fn unit_step(&self) -> Option<UnitStep> {
        match self {
            Self::Resting
            | Self::Inspecting { .. }
            | Self::Arming { .. }
            | Self::Replacing { .. }
            | Self::Confirming { .. }
            | Self::Claiming { .. }
            | Self::ReadingBack { .. }
            | Self::Disarming { .. }
            | Self::RollingBack { .. } => None,
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

    /// Whether the way back is armed, or may be.
    pub fn is_guarded(&self) -> bool {
        match self {
            Self::Arming { .. }
            | Self::Testing { .. }
            | Self::Replacing { .. }
            | Self::Confirming { .. }
            | Self::Claiming { .. }
            | Self::Disarming { .. }
            | Self::RollingBack { .. } => true,
            Self::SettingProfile { permission, .. }
            | Self::WritingBootEntry { permission, .. }
            | Self::ReadingBack { permission, .. } => {
                matches!(permission, BootPermission::Confirmed(_))
            }
            Self::Restoring { then, .. } => matches!(then, AfterRestore::RollBack(..)),
            Self::Resting
            | Self::Importing { .. }
            | Self::Evaluating { .. }
            | Self::Building { .. }
            | Self::Rooting { .. }
            | Self::Inspecting { .. }
            | Self::Checking { .. } => false,
        }
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
            Self::Arming { .. } => "arming",
            Self::Testing { .. } => "testing",
            Self::Replacing { .. } => "replacing",
            Self::Confirming { .. } => "confirming",
            Self::Claiming { .. } => "claiming",
            Self::SettingProfile { .. } => "setting-profile",
            Self::WritingBootEntry { .. } => "writing-boot-entry",
            Self::ReadingBack { .. } => "reading-back",
            Self::Restoring { .. } => "restoring",
            Self::Disarming { .. } => "disarming",
            Self::RollingBack { .. } => "rolling-back",
        }
    }
}

impl State {
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
            Phase::Checking { system, way, .. } => Work::Check(system.clone(), way.scope()),
            Phase::Arming { deployment, system } => Work::Arm(Arming {
                candidate: deployment.candidate.clone(),
                toplevel: system.toplevel.clone(),
                previous: deployment.before.running.clone(),
            }),
            Phase::Testing {
                system, baseline, ..
            } => Work::Test(system.clone(), baseline.clone()),
            Phase::Replacing { .. } => Work::Replace,
            Phase::Confirming {
                system, baseline, ..
            } => Work::Confirm(system.clone(), baseline.clone()),
            Phase::Claiming { .. } => Work::Claim,
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
            Phase::Disarming { .. } => Work::Disarm,
            Phase::RollingBack {
                deployment,
                system,
                failure,
                baseline,
                reboot,
            } => Work::RollBack(Rollback {
                asked_by: deployment.candidate.clone(),
                previous: deployment.before.running.clone()?,
                candidate: system.toplevel.clone(),
                baseline: baseline.clone(),
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
        }
    }
}
