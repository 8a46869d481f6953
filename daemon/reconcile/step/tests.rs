//! The order of a deployment, step by step.

use std::collections::BTreeSet;

use super::super::effect::{Effect, Work};
use super::super::event::{Demand, Event, Look, Report};
use super::super::fixtures::*;
use super::super::phase::{Phase, Reboot};
use super::super::state::{Context, State, Step};
use super::step;
use crate::model::deployment::{DeploymentId, Outcome};
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Reachability;
use crate::model::policy::{Mode, OnRebootRequired, Policy};
use crate::model::rollback::Verdict;
use crate::model::stage::{
    Armed, BuildFailure, Claim, Confirmation, Inspection, RollbackEnd, TestFailure, UnitStep,
};
use crate::model::system::{DefaultEntry, Observed};

/// A deployment of commit 1 on a host where everything is 0, told what happens.
struct Story {
    policy: Policy,
    state: State,
    told: Vec<Effect>,
}

impl Story {
    fn begin() -> Self {
        Self::begin_with(policy())
    }

    fn begin_with(policy: Policy) -> Self {
        let mut story = Self {
            policy,
            state: State::default(),
            told: Vec::new(),
        };
        story.look(1);
        story
    }

    fn look(&mut self, head: u8) -> bool {
        self.feed(Event::Looked(Look {
            is_refused: false,
            testing: None,
            head: Some(commit(head)),
            observed: observed(0),
            demand: Demand::Time,
        }))
    }

    fn report(&mut self, report: Report) -> bool {
        let deployment = self.state.phase.deployment().expect("one goes on");
        let deployment = deployment.id.clone();
        self.feed(Event::Completed { deployment, report })
    }

    fn feed(&mut self, event: Event) -> bool {
        let context: Context<'_> = context(&self.policy, self.told.len() as u64);
        let Step {
            state,
            effects,
            stale,
        } = step(self.state.clone(), event, &context);
        self.state = state;
        self.told.extend(effects);
        stale
    }

    /// As far as the phase that waits for the inspection.
    fn until_inspection(mut self) -> Self {
        self.report(Report::Imported(Ok(())));
        self.report(Report::Evaluated(Ok(derivation(1))));
        self.report(Report::Built(Ok(toplevel(1))));
        self.report(Report::Rooted(Ok(observed(0))));
        self
    }

    fn until_test(self) -> Self {
        let mut story = self.until_inspection();
        story.report(inspected(observed(0), None));
        story.report(Report::Checked(Ok(observed(0))));
        story.report(armed(observed(0)));
        story
    }

    fn until_claim(self) -> Self {
        let mut story = self.until_test();
        story.report(Report::Tested(Ok(())));
        story.report(Report::Replaced(Ok(())));
        story.report(Report::Confirmed(Confirmation::Healthy));
        story
    }

    fn until_boot_entry(self) -> Self {
        let mut story = self.until_claim();
        story.report(claimed(Verdict::Commit, half_switched()));
        story.report(Report::ProfileSet(Ok(())));
        story
    }

    fn outcome(&self) -> &Outcome {
        assert_eq!(self.state.phase, Phase::Resting);
        &self.state.last.as_ref().expect("one ended").outcome
    }

    fn works(&self) -> Vec<&'static str> {
        self.told.iter().filter_map(name).collect()
    }

    fn failure_code(&self) -> Option<FailureCode> {
        self.outcome().failure().map(|failure| failure.code)
    }
}

fn name(effect: &Effect) -> Option<&'static str> {
    let Effect::Work(_, work) = effect else {
        return None;
    };
    Some(match work {
        Work::Import(_) => "import",
        Work::Evaluate(_) => "evaluate",
        Work::Build(_) => "build",
        Work::Root(..) => "root",
        Work::Inspect(..) => "inspect",
        Work::Check(..) => "check",
        Work::Arm(_) => "arm",
        Work::Test(..) => "test",
        Work::Replace => "replace",
        Work::Confirm(..) => "confirm",
        Work::Claim => "claim",
        Work::SetProfile(..) => "set profile",
        Work::WriteBootEntry(..) => "write boot entry",
        Work::ReadBack => "read back",
        Work::Restore { .. } => "restore",
        Work::Disarm => "disarm",
        Work::RollBack(_) => "roll back",
    })
}

