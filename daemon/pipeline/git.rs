//! Remote to commit: the daemon's side of the fetcher.
//!
//! In: where a branch is to be found. Out: its commit, in the mirror. Must
//! not: believe what the fetcher says beyond "look there", or wait for it
//! longer than its deadlines.
//!
//! The fetcher is a transient unit of our own program. Its standard input is
//! one end of a socket pair and ours the other, so it ends when we do. It is
//! kept between polls for its connection, and replaced after every failure: a
//! fetcher in doubt is not asked again, and what its journal holds is about
//! the failure at hand.

mod conversation;
mod look;
mod lineage;
mod testing;
mod heartbeat;
mod sources;
mod failure;
mod place;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tracing::{debug, warn};

use self::conversation::Conversation;
pub(super) use self::heartbeat::Beat;
pub(super) use self::look::Besides;
use self::look::{Found, Look, LookError, Looked};
pub(super) use self::place::{Place, remove_unused};
use self::sources::Trace;
pub(super) use self::sources::is_there;
use self::testing::Untaken;
pub(super) use self::testing::{Polled, Tip};
use crate::config;
use crate::host::environment::Programs;
use crate::host::journal::{self, Said};
use crate::host::systemd::{
    CREDENTIALS_STATUS, CacheDirectory, Kind, Network, Sandbox, Systemd, TransientUnit,
};
use crate::model::credential::Credential;
use crate::model::failure::{Failure, FailureCode};
use crate::model::offer::RemoteNumber;
use crate::model::policy::FetchLimits;
use crate::model::remote::RemoteAddress;
use crate::model::revision::CommitId;
use crate::pipeline::step::credentials;

/// Who fetches. The group of this name may read the mirrors.
const USER: &str = "deploy-flake-fetch";

/// How readily the fetcher is ended when memory runs out: it can be replaced.
const EXPENDABLE: i32 = 500;

/// How many of the fetcher's last lines go with a failure.
const LAST_WORDS: usize = 20;

/// A remote, and the fetcher that asks it.
pub(super) struct Remote {
    systemd: Systemd,
    programs: Programs,
    place: Place,
    address: RemoteAddress,
    credentials: Vec<Credential>,
    poll_deadline: Duration,
    fetch_deadline: Duration,
    limits: FetchLimits,
    state: Mutex<State>,
    /// Set where the lock cannot be waited for: a poll may hold it for minutes.
    is_doubted: AtomicBool,
}

/// How long a remote is waited for, and how much of it is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For one poll.
    pub(super) poll: Duration,
    /// For one fetch.
    pub(super) fetch: Duration,
    /// For the pack, and the process that takes it.
    pub(super) limits: FetchLimits,
}

/// How a fetcher ended.
enum End {
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// systemd could not load its credentials.
    WithoutCredentials,
    /// In another way, or not at all.
    Other,
}

/// What is remembered between polls.
#[derive(Default)]
struct State {
    /// The fetcher, while nothing is in doubt.
    conversation: Option<Conversation<UnixStream>>,
    /// The commit that was fetched last.
    fetched: Option<CommitId>,
    /// The testing branch's.
    tested: Option<CommitId>,
    /// The one of the testing branch that could not be fetched last.
    untaken: Option<Untaken>,
    /// The files of the credentials, as they were when that fetcher began.
    sources: Vec<Trace>,
}

impl Remote {
    /// A remote that was not asked yet, the one of that number in the list.
    pub(super) fn new(
        systemd: Systemd,
        programs: Programs,
        number: RemoteNumber,
        remote: config::Remote,
        patience: Patience,
    ) -> Self {
        Self {
            systemd,
            programs,
            place: Place::of(number, &remote.name),
            address: remote.address,
            credentials: remote.credentials,
            poll_deadline: patience.poll,
            fetch_deadline: patience.fetch,
            limits: patience.limits,
            state: Mutex::default(),
            is_doubted: AtomicBool::new(false),
        }
    }

    /// Where it is, and how it is asked.
    pub(super) fn address(&self) -> &RemoteAddress {
        &self.address
    }

