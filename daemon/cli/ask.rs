//! What `trigger`, `retry`, `allow` and `rollback` share: ask the daemon, here or
//! on other hosts, and wait for what comes of it.
//!
//! In: what is asked, and how. Out: the phases as they come, the final word,
//! and an exit code by outcome. Must not: depend on the daemon's staying alive;
//! whoever waits outlives a restart of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::events::{Event, over, push_over};
use super::exit::Exit;
use super::expect::{Expected, Judged};
use super::failure::Failure;
use super::follow::{Follower, News};
use super::hosts::{self, Confirm, Errand, Repeats, Selection, Stays};
use super::output::{Output, print};
use super::patience::{Absence, Patience, Sparing};
use crate::config::duration;
use crate::ipc::client::{self, Call, CallError, Look};
use crate::model::deployment::DeploymentId;
use crate::model::policy::Guard;
use crate::store::snapshot::{OutcomeName, PhaseName, Pushed, ReadError, Snapshot};
use crate::store::{lock, snapshot};

/// How often the snapshot is read: often enough for every phase that takes
/// any time, at no cost worth speaking of.
const INTERVAL: Duration = Duration::from_millis(100);

/// How often a daemon is called whose snapshot is not its own yet: it writes
/// one at its start and at every change.
const ATTEMPTS: u32 = 50;

/// The longest `--timeout`.
const TIMEOUT_LIMIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Between two looks for a commit that the branch does not show yet.
const EXPECT_INTERVAL: Duration = Duration::from_secs(10);

/// The arguments that do not depend on what is asked.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("waits").args(["wait", "expect", "hosts", "all", "on"]).multiple(true))]
#[command(group = clap::ArgGroup::new("elsewhere").args(["hosts", "all", "on"]).multiple(true))]
pub(super) struct How {
    #[command(flatten)]
    selection: Selection,
    /// Waits until the look, and all that comes of it, is over; for other hosts
    /// that is so anyway.
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Returns once the daemons are told; for this host that is so anyway.
    #[arg(long, conflicts_with_all = ["timeout", "expect", "detailed_exit_code"])]
    no_wait: bool,
    /// Gives up waiting after this, such as 30m; the daemon goes on.
    #[arg(long, value_name = "DURATION", requires = "waits", value_parser = timeout)]
    timeout: Option<Duration>,
    /// Waits until this very commit is the host's, or says why it will not be.
    ///
    /// The commit's id, or at least 7 digits of it. A branch that asks for
    /// another one is looked at again for 30 seconds: the server may lag.
    #[arg(long, value_name = "COMMIT", value_parser = super::expect::parse)]
    expect: Option<Expected>,
    /// Ends with 12 instead of 0 where the commit was there already.
    #[arg(long, requires = "waits")]
    detailed_exit_code: bool,
    /// Ends the confirm window of each host early: by a new ssh connection, if it
    /// works, or by asking you.
    ///
    /// The host has to be healthy all the same. A window that nobody ends takes
    /// its time. For operators; with hosts only.
    #[arg(long, value_name = "BY", value_enum, num_args = 0..=1, require_equals = true,
          default_missing_value = "ssh", requires = "elsewhere", conflicts_with = "no_wait")]
    confirm: Option<Confirm>,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Understands a `--timeout`.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    duration::parse(text, &(Duration::from_secs(1)..=TIMEOUT_LIMIT))
        .map_err(|_| "expected a duration from 1s to 7d, such as 90s, 5m or 1h30m".to_owned())
}

/// How the daemon of this host is asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// What is waited for.
    pub(super) waiting: Waiting,
    /// How long.
    pub(super) timeout: Option<Duration>,
    /// For whom it is told.
    pub(super) output: Output,
    /// Whether it was said before.
    pub(super) heard: Heard,
}

/// Whether a daemon has heard before what it is asked, which is said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Not that anybody knows.
    Never,
    /// Before the connection was lost.
    Before,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Only that the daemon is told.
    Told,
    /// The end of what comes of it.
    Over,
    /// The same, with this commit.
    Commit(Expected),
}

pub(super) fn run(arguments: &How, call: &Call) -> Result<Exit, Failure> {
    let waiting = arguments.waiting();
    let exit = if arguments.selection.is_given() {
        let errand = errand(arguments, call, &waiting);
        hosts::run(&arguments.selection, &errand, arguments.output)?
    } else {
        let asked = Asked {
            waiting,
            timeout: arguments.timeout,
            output: arguments.output,
            heard: Heard::Never,
        };
        run_here(&asked, call)?
    };
    let is_plain = exit == Exit::AlreadyThere && !arguments.detailed_exit_code;
    Ok(if is_plain { Exit::Success } else { exit })
}

