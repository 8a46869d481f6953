//! What everybody may know: the snapshot, the bus, and the unit's status text.
//!
//! In: the state and what is known besides. Out: one snapshot, given to all
//! three whenever something changed. Must not: fail the daemon; whoever reads
//! it is not what it lives for.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::warn;

use super::standing::Standing;
use crate::host::clock;
use crate::ipc::server;
use crate::model::deployment::{DeploymentId, Finished};
use crate::model::failure::{Failure, FailureCode};
use crate::model::pause::Pause;
use crate::model::policy::Mode;
use crate::model::progress::Progress;
use crate::model::revision::{Branch, Candidate, CommitId};
use crate::pipeline::build::Building;
use crate::reconcile::branches;
use crate::reconcile::choose::{self, Offered, Place};
use crate::reconcile::condition::{Condition, Surroundings, condition};
use crate::reconcile::phase::{Phase, Reboot};
use crate::reconcile::quarantine::Quarantined;
use crate::reconcile::state::State;
use crate::report::{notify, story, words};
use crate::store::snapshot::{self, ConditionState, PhaseName, PlaceName, RebootName, Snapshot};

/// Gives out what everybody may know.
pub(super) struct Publisher {
    path: PathBuf,
    daemon: snapshot::Daemon,
    host: snapshot::Host,
    bus: watch::Sender<server::State>,
    building: watch::Receiver<Building>,
    last: Option<Snapshot>,
    /// The status text that systemd was told last.
    line: String,
    drift: story::Drift,
}

impl Publisher {
    pub(super) fn new(
        path: PathBuf,
        daemon: snapshot::Daemon,
        host: snapshot::Host,
        building: watch::Receiver<Building>,
    ) -> (Self, watch::Receiver<server::State>) {
        let (bus, receiver) = watch::channel(server::State::default());
        let publisher = Self {
            path,
            daemon,
            host,
            bus,
            building,
            last: None,
            line: String::new(),
            drift: story::Drift::default(),
        };
        (publisher, receiver)
    }

    /// Publishes the state, if it is another than the one published last.
    pub(super) fn publish(
        &mut self,
        state: &State,
        standing: &Standing,
        looks: snapshot::Looks,
        due_in: &[Option<Duration>],
    ) {
        let now = clock::now().wall;
        let offers = standing.offers(&state.confirmed());
        let remotes = remotes(standing, &offers, due_in, now);
        let condition = find_condition(state, standing, &offers);
        let testing = standing.testing.as_ref();
        let snapshot = Snapshot {
            schema: snapshot::SCHEMA,
            daemon: self.daemon.clone(),
            host: self.host.clone(),
            remote: remotes[standing.spoken_of(&offers)].clone(),
            remotes,
            looks,
            system: snapshot::System::from(&standing.observed),
            desired: desired(state, standing, &offers, &condition),
            last_new_commit_at: state.newest.as_ref().map(|newest| newest.seen_at),
            phase: self.phase(state, now),
            condition: self.condition(state, standing, &offers, &condition, now),
            last: state.latest().map(snapshot::Last::from),
            quarantine: state.quarantine.iter().map(held).collect(),
            reboot: reboot_name(state.reboot),
            testing: testing.map(|it| words::testing(it, state, standing.branch(&offers))),
            pause: state.pause.as_ref().map(pause),
            hold: hold(state),
            floor: state.confirmed().floor,
        };
        if self.last.as_ref() == Some(&snapshot) {
            return;
        }
        // Before the snapshot: who waits for the one finds the other.
        self.drift.tell(&condition, &standing.observed);
        if let Err(error) = snapshot::write(&self.path, &snapshot) {
            warn!(%error, "the snapshot for `status` cannot be written");
        }
        self.tell_systemd(words::status_line(&snapshot));
        self.tell_bus(server::State {
            phase: state.phase.name().to_owned(),
            condition: condition.name().to_owned(),
            branch: branch_of(state, standing, &offers, &condition)
                .as_str()
                .to_owned(),
            remotes: snapshot.remotes.iter().map(shown).collect(),
        });
        self.last = Some(snapshot);
    }

    /// Only what is new: each line wakes PID 1, and every look publishes.
    fn tell_systemd(&mut self, line: String) {
        if self.line != line {
            notify::status(&line);
            self.line = line;
        }
    }

