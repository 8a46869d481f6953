//! The one owner of the state: events in, ledger, then effects out.
//!
//! In: completions, looks, triggers. Out: the state on disk before any effect,
//! effects to the executor, and what everybody may know to the publisher. Must
//! not: decide; `reconcile` does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::looking::{Limits, Looking, look};
use super::publisher::Publisher;
use super::recorder::{Moment, Recorder};
use super::shutdown::Shutdown;
use super::standing::{IsTested, Seen, Sighting, Standing};
use super::wanting::{self, FoundOut, Wanted};
use crate::executor::{Completion, Executor};
use crate::host::{clock, random};
use crate::ipc::request::{Declined, Owed};
use crate::model::deployment::DeploymentId;
use crate::model::failure::Failure;
use crate::model::offer::RemoteNumber;
use crate::model::pause::UserId;
use crate::model::policy::{Policy, Settings};
use crate::model::revision::{Candidate, CommitId};
use crate::model::system::{BootId, Observed};
use crate::pipeline::Stages;
use crate::reconcile::event::{Asked, Demand, Event, Instead, Look};
use crate::reconcile::phase::Phase;
use crate::reconcile::recover::{World, recover};
use crate::reconcile::schedule::{self, Draws};
use crate::reconcile::state::{Context, State, Step};
use crate::reconcile::step::step;
use crate::reconcile::unsaved::way_back;
use crate::reconcile::window::{self, NotNow};
use crate::reconcile::{choose, instead};
use crate::report::{milestones, story};
use crate::store::ledger::Ledger;
use crate::store::{record, token};

/// How soon a ledger that could not be written is tried again.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// How often in a row it may fail before a system that is being tested is led
/// back from: a disk may be full for a moment.
const MOST_SAVES: u32 = 3;

/// Why an operator's word on a system is not taken now.
fn not_now(why: NotNow) -> Declined {
    Declined(why.to_string())
}

/// State, and everything that is done with it.
pub(super) struct Core<S> {
    stages: Arc<S>,
    executor: Executor<S>,
    ledger: Ledger,
    policy: Policy,
    settings: Settings,
    boot_id: BootId,
    state: State,
    phase_entered: Instant,
    standing: Standing,
    looking: Looking,
    draws: Draws,
    /// One for each remote.
    limits: Vec<Limits>,
    seen: mpsc::UnboundedSender<Sighting>,
    found_out: mpsc::UnboundedSender<FoundOut>,
    is_resumed: bool,
    has_tidied: bool,
    unsaved: Option<Unsaved>,
    publisher: Publisher,
    recorder: Recorder<S>,
    shutdown: Shutdown,
}

/// A decision that is not on disk yet, so nothing of it may happen.
struct Unsaved {
    step: Step,
    again_at: Instant,
    /// How often it could not be saved.
    times: u32,
}

/// What a core is made of.
pub(super) struct Parts<S> {
    pub(super) stages: Arc<S>,
    pub(super) executor: Executor<S>,
    pub(super) ledger: Ledger,
    pub(super) policy: Policy,
    pub(super) settings: Settings,
    pub(super) boot_id: BootId,
    pub(super) state: State,
    pub(super) standing: Standing,
    pub(super) draws: Draws,
    pub(super) limits: Vec<Limits>,
    pub(super) seen: mpsc::UnboundedSender<Sighting>,
    pub(super) found_out: mpsc::UnboundedSender<FoundOut>,
    pub(super) publisher: Publisher,
    pub(super) recorder: Recorder<S>,
}

impl<S: Stages> Core<S> {
    pub(super) fn new(parts: Parts<S>) -> Self {
        let shutdown = Shutdown::new(Arc::clone(&parts.stages));
        shutdown.leads(parts.state.reboot);
        let mut draws = parts.draws;
        // All at the same point of their periods: who is asked first could
        // otherwise offer what another one has a successor of.
        let (now, random) = (Instant::now(), draws.draw());
        let first = |period| now + schedule::first(period, random);
        let remotes = parts.standing.remotes.iter();
        let first = remotes.map(|remote| first(remote.poll_interval)).collect();
        Self {
            shutdown,
            stages: parts.stages,
            executor: parts.executor,
            ledger: parts.ledger,
            policy: parts.policy,
            settings: parts.settings,
            boot_id: parts.boot_id,
            state: parts.state,
            phase_entered: Instant::now(),
            standing: parts.standing,
            looking: Looking::new(first),
            draws,
            limits: parts.limits,
            seen: parts.seen,
            found_out: parts.found_out,
            is_resumed: false,
            has_tidied: false,
            unsaved: None,
            publisher: parts.publisher,
            recorder: parts.recorder,
        }
    }

