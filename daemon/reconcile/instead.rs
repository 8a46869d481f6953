//! What root wants here instead of what the branch asks for: an earlier system,
//! or a snapshot of their own.
//!
//! In: the wish, the state, and what policy lets root push. Out: the candidate,
//! or why not. Must not: say whether it is in the store; the host finds out.

use super::earlier::{self, NotBack};
use super::event::{Asked, Instead};
use super::phase::Phase;
use super::state::State;
use crate::model::policy::{Policy, Pushes};
use crate::model::push::{Aim, Push};
use crate::model::revision::{Candidate, CommitId};

/// Why that is not begun now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// There is nothing to go back to now.
    #[error(transparent)]
    Earlier(#[from] NotBack),
    /// The host is being touched.
    #[error(
        "a deployment goes on (the daemon is {0}): wait for its end, or in its confirm window run \
         `deploy-flake reject`, and push again"
    )]
    Busy(&'static str),
    /// Nothing may be pushed.
    #[error(
        "this host takes no pushes (allow = \"never\" in [push] of its configuration): commit the \
         change to its branch, or change that there"
    )]
    Never,
    /// Nothing may be pushed without a signature, which a snapshot never has.
    #[error(
        "this host follows signed commits alone ([trust] require), and a pushed snapshot is signed \
         by nobody: sign and commit the change, or set although_signed = true in [push] of its \
         configuration"
    )]
    NotWhereSigned,
    /// It is more than a test.
    #[error(
        "this host takes pushes only to be tested (allow = \"test-only\" in [push] of its \
         configuration): push with --test-only, which a reboot ends, or set allow = \"always\" there"
    )]
    TestOnly,
}

/// Finds what is to be deployed instead.
pub fn candidate(state: &State, policy: &Policy, asked: &Asked) -> Result<Candidate, NotBegun> {
    match &asked.instead {
        Instead::Earlier(named) => {
            let earlier = earlier::find(state, named.as_ref())?;
            Ok(Candidate::Earlier {
                deployment: earlier.deployment.clone(),
                commit: earlier.commit.clone(),
                system: earlier.system.clone(),
            })
        }
        Instead::Pushed(push) => {
            may_be_pushed(push, policy.pushes)?;
            if state.phase != Phase::Resting && !state.phase.is_preparing() {
                return Err(NotBegun::Busy(state.phase.name()));
            }
            Ok(Candidate::Pushed {
                commit: in_place_of(state, asked.head.as_ref()),
                push: push.clone(),
            })
        }
    }
}

fn may_be_pushed(push: &Push, pushes: Pushes) -> Result<(), NotBegun> {
    match (pushes, push.aim) {
        (Pushes::Never, _) => Err(NotBegun::Never),
        (Pushes::NotWhereSigned, _) => Err(NotBegun::NotWhereSigned),
        (Pushes::TestOnly, Aim::Host | Aim::SkipTest) => Err(NotBegun::TestOnly),
        (Pushes::TestOnly, Aim::TestOnly) | (Pushes::Always, _) => Ok(()),
    }
}

/// The commit in whose place it comes: what the branch is, or was.
fn in_place_of(state: &State, head: Option<&CommitId>) -> CommitId {
    let last = state.last.as_ref();
    let last = last.map(|last| last.deployment.candidate.commit());
    let known = head.or(state.floor.as_ref()).or(last);
    known.cloned().unwrap_or_else(CommitId::null)
}
