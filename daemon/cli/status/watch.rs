//! `deploy-flake status --watch`: the state of this host whenever it changes.
//!
//! In: the snapshot and the daemon's lock, a few times a second. Out: a page that
//! is drawn again; without a terminal a line for each change, or for programs one
//! JSON object a line. Must not: outlive whoever reads the JSON; over ssh nobody
//! else would end it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::{Life, document, life, not_read, page, unknown};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::output::{Output, Reader, offer, print};
use crate::cli::screen::Screen;
use crate::cli::text::absolute;
use crate::host::{clock, signals};
use crate::model::text::{LINE_LIMIT, one_line};
use crate::report::words;
use crate::store::lock;
use crate::store::snapshot::{self, PhaseName, ReadError, Snapshot};

/// How often the snapshot is read, and at most drawn.
const INTERVAL: Duration = Duration::from_millis(500);

/// How often programs are told what has not changed: so they know that there is
/// somebody, and whoever tells them learns that they are gone.
const AT_LEAST: Duration = Duration::from_secs(15);

/// The version of the lines.
const SCHEMA: u32 = 1;

pub(super) fn run(output: Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let mut stopped = signals::Stopping::listen().context("listen to signals")?;
        let mut to = To::new(output)?;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both arms are cancel-safe: a signal is remembered, and a tick that
            // is missed is made up for.
            tokio::select! {
                biased;
                () = stopped.next() => return Ok(Exit::Success),
                _ = ticks.tick() => match to.take(&Seen::now()?)? {
                    Reader::There => {}
                    Reader::Gone => return Ok(Exit::Success),
                },
            }
        }
    })
}

/// What was seen at one glance.
struct Seen {
    /// None: no daemon has written anything in this boot.
    snapshot: Option<(Snapshot, Value)>,
    life: Life,
    at: Timestamp,
}

impl Seen {
    fn now() -> Result<Self, Failure> {
        let snapshot = match snapshot::read(Path::new(snapshot::FILE)) {
            Ok(read) => Some(read),
            Err(ReadError::Missing(_)) => None,
            Err(error) => return Err(not_read(error)),
        };
        Ok(Self {
            snapshot,
            life: life(Path::new(lock::FILE)),
            at: clock::now().wall,
        })
    }

    fn page(&self) -> String {
        match &self.snapshot {
            Some((snapshot, _)) => page::render(snapshot, self.life, self.at),
            None => page::never(self.life),
        }
    }

    /// What makes it another state, for people.
    fn sentence(&self) -> String {
        let Some((snapshot, _)) = &self.snapshot else {
            return "the daemon has not run since this host was booted".to_owned();
        };
        let name = one_line(&snapshot.host.name, LINE_LIMIT);
        let state = words::headline(snapshot);
        let phase = snapshot.phase.name;
        let what = if phase == PhaseName::Resting {
            one_line(&snapshot.condition.why, LINE_LIMIT)
        } else {
            words::phase(phase).to_owned()
        };
        match self.life {
            Life::Stopped => {
                format!("{name}: the daemon is NOT RUNNING; its last word: {state}: {what}")
            }
            Life::Running | Life::Unknown => format!("{name}: {state}: {what}"),
        }
    }

    /// The line for programs.
    fn json(&self) -> Result<String, Failure> {
        let status = match &self.snapshot {
            Some((snapshot, json)) => document(snapshot, json.clone(), self.life),
            None => unknown(self.life),
        };
        let line = json!({"schema": SCHEMA, "event": "status", "status": status});
        Ok(json::line(&line).context("write the status as JSON")?)
    }
}

/// To whom it is told.
enum To {
    Terminal(Screen),
    /// What was told last.
    Lines(String),
    /// What was told last, and when.
    Json(Option<(Value, Life, Duration)>),
}

impl To {
    fn new(output: Output) -> Result<Self, Failure> {
        Ok(match output {
            Output::Json => Self::Json(None),
            Output::Text => match Screen::open()? {
                Some(screen) => Self::Terminal(screen),
                None => Self::Lines(String::new()),
            },
        })
    }

    fn take(&mut self, seen: &Seen) -> Result<Reader, Failure> {
        match self {
            Self::Terminal(screen) => {
                let now = absolute(seen.at);
                screen.draw(&format!("{}\n\n{now}; Ctrl-C ends this.", seen.page()))?;
                Ok(Reader::There)
            }
            Self::Lines(told) => {
                let sentence = seen.sentence();
                if *told != sentence {
                    print(&format!("{}  {sentence}", absolute(seen.at)))?;
                    *told = sentence;
                }
                Ok(Reader::There)
            }
            Self::Json(told) => {
                let json = seen
                    .snapshot
                    .as_ref()
                    .map_or(&Value::Null, |(_, json)| json);
                let now = clock::awake();
                let is_known = told.as_ref().is_some_and(|(last, life, at)| {
                    last == json && *life == seen.life && now.saturating_sub(*at) < AT_LEAST
                });
                if is_known {
                    return Ok(Reader::There);
                }
                *told = Some((json.clone(), seen.life, now));
                offer(&seen.json()?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::snapshot::ConditionState;
    use crate::store::snapshot::example::{NOON, full};

    fn seen(change: impl FnOnce(&mut Snapshot), life: Life) -> Seen {
        let mut snapshot = full();
        change(&mut snapshot);
        let json = serde_json::to_value(&snapshot).expect("it serialises");
        Seen {
            snapshot: Some((snapshot, json)),
            life,
            at: NOON.parse().expect("it is a time"),
        }
    }

    #[test]
    fn each_state_is_a_line() {
        let deploying = |snapshot: &mut Snapshot| {
            snapshot.condition.state = ConditionState::Deploying;
            snapshot.phase.name = PhaseName::Building;
        };
        for (seen, line) in [
            (
                seen(|_| (), Life::Running),
                "web1: converged: The host is what main asks for.",
            ),
            (
                seen(deploying, Life::Running),
                "web1: deploying: building the system",
            ),
            (
                seen(
                    |it| it.condition.why = "a\u{1b}[2J\nb".to_owned(),
                    Life::Stopped,
                ),
                "web1: the daemon is NOT RUNNING; its last word: converged: a\\u{1b}[2J\\nb",
            ),
        ] {
            assert_eq!(seen.sentence(), line);
        }
    }

    #[test]
    fn programs_are_told_what_status_tells_on_one_line() {
        let seen = seen(|_| (), Life::Running);
        let line = seen.json().expect("it serialises");
        assert!(!line.contains('\n'));
        let line: Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(
            (&line["schema"], &line["event"]),
            (&1.into(), &"status".into())
        );
        assert_eq!(line["status"]["daemon_running"], true);
        assert_eq!(line["status"]["condition"]["state"], "converged");
        let never = Seen {
            snapshot: None,
            life: Life::Stopped,
            at: seen.at,
        };
        let line: Value =
            serde_json::from_str(&never.json().expect("it serialises")).expect("JSON");
        assert_eq!(line["status"]["host"], Value::Null);
        assert_eq!(line["status"]["daemon_running"], false);
    }
}
