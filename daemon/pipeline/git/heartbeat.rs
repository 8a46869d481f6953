//! The tag by which a remote shows that it is alive, asked of the fetcher.
//!
//! In: what the last poll found. Out: the bytes of an object. Must not: believe
//! that they are that tag, or judge it.

use super::Remote;
use super::lineage::bytes;
use super::look::{Asked, LookError};
use super::testing::clears_mirror;
use crate::fetcher::wire::{Answer, Problem, Request};
use crate::model::failure::Failure;
use crate::model::revision::{TagId, TagName};

/// What the heartbeat's ref leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Beat {
    /// An object that may be the tag.
    Object(Vec<u8>),
    /// What is no tag, or more than one is taken for; the reason.
    NoTag(String),
}

impl Remote {
    /// Brings what the heartbeat was just seen to be.
    ///
    /// May be dropped at any time, as [`Remote::poll`].
    pub(in super::super) async fn heartbeat(
        &self,
        name: &TagName,
        tag: &TagId,
    ) -> Result<Beat, Failure> {
        let mut state = self.state.lock().await;
        let conversation = match state.conversation.take() {
            Some(kept) => kept,
            None => self.start().await?,
        };
        let request = Request::Heartbeat {
            remote: self.address.clone(),
            name: name.clone(),
            tag: tag.clone(),
        };
        // A tag takes no longer than a poll.
        let error = match conversation.ask(&request, self.poll_deadline).await {
            Ok(reply) => match reply.answer {
                Answer::Heartbeat { object } => {
                    state.conversation = Some(reply.conversation);
                    return bytes(&object).map(Beat::Object);
                }
                Answer::Failed {
                    problem: Problem::NotATag,
                    message,
                } => {
                    state.conversation = Some(reply.conversation);
                    return Ok(Beat::NoTag(message));
                }
                // The next look begins with another fetcher.
                Answer::Failed {
                    problem: Problem::TooBig,
                    message,
                } => return Ok(Beat::NoTag(message)),
                Answer::Failed { problem, message } => LookError::Failed(problem, message),
                Answer::Head { .. }
                | Answer::BranchMissing
                | Answer::Fetched { .. }
                | Answer::Lineage { .. } => LookError::Unexpected(Asked::Heartbeat),
            },
            Err(broken) => LookError::Broken(Asked::Heartbeat, broken),
        };
        if clears_mirror(&error) {
            state.fetched = None;
            state.tested = None;
        }
        Err(self.fail(error, true).await)
    }
}
