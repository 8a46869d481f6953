//! Whether a commit came with all that belongs to it.
//!
//! In: the mirror, a commit, and the pack that came last. Out: what is missing.
//! Must not: recurse, since a tree may be as deep as its author likes, or look
//! twice at what stands in a million places.

use std::collections::HashSet;

use anyhow::{Context, bail};
use gix::odb::pack::cache::lru::MemoryCappedHashmap;
use gix::odb::pack::index;
use gix::{ObjectId, Repository};

/// How many bytes of unpacked objects are kept: a tree is a difference to its
/// neighbour in history, which is looked at just before.
const BASES: usize = 4 << 20;

/// What is looked through.
pub(super) enum Scope<'a> {
    /// All that the commit reaches.
    Everything,
    /// What came in this pack; everything else was looked through when it came.
    Pack(&'a index::File),
    /// Nothing came: it was all there.
    Nothing,
}

/// Fails if anything that the commit reaches is not there.
pub(super) fn check(
    repository: &Repository,
    commit: ObjectId,
    scope: &Scope<'_>,
) -> anyhow::Result<()> {
    let mut repository = repository.clone();
    repository
        .objects
        .set_pack_cache(|| Box::new(MemoryCappedHashmap::new(BASES)));
    let mut walk = Walk {
        repository: &repository,
        scope,
        seen: HashSet::new(),
        pending: Vec::new(),
    };
    walk.expect(commit, Kind::Commit)?;
    while let Some((id, kind)) = walk.pending.pop() {
        match kind {
            Kind::Commit => walk.commit(id)?,
            Kind::Tree => walk.tree(id)?,
            // Nothing is in a file but itself.
            Kind::File => {}
        }
    }
    Ok(())
}

/// What an object has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Commit,
    Tree,
    File,
}

struct Walk<'a> {
    repository: &'a Repository,
    scope: &'a Scope<'a>,
    seen: HashSet<ObjectId>,
    pending: Vec<(ObjectId, Kind)>,
}

impl Walk<'_> {
    /// Notes an object that something else names.
    fn expect(&mut self, id: ObjectId, kind: Kind) -> anyhow::Result<()> {
        if !self.seen.insert(id) {
            return Ok(());
        }
        if kind != Kind::File && self.is_in_scope(&id) {
            // It is found missing when it is its turn.
            self.pending.push((id, kind));
        } else if !self.repository.has_object(id) {
            bail!("{id} is missing");
        }
        Ok(())
    }

    fn is_in_scope(&self, id: &ObjectId) -> bool {
        match self.scope {
            Scope::Everything => true,
            Scope::Pack(index) => index.lookup(id).is_some(),
            Scope::Nothing => false,
        }
    }

    fn commit(&mut self, id: ObjectId) -> anyhow::Result<()> {
        let commit = self
            .repository
            .find_commit(id)
            .with_context(|| format!("commit {id} is missing"))?;
        let tree = commit
            .tree_id()
            .with_context(|| format!("commit {id} cannot be read"))?;
        self.expect(tree.detach(), Kind::Tree)?;
        for parent in commit.parent_ids() {
            self.expect(parent.detach(), Kind::Commit)?;
        }
        Ok(())
    }

    fn tree(&mut self, id: ObjectId) -> anyhow::Result<()> {
        let tree = self
            .repository
            .find_tree(id)
            .with_context(|| format!("tree {id} is missing"))?;
        for entry in tree.iter() {
            let entry = entry.with_context(|| format!("tree {id} cannot be read"))?;
            // A submodule's commit is in another repository.
            if entry.mode().is_commit() {
                continue;
            }
            let kind = if entry.mode().is_tree() {
                Kind::Tree
            } else {
                Kind::File
            };
            self.expect(entry.object_id(), kind)?;
        }
        Ok(())
    }
}
