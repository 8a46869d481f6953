//! The tested system to confirmed: as healthy as before, and staying so.
//!
//! In: what was tested, what the host was before, and what counts as healthy.
//! Out: a [`Confirmation`]. Must not: judge; `watch` does, and this only looks,
//! asks and waits.
//!
//! Looks at the units, probes from the new closure and this daemon's own poll
//! go on next to each other: a remote that is silent for half a minute must not
//! hide a unit that fails.

mod watch;
mod required;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::{mpsc, watch as latest};
use tokio::time::{Instant, sleep};

use self::required::Required;
use self::watch::{Heard, Probed, Seen, Symptom, Verdict, Watch};
use super::health::HostView;
use super::remotes::Remotes;
use super::step::Steps;
use super::{installed, observe, probe};
use crate::host::systemd::{ActiveState, SystemdError};
use crate::model::deployment::{DeploymentId, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Baseline;
use crate::model::policy::Health;
use crate::model::stage::{Confirmation, UnitStep, Word};
use crate::model::system::Toplevel;
use crate::model::text::{LINE_LIMIT, one_line};
use crate::store::token;

/// At least so many looks make up a confirm window.
const LOOKS_IN_WINDOW: u32 = 20;

/// Looking more often would only burden the host.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Looking less often would miss a unit between its crash and its restart.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);

/// At every so many looks restarts are counted, which asks once per service;
/// and whenever something else is broken than at the look before: what was
/// restarted before the window began must not count in it.
const LOOKS_PER_COUNT: u32 = 5;

/// At least so many probes make up a window that is long enough for them.
const PROBES_IN_WINDOW: u32 = 10;

/// Each probe starts a process and asks the remote.
const SHORTEST_PROBE_INTERVAL: Duration = Duration::from_millis(300);

/// Three bad probes in a row are a verdict; that must not take minutes.
const LONGEST_PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// What is watched, and with what.
#[derive(Clone, Copy)]
pub(crate) struct Watched<'a> {
    /// The host.
    pub(crate) view: HostView<'a>,
    /// What runs the probe.
    pub(crate) steps: &'a Steps,
    /// This daemon's own ways to its remotes.
    pub(crate) remotes: &'a Remotes,
    /// For which deployment.
    pub(crate) id: &'a DeploymentId,
    /// What was tested.
    pub(crate) system: &'a System,
    /// What the host was before.
    pub(crate) baseline: &'a Baseline,
    /// What counts as healthy.
    pub(crate) health: &'a Health,
    /// How long one probe may take.
    pub(crate) probe_deadline: Duration,
    /// What an operator said last, of which deployment's system.
    pub(crate) said: &'a latest::Sender<Option<(DeploymentId, Word)>>,
}

/// Watches the host until it was healthy for the whole confirm window, or is
/// known not to be. After a restart of the daemon it is watched anew.
pub(crate) async fn confirm(watched: Watched<'_>) -> Confirmation {
    // One place: nobody looks ahead of the judge.
    let (told, heard) = mpsc::channel(1);
    // All of them only read or ask; dropping those that have not ended loses
    // nothing, and the probe's unit is let go below.
    let confirmation = tokio::select! {
        verdict = judge(watched, heard) => confirmation(verdict, &watched.system.toplevel),
        never = look_again_and_again(watched, told.clone()) => match never {},
        never = probe_again_and_again(watched, told.clone()) => match never {},
        never = poll_until_it_works(watched, told.clone()) => match never {},
        never = hear_operators(watched, told) => match never {},
        () = watched.view.systemd.closed() => return Confirmation::Unknown(bus_lost()),
    };
    watched.steps.release(UnitStep::Probe).await;
    confirmation
}

async fn judge(watched: Watched<'_>, mut heard: mpsc::Receiver<Heard>) -> Verdict {
    let tested = &watched.system.toplevel;
    let mut watch = Watch::new(tested, watched.health, watched.baseline);
    let begun = Instant::now();
    loop {
        let Some(heard) = heard.recv().await else {
            // Whoever holds the other end never ends, and is dropped after us.
            return std::future::pending().await;
        };
        if let Some(verdict) = watch.judge(begun.elapsed(), &heard) {
            return verdict;
        }
    }
}

/// What never comes.
enum Never {}

async fn tell(told: &mpsc::Sender<Heard>, heard: Heard) {
    // It fails only once the judge is gone; then all of this is about to be.
    let _ = told.send(heard).await;
}

async fn look_again_and_again(watched: Watched<'_>, told: mpsc::Sender<Heard>) -> Never {
    let mut eyes = Eyes::new(watched);
    loop {
        tell(&told, eyes.look().await).await;
        sleep(interval(watched.health)).await;
    }
}

