//! One look at a remote: poll, then fetch what is new.
//!
//! In: a conversation with a fetcher. Out: the branch's commit, in the mirror,
//! or why not. Must not: start or end anything.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::conversation::{Broken, Conversation};
use crate::fetcher::wire::{Answer, Problem, Request};
use crate::model::remote::RemoteAddress;
use crate::model::revision::{Branch, CommitId, TagId, TagName};

/// How often a branch may move between poll and fetch within one look.
pub(super) const ROUNDS: usize = 3;

/// What is asked for with the branch.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Besides<'a> {
    /// The testing branch.
    pub(in super::super) testing: Option<&'a Branch>,
    /// The tag by which the remote shows that it is alive.
    pub(in super::super) heartbeat: Option<&'a TagName>,
}

/// What a look needs to know.
pub(super) struct Look<'a> {
    /// Where to look.
    pub(super) address: &'a RemoteAddress,
    /// What else is asked for.
    pub(super) besides: Besides<'a>,
    /// What the mirror is known to hold.
    pub(super) fetched: Option<&'a CommitId>,
    /// How long one poll may take.
    pub(super) poll_deadline: Duration,
    /// How long one fetch may take.
    pub(super) fetch_deadline: Duration,
    /// How many bytes of pack are taken.
    pub(super) pack_limit: u64,
}

/// What came of a look.
pub(super) struct Looked<S> {
    /// The conversation, unless its fetcher is in doubt.
    pub(super) conversation: Option<Conversation<S>>,
    /// What was found.
    pub(super) result: Result<Found, LookError>,
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The commit that the branch is, and that the mirror holds.
    pub(super) commit: CommitId,
    /// What the other branch is, whether or not the mirror holds it.
    pub(super) testing: Option<CommitId>,
    /// What the heartbeat is.
    pub(super) heartbeat: Option<TagId>,
}

/// What came of a fetch.
pub(super) struct Brought<S> {
    /// The conversation, unless its fetcher is in doubt.
    pub(super) conversation: Option<Conversation<S>>,
    /// Whether the mirror holds the commit now.
    pub(super) result: Result<CommitId, LookError>,
}

/// Why a look found nothing.
#[derive(Debug)]
pub(super) enum LookError {
    /// The remote has no such branch.
    BranchMissing,
    /// The fetcher was gone when it was polled, or ended meanwhile.
    EndedBeforePoll,
    /// The branch moved between poll and fetch, every time.
    Restless(String),
    /// The fetcher tried, and says why it failed.
    Failed(Problem, String),
    /// The fetcher could not be asked for this.
    Broken(Asked, Broken),
    /// The answer belongs to another request.
    Unexpected(Asked),
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Which commit the branch is.
    Poll,
    /// To bring it.
    Fetch,
    /// What shows whether it may be followed.
    Lineage,
    /// What shows whether the remote is alive.
    Heartbeat,
}

impl Look<'_> {
    /// Looks.
    pub(super) async fn take<S>(&self, conversation: Conversation<S>) -> Looked<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut line = Line {
            conversation: Some(conversation),
        };
        let result = self.rounds(&mut line).await;
        let is_sound = matches!(result, Ok(_) | Err(LookError::BranchMissing));
        Looked {
            conversation: line.conversation.filter(|_| is_sound),
            result,
        }
    }

    /// Brings a commit that the branch was seen to be, once.
    pub(super) async fn fetch<S>(
        &self,
        conversation: Conversation<S>,
        commit: &CommitId,
    ) -> Brought<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut line = Line {
            conversation: Some(conversation),
        };
        let result = self.bring(&mut line, commit).await;
        let is_sound = match &result {
            Ok(_) | Err(LookError::BranchMissing) => true,
            Err(LookError::Failed(problem, _)) => *problem == Problem::Moved,
            Err(_) => false,
        };
        Brought {
            conversation: line.conversation.filter(|_| is_sound),
            result,
        }
    }

    async fn rounds<S>(&self, line: &mut Line<S>) -> Result<Found, LookError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut moved = String::new();
        for _ in 0..ROUNDS {
            let found = self.heads(line).await?;
            if self.fetched == Some(&found.commit) {
                return Ok(found);
            }
            match self.bring(line, &found.commit).await {
                Err(LookError::Failed(Problem::Moved, message)) => moved = message,
                result => return result.map(|_| found),
            }
        }
        Err(LookError::Restless(moved))
    }

    async fn heads<S>(&self, line: &mut Line<S>) -> Result<Found, LookError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let request = Request::Poll {
            remote: self.address.clone(),
            testing: self.besides.testing.cloned(),
            heartbeat: self.besides.heartbeat.cloned(),
        };
        match line.ask(&request, self.poll_deadline).await {
            Ok(Answer::Head {
                commit,
                testing,
                heartbeat,
            }) => Ok(Found {
                commit,
                testing,
                heartbeat,
            }),
            Ok(Answer::BranchMissing) => Err(LookError::BranchMissing),
            Ok(Answer::Failed { problem, message }) => Err(LookError::Failed(problem, message)),
            Ok(Answer::Fetched { .. } | Answer::Lineage { .. } | Answer::Heartbeat { .. }) => {
                Err(LookError::Unexpected(Asked::Poll))
            }
            Err(Broken::Ended) => Err(LookError::EndedBeforePoll),
            Err(broken) => Err(LookError::Broken(Asked::Poll, broken)),
        }
    }

    async fn bring<S>(&self, line: &mut Line<S>, commit: &CommitId) -> Result<CommitId, LookError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let request = Request::Fetch {
            remote: self.address.clone(),
            commit: commit.clone(),
            pack_limit: self.pack_limit,
        };
        match line.ask(&request, self.fetch_deadline).await {
            Ok(Answer::Fetched { commit: brought }) if brought == *commit => Ok(brought),
            Ok(Answer::BranchMissing) => Err(LookError::BranchMissing),
            Ok(Answer::Failed { problem, message }) => Err(LookError::Failed(problem, message)),
            Ok(
                Answer::Fetched { .. }
                | Answer::Head { .. }
                | Answer::Lineage { .. }
                | Answer::Heartbeat { .. },
            ) => Err(LookError::Unexpected(Asked::Fetch)),
            Err(broken) => Err(LookError::Broken(Asked::Fetch, broken)),
        }
    }
}

/// The conversation while it lasts.
struct Line<S> {
    conversation: Option<Conversation<S>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    async fn ask(&mut self, request: &Request, deadline: Duration) -> Result<Answer, Broken> {
        let current = self.conversation.take().ok_or(Broken::Ended)?;
        let reply = current.ask(request, deadline).await?;
        self.conversation = Some(reply.conversation);
        Ok(reply.answer)
    }
}

#[cfg(test)]
mod tests;
