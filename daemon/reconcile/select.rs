//! What a look asks for: nothing, a deployment, or a word about drift.
//!
//! In: the state at rest and what the look saw. Out: a decision. Must not:
//! start anything; `step` does.

use super::backoff;
use super::event::{Demand, Look};
use super::state::{Context, Retry, State};
use crate::model::deployment::{Cause, Finished, Outcome};
use crate::model::failure::{Failure, FailureClass, FailureCode};
use crate::model::policy::{Mode, OnDrift, OnRebootRequired};
use crate::model::revision::Candidate;
use crate::model::system::{Observed, Toplevel};

/// What a look at rest asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the host is what is asked for, or must wait.
    Rest,
    /// The host became what was asked for without us (a reboot, an operator).
    Arrived,
    /// Bring this candidate here.
    Deploy(Candidate, Cause),
}

impl Decision {
    /// This one, or the other where this is nothing.
    pub(super) fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Rest => other(),
            decision @ (Self::Arrived | Self::Deploy(..)) => decision,
        }
    }
}

/// Decides what a look at rest asks for, as far as it is about the host's own
/// branch.
///
/// While the remote cannot say what it wants, the last candidate stands: a
/// host is brought back, or tried again, without the network too.
pub(super) fn decide(state: &State, look: &Look, context: &Context<'_>) -> Decision {
    match (&look.head, &state.last) {
        (Some(head), Some(last)) if head == last.deployment.candidate.commit() => {
            same_candidate(last, look, context, state.retry.as_ref())
        }
        (None, Some(last)) if may_stand(last, look, context) => {
            same_candidate(last, look, context, state.retry.as_ref())
        }
        (Some(head), _) => Decision::Deploy(Candidate::Commit(head.clone()), Cause::NewCommit),
        (None, _) => Decision::Rest,
    }
}

/// Whether the last candidate may be tried again although nobody asks for it
/// now: not where the judge refused it, or might under other settings. What was
/// confirmed may always be brought back.
fn may_stand(last: &Finished, look: &Look, context: &Context<'_>) -> bool {
    let is_confirmed = matches!(last.outcome, Outcome::Deployed | Outcome::Unchanged);
    let was_judged_alike = last.deployment.settings == context.settings;
    is_confirmed || arrived(last, &look.observed) || (!look.is_refused && was_judged_alike)
}

/// Decides about a candidate that was deployed before, and is to be tried again
/// not before the `retry`.
pub(super) fn same_candidate(
    last: &Finished,
    look: &Look,
    context: &Context<'_>,
    retry: Option<&Retry>,
) -> Decision {
    let again = |cause| Decision::Deploy(last.deployment.candidate.clone(), cause);
    let is_pushed = last.deployment.candidate.push().is_some();
    if !is_pushed && last.deployment.settings.configuration != context.settings.configuration {
        // The same commit asks for another system.
        return again(Cause::NewCommit);
    }
    if is_of_another_mode(last, context) {
        return again(Cause::Mode);
    }
    if matches!(look.demand, Demand::Retry { .. }) && !is_settled(last, look) {
        return again(Cause::Operator);
    }
    match &last.outcome {
        Outcome::Deployed | Outcome::Unchanged => match drift(last, &look.observed) {
            Some(_) if context.policy.on_drift == OnDrift::Correct => again(Cause::Drift),
            Some(_) | None => Decision::Rest,
        },
        Outcome::RebootRequired { entry_written, .. } => {
            if arrived(last, &look.observed) {
                Decision::Arrived
            } else if !entry_written && worth_another_try(last, look, context) {
                again(Cause::Retry)
            } else {
                Decision::Rest
            }
        }
        // Nothing was touched, and what refused it may be what was changed. What
        // failed after it had touched the host, is not activated again for that.
        Outcome::Refused(_) if last.deployment.settings != context.settings => again(Cause::Retry),
        // Somebody else did what we would not.
        Outcome::Refused(_) | Outcome::Overridden(_) if arrived(last, &look.observed) => {
            Decision::Arrived
        }
        Outcome::RolledBack(_) | Outcome::RolledBackByReboot(_) | Outcome::RollbackFailed(_)
            if arrived(last, &look.observed) && !was_to_boot(last) =>
        {
            Decision::Arrived
        }
        Outcome::Refused(failure) | Outcome::Failed(failure) | Outcome::Inconclusive(failure) => {
            if is_due(retry, failure, &look.demand, context) {
                again(Cause::Retry)
            } else {
                Decision::Rest
            }
        }
        // One failure, one activation.
        Outcome::RolledBack(_) | Outcome::RolledBackByReboot(_) | Outcome::RollbackFailed(_) => {
            Decision::Rest
        }
        Outcome::Overridden(_) => Decision::Rest,
        Outcome::Superseded => again(Cause::NewCommit),
    }
}