async fn probe_again_and_again(watched: Watched<'_>, told: mpsc::Sender<Heard>) -> Never {
    loop {
        tell(&told, Heard::ProbeBegins).await;
        let probed = probed(watched).await;
        let is_over = matches!(probed, Probed::NoProbe);
        tell(&told, Heard::Probed(probed)).await;
        if is_over {
            return std::future::pending().await;
        }
        sleep(probe_interval(watched.health)).await;
    }
}

async fn probed(watched: Watched<'_>) -> Probed {
    let Watched { view, steps, .. } = watched;
    let toplevel = &watched.system.toplevel;
    match probe::run(steps, view, watched.id, toplevel, watched.probe_deadline).await {
        Ok(Some(report)) => Probed::Seen(report),
        Ok(None) => Probed::NoProbe,
        Err(failure) if failure.code == FailureCode::ProbeFailed => {
            Probed::Broken(with_last_words(&failure))
        }
        Err(failure) => Probed::Unreadable(failure.message),
    }
}

/// The message, and the line with which the program ended.
fn with_last_words(failure: &Failure) -> String {
    match failure.detail.lines().last() {
        Some(words) => format!("{} ({})", failure.message, one_line(words, LINE_LIMIT)),
        None => failure.message.clone(),
    }
}

/// A daemon that cannot ask any of its remotes is none to keep: it would never
/// hear of the commit that repairs it.
async fn poll_until_it_works(watched: Watched<'_>, told: mpsc::Sender<Heard>) -> Never {
    loop {
        let polled = watched.remotes.any_answers().await;
        let works = polled.is_ok();
        tell(&told, Heard::Polled(polled.map_err(|it| cannot_poll(&it)))).await;
        if works {
            return std::future::pending().await;
        }
        sleep(probe_interval(watched.health)).await;
    }
}

/// A remote that cannot be asked may be down by itself; a fetcher that cannot
/// run or write is this system's doing.
fn cannot_poll(failure: &Failure) -> Symptom {
    let code = if failure.code.is_of_remote() {
        FailureCode::RemoteLost
    } else {
        FailureCode::UnhealthyAfterTest
    };
    let text = format!(
        "expected this daemon to poll its remote, found: {}",
        failure.message
    );
    Symptom::new(code, text)
}

/// Passes on what operators say of this deployment's system.
async fn hear_operators(watched: Watched<'_>, told: mpsc::Sender<Heard>) -> Never {
    let mut said = watched.said.subscribe();
    loop {
        let word = match &*said.borrow_and_update() {
            Some((id, word)) if id == watched.id => Some(*word),
            Some(_) | None => None,
        };
        if let Some(word) = word {
            tell(&told, Heard::Said(word)).await;
        }
        if said.changed().await.is_err() {
            // Nobody can say anything any more; the machine lives longer than us.
            return std::future::pending().await;
        }
    }
}

/// Takes looks at the host.
struct Eyes<'a> {
    watched: Watched<'a>,
    required: Required,
    looks: u32,
    restarts: BTreeMap<String, u32>,
    recurring: BTreeSet<String>,
    broken: BTreeSet<String>,
}

