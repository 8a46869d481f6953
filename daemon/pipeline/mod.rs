//! The hands, in the order of the flow: one method of [`Stages`] per effect.
//!
//! In: an effect's plain data. Out: what was found or done, as plain data or a
//! typed [`Failure`]. Must not: know phases, retry, or decide what follows.
//!
//! Every method is *adopting*: called again for the same deployment after the
//! daemon was restarted, it finds the step's unit (running or ended) and
//! returns its result instead of starting it anew. A step's unit is let go by
//! [`Stages::release`], which the caller calls only once the result is in the
//! ledger.

pub mod step;
pub(crate) mod observe;
pub(crate) mod installed;
pub(crate) mod boot_loader;
pub(crate) mod room;
pub(crate) mod lock;
pub(crate) mod health;
pub(crate) mod probe;
pub(crate) mod check;
pub(crate) mod guard;
pub(crate) mod activate;
pub(crate) mod replace;
pub(crate) mod confirm;
pub(crate) mod boot;
pub(crate) mod git;
mod floor;
mod judge;
pub(crate) mod remotes;
pub mod build;
pub mod machine;

use crate::host::closure::ClosureError;
use crate::host::systemd::ShutdownLock;
use crate::model::closure::Difference;
use crate::model::deployment::{DeploymentId, System};
use crate::model::description::Description;
use crate::model::failure::Failure;
use crate::model::health::Baseline;
use crate::model::offer::{Offer, RemoteNumber};
use crate::model::revision::{Candidate, CommitId, Confirmed};
use crate::model::rollback::Verdict;
use crate::model::stage::{
    Arming, BuildFailure, CheckPlan, Claim, Confirmation, Forgiven, Inspection, Rollback,
    RollbackEnd, TestFailure, UnitStep, Word,
};
use crate::model::system::{Derivation, Observed, ProfileEntry, Toplevel};
use crate::reconcile::permission::BootPermission;

