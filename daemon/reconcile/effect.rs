//! What is due after a decision.
//!
//! In: nothing. Out: the vocabulary of `step` and the executor. Must not: hold
//! logic.

use super::permission::BootPermission;
use crate::model::deployment::{DeploymentId, System};
use crate::model::health::Baseline;
use crate::model::revision::Candidate;
use crate::model::stage::{Arming, CheckPlan, Forgiven, Rollback, UnitStep, Word};
use crate::model::system::{Derivation, ProfileEntry, Toplevel};

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
    /// Tell whoever watches a tested system what an operator says of it.
    Say(DeploymentId, Word),
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
    Check(System, CheckPlan),
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
