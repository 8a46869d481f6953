//! Remotes to mirror: polls a branch, and fetches what it was seen to be.
//!
//! In: where a branch is to be found. Out: its commit, in the mirror. Must not:
//! fetch anything but that branch, or keep a connection that failed.

use std::sync::Arc;

use crate::fetcher::bloat::Packs;
use crate::fetcher::complete::{self, Scope};
use crate::fetcher::credentials::Credentials;
use crate::fetcher::exchange::{self, Ended};
use crate::fetcher::limits::Limits;
use crate::fetcher::lineage::Lineage;
use crate::fetcher::meter::Meter;
use crate::fetcher::mirror::Mirror;
use crate::fetcher::session::Session;
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wanted::{Wanted, fetched, local_reference, object_id};
use crate::fetcher::wire::{Answer, Problem};
use crate::model::remote::RemoteAddress;
use crate::model::revision::{Branch, CommitId, TagId, TagName};

/// What is asked for with the branch.
#[derive(Clone, Copy, Default)]
pub(super) struct Besides<'a> {
    pub(super) testing: Option<&'a Branch>,
    pub(super) heartbeat: Option<&'a TagName>,
}

/// The mirror, and the connection to the remote that was polled last.
pub(super) struct Fetcher {
    pub(super) mirror: Mirror,
    session: Option<Session>,
    pub(super) credentials: Arc<Credentials>,
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

    /// Asks what the branch is, and what else is to be known with it. A
    /// connection kept from the last poll may have ended meanwhile; then a new
    /// one is made, once.
    pub(super) fn poll(
        &mut self,
        remote: &RemoteAddress,
        besides: Besides<'_>,
    ) -> Result<Answer, Trouble> {
        if let Some(kept) = self.session.take().filter(|kept| kept.is_with(&remote.url)) {
            let asked = self.ask(remote, besides, move |_| Ok(kept));
            if !asked.as_ref().is_err_and(Trouble::may_be_a_lost_connection) {
                return asked;
            }
        }
        let repository = self.mirror.open()?;
        let (address, credentials) = (remote.clone(), Arc::clone(&self.credentials));
        let asked = self.ask(remote, besides, move |meter| {
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

    /// One commit that the mirror holds.
    pub(super) fn commit(&mut self, commit: &CommitId) -> Result<Answer, Trouble> {
        Lineage::only(commit)?.page(&self.mirror.open()?, 0)
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
        besides: Besides<'_>,
        session: impl FnOnce(&Arc<Meter>) -> Result<Session, Trouble> + Send + 'static,
    ) -> Result<Answer, Trouble> {
        let mut names = vec![remote.branch.reference()];
        names.extend(besides.testing.map(Branch::reference));
        names.extend(besides.heartbeat.map(TagName::reference));
        let (session, heads) = self.watch(move |meter| {
            let mut session = session(meter)?;
            let heads = session.heads(&names, meter)?;
            Ok((session, heads))
        })?;
        if session.can_be_kept() {
            self.session = Some(session);
        }
        let mut heads = heads.into_iter();
        let commit = heads.next().flatten();
        let testing = besides.testing.and_then(|_| heads.next().flatten());
        let heartbeat = besides.heartbeat.and_then(|_| heads.next().flatten());
        Ok(match commit {
            Some(commit) => Answer::Head {
                commit,
                testing,
                heartbeat: heartbeat.map(TagId),
            },
            None => Answer::BranchMissing,
        })
    }

    pub(super) fn watch<T: Send + 'static>(
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
    pub(super) fn blame_mirror(&self, trouble: Trouble) -> Trouble {
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
