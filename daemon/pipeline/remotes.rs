//! All remotes of the host: each with its fetcher, its mirror and its judge, and
//! what their mirrors show of each other's commits.
//!
//! In: which remote to ask, and what was confirmed. Out: its commit, in its
//! mirror, if it may be followed, and how it lies to those of the others. Must
//! not: choose among them, or have one wait for another.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;

use super::git::{self, Besides, Patience, Place, Polled, Remote, Tip};
use super::judge::{Judge, Seen, older};
use crate::config::Config;
use crate::host::environment::Programs;
use crate::host::systemd::Systemd;
use crate::model::credential::Credential;
use crate::model::description::{Description, Signer};
use crate::model::failure::{Failure, FailureCode};
use crate::model::offer::{Ancestry, Offer, RemoteNumber};
use crate::model::policy::ForcePush;
use crate::model::remote::RemoteAddress;
use crate::model::revision::{Branch, CommitId, Confirmed, TagName};
use crate::model::testing::Testing;

/// Of how many commits it is remembered from where they came.
const ORIGINS: usize = 16;

/// The remotes.
pub(crate) struct Remotes {
    systemd: Systemd,
    programs: Programs,
    all: Vec<Followed>,
    force_push: ForcePush,
    found: Mutex<Found>,
}

/// One of them.
struct Followed {
    remote: Remote,
    judge: Judge,
    /// The testing branch that is asked for here.
    testing: Option<Branch>,
    /// The tag by which it has to show that it is alive.
    heartbeat: Option<TagName>,
}

/// From where a commit is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The mirror that holds it.
    pub(crate) mirror: PathBuf,
    /// What a submodule's relative URL is relative to.
    pub(crate) url: String,
}

/// What was found out.
#[derive(Default)]
struct Found {
    /// What each offered when it was last asked, if it may be followed.
    offers: HashMap<RemoteNumber, CommitId>,
    /// Whether the second descends from the first. That never changes.
    descents: HashMap<(CommitId, CommitId), bool>,
    /// The mirrors to which commits were brought, the newest last.
    origins: VecDeque<(CommitId, RemoteNumber)>,
}

impl Remotes {
    /// Remotes that were not asked yet. `testing`: the testing branch that the
    /// host follows; `root`: where the host's files are.
    pub(crate) fn new(
        systemd: &Systemd,
        programs: &Programs,
        config: &Config,
        testing: Option<&Branch>,
        root: &Path,
    ) -> Self {
        let followed = config.remotes.iter().enumerate().map(|(index, remote)| {
            let patience = Patience {
                poll: remote.timeout(&config.deadlines),
                fetch: config.deadlines.fetch,
                limits: config.fetch,
            };
            let (systemd, programs) = (systemd.clone(), programs.clone());
            let number = RemoteNumber(index);
            Followed {
                remote: Remote::new(systemd, programs, number, remote.clone(), patience),
                // What runs may be what another remote's testing branch was.
                judge: Judge::new(config.trust.clone(), testing.cloned(), root),
                testing: remote.testing_branch(testing).cloned(),
                heartbeat: config.heartbeat_of(remote),
            }
        });
        Self {
            systemd: systemd.clone(),
            programs: programs.clone(),
            all: followed.collect(),
            force_push: config.trust.force_push,
            found: Mutex::default(),
        }
    }

    /// Where they are.
    pub(crate) fn addresses(&self) -> Vec<RemoteAddress> {
        let addresses = self.all.iter().map(|it| it.remote.address().clone());
        addresses.collect()
    }

    /// Asks one remote, and judges what it offers.
    ///
    /// May be dropped at any time: the next call asks anew.
    pub(crate) async fn poll(
        &self,
        number: RemoteNumber,
        confirmed: &Confirmed,
    ) -> Result<Offer, Failure> {
        let followed = self.all.get(number.0).ok_or_else(no_such_remote)?;
        let offered = self.offered(number, followed, confirmed).await;
        // Before the others are looked at: of two that end at the same time,
        // one sees the other.
        let commit = offered.as_ref().ok().map(|polled| &polled.commit);
        self.note(number, commit, confirmed);
        let Polled {
            commit, testing, ..
        } = offered?;
        let ancestry = self.ancestry(number, &commit).await;
        let testing = self.testing(number, &commit, testing, confirmed).await;
        Ok(Offer {
            commit,
            ancestry,
            testing,
        })
    }

    /// What the testing branch is there, beside the branch itself.
    async fn testing(
        &self,
        number: RemoteNumber,
        commit: &CommitId,
        tip: Tip,
        confirmed: &Confirmed,
    ) -> Option<Testing> {
        let followed = self.all.get(number.0)?;
        let branch = followed.testing.as_ref()?;
        if let Tip::Held(tested) = &tip {
            self.note_origin(tested, number);
        }
        let (judge, remote) = (&followed.judge, &followed.remote);
        let judged = judge.judge_testing(remote, commit, tip, confirmed).await;
        Some(judged.of(branch))
    }

