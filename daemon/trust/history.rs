//! Ancestry: whether a commit may follow another, and whether what lies between
//! them is signed.
//!
//! In: raw commit objects, and what is demanded. Out: the verdict. Must not:
//! believe anything about an object that was not brought; recurse.
//!
//! What the floor descends from was trusted with the floor, for its id names
//! all of it. A merge may therefore end in a commit below the floor, but only
//! where the objects that were brought show that it is one.

use std::collections::{HashMap, HashSet};

use super::commit::Commit;
use super::keys::Signer;
use super::untrusted::Untrusted;
use crate::model::revision::CommitId;

/// How many commits are looked at, at most.
pub const COMMIT_LIMIT: usize = 100_000;

/// How many bytes of commits are looked at, at most.
pub const BYTE_LIMIT: usize = 128 << 20;

/// Commits by the ids that were computed from their bytes.
#[derive(Clone, Debug, Default)]
pub struct History {
    commits: HashMap<CommitId, Commit>,
    bytes: usize,
}

/// Which of the commits above the floor have to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// None: only the ancestry is judged.
    Nothing,
    /// All, on both sides of every merge.
    EveryCommit,
    /// Those on the way from the tip by first parents. A signed merge vouches
    /// for what it merged.
    FirstParent,
    /// The tip alone. It vouches for everything below it.
    Tip,
}

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The commit that is offered.
    pub tip: &'a CommitId,
    /// The last commit that was confirmed. Without one, the introduction stands
    /// in its place; without that, everything has to be signed down to the root.
    pub floor: Option<&'a CommitId>,
    /// The commit that the repository has to descend from, pinned by somebody
    /// who knows. Everything between it and the floor has to be there to show it,
    /// so it is asked for when floor or introduction change, not every time.
    pub introduction: Option<&'a CommitId>,
    pub demand: Demand,
}

/// What was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// How many commits were verified.
    pub verified: usize,
    /// Who signed the tip; nobody, if the tip is the floor.
    pub signer: Option<Signer>,
}

/// Why the tip may not follow the floor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("expected all commits that the verdict depends on, found no object {commit}")]
    Missing { commit: CommitId },
    #[error("expected at most {limit} {what}, found more")]
    TooMuch { limit: usize, what: &'static str },
    #[error("expected a commit that follows {floor}, found {tip}, which is older")]
    Downgrade { tip: CommitId, floor: CommitId },
    #[error("expected a commit that follows {floor}, found {tip}, which does not descend from it")]
    Diverged { tip: CommitId, floor: CommitId },
    #[error("expected a descendant of the introduction {introduction}, found {tip}, which is none")]
    NotIntroduced {
        tip: CommitId,
        introduction: CommitId,
    },
    #[error("commit {commit} is not trusted")]
    Untrusted { commit: CommitId, source: Untrusted },
}

impl Refused {
    /// The reason's name for programs; it stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing-object",
            Self::TooMuch { .. } => "too-much-history",
            Self::Downgrade { .. } => "downgrade",
            Self::Diverged { .. } => "diverged",
            Self::NotIntroduced { .. } => "not-introduced",
            Self::Untrusted { source, .. } => source.code(),
        }
    }
}

