//! What an operator's word does to a system in its confirm window.
//!
//! In: the word. Out: who has to hear of it, or the way back. Must not: write a
//! boot entry on a word alone; the host's health comes first.

use super::super::effect::Effect;
use super::super::phase::Phase;
use super::super::state::{State, Step};
use super::super::window::judged;
use super::activating::roll_back;
use super::stale;
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::pause::{REASON_LIMIT, UserId};
use crate::model::stage::Word;
use crate::model::text::one_line;

/// It is good: whoever watches it waits for its health, and not for the window.
pub(super) fn confirmed(state: State, deployment: &DeploymentId) -> Step {
    match judged(&state.phase, Some(deployment)) {
        Ok(id) => Step {
            state,
            effects: vec![Effect::Say(id, Word::Confirmed)],
            stale: false,
        },
        Err(_) => stale(state),
    }
}

/// It is bad: the previous system comes back.
pub(super) fn rejected(state: State, deployment: &DeploymentId, by: UserId, reason: &str) -> Step {
    let named = judged(&state.phase, Some(deployment));
    let (Phase::Confirming(activation), Ok(id)) = (&state.phase, named) else {
        return stale(state);
    };
    let activation = activation.clone();
    let hush = Effect::Say(id, Word::Rejected);
    roll_back(state, activation, rejection(by, reason), Some(hush))
}

fn rejection(by: UserId, reason: &str) -> Failure {
    let reason = match one_line(reason, REASON_LIMIT) {
        reason if reason.is_empty() => "no reason was given".to_owned(),
        reason => reason,
    };
    Failure::new(
        FailureCode::Rejected,
        format!("{by} rejected the system in its confirm window: {reason}"),
        "Push a commit that mends it; or, if it was a mistake, run `deploy-flake retry`.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::effect::Work;
    use super::super::super::event::{Event, Report};
    use super::super::super::fixtures::*;
    use super::super::step;
    use super::*;
    use crate::model::deployment::Outcome;
    use crate::model::health::Reachability;
    use crate::model::policy::Settings;
    use crate::model::stage::{Confirmation, RollbackEnd};

    fn confirming() -> State {
        State {
            phase: Phase::Confirming(activation(1)),
            ..State::default()
        }
    }

    fn completed(state: State, report: Report) -> Step {
        let policy = policy();
        let deployment = deployment(1).id;
        let event = Event::Completed { deployment, report };
        step(state, event, &context(&policy, 20))
    }

    #[test]
    fn a_confirmed_system_is_still_watched_until_it_is_seen_healthy() {
        let policy = policy();
        let event = Event::Confirmed(deployment(1).id);
        let next = step(confirming(), event, &context(&policy, 20));
        assert_eq!(next.state, confirming(), "nothing is decided yet");
        let said = Effect::Say(deployment(1).id, Word::Confirmed);
        assert_eq!(next.effects, [said]);
        let next = completed(next.state, Report::Confirmed(Confirmation::Healthy));
        assert_eq!(next.state.phase.name(), "claiming");
    }

    #[test]
    fn a_rejected_system_is_led_back_from_and_held() {
        let policy = policy();
        let event = Event::Rejected {
            deployment: deployment(1).id,
            by: UserId(1000),
            reason: "slow\u{1b}".to_owned(),
        };
        let next = step(confirming(), event, &context(&policy, 20));
        assert_eq!(next.state.phase.name(), "rolling-back");
        let said = Effect::Say(deployment(1).id, Word::Rejected);
        assert_eq!(next.effects.first(), Some(&said));
        let work = next.effects.get(1);
        assert!(matches!(work, Some(Effect::Work(_, Work::RollBack(_)))));
        // What the watcher says now, is too late.
        let late = completed(next.state, Report::Confirmed(Confirmation::Healthy));
        assert!(late.stale);
        let end = RollbackEnd::RolledBack {
            remote: Reachability::Unknown,
        };
        let state = completed(late.state, Report::RolledBack(end)).state;
        let last = state.last.as_ref().expect("it has ended");
        let Outcome::RolledBack(failure) = &last.outcome else {
            panic!("{:?}", last.outcome);
        };
        assert_eq!(failure.code, FailureCode::Rejected);
        assert_eq!(
            failure.message,
            "user 1000 rejected the system in its confirm window: slow\\u{1b}"
        );
        let held = state.quarantine.holds(&toplevel(1), &Settings::default());
        assert!(held.is_some() && state.retry.is_none());
    }

    #[test]
    fn words_on_what_is_not_in_its_window_change_nothing() {
        let policy = policy();
        let other = DeploymentId("other".to_owned());
        let reject = |deployment| Event::Rejected {
            deployment,
            by: UserId(0),
            reason: String::new(),
        };
        let testing = || State {
            phase: Phase::Testing(activation(1)),
            ..State::default()
        };
        for (state, event) in [
            (confirming(), Event::Confirmed(other.clone())),
            (confirming(), reject(other)),
            (testing(), Event::Confirmed(deployment(1).id)),
            (testing(), reject(deployment(1).id)),
        ] {
            let next = step(state.clone(), event, &context(&policy, 20));
            assert!(next.stale && next.effects.is_empty());
            assert_eq!(next.state, state);
        }
    }
}