    /// Goes on from ledger and world, once the host is up.
    pub(super) fn resume(&mut self) {
        let next = self.decide(|state, core, context| {
            let id = state.phase.deployment().map(|deployment| &deployment.id);
            let world = World {
                observed: core.standing.observed.clone(),
                verdict: id.and_then(token::read),
                record: record::read(),
            };
            recover(state, &world, context)
        });
        story::resumed(&self.state, &next.state);
        self.standing.busy = None;
        self.is_resumed = true;
        self.commit(next);
    }

    /// Takes the end of a work.
    pub(super) fn complete(&mut self, completion: Completion) {
        self.standing.observed = completion.observed;
        // It was heard of systemd since: what a look could not learn is past.
        self.standing.busy = None;
        self.feed(completion.event);
    }

    /// Takes what a look at a remote saw.
    pub(super) fn look_ended(&mut self, sighting: Sighting) {
        let now = Instant::now();
        let remote = sighting.remote;
        let (offer, observed, is_outdated) = match sighting.seen {
            Seen::Busy(failure) => {
                self.standing.busy = Some(failure);
                self.looking.end_busy(remote, now);
                return self.publish();
            }
            Seen::Hanging(failure) => {
                let is_last = self.looking.end_hanging(remote, now);
                milestones::look_hangs(&failure, is_last);
                self.standing.busy = Some(failure);
                return self.publish();
            }
            Seen::Looked {
                offer,
                observed,
                is_outdated,
            } => (offer, observed, is_outdated),
        };
        self.standing.busy = None;
        let confirmed = sighting.confirmed;
        self.standing.take(remote, offer, confirmed, clock::now());
        let demand = self.end_look(remote, now);
        self.standing.observed = observed.clone();
        let confirmed = self.state.confirmed();
        let offers = self.standing.offers(&confirmed);
        self.standing.tell(&offers);
        let testing = self.standing.take_testing(&offers, &confirmed);
        self.feed(Event::Looked(Look {
            head: self.standing.head(&offers),
            is_refused: choose::is_refused(&offers),
            testing,
            observed,
            demand,
        }));
        let is_tested = match &self.state.tested.standing {
            Some(_) => IsTested::Yes,
            None => IsTested::No,
        };
        self.standing.tell_what_is_lacking(is_tested);
        if self.state.phase == Phase::Resting && self.unsaved.is_none() {
            self.tidy();
            // What was just decided comes first: it may bring another daemon still.
            if is_outdated {
                self.give_way();
            }
        }
    }

    /// Plans the next look at a remote; returns who wanted those that ended.
    fn end_look(&mut self, remote: RemoteNumber, now: Instant) -> Demand {
        let failures = self.standing.failures(remote);
        let period = self.standing.remotes.get(remote.0);
        let period = period.map_or(self.policy.poll_interval, |it| it.poll_interval);
        let wait = schedule::next(period, failures, self.draws.draw());
        self.looking.end(remote, now, wait, failures > 0)
    }

    /// Removes what an earlier configuration has left, once, and at rest: a
    /// deployment that may be led back from could want it again.
    fn tidy(&mut self) {
        if std::mem::replace(&mut self.has_tidied, true) {
            return;
        }
        let stages = Arc::clone(&self.stages);
        tokio::spawn(async move { stages.remove_unused_mirrors().await });
    }

    /// Has systemd start the daemon that the running system asks for.
    fn give_way(&self) {
        milestones::daemon_gives_way();
        let stages = Arc::clone(&self.stages);
        tokio::spawn(async move {
            if let Err(failure) = stages.replace().await {
                // The next look finds the same.
                warn!(why = failure.message, "this daemon goes on");
            }
        });
    }

    /// Somebody wants a look now; returns its number.
    pub(super) fn trigger(&mut self, demand: Demand) -> u64 {
        let number = self.looking.trigger(Instant::now(), demand);
        self.publish();
        number
    }

    /// Somebody wants a look, and may want one after the other.
    pub(super) fn trigger_again(&mut self, demand: Demand) -> Owed {
        let owed = self.looking.trigger_again(Instant::now(), demand);
        self.publish();
        owed
    }

    /// Root lets this commit be followed once, whatever was confirmed before;
    /// returns the number of the look that will answer.
    pub(super) fn allow(&mut self, commit: CommitId) -> Result<u64, Declined> {
        self.order(Event::Allowed(commit))?;
        Ok(self.trigger(Demand::Look))
    }

    /// An operator wants nothing new begun; returns when that ends by itself.
    pub(super) fn pause(
        &mut self,
        by: UserId,
        reason: String,
        length: Option<Duration>,
    ) -> Result<Option<Timestamp>, Declined> {
        self.order(Event::Paused { by, reason, length })?;
        if let Some(pause) = &self.state.pause {
            milestones::paused(pause);
        }
        Ok(self.state.pause.as_ref().and_then(|pause| pause.until))
    }

