//! One host's story: from what is heard of it to what is told, and whether to
//! connect again.
//!
//! In: lines that were understood, ends of connections, the time. Out: news, and
//! what to do next. Must not: wait, spawn or read a clock.
//!
//! Once a daemon has said that it was told, it is never told the same again: who
//! connects again only has it look. A look finds what runs, and activates
//! nothing twice; another `retry` or `allow` would.

use std::collections::BTreeSet;
use std::time::Duration;

use super::errand::{Errand, Repeats, Stays};
use super::far::{End, Malformed, Said, Word};
use super::fate::{About, Ending, Fate};
use super::stderr::{is_final, last_line, refusal};
use crate::cli::exit::Exit;
use crate::config::duration;
use crate::model::progress::Progress;
use crate::model::revision::CommitId;
use crate::relay::copies::Copied;
use crate::report::words;
use crate::store::snapshot::PhaseName;

/// How often a host is tried that was never reached: a jump host that is asked
/// for many connections at once turns some of them away.
const FIRST_ATTEMPTS: u32 = 3;

/// How long a host may be gone in the middle of its story. A rollback that ends
/// with a reboot takes minutes.
const ABSENCE: Duration = Duration::from_secs(10 * 60);

/// Pauses between attempts double, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often a command is started again that fails in mid-story: the daemon may
/// be newer than it by now, and the next one is as new as the daemon.
const STALE_ATTEMPTS: u32 = 2;

/// More deployments than one story is about.
const DEPLOYMENTS: usize = 64;

/// The phase of the confirm window.
const CONFIRMING: &str = "confirming";

/// What ssh itself ends with.
pub(super) const SSH_FAILED: i32 = 255;

/// What a shell ends with that does not find the program.
const NOT_FOUND: i32 = 127;

/// What is told of a host while its story goes on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// ssh was started.
    Connecting,
    /// What the daemon is to deploy is copied.
    Copying {
        /// How many paths of the store.
        paths: usize,
        /// How far it is, once that is known.
        so_far: Option<Copied>,
    },
    /// It was not.
    NotCopied {
        /// Why, safe to show.
        why: String,
        /// When it is tried again.
        after: Duration,
    },
    /// The daemon has what was copied.
    Pushed {
        /// The number of the look that follows.
        look: u64,
    },
    /// The daemon was told.
    Told {
        /// The number of the look.
        look: u64,
    },
    /// A phase began.
    Phase(Word),
    /// It is further in that phase.
    Progress(Progress),
    /// The daemon was restarted.
    Restarted,
    /// The branch asks for another commit, so far.
    Unexpected {
        /// Which.
        wanted: Option<CommitId>,
    },
    /// The system in its confirm window was said to be good.
    Confirmed(Word),
    /// It was said to be bad.
    Rejected(Word),
    /// Nobody could say it: the window goes on.
    Unsaid {
        /// Why, safe to show.
        why: String,
    },
    /// The connection is gone.
    Lost {
        /// Why, safe to show.
        why: String,
        /// When it is tried again.
        after: Duration,
    },
    /// There is a connection again, and nothing else is new.
    Back {
        /// The phase that goes on; None: none has begun.
        phase: Option<Word>,
    },
    /// Something else that the far side said.
    Other(Word),
    /// It is over.
    Over(Box<Fate>),
}

/// What to do after a connection ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing.
    Over(Fate),
    /// To connect again.
    Again {
        /// After this.
        after: Duration,
        /// Why, safe to show.
        why: String,
    },
}

/// The story.
#[derive(Debug)]
pub(super) struct Story<'a> {
    /// What follows `ssh` for people.
    ssh: &'a str,
    configuration: Option<&'a str>,
    errand: &'a Errand,
    /// Whether the far side said that the daemon was told.
    accepted: bool,
    /// Whether the far side ever said anything.
    reached: bool,
    /// Whether a lost connection was told, and not yet that there is one again.
    is_away: bool,
    attempts: u32,
    stale: u32,
    lost_since: Option<Duration>,
    deployments: BTreeSet<Word>,
    phase: Option<Word>,
    /// Of which deployment that phase is.
    current: Option<Word>,
    foreign: Option<Malformed>,
}