fn inspected(observed: Observed, reboot_required: Option<Failure>) -> Report {
    Report::Inspected(Ok(Inspection {
        observed,
        reboot_required,
    }))
}

fn armed(observed: Observed) -> Report {
    let baseline = baseline();
    Report::Armed(Ok(Armed { baseline, observed }))
}

fn claimed(verdict: Verdict, observed: Observed) -> Report {
    Report::Claimed(Ok(Claim { verdict, observed }))
}

fn rolled_back() -> Report {
    Report::RolledBack(RollbackEnd::RolledBack {
        remote: Reachability::Unknown,
    })
}

fn half_switched() -> Observed {
    Observed {
        running: Some(toplevel(1)),
        ..observed(0)
    }
}

#[test]
fn a_commit_goes_the_whole_way_in_this_order() {
    let mut story = Story::begin().until_boot_entry();
    story.report(Report::BootEntryWritten(Ok(())));
    story.report(Report::ReadBack(observed(1)));
    story.report(Report::Disarmed(Verdict::Commit));
    assert_eq!(story.outcome(), &Outcome::Deployed);
    assert_eq!(
        story.works(),
        [
            "import",
            "evaluate",
            "build",
            "root",
            "inspect",
            "check",
            "arm",
            "test",
            "replace",
            "confirm",
            "claim",
            "set profile",
            "write boot entry",
            "read back",
            "disarm",
        ]
    );
}

fn in_mode(mode: Mode) -> Policy {
    Policy { mode, ..policy() }
}

#[test]
fn in_mode_boot_nothing_is_activated_and_the_host_waits_for_its_reboot() {
    for reboot_required in [None, Some(failure(FailureCode::SwitchInhibited))] {
        let mut story = Story::begin_with(in_mode(Mode::Boot)).until_inspection();
        story.report(inspected(observed(0), reboot_required));
        story.report(Report::Checked(Ok(observed(0))));
        story.report(Report::ProfileSet(Ok(())));
        story.report(Report::BootEntryWritten(Ok(())));
        let written = Observed {
            running: Some(toplevel(0)),
            ..observed(1)
        };
        story.report(Report::ReadBack(written));
        assert_eq!(story.failure_code(), Some(FailureCode::WaitsForReboot));
        assert!(matches!(
            story.outcome(),
            Outcome::RebootRequired {
                entry_written: true,
                ..
            }
        ));
        assert_eq!(
            story.works()[4..],
            [
                "inspect",
                "check",
                "set profile",
                "write boot entry",
                "read back"
            ]
        );
        assert_eq!(story.state.floor, None, "nobody has seen it healthy");
    }
}

#[test]
fn in_mode_test_a_confirmed_system_is_left_running_and_nothing_is_written() {
    let mut story = Story::begin_with(in_mode(Mode::Test)).until_claim();
    story.report(claimed(Verdict::Commit, half_switched()));
    story.report(Report::Disarmed(Verdict::Commit));
    assert_eq!(story.outcome(), &Outcome::Deployed);
    assert_eq!(
        story.works()[6..],
        ["arm", "test", "replace", "confirm", "claim", "disarm"]
    );
    assert_eq!(story.state.floor, Some(commit(1)));
}

#[test]
fn in_mode_test_what_needs_a_reboot_is_refused_whatever_the_policy() {
    let mut policy = in_mode(Mode::Test);
    policy.on_reboot_required = OnRebootRequired::Boot;
    let required = || failure(FailureCode::SwitchInhibited);
    let mut inhibited = Story::begin_with(policy.clone()).until_inspection();
    inhibited.report(inspected(observed(0), Some(required())));
    let mut said = Story::begin_with(policy).until_test();
    said.report(Report::Tested(Err(TestFailure::RebootRequired(required()))));
    said.report(Report::Disarmed(Verdict::Commit));
    for mut story in [inhibited, said] {
        assert!(matches!(
            story.outcome(),
            Outcome::RebootRequired {
                entry_written: false,
                ..
            }
        ));
        let before = story.works().len();
        story.look(1);
        assert_eq!(story.works().len(), before, "it is not tried at every look");
    }
}