/// The same for the daemon of this host, with a code of its own for a commit
/// that was there already.
pub(super) fn run_here(asked: &Asked, call: &Call) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(here(asked, call))
}

impl How {
    fn waiting(&self) -> Waiting {
        let is_waiting = self.wait || (self.selection.is_given() && !self.no_wait);
        match &self.expect {
            Some(expected) => Waiting::Commit(expected.clone()),
            None if is_waiting => Waiting::Over,
            None => Waiting::Told,
        }
    }
}

/// What is asked of other hosts.
fn errand(arguments: &How, call: &Call, waiting: &Waiting) -> Errand {
    let expected = match waiting {
        Waiting::Commit(expected) => Some(expected.clone()),
        Waiting::Told | Waiting::Over => None,
    };
    let repeats = match call {
        Call::Trigger => Repeats::Freely,
        // Each is one activation.
        Call::Retry { .. } | Call::Allow { .. } | Call::Rollback { .. } | Call::Push { .. } => {
            Repeats::Never
        }
    };
    Errand {
        first: far_words(call, waiting, arguments.timeout),
        again: far_words(&Call::Trigger, waiting, arguments.timeout),
        repeats,
        waits: *waiting != Waiting::Told,
        expected,
        timeout: arguments.timeout,
        confirm: arguments.confirm,
        stays: match call {
            Call::Rollback { .. } | Call::Push { .. } => Stays::There,
            Call::Trigger | Call::Retry { .. } | Call::Allow { .. } => Stays::WithBranch,
        },
        cargo: None,
    }
}

/// The words for the far side.
fn far_words(call: &Call, waiting: &Waiting, timeout: Option<Duration>) -> Vec<String> {
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
    if *waiting != Waiting::Told {
        words.push("--wait".to_owned());
    }
    if let Waiting::Commit(expected) = waiting {
        words.extend(["--expect".to_owned(), expected.to_string()]);
    }
    if let Some(timeout) = timeout {
        words.extend(["--timeout".to_owned(), duration::show(timeout)]);
    }
    words.extend(["--output".to_owned(), Output::Json.as_str().to_owned()]);
    words
}

/// The subcommand's name.
fn verb(call: &Call) -> &'static str {
    match call {
        Call::Trigger => "trigger",
        Call::Retry { .. } => "retry",
        Call::Allow { .. } => "allow",
        Call::Rollback { .. } => "rollback",
        Call::Push { .. } => "push",
    }
}

async fn here(asked: &Asked, call: &Call) -> Result<Exit, Failure> {
    let tell = |event: Event<'_>| print(&event.render(asked.output)?);
    let expected = match &asked.waiting {
        Waiting::Told => {
            // Whether the host is busy with that very push already.
            let call_now = Asking::new(call.clone(), asked.heard).call_now(present().as_ref());
            let number = client::call(&call_now).await;
            let look = number.map_err(|error| not_called(error, call))?;
            tell(told(call, look))?;
            return Ok(Exit::Success);
        }
        Waiting::Over => None,
        Waiting::Commit(expected) => Some(expected),
    };
    let asking = Asking::new(call.clone(), asked.heard);
    let waited = wait(tell, asked.output, asking, expected);
    match asked.timeout {
        None => waited.await,
        // Nothing is lost when the wait is dropped: it only reads.
        Some(timeout) => tokio::time::timeout(timeout, waited)
            .await
            .unwrap_or_else(|_| Err(gave_up(timeout))),
    }
}

/// What is told once the daemon was asked.
fn told(call: &Call, look: Look) -> Event<'_> {
    let Look {
        number: look,
        begins_in,
    } = look;
    match call {
        Call::Trigger => Event::Triggered { look, begins_in },
        Call::Retry { allowed } => Event::Retried { look, allowed },
        Call::Allow { commit } => Event::Allowed { look, commit },
        Call::Rollback { .. } => Event::GoesBack { look },
        Call::Push { .. } => Event::Pushed { look },
    }
}

