//! The composition root, and the loop.
//!
//! In: a configuration. Out: a host that follows. Must not: hold anything
//! beyond wiring; the one owner of the state is `core`.
//!
//! The loop never waits for the machine: looks and works run in tasks of their
//! own and come back through channels. So it can feed the watchdog by its own
//! turning.

mod answering;
mod core;
mod followed;
mod looking;
mod publisher;
mod recorder;
mod shutdown;
mod standing;
mod wanting;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{error, warn};

use self::answering::{answer, tell};
use self::core::{Core, Parts};
use self::looking::Limits;
use self::publisher::Publisher;
use self::recorder::Recorder;
use self::standing::{Sighting, Standing};
use self::wanting::FoundOut;
use crate::config::Config;
use crate::executor::{Completion, Executor};
use crate::host::environment::Programs;
use crate::host::systemd::Systemd;
use crate::host::{clock, machine, random};
use crate::ipc::request::Request;
use crate::ipc::server::Server;
use crate::model::failure::Failure;
use crate::model::system::Configuration;
use crate::pipeline::Stages;
use crate::pipeline::build::Building;
use crate::pipeline::machine::Machine;
use crate::pipeline::replace::Origin;
use crate::reconcile::schedule::Draws;
use crate::reconcile::state::State;
use crate::report::{milestones, notify};
use crate::store::history::{self, History};
use crate::store::ledger::{Ledger, Source};
use crate::store::{lock, snapshot};

/// Where the ledger is.
const STATE_DIRECTORY: &str = "/var/lib/deploy-flake";

/// How often it is looked whether the host is up, before anything is begun.
const READY_INTERVAL: Duration = Duration::from_secs(1);

/// How often the loop turns where no watchdog asks for it.
const UNWATCHED_INTERVAL: Duration = Duration::from_secs(20);

/// Requests that may wait for the loop; more than that is nobody's need.
const MOST_REQUESTS: usize = 16;

/// Runs the daemon until it is told to stop. `file` is where the configuration
/// was read from.
///
/// # Errors
/// Another daemon lives, a program is missing, or systemd cannot be talked to;
/// the service manager starts it again.
pub async fn run(file: &Path, config: Config) -> anyhow::Result<()> {
    // First: what this daemon was started from may be replaced at any time.
    let origin = Origin::read(Path::new("/"), file);
    let _alone = lock::DaemonLock::acquire(Path::new(lock::FILE))?;
    let programs = Programs::find()?;
    let systemd = Systemd::connect().await?;
    let host_name = host_name();
    let configuration = configuration(&config, &host_name)?;
    let testing = config
        .testing_branch(&host_name)
        .context("the host name makes no branch's name; set `branch` in [testing]")?;
    let boot_id = clock::boot_id()?;
    let stages = Arc::new(Machine::new(
        systemd.clone(),
        programs,
        configuration.clone(),
        boot_id.clone(),
        origin,
        &config,
        testing.as_ref(),
    ));
    let ledger = Ledger::new(STATE_DIRECTORY);
    let state = load(&ledger);
    let current = state.phase.deployment().map(|current| &current.id);
    stages.sweep(current, state.phase.unit_step()).await;
    let standing = Standing::new(&config.remotes, testing, stages.observe().await);

    let (executor, completions) = Executor::new(Arc::clone(&stages));
    let (seen, looks) = mpsc::unbounded_channel();
    let (requests, requested) = mpsc::channel(MOST_REQUESTS);
    let (found_out, wanted) = mpsc::unbounded_channel();
    let (publisher, properties) = Publisher::new(
        PathBuf::from(snapshot::FILE),
        snapshot::Daemon {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            instance: random::id(),
            started_at: clock::now().wall,
        },
        snapshot::Host {
            name: host_name,
            configuration: configuration.as_str().to_owned(),
            boot_id: boot_id.clone(),
        },
        stages.building(),
    );
    let limits = config.remotes.iter().map(|remote| {
        let timeout = remote.timeout(&config.deadlines);
        Limits::new(timeout, &config.deadlines)
    });
    let limits = limits.collect();
    let recorder = Recorder::new(Arc::clone(&stages), History::new(history::DIRECTORY));
    recorder.resume(&state, clock::now());
    let mut core = Core::new(Parts {
        stages: Arc::clone(&stages),
        executor,
        ledger,
        policy: config.policy.clone(),
        settings: config.settings(&configuration),
        boot_id,
        state,
        standing,
        draws: Draws::new(machine::seed(&clock::boot_id()?)),
        limits,
        seen,
        found_out,
        publisher,
        recorder,
    });
    core.publish();
    // After the first snapshot: whoever can call the daemon can also read it.
    let server = Server::start(systemd.connection(), requests, properties).await?;
    tokio::spawn(server.announce());
    let followed = config.remotes.iter().map(|remote| &remote.address);
    let followed = followed.map(|it| (&*it.name, &*it.url, &it.branch));
    milestones::daemon_ready(&configuration, &followed.collect::<Vec<_>>());
    notify::ready();
    let channels = Channels {
        completions,
        looks,
        requested,
        wanted,
        building: stages.building(),
        ready: watch_until_ready(stages),
        terminate: signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?,
        interrupt: signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?,
    };
    turn(core, channels, &systemd).await
}

