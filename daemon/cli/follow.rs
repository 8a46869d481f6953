//! Follows one look to its end, by the snapshots that the daemon writes.
//!
//! In: the number of the look, and one snapshot after the other. Out: each
//! phase once, and the end. Must not: read a file or a clock, or wait.

use super::exit::Exit;
use crate::ipc::client::Call;
use crate::model::deployment::DeploymentId;
use crate::model::progress::Progress;
use crate::store::snapshot::{
    ConditionState, Last, OutcomeName, Phase, PhaseName, Pushed, Snapshot,
};

/// What a snapshot means for whoever waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that was not told.
    Nothing,
    /// A phase that was not told.
    Phase(Phase),
    /// It is further in the phase that was told.
    Progress(Progress),
    /// The look, and all that came of it, is over.
    Over(Exit),
    /// Another daemon wrote the snapshot: the look's number means nothing to
    /// it, and it has to be asked again.
    Restarted,
}

/// Waits for a look.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    instance: String,
    look: u64,
    told: Option<(Option<DeploymentId>, PhaseName)>,
    progress: Option<Progress>,
    waits_for: WaitsFor,
}

/// What whoever waits asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum WaitsFor {
    /// What the branch asks for.
    Branch,
    /// An earlier system.
    Earlier,
    /// What was pushed.
    Pushed(Box<Pushed>),
}

impl Follower {
    /// Follows a look of the daemon with this instance.
    pub(super) fn new(instance: String, look: u64) -> Self {
        Self {
            instance,
            look,
            told: None,
            progress: None,
            waits_for: WaitsFor::Branch,
        }
    }

    /// The same, for whoever asked for this.
    pub(super) fn answering(self, call: &Call) -> Self {
        let waits_for = match call {
            Call::Rollback { .. } => WaitsFor::Earlier,
            Call::Push { push } => WaitsFor::Pushed(Box::new(Pushed::from(&**push))),
            Call::Trigger | Call::Retry { .. } | Call::Allow { .. } => WaitsFor::Branch,
        };
        Self { waits_for, ..self }
    }

    /// Follows a look of another daemon, without telling a phase again.
    pub(super) fn restart(&mut self, instance: String, look: u64) {
        self.instance = instance;
        self.look = look;
    }

    /// Takes the next snapshot.
    pub(super) fn see(&mut self, snapshot: &Snapshot) -> News {
        if snapshot.daemon.instance != self.instance {
            return News::Restarted;
        }
        let phase = &snapshot.phase;
        if phase.name != PhaseName::Resting {
            let seen = Some((phase.deployment.clone(), phase.name));
            if self.told == seen {
                return self.progress(phase);
            }
            self.told = seen;
            // Told with the next snapshot that is read.
            self.progress = None;
            return News::Phase(Phase {
                progress: None,
                ..phase.clone()
            });
        }
        // A look that is owed after a deployment may find a newer commit.
        let looks = snapshot.looks;
        let looked = looks.finished >= self.look && looks.started == looks.finished;
        let last = snapshot.last.as_ref();
        let of_last = |last: Option<&Last>| last.map_or(Exit::Refused, |last| of(last.outcome));
        let exit = outcome(snapshot).map(|of_branch| match &self.waits_for {
            WaitsFor::Branch => of_branch,
            WaitsFor::Earlier => of_last(last.filter(|last| last.earlier.is_some())),
            WaitsFor::Pushed(pushed) => of_last(last_if(snapshot, pushed)),
        });
        match exit {
            Some(exit) if looked => News::Over(exit),
            Some(_) | None => News::Nothing,
        }
    }
}

impl Follower {
    /// What is new about how far a phase is.
    fn progress(&mut self, phase: &Phase) -> News {
        let is_new = phase.progress.is_some() && self.progress != phase.progress;
        if !is_new {
            return News::Nothing;
        }
        self.progress.clone_from(&phase.progress);
        phase.progress.clone().map_or(News::Nothing, News::Progress)
    }
}

/// What the condition says about a look that is over. None: between a look and
/// what comes of it.
fn outcome(snapshot: &Snapshot) -> Option<Exit> {
    match snapshot.condition.state {
        ConditionState::Starting | ConditionState::Deploying => None,
        ConditionState::Converged | ConditionState::Testing => Some(Exit::Success),
        ConditionState::RebootRequired => Some(Exit::RebootRequired),
        ConditionState::RemoteUnreachable => Some(Exit::RemoteUnreachable),
        ConditionState::Failed if snapshot.needs_human() => Some(Exit::NeedsHuman),
        ConditionState::RolledBack => Some(Exit::RolledBack),
        ConditionState::Waiting
        | ConditionState::Paused
        | ConditionState::Holding
        | ConditionState::Drifted
        | ConditionState::Refused
        | ConditionState::Failed
        | ConditionState::Retrying => Some(Exit::Refused),
    }
}

