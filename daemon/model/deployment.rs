//! One attempt to bring one candidate to this host.
//!
//! In: a candidate and why it is tried. Out: what ledger, journal and status
//! keep of it. Must not: say in which order things happen; `reconcile` does.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::policy::{Guard, Mode, Settings};
use super::push::Aim;
use super::revision::Candidate;
use super::system::{BootId, Derivation, Observed, Toplevel};
use super::time::Now;

/// Identifies a deployment: 16 hexadecimal digits, drawn at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(pub String);

impl fmt::Display for DeploymentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a deployment was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The branch points to another commit than before.
    NewCommit,
    /// The host is not what the commit asks for, and policy says to correct it.
    Drift,
    /// The last attempt failed for a reason that may have passed.
    Retry,
    /// An operator said `retry`.
    Operator,
    /// The commit was brought to the host in another mode.
    Mode,
    /// The testing branch is gone, merged, or may not be followed any more.
    TestingLeft,
    /// Root said `rollback`.
    Rollback,
    /// Root pushed a snapshot.
    Push,
    /// An operator said `resume` after a `rollback` or a push.
    Resumed,
}

impl Cause {
    /// The word for journal and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewCommit => "new commit",
            Self::Drift => "drift",
            Self::Retry => "retry",
            Self::Operator => "operator",
            Self::Mode => "mode",
            Self::TestingLeft => "testing branch left",
            Self::Rollback => "rollback",
            Self::Push => "push",
            Self::Resumed => "resumed",
        }
    }
}

/// One attempt to bring one candidate to this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id, on every effect and every completion.
    pub id: DeploymentId,
    /// What is to run.
    pub candidate: Candidate,
    /// Why.
    pub cause: Cause,
    /// The mode that it was started in, and ends in, whatever the new system's
    /// configuration says; older ledgers know one.
    #[serde(default)]
    pub mode: Mode,
    /// The settings that it was started with; unknown in older ledgers.
    #[serde(default)]
    pub settings: Settings,
    /// What the host was when it started.
    pub before: Observed,
    /// When it started.
    pub started: Now,
    /// The boot in which it started; another one means it was interrupted.
    pub boot_id: BootId,
    /// How many times it was taken up again after a reboot in its middle.
    pub interruptions: u32,
    /// How many deployments in a row gave way to a newer commit before this.
    pub superseded_before: u32,
    /// How many times the derivation was gone before it could be built.
    pub reevaluations: u32,
    /// What the new system may lack, said by an operator for this commit.
    #[serde(default)]
    pub allowed: BTreeSet<Guard>,
}

impl Deployment {
    /// What it makes of the host.
    pub fn aim(&self) -> Mode {
        self.aim_in(self.mode)
    }

    /// What it would make of a host in that mode.
    pub fn aim_in(&self, mode: Mode) -> Mode {
        match &self.candidate {
            Candidate::Commit(_) | Candidate::Earlier { .. } => mode,
            Candidate::Testing { .. } => Mode::Test,
            Candidate::Pushed { push, .. } => match push.aim {
                Aim::Host => mode,
                Aim::TestOnly => Mode::Test,
                Aim::SkipTest => Mode::Boot,
            },
        }
    }

    /// Whether the host is what it was to become.
    pub fn is_reached(&self, toplevel: &Toplevel, observed: &Observed) -> bool {
        match self.aim() {
            Mode::Switch | Mode::Boot => observed.is_all(toplevel),
            // Profile and default entry are as they were, whatever that was.
            Mode::Test => observed.running.as_ref() == Some(toplevel),
        }
    }
}

/// The system that a candidate asks for: evaluated and built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// What it was built from.
    pub derivation: Derivation,
    /// What was built.
    pub toplevel: Toplevel,
}

/// What is known of a candidate that was evaluated, and perhaps built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The candidate.
    pub candidate: Candidate,
    /// Which of its configurations was evaluated; unknown in older ledgers.
    #[serde(default)]
    pub configuration: String,
    /// Its derivation.
    pub derivation: Derivation,
    /// Its toplevel, once built.
    pub toplevel: Option<Toplevel>,
}

/// How a deployment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Running system, profile and default entry are the candidate's, as far as
    /// the mode asks for them.
    Deployed,
    /// They already were; nothing was activated.
    Unchanged,
    /// Nothing on the host was touched.
    Refused(Failure),
    /// Profile or boot entry were touched and are not what was asked for; the
    /// running system was not.
    Failed(Failure),
    /// The system was activated and failed; the previous one runs again.
    RolledBack(Failure),
    /// The same, and it took a reboot.
    RolledBackByReboot(Failure),
    /// The system was activated and failed, and the way back failed, too.
    RollbackFailed(Failure),
    /// The remote could not be asked from the new system, nor from the previous
    /// one afterwards: it is not held against the commit.
    Inconclusive(Failure),
    /// The system needs a reboot; whether its boot entry was written.
    RebootRequired {
        /// Which sign said so.
        reason: Failure,
        /// Whether the next boot starts it.
        entry_written: bool,
    },
    /// A newer commit came before anything on the host was touched.
    Superseded,
    /// Somebody switched the host meanwhile; their system was left alone.
    Overridden(Failure),
}

impl Outcome {
    /// The word for journal and status.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::Unchanged => "unchanged",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::RolledBack(_) => "rolled-back",
            Self::RolledBackByReboot(_) => "rolled-back-by-reboot",
            Self::RollbackFailed(_) => "rollback-failed",
            Self::Inconclusive(_) => "inconclusive",
            Self::RebootRequired { .. } => "reboot-required",
            Self::Superseded => "superseded",
            Self::Overridden(_) => "overridden",
        }
    }

    /// Why it did not end well, where it did not.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused(failure)
            | Self::Failed(failure)
            | Self::RolledBack(failure)
            | Self::RolledBackByReboot(failure)
            | Self::RollbackFailed(failure)
            | Self::Inconclusive(failure)
            | Self::Overridden(failure) => Some(failure),
            Self::RebootRequired { reason, .. } => Some(reason),
            Self::Deployed | Self::Unchanged | Self::Superseded => None,
        }
    }
}

/// A deployment that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The attempt.
    pub deployment: Deployment,
    /// How far it came.
    pub toplevel: Option<Toplevel>,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub finished: Now,
}