/// Which of the flake's configurations is this host's.
fn configuration(config: &Config, host_name: &str) -> anyhow::Result<Configuration> {
    match config.configuration.clone() {
        Some(configuration) => Ok(configuration),
        None => Configuration::try_from(host_name.to_owned())
            .context("the host name is no configuration's name; set `configuration`"),
    }
}

/// Reads the ledger and says aloud what of it could not be read.
fn load(ledger: &Ledger) -> State {
    let loaded = ledger.load();
    for problem in &loaded.problems {
        error!(df_problem = problem, "the ledger is damaged");
    }
    match loaded.source {
        Source::Current => {}
        Source::Previous => warn!("going on from the copy before"),
        Source::Fresh if loaded.problems.is_empty() => {}
        Source::Fresh => warn!("going on as on a first start"),
    }
    loaded.state
}

/// Everything that can wake the loop.
struct Channels {
    completions: mpsc::UnboundedReceiver<Completion>,
    looks: mpsc::UnboundedReceiver<Sighting>,
    requested: mpsc::Receiver<Request>,
    wanted: mpsc::UnboundedReceiver<FoundOut>,
    building: watch::Receiver<Building>,
    ready: mpsc::Receiver<Result<(), Failure>>,
    terminate: Signal,
    interrupt: Signal,
}

async fn turn<S: Stages>(
    mut core: Core<S>,
    mut channels: Channels,
    systemd: &Systemd,
) -> anyhow::Result<()> {
    let mut watchdog = interval(notify::watchdog_interval().unwrap_or(UNWATCHED_INTERVAL));
    watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_ready = false;
    loop {
        let saved = core.save_again_at().is_none();
        let due_at = core.look_due_at().filter(|_| is_ready && core.may_look());
        let pause_ends_at = core.pause_ends_at().filter(|_| is_ready && saved);
        // Every arm is cancel-safe: receiving from a channel or a signal loses
        // nothing when another arm is first, and a timer is only a time.
        tokio::select! {
            // In this order: what is heard after the bus is lost may be the
            // loss itself, and a flood of requests must not hold up the rest.
            biased;
            () = systemd.closed() => bail!("the connection to the system bus is lost"),
            _ = channels.terminate.recv() => break,
            _ = channels.interrupt.recv() => break,
            // Looks that hang were told of; systemd starts a daemon anew that
            // it does not hear of.
            _ = watchdog.tick() => if core.is_alive() { notify::watchdog() },
            Some(completion) = channels.completions.recv(), if saved => core.complete(completion),
            Some(sighting) = channels.looks.recv(), if saved => core.look_ended(sighting),
            Some(ready) = channels.ready.recv(), if saved && !is_ready => match ready {
                Ok(()) => {
                    is_ready = true;
                    core.resume();
                }
                Err(failure) => core.wait(failure),
            },
            () = sleep_until(due_at.unwrap_or_else(Instant::now)), if due_at.is_some() => {
                core.begin_look();
            }
            () = sleep_until(core.save_again_at().unwrap_or_else(Instant::now)), if !saved => {
                core.save_again();
            }
            () = sleep_until(pause_ends_at.unwrap_or_else(Instant::now)), if pause_ends_at.is_some() => {
                core.end_pause();
            }
            Some(FoundOut { wanted, observed }) = channels.wanted.recv() => {
                let answer = core.bring(wanted.by, wanted.instead, observed);
                tell(wanted.reply, answer);
            }
            Some(request) = channels.requested.recv() => answer(&mut core, request),
            // At most once a second; the newest counts.
            Ok(()) = channels.building.changed() => core.publish(),
        }
    }
    // Steps run in units of their own and go on; the next daemon adopts them.
    milestones::daemon_stopping();
    notify::stopping();
    Ok(())
}

/// Nothing is begun, and nothing taken up again, before the host is up.
fn watch_until_ready<S: Stages>(stages: Arc<S>) -> mpsc::Receiver<Result<(), Failure>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let ready = stages.ready().await;
            let is_ready = ready.is_ok();
            if sender.send(ready).await.is_err() || is_ready {
                return;
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    });
    receiver
}

fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
