//! Root wants an earlier system back, or a snapshot of their own.
//!
//! In: which, and how host and branch are. Out: a deployment of it, guarded like
//! any, and a host that stays there. Must not: let it become what is followed.

use std::collections::BTreeSet;

use super::super::event::{Asked, Instead};
use super::super::holding::{Hold, Until};
use super::super::instead;
use super::super::phase::Phase;
use super::super::state::{Context, State, Step};
use super::resting::{deployment as new_deployment, first_phase, give_up};
use super::{enter, stale};
use crate::model::deployment::Cause;
use crate::model::revision::{Candidate, CommitId};

/// Begins the way there; a deployment that has touched nothing yet gives way.
pub(super) fn asked(state: State, asked: &Asked, context: &Context<'_>) -> Step {
    let Ok(candidate) = instead::candidate(&state, context.policy, asked) else {
        return stale(state);
    };
    let cause = match asked.instead {
        Instead::Earlier(_) => Cause::Rollback,
        Instead::Pushed(_) => Cause::Push,
    };
    let hold = Hold {
        by: asked.by,
        left: known(&state, asked.head.as_ref()),
        standing: state
            .hold
            .as_ref()
            .and_then(|before| before.standing.clone()),
        until: Until::NewCommit,
    };
    let ended = if state.phase == Phase::Resting {
        Step {
            state,
            effects: Vec::new(),
            stale: false,
        }
    } else {
        give_up(state, context)
    };
    let mut state = ended.state;
    state.hold = Some(hold);
    let deployment = new_deployment(candidate, cause, &asked.observed, 0, context);
    let phase = first_phase(&state, deployment);
    let mut next = enter(state, phase, None);
    next.effects.splice(0..0, ended.effects);
    next
}

