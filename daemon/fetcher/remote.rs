//! Remotes to mirror: polls a branch, and fetches what it was seen to be.
//!
//! In: where a branch is to be found. Out: its commit, in the mirror. Must not:
//! fetch anything but that branch, or keep a connection that failed.

use std::sync::atomic::AtomicBool;

use gix::progress::Discard;
use gix::remote::Direction;
use gix::remote::fetch::Tags;

use crate::fetcher::mirror::Mirror;
use crate::fetcher::session::{Session, commit_id, no_credentials};
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::{Answer, Problem, RemoteAddress};
use crate::model::revision::CommitId;

/// The mirror, and the connection to the remote that was polled last.
pub(super) struct Fetcher {
    mirror: Mirror,
    session: Option<Session>,
}

impl Fetcher {
    /// A fetcher that is not connected yet.
    pub(super) fn new(mirror: Mirror) -> Self {
        Self {
            mirror,
            session: None,
        }
    }

    /// Asks which commit the branch is. A connection kept from the last poll
    /// may have ended meanwhile; then a new one is made, once.
    pub(super) fn poll(&mut self, remote: &RemoteAddress) -> Result<Answer, Trouble> {
        if let Some(kept) = self.session.take().filter(|kept| kept.is_with(&remote.url))
            && let Ok(head) = self.ask(kept, remote)
        {
            return Ok(head);
        }
        let session = Session::connect(&self.mirror.open()?, &remote.url)?;
        self.ask(session, remote)
    }

    /// Brings the commit into the mirror.
    ///
    /// A branch that moved meanwhile is not fetched: whoever asked polls again.
    /// The exact commit could be asked for as well, but what the branch moved
    /// away from may have been taken back on purpose.
    pub(super) fn fetch(
        &mut self,
        remote: &RemoteAddress,
        commit: &CommitId,
    ) -> Result<Answer, Trouble> {
        let mut repository = self.mirror.open()?;
        if Mirror::is_at(&repository, &local_reference(remote), commit) {
            match self.mirror.verify(&repository) {
                Ok(()) => return Ok(fetched(commit)),
                Err(damage) => eprintln!("the mirror is damaged and is made anew: {damage:#}"),
            }
            self.mirror.clear()?;
            repository = self.mirror.open()?;
        }
        let received = receive(&repository, remote, commit);
        self.mirror.share_with_group()?;
        received.map_err(|trouble| self.blame_mirror(&repository, trouble))
    }

    /// Asks over this session, and keeps it if that worked and if it may be kept.
    fn ask(&mut self, mut session: Session, remote: &RemoteAddress) -> Result<Answer, Trouble> {
        let head = session.head(&remote.branch)?;
        if session.can_be_kept() {
            self.session = Some(session);
        }
        Ok(match head {
            Some(commit) => Answer::Head { commit },
            None => Answer::BranchMissing,
        })
    }

    /// After a fetch that failed, looks whether the mirror is to blame: what
    /// is damaged here fails every time, and the error seldom says where.
    fn blame_mirror(&self, repository: &gix::Repository, trouble: Trouble) -> Trouble {
        if trouble.problem != Problem::Fetch {
            return trouble;
        }
        let Err(damage) = self.mirror.verify(repository) else {
            return trouble;
        };
        match self.mirror.clear() {
            Ok(()) => Trouble::new(Problem::Mirror, format!("{damage:#}")),
            Err(trouble) => trouble,
        }
    }
}

/// Where the mirror keeps the branch.
fn local_reference(remote: &RemoteAddress) -> String {
    format!("refs/deploy/{}/{}", remote.name, remote.branch)
}

fn fetched(commit: &CommitId) -> Answer {
    Answer::Fetched {
        commit: commit.clone(),
    }
}

/// Fetches the branch, and looks whether the mirror then holds the commit.
fn receive(
    repository: &gix::Repository,
    remote: &RemoteAddress,
    commit: &CommitId,
) -> Result<Answer, Trouble> {
    let at_remote = |error| Trouble::from_gix(Problem::Remote, &error);
    let local = local_reference(remote);
    // Forced: what is fast-forward and what is not is judged by the daemon.
    let specification = format!("+{}:{local}", remote.branch.reference());
    let configured = repository
        .remote_at(&*remote.url)
        .and_then(|remote| remote.with_refspecs([&*specification], Direction::Fetch))
        .map_err(at_remote)?
        .with_fetch_tags(Tags::None);
    let prepared = configured
        .connect(Direction::Fetch)
        .map_err(at_remote)?
        .with_credentials(no_credentials)
        .prepare_fetch(Discard, gix::remote::ref_map::Options::default())
        .map_err(at_remote)?;
    let Some(offered) = prepared.ref_map().mappings.first() else {
        return Ok(Answer::BranchMissing);
    };
    let offered = offered.remote.as_id().map(commit_id).transpose()?;
    if offered.as_ref() != Some(commit) {
        let now = offered.map_or_else(|| "nothing".to_owned(), String::from);
        return Err(moved(remote, commit, &now));
    }
    prepared
        .receive(Discard, &AtomicBool::new(false))
        .map_err(|error| Trouble::from_gix(Problem::Fetch, &error))?;
    confirm(repository, &local, commit)?;
    Ok(fetched(commit))
}

fn moved(remote: &RemoteAddress, commit: &CommitId, now: &str) -> Trouble {
    let branch = &remote.branch;
    Trouble::new(
        Problem::Moved,
        format!("expected {branch} at {commit}, found {now}"),
    )
}

/// Believes the mirror rather than the absence of an error.
fn confirm(repository: &gix::Repository, local: &str, commit: &CommitId) -> Result<(), Trouble> {
    if !Mirror::is_at(repository, local, commit) {
        let message = format!("expected {local} at {commit} after the fetch, found it elsewhere");
        return Err(Trouble::new(Problem::Fetch, message));
    }
    repository
        .rev_parse_single(commit.as_str())
        .and_then(|id| id.object())
        .map_err(|error| Trouble::from_gix(Problem::Fetch, &error))?
        .try_into_commit()
        .map(drop)
        .map_err(|_| Trouble::new(Problem::Fetch, format!("{commit} is not a commit")))
}