/// Calls, then reads snapshots until the look is over.
async fn wait(
    tell: impl Fn(Event<'_>) -> Result<(), Failure>,
    output: Output,
    asking: Asking,
    expected: Option<&Expected>,
) -> Result<Exit, Failure> {
    let call = &asking.call;
    let refused = |error| not_called(error, call);
    let (instance, look) = asking.ask().await.map_err(refused)?;
    tell(told(call, look))?;
    let mut follower = Follower::new(instance, look.number).answering(call);
    let mut absence = Absence::default();
    let mut sparing = Sparing::default();
    let mut patience = Patience::default();
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
            News::Progress(progress) => {
                let progress = &progress;
                if output == Output::Json || sparing.is_due() {
                    tell(Event::Progress { progress })?;
                }
            }
            News::Over(exit) => match judged(expected, exit, &snapshot)? {
                Some(exit) => {
                    tell(asking.over(exit, &snapshot))?;
                    return Ok(asking.detailed(exit, &snapshot));
                }
                None if patience.is_over() => {
                    let exit = Exit::Unexpected;
                    tell(unexpected(expected, &snapshot))?;
                    tell(over(exit, &snapshot))?;
                    return Ok(exit);
                }
                None => {
                    if patience.is_new() {
                        tell(unexpected(expected, &snapshot))?;
                    }
                    tokio::time::sleep(EXPECT_INTERVAL).await;
                    // Who lives by then is seen with the next snapshot.
                    if let Ok((instance, look)) = asking.ask().await {
                        follower.restart(instance, look.number);
                    }
                }
            },
            News::Restarted => match asking.ask().await {
                Ok((instance, look)) => {
                    let look = look.number;
                    follower.restart(instance, look);
                    tell(Event::Restarted { look })?;
                }
                // It is not on the bus yet, or gone again.
                Err(CallError::NotRunning | CallError::Silent | CallError::NoBus(_)) => {}
                Err(
                    error @ (CallError::Denied(_)
                    | CallError::Declined(_)
                    | CallError::Unknown { .. }
                    | CallError::Failed(_)),
                ) => {
                    return Err(refused(error));
                }
            },
        }
    }
}

/// The code with which it is over; None: the branch does not ask for the
/// expected commit yet.
fn judged(
    expected: Option<&Expected>,
    exit: Exit,
    snapshot: &Snapshot,
) -> Result<Option<Exit>, Failure> {
    let Some(expected) = expected else {
        return Ok(Some(exit));
    };
    match expected.judge(exit, snapshot) {
        Judged::Over(exit) => Ok(Some(exit)),
        Judged::Other => Ok(None),
        Judged::Ambiguous => {
            let error = anyhow!("{expected} is the beginning of more than one commit");
            Err(Failure::new(Exit::Error, error).hint("Give more digits of it."))
        }
    }
}

fn unexpected<'a>(expected: Option<&'a Expected>, snapshot: &'a Snapshot) -> Event<'a> {
    let wanted = snapshot.desired.as_ref().map(|it| &it.commit);
    let expected = expected.map(ToString::to_string).unwrap_or_default();
    Event::Unexpected { expected, wanted }
}

/// What is asked, of one daemon after the other.
struct Asking {
    call: Call,
    /// The deployment that had ended last before it was asked.
    ended: Option<DeploymentId>,
    /// The deployments that were known before it was asked.
    known: Vec<DeploymentId>,
    heard: Heard,
}

impl Asking {
    fn new(call: Call, heard: Heard) -> Self {
        let before = present();
        let known = before.as_ref().map_or_else(Vec::new, deployments);
        let ended = before.and_then(|it| Some(it.last?.deployment));
        Self {
            call,
            ended,
            known,
            heard,
        }
    }

    /// The last word.
    fn over<'a>(&self, exit: Exit, snapshot: &'a Snapshot) -> Event<'a> {
        match &self.call {
            // Of a host that needs a human its state says more.
            Call::Push { push } if ![Exit::Success, Exit::NeedsHuman].contains(&exit) => {
                push_over(exit, snapshot, &Pushed::from(&**push))
            }
            Call::Trigger
            | Call::Retry { .. }
            | Call::Allow { .. }
            | Call::Rollback { .. }
            | Call::Push { .. } => over(exit, snapshot),
        }
    }

    /// The code, with one of its own where nothing was deployed meanwhile.
    fn detailed(&self, exit: Exit, snapshot: &Snapshot) -> Exit {
        let is_new = snapshot.last.as_ref().is_some_and(|last| {
            last.outcome == OutcomeName::Deployed && Some(&last.deployment) != self.ended.as_ref()
        });
        if exit == Exit::Success && !is_new {
            Exit::AlreadyThere
        } else {
            exit
        }
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
        let goes_on = snapshot.is_some_and(|snapshot| is_going_on(&self.call, snapshot));
        if began || goes_on || self.heard == Heard::Before {
            Call::Trigger
        } else {
            self.call.clone()
        }
    }
}