/// Every commit that is known of the branch: a new one is none of them.
fn known(state: &State, head: Option<&CommitId>) -> BTreeSet<CommitId> {
    let last = state.last.as_ref().map(|last| &last.deployment.candidate);
    let current = state.phase.deployment().map(|current| &current.candidate);
    let waiting = state
        .pause
        .as_ref()
        .and_then(|pause| pause.waiting.as_ref());
    let candidates = [last, current, waiting].into_iter().flatten();
    let before = state.hold.iter().flat_map(|hold| &hold.left);
    candidates
        .map(Candidate::commit)
        .chain(head)
        .chain(&state.floor)
        .chain(before)
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::condition::{Condition, Surroundings, condition};
    use super::super::super::earlier::{NotBack, find};
    use super::super::super::effect::{Effect, Work};
    use super::super::super::event::{Demand, Event, Look};
    use super::super::super::fixtures::*;
    use super::super::{finish, step};
    use super::*;
    use crate::model::deployment::{Deployment, DeploymentId, Finished, Outcome, Resolved};
    use crate::model::failure::FailureCode;
    use crate::model::pause::UserId;
    use crate::model::policy::{OnDrift, OnUnhealthy, Policy};
    use crate::model::stage::UnitStep;
    use crate::model::system::Observed;

    fn id(index: u8) -> DeploymentId {
        DeploymentId(format!("{index:016}"))
    }

    fn deployed(index: u8) -> Finished {
        Finished {
            deployment: Deployment {
                id: id(index),
                ..deployment(index)
            },
            toplevel: Some(toplevel(index)),
            outcome: Outcome::Deployed,
            finished: now(u64::from(index)),
        }
    }

    /// A host that was brought to one commit after the other.
    fn brought_to(indices: &[u8]) -> State {
        let mut state = State::default();
        for &index in indices {
            let finished = deployed(index);
            let resolved = Resolved {
                candidate: finished.deployment.candidate.clone(),
                configuration: String::new(),
                derivation: derivation(index),
                toplevel: Some(toplevel(index)),
            };
            state.proven.add(&finished, Some(&resolved));
            state.floor = Some(commit(index));
            state.last = Some(finished);
            state.resolved = Some(resolved);
        }
        state
    }

    fn asks(named: Option<u8>, observed: Observed) -> Event {
        Event::RootAsked(Asked {
            by: UserId(0),
            instead: Instead::Earlier(named.map(id)),
            head: Some(commit(2)),
            observed,
        })
    }

    fn looked(head: Option<u8>, observed: Observed) -> Event {
        Event::Looked(Look {
            head: head.map(commit),
            is_refused: false,
            testing: None,
            observed,
            demand: Demand::Look,
        })
    }

    fn next(state: State, event: Event) -> State {
        next_by(&policy(), state, event)
    }

    fn next_by(policy: &Policy, state: State, event: Event) -> State {
        step(state, event, &context(policy, 20)).state
    }

    /// The deployment that goes on comes to this end.
    fn ended(mut state: State, index: u8, outcome: Outcome) -> State {
        let policy = policy();
        let phase = std::mem::take(&mut state.phase);
        let current = phase.deployment().expect("it goes on").clone();
        let reached = Some(toplevel(index));
        finish(
            state,
            current,
            reached,
            outcome,
            None,
            &context(&policy, 30),
        )
        .state
    }

    /// Commit 2 was gone back from to commit 1.
    fn held() -> State {
        let state = next(brought_to(&[1, 2]), asks(None, observed(2)));
        ended(state, 1, Outcome::Deployed)
    }

    fn candidate(state: &State) -> Option<(Option<DeploymentId>, CommitId, Cause)> {
        let current = state.phase.deployment()?;
        let earlier = match &current.candidate {
            Candidate::Earlier { deployment, .. } => Some(deployment.clone()),
            Candidate::Commit(_) | Candidate::Testing { .. } | Candidate::Pushed { .. } => None,
        };
        Some((earlier, current.candidate.commit().clone(), current.cause))
    }

    #[test]
    fn the_system_before_is_gone_back_to_and_nothing_is_built() {
        let policy = policy();
        let event = asks(None, observed(2));
        let next = step(brought_to(&[1, 2]), event, &context(&policy, 20));
        let expected = Some((Some(id(1)), commit(1), Cause::Rollback));
        assert_eq!(candidate(&next.state), expected);
        let [Effect::Work(_, Work::Root(built, running))] = &next.effects[..] else {
            panic!("{:?}", next.effects);
        };
        assert_eq!((built, running), (&system(1), &Some(toplevel(2))));
    }

    #[test]
    fn the_host_is_held_there_until_a_new_commit() {
        let state = held();
        assert_eq!(
            state.floor,
            Some(commit(2)),
            "what is older is not followed"
        );
        for head in [Some(2), None] {
            let state = next(state.clone(), looked(head, observed(1)));
            assert_eq!(state.phase, Phase::Resting, "{head:?}");
            assert!(state.hold.is_some());
        }
        let surroundings = Surroundings {
            unsaved: None,
            busy: None,
            remote: None,
            observed: &observed(1),
        };
        let told = condition(&state, &surroundings);
        assert_eq!(told, Condition::Holding);
        let state = next(state, looked(Some(3), observed(1)));
        assert_eq!(candidate(&state), Some((None, commit(3), Cause::NewCommit)));
        assert_eq!(state.hold, None);
    }

    #[test]
    fn an_operator_has_the_branch_followed_again() {
        let state = next(held(), Event::Resumed);
        for head in [Some(2), None] {
            let state = next(state.clone(), looked(head, observed(1)));
            assert_eq!(candidate(&state), Some((None, commit(2), Cause::Resumed)));
            assert_eq!(state.hold, None);
            let state = ended(state, 2, Outcome::Deployed);
            let state = next(state, looked(Some(2), observed(2)));
            assert_eq!((state.phase, state.reverted), (Phase::Resting, None));
        }
    }

    #[test]
    fn drift_from_there_is_corrected_to_there() {
        let mut policy = policy();
        policy.on_drift = OnDrift::Correct;
        let state = next_by(&policy, held(), looked(Some(2), observed(7)));
        let expected = Some((Some(id(1)), commit(1), Cause::Drift));
        assert_eq!(candidate(&state), expected);
        let refused = Outcome::Refused(failure(FailureCode::LockHeld));
        let state = ended(state, 1, refused);
        assert!(state.hold.is_some(), "it is still held");
        let state = next_by(&policy, state, looked(Some(2), observed(7)));
        assert_eq!(state.phase, Phase::Resting, "one failure, one try");
    }

    #[test]
    fn a_way_back_that_failed_leaves_the_host_as_it_was() {
        for outcome in [
            Outcome::Refused(failure(FailureCode::NotRooted)),
            Outcome::RolledBack(failure(FailureCode::UnhealthyAfterTest)),
        ] {
            let state = next(brought_to(&[1, 2]), asks(None, observed(2)));
            let state = ended(state, 1, outcome);
            assert_eq!(state.hold, None);
            let code = state.latest().and_then(|it| it.outcome.failure());
            assert!(code.is_some(), "it is told");
            let state = next(state, looked(Some(2), observed(2)));
            assert_eq!(state.phase, Phase::Resting);
        }
    }

    #[test]
    fn whoever_goes_back_twice_goes_further_or_to_a_system_of_their_choice() {
        let twice = |named| {
            let state = next(brought_to(&[1, 3, 2]), asks(None, observed(2)));
            let state = ended(state, 3, Outcome::Deployed);
            next(state, asks(named, observed(3)))
        };
        let expected = |index| Some((Some(id(index)), commit(index), Cause::Rollback));
        assert_eq!(candidate(&twice(None)), expected(1));
        assert_eq!(candidate(&twice(Some(2))), expected(2));
        // Where that fails, the host is held where it was held before.
        let failed = Outcome::RolledBack(failure(FailureCode::UnhealthyAfterTest));
        let state = ended(twice(None), 1, failed);
        let standing = state.hold.and_then(|hold| hold.standing);
        assert_eq!(standing.and_then(|it| it.toplevel), Some(toplevel(3)));
    }

    #[test]
    fn what_is_not_known_is_not_gone_back_to() {
        for (indices, named, expected) in [
            (&[][..], None, NotBack::Nothing),
            (&[2], None, NotBack::Nothing),
            (&[2], Some(1), NotBack::Unknown(id(1), id(2).to_string())),
        ] {
            let state = brought_to(indices);
            let named = named.map(id);
            assert_eq!(find(&state, named.as_ref()), Err(expected));
        }
        let mut state = brought_to(&[1, 2]);
        state.phase = Phase::Testing(activation(3));
        assert_eq!(find(&state, None), Err(NotBack::Busy("testing")));
        let same = next(state.clone(), asks(None, observed(2)));
        assert_eq!(same, state);
    }

    #[test]
    fn a_deployment_that_touched_nothing_gives_way_and_its_commit_is_not_new() {
        let policy = policy();
        let mut state = brought_to(&[1, 2]);
        state.phase = Phase::Importing {
            deployment: deployment(3),
        };
        let next = step(state, asks(None, observed(2)), &context(&policy, 20));
        let abandon = Effect::Abandon(deployment(3).id, UnitStep::Import);
        assert_eq!(next.effects.first(), Some(&abandon));
        let hold = next.state.hold.as_ref().expect("it is held");
        assert!(hold.left.contains(&commit(3)) && hold.left.contains(&commit(2)));
    }

    #[test]
    fn a_host_that_is_paused_or_not_well_may_be_taken_back() {
        let pause = Event::Paused {
            by: UserId(0),
            reason: String::new(),
            length: None,
        };
        let state = next(brought_to(&[1, 2]), pause);
        let mut state = next(state, asks(None, observed(2)));
        assert!(state.pause.is_some());
        let deployment = state.phase.deployment().expect("it goes on").clone();
        let system = system(1);
        state.phase = Phase::Inspecting { deployment, system };
        let Some((_, Work::Inspect(_, forgiven))) = state.work() else {
            panic!("it inspects");
        };
        assert_eq!(forgiven.unhealthy, OnUnhealthy::ProceedIfNotWorse);
    }

    #[test]
    fn a_commit_without_effect_is_no_system_to_go_back_to() {
        let mut state = brought_to(&[1, 2]);
        let again = Finished {
            deployment: deployment(4),
            ..deployed(2)
        };
        let resolved = state.resolved.clone();
        state.proven.add(&again, resolved.as_ref());
        assert_eq!(find(&state, None).map(|it| &it.deployment), Ok(&id(1)));
        let newest = state.proven.iter().last().expect("there is one");
        assert_eq!((&newest.deployment, &newest.commit), (&id(2), &commit(4)));
        state.proven.add(&deployed(5), resolved.as_ref());
        assert_eq!(state.proven.iter().count(), 2, "nobody knows what it is of");
    }
}