/// Whether a failure is to be tried again now.
fn is_due(
    retry: Option<&Retry>,
    failure: &Failure,
    demand: &Demand,
    context: &Context<'_>,
) -> bool {
    match failure.class {
        FailureClass::Deterministic => false,
        FailureClass::Host | FailureClass::Transient => {
            *demand != Demand::Time
                || retry.is_none_or(|retry| backoff::is_due(retry, context.now.wall))
        }
    }
}

/// Whether the host was brought to it in one mode and is to be in another. What
/// failed is not activated again for that.
fn is_of_another_mode(last: &Finished, context: &Context<'_>) -> bool {
    let is_there = match &last.outcome {
        Outcome::Deployed | Outcome::Unchanged | Outcome::RebootRequired { .. } => true,
        Outcome::RolledBackByReboot(failure) => failure.code == FailureCode::TestEnded,
        Outcome::Refused(_)
        | Outcome::Failed(_)
        | Outcome::RolledBack(_)
        | Outcome::RollbackFailed(_)
        | Outcome::Inconclusive(_)
        | Outcome::Superseded
        | Outcome::Overridden(_) => false,
    };
    is_there && last.deployment.aim() != last.deployment.aim_in(context.policy.mode)
}

/// A refused reboot is worth another try when the policy or the running system
/// changed meanwhile; one that was only to be tested has no boot entry to ask for.
fn worth_another_try(last: &Finished, look: &Look, context: &Context<'_>) -> bool {
    let may_boot = context.policy.on_reboot_required == OnRebootRequired::Boot
        && last.deployment.aim() != Mode::Test;
    may_boot || look.observed.running != last.deployment.before.running
}

/// Whether there is nothing that trying again could change.
fn is_settled(last: &Finished, look: &Look) -> bool {
    let is_good = matches!(last.outcome, Outcome::Deployed | Outcome::Unchanged);
    is_good && drift(last, &look.observed).is_none()
}

fn arrived(last: &Finished, observed: &Observed) -> bool {
    last.toplevel
        .as_ref()
        .is_some_and(|toplevel| last.deployment.is_reached(toplevel, observed))
}

/// Whether profile and default entry were the system before it was activated:
/// then that they are says nothing, and a reboot led to what had failed.
fn was_to_boot(last: &Finished) -> bool {
    let toplevel = last.toplevel.as_ref();
    toplevel.is_some_and(|toplevel| last.deployment.before.boots(toplevel))
}

