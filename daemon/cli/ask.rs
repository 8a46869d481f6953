//! `deploy-flake trigger`: has the daemon look now, and waits for the outcome.
//!
//! In: arguments. Out: the phases as they come, the final word, and an exit
//! code by outcome. Must not: depend on the daemon's staying alive; whoever
//! waits outlives a restart of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::events::{Event, over};
use super::exit::Exit;
use super::failure::Failure;
use super::follow::{Follower, News};
use super::output::{Output, print};
use super::ssh;
use crate::config::duration;
use crate::host::clock;
use crate::ipc::client::{self, CallError};
use crate::store::{lock, snapshot};

/// How often the snapshot is read: often enough for every phase that takes
/// any time, at no cost worth speaking of.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long a daemon may be gone: it is restarted after a second, and takes
/// up a deployment before it answers.
const ABSENCE: Duration = Duration::from_secs(30);

/// How often a daemon is called whose snapshot is not its own yet: it writes
/// one at its start and at every change.
const ATTEMPTS: u32 = 50;

/// The longest `--timeout`.
const TIMEOUT_LIMIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The host to do it on, through your own ssh; here if left out.
    #[arg(value_name = "HOST", value_parser = ssh::destination)]
    host: Option<String>,
    /// Waits until the look, and all that comes of it, is over.
    #[arg(long)]
    wait: bool,
    /// Gives up waiting after this, such as 30m; the daemon goes on.
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = timeout)]
    timeout: Option<Duration>,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn timeout(text: &str) -> Result<Duration, String> {
    duration::parse(text, &(Duration::from_secs(1)..=TIMEOUT_LIMIT))
        .map_err(|_| "expected a duration from 1s to 7d, such as 90s, 5m or 1h30m".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if let Some(host) = &arguments.host {
        return ssh::run(host, &far_arguments(arguments));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(here(arguments))
}

/// The words for the far side.
fn far_arguments(arguments: &Arguments) -> Vec<String> {
    let mut words = vec!["trigger".to_owned()];
    if arguments.wait {
        words.push("--wait".to_owned());
    }
    if let Some(timeout) = arguments.timeout {
        words.extend(["--timeout".to_owned(), duration::show(timeout)]);
    }
    words.extend(["--output".to_owned(), arguments.output.as_str().to_owned()]);
    words
}

async fn here(arguments: &Arguments) -> Result<Exit, Failure> {
    let tell = |event: Event<'_>| print(&event.render(arguments.output)?);
    if !arguments.wait {
        let look = client::trigger().await.map_err(not_called)?;
        tell(Event::Triggered { look })?;
        return Ok(Exit::Success);
    }
    let waited = wait(tell);
    match arguments.timeout {
        None => waited.await,
        // Nothing is lost when the wait is dropped: it only reads.
        Some(timeout) => tokio::time::timeout(timeout, waited)
            .await
            .unwrap_or_else(|_| Err(gave_up(timeout))),
    }
}

/// Calls, then reads snapshots until the look is over.
async fn wait(tell: impl Fn(Event<'_>) -> Result<(), Failure>) -> Result<Exit, Failure> {
    let (instance, look) = call().await.map_err(not_called)?;
    tell(Event::Triggered { look })?;
    let mut follower = Follower::new(instance, look);
    let mut absence = Absence::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        absence.check()?;
        // A snapshot that cannot be read says nothing; `absence` ends it all
        // if there is no daemon to write another.
        let Ok((snapshot, _)) = snapshot::read(Path::new(snapshot::FILE)) else {
            continue;
        };
        match follower.see(&snapshot) {
            News::Nothing => {}
            News::Phase(phase) => tell(Event::Phase { phase: &phase })?,
            News::Over(exit) => {
                tell(over(exit, &snapshot))?;
                return Ok(exit);
            }
            News::Restarted => match call().await {
                Ok((instance, look)) => {
                    follower.restart(instance, look);
                    tell(Event::Restarted { look })?;
                }
                // It is not on the bus yet, or gone again.
                Err(CallError::NotRunning | CallError::Silent | CallError::NoBus(_)) => {}
                Err(error @ (CallError::Denied(_) | CallError::Failed(_))) => {
                    return Err(not_called(error));
                }
            },
        }
    }
}

/// Calls, and finds out which daemon answered: the number of a look means
/// nothing to another one.
async fn call() -> Result<(String, u64), CallError> {
    for _ in 0..ATTEMPTS {
        let before = instance();
        let look = client::trigger().await?;
        if let Some(after) = instance().filter(|after| before.as_ref() == Some(after)) {
            return Ok((after, look));
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Err(CallError::Silent)
}

/// Which daemon wrote the snapshot.
fn instance() -> Option<String> {
    let (snapshot, _) = snapshot::read(Path::new(snapshot::FILE)).ok()?;
    Some(snapshot.daemon.instance)
}

/// Since when no daemon lives.
#[derive(Default)]
struct Absence {
    since_boot: Option<Duration>,
}

impl Absence {
    /// Fails once no daemon has lived for too long.
    fn check(&mut self) -> Result<(), Failure> {
        // A lock that cannot be looked at says nothing against the daemon.
        if lock::is_held(Path::new(lock::FILE)).unwrap_or(true) {
            self.since_boot = None;
            return Ok(());
        }
        let now = clock::now().since_boot;
        let since = *self.since_boot.get_or_insert(now);
        if now.saturating_sub(since) < ABSENCE {
            return Ok(());
        }
        let error = anyhow!(
            "the daemon stopped and did not come back within {}",
            duration::show(ABSENCE)
        );
        Err(Failure::new(Exit::NotRunning, error).hint(HINT_NOT_RUNNING))
    }
}

const HINT_NOT_RUNNING: &str =
    "See `systemctl status deploy-flake`, and start it with `systemctl start deploy-flake`.";

fn gave_up(timeout: Duration) -> Failure {
    let error = anyhow!("it was not over within {}", duration::show(timeout));
    Failure::new(Exit::GaveUp, error)
        .hint("The daemon goes on; `deploy-flake status` tells how far it is.")
}

/// Says what to do about a call that did not get through.
fn not_called(error: CallError) -> Failure {
    let (exit, hint) = match &error {
        CallError::NotRunning => (Exit::NotRunning, HINT_NOT_RUNNING),
        // Without a bus, the lock still tells whether there is a daemon.
        CallError::NoBus(_) if lock::is_held(Path::new(lock::FILE)).is_ok_and(|held| !held) => {
            (Exit::NotRunning, HINT_NOT_RUNNING)
        }
        CallError::NoBus(_) => (
            Exit::Error,
            "See `systemctl status dbus`; the daemon looks by itself in any case.",
        ),
        CallError::Denied(_) => (
            Exit::Error,
            "Call it as root, or join the group deploy-flake and log in again.",
        ),
        CallError::Silent => (
            Exit::Error,
            "See `deploy-flake status`; systemd restarts a daemon that hangs.",
        ),
        CallError::Failed(_) => (Exit::Error, "See `journalctl -u deploy-flake`."),
    };
    Failure::new(exit, error).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_side_is_told_the_same() {
        let mut arguments = Arguments {
            host: Some("host1".to_owned()),
            wait: false,
            timeout: None,
            output: Output::Text,
        };
        assert_eq!(far_arguments(&arguments), ["trigger", "--output", "text"]);
        arguments.wait = true;
        arguments.timeout = Some(Duration::from_secs(5400));
        arguments.output = Output::Json;
        assert_eq!(
            far_arguments(&arguments),
            [
                "trigger",
                "--wait",
                "--timeout",
                "1h30m",
                "--output",
                "json"
            ]
        );
    }
}