    /// Only what is new: each change wakes the bus and whoever listens there.
    /// When remotes answered and are asked next is new with every look, and is
    /// there for whoever reads it.
    fn tell_bus(&self, state: server::State) {
        self.bus.send_if_modified(|known| {
            let is_new = known.phase != state.phase
                || known.condition != state.condition
                || known.branch != state.branch;
            *known = state;
            is_new
        });
    }

    fn phase(&self, state: &State, now: Timestamp) -> snapshot::Phase {
        let name = phase_name(&state.phase);
        let deployment = state.phase.deployment().map(|current| current.id.clone());
        let before = self.last.as_ref().map(|last| &last.phase);
        let since = match before {
            Some(before) if before.name == name && before.deployment == deployment => before.since,
            Some(_) => now,
            None => since_last(state).unwrap_or(now),
        };
        let progress = self.progress(name, deployment.as_ref());
        snapshot::Phase {
            name,
            deployment,
            since,
            progress,
        }
    }

    /// How far this deployment's build is, while it is being built.
    fn progress(&self, phase: PhaseName, current: Option<&DeploymentId>) -> Option<Progress> {
        let building = self.building.borrow();
        let (deployment, progress) = building.as_ref()?;
        let is_it = phase == PhaseName::Building && current == Some(deployment);
        is_it.then(|| progress.clone())
    }

    fn condition(
        &self,
        state: &State,
        standing: &Standing,
        offers: &[Offered],
        condition: &Condition,
        now: Timestamp,
    ) -> snapshot::Condition {
        let name = condition_state(condition);
        let text = words::condition_text(
            name,
            &words::Facts {
                branch: branch_of(state, standing, offers, condition),
                own: standing.branch(offers),
                lacks: standing.testing.as_ref().and_then(|it| it.lacks.as_ref()),
                commit: wanted(state, standing, offers, condition),
                failure: failure_of(condition),
                outcome: told(state).map(|last| (&last.outcome).into()),
                entry_written: matches!(
                    condition,
                    Condition::RebootRequired {
                        entry_written: true,
                        ..
                    }
                ),
                pause: state.pause.as_ref(),
                hold: hold(state).as_ref(),
                pushed: pushed(state, condition).as_ref(),
            },
        );
        let before = self.last.as_ref().map(|last| &last.condition);
        let since = match before {
            Some(before) if before.state == name && before.why == text.why => before.since,
            Some(_) => now,
            None => since_last(state).unwrap_or(now),
        };
        snapshot::Condition {
            state: name,
            why: text.why,
            since,
            remedy: text.remedy,
        }
    }
}

/// Each remote, in the order of the configuration; `due_in`: how long until it
/// is asked.
fn remotes(
    standing: &Standing,
    offers: &[Offered],
    due_in: &[Option<Duration>],
    now: Timestamp,
) -> Vec<snapshot::Remote> {
    let places = standing.choice(offers).places;
    let each = standing.remotes.iter().zip(places).zip(due_in);
    each.map(|((remote, place), due_in)| snapshot::Remote {
        name: remote.name.clone(),
        url: remote.url.clone(),
        branch: remote.branch.clone(),
        head: remote.head.clone(),
        last_answer_at: remote.last_answer_at,
        last_error: remote
            .failure
            .as_ref()
            .map(|failure| snapshot::RemoteError {
                code: failure.code,
                message: failure.message.clone(),
            }),
        next_look_at: due_in.and_then(|due_in| now.saturating_add(due_in).ok()),
        place: place_name(place),
    })
    .collect()
}

fn place_name(place: Place) -> PlaceName {
    match place {
        Place::Unknown => PlaceName::Unknown,
        Place::Silent => PlaceName::Silent,
        Place::Refused => PlaceName::Refused,
        Place::Followed => PlaceName::Followed,
        Place::Same => PlaceName::Same,
        Place::Behind => PlaceName::Behind,
        Place::Diverged => PlaceName::Diverged,
    }
}

