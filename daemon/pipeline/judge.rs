//! Whether what the remote offers may be followed at all: before anything of
//! it is imported or evaluated.
//!
//! In: the branch's commit, what was confirmed last, the operator's demands and
//! the files of keys. Out: nothing, or the one reason why not. Must not:
//! believe the fetcher beyond the bytes it brings, or start anything.

mod testing;
mod heartbeat;
mod keys;
mod words;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::heartbeat::Heard;
pub(crate) use self::heartbeat::Seen;
use self::keys::KeyFiles;
use super::floor;
use super::git::Remote;
use crate::host::clock;
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::{ForcePush, Require, Trust};
use crate::model::revision::{Branch, CommitId, Confirmed};
use crate::trust::commit::Commit;
use crate::trust::history::{Accepted, Demand, History, Question, Refused};
use crate::trust::keys::Signer;

/// How long a verdict by keys is remembered: they end without anybody's doing.
const MEMORY: Duration = Duration::from_secs(10 * 60);

/// The demands, and what was found out by them.
pub(crate) struct Judge {
    trust: Trust,
    testing: Option<Branch>,
    root: PathBuf,
    memory: Mutex<Memory>,
}

/// How many verdicts are remembered: of the branch, of the testing branch, and
/// of what they were before.
const MOST: usize = 8;

#[derive(Default)]
struct Memory {
    /// Newest last.
    verdicts: VecDeque<Given>,
    /// How commits of the two branches lie to each other, newest last.
    descents: VecDeque<Descent>,
    /// A commit that was shown to descend from the introduction.
    introduced: Option<CommitId>,
    /// The heartbeat that was judged last.
    heard: Option<Heard>,
}

/// Whether a commit descends from another.
struct Descent {
    commit: CommitId,
    from: CommitId,
    descends: bool,
}

/// A verdict.
struct Given {
    case: Case,
    /// The time since boot.
    at: Duration,
    verdict: Result<(), Failure>,
}

impl Given {
    /// How two commits lie to each other does not change, and without keys that
    /// is all.
    fn is_for_ever(&self) -> bool {
        let code = self.verdict.as_ref().err().map(|failure| failure.code);
        let is_of_ancestry = matches!(code, Some(FailureCode::Downgrade | FailureCode::Diverged));
        is_of_ancestry || self.case.keys == KeyFiles::default()
    }
}

/// What a verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    tip: CommitId,
    floors: Vec<CommitId>,
    keys: KeyFiles,
    force_push: ForcePush,
}

/// The failure of a commit that is older than the floor.
pub(crate) fn older(tip: &CommitId, floor: &CommitId) -> Failure {
    words::failure(&Refused::Downgrade {
        tip: tip.clone(),
        floor: floor.clone(),
    })
}

impl Judge {
    /// A judge who has seen nothing yet. `testing`: the testing branch that is
    /// followed; `root`: where the host's files are.
    pub(crate) fn new(trust: Trust, testing: Option<Branch>, root: &Path) -> Self {
        Self {
            trust,
            testing,
            root: root.to_owned(),
            memory: Mutex::default(),
        }
    }

    /// Judges what the branch points to; it is in the mirror.
    ///
    /// May be dropped at any time; the next call judges anew.
    pub(crate) async fn judge(
        &self,
        remote: &Remote,
        tip: &CommitId,
        confirmed: &Confirmed,
    ) -> Result<(), Failure> {
        let floors = self.floors(confirmed);
        let is_confirmed = !floors.is_empty() && floors.iter().all(|floor| floor == tip);
        if is_confirmed || confirmed.allowed.as_ref() == Some(tip) || self.demands_nothing(&floors)
        {
            return Ok(());
        }
        let case = Case {
            tip: tip.clone(),
            floors,
            keys: self.keys()?,
            force_push: self.trust.force_push,
        };
        self.decide(remote, case).await
    }

    /// Who signed the commit, as far as keys are demanded and known.
    pub(crate) fn signer(&self, commit: &Commit) -> Option<Signer> {
        if self.trust.require == Require::Nothing {
            return None;
        }
        let keys = self.keys().ok()?.parse(&self.trust).ok()?;
        keys.verify(commit, clock::now().wall).ok()
    }

    async fn decide(&self, remote: &Remote, case: Case) -> Result<(), Failure> {
        if let Some(verdict) = self.remembered(&case) {
            return verdict;
        }
        let verdict = self.examine(remote, &case).await;
        if verdict
            .as_ref()
            .map_or_else(|failure| failure.code.is_of_offer(), |()| true)
        {
            self.remember(case, verdict.clone());
        }
        verdict
    }

    /// What the tip has to follow. The ledger knows it; where it was lost, the
    /// systems that are here do, if they were built with their revision.
    fn floors(&self, confirmed: &Confirmed) -> Vec<CommitId> {
        match (&confirmed.floor, &self.testing) {
            (Some(floor), _) => vec![floor.clone()],
            // What runs may be what is only tested.
            (None, Some(_)) => floor::lasting(&self.root),
            (None, None) => floor::embedded(&self.root),
        }
    }

