//! Remotes to mirror: polls a branch, and fetches what it was seen to be.
//!
//! In: where a branch is to be found. Out: its commit, in the mirror. Must not:
//! fetch anything but that branch, or keep a connection that failed.

use std::path::Path;
use std::sync::Arc;

use gix::ObjectId;
use gix::odb::pack;
use gix::progress::Discard;
use gix::remote::Direction;
use gix::remote::fetch::{Status, Tags};

use crate::fetcher::bloat::Packs;
use crate::fetcher::complete::{self, Scope};
use crate::fetcher::credentials::Credentials;
use crate::fetcher::exchange::{self, Ended};
use crate::fetcher::limits::Limits;
use crate::fetcher::lineage::Lineage;
use crate::fetcher::meter::Meter;
use crate::fetcher::mirror::Mirror;
use crate::fetcher::session::{self, Session, commit_id, no_credentials};
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::{Answer, Problem, RemoteAddress};
use crate::model::revision::{Branch, CommitId};

/// The mirror, and the connection to the remote that was polled last.
pub(super) struct Fetcher {
    mirror: Mirror,
    session: Option<Session>,
    credentials: Arc<Credentials>,
    limits: Limits,
    lineage: Option<Lineage>,
    is_stuck: bool,
}

impl Fetcher {
    /// A fetcher that is not connected yet.
    pub(super) fn new(mirror: Mirror, credentials: Credentials) -> Self {
        Self {
            mirror,
            session: None,
            credentials: Arc::new(credentials),
            limits: Limits::default(),
            lineage: None,
            is_stuck: false,
        }
    }

    /// The same with limits that a test can wait for.
    #[cfg(test)]
    pub(super) fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Whether a thread hangs in a read that only the end of the process ends.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Asks which commit the branch is, and which the other one. A connection
    /// kept from the last poll may have ended meanwhile; then a new one is made,
    /// once.
    pub(super) fn poll(
        &mut self,
        remote: &RemoteAddress,
        testing: Option<&Branch>,
    ) -> Result<Answer, Trouble> {
        if let Some(kept) = self.session.take().filter(|kept| kept.is_with(&remote.url)) {
            let asked = self.ask(remote, testing, move |_| Ok(kept));
            if !asked.as_ref().is_err_and(Trouble::may_be_a_lost_connection) {
                return asked;
            }
        }
        let repository = self.mirror.open()?;
        let (address, credentials) = (remote.clone(), Arc::clone(&self.credentials));
        let asked = self.ask(remote, testing, move |meter| {
            Session::connect(&repository, &address, &credentials, meter)
        });
        asked.map_err(|trouble| self.credentials.explain(remote, trouble))
    }

    /// The commits that show whether the tip follows the base, from the `first`
    /// one on.
    pub(super) fn lineage(
        &mut self,
        tip: &CommitId,
        base: Option<&CommitId>,
        first: usize,
    ) -> Result<Answer, Trouble> {
        let repository = self.mirror.open()?;
        let kept = self.lineage.take();
        let lineage = match kept.filter(|kept| first > 0 && kept.is_of(tip, base)) {
            Some(kept) => kept,
            None => Lineage::list(&repository, tip, base)?,
        };
        let page = lineage.page(&repository, first);
        self.lineage = Some(lineage);
        page
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
        pack_limit: u64,
    ) -> Result<Answer, Trouble> {
        let mut repository = self.mirror.open()?;
        if Mirror::is_at(&repository, &local_reference(remote), commit) {
            match self.verify(&repository, commit) {
                Ok(()) => return Ok(fetched(commit)),
                Err(damage) => eprintln!("the mirror is damaged and is made anew: {damage:#}"),
            }
            self.mirror.clear()?;
            repository = self.mirror.open()?;
        }
        let wanted = Wanted {
            remote: remote.clone(),
            credentials: Arc::clone(&self.credentials),
            commit: commit.clone(),
            pack_limit,
        };
        let again = wanted.clone();
        let received = self.watch(move |meter| wanted.receive(&repository, meter));
        let received = received.map_err(|trouble| self.credentials.explain(remote, trouble));
        // What was given up has left what it had by then.
        self.mirror.remove_leftovers_of_fetch()?;
        self.mirror.share_with_group()?;
        let answer = received.map_err(|trouble| self.blame_mirror(trouble))?;
        if matches!(answer, Answer::Fetched { .. }) {
            self.renew_if_bloated(again);
        }
        Ok(answer)
    }

    /// Makes the mirror anew when it holds much more than the remote does.
    /// What was just fetched stands either way.
    fn renew_if_bloated(&mut self, wanted: Wanted) {
        let url = wanted.remote.url.clone();
        let packs = Packs::count(&self.mirror.git_directory()).unwrap_or_default();
        if packs.are_too_many()
            && let Err(trouble) = self.renew(wanted)
        {
            let answer = trouble.answer(&url);
            eprintln!("the mirror has grown, and could not be made anew: {answer:?}");
        }
    }