/// The configuration in force when it began, not the new system's.
#[test]
fn a_deployment_ends_in_the_mode_that_it_began_in() {
    for (began, then, expected) in [
        (Mode::Switch, Mode::Test, "set profile"),
        (Mode::Test, Mode::Switch, "disarm"),
    ] {
        let mut story = Story::begin_with(in_mode(began)).until_test();
        story.policy.mode = then;
        story.report(Report::Tested(Ok(())));
        story.report(Report::Replaced(Ok(())));
        story.report(Report::Confirmed(Confirmation::Healthy));
        story.report(claimed(Verdict::Commit, half_switched()));
        assert_eq!(story.works().last(), Some(&expected));
    }
}

#[test]
fn each_unit_is_let_go_once_its_result_is_known() {
    let mut story = Story::begin().until_boot_entry();
    story.report(Report::BootEntryWritten(Ok(())));
    let released: Vec<_> = story
        .told
        .iter()
        .filter_map(|effect| match effect {
            Effect::Release(step) => Some(*step),
            Effect::Abandon(..) | Effect::Dismiss(_) | Effect::Say(..) | Effect::Work(..) => None,
        })
        .collect();
    let expected: Vec<_> = UnitStep::ALL
        .iter()
        .copied()
        .filter(|step| ![UnitStep::Restore, UnitStep::Probe].contains(step))
        .collect();
    assert_eq!(released, expected);
}

#[test]
fn a_commit_that_changes_nothing_here_activates_nothing() {
    let mut story = Story::begin();
    story.report(Report::Imported(Ok(())));
    story.report(Report::Evaluated(Ok(derivation(1))));
    story.report(Report::Built(Ok(toplevel(1))));
    story.report(Report::Rooted(Ok(observed(1))));
    assert_eq!(story.outcome(), &Outcome::Unchanged);
    assert_eq!(story.works(), ["import", "evaluate", "build", "root"]);
}

#[test]
fn a_derivation_that_vanished_is_evaluated_again_and_not_for_ever() {
    let mut story = Story::begin();
    for _ in 0..4 {
        story.report(Report::Imported(Ok(())));
        story.report(Report::Evaluated(Ok(derivation(1))));
        story.report(Report::Built(Err(BuildFailure::DerivationMissing)));
    }
    assert_eq!(story.failure_code(), Some(FailureCode::StepFailed));
    let evaluations = story.works().iter().filter(|w| **w == "evaluate").count();
    assert_eq!(evaluations, 4);
}

#[test]
fn what_was_evaluated_is_not_evaluated_again_unless_it_is_another_configuration() {
    let policy = policy();
    for (configuration, expected) in [("", "building"), ("other", "importing")] {
        let mut story = Story::begin().until_inspection();
        story.report(Report::Inspected(Err(failure(
            FailureCode::SystemUnhealthy,
        ))));
        let mut context = context(&policy, 1000);
        context.settings.configuration = configuration.to_owned();
        let look = Event::Looked(Look {
            is_refused: false,
            testing: None,
            head: Some(commit(1)),
            observed: observed(0),
            demand: Demand::Look,
        });
        let next = step(story.state, look, &context).state;
        assert_eq!(next.phase.name(), expected, "{configuration:?}");
    }
}

#[test]
fn a_failed_check_ends_the_deployment_untouched() {
    let mut story = Story::begin().until_inspection();
    story.report(inspected(observed(0), None));
    story.report(Report::Checked(Err(failure(FailureCode::CheckRefused))));
    assert!(matches!(story.outcome(), Outcome::Refused(_)));
    assert_eq!(story.works().last(), Some(&"check"));
}

#[test]
fn a_failed_activation_leaves_profile_and_entry_alone_and_is_led_back() {
    let mut story = Story::begin().until_test();
    story.report(touched());
    assert_eq!(story.works().last(), Some(&"roll back"));
    story.report(rolled_back());
    assert!(matches!(story.outcome(), Outcome::RolledBack(_)));
    let dismissed = matches!(story.told.last(), Some(Effect::Dismiss(_)));
    assert!(dismissed, "{:?}", story.told.last());
    assert!(story.state.retry.is_none(), "one failure, one activation");
}

