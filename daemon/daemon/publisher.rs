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
use crate::fetcher::wire::RemoteAddress;
use crate::host::clock;
use crate::ipc::server;
use crate::model::failure::{Failure, FailureCode};
use crate::model::revision::CommitId;
use crate::reconcile::condition::{Condition, Surroundings, condition};
use crate::reconcile::phase::{Phase, Reboot};
use crate::reconcile::quarantine::Quarantined;
use crate::reconcile::state::State;
use crate::report::{notify, story, words};
use crate::store::snapshot::{self, ConditionState, PhaseName, RebootName, Snapshot};

/// Gives out what everybody may know.
pub(super) struct Publisher {
    path: PathBuf,
    daemon: snapshot::Daemon,
    host: snapshot::Host,
    remote: RemoteAddress,
    bus: watch::Sender<server::State>,
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
        remote: RemoteAddress,
    ) -> (Self, watch::Receiver<server::State>) {
        let (bus, receiver) = watch::channel(server::State::default());
        let publisher = Self {
            path,
            daemon,
            host,
            remote,
            bus,
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
        due_in: Duration,
    ) {
        let now = clock::now().wall;
        let next_look_at = now.saturating_add(due_in).ok();
        let condition = self.find_condition(state, standing);
        let snapshot = Snapshot {
            schema: snapshot::SCHEMA,
            daemon: self.daemon.clone(),
            host: self.host.clone(),
            remote: self.remote(standing, next_look_at),
            looks,
            system: snapshot::System::from(&standing.observed),
            desired: desired(state, standing),
            phase: self.phase(state, now),
            condition: self.condition(state, standing, &condition, now),
            last: state.last.as_ref().map(snapshot::Last::from),
            quarantine: state.quarantine.iter().map(held).collect(),
            reboot: reboot_name(state.reboot),
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
    fn tell_bus(&self, state: server::State) {
        self.bus.send_if_modified(|known| {
            let is_new = *known != state;
            *known = state;
            is_new
        });
    }

    fn remote(&self, standing: &Standing, next_look_at: Option<Timestamp>) -> snapshot::Remote {
        let last_error = standing.remote_failure.as_ref();
        snapshot::Remote {
            name: self.remote.name.clone(),
            url: self.remote.url.clone(),
            branch: self.remote.branch.clone(),
            head: standing.head.clone(),
            last_answer_at: standing.last_answer_at,
            last_error: last_error.map(|failure| snapshot::RemoteError {
                code: failure.code,
                message: failure.message.clone(),
            }),
            next_look_at,
        }
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
        snapshot::Phase {
            name,
            deployment,
            since,
        }
    }

    fn find_condition(&self, state: &State, standing: &Standing) -> Condition {
        let unsaved = standing.unsaved.as_deref().map(unsaved);
        condition(
            state,
            &Surroundings {
                unsaved: unsaved.as_ref(),
                busy: standing.busy.as_ref(),
                remote: standing.remote_failure.as_ref(),
                observed: &standing.observed,
            },
        )
    }

    fn condition(
        &self,
        state: &State,
        standing: &Standing,
        condition: &Condition,
        now: Timestamp,
    ) -> snapshot::Condition {
        let name = condition_state(condition);
        let text = words::condition_text(
            name,
            &words::Facts {
                branch: &self.remote.branch,
                commit: wanted(state, standing),
                failure: failure_of(condition),
                outcome: state.last.as_ref().map(|last| (&last.outcome).into()),
                entry_written: matches!(
                    condition,
                    Condition::RebootRequired {
                        entry_written: true,
                        ..
                    }
                ),
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
    let last = state
        .last
        .as_ref()
        .filter(|_| state.phase == Phase::Resting)?;
    Some(last.finished.wall)
}

/// The commit that status speaks of.
fn wanted<'a>(state: &'a State, standing: &'a Standing) -> Option<&'a CommitId> {
    let current = state.phase.deployment().map(|current| &current.candidate);
    let last = state.last.as_ref().map(|last| &last.deployment.candidate);
    current
        .or(last)
        .map(|candidate| candidate.commit())
        .or(standing.head.as_ref())
}

fn desired(state: &State, standing: &Standing) -> Option<snapshot::Desired> {
    let commit = wanted(state, standing)?;
    let resolved = state
        .resolved
        .as_ref()
        .filter(|resolved| resolved.candidate.commit() == commit);
    Some(snapshot::Desired {
        commit: commit.clone(),
        derivation: resolved.map(|resolved| resolved.derivation.clone()),
        toplevel: resolved.and_then(|resolved| resolved.toplevel.clone()),
    })
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

fn reboot_name(reboot: Reboot) -> RebootName {
    match reboot {
        Reboot::LeadsBack => RebootName::Safe,
        Reboot::LeadsAstray => RebootName::Unsafe,
    }
}

fn phase_name(phase: &Phase) -> PhaseName {
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
        | Condition::Drifted { .. } => None,
    }
}
