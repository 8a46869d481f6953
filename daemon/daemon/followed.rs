//! One remote as it was last seen.
//!
//! In: what each look at it brought. Out: what it offers now. Must not: know of
//! the other remotes.

use std::time::Duration;

use jiff::Timestamp;

use crate::config;
use crate::model::failure::{Failure, FailureCode};
use crate::model::revision::{Branch, CommitId, Confirmed};
use crate::model::testing::Testing;
use crate::model::time::Now;
use crate::reconcile::choose::Offered;
use crate::report::milestones;

/// What is known of a remote now.
#[derive(Debug)]
pub(super) struct Followed {
    /// Its name in the configuration.
    pub(super) name: String,
    /// Its URL.
    pub(super) url: String,
    /// Its branch.
    pub(super) branch: Branch,
    /// The mean time between two looks at it.
    pub(super) poll_interval: Duration,
    /// Where the branch was when it last offered what may be followed.
    pub(super) head: Option<CommitId>,
    /// The testing branch that is asked for here.
    testing_branch: Option<Branch>,
    /// What that was then.
    testing: Option<Testing>,
    /// When it last answered.
    pub(super) last_answer_at: Option<Timestamp>,
    /// Why it offered nothing, or nothing good, the last time, if so.
    pub(super) failure: Option<Failure>,
    /// What was confirmed when its commit was judged.
    judged_for: Option<Confirmed>,
    /// How often in a row it failed.
    failures: u32,
    /// Since when it does not answer.
    failing_since: Option<Now>,
    /// The refusal that was told, and whether as the host's own.
    told: Option<(Failure, Loudness)>,
}

/// How a refusal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loudness {
    /// Another remote is followed.
    Aside,
    /// The host follows nothing because of it.
    Aloud,
}

impl Followed {
    /// Before the first look. `testing`: the testing branch that the host follows.
    pub(super) fn new(remote: &config::Remote, testing: Option<&Branch>) -> Self {
        Self {
            name: remote.name.clone(),
            url: remote.address.url.clone(),
            branch: remote.address.branch.clone(),
            poll_interval: remote.poll_interval,
            head: None,
            testing_branch: remote.testing_branch(testing).cloned(),
            testing: None,
            last_answer_at: None,
            failure: None,
            judged_for: None,
            failures: 0,
            failing_since: None,
            told: None,
        }
    }

    /// Takes what it answered, or why it did not; `judged_for`: what was
    /// confirmed when it was asked.
    pub(super) fn take(
        &mut self,
        answer: Result<(CommitId, Option<Testing>), Failure>,
        judged_for: Confirmed,
        now: Now,
    ) {
        let before = self.failure.take();
        match answer {
            Ok((head, testing)) => {
                if let Some(since) = self.failing_since.take() {
                    let lasted = now.since_boot.saturating_sub(since.since_boot);
                    milestones::remote_reachable(&self.name, &self.url, lasted);
                }
                self.failures = 0;
                self.head = Some(head);
                self.testing = testing;
                self.judged_for = Some(judged_for);
                self.last_answer_at = Some(now.wall);
            }
            Err(failure) if failure.code.is_of_offer() => {
                // It has answered, and is asked as often as ever.
                self.failing_since = None;
                self.failures = 0;
                self.last_answer_at = Some(now.wall);
                self.failure = Some(failure);
            }
            Err(failure) => {
                if before.as_ref().map(|before| before.code) != Some(failure.code) {
                    milestones::remote_unreachable(&self.name, &self.url, &failure);
                }
                // A remote without the branch has answered: it is asked as often as ever.
                self.failures = if failure.code == FailureCode::BranchMissing {
                    0
                } else {
                    self.failures.saturating_add(1)
                };
                self.failing_since.get_or_insert(now);
                self.failure = Some(failure);
            }
        }
    }