fn touched() -> Report {
    Report::Tested(Err(TestFailure::Touched {
        failure: failure(FailureCode::ActivationFailed),
        failed_units: BTreeSet::new(),
    }))
}

#[test]
fn what_a_failed_rollback_left_broken_is_forgiven_before_the_next_activation() {
    let mut story = Story::begin().until_test();
    story.report(touched());
    let broken: BTreeSet<String> = ["web.service".to_owned()].into();
    story.report(Report::RolledBack(RollbackEnd::Failed {
        failure: failure(FailureCode::RollbackFailed),
        failed_units: broken.clone(),
    }));
    assert!(matches!(story.outcome(), Outcome::RollbackFailed(_)));
    story.look(2);
    story.report(Report::Imported(Ok(())));
    story.report(Report::Evaluated(Ok(derivation(2))));
    story.report(Report::Built(Ok(toplevel(2))));
    story.report(Report::Rooted(Ok(half_switched())));
    let Some(Effect::Work(_, Work::Inspect(_, forgiven))) = story.told.last() else {
        panic!("{:?}", story.told.last());
    };
    assert_eq!(forgiven.broken, broken);
}

#[test]
fn a_guardian_that_could_not_be_started_stays_armed() {
    let mut story = Story::begin().until_test();
    story.report(touched());
    let pending = failure(FailureCode::RollbackFailed);
    story.report(Report::RolledBack(RollbackEnd::Pending(pending)));
    assert!(matches!(story.outcome(), Outcome::RollbackFailed(_)));
    let is_dismissed = |effect: &Effect| matches!(effect, Effect::Dismiss(_));
    assert!(!story.told.iter().any(is_dismissed), "{:?}", story.told);
}

#[test]
fn nothing_is_activated_that_cannot_be_led_back() {
    let mut story = Story::begin().until_inspection();
    story.report(inspected(observed(0), None));
    story.report(Report::Checked(Ok(observed(0))));
    story.report(Report::Armed(Err(failure(FailureCode::GuardianNotArmed))));
    assert!(matches!(story.outcome(), Outcome::Refused(_)));
    assert_eq!(story.works().last(), Some(&"arm"));
    assert!(matches!(story.told.last(), Some(Effect::Dismiss(_))));
}

#[test]
fn a_switch_by_hand_while_it_is_armed_is_not_undone() {
    let mut story = Story::begin().until_inspection();
    story.report(inspected(observed(0), None));
    story.report(Report::Checked(Ok(observed(0))));
    story.report(armed(observed(7)));
    assert!(matches!(story.outcome(), Outcome::Overridden(_)));
    assert_eq!(story.works().last(), Some(&"arm"));
    assert!(matches!(story.told.last(), Some(Effect::Dismiss(_))));
}

#[test]
fn a_switch_by_hand_while_profile_and_entry_are_written_is_not_undone() {
    let mut story = Story::begin().until_boot_entry();
    story.report(Report::BootEntryWritten(Ok(())));
    let theirs = Observed {
        running: Some(toplevel(7)),
        ..observed(1)
    };
    story.report(Report::ReadBack(theirs));
    assert_eq!(story.works().last(), Some(&"disarm"));
    story.report(Report::Disarmed(Verdict::Commit));
    assert!(matches!(story.outcome(), Outcome::Overridden(_)));
}

#[test]
fn a_test_that_touched_nothing_is_disarmed_and_refused() {
    let mut story = Story::begin().until_test();
    story.report(Report::Tested(Err(TestFailure::Untouched(failure(
        FailureCode::LockHeld,
    )))));
    assert_eq!(story.works().last(), Some(&"disarm"));
    story.report(Report::Disarmed(Verdict::Commit));
    assert!(matches!(story.outcome(), Outcome::Refused(_)));
}