    /// Its fetcher's unit, and its mirror.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Asks which commit the branch is, and what the others are with it, and
    /// brings the commits into the mirror unless they were brought there last
    /// time.
    ///
    /// May be dropped at any time: the fetcher is then taken for lost, and
    /// replaced by the next call.
    pub(super) async fn poll(&self, besides: Besides<'_>) -> Result<Polled, Failure> {
        let mut state = self.state.lock().await;
        if self.is_doubted.swap(false, Ordering::Relaxed) {
            state.fetched = None;
            state.tested = None;
        }
        let sources = sources::look(&self.credentials).await;
        if let Some(missing) = sources::missing(&sources) {
            return Err(failure::credential_missing(&self.address, missing));
        }
        if sources != state.sources {
            // It has what was there before; what replaces it gets the new.
            state.conversation = None;
            state.sources = sources;
        }
        let before = state.fetched.clone();
        let found = self.find(&mut state, besides).await?;
        // What is new on the branch comes first, and is worked on meanwhile.
        let has_moved = before.is_some_and(|before| before != found.commit);
        let testing = match (besides.testing, found.testing) {
            (Some(_), None) => Tip::Missing,
            (Some(branch), Some(commit)) if !has_moved => {
                self.bring_testing(&mut state, branch, commit).await
            }
            (Some(_), Some(_)) | (None, _) => Tip::Unknown,
        };
        let commit = match &state.fetched {
            Some(commit) => commit.clone(),
            // It went with the mirror.
            None => self.find(&mut state, Besides::default()).await?.commit,
        };
        Ok(Polled {
            commit,
            testing,
            heartbeat: found.heartbeat,
        })
    }

    /// Asks the fetcher that there is, or a new one.
    async fn find(&self, state: &mut State, besides: Besides<'_>) -> Result<Found, Failure> {
        let looked = match state.conversation.take() {
            Some(kept) => {
                let look = self.look(state.fetched.as_ref(), besides);
                self.look_again(kept, look).await?
            }
            None => {
                self.look_anew(self.look(state.fetched.as_ref(), besides))
                    .await?
            }
        };
        state.conversation = looked.conversation;
        match looked.result {
            Ok(found) => {
                if state.fetched.as_ref() != Some(&found.commit) {
                    // The mirror may have been made anew for it.
                    state.tested = None;
                }
                state.fetched = Some(found.commit.clone());
                Ok(found)
            }
            Err(error) => Err(self.fail(error, state.conversation.is_none()).await),
        }
    }

    /// Forgets what was fetched: the next poll fetches it again, and the
    /// fetcher then proves that the mirror is whole or makes it anew. For when
    /// the mirror's commit could not be imported.
    pub(super) fn forget_fetched(&self) {
        self.is_doubted.store(true, Ordering::Relaxed);
    }

    /// Asks the fetcher that was kept. If it ended since the last poll, a new
    /// one is asked: that is no failure of the remote.
    async fn look_again(
        &self,
        kept: Conversation<UnixStream>,
        look: Look<'_>,
    ) -> Result<Looked<UnixStream>, Failure> {
        let looked = look.take(kept).await;
        if matches!(looked.result, Err(LookError::EndedBeforePoll)) {
            debug!("the fetcher ended since the last poll");
            return self.look_anew(look).await;
        }
        Ok(looked)
    }

    async fn look_anew(&self, look: Look<'_>) -> Result<Looked<UnixStream>, Failure> {
        let conversation = self.start().await?;
        Ok(look.take(conversation).await)
    }

