//! What is going on: the phases of a deployment, each with what it needs to
//! know to go on after any crash.
//!
//! In: nothing. Out: what the ledger holds. Must not: hold logic beyond naming
//! what a phase is doing.

use serde::{Deserialize, Serialize};

use super::permission::BootPermission;
use crate::model::deployment::{Deployment, Outcome, System};
use crate::model::failure::Failure;
use crate::model::health::Baseline;
use crate::model::stage::{CheckScope, UnitStep};
use crate::model::system::{Derivation, ProfileEntry};

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
    Testing(Activation),
    /// The daemon of the new system takes over, if it is another.
    Replacing(Activation),
    /// The host's health is watched through the confirm window.
    Confirming(Activation),
    /// The verdict is written, unless the guardian was first.
    Claiming(Activation),
    /// The profile is being set.
    SettingProfile {
        /// What becomes of what.
        #[serde(flatten)]
        activation: Activation,
        /// Why it may.
        permission: BootPermission,
    },
    /// `switch-to-configuration boot` runs.
    WritingBootEntry {
        /// What becomes of what.
        #[serde(flatten)]
        activation: Activation,
        /// Why it may.
        permission: BootPermission,
    },
    /// Profile and default entry are read back.
    ReadingBack {
        /// What becomes of what.
        #[serde(flatten)]
        activation: Activation,
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
    /// The way back is disarmed: it is not needed any more.
    Disarming {
        /// What it was armed for.
        #[serde(flatten)]
        activation: Activation,
        /// What follows.
        then: AfterDisarm,
    },
    /// The previous system is brought back.
    RollingBack {
        /// What failed.
        #[serde(flatten)]
        activation: Activation,
        /// Why.
        failure: Failure,
        /// Whether a reboot leads to the previous system.
        #[serde(default)]
        reboot: Reboot,
    },
}

/// A system that is, or was, activated for a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// For which deployment.
    pub deployment: Deployment,
    /// What was built.
    pub system: System,
    /// What the host was before; nothing, where no guardian is armed for it.
    #[serde(default)]
    pub baseline: Baseline,
}

impl Activation {
    /// Where a reboot leads while profile and entry are as they were before:
    /// somebody may have made the candidate the default entry already.
    pub fn reboot(&self) -> Reboot {
        Reboot::away_from(&self.system, &self.deployment)
    }
}

/// Whether a reboot is a way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reboot {
    /// The default entry is the previous system's.
    #[default]
    LeadsBack,
    /// The default entry is the system that is led back from, or nobody can
    /// say what it starts.
    LeadsAstray,
}

impl Reboot {
    /// Where a reboot leads from a system that is activated for a deployment,
    /// which found the default entry as it is.
    pub fn away_from(system: &System, deployment: &Deployment) -> Self {
        if deployment.before.default_entry.toplevel() == Some(&system.toplevel) {
            Self::LeadsAstray
        } else {
            Self::LeadsBack
        }
    }
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
            | Self::Restoring { deployment, .. } => Some(deployment),
            Self::Testing(activation)
            | Self::Replacing(activation)
            | Self::Confirming(activation)
            | Self::Claiming(activation)
            | Self::SettingProfile { activation, .. }
            | Self::WritingBootEntry { activation, .. }
            | Self::ReadingBack { activation, .. }
            | Self::Disarming { activation, .. }
            | Self::RollingBack { activation, .. } => Some(&activation.deployment),
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
            | Self::Restoring { system, .. } => Some(system),
            Self::Testing(activation)
            | Self::Replacing(activation)
            | Self::Confirming(activation)
            | Self::Claiming(activation)
            | Self::SettingProfile { activation, .. }
            | Self::WritingBootEntry { activation, .. }
            | Self::ReadingBack { activation, .. }
            | Self::Disarming { activation, .. }
            | Self::RollingBack { activation, .. } => Some(&activation.system),
        }
    }

    /// The unit that does the phase's work, where one does.
    pub fn unit_step(&self) -> Option<UnitStep> {
        match self {
            Self::Resting
            | Self::Inspecting { .. }
            | Self::Arming { .. }
            | Self::Replacing(_)
            | Self::Confirming(_)
            | Self::Claiming(_)
            | Self::ReadingBack { .. }
            | Self::Disarming { .. }
            | Self::RollingBack { .. } => None,
            Self::Importing { .. } => Some(UnitStep::Import),
            Self::Evaluating { .. } => Some(UnitStep::Evaluate),
            Self::Building { .. } => Some(UnitStep::Build),
            Self::Rooting { .. } => Some(UnitStep::Root),
            Self::Checking { .. } => Some(UnitStep::Check),
            Self::Testing(_) => Some(UnitStep::Test),
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
            | Self::Testing(_)
            | Self::Replacing(_)
            | Self::Confirming(_)
            | Self::Claiming(_)
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
            Self::Testing(_) => "testing",
            Self::Replacing(_) => "replacing",
            Self::Confirming(_) => "confirming",
            Self::Claiming(_) => "claiming",
            Self::SettingProfile { .. } => "setting-profile",
            Self::WritingBootEntry { .. } => "writing-boot-entry",
            Self::ReadingBack { .. } => "reading-back",
            Self::Restoring { .. } => "restoring",
            Self::Disarming { .. } => "disarming",
            Self::RollingBack { .. } => "rolling-back",
        }
    }
}
