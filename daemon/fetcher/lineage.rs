//! The commits that a verdict depends on, raw, page by page.
//!
//! In: a tip, and the commit that it has to follow. Out: the bytes of commit
//! objects. Must not: judge; whoever asks computes the ids anew.
//!
//! These are all commits above the base, and of those below it as many as show
//! that the ones above end in it.

use std::collections::HashSet;

use gix::ObjectId;
use gix::revision::walk::Sorting;
use gix::traverse::commit::simple::CommitTimeOrder;

use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::{Answer, Problem};
use crate::model::revision::CommitId;

/// How many commits the judge takes: with one more it says that there are too
/// many, so no more than that are listed.
const COMMIT_LIMIT: usize = 100_000;

/// A page is over when it has this many bytes; one object may go beyond.
const PAGE: usize = 1 << 20;

/// The longest commit that is passed on, in bytes; the judge takes none that is longer.
const OBJECT_LIMIT: usize = 1 << 20;

/// What was listed last, for the pages that follow.
pub(super) struct Lineage {
    tip: CommitId,
    base: Option<CommitId>,
    commits: Vec<ObjectId>,
}

impl Lineage {
    /// Whether this is the answer to that question.
    pub(super) fn is_of(&self, tip: &CommitId, base: Option<&CommitId>) -> bool {
        self.tip == *tip && self.base.as_ref() == base
    }

    /// Finds out which commits the verdict depends on. A base that is not
    /// there is no error: then all of the tip's history is listed.
    pub(super) fn list(
        repository: &gix::Repository,
        tip: &CommitId,
        base: Option<&CommitId>,
    ) -> Result<Self, Trouble> {
        let commits = list(repository, tip, base)
            .map_err(|error| Trouble::new(Problem::Incomplete, format!("{error:#}")))?;
        Ok(Self {
            tip: tip.clone(),
            base: base.cloned(),
            commits,
        })
    }

    /// That commit and no other.
    pub(super) fn only(commit: &CommitId) -> Result<Self, Trouble> {
        let id = ObjectId::from_hex(commit.as_str().as_bytes());
        let id = id.map_err(|error| Trouble::new(Problem::Protocol, error.to_string()))?;
        Ok(Self {
            tip: commit.clone(),
            base: None,
            commits: vec![id],
        })
    }

    /// The objects from `first` on, until a page is full.
    pub(super) fn page(
        &self,
        repository: &gix::Repository,
        first: usize,
    ) -> Result<Answer, Trouble> {
        let (mut objects, mut size, mut next) = (Vec::new(), 0, first);
        for id in self.commits.iter().skip(first) {
            let object = repository
                .find_object(*id)
                .map_err(|error| Trouble::from_gix(Problem::Incomplete, &error))?;
            if object.data.len() > OBJECT_LIMIT {
                let message = format!("commit {id} has {} bytes", object.data.len());
                return Err(Trouble::new(Problem::TooBig, message));
            }
            size += object.data.len();
            objects.push(hexadecimal(&object.data));
            next += 1;
            if size >= PAGE {
                break;
            }
        }
        let next = (next < self.commits.len()).then_some(next);
        Ok(Answer::Lineage { objects, next })
    }
}

fn list(
    repository: &gix::Repository,
    tip: &CommitId,
    base: Option<&CommitId>,
) -> anyhow::Result<Vec<ObjectId>> {
    let tip = ObjectId::from_hex(tip.as_str().as_bytes())?;
    let base = base.map(|base| ObjectId::from_hex(base.as_str().as_bytes()));
    let base = base.transpose()?.filter(|base| repository.has_object(base));
    let mut above = Vec::new();
    let mut ends = HashSet::new();
    for commit in repository.rev_walk([tip]).with_hidden(base).all()? {
        let commit = commit?;
        ends.extend(commit.parent_ids.iter().copied());
        above.push(commit.id);
        if above.len() > COMMIT_LIMIT {
            return Ok(above);
        }
    }
    for id in &above {
        ends.remove(id);
    }
    if above.is_empty() {
        ends.insert(tip);
    }
    if let Some(base) = base {
        below(repository, base, ends, &mut above)?;
    }
    Ok(above)
}

/// Adds what leads from the base down to where the others end.
fn below(
    repository: &gix::Repository,
    base: ObjectId,
    mut ends: HashSet<ObjectId>,
    commits: &mut Vec<ObjectId>,
) -> anyhow::Result<()> {
    ends.remove(&base);
    let newest_first = Sorting::ByCommitTime(CommitTimeOrder::NewestFirst);
    let mut walk = repository.rev_walk([base]).sorting(newest_first).all()?;
    while !ends.is_empty() {
        let Some(commit) = walk.next() else {
            // They are no ancestors of the base; the judge finds the same.
            return Ok(());
        };
        let id = commit?.id;
        ends.remove(&id);
        commits.push(id);
        if commits.len() > COMMIT_LIMIT {
            return Ok(());
        }
    }
    Ok(())
}

/// The bytes as they are passed on.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)])));
    digits.collect()
}
