//! What a testing branch is to the host's own branch, and whether it may be
//! tested.
//!
//! In: both commits, in the mirror. Out: the testing branch as the decisions see
//! it. Must not: let it do what the branch may not, or cost a walk through the
//! history more than once for each pair of commits.
//!
//! It has to stand on top of what was confirmed of the branch, and show the same
//! signatures. What is allowed for the branch alone (`force_push`, one commit by
//! root) is not for the testing branch: that can be rebased.

use super::{Case, Descent, Judge, MOST, nobody};
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::ForcePush;
use crate::model::revision::{Branch, CommitId, Confirmed};
use crate::model::testing::{Testing, TestingHead};
use crate::pipeline::git::{Remote, Tip};
use crate::trust::history::{Demand, History, Question};

/// What was found out about it.
pub(crate) struct Judged {
    head: TestingHead,
    /// What it does not contain of the branch.
    lacks: Option<CommitId>,
}

impl Judged {
    /// The testing branch of that name.
    pub(crate) fn of(self, branch: &Branch) -> Testing {
        Testing {
            branch: branch.clone(),
            head: self.head,
            lacks: self.lacks,
        }
    }
}

impl From<TestingHead> for Judged {
    fn from(head: TestingHead) -> Self {
        Self { head, lacks: None }
    }
}

impl Judge {
    /// Judges what the testing branch is, beside what the branch is.
    ///
    /// May be dropped at any time, as [`Judge::judge`].
    pub(crate) async fn judge_testing(
        &self,
        remote: &Remote,
        main: &CommitId,
        testing: Tip,
        confirmed: &Confirmed,
    ) -> Judged {
        let tip = match testing {
            Tip::Unknown => return TestingHead::Unknown.into(),
            Tip::Missing => return TestingHead::Missing.into(),
            Tip::Unfetched(commit, failure) => return TestingHead::Refused(commit, failure).into(),
            Tip::Held(commit) => commit,
        };
        let judged = self.judge_tip(remote, main, &tip, confirmed).await;
        judged.unwrap_or_else(|failure| TestingHead::Refused(tip, with_hint(failure)).into())
    }

    async fn judge_tip(
        &self,
        remote: &Remote,
        main: &CommitId,
        tip: &CommitId,
        confirmed: &Confirmed,
    ) -> Result<Judged, Failure> {
        if self.descends(remote, main, tip).await? {
            return Ok(TestingHead::Merged(tip.clone()).into());
        }
        let floors = self.floors(confirmed);
        if floors.is_empty() {
            // Nothing that it could stand on, yet.
            return Ok(TestingHead::Unknown.into());
        }
        self.may_be_tested(remote, tip, floors).await?;
        let has_all = self.descends(remote, tip, main).await?;
        Ok(Judged {
            head: TestingHead::At(tip.clone()),
            lacks: (!has_all).then(|| main.clone()),
        })
    }

    async fn may_be_tested(
        &self,
        remote: &Remote,
        tip: &CommitId,
        floors: Vec<CommitId>,
    ) -> Result<(), Failure> {
        let case = Case {
            tip: tip.clone(),
            floors,
            keys: self.keys()?,
            force_push: ForcePush::Refuse,
        };
        self.decide(remote, case).await
    }

    /// Whether a commit descends from another, or is it.
    pub(super) async fn descends(
        &self,
        remote: &Remote,
        commit: &CommitId,
        from: &CommitId,
    ) -> Result<bool, Failure> {
        if commit == from {
            return Ok(true);
        }
        if let Some(known) = self.known_descent(commit, from) {
            return Ok(known);
        }
        let history = History::default();
        let history = remote.lineage(history, commit, Some(from)).await?;
        let follows = Question {
            tip: commit,
            floor: Some(from),
            introduction: None,
            demand: Demand::Nothing,
        };
        let descends = match history.judge(follows, nobody) {
            Ok(_) => true,
            Err(refused) => {
                let failure = super::words::failure(&refused);
                if !matches!(failure.code, FailureCode::Downgrade | FailureCode::Diverged) {
                    return Err(failure);
                }
                false
            }
        };
        self.note(Descent {
            commit: commit.clone(),
            from: from.clone(),
            descends,
        });
        Ok(descends)
    }

    /// How two commits lie to each other does not change.
    pub(super) fn note(&self, descent: Descent) {
        if let Ok(mut memory) = self.memory.lock() {
            memory.descents.push_back(descent);
            while memory.descents.len() > MOST {
                memory.descents.pop_front();
            }
        }
    }

    pub(super) fn known_descent(&self, commit: &CommitId, from: &CommitId) -> Option<bool> {
        let memory = self.memory.lock().ok()?;
        let is_its = |it: &&Descent| it.commit == *commit && it.from == *from;
        let known = memory.descents.iter().find(is_its);
        known.map(|it| it.descends)
    }
}

/// What would be done about the branch is not what is done here.
fn with_hint(failure: Failure) -> Failure {
    if !matches!(failure.code, FailureCode::Downgrade | FailureCode::Diverged) {
        return failure;
    }
    Failure {
        hint: "Rebase the testing branch onto the branch that the host follows, or remove it."
            .to_owned(),
        ..failure
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::policy::Trust;
    use crate::pipeline::judge::keys::KeyFiles;

    fn commit(digit: char) -> CommitId {
        CommitId::try_from(digit.to_string().repeat(40)).expect("forty digits")
    }

    fn judge() -> Judge {
        Judge::new(Trust::default(), None, Path::new("/nowhere"))
    }

    fn case(tip: char) -> Case {
        Case {
            tip: commit(tip),
            floors: vec![commit('0')],
            keys: KeyFiles::default(),
            force_push: ForcePush::Refuse,
        }
    }

    fn refused(code: FailureCode) -> Result<(), Failure> {
        Err(Failure::new(code, "m", "h"))
    }

    #[test]
    fn how_two_commits_lie_to_each_other_is_found_out_once_for_each_pair() {
        let judge = judge();
        let descent = |one, other, descends| Descent {
            commit: commit(one),
            from: commit(other),
            descends,
        };
        judge.note(descent('1', '2', true));
        judge.note(descent('2', '1', false));
        let known = |one, other| judge.known_descent(&commit(one), &commit(other));
        assert_eq!(known('1', '2'), Some(true));
        assert_eq!(known('2', '1'), Some(false));
        assert_eq!(known('1', '3'), None);
        for _ in 0..MOST {
            judge.note(descent('3', '4', true));
        }
        assert_eq!(known('1', '2'), None, "not more and more");
    }

    #[test]
    fn the_verdicts_of_both_branches_are_remembered() {
        let judge = judge();
        judge.remember(case('1'), Ok(()));
        judge.remember(case('2'), refused(FailureCode::CommitUnsigned));
        judge.remember(case('3'), refused(FailureCode::Diverged));
        for (tip, expected) in [
            ('1', Ok(())),
            ('2', refused(FailureCode::CommitUnsigned)),
            ('3', refused(FailureCode::Diverged)),
        ] {
            assert_eq!(judge.remembered(&case(tip)), Some(expected), "{tip}");
        }
        let other_floor = Case {
            floors: vec![commit('9')],
            ..case('1')
        };
        assert_eq!(judge.remembered(&other_floor), None);
    }
}