    fn look<'a>(&'a self, fetched: Option<&'a CommitId>, besides: Besides<'a>) -> Look<'a> {
        Look {
            address: &self.address,
            besides,
            fetched,
            poll_deadline: self.poll_deadline,
            fetch_deadline: self.fetch_deadline,
            pack_limit: self.limits.pack,
        }
    }

    /// Starts a fetcher, and ends the one that may still be there: that of an
    /// earlier daemon, or one that hangs.
    async fn start(&self) -> Result<Conversation<UnixStream>, Failure> {
        let stopped = self.systemd.stop_and_reset(self.place.unit()).await;
        stopped.map_err(|error| self.cannot_start(&error.into()))?;
        let (ours, theirs) = socket_pair().map_err(|error| self.cannot_start(&error))?;
        let unit = self
            .unit(theirs)
            .map_err(|error| self.cannot_start(&error))?;
        let started = self.systemd.start_transient(&unit).await;
        started.map_err(|error| self.cannot_start(&error.into()))?;
        // With the unit goes our copy of the fetcher's end: only without it
        // the end of the fetcher is the end of the conversation.
        drop(unit);
        Ok(Conversation::new(ours))
    }

    fn unit(&self, input: OwnedFd) -> anyhow::Result<TransientUnit> {
        let program = std::env::current_exe()?.display().to_string();
        let mirror = self.place.mirror().display().to_string();
        let command = [&program, "fetcher", "--mirror", &mirror].map(str::to_owned);
        let name = self.place.unit();
        let mut unit = TransientUnit::new(name, Kind::Exec, vec![command.to_vec()]);
        unit.description = format!("deploy-flake: fetcher of {}", self.address.name);
        unit.user = Some(USER.to_owned());
        unit.stdin = Some(input);
        unit.syslog_identifier = Some("deploy-flake-fetcher".to_owned());
        let path = self.programs.path_variable().to_owned();
        unit.environment = vec![("PATH".to_owned(), path)];
        let proxies = self.programs.proxies();
        unit.environment.extend(proxies.iter().cloned());
        unit.sandbox = Sandbox::Strict;
        unit.network = Network::Internet;
        unit.cache_directory = Some(CacheDirectory {
            name: self.place.cache(),
            mode: 0o750,
        });
        unit.credentials = credentials(&self.credentials);
        unit.oom_score_adjust = Some(EXPENDABLE);
        unit.memory_max = Some(self.limits.memory);
        Ok(unit)
    }

    fn cannot_start(&self, error: &anyhow::Error) -> Failure {
        let unit = self.place.unit();
        Failure::new(
            FailureCode::StepFailed,
            "the fetcher could not be started",
            format!("See `systemctl status {unit}` and `journalctl -u {unit}`."),
        )
        .with_detail(&format!("{error:#}"))
    }

    /// The failure, with the fetcher's last words if it is lost, and then the
    /// fetcher's end.
    async fn fail(&self, error: LookError, is_lost: bool) -> Failure {
        self.fail_at(&self.address, error, is_lost).await
    }

    /// The same for another of its branches.
    async fn fail_at(&self, address: &RemoteAddress, error: LookError, is_lost: bool) -> Failure {
        let mut failure = error.failure(address, &self.place);
        if !is_lost {
            return failure;
        }
        match self.end().await {
            End::OutOfMemory => {
                failure = failure::out_of_memory(&self.address, self.limits.memory);
            }
            End::WithoutCredentials => {
                failure = failure::credential_unreadable(&self.address, &self.place);
            }
            End::Other => {}
        }
        let words = self.last_words(error.said()).await;
        if let Err(error) = self.systemd.stop_and_reset(self.place.unit()).await {
            // The next start tries again, and fails if that fails.
            warn!(%error, "the fetcher could not be stopped");
        }
        let told = failure.detail.clone();
        failure.with_detail(format!("{words}\n{told}").trim())
    }

    /// How the fetcher ended, as far as only systemd knows.
    async fn end(&self) -> End {
        match self.systemd.status(self.place.unit()).await {
            Ok(Some(unit)) if unit.result == "oom-kill" => End::OutOfMemory,
            Ok(Some(unit))
                if unit.result == "exit-code" && unit.exit_status == CREDENTIALS_STATUS =>
            {
                End::WithoutCredentials
            }
            // The failure is told as it looks from here.
            Ok(_) | Err(_) => End::Other,
        }
    }

    /// What the fetcher, and ssh in it, said on standard error.
    async fn last_words(&self, said: Said) -> String {
        match self.systemd.status(self.place.unit()).await {
            Ok(Some(unit)) => {
                let journalctl = &self.programs.journalctl;
                let words =
                    journal::tail(journalctl, &unit.run(self.place.unit()), LAST_WORDS, said).await;
                words.text
            }
            Ok(None) => String::new(),
            Err(error) => {
                warn!(%error, "the fetcher's journal could not be found");
                String::new()
            }
        }
    }
}

/// Our end, and the fetcher's.
fn socket_pair() -> anyhow::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, OwnedFd::from(theirs)))
}
