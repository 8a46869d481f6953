//! What one fetch is to bring, and whether it came.
//!
//! In: a ref of a remote, and what it was seen to be. Out: that object in a
//! repository, with all that belongs to it. Must not: take the absence of an
//! error for success.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::ObjectId;
use gix::odb::pack;
use gix::progress::Discard;
use gix::remote::Direction;
use gix::remote::fetch::{Status, Tags};

use crate::fetcher::complete::{self, Scope};
use crate::fetcher::credentials::Credentials;
use crate::fetcher::meter::Meter;
use crate::fetcher::mirror::Mirror;
use crate::fetcher::session::{self, commit_id, no_credentials};
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::{Answer, Problem};
use crate::model::remote::RemoteAddress;
use crate::model::revision::{Branch, CommitId};

/// A commit that is to be brought.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) remote: RemoteAddress,
    pub(super) credentials: Arc<Credentials>,
    pub(super) commit: CommitId,
    pub(super) pack_limit: u64,
}

impl Wanted {
    /// The same for the other branches of the remote that a mirror holds.
    pub(super) fn besides(&self, repository: &gix::Repository) -> Result<Vec<Self>, Trouble> {
        let besides = || -> anyhow::Result<Vec<Self>> {
            let mut besides = Vec::new();
            for reference in repository.references()?.all()? {
                let reference = reference.map_err(|error| anyhow::anyhow!("a ref: {error}"))?;
                let name = reference.name().as_bstr().to_string();
                let branch = name.strip_prefix(&local_directory(&self.remote));
                let branch = branch.and_then(|branch| Branch::try_from(branch.to_owned()).ok());
                let commit = reference.try_id().map(|id| commit_id(&id));
                if let (Some(branch), Some(Ok(commit))) = (branch, commit)
                    && branch != self.remote.branch
                {
                    let mut other = self.clone();
                    (other.remote.branch, other.commit) = (branch, commit);
                    besides.push(other);
                }
            }
            Ok(besides)
        };
        besides().map_err(|error| Trouble::new(Problem::Mirror, format!("{error:#}")))
    }

    /// Fetches the branch, and looks whether the mirror then holds the commit
    /// and all of it.
    pub(super) fn receive(
        &self,
        repository: &gix::Repository,
        meter: &Arc<Meter>,
    ) -> Result<Answer, Trouble> {
        let Self { remote, commit, .. } = self;
        let local = local_reference(remote);
        let transfer = Transfer {
            remote,
            credentials: &self.credentials,
            theirs: &remote.branch.reference(),
            ours: &local,
            object: commit,
            pack_limit: self.pack_limit,
        };
        let Some(came) = transfer.run(repository, meter)? else {
            return Ok(Answer::BranchMissing);
        };
        confirm(repository, &local, commit, came.index.as_deref())?;
        Ok(fetched(commit))
    }
}

/// One ref, from a remote to a repository.
pub(super) struct Transfer<'a> {
    pub(super) remote: &'a RemoteAddress,
    pub(super) credentials: &'a Credentials,
    /// Its whole name there.
    pub(super) theirs: &'a str,
    /// Its whole name here.
    pub(super) ours: &'a str,
    /// What it was seen to be.
    pub(super) object: &'a CommitId,
    pub(super) pack_limit: u64,
}

/// What came of a transfer.
pub(super) struct Came {
    /// The index of the pack, unless there was no need of one.
    index: Option<PathBuf>,
}

