//! The commits that a verdict depends on, asked of the fetcher.
//!
//! In: a tip, and what it has to follow. Out: commits by the ids that were
//! computed here. Must not: believe that they are all, or judge them.

use tokio::net::UnixStream;

use super::Remote;
use super::conversation::Conversation;
use super::look::{Asked, LookError};
use crate::fetcher::wire::{Answer, Request};
use crate::model::failure::{Failure, FailureCode};
use crate::model::revision::CommitId;
use crate::trust::history::{COMMIT_LIMIT, History, NotAdded};

impl Remote {
    /// Adds the commits that show whether the tip follows the base.
    ///
    /// May be dropped at any time, as [`Remote::poll`].
    pub(in super::super) async fn lineage(
        &self,
        mut history: History,
        tip: &CommitId,
        base: Option<&CommitId>,
    ) -> Result<History, Failure> {
        let mut state = self.state.lock().await;
        let mut conversation = match state.conversation.take() {
            Some(kept) => kept,
            None => self.start().await?,
        };
        let mut first = 0;
        loop {
            let (kept, objects, next) = match self.page(conversation, tip, base, first).await {
                Ok(page) => page,
                Err(error) => return Err(self.fail(error, true).await),
            };
            conversation = kept;
            for object in &objects {
                history
                    .add(&bytes(object)?)
                    .map_err(|error| not_added(&error))?;
            }
            match next {
                // Each page has to bring more, or there would be no end.
                Some(next) if next > first && next <= COMMIT_LIMIT => first = next,
                Some(_) => {
                    return Err(self.fail(LookError::Unexpected(Asked::Lineage), true).await);
                }
                None => break,
            }
        }
        state.conversation = Some(conversation);
        Ok(history)
    }

    async fn page(
        &self,
        conversation: Conversation<UnixStream>,
        tip: &CommitId,
        base: Option<&CommitId>,
        first: usize,
    ) -> Result<Page, LookError> {
        let request = Request::Lineage {
            tip: tip.clone(),
            base: base.cloned(),
            first,
        };
        let reply = conversation.ask(&request, self.fetch_deadline).await;
        let reply = reply.map_err(|broken| LookError::Broken(Asked::Lineage, broken))?;
        match reply.answer {
            Answer::Lineage { objects, next } => Ok((reply.conversation, objects, next)),
            Answer::Failed { problem, message } => Err(LookError::Failed(problem, message)),
            Answer::Head { .. } | Answer::BranchMissing | Answer::Fetched { .. } => {
                Err(LookError::Unexpected(Asked::Lineage))
            }
        }
    }
}

type Page = (Conversation<UnixStream>, Vec<String>, Option<usize>);

fn bytes(digits: &str) -> Result<Vec<u8>, Failure> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(value(*high)? * 16 + value(*low)?).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| {
        Failure::new(
            FailureCode::FetchFailed,
            "expected a commit of the fetcher in hexadecimal digits, found something else",
            "A new fetcher is started for the next try. If this repeats, it is a defect: please \
             report it.",
        )
    })
}

/// What cannot be parsed without any doubt cannot be judged.
fn not_added(error: &NotAdded) -> Failure {
    let (code, reason) = match error {
        NotAdded::Untrusted(reason) => (FailureCode::CommitUntrusted, reason.code()),
        NotAdded::Refused(refused) => (FailureCode::HistoryTooLong, refused.code()),
    };
    Failure::new(
        code,
        format!(
            "a commit between the last confirmed one and the branch is refused ({reason}): {error}"
        ),
        "Nothing of it was evaluated. See docs/trust.md for the reason.",
    )
}