    /// How often in a row it failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// What it offers, where this is what is confirmed now. A commit that was
    /// judged against another floor may be older than this one: it has to be
    /// judged again first.
    pub(super) fn offered(&self, confirmed: &Confirmed) -> Offered {
        match (&self.failure, &self.head, &self.judged_for) {
            (Some(failure), _, _) if failure.code.is_of_offer() => {
                Offered::Refused(failure.clone())
            }
            (Some(failure), _, _) => Offered::Nothing(failure.clone()),
            (None, Some(head), Some(judged_for)) if still_holds(head, judged_for, confirmed) => {
                Offered::Commit(head.clone())
            }
            (None, _, _) => Offered::Unknown,
        }
    }

    /// What the testing branch is there, if it is asked for there and where this
    /// is what is confirmed now. What was judged against another floor is as
    /// unknown as what was not asked for yet.
    pub(super) fn testing(&self, confirmed: &Confirmed) -> Option<Testing> {
        let branch = self.testing_branch.as_ref()?;
        let judged_for = self.judged_for.as_ref();
        let holds = judged_for.is_some_and(|then| then.floor == confirmed.floor);
        let known = self.testing.as_ref();
        let known = known.filter(|_| holds && self.failure.is_none()).cloned();
        Some(known.unwrap_or_else(|| Testing::unknown(branch.clone())))
    }

    /// Tells that what it offers is refused, unless that was told. None: it is
    /// not, or only lags.
    pub(super) fn tell_refusal(&mut self, loudness: Option<Loudness>) {
        let refusal = self.failure.as_ref().filter(|it| it.code.is_of_offer());
        let (Some(failure), Some(loudness)) = (refusal, loudness) else {
            self.told = None;
            return;
        };
        let is_told = |(told, how): &(Failure, Loudness)| told == failure && *how >= loudness;
        if self.told.as_ref().is_some_and(is_told) {
            return;
        }
        match loudness {
            Loudness::Aloud => milestones::offer_refused(&self.name, &self.url, failure),
            Loudness::Aside => milestones::offer_left_aside(&self.name, &self.url, failure),
        }
        self.told = Some((failure.clone(), loudness));
    }
}

/// Whether a verdict that was given for what was confirmed then still holds.
fn still_holds(head: &CommitId, then: &Confirmed, now: &Confirmed) -> bool {
    let is_floor = now.floor.as_ref() == Some(head);
    let was_allowed = then.allowed.as_ref() == Some(head);
    let is_allowed = now.allowed.as_ref() == Some(head);
    is_floor || is_allowed || (then.floor == now.floor && !was_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(digit: &str) -> CommitId {
        CommitId::try_from(digit.repeat(40)).expect("forty digits")
    }

    fn confirmed(floor: Option<&str>, allowed: Option<&str>) -> Confirmed {
        Confirmed {
            floor: floor.map(commit),
            allowed: allowed.map(commit),
        }
    }

    #[test]
    fn a_verdict_holds_as_long_as_the_floor_does() {
        let head = commit("b");
        for (then, now, holds) in [
            (confirmed(None, None), confirmed(None, None), true),
            (confirmed(Some("a"), None), confirmed(Some("a"), None), true),
            (
                confirmed(Some("a"), None),
                confirmed(Some("c"), None),
                false,
            ),
            (confirmed(None, None), confirmed(Some("c"), None), false),
            // It was confirmed itself.
            (confirmed(Some("a"), None), confirmed(Some("b"), None), true),
            // Somebody allows another one, or this one.
            (
                confirmed(Some("a"), None),
                confirmed(Some("a"), Some("c")),
                true,
            ),
            (
                confirmed(Some("c"), None),
                confirmed(Some("a"), Some("b")),
                true,
            ),
            // Once was enough.
            (
                confirmed(Some("a"), Some("b")),
                confirmed(Some("a"), None),
                false,
            ),
        ] {
            assert_eq!(still_holds(&head, &then, &now), holds, "{then:?} {now:?}");
        }
    }
}