#[test]
fn whoever_comes_second_obeys_the_guardian() {
    let mut late = Story::begin().until_claim();
    late.report(claimed(Verdict::RollBack, observed(0)));
    let mut fired = Story::begin().until_test();
    fired.report(Report::Tested(Ok(())));
    fired.report(Report::Replaced(Ok(())));
    fired.report(Report::Confirmed(Confirmation::GuardianActs(failure(
        FailureCode::GuardianFired,
    ))));
    let mut untouched = Story::begin().until_test();
    untouched.report(Report::Tested(Err(TestFailure::Untouched(failure(
        FailureCode::LockHeld,
    )))));
    untouched.report(Report::Disarmed(Verdict::RollBack));
    for mut story in [late, fired, untouched] {
        assert_eq!(story.works().last(), Some(&"roll back"));
        story.report(rolled_back());
        assert_eq!(story.failure_code(), Some(FailureCode::GuardianFired));
    }
}

#[test]
fn a_daemon_that_cannot_take_over_is_led_back() {
    let mut story = Story::begin().until_test();
    story.report(Report::Tested(Ok(())));
    story.report(Report::Replaced(Err(failure(
        FailureCode::DaemonNotReplaced,
    ))));
    assert_eq!(story.works().last(), Some(&"roll back"));
}

#[test]
fn a_manual_switch_in_the_confirm_window_stays() {
    let mut profiled = half_switched();
    profiled.profile = observed(7).profile;
    for theirs in [observed(7), profiled] {
        let mut story = Story::begin().until_claim();
        story.report(claimed(Verdict::Commit, theirs));
        assert_eq!(story.works().last(), Some(&"disarm"));
        story.report(Report::Disarmed(Verdict::Commit));
        assert!(matches!(story.outcome(), Outcome::Overridden(_)));
    }
}

#[test]
fn a_remote_that_is_as_silent_for_the_previous_system_is_no_verdict() {
    let silent = Reachability::Unreachable("no route".to_owned());
    for (remote, expected) in [
        (silent, "inconclusive"),
        (Reachability::Reachable, "rolled-back"),
        (Reachability::Unknown, "rolled-back"),
    ] {
        let mut story = Story::begin().until_test();
        story.report(Report::Tested(Ok(())));
        story.report(Report::Replaced(Ok(())));
        story.report(Report::Confirmed(Confirmation::Unhealthy {
            failure: failure(FailureCode::RemoteLost),
            failed_units: BTreeSet::new(),
        }));
        let Some(Effect::Work(_, Work::RollBack(rollback))) = story.told.last() else {
            panic!("{:?}", story.told.last());
        };
        assert!(rollback.ask_remote);
        story.report(Report::RolledBack(RollbackEnd::RolledBack { remote }));
        assert_eq!(story.outcome().as_str(), expected);
        let is_retried = story.state.retry.is_some();
        assert_eq!(is_retried, expected == "inconclusive");
    }
}

/// Builds commit `head`, which asks for toplevel 1 as commit 1 did.
fn rebuild(story: &mut Story, head: u8, demand: Demand) {
    story.feed(Event::Looked(Look {
        is_refused: false,
        testing: None,
        head: Some(commit(head)),
        observed: observed(0),
        demand,
    }));
    if head != 1 {
        story.report(Report::Imported(Ok(())));
        story.report(Report::Evaluated(Ok(derivation(1))));
    }
    story.report(Report::Built(Ok(toplevel(1))));
    story.report(Report::Rooted(Ok(observed(0))));
}

#[test]
fn one_failure_is_one_activation_until_an_operator_says_retry() {
    let mut story = Story::begin().until_test();
    story.report(touched());
    story.report(rolled_back());
    story.feed(Event::Looked(Look {
        is_refused: false,
        testing: None,
        head: Some(commit(1)),
        observed: observed(0),
        demand: Demand::Look,
    }));
    assert_eq!(story.state.phase, Phase::Resting, "a trigger is no retry");
    rebuild(&mut story, 2, Demand::Time);
    assert_eq!(story.failure_code(), Some(FailureCode::Quarantined));
    let retry = Demand::Retry {
        allowed: BTreeSet::new(),
    };
    rebuild(&mut story, 2, retry.clone());
    assert_eq!(story.state.phase.name(), "inspecting");
    // The same on the commit that failed itself.
    let mut story = Story::begin().until_test();
    story.report(touched());
    story.report(rolled_back());
    rebuild(&mut story, 1, retry);
    assert_eq!(story.state.phase.name(), "inspecting");
}