/// A remote for the bus.
fn shown(remote: &snapshot::Remote) -> server::Remote {
    let seconds = |at: Option<Timestamp>| at.map_or(0, |at| at.as_second());
    let error = remote.last_error.as_ref();
    server::Remote {
        name: remote.name.clone(),
        url: remote.url.clone(),
        branch: remote.branch.as_str().to_owned(),
        place: remote.place.as_str().to_owned(),
        commit: remote
            .head
            .as_ref()
            .map_or_else(String::new, CommitId::to_string),
        failure: error.map_or_else(String::new, |error| error.code.as_str().to_owned()),
        last_answer_at: seconds(remote.last_answer_at),
        next_look_at: seconds(remote.next_look_at),
    }
}

fn find_condition(state: &State, standing: &Standing, offers: &[Offered]) -> Condition {
    let unsaved = standing.unsaved.as_deref().map(unsaved);
    condition(
        state,
        &Surroundings {
            unsaved: unsaved.as_ref(),
            busy: standing.busy.as_ref(),
            remote: choose::trouble(offers),
            observed: &standing.observed,
        },
    )
}

/// A ledger that cannot be written keeps everything from being begun.
fn unsaved(error: &str) -> Failure {
    Failure::new(
        FailureCode::DiskFull,
        format!("the ledger cannot be written ({error}), so nothing is begun"),
        "Make room, or make /var/lib/deploy-flake writable; it is tried again by itself.",
    )
}

/// Since when a host is at rest, where an earlier daemon brought it there.
fn since_last(state: &State) -> Option<Timestamp> {
    let last = told(state).filter(|_| state.phase == Phase::Resting)?;
    Some(last.finished.wall)
}

/// The deployment that the host is what it is for: what is tested, or what
/// became of the host's own branch.
fn told(state: &State) -> Option<&Finished> {
    branches::told(state)
}

/// The candidate that status speaks of.
fn candidate<'a>(state: &'a State, condition: &'a Condition) -> Option<&'a Candidate> {
    if let Condition::Paused(pause) = condition {
        return pause.waiting.as_ref();
    }
    if let Condition::Holding = condition {
        // The branch asks for what it asked for, and is not followed.
        return Some(&state.last.as_ref()?.deployment.candidate);
    }
    let current = state.phase.deployment();
    let current = current.or_else(|| Some(&told(state)?.deployment));
    current.map(|current| &current.candidate)
}

/// The commit that status speaks of.
fn wanted<'a>(
    state: &'a State,
    standing: &'a Standing,
    offers: &[Offered],
    condition: &'a Condition,
) -> Option<&'a CommitId> {
    let commit = candidate(state, condition).map(Candidate::commit);
    commit.or(standing.remotes[standing.spoken_of(offers)].head.as_ref())
}

/// The branch of what status speaks of.
fn branch_of<'a>(
    state: &'a State,
    standing: &'a Standing,
    offers: &[Offered],
    condition: &'a Condition,
) -> &'a Branch {
    let testing = candidate(state, condition).and_then(Candidate::testing);
    testing.unwrap_or_else(|| standing.branch(offers))
}

fn desired(
    state: &State,
    standing: &Standing,
    offers: &[Offered],
    condition: &Condition,
) -> Option<snapshot::Desired> {
    let commit = wanted(state, standing, offers, condition)?;
    let candidate = candidate(state, condition);
    let branch = Candidate::Commit(commit.clone());
    let resolved = state.resolved.as_ref().filter(|resolved| {
        let wanted = candidate.unwrap_or(&branch);
        resolved.candidate.is_same_flake(wanted)
    });
    Some(snapshot::Desired {
        commit: commit.clone(),
        testing: candidate.and_then(Candidate::testing).cloned(),
        pushed: pushed(state, condition),
        derivation: resolved.map(|resolved| resolved.derivation.clone()),
        toplevel: resolved.and_then(|resolved| resolved.toplevel.clone()),
    })
}

/// What root pushed, where status speaks of that.
fn pushed(state: &State, condition: &Condition) -> Option<snapshot::Pushed> {
    let push = candidate(state, condition).and_then(Candidate::push);
    push.map(snapshot::Pushed::from)
}

fn held(quarantined: &Quarantined) -> snapshot::Held {
    let failure = &quarantined.failure;
    snapshot::Held {
        toplevel: quarantined.toplevel.clone(),
        commit: quarantined.commit.clone(),
        code: failure.code,
        class: failure.class,
        message: failure.message.clone(),
        since: quarantined.since,
    }
}

