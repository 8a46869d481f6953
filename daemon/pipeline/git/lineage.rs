//! The commits that a verdict depends on, asked of the fetcher.
//!
//! In: a tip, and what it has to follow. Out: commits by the ids that were
//! computed here. Must not: believe that they are all, or judge them.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::conversation::Conversation;
use super::look::{Asked, LookError};
use super::{Remote, State};
use crate::fetcher::wire::{Answer, Problem, Request};
use crate::model::failure::{Failure, FailureCode};
use crate::model::revision::CommitId;
use crate::trust::Untrusted;
use crate::trust::commit::Commit;
use crate::trust::history::{COMMIT_LIMIT, Demand, History, NotAdded, Question, Refused};

/// How long a mirror is waited for that is just being fetched into: what it
/// could show is asked for again with the next look.
const PATIENCE: Duration = Duration::from_secs(1);

impl Remote {
    /// Adds the commits that show whether the tip follows the base.
    ///
    /// May be dropped at any time, as [`Remote::poll`].
    pub(in super::super) async fn lineage(
        &self,
        history: History,
        tip: &CommitId,
        base: Option<&CommitId>,
    ) -> Result<History, Failure> {
        let mut state = self.state.lock().await;
        self.lineage_within(&mut state, history, tip, base).await
    }

    /// Whether the mirror shows that one commit descends from another. None: it
    /// does not hold it, or cannot be asked now.
    pub(in super::super) async fn shows_descent(
        &self,
        tip: &CommitId,
        base: &CommitId,
    ) -> Option<bool> {
        let mut state = timeout(PATIENCE, self.state.lock()).await.ok()?;
        if !self.holds_within(&mut state, tip).await? {
            return None;
        }
        // It holds all that the tip descends from.
        if !self.holds_within(&mut state, base).await? {
            return Some(false);
        }
        let history = History::default();
        let listed = self
            .lineage_within(&mut state, history, tip, Some(base))
            .await;
        let question = Question {
            tip,
            floor: Some(base),
            introduction: None,
            demand: Demand::Nothing,
        };
        // Only the ancestry is asked for: nobody is asked who signed.
        let judged = listed.ok()?.judge(question, |_| Err(Untrusted::Unsigned));
        match judged {
            Ok(_) => Some(true),
            Err(Refused::Downgrade { .. } | Refused::Diverged { .. }) => Some(false),
            Err(
                Refused::Missing { .. }
                | Refused::TooMuch { .. }
                | Refused::NotIntroduced { .. }
                | Refused::Untrusted { .. },
            ) => None,
        }
    }

    /// Whether the mirror holds the commit. None: it cannot be asked now.
    pub(in super::super) async fn holds(&self, commit: &CommitId) -> Option<bool> {
        let mut state = self.state.lock().await;
        self.holds_within(&mut state, commit).await
    }

    /// A commit follows itself, and nothing is listed for it; one that is not
    /// there fails, and the fetcher is as good as before.
    async fn holds_within(&self, state: &mut State, commit: &CommitId) -> Option<bool> {
        let conversation = match state.conversation.take() {
            Some(kept) => kept,
            None => self.start().await.ok()?,
        };
        let request = Request::Lineage {
            tip: commit.clone(),
            base: Some(commit.clone()),
            first: 0,
        };
        let reply = conversation.ask(&request, self.fetch_deadline).await.ok()?;
        let holds = match reply.answer {
            Answer::Lineage { .. } => true,
            Answer::Failed {
                problem: Problem::Incomplete,
                ..
            } => false,
            // It is in doubt, and not kept.
            Answer::Failed { .. }
            | Answer::Head { .. }
            | Answer::BranchMissing
            | Answer::Fetched { .. }
            | Answer::Heartbeat { .. } => return None,
        };
        state.conversation = Some(reply.conversation);
        Some(holds)
    }

    /// A commit that the mirror holds, by the id that is computed here. None: it
    /// cannot be asked now. Nobody waits for a remote, or starts a fetcher, for
    /// what is only told.
    pub(in super::super) async fn commit(&self, id: &CommitId) -> Option<Commit> {
        let mut state = timeout(PATIENCE, self.state.lock()).await.ok()?;
        let conversation = state.conversation.take()?;
        let request = Request::Commit { commit: id.clone() };
        let reply = conversation.ask(&request, PATIENCE).await.ok()?;
        let Answer::Lineage { objects, .. } = reply.answer else {
            // It is in doubt, and not kept.
            return None;
        };
        state.conversation = Some(reply.conversation);
        let object = bytes(objects.first()?).ok()?;
        let commit = Commit::parse(&object).ok()?;
        (commit.id == *id).then_some(commit)
    }

    async fn lineage_within(
        &self,
        state: &mut State,
        mut history: History,
        tip: &CommitId,
        base: Option<&CommitId>,
    ) -> Result<History, Failure> {
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
            Answer::Head { .. }
            | Answer::BranchMissing
            | Answer::Fetched { .. }
            | Answer::Heartbeat { .. } => Err(LookError::Unexpected(Asked::Lineage)),
        }
    }
}

type Page = (Conversation<UnixStream>, Vec<String>, Option<usize>);

/// An object as the fetcher passes it on.
pub(super) fn bytes(digits: &str) -> Result<Vec<u8>, Failure> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(value(*high)? * 16 + value(*low)?).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| {
        Failure::new(
            FailureCode::FetchFailed,
            "expected an object of the fetcher in hexadecimal digits, found something else",
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