#[test]
fn an_unhealthy_system_is_not_confirmed() {
    let mut story = Story::begin().until_test();
    story.report(Report::Tested(Ok(())));
    story.report(Report::Replaced(Ok(())));
    story.report(Report::Confirmed(Confirmation::Unhealthy {
        failure: failure(FailureCode::UnhealthyAfterTest),
        failed_units: BTreeSet::new(),
    }));
    assert_eq!(story.works().last(), Some(&"roll back"));
    story.report(rolled_back());
    assert!(matches!(story.outcome(), Outcome::RolledBack(_)));
}

#[test]
fn a_system_that_takes_the_host_down_is_not_tested_for_ever() {
    let mut story = Story::begin().until_test();
    let goes_down = || {
        Report::Tested(Err(TestFailure::Touched {
            failure: failure(FailureCode::HostBusy),
            failed_units: BTreeSet::new(),
        }))
    };
    story.report(goes_down());
    story.report(rolled_back());
    assert!(matches!(story.outcome(), Outcome::Inconclusive(_)));
    assert_eq!(story.failure_code(), Some(FailureCode::HostBusy));
    story.feed(Event::Looked(Look {
        is_refused: false,
        testing: None,
        head: Some(commit(1)),
        observed: observed(0),
        demand: Demand::Look,
    }));
    story.report(Report::Built(Ok(toplevel(1))));
    story.report(Report::Rooted(Ok(observed(0))));
    story.report(inspected(observed(0), None));
    story.report(Report::Checked(Ok(observed(0))));
    story.report(armed(observed(0)));
    story.report(goes_down());
    story.report(rolled_back());
    assert_eq!(story.failure_code(), Some(FailureCode::Interrupted));
    assert!(story.state.retry.is_none(), "that is final");
}

#[test]
fn a_failed_boot_loader_leads_back_to_the_entry_before() {
    let mut story = Story::begin().until_boot_entry();
    story.report(Report::BootEntryWritten(Err(failure(
        FailureCode::BootLoaderFailed,
    ))));
    assert_eq!(story.works().last(), Some(&"restore"));
    story.report(Report::Restored(Ok(())));
    assert_eq!(story.works().last(), Some(&"roll back"));
    story.report(rolled_back());
    assert_eq!(story.failure_code(), Some(FailureCode::BootLoaderFailed));
    assert!(matches!(story.outcome(), Outcome::RolledBack(_)));
}

#[test]
fn an_entry_that_reads_back_wrong_leads_back_to_the_entry_before() {
    let mut story = Story::begin().until_boot_entry();
    story.report(Report::BootEntryWritten(Ok(())));
    let mut wrong = observed(1);
    wrong.default_entry = DefaultEntry::Unreadable("torn".to_owned());
    story.report(Report::ReadBack(wrong));
    assert_eq!(story.works().last(), Some(&"restore"));
    story.report(Report::Restored(Err(failure(
        FailureCode::BootLoaderFailed,
    ))));
    // Nobody knows what a reboot would start now.
    let Some(Effect::Work(_, Work::RollBack(rollback))) = story.told.last() else {
        panic!("{:?}", story.told.last());
    };
    assert!(!rollback.may_reboot);
    story.report(rolled_back());
    assert_eq!(story.failure_code(), Some(FailureCode::ReadBackMismatch));
}

/// A host that was led back, and whose entry could not be put back.
fn astray(result: Result<(), Failure>, end: Report) -> Story {
    let mut story = Story::begin().until_boot_entry();
    let failed = failure(FailureCode::BootLoaderFailed);
    story.report(Report::BootEntryWritten(Err(failed)));
    assert_eq!(story.state.reboot, Reboot::LeadsBack, "not known yet");
    story.report(Report::Restored(result));
    story.report(end);
    story
}