/// The seam between decisions and the machine.
pub trait Stages: Send + Sync + 'static {
    /// Asks a remote which commit its branch is, brings it into its mirror, and
    /// judges whether it may be followed; and the testing branch with it, which
    /// never keeps the branch from being followed.
    fn poll(
        &self,
        remote: RemoteNumber,
        confirmed: &Confirmed,
    ) -> impl Future<Output = Result<Offer, Failure>> + Send;

    /// Removes the mirrors that no remote uses any more.
    fn remove_unused_mirrors(&self) -> impl Future<Output = ()> + Send;

    /// Reads what the host is.
    fn observe(&self) -> impl Future<Output = Observed> + Send;

    /// Resolves when nothing can be known of the machine any more: the
    /// connection to systemd is lost, and this daemon is about to end.
    fn lost(&self) -> impl Future<Output = ()> + Send;

    /// Keeps the host from being shut down until the lock is dropped.
    fn inhibit_shutdown(
        &self,
        why: &str,
    ) -> impl Future<Output = Result<ShutdownLock, Failure>> + Send;

    /// Fails with `host-busy` while the system is starting or shutting down.
    fn ready(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Brings the candidate from the mirror into the evaluation's repository; or
    /// finds what was pushed in the store, and roots it there.
    fn import(
        &self,
        id: &DeploymentId,
        candidate: &Candidate,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Evaluates this host's configuration of the candidate to a derivation.
    fn evaluate(
        &self,
        id: &DeploymentId,
        candidate: &Candidate,
    ) -> impl Future<Output = Result<Derivation, Failure>> + Send;

    /// Builds or substitutes the derivation.
    fn build(
        &self,
        id: &DeploymentId,
        derivation: &Derivation,
    ) -> impl Future<Output = Result<Toplevel, BuildFailure>> + Send;

    /// Makes sure that the toplevel is the derivation's own output, registered
    /// and rooted by root; roots the running system too, so that the way back
    /// cannot be garbage-collected.
    fn root(
        &self,
        id: &DeploymentId,
        system: &System,
        running: Option<&Toplevel>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Looks at the host's health and at the closure, before anything runs
    /// from it. `forgiven`: what is no verdict this time.
    fn inspect(
        &self,
        id: &DeploymentId,
        system: &System,
        forgiven: &Forgiven,
    ) -> impl Future<Output = Result<Inspection, Failure>> + Send;

    /// Runs the closure's pre-activate check, unless that is not asked, and, if
    /// the system is going to be tested, `switch-to-configuration check`.
    fn check(
        &self,
        id: &DeploymentId,
        system: &System,
        plan: &CheckPlan,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Takes the baseline, arms the guardian, and reads it back. Called again,
    /// it does all of it again: nothing was activated.
    fn arm(
        &self,
        id: &DeploymentId,
        arming: &Arming,
    ) -> impl Future<Output = Result<Baseline, Failure>> + Send;

    /// Runs `switch-to-configuration test`.
    fn test(
        &self,
        id: &DeploymentId,
        system: &System,
        baseline: &Baseline,
    ) -> impl Future<Output = Result<(), TestFailure>> + Send;

    /// Restarts this daemon if the new system's program, unit or configuration
    /// is another than that which it was started from. Then it does not return:
    /// the next daemon asks again, and is the one that was asked for.
    fn replace(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether the running system asks for another daemon than this one, and
    /// nobody is switching the host meanwhile.
    fn is_outdated(&self) -> impl Future<Output = bool> + Send;

    /// Watches the host's health through the confirm window, against what it
    /// was before.
    fn confirm(
        &self,
        id: &DeploymentId,
        system: &System,
        baseline: &Baseline,
    ) -> impl Future<Output = Confirmation> + Send;

    /// Tells whoever watches that deployment's system what an operator says of
    /// it. It is forgotten with the daemon: the window then begins anew.
    fn say(&self, id: &DeploymentId, word: Word);

    /// Writes the verdict, unless the guardian was first.
    fn claim(&self, id: &DeploymentId) -> impl Future<Output = Result<Claim, Failure>> + Send;

    /// Disarms the guardian, unless it was first.
    fn disarm(&self, id: &DeploymentId) -> impl Future<Output = Verdict> + Send;

    /// Has the guardian bring the previous system back, or waits for it where
    /// it already does.
    fn roll_back(
        &self,
        id: &DeploymentId,
        rollback: &Rollback,
    ) -> impl Future<Output = RollbackEnd> + Send;

    /// Lets go the guardian of a deployment whose end is in the ledger, with
    /// everything it was armed with.
    fn dismiss(&self, id: &DeploymentId) -> impl Future<Output = ()> + Send;

    /// Sets the profile `system`.
    fn set_profile(
        &self,
        id: &DeploymentId,
        system: &System,
        permission: &BootPermission,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Runs `switch-to-configuration boot`.
    fn write_boot_entry(
        &self,
        id: &DeploymentId,
        system: &System,
        permission: &BootPermission,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Puts the profile back to a generation and its boot entry as default,
    /// and reads both back.
    fn restore(
        &self,
        id: &DeploymentId,
        previous: &ProfileEntry,
        failed: &Toplevel,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What a commit that a remote was just seen to offer says of itself, and who
    /// signed it. None: nobody can say now, and nobody waits for it.
    fn describe(&self, commit: &CommitId) -> impl Future<Output = Option<Description>> + Send;

    /// How one system's closure differs from another's.
    fn compare(
        &self,
        old: &Toplevel,
        new: &Toplevel,
    ) -> impl Future<Output = Result<Difference, ClosureError>> + Send;

    /// Ends a step that is not wanted any more, and lets its unit go.
    fn abandon(&self, id: &DeploymentId, step: UnitStep) -> impl Future<Output = ()> + Send;

    /// Lets go the unit of a step whose result is in the ledger.
    fn release(&self, step: UnitStep) -> impl Future<Output = ()> + Send;

    /// Lets go every unit of ours that is neither this deployment's nor running
    /// for it: what a restart finds of the past. `step`: the one that the
    /// deployment is at.
    fn sweep(
        &self,
        current: Option<&DeploymentId>,
        step: Option<UnitStep>,
    ) -> impl Future<Output = ()> + Send;
}