    /// Whatever else the mirror holds comes along: nobody would ask for it again.
    /// What is gone from there, or elsewhere by now, stays behind.
    fn renew(&mut self, wanted: Wanted) -> Result<(), Trouble> {
        let besides = wanted.besides(&self.mirror.open()?)?;
        let fresh = self.mirror.open_fresh()?;
        let repository = fresh.clone();
        let answer = self.watch(move |meter| wanted.receive(&repository, meter))?;
        if !matches!(answer, Answer::Fetched { .. }) {
            // It is gone again; the next look tells.
            return Ok(());
        }
        for other in besides {
            let repository = fresh.clone();
            match self.watch(move |meter| other.receive(&repository, meter)) {
                Ok(_) => {}
                Err(trouble) if trouble.problem == Problem::Moved => {}
                Err(trouble) => return Err(trouble),
            }
        }
        self.mirror.take_fresh()
    }

    /// Asks over a session, and keeps it if that worked and if it may be kept.
    fn ask(
        &mut self,
        remote: &RemoteAddress,
        testing: Option<&Branch>,
        session: impl FnOnce(&Arc<Meter>) -> Result<Session, Trouble> + Send + 'static,
    ) -> Result<Answer, Trouble> {
        let mut branches = vec![remote.branch.clone()];
        branches.extend(testing.cloned());
        let (session, heads) = self.watch(move |meter| {
            let mut session = session(meter)?;
            let heads = session.heads(&branches, meter)?;
            Ok((session, heads))
        })?;
        if session.can_be_kept() {
            self.session = Some(session);
        }
        let mut heads = heads.into_iter();
        Ok(match heads.next().flatten() {
            Some(commit) => Answer::Head {
                commit,
                testing: heads.next().flatten(),
            },
            None => Answer::BranchMissing,
        })
    }

    fn watch<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Arc<Meter>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        match exchange::watch(self.limits, work) {
            Ended::Returned(result) => result,
            Ended::Stuck(trouble) => {
                self.is_stuck = true;
                Err(trouble)
            }
        }
    }

    /// Whether nothing is damaged, and nothing of the commit is missing.
    fn verify(&self, repository: &gix::Repository, commit: &CommitId) -> anyhow::Result<()> {
        self.mirror.verify(repository)?;
        complete::check(repository, object_id(commit)?, &Scope::Everything)
    }

    /// After a fetch that failed, looks whether the mirror is to blame: what
    /// is damaged here fails every time, and the error seldom says where.
    fn blame_mirror(&self, trouble: Trouble) -> Trouble {
        if trouble.problem == Problem::Incomplete {
            // What is there is not asked for again.
            return self.mirror.clear().err().unwrap_or(trouble);
        }
        if !matches!(trouble.problem, Problem::Fetch | Problem::Pack) {
            return trouble;
        }
        let verified = self.mirror.open().map(|it| self.mirror.verify(&it));
        let Ok(Err(damage)) = verified else {
            return trouble;
        };
        match self.mirror.clear() {
            Ok(()) => Trouble::new(Problem::Mirror, format!("{damage:#}")),
            Err(trouble) => trouble,
        }
    }
}

/// Where the mirror keeps the branches of a remote.
fn local_directory(remote: &RemoteAddress) -> String {
    format!("refs/deploy/{}/", remote.name)
}

/// Where the mirror keeps the branch.
fn local_reference(remote: &RemoteAddress) -> String {
    format!("{}{}", local_directory(remote), remote.branch)
}

fn fetched(commit: &CommitId) -> Answer {
    Answer::Fetched {
        commit: commit.clone(),
    }
}

fn object_id(commit: &CommitId) -> Result<ObjectId, gix::Error> {
    ObjectId::from_hex(commit.as_str().as_bytes())
}

/// What a fetch is to bring.
#[derive(Clone)]
struct Wanted {
    remote: RemoteAddress,
    credentials: Arc<Credentials>,
    commit: CommitId,
    pack_limit: u64,
}

impl Wanted {
    /// The same for the other branches of the remote that a mirror holds.
    fn besides(&self, repository: &gix::Repository) -> Result<Vec<Self>, Trouble> {
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
    fn receive(&self, repository: &gix::Repository, meter: &Arc<Meter>) -> Result<Answer, Trouble> {
        let at_remote = |error| Trouble::from_gix(Problem::Remote, &error);
        let Self { remote, commit, .. } = self;
        let local = local_reference(remote);
        // Forced: what is fast-forward and what is not is judged by the daemon.
        let specification = format!("+{}:{local}", remote.branch.reference());
        let configured = repository
            .remote_at(&*remote.url)
            .and_then(|remote| remote.with_refspecs([&*specification], Direction::Fetch))
            .map_err(at_remote)?
            .with_fetch_tags(Tags::None);
        let transport = session::connect(repository, remote, &self.credentials, meter)?;
        let prepared = configured
            .to_connection_with_transport(transport)
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
        confirm(repository, &local, commit, index.as_deref())?;
        Ok(fetched(commit))
    }
}

fn moved(remote: &RemoteAddress, commit: &CommitId, now: &str) -> Trouble {
    let branch = &remote.branch;
    Trouble::new(
        Problem::Moved,
        format!("expected {branch} at {commit}, found {now}"),
    )
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
