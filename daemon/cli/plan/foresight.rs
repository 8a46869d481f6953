//! What a look would do, from what the daemon has written of its last one.
//!
//! In: a snapshot, and the settings that a look goes by. Out: a word, and a
//! sentence. Must not: decide in the daemon's place; where it went by more than
//! the snapshot holds, its own words are told beside.

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::text::relative;
use crate::model::policy::{Mode, OnDrift};
use crate::model::system::Toplevel;
use crate::report::words;
use crate::store::snapshot::{ConditionState, PhaseName, Snapshot};

/// What of the configuration a look goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// How systems are brought to the host.
    pub(super) mode: Mode,
    /// What becomes of a drift.
    pub(super) on_drift: OnDrift,
}

/// What a look would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Would {
    /// Ask the remotes, and nobody knows what they say.
    Ask,
    /// Nothing: the host is what is asked for.
    Nothing,
    /// Follow the deployment that goes on.
    Follow,
    /// Bring the host back.
    Correct,
    /// Tell that the host was changed.
    Report,
    /// Wait for the end of a pause.
    Pause,
    /// Stay at what root went back to.
    Hold,
    /// Wait until the host is ready.
    Wait,
    /// Refuse what is asked for.
    Refuse,
    /// Leave what failed alone.
    Leave,
    /// Try again what failed, once its time has come.
    Retry,
    /// Wait for a reboot.
    Reboot,
}

impl Would {
    /// The words for people, to follow "a look now would".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Ask => "ask the remote",
            Self::Nothing => "do nothing",
            Self::Follow => "follow what goes on",
            Self::Correct => "bring the host back",
            Self::Report => "tell of the drift",
            Self::Pause => "begin nothing: deployments are paused",
            Self::Hold => "stay at the earlier system",
            Self::Wait => "wait for the host",
            Self::Refuse => "refuse what the branch asks for",
            Self::Leave => "leave alone what failed here",
            Self::Retry => "try again once its time has come",
            Self::Reboot => "wait for a reboot",
        }
    }
}

/// What a look would do, if the remotes answered as they did last.
pub(super) fn would(snapshot: &Snapshot, settings: Option<Settings>) -> Would {
    if snapshot.phase.name != PhaseName::Resting {
        return Would::Follow;
    }
    let on_drift = settings.map(|it| it.on_drift);
    match snapshot.condition.state {
        ConditionState::Starting | ConditionState::RemoteUnreachable => Would::Ask,
        ConditionState::Converged | ConditionState::Testing => Would::Nothing,
        ConditionState::Paused => Would::Pause,
        ConditionState::Holding => Would::Hold,
        // Between two snapshots of a deployment that begins or ends.
        ConditionState::Deploying => Would::Follow,
        ConditionState::Waiting => Would::Wait,
        ConditionState::Drifted if snapshot.pause.is_some() => Would::Pause,
        ConditionState::Drifted if on_drift == Some(OnDrift::Correct) => Would::Correct,
        ConditionState::Drifted => Would::Report,
        ConditionState::Refused => Would::Refuse,
        ConditionState::Failed | ConditionState::RolledBack => Would::Leave,
        ConditionState::Retrying if snapshot.pause.is_some() => Would::Pause,
        ConditionState::Retrying => Would::Retry,
        ConditionState::RebootRequired => Would::Reboot,
    }
}

