//! What the daemon knows besides its ledger: it is found out anew after every
//! start.
//!
//! In: what looks saw. Out: what status and decisions need of it. Must not:
//! outlive the process.

use jiff::Timestamp;

use crate::model::failure::{Failure, FailureCode};
use crate::model::revision::CommitId;
use crate::model::system::Observed;
use crate::model::time::Now;
use crate::report::milestones;

/// What a look saw.
#[derive(Debug)]
pub(super) enum Seen {
    /// The host itself is starting or going down; the remote was not asked.
    Busy(Failure),
    /// Something that a look needs did not come to an end: nothing was seen.
    Hanging(Failure),
    /// What the remote answered, and what the host is.
    Looked {
        /// The branch's commit, or why nobody knows.
        head: Result<CommitId, Failure>,
        /// What the host is.
        observed: Observed,
        /// Whether it asks for another daemon than this one.
        is_outdated: bool,
    },
}

/// What is known of remote and host now.
#[derive(Debug)]
pub(super) struct Standing {
    /// The remote's URL, for the journal.
    url: String,
    /// What the host is.
    pub(super) observed: Observed,
    /// Why nothing may be begun on the host, if so.
    pub(super) busy: Option<Failure>,
    /// Where the branch was when the remote last answered.
    pub(super) head: Option<CommitId>,
    /// When it last answered.
    pub(super) last_answer_at: Option<Timestamp>,
    /// Why it did not answer the last time, if so.
    pub(super) remote_failure: Option<Failure>,
    /// How often in a row it failed.
    failures: u32,
    /// Since when it does not answer.
    failing_since: Option<Now>,
    /// Why the ledger cannot be written, if so.
    pub(super) unsaved: Option<String>,
}

impl Standing {
    /// Before the first look.
    pub(super) fn new(url: String, observed: Observed) -> Self {
        Self {
            url,
            observed,
            busy: None,
            head: None,
            last_answer_at: None,
            remote_failure: None,
            failures: 0,
            failing_since: None,
            unsaved: None,
        }
    }

    /// Takes what the remote answered, or why it did not.
    pub(super) fn take_head(&mut self, head: Result<CommitId, Failure>, now: Now) {
        let before = self.remote_failure.take();
        match head {
            Ok(head) => {
                if let Some(since) = self.failing_since.take() {
                    let lasted = now.since_boot.saturating_sub(since.since_boot);
                    milestones::remote_reachable(&self.url, lasted);
                }
                self.failures = 0;
                self.head = Some(head);
                self.last_answer_at = Some(now.wall);
            }
            Err(failure) if failure.code.is_of_offer() => {
                if before.as_ref() != Some(&failure) {
                    milestones::offer_refused(&self.url, &failure);
                }
                // It has answered, and is asked as often as ever.
                self.failing_since = None;
                self.failures = 0;
                self.last_answer_at = Some(now.wall);
                self.remote_failure = Some(failure);
            }
            Err(failure) => {
                if before.as_ref().map(|before| before.code) != Some(failure.code) {
                    milestones::remote_unreachable(&self.url, &failure);
                }
                // A remote without the branch has answered: it is asked as often as ever.
                self.failures = if failure.code == FailureCode::BranchMissing {
                    0
                } else {
                    self.failures.saturating_add(1)
                };
                self.failing_since.get_or_insert(now);
                self.remote_failure = Some(failure);
            }
        }
    }

    /// How often in a row the remote failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the remote answered the last time, and what it offers may not be
    /// followed.
    pub(super) fn is_refused(&self) -> bool {
        let failure = self.remote_failure.as_ref();
        failure.is_some_and(|failure| failure.code.is_of_offer())
    }

    /// The branch's commit, only if the remote answered the last time.
    pub(super) fn answered_head(&self) -> Option<CommitId> {
        match &self.remote_failure {
            Some(_) => None,
            None => self.head.clone(),
        }
    }
}
