//! A host that root took back to an earlier system, or to a snapshot of their
//! own: it stays there.
//!
//! In: the state and what the look saw. Out: a decision. Must not: follow what
//! root set aside, before somebody says so.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::branches::leave;
use super::event::{Demand, Look};
use super::recover::test_ended;
use super::select::{self, Decision, same_candidate};
use super::state::{Context, State};
use crate::model::deployment::{Cause, Finished, Outcome};
use crate::model::pause::UserId;
use crate::model::policy::Mode;
use crate::model::revision::{Candidate, CommitId};
use crate::model::system::Observed;

/// Where root took the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who said so.
    pub by: UserId,
    /// The commits that were known then: none of them is followed.
    pub left: BTreeSet<CommitId>,
    /// How it ended; nothing while it goes on.
    pub standing: Option<Finished>,
    /// What ends it.
    pub until: Until,
}

/// What ends a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// A commit that was not known then.
    NewCommit,
    /// It is over: an operator said `resume`.
    Resumed,
}

/// Decides what a look at rest asks for while the host is held.
pub(super) fn decide(state: &State, hold: &Hold, look: &Look, context: &Context<'_>) -> Decision {
    match (hold.until, &look.head) {
        (Until::Resumed, _) => leave(state, look, context, Cause::Resumed),
        (Until::NewCommit, Some(head)) if !hold.left.contains(head) => {
            select::decide(state, look, context)
        }
        (Until::NewCommit, _) => stand(hold, look, context),
    }
}

/// The host stays what root made of it: drift counts from there.
fn stand(hold: &Hold, look: &Look, context: &Context<'_>) -> Decision {
    let is_asked = matches!(look.demand, Demand::Retry { .. });
    let standing = hold.standing.as_ref();
    match standing.filter(|it| is_asked || is_there(&it.outcome)) {
        Some(standing) => same_candidate(standing, look, context, None),
        None => Decision::Rest,
    }
}

/// Whether a way back led there, now or with the next reboot.
pub(super) fn is_there(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deployed | Outcome::Unchanged => true,
        Outcome::RebootRequired { entry_written, .. } => *entry_written,
        Outcome::Refused(_)
        | Outcome::Failed(_)
        | Outcome::RolledBack(_)
        | Outcome::RolledBackByReboot(_)
        | Outcome::RollbackFailed(_)
        | Outcome::Inconclusive(_)
        | Outcome::Superseded
        | Outcome::Overridden(_) => false,
    }
}

/// What of it the status has to speak of: where the host is held, or what is
/// left of a way there that nobody could lead back from.
pub(super) fn told(state: &State) -> Option<&Finished> {
    let is_left = |it: &&Finished| {
        matches!(
            it.outcome,
            Outcome::RollbackFailed(_) | Outcome::Overridden(_) | Outcome::Failed(_)
        )
    };
    let reverted = state.reverted.as_ref().filter(is_left);
    let standing = || state.hold.as_ref()?.standing.as_ref();
    reverted.or_else(standing)
}

/// Whether that is where the host is held.
pub(super) fn is_held(state: &State, finished: &Finished) -> bool {
    let standing = state.hold.as_ref().and_then(|it| it.standing.as_ref());
    standing == Some(finished)
}

/// The host arrived where it is held, and what is told of the way there says so.
pub(super) fn tell_arrival(state: &mut State) {
    let standing = state.hold.as_ref().and_then(|hold| hold.standing.as_ref());
    if let (Some(standing), Some(told)) = (standing, &mut state.reverted)
        && told.deployment.id == standing.deployment.id
    {
        told.clone_from(standing);
    }
}

/// What was only tested ends with the boot, and what it was held at with it.
pub(super) fn end_with_boot(state: &mut State, observed: &Observed, context: &Context<'_>) {
    let is_over = |hold: &Hold| {
        let deployment = hold.standing.as_ref().map(|it| &it.deployment);
        deployment.is_some_and(|it| it.aim() == Mode::Test && it.boot_id != context.boot_id)
    };
    let Some(hold) = state.hold.as_mut().filter(|hold| is_over(hold)) else {
        return;
    };
    let Some(standing) = hold.standing.take() else {
        return;
    };
    let current = state.phase.deployment().map(|it| &it.candidate);
    // What root wants now goes on.
    if !current.is_some_and(Candidate::is_roots) {
        state.hold = None;
    }
    let told = state.reverted.as_mut();
    if let Some(told) = told.filter(|told| told.deployment.id == standing.deployment.id)
        && select::drift(&standing, observed).is_some()
    {
        told.outcome = Outcome::RolledBackByReboot(test_ended());
        told.finished = context.now;
    }
}
