//! What several remotes offer, and how their commits lie to each other.
//!
//! In: what was found out in the mirrors. Out: plain data for choosing. Must
//! not: choose.

use std::collections::BTreeSet;

use super::revision::CommitId;
use super::testing::Testing;

/// The place of a remote in the configuration's list, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteNumber(pub usize);

/// A commit that a remote's branch is, and that may be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The commit.
    pub commit: CommitId,
    /// How it lies to what other remotes offer, as far as that is known.
    pub ancestry: Ancestry,
    /// What the testing branch is there, if it is asked for there.
    pub testing: Option<Testing>,
}

/// Which commits are known to descend from which others. What is not known
/// here may be so all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ancestry {
    /// Ancestor and descendant; never the same commit twice.
    descents: BTreeSet<(CommitId, CommitId)>,
    /// Neither descends from the other; the lesser id first.
    unrelated: BTreeSet<(CommitId, CommitId)>,
}

impl Ancestry {
    /// Notes that one commit descends from another.
    pub fn add(&mut self, ancestor: CommitId, descendant: CommitId) {
        if ancestor != descendant {
            self.descents.insert((ancestor, descendant));
        }
    }

    /// Notes that neither commit descends from the other.
    pub fn add_unrelated(&mut self, one: CommitId, other: CommitId) {
        if one != other {
            self.unrelated.insert(sorted(one, other));
        }
    }

    /// Notes all that the other knows.
    pub fn learn(&mut self, other: Self) {
        self.descents.extend(other.descents);
        self.unrelated.extend(other.unrelated);
    }

    /// Whether the one is known to descend from the other, and is not it.
    pub fn is_descendant(&self, commit: &CommitId, of: &CommitId) -> bool {
        self.descents
            .iter()
            .any(|(ancestor, descendant)| ancestor == of && descendant == commit)
    }

    /// Whether it is known that neither descends from the other.
    pub fn is_unrelated(&self, one: &CommitId, other: &CommitId) -> bool {
        self.unrelated.contains(&sorted(one.clone(), other.clone()))
    }

    /// Forgets what is not between two of these.
    pub fn keep_only(&mut self, commits: &BTreeSet<&CommitId>) {
        let is_kept =
            |(one, other): &(CommitId, CommitId)| commits.contains(one) && commits.contains(other);
        self.descents.retain(is_kept);
        self.unrelated.retain(is_kept);
    }
}

fn sorted(one: CommitId, other: CommitId) -> (CommitId, CommitId) {
    if one <= other {
        (one, other)
    } else {
        (other, one)
    }
}