fn hold(state: &State) -> Option<snapshot::Hold> {
    let hold = state.hold.as_ref()?;
    let standing = hold.standing.as_ref()?;
    let candidate = &standing.deployment.candidate;
    let deployment = match candidate {
        Candidate::Earlier { deployment, .. } => deployment,
        Candidate::Pushed { .. } => &standing.deployment.id,
        Candidate::Commit(_) | Candidate::Testing { .. } => return None,
    };
    Some(snapshot::Hold {
        by: hold.by,
        deployment: deployment.clone(),
        commit: candidate.commit().clone(),
        since: standing.finished.wall,
        pushed: candidate.push().map(snapshot::Pushed::from),
        ends_with_boot: standing.deployment.aim() == Mode::Test,
    })
}

fn pause(pause: &Pause) -> snapshot::Pause {
    let waiting = pause.waiting.as_ref();
    snapshot::Pause {
        by: pause.by,
        reason: pause.reason.clone(),
        since: pause.since,
        until: pause.until,
        waiting: waiting.map(|candidate| candidate.commit().clone()),
    }
}

fn reboot_name(reboot: Reboot) -> RebootName {
    match reboot {
        Reboot::LeadsBack => RebootName::Safe,
        Reboot::LeadsAstray => RebootName::Unsafe,
    }
}

pub(super) fn phase_name(phase: &Phase) -> PhaseName {
    match phase {
        Phase::Resting => PhaseName::Resting,
        Phase::Importing { .. } => PhaseName::Importing,
        Phase::Evaluating { .. } => PhaseName::Evaluating,
        Phase::Building { .. } => PhaseName::Building,
        Phase::Rooting { .. } => PhaseName::Rooting,
        Phase::Inspecting { .. } => PhaseName::Inspecting,
        Phase::Checking { .. } => PhaseName::Checking,
        Phase::Arming { .. } => PhaseName::Arming,
        Phase::Testing(_) => PhaseName::Testing,
        Phase::Replacing(_) => PhaseName::Replacing,
        Phase::Confirming(_) => PhaseName::Confirming,
        Phase::Claiming(_) => PhaseName::Claiming,
        Phase::SettingProfile { .. } => PhaseName::SettingProfile,
        Phase::WritingBootEntry { .. } => PhaseName::WritingBootEntry,
        Phase::ReadingBack { .. } => PhaseName::ReadingBack,
        Phase::Restoring { .. } => PhaseName::Restoring,
        Phase::Disarming { .. } => PhaseName::Disarming,
        Phase::RollingBack { .. } => PhaseName::RollingBack,
    }
}

fn condition_state(condition: &Condition) -> ConditionState {
    match condition {
        Condition::Starting => ConditionState::Starting,
        Condition::Waiting(_) => ConditionState::Waiting,
        Condition::Deploying => ConditionState::Deploying,
        Condition::Converged => ConditionState::Converged,
        Condition::Testing => ConditionState::Testing,
        Condition::Paused(_) => ConditionState::Paused,
        Condition::Holding => ConditionState::Holding,
        Condition::Drifted { .. } => ConditionState::Drifted,
        Condition::Refused(_) => ConditionState::Refused,
        Condition::Failed(_) => ConditionState::Failed,
        Condition::RolledBack(_) => ConditionState::RolledBack,
        Condition::Retrying(_) => ConditionState::Retrying,
        Condition::RebootRequired { .. } => ConditionState::RebootRequired,
        Condition::RemoteUnreachable(_) => ConditionState::RemoteUnreachable,
    }
}

fn failure_of(condition: &Condition) -> Option<&Failure> {
    match condition {
        Condition::Waiting(failure)
        | Condition::Refused(failure)
        | Condition::Failed(failure)
        | Condition::RolledBack(failure)
        | Condition::Retrying(failure)
        | Condition::RemoteUnreachable(failure)
        | Condition::RebootRequired {
            reason: failure, ..
        } => Some(failure),
        Condition::Starting
        | Condition::Deploying
        | Condition::Converged
        | Condition::Testing
        | Condition::Paused(_)
        | Condition::Holding
        | Condition::Drifted { .. } => None,
    }
}