/// The deployment that ended last, if it is that push.
pub(super) fn last_if<'a>(snapshot: &'a Snapshot, pushed: &Pushed) -> Option<&'a Last> {
    let last = snapshot.last.as_ref();
    last.filter(|last| last.pushed.as_ref() == Some(pushed))
}

/// What became of a deployment that root asked for.
fn of(outcome: OutcomeName) -> Exit {
    match outcome {
        OutcomeName::Deployed | OutcomeName::Unchanged => Exit::Success,
        OutcomeName::RebootRequired => Exit::RebootRequired,
        OutcomeName::RollbackFailed => Exit::NeedsHuman,
        OutcomeName::RolledBack | OutcomeName::RolledBackByReboot => Exit::RolledBack,
        OutcomeName::Refused
        | OutcomeName::Failed
        | OutcomeName::Inconclusive
        | OutcomeName::Superseded
        | OutcomeName::Overridden => Exit::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::push::Push;
    use crate::store::snapshot::example::full;

    fn at(name: PhaseName, finished: u64, state: ConditionState) -> Snapshot {
        let mut snapshot = full();
        snapshot.phase.name = name;
        snapshot.looks = crate::store::snapshot::Looks {
            started: finished,
            finished,
        };
        snapshot.condition.state = state;
        snapshot
    }

    fn follower(look: u64) -> Follower {
        Follower::new(full().daemon.instance, look)
    }

    #[test]
    fn each_phase_is_told_once_and_then_the_end() {
        use ConditionState::{Converged, Deploying};
        use PhaseName::{Building, Evaluating, Resting};
        let mut follower = follower(6);
        let mut told = Vec::new();
        for (name, finished, state) in [
            (Resting, 5, Converged),
            (Resting, 6, Deploying),
            (Evaluating, 6, Deploying),
            (Evaluating, 6, Deploying),
            (Building, 6, Deploying),
            (Resting, 6, Converged),
        ] {
            match follower.see(&at(name, finished, state)) {
                News::Nothing => {}
                News::Phase(phase) => told.push(format!("{:?}", phase.name)),
                News::Progress(progress) => told.push(progress.to_string()),
                News::Over(exit) => told.push(format!("{exit:?}")),
                News::Restarted => told.push("restarted".to_owned()),
            }
        }
        assert_eq!(told, ["Evaluating", "Building", "Success"]);
    }

    #[test]
    fn how_far_a_build_is_is_told_whenever_it_is_new() {
        let mut follower = follower(6);
        let mut see = |progress: Option<&str>| {
            let mut snapshot = at(PhaseName::Building, 6, ConditionState::Deploying);
            snapshot.phase.progress = progress.and_then(Progress::parse);
            match follower.see(&snapshot) {
                News::Phase(phase) => {
                    assert_eq!(phase.progress, None);
                    "phase".to_owned()
                }
                News::Progress(progress) => progress.to_string(),
                News::Nothing => "nothing".to_owned(),
                News::Over(_) | News::Restarted => panic!("it is not over"),
            }
        };
        for (progress, told) in [
            (Some("0 of 3 built"), "phase"),
            (Some("0 of 3 built"), "0 of 3 built"),
            (Some("0 of 3 built"), "nothing"),
            (None, "nothing"),
            (Some("0 of 3 built"), "nothing"),
            (Some("0 of 3 built: one> x"), "0 of 3 built: one> x"),
        ] {
            assert_eq!(see(progress), told, "{progress:?}");
        }
    }

    #[test]
    fn a_deployment_that_was_going_on_before_is_not_the_answer() {
        let mut follower = follower(7);
        let before = at(PhaseName::Resting, 6, ConditionState::Refused);
        assert_eq!(follower.see(&before), News::Nothing);
        let answer = at(PhaseName::Resting, 7, ConditionState::Converged);
        assert_eq!(follower.see(&answer), News::Over(Exit::Success));
    }

    #[test]
    fn a_look_that_is_owed_is_waited_for() {
        let mut snapshot = at(PhaseName::Resting, 5, ConditionState::Converged);
        snapshot.looks.started = 6;
        assert_eq!(follower(5).see(&snapshot), News::Nothing);
    }

    #[test]
    fn another_daemon_has_to_be_asked_again() {
        let mut follower = Follower::new("another".to_owned(), 1);
        let snapshot = at(PhaseName::Resting, 5, ConditionState::Converged);
        assert_eq!(follower.see(&snapshot), News::Restarted);
        follower.restart(snapshot.daemon.instance.clone(), 5);
        assert_eq!(follower.see(&snapshot), News::Over(Exit::Success));
    }

    #[test]
    fn the_exit_code_follows_the_condition() {
        for (state, exit) in [
            (ConditionState::Converged, Exit::Success),
            (ConditionState::Waiting, Exit::Refused),
            (ConditionState::Paused, Exit::Refused),
            (ConditionState::Holding, Exit::Refused),
            (ConditionState::Drifted, Exit::Refused),
            (ConditionState::Refused, Exit::Refused),
            (ConditionState::Failed, Exit::Refused),
            (ConditionState::RolledBack, Exit::RolledBack),
            (ConditionState::Retrying, Exit::Refused),
            (ConditionState::RebootRequired, Exit::RebootRequired),
            (ConditionState::RemoteUnreachable, Exit::RemoteUnreachable),
        ] {
            let news = follower(5).see(&at(PhaseName::Resting, 5, state));
            assert_eq!(news, News::Over(exit), "{state:?}");
        }
    }

    #[test]
    fn a_rollback_ends_with_what_became_of_it_and_not_with_the_branch() {
        let call = Call::Rollback { deployment: None };
        let follower = follower(5).answering(&call);
        let mut snapshot = at(PhaseName::Resting, 5, ConditionState::Holding);
        let mut see = |earlier: Option<&str>, outcome| {
            snapshot.last = snapshot.last.take().map(|last| Last {
                earlier: earlier.map(|id| DeploymentId(id.to_owned())),
                outcome,
                ..last
            });
            follower.clone().see(&snapshot)
        };
        for (earlier, outcome, exit) in [
            (Some("1"), OutcomeName::Deployed, Exit::Success),
            (Some("1"), OutcomeName::Unchanged, Exit::Success),
            (Some("1"), OutcomeName::RebootRequired, Exit::RebootRequired),
            (Some("1"), OutcomeName::RolledBack, Exit::RolledBack),
            (Some("1"), OutcomeName::RollbackFailed, Exit::NeedsHuman),
            (None, OutcomeName::Deployed, Exit::Refused),
        ] {
            assert_eq!(see(earlier, outcome), News::Over(exit), "{outcome:?}");
        }
    }

    #[test]
    fn a_push_ends_with_what_became_of_it_and_not_with_the_branch_or_another_push() {
        let source = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source".to_owned();
        let push = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|it| (*it).to_owned()).collect();
            let push = Push::parse(source.clone(), "web1".to_owned(), &options);
            Box::new(push.expect("it is one"))
        };
        let call = Call::Push { push: push(&[]) };
        let follower = follower(5).answering(&call);
        let ours = || Pushed::from(&*push(&[]));
        for (pushed, outcome, exit) in [
            (Some(ours()), OutcomeName::Deployed, Exit::Success),
            (Some(ours()), OutcomeName::Unchanged, Exit::Success),
            (Some(ours()), OutcomeName::RolledBack, Exit::RolledBack),
            (Some(ours()), OutcomeName::Refused, Exit::Refused),
            (
                Some(ours()),
                OutcomeName::RebootRequired,
                Exit::RebootRequired,
            ),
            (
                Some(Pushed::from(&*push(&["test-only"]))),
                OutcomeName::Deployed,
                Exit::Refused,
            ),
            (None, OutcomeName::Deployed, Exit::Refused),
        ] {
            for state in [ConditionState::Converged, ConditionState::Holding] {
                let mut snapshot = at(PhaseName::Resting, 5, state);
                snapshot.last = snapshot.last.take().map(|last| Last {
                    pushed: pushed.clone(),
                    outcome,
                    ..last
                });
                let news = follower.clone().see(&snapshot);
                assert_eq!(news, News::Over(exit), "{pushed:?} {outcome:?}");
            }
        }
    }

    #[test]
    fn a_host_that_no_way_led_back_has_a_code_of_its_own() {
        let mut snapshot = at(PhaseName::Resting, 5, ConditionState::Failed);
        snapshot.last = snapshot.last.map(|last| Last {
            outcome: OutcomeName::RollbackFailed,
            ..last
        });
        assert_eq!(follower(5).see(&snapshot), News::Over(Exit::NeedsHuman));
    }
}