/// The same as a sentence.
pub(super) fn sentence(would: Would, snapshot: &Snapshot, now: Timestamp) -> String {
    let answered = snapshot.remote.last_answer_at;
    let answered = answered.map_or_else(String::new, |at| {
        format!(
            ", unless it moved since the remote answered ({})",
            relative(at, now)
        )
    });
    match would {
        Would::Ask => "What the branch asks for is not known; a commit that may be followed would \
                       be deployed."
            .to_owned(),
        Would::Nothing => format!("The host is what the branch asks for{answered}."),
        Would::Follow => {
            let doing = words::phase(snapshot.phase.name);
            format!("A deployment goes on and is finished first; it is {doing}.")
        }
        Would::Correct => "What is wanted would be activated again.".to_owned(),
        Would::Report => "The host is left as it is, because drift is to be reported.".to_owned(),
        Would::Pause => {
            let waiting = snapshot.pause.as_ref().and_then(|it| it.waiting.as_ref());
            let waiting = waiting.map_or("What is wanted", |commit| commit.short());
            format!("{waiting} waits for the end of the pause, or `deploy-flake resume`.")
        }
        Would::Hold => "Until the branch is a new commit, or `deploy-flake resume`.".to_owned(),
        Would::Wait => "Nothing is begun before the host is ready for it.".to_owned(),
        Would::Refuse => "The host is not touched.".to_owned(),
        Would::Leave => {
            "Only another system, or `deploy-flake retry`, has the daemon activate anything."
                .to_owned()
        }
        Would::Retry => "The host is as it was before.".to_owned(),
        Would::Reboot => "What is wanted is not reached while this boot lasts.".to_owned(),
    }
}

/// The system that a deployment would bring, or has left undone: what is wanted
/// if it is built and does not run, else what the profile has.
pub(super) fn other_system(snapshot: &Snapshot) -> Option<&Toplevel> {
    let running = snapshot.system.running.as_ref()?;
    let wanted = snapshot
        .desired
        .as_ref()
        .and_then(|it| it.toplevel.as_ref());
    let profile = snapshot.system.profile.as_ref();
    [wanted, profile]
        .into_iter()
        .flatten()
        .find(|it| *it != running)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::history::example::after;
    use crate::store::snapshot::example::{NOON, full, pause};

    const CORRECTING: Option<Settings> = Some(Settings {
        mode: Mode::Switch,
        on_drift: OnDrift::Correct,
    });

    fn at(state: ConditionState) -> Snapshot {
        let mut snapshot = full();
        snapshot.condition.state = state;
        snapshot
    }

    #[test]
    fn each_state_of_rest_leads_to_something() {
        use ConditionState as State;
        for (state, settings, expected) in [
            (State::Starting, None, Would::Ask),
            (State::Converged, None, Would::Nothing),
            (State::Testing, None, Would::Nothing),
            (State::Paused, None, Would::Pause),
            (State::Holding, None, Would::Hold),
            (State::Waiting, None, Would::Wait),
            (State::Drifted, None, Would::Report),
            (State::Drifted, CORRECTING, Would::Correct),
            (State::Refused, None, Would::Refuse),
            (State::Failed, None, Would::Leave),
            (State::RolledBack, None, Would::Leave),
            (State::Retrying, None, Would::Retry),
            (State::RebootRequired, None, Would::Reboot),
            (State::RemoteUnreachable, None, Would::Ask),
        ] {
            assert_eq!(would(&at(state), settings), expected, "{state:?}");
        }
        let mut paused = at(State::Drifted);
        paused.pause = Some(pause());
        assert_eq!(would(&paused, CORRECTING), Would::Pause);
        let mut going_on = at(State::Converged);
        going_on.phase.name = PhaseName::Building;
        assert_eq!(would(&going_on, None), Would::Follow);
        let now = NOON.parse().expect("it is a time");
        assert_eq!(
            sentence(Would::Follow, &going_on, now),
            "A deployment goes on and is finished first; it is building the system."
        );
        assert_eq!(
            sentence(Would::Nothing, &full(), now),
            "The host is what the branch asks for, unless it moved since the remote answered (now)."
        );
    }

    #[test]
    fn the_other_system_is_what_is_wanted_or_else_the_profiles() {
        let mut snapshot = full();
        assert_eq!(other_system(&snapshot), None);
        snapshot.system.profile = Some(after());
        assert_eq!(other_system(&snapshot), Some(&after()));
        let wanted = snapshot.desired.as_ref().and_then(|it| it.toplevel.clone());
        snapshot.system.running = Some(after());
        assert_eq!(other_system(&snapshot), wanted.as_ref());
        snapshot.system.running = None;
        assert_eq!(other_system(&snapshot), None);
    }
}