    async fn offered(
        &self,
        number: RemoteNumber,
        followed: &Followed,
        confirmed: &Confirmed,
    ) -> Result<Polled, Failure> {
        let besides = Besides {
            testing: followed.testing.as_ref(),
            heartbeat: followed.heartbeat.as_ref(),
        };
        let polled = followed.remote.poll(besides).await?;
        let commit = &polled.commit;
        self.note_origin(commit, number);
        if let Some(floor) = self.older_than(number, commit, confirmed).await {
            return Err(older(commit, floor));
        }
        let judge = &followed.judge;
        judge.judge(&followed.remote, commit, confirmed).await?;
        if let Some(name) = &followed.heartbeat {
            let tag = polled.heartbeat.as_ref();
            let seen = Seen { name, tag };
            judge
                .hear(&followed.remote, commit, seen, confirmed)
                .await?;
        }
        Ok(polled)
    }

    /// The floor, if the commit is older than it by what another mirror shows.
    ///
    /// The mirror of a remote that lags does not hold the floor: by itself it
    /// could not tell a commit that is older from one that diverges, and would
    /// list its whole history for that.
    async fn older_than<'a>(
        &self,
        number: RemoteNumber,
        commit: &CommitId,
        confirmed: &'a Confirmed,
    ) -> Option<&'a CommitId> {
        let floor = confirmed.floor.as_ref()?;
        let is_settled = floor == commit || confirmed.allowed.as_ref() == Some(commit);
        if self.all.len() < 2 || is_settled || self.force_push != ForcePush::Refuse {
            return None;
        }
        let is_older = match self.known(commit, floor) {
            Some(known) => known,
            None => self.find_older(number, commit, floor).await,
        };
        is_older.then_some(floor)
    }

    async fn find_older(&self, number: RemoteNumber, commit: &CommitId, floor: &CommitId) -> bool {
        // Then its own judge tells, and it knows the reasons.
        if self.all[number.0].remote.holds(floor).await == Some(true) {
            return false;
        }
        for other in (0..self.all.len()).map(RemoteNumber) {
            if other != number
                && let Some(is_older) = self.descends(other, floor, commit).await
            {
                return is_older;
            }
        }
        false
    }

    /// How the commit lies to what the other remotes offer now.
    async fn ancestry(&self, number: RemoteNumber, commit: &CommitId) -> Ancestry {
        let offers = self.offers();
        for (other, theirs) in offers.iter().filter(|(_, theirs)| *theirs != commit) {
            if self.descends(number, commit, theirs).await != Some(true) {
                self.descends(*other, theirs, commit).await;
            }
        }
        let mut ancestry = Ancestry::default();
        for ancestor in offers.values() {
            for descendant in offers.values() {
                let ways = (
                    self.known(ancestor, descendant),
                    self.known(descendant, ancestor),
                );
                let (ancestor, descendant) = (ancestor.clone(), descendant.clone());
                match ways {
                    (Some(true), _) => ancestry.add(ancestor, descendant),
                    (Some(false), Some(false)) => ancestry.add_unrelated(ancestor, descendant),
                    (Some(false) | None, _) => {}
                }
            }
        }
        ancestry
    }

    /// Whether one commit descends from another, by what is known or what the
    /// mirror of that remote shows.
    async fn descends(
        &self,
        number: RemoteNumber,
        commit: &CommitId,
        from: &CommitId,
    ) -> Option<bool> {
        if let Some(known) = self.known(from, commit) {
            return Some(known);
        }
        let shown = self.all[number.0]
            .remote
            .shows_descent(commit, from)
            .await?;
        if let Ok(mut found) = self.found.lock() {
            found.descents.insert((from.clone(), commit.clone()), shown);
        }
        Some(shown)
    }

    fn known(&self, ancestor: &CommitId, descendant: &CommitId) -> Option<bool> {
        let pair = (ancestor.clone(), descendant.clone());
        self.found.lock().ok()?.descents.get(&pair).copied()
    }

    fn offers(&self) -> HashMap<RemoteNumber, CommitId> {
        let found = self.found.lock();
        found.map(|found| found.offers.clone()).unwrap_or_default()
    }

    fn note_origin(&self, commit: &CommitId, number: RemoteNumber) {
        let Ok(mut found) = self.found.lock() else {
            return;
        };
        let origin = (commit.clone(), number);
        if found.origins.back() != Some(&origin) {
            found.origins.retain(|known| *known != origin);
            found.origins.push_back(origin);
        }
        if found.origins.len() > ORIGINS * self.all.len() {
            found.origins.pop_front();
        }
    }

    /// Takes what a remote offers now, and forgets what is nobody's any more.
    fn note(&self, number: RemoteNumber, commit: Option<&CommitId>, confirmed: &Confirmed) {
        let Ok(mut found) = self.found.lock() else {
            return;
        };
        match commit {
            Some(commit) => found.offers.insert(number, commit.clone()),
            None => found.offers.remove(&number),
        };
        let Found {
            offers,
            descents,
            origins,
        } = &mut *found;
        let is_present = |commit: &CommitId| {
            confirmed.floor.as_ref() == Some(commit)
                || offers.values().any(|it| it == commit)
                || origins.iter().any(|(it, _)| it == commit)
        };
        descents.retain(|(ancestor, descendant), _| is_present(ancestor) && is_present(descendant));
    }

    /// The mirror from which a commit is to be imported.
    pub(crate) async fn source(&self, commit: &CommitId) -> Source {
        let remote = &self.all[self.holder(commit).await.0].remote;
        Source {
            mirror: remote.place().mirror(),
            url: remote.address().url.clone(),
        }
    }

    /// What a commit says of itself, and who signed it; None: nobody can say now.
    pub(crate) async fn describe(&self, commit: &CommitId) -> Option<Description> {
        let followed = &self.all[self.known_holder(commit)?.0];
        let commit = followed.remote.commit(commit).await?;
        let signer = followed.judge.signer(&commit);
        let signer = signer.map(|it| Signer::new(&it.principal, &it.key));
        Some(Description::of(commit.message(), signer))
    }

    /// Has the mirror from which a commit could not be imported proven or made
    /// anew by the next poll.
    pub(crate) async fn doubt(&self, commit: &CommitId) {
        self.all[self.holder(commit).await.0]
            .remote
            .forget_fetched();
    }

    /// The first remote that offers it now; or the last that did. After a
    /// restart nobody remembers: the first mirror that holds it.
    async fn holder(&self, commit: &CommitId) -> RemoteNumber {
        const FIRST: RemoteNumber = RemoteNumber(0);
        if self.all.len() < 2 {
            return FIRST;
        }
        if let Some(known) = self.known_holder(commit) {
            return known;
        }
        let asking = self
            .all
            .iter()
            .enumerate()
            .map(|(index, followed)| async move {
                let holds = followed.remote.holds(commit).await;
                (RemoteNumber(index), holds == Some(true))
            });
        let mut asking: FuturesUnordered<_> = asking.collect();
        while let Some((number, holds)) = asking.next().await {
            if holds {
                return number;
            }
        }
        FIRST
    }

    fn known_holder(&self, commit: &CommitId) -> Option<RemoteNumber> {
        let found = self.found.lock().ok()?;
        let offering = found.offers.iter().filter(|(_, it)| *it == commit);
        let offering = offering.map(|(number, _)| *number).min();
        let mut origins = found.origins.iter().rev();
        let brought = origins.find(|(it, _)| it == commit);
        offering.or(brought.map(|(_, number)| *number))
    }

    /// Whether one of them can be asked: all at once, and the first that can is
    /// enough. Else why not the first of the list.
    ///
    /// May be dropped at any time.
    pub(crate) async fn any_answers(&self) -> Result<(), Failure> {
        let asking = self.all.iter().enumerate();
        let asking = asking
            .map(|(index, it)| async move { (index, it.remote.poll(Besides::default()).await) });
        let mut asking: FuturesUnordered<_> = asking.collect();
        let mut first: Option<(usize, Failure)> = None;
        while let Some((index, polled)) = asking.next().await {
            match polled {
                Ok(_polled) => return Ok(()),
                Err(failure) if first.as_ref().is_none_or(|(known, _)| index < *known) => {
                    first = Some((index, failure));
                }
                Err(_) => {}
            }
        }
        first.map_or(Ok(()), |(_, failure)| Err(failure))
    }

    /// Removes the mirrors that no remote of the list uses.
    pub(crate) async fn remove_unused_mirrors(&self) {
        let places: Vec<&Place> = self.all.iter().map(|it| it.remote.place()).collect();
        git::remove_unused(&self.systemd, &self.programs, &places).await;
    }
}

/// Those credentials whose files are there. systemd starts no unit for which
/// one is missing, and it may be that of a remote that is not needed.
pub(crate) async fn those_there(credentials: &[Credential]) -> Vec<Credential> {
    let there = join_all(credentials.iter().map(git::is_there)).await;
    let pairs = credentials.iter().zip(there);
    let there = pairs.filter(|(_, is_there)| *is_there);
    there.map(|(credential, _)| credential.clone()).collect()
}

fn no_such_remote() -> Failure {
    Failure::new(
        FailureCode::StepFailed,
        "there is no such remote",
        "This is a defect: please report it.",
    )
}