fn looked_at(mut story: Story, running: u8, default_entry: DefaultEntry) -> Reboot {
    let observed = Observed {
        running: Some(toplevel(running)),
        default_entry,
        ..observed(0)
    };
    story.feed(Event::Looked(Look {
        is_refused: false,
        testing: None,
        head: Some(commit(1)),
        observed,
        demand: Demand::Time,
    }));
    story.state.reboot
}

#[test]
fn a_reboot_is_unsafe_until_the_entry_is_read_back_as_what_runs() {
    let entry = |index| DefaultEntry::Toplevel(toplevel(index));
    for (running, default_entry, reboot) in [
        (0, entry(0), Reboot::LeadsBack),
        // Whoever repaired it may have made it another system's.
        (2, entry(2), Reboot::LeadsBack),
        (0, entry(1), Reboot::LeadsAstray),
        (
            0,
            DefaultEntry::Unreadable("torn".to_owned()),
            Reboot::LeadsAstray,
        ),
        (0, DefaultEntry::Unchecked, Reboot::LeadsAstray),
    ] {
        let failed = Err(failure(FailureCode::BootLoaderFailed));
        let story = astray(failed, rolled_back());
        assert_eq!(story.state.reboot, Reboot::LeadsAstray);
        let found = looked_at(story, running, default_entry.clone());
        assert_eq!(found, reboot, "{running} {default_entry:?}");
    }
}

#[test]
fn an_entry_that_was_put_back_or_is_somebody_elses_is_no_danger() {
    for result in [Ok(()), Err(failure(FailureCode::Overridden))] {
        let story = astray(result, rolled_back());
        assert_eq!(story.state.reboot, Reboot::LeadsBack);
    }
}

#[test]
fn a_failed_rollback_does_not_advise_a_reboot_that_leads_astray() {
    let failed_rollback = || {
        let mut also = failure(FailureCode::RollbackFailed);
        "a reboot leads back".clone_into(&mut also.hint);
        Report::RolledBack(RollbackEnd::Failed {
            failure: also,
            failed_units: BTreeSet::new(),
        })
    };
    let mut mismatch = failure(FailureCode::ReadBackMismatch);
    "do not reboot".clone_into(&mut mismatch.hint);
    for (result, hint) in [
        (Ok(()), "a reboot leads back"),
        (Err(mismatch), "do not reboot"),
    ] {
        let story = astray(result, failed_rollback());
        let failure = story.outcome().failure().expect("it failed");
        assert_eq!(failure.hint, hint);
    }
}

#[test]
fn an_inhibited_switch_writes_nothing_unless_policy_says_so() {
    let inhibited = || Some(failure(FailureCode::SwitchInhibited));
    let mut story = Story::begin().until_inspection();
    story.report(inspected(observed(0), inhibited()));
    assert!(matches!(
        story.outcome(),
        Outcome::RebootRequired {
            entry_written: false,
            ..
        }
    ));
    let mut policy = policy();
    policy.on_reboot_required = OnRebootRequired::Boot;
    let mut story = Story::begin_with(policy).until_inspection();
    story.report(inspected(observed(0), inhibited()));
    story.report(Report::Checked(Ok(observed(0))));
    story.report(Report::ProfileSet(Ok(())));
    story.report(Report::BootEntryWritten(Ok(())));
    story.report(Report::ReadBack(Observed {
        running: Some(toplevel(0)),
        ..observed(1)
    }));
    assert!(matches!(
        story.outcome(),
        Outcome::RebootRequired {
            entry_written: true,
            ..
        }
    ));
    assert!(!story.works().contains(&"test"));
}

#[test]
fn a_switch_by_hand_during_the_build_stays() {
    let mut story = Story::begin().until_inspection();
    story.report(inspected(observed(7), None));
    assert!(matches!(story.outcome(), Outcome::Overridden(_)));
    assert_eq!(story.works().last(), Some(&"inspect"));
}

#[test]
fn a_switch_by_hand_during_the_checks_stays() {
    let mut profiled = observed(0);
    profiled.profile = observed(7).profile;
    for theirs in [observed(7), profiled] {
        let mut story = Story::begin().until_inspection();
        story.report(inspected(observed(0), None));
        story.report(Report::Checked(Ok(theirs)));
        assert!(matches!(story.outcome(), Outcome::Overridden(_)));
        assert_eq!(story.works().last(), Some(&"check"));
    }
}

