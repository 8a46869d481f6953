//! What `trigger` and `retry` share: ask the daemon for a look, here or on
//! another host, and wait for what comes of it.
//!
//! In: what is asked, and how. Out: the phases as they come, the final word,
//! and an exit code by outcome. Must not: depend on the daemon's staying alive;
//! whoever waits outlives a restart of it.

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
use crate::ipc::client::{self, Call, CallError, Look};
use crate::model::deployment::DeploymentId;
use crate::model::policy::Guard;
use crate::store::snapshot::{ReadError, Snapshot};
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

/// The arguments that do not depend on what is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct How {
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

pub(super) fn run(arguments: &How, call: &Call) -> Result<Exit, Failure> {
    if let Some(host) = &arguments.host {
        return ssh::run(host, &far_arguments(arguments, call));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(here(arguments, call))
}

/// The words for the far side.
fn far_arguments(arguments: &How, call: &Call) -> Vec<String> {
    let mut words = vec![verb(call).to_owned()];
    if let Call::Retry { allowed } = call {
        let words_of = |guard: &Guard| ["--allow".to_owned(), guard.name().to_owned()];
        words.extend(allowed.iter().flat_map(words_of));
    }
    if let Call::Allow { commit } = call {
        words.push(commit.to_string());
    }
    if let Call::Rollback {
        deployment: Some(deployment),
    } = call
    {
        words.extend(["--to".to_owned(), deployment.to_string()]);
    }
    if arguments.wait {
        words.push("--wait".to_owned());
    }
    if let Some(timeout) = arguments.timeout {
        words.extend(["--timeout".to_owned(), duration::show(timeout)]);
    }
    words.extend(["--output".to_owned(), arguments.output.as_str().to_owned()]);
    words
}

/// The subcommand's name.
fn verb(call: &Call) -> &'static str {
    match call {
        Call::Trigger => "trigger",
        Call::Retry { .. } => "retry",
        Call::Allow { .. } => "allow",
        Call::Rollback { .. } => "rollback",
    }
}

async fn here(arguments: &How, call: &Call) -> Result<Exit, Failure> {
    let tell = |event: Event<'_>| print(&event.render(arguments.output)?);
    if !arguments.wait {
        let number = client::call(call).await;
        let look = number.map_err(|error| not_called(error, call))?;
        tell(asked(call, look))?;
        return Ok(Exit::Success);
    }
    let waited = wait(tell, call);
    match arguments.timeout {
        None => waited.await,
        // Nothing is lost when the wait is dropped: it only reads.
        Some(timeout) => tokio::time::timeout(timeout, waited)
            .await
            .unwrap_or_else(|_| Err(gave_up(timeout))),
    }
}

/// What is told once the daemon was asked.
fn asked(call: &Call, look: Look) -> Event<'_> {
    let Look {
        number: look,
        begins_in,
    } = look;
    match call {
        Call::Trigger => Event::Triggered { look, begins_in },
        Call::Retry { allowed } => Event::Retried { look, allowed },
        Call::Allow { commit } => Event::Allowed { look, commit },
        Call::Rollback { .. } => Event::GoesBack { look },
    }
}

/// Calls, then reads snapshots until the look is over.
async fn wait(
    tell: impl Fn(Event<'_>) -> Result<(), Failure>,
    call: &Call,
) -> Result<Exit, Failure> {
    let refused = |error| not_called(error, call);
    let asking = Asking::new(call.clone());
    let (instance, look) = asking.ask().await.map_err(refused)?;
    tell(asked(call, look))?;
    let mut follower = Follower::new(instance, look.number).answering(call);
    let mut absence = Absence::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        absence.check()?;
        let snapshot = match snapshot::read(Path::new(snapshot::FILE)) {
            Ok((snapshot, _)) => snapshot,
            // A newer daemon took over, and is not going to write another.
            Err(error @ ReadError::Schema { .. }) => {
                return Err(Failure::new(Exit::Error, error).hint(HINT_OTHER_VERSION));
            }
            // Another that cannot be read says nothing; `absence` ends it all
            // if there is no daemon to write a better one.
            Err(
                ReadError::Missing(_) | ReadError::Unreadable { .. } | ReadError::Malformed { .. },
            ) => continue,
        };
        match follower.see(&snapshot) {
            News::Nothing => {}
            News::Phase(phase) => tell(Event::Phase { phase: &phase })?,
            News::Over(exit) => {
                tell(over(exit, &snapshot))?;
                return Ok(exit);
            }
            News::Restarted => match asking.ask().await {
                Ok((instance, look)) => {
                    let look = look.number;
                    follower.restart(instance, look);
                    tell(Event::Restarted { look })?;
                }
                // It is not on the bus yet, or gone again.
                Err(CallError::NotRunning | CallError::Silent | CallError::NoBus(_)) => {}
                Err(
                    error @ (CallError::Denied(_) | CallError::Declined(_) | CallError::Failed(_)),
                ) => {
                    return Err(refused(error));
                }
            },
        }
    }
}

/// What is asked, of one daemon after the other.
struct Asking {
    call: Call,
    /// The deployments that were known before it was asked.
    known: Vec<DeploymentId>,
}