impl Transfer<'_> {
    /// Fetches the ref. None: the remote does not have it.
    pub(super) fn run(
        &self,
        repository: &gix::Repository,
        meter: &Arc<Meter>,
    ) -> Result<Option<Came>, Trouble> {
        let at_remote = |error| Trouble::from_gix(Problem::Remote, &error);
        // Forced: what is fast-forward and what is not is judged by the daemon.
        let specification = format!("+{}:{}", self.theirs, self.ours);
        let configured = repository
            .remote_at(&*self.remote.url)
            .and_then(|remote| remote.with_refspecs([&*specification], Direction::Fetch))
            .map_err(at_remote)?
            .with_fetch_tags(Tags::None);
        let transport = session::connect(repository, self.remote, self.credentials, meter)?;
        let prepared = configured
            .to_connection_with_transport(transport)
            .with_credentials(no_credentials)
            .prepare_fetch(Discard, gix::remote::ref_map::Options::default())
            .map_err(at_remote)?;
        let Some(offered) = prepared.ref_map().mappings.first() else {
            return Ok(None);
        };
        let offered = offered.remote.as_id().map(commit_id).transpose()?;
        if offered.as_ref() != Some(self.object) {
            let now = offered.map_or_else(|| "nothing".to_owned(), String::from);
            return Err(self.moved(&now));
        }
        meter.expect_pack(self.pack_limit);
        let received = prepared
            .receive(Discard, &meter.is_given_up)
            .map_err(|error| Trouble::from_gix(Problem::Fetch, &error))?;
        let index = match received.status {
            Status::NoPackReceived { .. } => None,
            Status::Change {
                write_pack_bundle, ..
            } => write_pack_bundle.index_path,
        };
        Ok(Some(Came { index }))
    }

    /// The ref is something else by now.
    pub(super) fn moved(&self, now: &str) -> Trouble {
        let (name, object) = (short(self.theirs), self.object);
        Trouble::new(
            Problem::Moved,
            format!("expected {name} at {object}, found {now}"),
        )
    }
}

/// A ref as people call it.
fn short(reference: &str) -> &str {
    let prefixes = ["refs/heads/", "refs/tags/"];
    let found = prefixes.iter().find_map(|it| reference.strip_prefix(it));
    found.unwrap_or(reference)
}

/// Where the mirror keeps the branches of a remote.
fn local_directory(remote: &RemoteAddress) -> String {
    format!("refs/deploy/{}/", remote.name)
}

/// Where the mirror keeps the branch.
pub(super) fn local_reference(remote: &RemoteAddress) -> String {
    format!("{}{}", local_directory(remote), remote.branch)
}

pub(super) fn fetched(commit: &CommitId) -> Answer {
    Answer::Fetched {
        commit: commit.clone(),
    }
}

pub(super) fn object_id(commit: &CommitId) -> Result<ObjectId, gix::Error> {
    ObjectId::from_hex(commit.as_str().as_bytes())
}

/// Believes the mirror rather than the absence of an error.
fn confirm(
    repository: &gix::Repository,
    local: &str,
    commit: &CommitId,
    index: Option<&Path>,
) -> Result<(), Trouble> {
    let broken = |error| Trouble::from_gix(Problem::Incomplete, &error);
    let id = object_id(commit).map_err(broken)?;
    if !repository.has_object(id) {
        let message = format!("expected {commit} in what came, found other objects");
        return Err(Trouble::new(Problem::Incomplete, message));
    }
    if !Mirror::is_at(repository, local, commit) {
        let message = format!("expected {local} at {commit} after the fetch, found it elsewhere");
        return Err(Trouble::new(Problem::Fetch, message));
    }
    let kind = repository.find_object(id).map_err(broken)?.kind;
    if kind != gix::object::Kind::Commit {
        Mirror::forget(repository, local).map_err(broken)?;
        let message = format!("expected {commit} to be a commit, found a {kind}");
        return Err(Trouble::new(Problem::NotACommit, message));
    }
    let index = index
        .map(|path| pack::index::File::at(path, gix::hash::Kind::Sha1))
        .transpose()
        .map_err(broken)?;
    let scope = index.as_ref().map_or(Scope::Nothing, Scope::Pack);
    complete::check(repository, id, &scope)
        .map_err(|missing| Trouble::new(Problem::Incomplete, format!("{missing:#}")))
}