#[test]
fn a_newer_commit_takes_over_while_nothing_is_touched() {
    let mut story = Story::begin();
    story.report(Report::Imported(Ok(())));
    story.look(2);
    assert_eq!(story.works(), ["import", "evaluate", "import"]);
    let abandoned = story
        .told
        .iter()
        .any(|effect| matches!(effect, Effect::Abandon(_, UnitStep::Evaluate)));
    assert!(abandoned);
    let phase = &story.state.phase;
    let candidate = phase.deployment().expect("one goes on").candidate.clone();
    assert_eq!(candidate.commit(), &commit(2));
}

#[test]
fn a_newer_commit_waits_once_the_host_is_touched() {
    let mut story = Story::begin().until_test();
    let before = story.state.clone();
    assert!(story.look(2), "the look changes nothing");
    assert_eq!(story.state, before);
}

#[test]
fn a_commit_for_which_memory_runs_out_three_times_waits_for_another() {
    let mut story = Story::begin();
    for (index, is_retried) in [true, true, false].into_iter().enumerate() {
        if index > 0 {
            story.feed(Event::Looked(Look {
                is_refused: false,
                testing: None,
                head: Some(commit(1)),
                observed: observed(0),
                demand: Demand::Look,
            }));
        }
        story.report(Report::Imported(Ok(())));
        story.report(Report::Evaluated(Err(failure(FailureCode::OutOfMemory))));
        assert_eq!(story.failure_code(), Some(FailureCode::OutOfMemory));
        assert_eq!(story.state.retry.is_some(), is_retried, "after {index}");
    }
    story.look(1);
    assert_eq!(story.state.phase, Phase::Resting);
}

#[test]
fn a_late_or_foreign_completion_is_stale() {
    let mut story = Story::begin();
    let before = story.state.clone();
    let foreign = Event::Completed {
        deployment: DeploymentId("another".to_owned()),
        report: Report::Imported(Ok(())),
    };
    assert!(story.feed(foreign));
    assert!(story.report(Report::Checked(Ok(observed(0)))));
    assert_eq!(story.state, before);
}

/// A whole deployment of commit 1, confirmed.
fn confirmed_story() -> Story {
    let mut story = Story::begin().until_boot_entry();
    story.report(Report::BootEntryWritten(Ok(())));
    story.report(Report::ReadBack(observed(1)));
    story.report(Report::Disarmed(Verdict::Commit));
    story
}

#[test]
fn the_floor_rises_when_a_commit_is_confirmed_and_not_before() {
    let rolled_back = {
        let mut story = Story::begin().until_test();
        assert_eq!(story.state.floor, None);
        story.report(Report::Tested(Err(TestFailure::Touched {
            failure: failure(FailureCode::ActivationFailed),
            failed_units: BTreeSet::new(),
        })));
        story
    };
    assert_eq!(rolled_back.state.floor, None);
    let unconfirmed = Story::begin().until_boot_entry();
    assert_eq!(
        unconfirmed.state.floor, None,
        "the boot entry is not read back yet"
    );
    let story = confirmed_story();
    assert_eq!(*story.outcome(), Outcome::Deployed);
    assert_eq!(story.state.floor, Some(commit(1)));
}

#[test]
fn what_root_allowed_is_used_up_by_one_deployment_however_it_ends() {
    let mut story = confirmed_story();
    story.feed(Event::Allowed(commit(2)));
    assert_eq!(story.state.confirmed().allowed, Some(commit(2)));
    story.look(3);
    assert_eq!(
        story.state.allowed,
        Some(commit(2)),
        "that was another commit"
    );
    story.report(Report::Imported(Err(failure(FailureCode::ImportFailed))));
    story.look(2);
    assert_eq!(
        story.state.allowed,
        Some(commit(2)),
        "looks go on meanwhile"
    );
    story.report(Report::Imported(Ok(())));
    story.report(Report::Evaluated(Err(failure(
        FailureCode::EvaluationFailed,
    ))));
    assert_eq!(story.state.allowed, None);
    assert_eq!(story.state.floor, Some(commit(1)));
}
