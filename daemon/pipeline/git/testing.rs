//! The testing branch's commit, brought into the mirror beside the branch's.
//!
//! In: what the poll said of it. Out: whether the mirror holds it. Must not:
//! keep the branch itself from being fetched, however the testing branch fails.

use std::time::Duration;

use super::look::{Besides, Look, LookError};
use super::{Remote, State};
use crate::fetcher::wire::Problem;
use crate::host::clock;
use crate::model::failure::Failure;
use crate::model::remote::RemoteAddress;
use crate::model::revision::{Branch, CommitId, TagId};

/// How long a commit that could not be fetched is not asked for again: each try
/// may keep the branch waiting until the deadline of a fetch.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// What a remote's branches are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Polled {
    /// The commit that the branch is, in the mirror.
    pub(in super::super) commit: CommitId,
    /// What the testing branch is, if it was asked for.
    pub(in super::super) testing: Tip,
    /// What the heartbeat is, if it was asked for and is there.
    pub(in super::super) heartbeat: Option<TagId>,
}

/// What a testing branch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Tip {
    /// Nobody can say now.
    Unknown,
    /// The remote has none.
    Missing,
    /// This commit, in the mirror.
    Held(CommitId),
    /// This commit, which could not be fetched.
    Unfetched(CommitId, Failure),
}

/// A commit that could not be fetched.
pub(super) struct Untaken {
    commit: CommitId,
    failure: Failure,
    /// The time since boot.
    at: Duration,
}

impl Remote {
    /// Brings what the testing branch was seen to be, unless it was brought
    /// before, or failed lately.
    pub(super) async fn bring_testing(
        &self,
        state: &mut State,
        branch: &Branch,
        commit: CommitId,
    ) -> Tip {
        if state.tested.as_ref() == Some(&commit) {
            return Tip::Held(commit);
        }
        if let Some(untaken) = state.untaken.as_ref().filter(|it| it.commit == commit)
            && clock::now().since_boot.saturating_sub(untaken.at) < MEMORY
        {
            return Tip::Unfetched(commit, untaken.failure.clone());
        }
        let Some(conversation) = state.conversation.take() else {
            return Tip::Unknown;
        };
        let address = RemoteAddress {
            branch: branch.clone(),
            ..self.address.clone()
        };
        let look = Look {
            address: &address,
            ..self.look(None, Besides::default())
        };
        let brought = look.fetch(conversation, &commit).await;
        state.conversation = brought.conversation;
        match brought.result {
            Ok(commit) => {
                state.tested = Some(commit.clone());
                Tip::Held(commit)
            }
            Err(LookError::BranchMissing | LookError::Failed(Problem::Moved, _)) => Tip::Unknown,
            Err(error) => {
                if clears_mirror(&error) {
                    state.fetched = None;
                }
                let is_lost = state.conversation.is_none();
                let failure = self.fail_at(&address, error, is_lost).await;
                state.untaken = Some(Untaken {
                    commit: commit.clone(),
                    failure: failure.clone(),
                    at: clock::now().since_boot,
                });
                Tip::Unfetched(commit, failure)
            }
        }
    }
}

/// Whether the fetcher may have made the mirror anew because of it.
pub(super) fn clears_mirror(error: &LookError) -> bool {
    matches!(
        error,
        LookError::Failed(
            Problem::Incomplete | Problem::Mirror | Problem::Pack | Problem::Fetch,
            _
        )
    )
}
