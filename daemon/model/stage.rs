//! What the stages of the pipeline are told and what they give back.
//!
//! In: nothing. Out: the vocabulary between decisions and hands. Must not: say
//! in which order things happen.

use std::collections::BTreeSet;

use super::failure::Failure;
use super::health::{Baseline, Reachability};
use super::policy::{Guard, OnUnhealthy};
use super::push::OwnCheck;
use super::revision::Candidate;
use super::rollback::Verdict;
use super::system::{Observed, Toplevel};

/// The steps that run as transient units, each under one fixed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnitStep {
    /// Brings the commit into the evaluation's repository.
    Import,
    /// Finds the derivation.
    Evaluate,
    /// Builds it.
    Build,
    /// Registers the toplevel as a GC root, by root.
    Root,
    /// Runs the closure's own checks.
    Check,
    /// Runs `switch-to-configuration test`.
    Test,
    /// Sets the profile.
    Profile,
    /// Runs `switch-to-configuration boot`.
    Boot,
    /// Puts profile and boot entry back.
    Restore,
    /// Looks at the network from a given closure.
    Probe,
}

impl UnitStep {
    /// Every step.
    pub const ALL: &[Self] = &[
        Self::Import,
        Self::Evaluate,
        Self::Build,
        Self::Root,
        Self::Check,
        Self::Test,
        Self::Profile,
        Self::Boot,
        Self::Restore,
        Self::Probe,
    ];

    /// The word in the unit's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Evaluate => "evaluate",
            Self::Build => "build",
            Self::Root => "root",
            Self::Check => "check",
            Self::Test => "test",
            Self::Profile => "profile",
            Self::Boot => "boot",
            Self::Restore => "restore",
            Self::Probe => "probe",
        }
    }

    /// The unit's name.
    pub fn unit(self) -> String {
        format!("deploy-flake-{}.service", self.name())
    }
}

/// What a build can end with besides a toplevel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildFailure {
    /// The derivation was garbage-collected meanwhile: evaluate again.
    DerivationMissing,
    /// Everything else.
    Failed(Failure),
}

/// What was found before anything is activated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What the host is now.
    pub observed: Observed,
    /// Set when the system can only be reached by a reboot (a switch inhibitor).
    pub reboot_required: Option<Failure>,
}

/// What `test` can end with besides success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestFailure {
    /// Nothing on the host was touched.
    Untouched(Failure),
    /// The system needs a reboot; nothing was touched.
    RebootRequired(Failure),
    /// The host may be half switched; which units are failed now.
    Touched {
        /// Why.
        failure: Failure,
        /// The units that are failed now.
        failed_units: BTreeSet<String>,
    },
}

impl TestFailure {
    /// Why.
    pub fn failure(&self) -> &Failure {
        match self {
            Self::Untouched(failure)
            | Self::RebootRequired(failure)
            | Self::Touched { failure, .. } => failure,
        }
    }
}

/// What the host looked like once it was healthy after `test`, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Healthy for the whole confirm window, and still the tested system.
    Healthy,
    /// Not healthy; which units are failed now.
    Unhealthy {
        /// Why.
        failure: Failure,
        /// The units that are failed now.
        failed_units: BTreeSet<String>,
    },
    /// Somebody switched the host meanwhile.
    Overridden(Failure),
    /// The guardian's time came, and it is leading back.
    GuardianActs(Failure),
    /// The host is going down; nothing can be said.
    Unknown(Failure),
}

impl Confirmation {
    /// Why not, where it is not healthy.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Healthy => None,
            Self::Unhealthy { failure, .. }
            | Self::Overridden(failure)
            | Self::GuardianActs(failure)
            | Self::Unknown(failure) => Some(failure),
        }
    }
}

/// What an operator says of a system in its confirm window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is good: nothing more has to be waited for than the host's health.
    Confirmed,
    /// It is not: the host is led back, and nobody has to watch it any more.
    Rejected,
}

/// What the host was when its way back was armed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// How healthy, before the guardian was armed.
    pub baseline: Baseline,
    /// What it is since.
    pub observed: Observed,
}

/// Who decided about a confirmed system, and what the host was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whoever came first.
    pub verdict: Verdict,
    /// What the host is now.
    pub observed: Observed,
}

/// What an inspection forgives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgiven {
    /// Units that a failed rollback of ours left failed.
    pub broken: BTreeSet<String>,
    /// What the new system may lack, said for this commit.
    pub lacking: BTreeSet<Guard>,
    /// What becomes of a host that is not healthy, where policy refuses it.
    pub unhealthy: OnUnhealthy,
}

/// What the way back is armed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arming {
    /// Which candidate is going to be activated.
    pub candidate: Candidate,
    /// Its toplevel.
    pub toplevel: Toplevel,
    /// What runs now, and is led back to.
    pub previous: Option<Toplevel>,
    /// Whether a reboot is a way back, too.
    pub may_reboot: bool,
}

/// What a rollback needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// Which candidate had it activated.
    pub asked_by: Candidate,
    /// What is led back to.
    pub previous: Toplevel,
    /// What is led back from.
    pub candidate: Toplevel,
    /// What the host was before.
    pub baseline: Baseline,
    /// Whether the remote's silence was the cause: then it is asked again from
    /// the previous system, to know whose fault it was.
    pub ask_remote: bool,
    /// Whether a reboot leads to the previous system: not if the default entry
    /// could not be put back.
    pub may_reboot: bool,
}

/// How a rollback ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackEnd {
    /// The previous system runs and is as healthy as before.
    RolledBack {
        /// Whether the remote can be asked now; unknown unless that was asked.
        remote: Reachability,
    },
    /// It does not, or is not, and stays so.
    Failed {
        /// Why.
        failure: Failure,
        /// The units that are failed now.
        failed_units: BTreeSet<String>,
    },
    /// Nobody recorded an end: the guardian could not be started, or was ended
    /// every time. What is armed stays, and acts at its deadline.
    Pending(Failure),
    /// Somebody else switched the host; their system was left alone.
    Overridden(Failure),
}

/// What is asked of the closure before it is activated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPlan {
    /// Which checks apply.
    pub scope: CheckScope,
    /// Its own check.
    pub own: OwnCheck,
}

/// Which of the closure's checks apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckScope {
    /// The pre-activate check, then `switch-to-configuration check`.
    BeforeTest,
    /// The pre-activate check alone: `boot` runs the others itself, and an
    /// inhibitor would fail them.
    BeforeBoot,
}