    /// Whether any commit will do: a first one too, where nothing is demanded of
    /// it but to follow what is not there.
    fn demands_nothing(&self, floors: &[CommitId]) -> bool {
        self.trust.require == Require::Nothing
            && self.trust.introduction.is_none()
            && (floors.is_empty() || self.trust.force_push == ForcePush::Allow)
    }

    fn keys(&self) -> Result<KeyFiles, Failure> {
        let needs_none =
            self.trust.require == Require::Nothing && self.trust.force_push != ForcePush::IfSigned;
        if needs_none {
            return Ok(KeyFiles::default());
        }
        KeyFiles::read(&self.trust, &self.root)
    }

    fn remembered(&self, case: &Case) -> Option<Result<(), Failure>> {
        let memory = self.memory.lock().ok()?;
        let given = memory.verdicts.iter().find(|given| given.case == *case)?;
        let age = clock::now().since_boot.saturating_sub(given.at);
        (age < MEMORY || given.is_for_ever()).then(|| given.verdict.clone())
    }

    fn remember(&self, case: Case, verdict: Result<(), Failure>) {
        if let Ok(mut memory) = self.memory.lock() {
            let is_of_branch = case.force_push == self.trust.force_push;
            if verdict.is_ok() && is_of_branch && self.trust.introduction.is_some() {
                memory.introduced = Some(case.tip.clone());
            }
            memory.verdicts.retain(|given| given.case != case);
            memory.verdicts.push_back(Given {
                case,
                at: clock::now().since_boot,
                verdict,
            });
            while memory.verdicts.len() > MOST {
                memory.verdicts.pop_front();
            }
        }
    }

    async fn examine(&self, remote: &Remote, case: &Case) -> Result<(), Failure> {
        if case.floors.is_empty() {
            return self.follows(remote, case, None).await;
        }
        for floor in &case.floors {
            self.follows(remote, case, Some(floor)).await?;
        }
        Ok(())
    }

    async fn follows(
        &self,
        remote: &Remote,
        case: &Case,
        floor: Option<&CommitId>,
    ) -> Result<(), Failure> {
        let demand = demand(self.trust.require);
        let refused = match self.verdict(remote, case, floor, demand).await? {
            Ok(_accepted) => return Ok(()),
            Err(refused) => refused,
        };
        let is_forced = matches!(
            refused,
            Refused::Downgrade { .. } | Refused::Diverged { .. }
        );
        let instead = match case.force_push {
            _ if !is_forced || floor.is_none() => None,
            ForcePush::Refuse => None,
            ForcePush::IfSigned if demand == Demand::Nothing => Some(Demand::Tip),
            ForcePush::IfSigned | ForcePush::Allow => Some(demand),
        };
        let Some(demand) = instead else {
            return Err(words::failure(&refused));
        };
        let verdict = self.verdict(remote, case, None, demand).await?;
        verdict
            .map(drop)
            .map_err(|refused| words::failure(&refused))
    }

    /// Asks for the commits that the verdict depends on, and judges them.
    async fn verdict(
        &self,
        remote: &Remote,
        case: &Case,
        floor: Option<&CommitId>,
        demand: Demand,
    ) -> Result<Result<Accepted, Refused>, Failure> {
        let introduction = self.introduction(floor);
        let base = floor.or(introduction.as_ref());
        let mut history = remote.lineage(History::default(), &case.tip, base).await?;
        let follows = Question {
            tip: &case.tip,
            floor,
            introduction: None,
            demand: Demand::Nothing,
        };
        if let (Some(_), Err(refused)) = (floor, history.judge(follows, nobody)) {
            return Ok(Err(refused));
        }
        if let (Some(floor), Some(introduction)) = (floor, &introduction) {
            history = remote.lineage(history, floor, Some(introduction)).await?;
        }
        let (tip, floor) = (case.tip.clone(), floor.cloned());
        let keys = Arc::new(case.keys.parse(&self.trust)?);
        let now = clock::now().wall;
        // A thousand signatures take a while.
        let judged = tokio::task::spawn_blocking(move || {
            let question = Question {
                tip: &tip,
                floor: floor.as_ref(),
                introduction: introduction.as_ref(),
                demand,
            };
            history.judge(question, |commit| keys.verify(commit, now))
        });
        judged.await.map_err(|error| {
            Failure::new(
                FailureCode::StepFailed,
                format!("commits could not be judged: {error}"),
                "It is tried again. If this repeats, it is a defect: please report it.",
            )
        })
    }

    /// The introduction, unless the floor is known to descend from it.
    fn introduction(&self, floor: Option<&CommitId>) -> Option<CommitId> {
        let memory = self.memory.lock().ok();
        let introduced = memory.and_then(|memory| memory.introduced.clone());
        let is_known = floor.is_some() && introduced.as_ref() == floor;
        self.trust.introduction.clone().filter(|_| !is_known)
    }
}

fn demand(require: Require) -> Demand {
    match require {
        Require::Nothing => Demand::Nothing,
        Require::Tip => Demand::Tip,
        Require::FirstParent => Demand::FirstParent,
        Require::EveryCommit => Demand::EveryCommit,
    }
}

/// Where only the ancestry is asked for, nobody is asked who signed.
fn nobody(_: &Commit) -> Result<Signer, crate::trust::Untrusted> {
    Err(crate::trust::Untrusted::Unsigned)
}