/// A commit was not taken into the history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl History {
    /// Takes a raw commit object, and returns the id that it has.
    pub fn add(&mut self, object: &[u8]) -> Result<CommitId, NotAdded> {
        let commit = Commit::parse(object)?;
        let id = commit.id.clone();
        if !self.commits.contains_key(&id) {
            self.bytes += object.len();
            limit(self.bytes, BYTE_LIMIT, "bytes of commits")?;
            limit(self.commits.len() + 1, COMMIT_LIMIT, "commits")?;
            self.commits.insert(id.clone(), commit);
        }
        Ok(id)
    }

    /// How many commits were taken.
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// Whether no commit was taken.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// Judges the tip. `verify` says who signed one commit; it is asked only once
    /// ancestry is clear, and for no commit twice.
    pub fn judge(
        &self,
        question: Question<'_>,
        verify: impl FnMut(&Commit) -> Result<Signer, Untrusted>,
    ) -> Result<Accepted, Refused> {
        let base = question.floor.or(question.introduction);
        let trusted = match base {
            Some(base) => self.reach(base, &HashSet::new()).seen,
            None => HashSet::new(),
        };
        let above = self.reach(question.tip, &trusted);
        if let Some(base) = base {
            descends(question.tip, base, &above, &trusted)?;
        }
        if let Some(introduction) = question.introduction {
            let reached = above.seen.contains(introduction) || trusted.contains(introduction);
            self.introduced(reached, question.tip, introduction)?;
        }
        let wanted = self.wanted(&question, &above, &trusted)?;
        verify_all(&wanted, verify)
    }

    /// Everything that `from` descends from, and itself, down to what is in `stop`.
    fn reach(&self, from: &CommitId, stop: &HashSet<CommitId>) -> Reached {
        let mut reached = Reached::default();
        let mut waiting = vec![from.clone()];
        while let Some(id) = waiting.pop() {
            if stop.contains(&id) {
                reached.touched.insert(id);
                continue;
            }
            if !reached.seen.insert(id.clone()) {
                continue;
            }
            match self.commits.get(&id) {
                Some(commit) => waiting.extend(commit.parents.iter().rev().cloned()),
                None => {
                    reached.missing.get_or_insert_with(|| id.clone());
                }
            }
            reached.order.push(id);
        }
        reached
    }

    /// The introduction has to be shown to be an ancestor. Where objects are
    /// missing on the way it might be one, and is not believed to be.
    fn introduced(
        &self,
        reached: bool,
        tip: &CommitId,
        introduction: &CommitId,
    ) -> Result<(), Refused> {
        if reached {
            return Ok(());
        }
        match self.reach(tip, &HashSet::new()).missing {
            Some(commit) => Err(Refused::Missing { commit }),
            None => Err(Refused::NotIntroduced {
                tip: tip.clone(),
                introduction: introduction.clone(),
            }),
        }
    }

    /// The commits that have to be signed.
    fn wanted(
        &self,
        question: &Question<'_>,
        above: &Reached,
        trusted: &HashSet<CommitId>,
    ) -> Result<Vec<&Commit>, Refused> {
        if trusted.contains(question.tip) {
            return Ok(Vec::new());
        }
        let first = self.get(question.tip)?;
        let mut wanted = vec![first];
        match question.demand {
            Demand::Nothing => return Ok(Vec::new()),
            Demand::Tip => {}
            Demand::FirstParent => {
                let mut next = first.parents.first();
                // It ends: a commit cannot be its own ancestor, for its id names its parents'.
                while let Some(id) = next.filter(|id| !trusted.contains(id)) {
                    let commit = self.get(id)?;
                    wanted.push(commit);
                    next = commit.parents.first();
                }
            }
            Demand::EveryCommit => {
                for id in above.order.iter().filter(|id| *id != question.tip) {
                    wanted.push(self.get(id)?);
                }
            }
        }
        Ok(wanted)
    }

    fn get(&self, id: &CommitId) -> Result<&Commit, Refused> {
        self.commits
            .get(id)
            .ok_or_else(|| Refused::Missing { commit: id.clone() })
    }
}

/// What a walk came across.
#[derive(Default)]
struct Reached {
    /// Every commit on the way, also those that are named but were not brought.
    seen: HashSet<CommitId>,
    /// The same in the order of the walk, so that the same question has the same answer.
    order: Vec<CommitId>,
    /// Where it stopped.
    touched: HashSet<CommitId>,
    /// One that was not brought.
    missing: Option<CommitId>,
}

/// Whether the tip is, or descends from, the base.
fn descends(
    tip: &CommitId,
    base: &CommitId,
    above: &Reached,
    trusted: &HashSet<CommitId>,
) -> Result<(), Refused> {
    let (tip, floor) = (tip.clone(), base.clone());
    if above.touched.contains(base) {
        return Ok(());
    }
    if trusted.contains(&tip) {
        return Err(Refused::Downgrade { tip, floor });
    }
    match &above.missing {
        Some(commit) => Err(Refused::Missing {
            commit: commit.clone(),
        }),
        None => Err(Refused::Diverged { tip, floor }),
    }
}

/// The tip comes first, so that its reason is told before that of any other.
fn verify_all(
    wanted: &[&Commit],
    mut verify: impl FnMut(&Commit) -> Result<Signer, Untrusted>,
) -> Result<Accepted, Refused> {
    let mut signer = None;
    for commit in wanted {
        let verified = verify(commit).map_err(|source| Refused::Untrusted {
            commit: commit.id.clone(),
            source,
        })?;
        signer.get_or_insert(verified);
    }
    Ok(Accepted {
        verified: wanted.len(),
        signer,
    })
}

fn limit(found: usize, limit: usize, what: &'static str) -> Result<(), Refused> {
    if found > limit {
        return Err(Refused::TooMuch { limit, what });
    }
    Ok(())
}