    /// An operator lets the host go on; returns the number of the look that
    /// follows.
    pub(super) fn let_go_on(&mut self, by: UserId) -> Result<u64, Declined> {
        let was_held = self.state.pause.is_some() || self.state.hold.is_some();
        self.order(Event::Resumed)?;
        if was_held {
            milestones::resumed_by(by);
        }
        Ok(self.trigger_again(Demand::Look).look)
    }

    /// An operator says that the system in its confirm window is good; returns
    /// which deployment's it is.
    pub(super) fn confirm(
        &mut self,
        by: UserId,
        deployment: Option<&DeploymentId>,
    ) -> Result<DeploymentId, Declined> {
        let id = window::judged(&self.state.phase, deployment).map_err(not_now)?;
        self.order(Event::Confirmed(id.clone()))?;
        milestones::confirm_asked(&id, by);
        Ok(id)
    }

    /// An operator says that it is not; returns the same.
    pub(super) fn reject(
        &mut self,
        by: UserId,
        deployment: Option<&DeploymentId>,
        reason: String,
    ) -> Result<DeploymentId, Declined> {
        self.has_taken_up()?;
        let id = window::judged(&self.state.phase, deployment).map_err(not_now)?;
        let deployment = id.clone();
        self.order(Event::Rejected {
            deployment,
            by,
            reason,
        })?;
        Ok(id)
    }

    /// Root wants something else than the branch does: first it is found out what the host is.
    pub(super) fn find_out(&self, wanted: Wanted) {
        let stages = Arc::clone(&self.stages);
        let found_out = self.found_out.clone();
        tokio::spawn(wanting::find_out(stages, wanted, found_out));
    }

    /// Brings the host to what root wants instead; returns the number of the look
    /// that follows.
    pub(super) fn bring(
        &mut self,
        by: UserId,
        instead: Instead,
        observed: Observed,
    ) -> Result<u64, Declined> {
        self.has_taken_up()?;
        let offers = self.standing.offers(&self.state.confirmed());
        let asked = Asked {
            by,
            instead,
            head: self.standing.head(&offers),
            observed: observed.clone(),
        };
        let candidate = instead::candidate(&self.state, &self.policy, &asked);
        let candidate = candidate.map_err(|why| Declined(why.to_string()))?;
        self.standing.observed = observed;
        self.order(Event::RootAsked(asked))?;
        match &candidate {
            Candidate::Earlier { deployment, .. } => milestones::rollback_asked(deployment, by),
            Candidate::Pushed { push, .. } => milestones::push_asked(push, by),
            Candidate::Commit(_) | Candidate::Testing { .. } => {}
        }
        Ok(self.trigger(Demand::Look))
    }

    /// What is touched is first taken up by who goes on with it.
    fn has_taken_up(&self) -> Result<(), Declined> {
        if self.is_resumed {
            return Ok(());
        }
        let why = "the host is not up yet, or the daemon has only just started: say it again in a \
                   moment";
        Err(Declined(why.to_owned()))
    }

    /// When a pause ends by itself, as the wall clock has it now.
    pub(super) fn pause_ends_at(&self) -> Option<Instant> {
        let until = self.state.pause.as_ref()?.until?;
        let left = until.duration_since(clock::now().wall);
        Some(Instant::now() + Duration::try_from(left).unwrap_or_default())
    }

    /// The time of a pause has come: what has waited is looked for at once.
    pub(super) fn end_pause(&mut self) {
        self.feed(Event::PauseEnded);
        if self.state.pause.is_none() {
            milestones::pause_ended();
            self.looking.hasten(Instant::now());
            self.publish();
        }
    }

    /// Takes an operator's word; it counts once it is on disk, and not before.
    fn order(&mut self, event: Event) -> Result<(), Declined> {
        let declined = || {
            Declined(
                "the daemon's ledger cannot be written, so this could be forgotten: see \
                 `deploy-flake status`, and say it again once it can"
                    .to_owned(),
            )
        };
        // What is decided on top of an older state would undo what waits.
        if self.unsaved.is_some() {
            return Err(declined());
        }
        self.feed(event);
        match self.unsaved {
            Some(_) => Err(declined()),
            None => Ok(()),
        }
    }

    /// Whether a look may begin: not while the host is touched.
    pub(super) fn may_look(&self) -> bool {
        let untouched = self.state.phase == Phase::Resting || self.state.phase.is_preparing();
        untouched && self.unsaved.is_none()
    }

    /// When the next remote is due that is not being asked.
    pub(super) fn look_due_at(&self) -> Option<Instant> {
        self.looking.due_at()
    }

    /// Whether looks still come to an end: what the watchdog is fed by.
    pub(super) fn is_alive(&self) -> bool {
        self.looking.is_alive()
    }