impl<'a> Eyes<'a> {
    fn new(watched: Watched<'a>) -> Self {
        let root = watched.view.root;
        let ssh_units = installed::ssh_server_units(root, &watched.system.toplevel);
        Self {
            watched,
            required: Required::new(watched.baseline, watched.health, &ssh_units),
            looks: 0,
            restarts: BTreeMap::new(),
            recurring: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    async fn look(&mut self) -> Heard {
        match self.see().await {
            Ok(seen) => Heard::Seen(seen),
            Err(error) => Heard::Unreadable(format!("{:#}", anyhow::Error::new(error))),
        }
    }

    async fn see(&mut self) -> Result<Seen, SystemdError> {
        let view = self.watched.view;
        let systemd = view.systemd;
        let system = systemd.system_state().await?;
        let down = self.required.down(&systemd.active_units().await?);
        // Failed ones last: what crashes in between is seen at least once.
        let restarting = view.failing_restarts().await?;
        let failed = systemd.failed_units().await?;
        self.count(failed.union(&restarting).cloned().collect())
            .await?;
        Ok(Seen {
            system,
            queued: self.queued(failed.union(&down)).await?,
            failed,
            down,
            restarting,
            restarts: self.restarts.clone(),
            recurring: self.recurring.clone(),
            running: observe::running(view.root),
            // After what runs: the guardian writes it before it switches.
            token: token::read(self.watched.id),
        })
    }

    /// Counts restarts, if it is time to; after the look, so that what it shows
    /// as running again has been counted.
    async fn count(&mut self, broken: BTreeSet<String>) -> Result<(), SystemdError> {
        let is_other = std::mem::replace(&mut self.broken, broken) != self.broken;
        let is_due = self.looks.is_multiple_of(LOOKS_PER_COUNT);
        self.looks = self.looks.wrapping_add(1);
        if !is_due && !is_other {
            return Ok(());
        }
        let systemd = self.watched.view.systemd;
        let restarts = systemd.restart_counts().await?;
        for (unit, count) in &restarts {
            let before = self.restarts.get(unit).copied().unwrap_or_default();
            // The others are not asked: these are few.
            if *count > before && systemd.restarts_after_success(unit).await? {
                self.recurring.insert(unit.clone());
            }
        }
        self.restarts = restarts;
        Ok(())
    }

    /// Those that are about to be started, or being started.
    async fn queued(
        &self,
        units: impl Iterator<Item = &String>,
    ) -> Result<BTreeSet<String>, SystemdError> {
        let mut queued = BTreeSet::new();
        for name in units {
            let unit = self.watched.view.systemd.unit(name).await?;
            if unit.is_some_and(|it| it.has_job || it.active_state == ActiveState::Activating) {
                queued.insert(name.clone());
            }
        }
        Ok(queued)
    }
}

fn interval(health: &Health) -> Duration {
    (health.confirm_window / LOOKS_IN_WINDOW).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

fn probe_interval(health: &Health) -> Duration {
    let scaled = health.confirm_window / PROBES_IN_WINDOW;
    scaled.clamp(SHORTEST_PROBE_INTERVAL, LONGEST_PROBE_INTERVAL)
}

fn confirmation(verdict: Verdict, tested: &Toplevel) -> Confirmation {
    match verdict {
        Verdict::Healthy => Confirmation::Healthy,
        Verdict::Unhealthy {
            code,
            message,
            broken,
        } => Confirmation::Unhealthy {
            failure: unhealthy(code, message, &broken),
            failed_units: broken,
        },
        Verdict::Overridden(running) => Confirmation::Overridden(Failure::new(
            FailureCode::Overridden,
            format!("{running} runs instead of {tested}, which was just tested"),
            "Somebody else switched this host; their system is left alone until a new commit \
             comes.",
        )),
        Verdict::GuardianActs => Confirmation::GuardianActs(Failure::new(
            FailureCode::GuardianFired,
            format!("the guardian leads back: nobody had confirmed {tested} by its deadline"),
            "The previous system comes back by itself. See why it took so long, and push \
             another commit or say `deploy-flake retry`.",
        )),
        Verdict::GoingDown => Confirmation::Unknown(Failure::new(
            FailureCode::HostBusy,
            "the system is stopping, so the tested system could not be confirmed",
            "Nothing has to be done: the host boots what it booted before, and this is tried \
             again then.",
        )),
    }
}

fn unhealthy(code: FailureCode, message: String, broken: &BTreeSet<String>) -> Failure {
    let broken: Vec<_> = broken.iter().map(String::as_str).collect();
    Failure::new(code, message, hint(code)).with_detail(&broken.join("\n"))
}

/// What to do, by what is wrong first of all.
fn hint(code: FailureCode) -> &'static str {
    if code == FailureCode::RequiredUnitDown {
        "See `systemctl status` and the journal of these units. What need not be active belongs \
         out of health.require_units."
    } else if code == FailureCode::SshUnreachable {
        "See the journal of the ssh server and its configuration in the new system; a port that \
         is changed on purpose is looked for where the new configuration has it."
    } else if code == FailureCode::RouteLost {
        "See the network's configuration in the new system and the journal of what sets it up."
    } else if code == FailureCode::RemoteLost {
        "See the network, name resolution and the remote's url in the new system. If the remote \
         itself is down, nothing has to be done: this is tried again."
    } else if code == FailureCode::ProbeFailed {
        "See `journalctl --identifier=deploy-flake-probe`; the probes are those of the new \
         system."
    } else {
        "See the journal of these units, and push a repaired commit; if the cause was outside of \
         the commit, `deploy-flake retry` tries it again. What may be broken belongs into \
         health.ignore_units."
    }
}

fn bus_lost() -> Failure {
    Failure::new(
        FailureCode::StepFailed,
        "the connection to the system bus was lost while the tested system was watched",
        "Nothing has to be done: the daemon is restarted and watches anew.",
    )
}
