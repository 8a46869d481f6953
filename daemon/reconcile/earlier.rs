//! What was confirmed on this host, and can be gone back to.
//!
//! In: deployments that ended well. Out: the system that root means. Must not:
//! say whether it is still in the store; the host finds out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::phase::Phase;
use super::state::State;
use crate::model::deployment::{DeploymentId, Finished, Resolved, System};
use crate::model::revision::{Candidate, CommitId};

/// How many are kept; the oldest goes first. Whoever wants to go further back
/// has git.
const MOST: usize = 16;

/// What was confirmed here, oldest first; each another system than the one
/// before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proven(Vec<Earlier>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The deployment that brought it.
    pub deployment: DeploymentId,
    /// The last commit that asked for it.
    pub commit: CommitId,
    /// The system.
    pub system: System,
    /// When it was confirmed.
    pub at: Timestamp,
}

/// Why there is nothing to go back to now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBack {
    /// The host is being touched.
    #[error(
        "a deployment goes on (the daemon is {0}): wait for its end, or in its confirm window run \
         `deploy-flake reject`"
    )]
    Busy(&'static str),
    /// Nothing else was confirmed here.
    #[error(
        "the daemon knows no earlier system of this host: to go back further, push a revert, or \
         switch by hand"
    )]
    Nothing,
    /// Not that one.
    #[error("deployment {0} is not among those that can be gone back to: {1}")]
    Unknown(DeploymentId, String),
}

impl Proven {
    /// Takes a deployment that ended well, if it is known what it was built from.
    pub(super) fn add(&mut self, finished: &Finished, resolved: Option<&Resolved>) {
        let Some(toplevel) = &finished.toplevel else {
            return;
        };
        let resolved = resolved.filter(|it| it.toplevel.as_ref() == Some(toplevel));
        let Some(resolved) = resolved else { return };
        let commit = finished.deployment.candidate.commit().clone();
        if let Some(newest) = self.0.last_mut()
            && newest.system.toplevel == *toplevel
        {
            newest.commit = commit;
            return;
        }
        self.0.push(Earlier {
            deployment: finished.deployment.id.clone(),
            commit,
            system: System {
                derivation: resolved.derivation.clone(),
                toplevel: toplevel.clone(),
            },
            at: finished.finished.wall,
        });
        let surplus = self.0.len().saturating_sub(MOST);
        self.0.drain(..surplus);
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Earlier> {
        self.0.iter()
    }

    fn position(&self, deployment: &DeploymentId) -> Option<usize> {
        self.0.iter().position(|it| it.deployment == *deployment)
    }

    /// The one before where the host is held, or before the newest.
    fn before(&self, held: &Held<'_>) -> Option<&Earlier> {
        let newest = self.0.len().checked_sub(1)?;
        let at = match held {
            Held::At(deployment) => self.position(deployment).unwrap_or(newest),
            Held::AtPush => return self.0.get(newest),
            Held::Not => newest,
        };
        self.0.get(at.checked_sub(1)?)
    }
}

/// Finds what root means. `named`: the deployment whose system it is to be.
pub fn find<'a>(state: &'a State, named: Option<&DeploymentId>) -> Result<&'a Earlier, NotBack> {
    if state.phase != Phase::Resting && !state.phase.is_preparing() {
        return Err(NotBack::Busy(state.phase.name()));
    }
    match named {
        None => state.proven.before(&held(state)).ok_or(NotBack::Nothing),
        Some(named) => {
            let mut all = state.proven.iter();
            let found = all.find(|it| it.deployment == *named);
            found.ok_or_else(|| NotBack::Unknown(named.clone(), names(&state.proven)))
        }
    }
}

/// Where the host is held now.
enum Held<'a> {
    /// At the system of this deployment.
    At(&'a DeploymentId),
    /// At what root pushed, which is not among them: before it comes the newest.
    AtPush,
    /// Nowhere.
    Not,
}

fn held(state: &State) -> Held<'_> {
    let hold = state.hold.as_ref();
    let standing = hold.and_then(|hold| hold.standing.as_ref());
    match standing.map(|standing| &standing.deployment.candidate) {
        Some(Candidate::Earlier { deployment, .. }) => Held::At(deployment),
        Some(Candidate::Pushed { .. }) => Held::AtPush,
        Some(Candidate::Commit(_) | Candidate::Testing { .. }) | None => Held::Not,
    }
}

fn names(proven: &Proven) -> String {
    let names: Vec<&str> = proven.iter().map(|it| it.deployment.0.as_str()).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}