impl<'a> Story<'a> {
    /// A story that has not begun.
    pub(super) fn new(ssh: &'a str, configuration: Option<&'a str>, errand: &'a Errand) -> Self {
        Self {
            ssh,
            configuration,
            errand,
            accepted: false,
            reached: false,
            is_away: false,
            attempts: 0,
            stale: 0,
            lost_since: None,
            deployments: BTreeSet::new(),
            phase: None,
            current: None,
            foreign: None,
        }
    }

    /// The words for the next connection.
    pub(super) fn words(&self) -> &'a [String] {
        if self.accepted {
            &self.errand.again
        } else {
            &self.errand.first
        }
    }

    /// Takes a line. None: there is nothing new in it.
    pub(super) fn hear(&mut self, said: Result<Said, Malformed>) -> Option<News> {
        let said = match said {
            Ok(said) => said,
            Err(malformed) => {
                // Told only if the story ends without an end: a banner is no harm.
                self.foreign.get_or_insert(malformed);
                return None;
            }
        };
        self.heard();
        match said {
            Said::Told { look } => {
                let is_first = !std::mem::replace(&mut self.accepted, true);
                match &self.phase {
                    _ if is_first => Some(News::Told { look }),
                    None => self.back(),
                    // The phase follows, and may be another by now.
                    Some(_) => None,
                }
            }
            Said::Pushed { look } => {
                let is_first = !std::mem::replace(&mut self.accepted, true);
                is_first.then_some(News::Pushed { look })
            }
            Said::Phase { name, deployment } => {
                self.accepted = true;
                self.current.clone_from(&deployment);
                if self.deployments.len() < DEPLOYMENTS {
                    self.deployments.extend(deployment);
                }
                let is_new = self.phase.as_ref() != Some(&name);
                self.phase = Some(name.clone());
                match is_new {
                    true => {
                        self.is_away = false;
                        Some(News::Phase(name))
                    }
                    false => self.back(),
                }
            }
            Said::Progress(progress) => Some(News::Progress(progress)),
            Said::Restarted => Some(News::Restarted),
            Said::Unexpected { wanted } => Some(News::Unexpected { wanted }),
            Said::End(end) => Some(News::Over(Box::new(self.fate(*end)))),
            Said::Other(word) => Some(News::Other(word)),
        }
    }

    /// There is a connection: new only where that was in doubt.
    fn back(&mut self) -> Option<News> {
        let phase = self.phase.clone();
        std::mem::take(&mut self.is_away).then_some(News::Back { phase })
    }

    /// The far side said something, whatever that was.
    pub(super) fn heard(&mut self) {
        self.reached = true;
        self.attempts = 0;
        self.lost_since = None;
    }

    /// The deployment that is in its confirm window, as far as was heard.
    pub(super) fn in_window(&self) -> Option<&Word> {
        let phase = self.phase.as_ref()?;
        self.current
            .as_ref()
            .filter(|_| phase.as_str() == CONFIRMING)
    }

    /// Takes the end of a connection without a last word. `bits` are for the
    /// jitter: many hosts behind one jump host are not to come back at once.
    pub(super) fn ended(
        &mut self,
        code: Option<i32>,
        stderr: &str,
        now: Duration,
        bits: u64,
    ) -> Next {
        match code {
            Some(0) if !self.errand.waits && self.reached => Next::Over(Fate::of(Ending::Told)),
            Some(0) => Next::Over(self.without_a_word()),
            None | Some(SSH_FAILED) if !self.errand.waits && self.accepted => {
                Next::Over(Fate::of(Ending::Told))
            }
            // Also one that a signal ended: somebody or something killed ssh.
            None | Some(SSH_FAILED) => self.lost(stderr, now, bits),
            Some(1) if self.accepted && self.errand.waits && self.stale < STALE_ATTEMPTS => {
                self.stale += 1;
                self.is_away = true;
                let after = pause(self.stale, bits);
                let why = refusal(stderr).0;
                Next::Again { after, why }
            }
            Some(code) => Next::Over(self.failed(code, stderr)),
        }
    }

    /// The local time is up.
    pub(super) fn gave_up(&self, timeout: Duration) -> Fate {
        let doing = self.doing();
        Fate::of(Ending::GaveUp)
            .because(format!("{doing} after {}", duration::show(timeout)))
            .with_remedy(self.look_later())
    }

    /// The connection ended by itself.
    fn lost(&mut self, stderr: &str, now: Duration, bits: u64) -> Next {
        let why = last_line(stderr).unwrap_or_else(|| "the connection was lost".to_owned());
        let since = *self.lost_since.get_or_insert(now);
        self.attempts += 1;
        let is_over = if self.reached {
            now.saturating_sub(since) >= ABSENCE
        } else {
            self.attempts >= FIRST_ATTEMPTS
                || is_final(stderr)
                || self.errand.repeats == Repeats::Never
        };
        if is_over {
            return Next::Over(self.unreachable(&why));
        }
        let after = pause(self.attempts, bits);
        self.is_away = self.reached;
        Next::Again { after, why }
    }

    fn unreachable(&self, why: &str) -> Fate {
        let fate = Fate::of(Ending::Unreachable);
        if !self.reached {
            let to_do = format!("see whether `ssh {}` works", self.ssh);
            return fate.because(why).with_remedy(to_do);
        }
        let within = duration::show(ABSENCE);
        let doing = self.doing();
        fate.because(format!(
            "{doing} when the connection was lost, and did not come back within {within}: {why}"
        ))
        .with_remedy(self.look_later())
    }

    /// What it was doing when it was last heard.
    fn doing(&self) -> String {
        match &self.phase {
            Some(phase) => format!("it was {}", phase_words(phase)),
            None if self.accepted => "it had not begun".to_owned(),
            None if self.errand.cargo.is_some() => "the snapshot was on its way".to_owned(),
            None => "it was answering".to_owned(),
        }
    }

    fn look_later(&self) -> String {
        if self.errand.cargo.is_some() && !self.accepted {
            return "push again; what was copied is not copied once more".to_owned();
        }
        // `Fate::with_host` adds the host's name.
        "the daemon goes on by itself; `deploy-flake status` tells how far it is".to_owned()
    }

    /// The far side ended well, and did not say how it ended.
    fn without_a_word(&self) -> Fate {
        let what = match &self.foreign {
            Some(malformed) => format!("its answer was not understood: {malformed}"),
            None => "it ended without a word".to_owned(),
        };
        Fate::of(Ending::Error).because(what).with_remedy(format!(
            "see what `ssh {} deploy-flake status` says",
            self.ssh
        ))
    }

    /// The far side, or the shell there, ended with an error.
    fn failed(&self, code: i32, stderr: &str) -> Fate {
        let (why, to_do) = refusal(stderr);
        let (ending, usual) = match code {
            NOT_FOUND => (
                Ending::Error,
                Some("install deploy-flake there, where ssh's commands find it (PATH)"),
            ),
            6 => (Ending::GaveUp, None),
            3 => (Ending::Refused, None),
            7 => (Ending::NotRunning, None),
            2 => (
                Ending::Error,
                Some(
                    "its deploy-flake may be of another version, or the key be for other commands",
                ),
            ),
            _ => (Ending::Error, None),
        };
        let fate = Fate::of(ending).because(why);
        match to_do.or(usual.map(str::to_owned)) {
            Some(to_do) => fate.with_remedy(to_do),
            None => fate,
        }
    }

    /// What the last word means.
    fn fate(&self, end: End) -> Fate {
        let ending = self.ending(&end);
        if let Some(cargo) = &self.errand.cargo {
            return pushed::fate(cargo, ending, end);
        }
        let glimpse = end.glimpse;
        let commit = glimpse.desired.map(|it| it.commit);
        let told = (glimpse.condition.why, glimpse.condition.remedy);
        let told = (
            told.0.as_str().to_owned(),
            told.1.map(|it| it.as_str().to_owned()),
        );
        let (ending, (why, to_do)) = match ending {
            Ok(Ending::Unexpected) => (Ending::Unexpected, self.unexpected(commit.as_ref())),
            Ok(ending) => (ending, told),
            Err(contradiction) => (Ending::Error, (contradiction, None)),
        };
        let failure = glimpse
            .last
            .filter(|it| Some(&it.commit) == commit.as_ref());
        let detail = failure.and_then(|it| it.failure).map(|it| it.detail);
        let detail = detail.map(|it| it.as_str().to_owned());
        Fate {
            ending,
            about: commit.map(About::Commit),
            why: Some(why).filter(|_| !ending.is_fine()),
            to_do,
            detail: detail.filter(|it| !it.is_empty() && !ending.is_fine()),
            snapshot: Some(Box::new(end.snapshot)),
        }
    }

    fn unexpected(&self, wanted: Option<&CommitId>) -> (String, Option<String>) {
        let wanted = wanted.map_or("nothing", |commit| commit.short());
        let expected = self.errand.expected.as_ref().map(ToString::to_string);
        let expected = expected.unwrap_or_else(|| "that".to_owned());
        (
            format!("its branch asks for {wanted}, not for {expected}"),
            Some(format!(
                "see whether {expected} is on the branch that the host follows"
            )),
        )
    }

    /// The ending that a code and a state amount to; a contradiction is none.
    fn ending(&self, end: &End) -> Result<Ending, String> {
        let glimpse = &end.glimpse;
        let known = Exit::ALL.iter().find(|exit| exit.code() == end.exit);
        let state = glimpse.condition.state.as_str();
        let configuration = glimpse.host.configuration.as_str();
        if let Some(wanted) = self.configuration.filter(|it| *it != configuration) {
            return Err(format!(
                "it runs the configuration {configuration:?}, not {wanted:?}"
            ));
        }
        match known.copied() {
            Some(Exit::Success) if !self.is_good(state) => Err(format!(
                "it contradicts itself: success, but its condition is {state}"
            )),
            Some(Exit::Success) => self.success(end),
            Some(Exit::Refused) => Ok(Ending::Refused),
            Some(Exit::RolledBack) => Ok(Ending::RolledBack),
            Some(Exit::RemoteUnreachable) => Ok(Ending::RemoteUnreachable),
            Some(Exit::RebootRequired) => Ok(Ending::RebootRequired),
            Some(Exit::NeedsHuman) => Ok(Ending::NeedsHuman),
            Some(Exit::Unexpected) => Ok(Ending::Unexpected),
            Some(
                Exit::Error
                | Exit::Usage
                | Exit::GaveUp
                | Exit::NotRunning
                | Exit::Mixed
                | Exit::AlreadyThere
                | Exit::Interrupted
                | Exit::Unreachable,
            )
            | None => Err(format!("it ended with the code {}", end.exit)),
        }
    }

    /// Whether a host may be in that condition that did what it was asked.
    fn is_good(&self, state: &str) -> bool {
        match state {
            "converged" | "testing" => true,
            "holding" => self.errand.stays == Stays::There,
            _ => false,
        }
    }

    /// Whether the deployment was one of this story.
    fn success(&self, end: &End) -> Result<Ending, String> {
        let commit = end.glimpse.desired.as_ref().map(|it| &it.commit);
        if let Some(expected) = &self.errand.expected
            && !commit.is_some_and(|commit| expected.is(commit))
        {
            return Err(format!("it ended well, but not with {expected}"));
        }
        let last = end.glimpse.last.as_ref();
        let is_new = last.is_some_and(|last| {
            last.outcome.as_str() == "deployed" && self.deployments.contains(&last.deployment)
        });
        Ok(if is_new {
            Ending::Deployed
        } else {
            Ending::AlreadyThere
        })
    }
}

/// The words for a phase; a newer daemon's is told by its name.
pub(super) fn phase_words(phase: &Word) -> String {
    use serde::Deserialize as _;
    use serde::de::value::{Error, StrDeserializer};
    let known: Result<_, Error> = PhaseName::deserialize(StrDeserializer::new(phase.as_str()));
    match known {
        Ok(name) => words::phase(name).to_owned(),
        Err(_) => phase.as_str().replace('-', " "),
    }
}

/// The pause before an attempt: doubled each time, and up to half as much more.
pub(super) fn pause(attempt: u32, bits: u64) -> Duration {
    let doubled = Duration::from_secs(1) * 2_u32.saturating_pow(attempt.saturating_sub(1));
    let base = doubled.min(LONGEST_PAUSE);
    base + base * u32::try_from(bits % 500).unwrap_or(0) / 1000
}

mod pushed;
#[cfg(test)]
mod tests;