/// Whether it is a push that the host is busy with: whoever was cut off, or killed,
/// says it once more, and only wants to see it end.
fn is_going_on(call: &Call, snapshot: &Snapshot) -> bool {
    let Call::Push { push } = call else {
        return false;
    };
    let desired = snapshot.desired.as_ref();
    let going_on = desired.and_then(|it| it.pushed.as_ref());
    snapshot.phase.deployment.is_some()
        && snapshot.phase.name != PhaseName::Resting
        && going_on == Some(&Pushed::from(&**push))
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

/// For what operators may ask for.
pub(super) const HINT_OPERATE: &str =
    "Call it as root, or join the group deploy-flake and log in again.";

/// For a daemon that does not run.
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
        CallError::Unknown { .. } => (Exit::Error, HINT_OTHER_VERSION),
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
        Call::Push { .. } => "Push as root, such as to nixos://root@HOST/CONFIGURATION.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::push::Push;
    use crate::store::snapshot::example::full;

    #[test]
    fn a_retry_is_said_again_to_another_daemon_only_until_a_deployment_began() {
        let retry = Call::Retry {
            allowed: [Guard::Daemon].into(),
        };
        let known = full();
        let asking = Asking {
            call: retry.clone(),
            ended: None,
            known: deployments(&known),
            heard: Heard::Never,
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
    fn a_push_is_said_once_and_not_at_all_to_a_host_that_is_busy_with_it() {
        let push = |options: &[String]| {
            let source = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source".to_owned();
            Box::new(Push::parse(source, "web1".to_owned(), options).expect("it is one"))
        };
        let call = Call::Push { push: push(&[]) };
        let asking = |call: &Call, heard, known: &Snapshot| Asking {
            call: call.clone(),
            ended: None,
            known: deployments(known),
            heard,
        };
        let mut snapshot = full();
        snapshot.desired = snapshot.desired.map(|it| snapshot::Desired {
            pushed: Some(Pushed::from(&*push(&[]))),
            ..it
        });
        let now = |call: &Call, heard, snapshot: &Snapshot| {
            asking(call, heard, snapshot).call_now(Some(snapshot))
        };
        assert_eq!(now(&call, Heard::Never, &snapshot), call, "it has ended");
        assert_eq!(now(&call, Heard::Before, &snapshot), Call::Trigger);
        snapshot.phase.name = PhaseName::Building;
        snapshot.phase.deployment = Some(DeploymentId("1111111111111111".to_owned()));
        assert_eq!(now(&call, Heard::Never, &snapshot), Call::Trigger);
        let other = Call::Push {
            push: push(&["test-only".to_owned()]),
        };
        assert_eq!(now(&other, Heard::Never, &snapshot), other);
    }

    #[test]
    fn a_commit_was_there_already_unless_it_was_deployed_meanwhile() {
        let mut snapshot = full();
        let mut asking = Asking {
            call: Call::Trigger,
            ended: None,
            known: Vec::new(),
            heard: Heard::Never,
        };
        snapshot.last = snapshot.last.map(|last| snapshot::Last {
            outcome: OutcomeName::Deployed,
            ..last
        });
        assert_eq!(asking.detailed(Exit::Success, &snapshot), Exit::Success);
        assert_eq!(asking.detailed(Exit::Refused, &snapshot), Exit::Refused);
        asking.ended = snapshot.last.as_ref().map(|last| last.deployment.clone());
        assert_eq!(
            asking.detailed(Exit::Success, &snapshot),
            Exit::AlreadyThere
        );
        assert_eq!(asking.detailed(Exit::Refused, &snapshot), Exit::Refused);
    }

    #[test]
    fn the_far_side_is_told_the_same() {
        let words = |call: &Call, waiting, timeout| far_words(call, waiting, timeout).join(" ");
        let commit = crate::store::snapshot::example::commit();
        let expected = crate::cli::expect::parse("0123456").expect("it is one");
        let retry = Call::Retry {
            allowed: [Guard::SshServer, Guard::Daemon].into(),
        };
        assert_eq!(
            words(&Call::Trigger, &Waiting::Told, None),
            "trigger --output json"
        );
        assert_eq!(
            words(&retry, &Waiting::Told, None),
            "retry --allow daemon --allow ssh-server --output json"
        );
        assert_eq!(
            words(&Call::Allow { commit }, &Waiting::Over, None),
            "allow 0123456789abcdef0123456789abcdef01234567 --wait --output json"
        );
        let timeout = Some(Duration::from_secs(5400));
        assert_eq!(
            words(&Call::Trigger, &Waiting::Commit(expected), timeout),
            "trigger --wait --expect 0123456 --timeout 1h30m --output json"
        );
    }
}
