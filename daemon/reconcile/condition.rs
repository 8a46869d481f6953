//! The one answer to "is this host what the remote asks for, and if not, why".
//!
//! In: the state and what is known of remote and host. Out: a [`Condition`].
//! Must not: word it for people; `report` does.

use super::phase::Phase;
use super::state::State;
use super::{branches, holding, select};
use crate::model::deployment::{Finished, Outcome};
use crate::model::failure::{Failure, FailureClass};
use crate::model::pause::Pause;
use crate::model::system::{Observed, Toplevel};

/// What a host is in the eyes of whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nobody has looked yet.
    Starting,
    /// The host itself is starting or going down; nothing is begun meanwhile.
    Waiting(Failure),
    /// A deployment is going on.
    Deploying,
    /// Running system, profile and default entry are what the remote asks for.
    Converged,
    /// The running system is what the testing branch asks for.
    Testing,
    /// An operator wants nothing begun, and something waits for that.
    Paused(Pause),
    /// The host is what root went back to, or pushed.
    Holding,
    /// They were, and something else was put in their place.
    Drifted {
        /// What should be.
        wanted: Toplevel,
    },
    /// The commit was refused; nothing on the host was touched.
    Refused(Failure),
    /// The commit failed; the host is not what it should be.
    Failed(Failure),
    /// The commit was activated, failed, and the previous system runs again.
    RolledBack(Failure),
    /// It failed for a reason that may pass, and is tried again.
    Retrying(Failure),
    /// The system that is asked for needs a reboot.
    RebootRequired {
        /// What said so.
        reason: Failure,
        /// Whether the next boot starts it.
        entry_written: bool,
    },
    /// The remote cannot say what it wants.
    RemoteUnreachable(Failure),
}

impl Condition {
    /// The word in status.json.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting(_) => "waiting",
            Self::Deploying => "deploying",
            Self::Converged => "converged",
            Self::Testing => "testing",
            Self::Paused(_) => "paused",
            Self::Holding => "holding",
            Self::Drifted { .. } => "drifted",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::RolledBack(_) => "rolled-back",
            Self::Retrying(_) => "retrying",
            Self::RebootRequired { .. } => "reboot-required",
            Self::RemoteUnreachable(_) => "remote-unreachable",
        }
    }
}

/// What is known besides the state.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// Why nothing that was decided may happen, if so: it is not on disk.
    pub unsaved: Option<&'a Failure>,
    /// Why nothing may be begun on the host, if so.
    pub busy: Option<&'a Failure>,
    /// Why the remote could not be asked, if so.
    pub remote: Option<&'a Failure>,
    /// What the host is.
    pub observed: &'a Observed,
}

/// Finds the one answer. What keeps a deployment from going on comes first: it
/// looks busy, and stands still. What is wrong with the host comes before what
/// is wrong with the remote: it is what an operator must act on first.
pub fn condition(state: &State, surroundings: &Surroundings<'_>) -> Condition {
    if let Some(unsaved) = surroundings.unsaved {
        return Condition::Waiting(unsaved.clone());
    }
    if state.phase != Phase::Resting {
        return Condition::Deploying;
    }
    if let Some(busy) = surroundings.busy {
        return Condition::Waiting(busy.clone());
    }
    let standing = at_rest(state, surroundings.observed);
    let pause = state.pause.as_ref().filter(|it| it.waiting.is_some());
    match (standing, surroundings.remote) {
        // Whatever became of the commit before: this one needs somebody.
        (_, Some(offer)) if offer.code.is_of_offer() => Condition::Refused(offer.clone()),
        // It is worse than what waits.
        (Some(failed @ Condition::Failed(_)), _) => failed,
        (standing, remote) => match pause {
            Some(pause) => Condition::Paused(pause.clone()),
            None => without_pause(standing, remote),
        },
    }
}

fn without_pause(standing: Option<Condition>, remote: Option<&Failure>) -> Condition {
    match (standing, remote) {
        (Some(Condition::Converged | Condition::Testing) | None, Some(remote)) => {
            Condition::RemoteUnreachable(remote.clone())
        }
        (Some(standing), _) => standing,
        (None, None) => Condition::Starting,
    }
}

fn at_rest(state: &State, observed: &Observed) -> Option<Condition> {
    if let Some(standing) = &state.tested.standing {
        return Some(match select::drift(standing, observed) {
            Some(wanted) => Condition::Drifted {
                wanted: wanted.clone(),
            },
            None => Condition::Testing,
        });
    }
    let last = branches::told(state)?;
    Some(match &last.outcome {
        Outcome::Deployed | Outcome::Unchanged => match select::drift(last, observed) {
            Some(wanted) => Condition::Drifted {
                wanted: wanted.clone(),
            },
            None if holding::is_held(state, last) => Condition::Holding,
            None => Condition::Converged,
        },
        Outcome::RebootRequired {
            reason,
            entry_written,
        } => Condition::RebootRequired {
            reason: reason.clone(),
            entry_written: *entry_written,
        },
        Outcome::Refused(failure) | Outcome::Failed(failure)
            if failure.class != FailureClass::Deterministic =>
        {
            Condition::Retrying(failure.clone())
        }
        Outcome::Refused(failure) => Condition::Refused(failure.clone()),
        Outcome::Inconclusive(failure) => Condition::Retrying(failure.clone()),
        Outcome::RolledBack(failure) | Outcome::RolledBackByReboot(failure) => {
            rolled_back(last, failure, observed)
        }
        Outcome::Failed(failure)
        | Outcome::RollbackFailed(failure)
        | Outcome::Overridden(failure) => Condition::Failed(failure.clone()),
        Outcome::Superseded => Condition::Starting,
    })
}

/// What came after the way back: a reboot into an entry that could not be put
/// back, or somebody's hands.
fn rolled_back(last: &Finished, failure: &Failure, observed: &Observed) -> Condition {
    let runs = observed.running.as_ref();
    let previous = last.deployment.before.running.as_ref();
    match previous {
        Some(_) if runs.is_some() && runs == last.toplevel.as_ref() => {
            Condition::Failed(failure.clone())
        }
        Some(previous) if runs.is_some() && runs != Some(previous) => Condition::Drifted {
            wanted: previous.clone(),
        },
        Some(_) | None => Condition::RolledBack(failure.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::model::failure::FailureCode;

    #[test]
    fn a_deployment_that_cannot_be_written_down_does_not_look_busy() {
        let state = State {
            phase: Phase::Importing {
                deployment: deployment(1),
            },
            ..State::default()
        };
        let (full, observed) = (failure(FailureCode::DiskFull), observed(0));
        for (unsaved, expected) in [
            (None, Condition::Deploying),
            (Some(&full), Condition::Waiting(full.clone())),
        ] {
            let surroundings = Surroundings {
                unsaved,
                busy: None,
                remote: None,
                observed: &observed,
            };
            assert_eq!(condition(&state, &surroundings), expected);
        }
    }
}