impl Asking {
    fn new(call: Call) -> Self {
        let known = present().map_or_else(Vec::new, |snapshot| deployments(&snapshot));
        Self { call, known }
    }

    /// Calls, and finds out which daemon answered: the number of a look means
    /// nothing to another one.
    async fn ask(&self) -> Result<(String, Look), CallError> {
        let instance = || Some(present()?.daemon.instance);
        for _ in 0..ATTEMPTS {
            let before = instance();
            let look = client::call(&self.call_now(present().as_ref())).await?;
            if let Some(after) = instance().filter(|after| before.as_ref() == Some(after)) {
                return Ok((after, look));
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Err(CallError::Silent)
    }

    /// What a daemon is asked now. A retry is one activation: once a deployment
    /// began, whoever waits for it only wants to see it end. Every rollback
    /// restarts the daemon, and would be tried again for ever.
    fn call_now(&self, snapshot: Option<&Snapshot>) -> Call {
        let began = snapshot.is_some_and(|snapshot| {
            let is_new = |id: &DeploymentId| !self.known.contains(id);
            deployments(snapshot).iter().any(is_new)
        });
        if began {
            Call::Trigger
        } else {
            self.call.clone()
        }
    }
}

/// The deployment that is going on, and the last that ended.
fn deployments(snapshot: &Snapshot) -> Vec<DeploymentId> {
    let last = snapshot.last.as_ref().map(|last| &last.deployment);
    let current = snapshot.phase.deployment.as_ref();
    current.into_iter().chain(last).cloned().collect()
}

fn present() -> Option<Snapshot> {
    let (snapshot, _) = snapshot::read(Path::new(snapshot::FILE)).ok()?;
    Some(snapshot)
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

/// For what operators may ask for.
pub(super) const HINT_OPERATE: &str =
    "Call it as root, or join the group deploy-flake and log in again.";

/// For a daemon that is not there.
pub(super) const HINT_NOT_RUNNING: &str =
    "See `systemctl status deploy-flake`, and start it with `systemctl start deploy-flake`.";

/// For a snapshot that another version of the daemon wrote.
pub(super) const HINT_OTHER_VERSION: &str = "The daemon is of another version than this command: \
     use the command from /run/current-system/sw/bin, or run `systemctl restart deploy-flake`.";

fn gave_up(timeout: Duration) -> Failure {
    let error = anyhow!("it was not over within {}", duration::show(timeout));
    Failure::new(Exit::GaveUp, error)
        .hint("The daemon goes on; `deploy-flake status` tells how far it is.")
}

/// Says what to do about a call that did not get through.
fn not_called(error: CallError, call: &Call) -> Failure {
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
        CallError::Denied(_) => (Exit::Error, hint_denied(call)),
        CallError::Silent => (
            Exit::Error,
            "See `deploy-flake status`; systemd restarts a daemon that hangs.",
        ),
        CallError::Declined(_) => (Exit::Refused, "See `deploy-flake status`."),
        CallError::Failed(_) => (Exit::Error, "See `journalctl -u deploy-flake`."),
    };
    Failure::new(exit, error).hint(hint)
}

fn hint_denied(call: &Call) -> &'static str {
    match call {
        Call::Trigger => HINT_OPERATE,
        Call::Retry { allowed } if allowed.is_empty() => HINT_OPERATE,
        Call::Retry { .. } | Call::Allow { .. } | Call::Rollback { .. } => {
            "Call it as root: it sets aside what keeps this host safe."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::snapshot::example::full;

    #[test]
    fn a_retry_is_said_again_to_another_daemon_only_until_a_deployment_began() {
        let retry = Call::Retry {
            allowed: [Guard::Daemon].into(),
        };
        let known = full();
        let asking = Asking {
            call: retry.clone(),
            known: deployments(&known),
        };
        assert_eq!(asking.call_now(Some(&known)), retry);
        assert_eq!(asking.call_now(None), retry);
        let new = || DeploymentId("1111111111111111".to_owned());
        let mut going_on = known.clone();
        going_on.phase.deployment = Some(new());
        let mut ended = known;
        ended.last = ended.last.map(|last| snapshot::Last {
            deployment: new(),
            ..last
        });
        for snapshot in [going_on, ended] {
            assert_eq!(asking.call_now(Some(&snapshot)), Call::Trigger);
        }
    }

    #[test]
    fn the_far_side_is_told_the_same() {
        let mut arguments = How {
            host: Some("host1".to_owned()),
            wait: false,
            timeout: None,
            output: Output::Text,
        };
        let trigger = Call::Trigger;
        assert_eq!(
            far_arguments(&arguments, &trigger),
            ["trigger", "--output", "text"]
        );
        let retry = Call::Retry {
            allowed: [Guard::SshServer, Guard::Daemon].into(),
        };
        assert_eq!(
            far_arguments(&arguments, &retry),
            [
                "retry",
                "--allow",
                "daemon",
                "--allow",
                "ssh-server",
                "--output",
                "text"
            ]
        );
        arguments.wait = true;
        arguments.timeout = Some(Duration::from_secs(5400));
        arguments.output = Output::Json;
        assert_eq!(
            far_arguments(&arguments, &trigger),
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