/// The toplevel that a host at rest should be and is not.
pub fn drift<'a>(last: &'a Finished, observed: &Observed) -> Option<&'a Toplevel> {
    let wanted = last.toplevel.as_ref()?;
    let at_rest = matches!(last.outcome, Outcome::Deployed | Outcome::Unchanged);
    (at_rest && !last.deployment.is_reached(wanted, observed)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixtures::*;
    use super::*;
    use crate::model::failure::FailureCode;
    use crate::model::system::DefaultEntry;

    /// A state at rest after commit 1 (toplevel 1) ended this way.
    fn after(outcome: Outcome) -> State {
        State {
            last: Some(Finished {
                deployment: deployment(1),
                toplevel: Some(toplevel(1)),
                outcome,
                finished: now(10),
            }),
            ..State::default()
        }
    }

    fn look(head: Option<u8>, observed: Observed) -> Look {
        Look {
            is_refused: false,
            head: head.map(commit),
            testing: None,
            observed,
            demand: Demand::Time,
        }
    }

    fn decided(state: &State, look: &Look) -> Decision {
        let policy = policy();
        decide(state, look, &context(&policy, 100))
    }

    fn deploy(index: u8, cause: Cause) -> Decision {
        Decision::Deploy(Candidate::Commit(commit(index)), cause)
    }

    fn refused(code: FailureCode) -> State {
        after(Outcome::Refused(failure(code)))
    }

    #[test]
    fn the_first_commit_is_deployed_and_without_a_remote_nothing_is() {
        let fresh = State::default();
        assert_eq!(
            decided(&fresh, &look(Some(1), observed(0))),
            deploy(1, Cause::NewCommit)
        );
        assert_eq!(decided(&fresh, &look(None, observed(0))), Decision::Rest);
    }

    #[test]
    fn a_converged_host_rests_whether_or_not_the_remote_answers() {
        for outcome in [Outcome::Deployed, Outcome::Unchanged] {
            for head in [Some(1), None] {
                let state = after(outcome.clone());
                assert_eq!(decided(&state, &look(head, observed(1))), Decision::Rest);
            }
        }
    }

    #[test]
    fn another_commit_is_deployed_whatever_became_of_the_last() {
        for state in [
            after(Outcome::Deployed),
            refused(FailureCode::EvaluationFailed),
            after(Outcome::Overridden(failure(FailureCode::Overridden))),
        ] {
            assert_eq!(
                decided(&state, &look(Some(2), observed(1))),
                deploy(2, Cause::NewCommit)
            );
        }
    }

    #[test]
    fn drift_is_reported_or_corrected_by_policy_even_while_the_remote_is_down() {
        let state = after(Outcome::Deployed);
        let mut policy = policy();
        for head in [Some(1), None] {
            let look = look(head, observed(7));
            policy.on_drift = OnDrift::Report;
            assert_eq!(
                decide(&state, &look, &context(&policy, 100)),
                Decision::Rest
            );
            policy.on_drift = OnDrift::Correct;
            assert_eq!(
                decide(&state, &look, &context(&policy, 100)),
                deploy(1, Cause::Drift)
            );
        }
    }

    #[test]
    fn drift_is_any_of_running_system_profile_and_default_entry() {
        let Some(last) = after(Outcome::Deployed).last else {
            unreachable!("it was just made");
        };
        assert_eq!(drift(&last, &observed(1)), None);
        let mut running = observed(1);
        running.running = Some(toplevel(7));
        let mut profile = observed(1);
        profile.profile = None;
        let mut entry = observed(1);
        entry.default_entry = DefaultEntry::Toplevel(toplevel(7));
        for drifted in [running, profile, entry] {
            assert_eq!(drift(&last, &drifted), Some(&toplevel(1)));
        }
    }

    #[test]
    fn a_failure_of_the_commit_itself_waits_for_another_commit() {
        let state = refused(FailureCode::CheckRefused);
        let mut look = look(Some(1), observed(0));
        look.demand = Demand::Look;
        assert_eq!(decided(&state, &look), Decision::Rest);
    }

    #[test]
    fn changed_settings_ask_again_unless_the_host_was_touched() {
        let refused = refused(FailureCode::CheckTimeout);
        let failed = after(Outcome::Failed(failure(FailureCode::ActivationFailed)));
        let deployed = after(Outcome::Deployed);
        let policy = policy();
        let decided = |state, index, configuration: &str, digest: &str| {
            let mut context = context(&policy, 100);
            context.settings.configuration = configuration.to_owned();
            context.settings.digest = digest.to_owned();
            decide(state, &look(Some(1), observed(index)), &context)
        };
        for (state, index, digest, expected) in [
            (&refused, 0, "", Decision::Rest),
            (&refused, 0, "other", deploy(1, Cause::Retry)),
            (&failed, 0, "other", Decision::Rest),
            (&deployed, 1, "other", Decision::Rest),
        ] {
            assert_eq!(decided(state, index, "", digest), expected, "{state:?}");
        }
        for (state, index) in [(&refused, 0), (&failed, 0), (&deployed, 1)] {
            let expected = deploy(1, Cause::NewCommit);
            assert_eq!(decided(state, index, "other", ""), expected, "{state:?}");
        }
    }

    #[test]
    fn what_may_pass_waits_for_its_time_or_for_an_operator() {
        for code in [FailureCode::InputUnavailable, FailureCode::SystemUnhealthy] {
            waits_for_its_time_or_for_an_operator(refused(code));
        }
    }

    #[test]
    fn what_may_not_be_followed_is_not_tried_again_from_memory() {
        let state = refused(FailureCode::InputUnavailable);
        let mut look = look(None, observed(0));
        assert_eq!(decided(&state, &look), deploy(1, Cause::Retry));
        let policy = policy();
        let mut other = context(&policy, 100);
        other.settings.digest = "other".to_owned();
        assert_eq!(decide(&state, &look, &other), Decision::Rest);
        look.is_refused = true;
        assert_eq!(decided(&state, &look), Decision::Rest);
        look.demand = Demand::Retry {
            allowed: BTreeSet::new(),
        };
        assert_eq!(decided(&state, &look), Decision::Rest);
    }

    #[test]
    fn what_was_confirmed_is_brought_back_whatever_is_offered() {
        let state = after(Outcome::Deployed);
        let mut policy = policy();
        policy.on_drift = OnDrift::Correct;
        let mut look = look(None, observed(7));
        look.is_refused = true;
        let decided = decide(&state, &look, &context(&policy, 100));
        assert_eq!(decided, deploy(1, Cause::Drift));
    }

    fn waits_for_its_time_or_for_an_operator(mut state: State) {
        state.retry = Some(Retry {
            attempts: 1,
            out_of_memory: 0,
            not_before: now(150).wall,
        });
        let mut look = look(Some(1), observed(0));
        assert_eq!(decided(&state, &look), Decision::Rest);
        look.demand = Demand::Look;
        assert_eq!(decided(&state, &look), deploy(1, Cause::Retry));
        look.demand = Demand::Time;
        state.retry = Some(Retry {
            attempts: 1,
            out_of_memory: 0,
            not_before: now(100).wall,
        });
        assert_eq!(decided(&state, &look), deploy(1, Cause::Retry));
    }

    #[test]
    fn a_system_that_needs_a_reboot_arrives_with_the_reboot() {
        let state = after(Outcome::RebootRequired {
            reason: failure(FailureCode::RebootRequired),
            entry_written: true,
        });
        let mut waiting = observed(1);
        waiting.running = Some(toplevel(0));
        assert_eq!(decided(&state, &look(Some(1), waiting)), Decision::Rest);
        assert_eq!(
            decided(&state, &look(Some(1), observed(1))),
            Decision::Arrived
        );
    }

    #[test]
    fn a_refused_reboot_is_tried_again_when_policy_or_running_system_changed() {
        let state = after(Outcome::RebootRequired {
            reason: failure(FailureCode::RebootRequired),
            entry_written: false,
        });
        let same = look(Some(1), observed(0));
        assert_eq!(decided(&state, &same), Decision::Rest);
        assert_eq!(
            decided(&state, &look(Some(1), observed(7))),
            deploy(1, Cause::Retry)
        );
        let mut policy = policy();
        policy.on_reboot_required = OnRebootRequired::Boot;
        assert_eq!(
            decide(&state, &same, &context(&policy, 100)),
            deploy(1, Cause::Retry)
        );
    }

    #[test]
    fn another_mode_asks_for_the_same_commit_again_unless_it_failed() {
        let inhibited = || failure(FailureCode::SwitchInhibited);
        let refused = Outcome::RebootRequired {
            reason: inhibited(),
            entry_written: false,
        };
        let ended = Outcome::RolledBackByReboot(failure(FailureCode::TestEnded));
        let failed = Outcome::RolledBack(failure(FailureCode::UnhealthyAfterTest));
        let mut policy = policy();
        for (outcome, expected) in [
            (Outcome::Deployed, deploy(1, Cause::Mode)),
            (Outcome::Unchanged, deploy(1, Cause::Mode)),
            (refused, deploy(1, Cause::Mode)),
            (ended, deploy(1, Cause::Mode)),
            (failed, Decision::Rest),
        ] {
            let state = after(outcome);
            policy.mode = Mode::Switch;
            let same = decide(&state, &look(Some(1), observed(0)), &context(&policy, 100));
            assert_eq!(same, Decision::Rest, "{state:?}");
            policy.mode = Mode::Test;
            let other = decide(&state, &look(Some(1), observed(0)), &context(&policy, 100));
            assert_eq!(other, expected, "{state:?}");
        }
    }

    #[test]
    fn in_mode_test_profile_and_entry_are_no_drift_and_the_running_system_is() {
        let mut state = after(Outcome::Deployed);
        let mut policy = policy();
        policy.mode = Mode::Test;
        policy.on_drift = OnDrift::Correct;
        state.last.as_mut().expect("it was made").deployment.mode = Mode::Test;
        let mut tested = observed(0);
        tested.running = Some(toplevel(1));
        for (observed, expected) in [
            (tested, Decision::Rest),
            (observed(7), deploy(1, Cause::Drift)),
        ] {
            let look = look(Some(1), observed);
            assert_eq!(decide(&state, &look, &context(&policy, 100)), expected);
        }
    }

    #[test]
    fn a_refused_system_that_an_operator_put_in_place_has_arrived() {
        let state = refused(FailureCode::CheckRefused);
        assert_eq!(
            decided(&state, &look(Some(1), observed(1))),
            Decision::Arrived
        );
    }

    #[test]
    fn a_manual_switch_during_a_deployment_stays() {
        let state = after(Outcome::Overridden(failure(FailureCode::Overridden)));
        assert_eq!(decided(&state, &look(Some(1), observed(7))), Decision::Rest);
        assert_eq!(
            decided(&state, &look(Some(1), observed(1))),
            Decision::Arrived
        );
    }
}