    /// Begins a look: at each remote that is due in a task of its own.
    pub(super) fn begin_look(&mut self) {
        let due = self.looking.begin(Instant::now());
        self.publish();
        for remote in due {
            self.look_at(remote);
        }
    }

    fn look_at(&self, remote: RemoteNumber) {
        let Some(&limits) = self.limits.get(remote.0) else {
            return;
        };
        let stages = Arc::clone(&self.stages);
        let seen = self.seen.clone();
        let confirmed = self.state.confirmed();
        tokio::spawn(async move {
            let observe = async { (stages.observe().await, stages.is_outdated().await) };
            let poll = stages.poll(remote, &confirmed);
            let result = look(limits, stages.ready(), poll, observe).await;
            // Only a daemon that is going away has dropped the receiver.
            let _ = seen.send(Sighting {
                remote,
                confirmed,
                seen: result,
            });
        });
    }

    /// When a decision that is not on disk is to be saved again.
    pub(super) fn save_again_at(&self) -> Option<Instant> {
        self.unsaved.as_ref().map(|unsaved| unsaved.again_at)
    }

    /// Tries once more to save what could not be saved.
    pub(super) fn save_again(&mut self) {
        if let Some(unsaved) = self.unsaved.take() {
            self.commit_again(unsaved.step, unsaved.times);
        }
    }

    /// The host is busy; nothing has begun yet.
    pub(super) fn wait(&mut self, failure: Failure) {
        self.standing.busy = Some(failure);
        self.publish();
    }

    /// Lets everybody know.
    pub(super) fn publish(&mut self) {
        let numbers = self.looking.numbers();
        let now = Instant::now();
        let due_at = |index| self.looking.remote_due_at(RemoteNumber(index));
        let due_in = (0..self.standing.remotes.len()).map(|index| {
            let at = due_at(index)?;
            Some(at.saturating_duration_since(now))
        });
        let due_in: Vec<Option<Duration>> = due_in.collect();
        self.publisher
            .publish(&self.state, &self.standing, numbers, &due_in);
    }

    fn feed(&mut self, event: Event) {
        let next = self.decide(|state, _, context| step(state, event, context));
        if next.stale {
            debug!(phase = self.state.phase.name(), "an event changed nothing");
        }
        self.commit(next);
    }

    fn decide(&self, decide: impl FnOnce(State, &Self, &Context<'_>) -> Step) -> Step {
        let context = Context {
            policy: &self.policy,
            settings: self.settings.clone(),
            now: clock::now(),
            boot_id: self.boot_id.clone(),
            fresh_id: DeploymentId(random::id()),
            random: random::bits(),
        };
        decide(self.state.clone(), self, &context)
    }

    /// Ledger before effect: what is not on disk does not happen.
    fn commit(&mut self, next: Step) {
        self.commit_again(next, 0);
    }

    /// The same for a decision that could not be saved so many times.
    fn commit_again(&mut self, next: Step, times: u32) {
        let changed = next.state != self.state;
        if changed && let Err(error) = self.ledger.save(&next.state) {
            return self.postpone(next, times + 1, &error);
        }
        self.standing.unsaved = None;
        if changed {
            let took = self.phase_entered.elapsed();
            let offers = self.standing.offers(&self.state.confirmed());
            let branch = self.standing.branch(&offers);
            story::tell(branch, &self.state, &next.state, took);
            let moment = Moment {
                now: clock::now(),
                observed: &self.standing.observed,
                origin: self.standing.origin(&offers),
            };
            self.recorder.note(&self.state, &next.state, &moment);
        }
        if next.state.phase != self.state.phase {
            self.phase_entered = Instant::now();
        }
        let ends = next.state.phase == Phase::Resting && self.state.phase != Phase::Resting;
        self.state = next.state;
        self.shutdown.leads(self.state.reboot);
        if ends {
            // What was pushed meanwhile is seen at once.
            self.looking.hasten(Instant::now());
        }
        self.publish();
        if !next.effects.is_empty() {
            self.executor.perform(next.effects);
        }
    }

    /// Nothing of a decision happens until it is on disk, but the way back.
    fn postpone(&mut self, step: Step, times: u32, error: &std::io::Error) {
        error!(%error, "the ledger cannot be written; nothing is done until it can");
        self.standing.unsaved = Some(error.to_string());
        if times == MOST_SAVES
            && let Some(back) = way_back(&step.state)
        {
            error!("the system that is being tested is led back from");
            // As its last act the guardian starts another daemon.
            self.executor.perform(vec![back]);
        }
        self.unsaved = Some(Unsaved {
            step,
            again_at: Instant::now() + SAVE_INTERVAL,
            times,
        });
        self.publish();
    }
}
