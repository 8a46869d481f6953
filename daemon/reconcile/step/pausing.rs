//! What an operator's pause holds up: whatever would be begun, and nothing that
//! was.
//!
//! In: the operator's word, or a decision of a look. Out: the state with the
//! pause, or with what waits for its end. Must not: touch a deployment that goes
//! on; it is finished, or led back, as ever.

use std::time::Duration;

use super::super::holding::Until;
use super::super::select::Decision;
use super::super::state::{Context, State, Step};
use super::stale;
use crate::model::pause::{Pause, UserId};

/// Begins a pause, or gives one another reason and another end.
pub(super) fn paused(
    mut state: State,
    by: UserId,
    reason: String,
    length: Option<Duration>,
    context: &Context<'_>,
) -> Step {
    let since = context.now.wall;
    let before = state.pause.take();
    state.pause = Some(Pause {
        by,
        reason,
        since,
        until: length.and_then(|length| since.saturating_add(length).ok()),
        waiting: before.and_then(|before| before.waiting),
    });
    quietly(state)
}

/// Ends a pause, or what root went back to; the next look begins what has
/// waited.
pub(super) fn resumed(mut state: State) -> Step {
    state.pause = None;
    if let Some(hold) = &mut state.hold {
        hold.until = Until::Resumed;
    }
    quietly(state)
}

/// Ends a pause whose time has come.
pub(super) fn ended(mut state: State, context: &Context<'_>) -> Step {
    let is_over = |pause: &mut Pause| pause.is_over(context.now.wall);
    match state.pause.take_if(is_over) {
        Some(_) => quietly(state),
        None => stale(state),
    }
}

/// Whether nothing new may be begun now.
pub(super) fn holds(state: &State, context: &Context<'_>) -> bool {
    let pause = state.pause.as_ref();
    pause.is_some_and(|pause| !pause.is_over(context.now.wall))
}

/// What becomes of a look's decision: a pause notes what it holds up.
pub(super) fn held_up(state: &mut State, decision: Decision, context: &Context<'_>) -> Decision {
    let holds = holds(state, context);
    let Some(pause) = state.pause.as_mut().filter(|_| holds) else {
        return decision;
    };
    match decision {
        Decision::Deploy(candidate, _) => {
            pause.waiting = Some(candidate);
            Decision::Rest
        }
        Decision::Rest | Decision::Arrived => {
            pause.waiting = None;
            decision
        }
    }
}

/// The state changes, and nothing is to be done.
fn quietly(state: State) -> Step {
    Step {
        state,
        effects: Vec::new(),
        stale: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::event::{Demand, Event, Look};
    use super::super::super::fixtures::*;
    use super::super::super::phase::Phase;
    use super::super::step;
    use super::*;
    use crate::model::deployment::{Cause, Finished, Outcome};
    use crate::model::revision::Candidate;

    fn looked(head: u8) -> Event {
        Event::Looked(Look {
            head: Some(commit(head)),
            is_refused: false,
            testing: None,
            observed: observed(0),
            demand: Demand::Look,
        })
    }

    fn paused_for(length: Option<u64>) -> Event {
        Event::Paused {
            by: UserId(1000),
            reason: "a fair".to_owned(),
            length: length.map(Duration::from_secs),
        }
    }

    /// What becomes of a fresh host, event by event, each with its second.
    fn after(events: impl IntoIterator<Item = (u64, Event)>) -> State {
        let policy = policy();
        let take = |state, (second, event)| step(state, event, &context(&policy, second)).state;
        events.into_iter().fold(State::default(), take)
    }

    fn waiting(state: &State) -> Option<&Candidate> {
        state.pause.as_ref()?.waiting.as_ref()
    }

    #[test]
    fn nothing_is_begun_on_a_paused_host_and_what_waits_is_noted() {
        let state = after([(10, paused_for(None)), (20, looked(1))]);
        assert_eq!(state.phase, Phase::Resting);
        assert_eq!(waiting(&state), Some(&Candidate::Commit(commit(1))));
        let pause = state.pause.as_ref().expect("it is paused");
        assert_eq!((pause.by, pause.since), (UserId(1000), now(10).wall));
        assert_eq!((&*pause.reason, pause.until), ("a fair", None));
        // Said once more, it has another end and the same to wait for.
        let state = after([
            (10, paused_for(None)),
            (20, looked(1)),
            (30, paused_for(Some(5))),
        ]);
        assert_eq!(waiting(&state), Some(&Candidate::Commit(commit(1))));
        let until = state.pause.and_then(|pause| pause.until);
        assert_eq!(until, Some(now(35).wall));
    }

    #[test]
    fn what_waited_is_begun_after_the_pause_whoever_ended_it() {
        let held_up = || [(10, paused_for(Some(20))), (20, looked(1))];
        for (end, ends) in [
            (Event::Resumed, true),
            (Event::PauseEnded, false),
            (looked(1), false),
        ] {
            let state = after(held_up().into_iter().chain([(29, end.clone())]));
            assert_eq!(state.pause.is_none(), ends, "{end:?}");
        }
        for end in [Event::Resumed, Event::PauseEnded] {
            let events = held_up().into_iter().chain([(30, end), (31, looked(1))]);
            let state = after(events);
            assert_eq!(state.pause, None);
            assert_eq!(state.phase.name(), "importing");
        }
        // Its time has come, and nobody has said so yet.
        let state = after(held_up().into_iter().chain([(30, looked(1))]));
        assert_eq!(state.phase.name(), "importing");
    }

    #[test]
    fn what_is_gone_does_not_wait_any_more() {
        let policy = policy();
        let mut state = after([(10, paused_for(None)), (20, looked(2))]);
        state.last = Some(Finished {
            deployment: deployment(1),
            toplevel: Some(toplevel(0)),
            outcome: Outcome::Deployed,
            finished: now(5),
        });
        let state = step(state, looked(1), &context(&policy, 30)).state;
        assert_eq!(waiting(&state), None);
        assert!(state.pause.is_some());
    }

    #[test]
    fn a_deployment_that_goes_on_is_finished_and_no_newer_commit_takes_over() {
        let state = after([(10, looked(1)), (20, paused_for(None)), (30, looked(2))]);
        let current = state.phase.deployment().expect("it goes on");
        assert_eq!(current.candidate, Candidate::Commit(commit(1)));
        assert_eq!(current.cause, Cause::NewCommit);
    }
}
