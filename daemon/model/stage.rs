//! What the stages of the pipeline are told and what they give back.
//!
//! In: nothing. Out: the vocabulary between decisions and hands. Must not: say
//! in which order things happen.

use std::collections::BTreeSet;

use super::failure::Failure;
use super::system::Observed;

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
            | Self::Unknown(failure) => Some(failure),
        }
    }
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
