//! Random histories against the promises of the state machine.
//!
//! A small world stands in for host and remote: it does what a report says
//! happened. Histories are cut anywhere: the daemon restarts from what was
//! saved last, or the whole host reboots into its default entry.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use super::effect::{Effect, Work};
use super::event::{Asked, Demand, Event, Instead, Look, Report};
use super::fixtures::{commit, derivation, failure, observed, policy, push, toplevel};
use super::holding::Until;
use super::permission::BootPermission;
use super::phase::Phase;
use super::recover;
use super::state::{Context, State, Step};
use super::step::step;
use crate::model::deployment::{Cause, DeploymentId, Finished, Outcome, System};
use crate::model::failure::FailureCode;
use crate::model::health::{Baseline, Reachability};
use crate::model::pause::UserId;
use crate::model::policy::{Mode, OnDrift, OnRebootRequired, Policy, Pushes, Settings};
use crate::model::revision::{Branch, Candidate, CommitId};
use crate::model::rollback::{RollbackRecord, RollbackStage, Verdict, WantedBy};
use crate::model::stage::{
    Armed, Arming, BuildFailure, Claim, Confirmation, Inspection, RollbackEnd, TestFailure, Word,
};
use crate::model::system::{BootId, DefaultEntry, Generation, Observed, ProfileEntry, Toplevel};
use crate::model::testing::{Testing, TestingHead};
use crate::model::time::Now;

/// The index of what root pushes.
const PUSHED: u8 = 55;

/// More events than any one deployment needs.
const ENOUGH: usize = 60;

/// Commits 2 and 3 ask for the same system, as a change of a README does.
fn toplevel_of(commit: &CommitId) -> u8 {
    match commit.as_str().ends_with('3') {
        true => 2,
        false => commit.as_str().bytes().last().map_or(0, |byte| byte - b'0'),
    }
}

/// What happens next in a history.
#[derive(Clone, Debug)]
enum Action {
    /// A look sees this commit, or cannot ask.
    Look(Option<u8>),
    /// The testing branch becomes something else; the next look sees it.
    Testing(Seen),
    /// The work under way succeeds.
    Succeed,
    /// The work under way fails in one of its ways.
    Fail(u8),
    /// A completion of a deployment long gone arrives.
    Stale,
    /// The daemon is killed and started again.
    Restart,
    /// The work's effect happens, and the power goes before it is told.
    PowerCut {
        /// Whether the effect happened.
        done: bool,
    },
    /// Somebody switches by hand.
    ManualSwitch(u8),
    /// The guardian's time comes.
    GuardianFires {
        /// Whether it has to reboot.
        reboots: bool,
    },
    /// A daemon with another configuration takes over.
    SetMode(Mode),
    /// An operator says something.
    Say(Said),
}

/// What an operator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Pause,
    Resume,
    Confirm,
    Reject,
    RollBack,
    Push(&'static [&'static str]),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        1 => Just(Said::Pause),
        2 => Just(Said::Resume),
        1 => Just(Said::Confirm),
        1 => Just(Said::Reject),
        2 => Just(Said::RollBack),
        1 => Just(Said::Push(&[])),
        1 => Just(Said::Push(&["test-only"])),
        1 => Just(Said::Push(&["skip-test"])),
    ]
}

/// What a look sees of the testing branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    NotFollowed,
    Unknown,
    Missing,
    Merged,
    Refused(FailureCode),
    At(u8),
}

/// The commits of the testing branch; no others are.
const TESTED: [u8; 4] = [6, 7, 8, 10];

fn testing() -> impl Strategy<Value = Seen> {
    prop_oneof![
        1 => Just(Seen::NotFollowed),
        1 => Just(Seen::Unknown),
        1 => Just(Seen::Missing),
        1 => Just(Seen::Merged),
        1 => Just(Seen::Refused(FailureCode::CommitUnsigned)),
        1 => Just(Seen::Refused(FailureCode::FetchFailed)),
        6 => (6_u8..8).prop_map(Seen::At),
    ]
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![
        3 => Just(Mode::Switch),
        1 => Just(Mode::Boot),
        1 => Just(Mode::Test),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => proptest::option::weighted(0.8, 1_u8..5).prop_map(Action::Look),
        2 => testing().prop_map(Action::Testing),
        8 => Just(Action::Succeed),
        2 => (0_u8..6).prop_map(Action::Fail),
        1 => Just(Action::Stale),
        2 => Just(Action::Restart),
        1 => any::<bool>().prop_map(|done| Action::PowerCut { done }),
        1 => (1_u8..6).prop_map(Action::ManualSwitch),
        1 => any::<bool>().prop_map(|reboots| Action::GuardianFires { reboots }),
        1 => modes().prop_map(Action::SetMode),
        1 => said().prop_map(Action::Say),
    ]
}

struct World {
    state: State,
    policy: Policy,
    observed: Observed,
    work: Option<(DeploymentId, Work)>,
    clock: u64,
    /// Deployments that were tested and then seen healthy.
    tested: HashSet<String>,
    confirmed: HashSet<String>,
    /// Deployments in which a step failed: only the way back may follow.
    failed: HashSet<String>,
    /// Which deployment's `test` came to its end in which boot.
    tests_ended: HashSet<(String, String)>,
    /// What the guardian is armed with, in this boot.
    armed: Option<(DeploymentId, Arming)>,
    verdict: Option<Verdict>,
    record: Option<RollbackRecord>,
    /// Whose guardian could not be started: the one that stays armed.
    pending: Option<DeploymentId>,
    /// What was activated and failed.
    led_back: HashSet<Toplevel>,
    /// What each deployment was to make of the host, by the mode in which it began.
    began_in: HashMap<DeploymentId, Mode>,
    /// What the testing branch is.
    testing: Seen,
    /// Ends that were learnt from.
    learned: Vec<Finished>,
    /// What was tested before a reboot, while the branch does not move.
    ended: HashSet<CommitId>,
}

impl World {
    fn new((mode, on_drift, on_reboot_required): (Mode, OnDrift, OnRebootRequired)) -> Self {
        Self {
            state: State::default(),
            policy: Policy {
                mode,
                on_drift,
                on_reboot_required,
                pushes: Pushes::Always,
                ..policy()
            },
            observed: observed(0),
            work: None,
            clock: 0,
            tested: HashSet::new(),
            confirmed: HashSet::new(),
            failed: HashSet::new(),
            tests_ended: HashSet::new(),
            armed: None,
            verdict: None,
            record: None,
            pending: None,
            led_back: HashSet::new(),
            began_in: HashMap::new(),
            testing: Seen::NotFollowed,
            learned: Vec::new(),
            ended: HashSet::new(),
        }
    }

    fn act(&mut self, action: &Action) {
        self.clock += 1;
        match action {
            Action::Look(head) => self.look(head.map(commit)),
            Action::Testing(testing) => self.testing = *testing,
            Action::Succeed => self.complete(None),
            Action::Fail(way) => self.complete(Some(*way)),
            Action::Stale => {
                let before = self.state.clone();
                let id = DeploymentId("long-gone".to_owned());
                self.feed(Event::Completed {
                    deployment: id,
                    report: Report::Checked(Err(failure(FailureCode::CheckRefused))),
                });
                assert_eq!(self.state, before, "a stale completion changed the state");
            }
            Action::Restart => self.restart(),
            Action::PowerCut { done } => {
                if *done {
                    self.do_work();
                }
                self.reboot();
            }
            Action::ManualSwitch(index) => self.observed.running = Some(toplevel(*index)),
            Action::GuardianFires { reboots } => self.guardian_fires(*reboots),
            Action::SetMode(mode) => {
                self.policy.mode = *mode;
                self.restart();
            }
            Action::Say(said) => self.say(*said),
        }
    }

    fn say(&mut self, said: Said) {
        let current = self.state.phase.deployment().map(|it| it.id.clone());
        let deployment = current.unwrap_or_else(|| DeploymentId("none".to_owned()));
        let by = UserId(0);
        self.feed(match said {
            Said::Pause => Event::Paused {
                by,
                reason: String::new(),
                length: None,
            },
            Said::Resume => Event::Resumed,
            Said::Confirm => Event::Confirmed(deployment),
            Said::Reject => Event::Rejected {
                deployment,
                by,
                reason: String::new(),
            },
            Said::RollBack => self.root_asks(Instead::Earlier(None)),
            Said::Push(options) => self.root_asks(Instead::Pushed(push(PUSHED, options))),
        });
    }

    fn root_asks(&self, instead: Instead) -> Event {
        Event::RootAsked(Asked {
            by: UserId(0),
            instead,
            head: None,
            observed: self.observed.clone(),
        })
    }

    /// What a look may begin, by the word of operators.
    fn may_begin(&self, head: Option<&CommitId>) -> bool {
        let hold = self.state.hold.as_ref();
        let is_held = hold.is_some_and(|hold| {
            let is_known = head.is_none_or(|head| hold.left.contains(head));
            hold.until == Until::NewCommit && is_known
        });
        let current = self.state.phase.deployment().map(|it| &it.candidate);
        self.state.pause.is_none() && (!is_held || current.is_some_and(Candidate::is_roots))
    }

    fn look(&mut self, head: Option<CommitId>) {
        let head_of_testing = match self.testing {
            Seen::NotFollowed => None,
            Seen::Unknown => Some(TestingHead::Unknown),
            Seen::Missing => Some(TestingHead::Missing),
            Seen::Merged => Some(TestingHead::Merged(commit(6))),
            Seen::Refused(code) => Some(TestingHead::Refused(commit(6), failure(code))),
            Seen::At(index) => Some(TestingHead::At(commit(index))),
        };
        match &head_of_testing {
            Some(TestingHead::At(at)) => self.ended.retain(|ended| ended == at),
            Some(TestingHead::Missing | TestingHead::Merged(_)) => self.ended.clear(),
            Some(TestingHead::Unknown | TestingHead::Refused(..)) | None => {}
        }
        // Who cannot ask for the one cannot ask for the other.
        let testing = head_of_testing.map(|known| Testing {
            branch: Branch::try_from("testing-web1".to_owned()).expect("it is a branch"),
            head: match head {
                Some(_) => known,
                None => TestingHead::Unknown,
            },
            lacks: None,
        });
        let rested = self.state.phase == Phase::Resting;
        let held = self.state.hold.clone();
        self.feed(Event::Looked(Look {
            is_refused: false,
            testing,
            head: head.clone(),
            observed: self.observed.clone(),
            demand: Demand::Look,
        }));
        if rested && self.state.phase != Phase::Resting {
            let hold = std::mem::replace(&mut self.state.hold, held);
            assert!(self.may_begin(head.as_ref()), "{:?}", self.state);
            self.state.hold = hold;
        }
    }

    /// It acts unless somebody has decided; whoever comes second obeys.
    fn guardian_fires(&mut self, reboots: bool) {
        let Some((id, arming)) = self.armed.clone() else {
            return;
        };
        let is_pending = self.pending.as_ref() == Some(&id);
        if self.verdict.is_some() && !(is_pending && self.verdict == Some(Verdict::RollBack)) {
            return;
        }
        self.verdict = Some(Verdict::RollBack);
        let previous = arming.previous.expect("nothing is armed without");
        self.record = Some(RollbackRecord {
            deployment: id,
            commit: arming.candidate.commit().clone(),
            previous: previous.clone(),
            candidate: arming.toplevel,
            boot_id: self.observed.boot_id.clone(),
            at: jiff::Timestamp::UNIX_EPOCH,
            wanted_by: WantedBy::Deadline,
            stage: if reboots {
                RollbackStage::Rebooting {
                    why: "x".to_owned(),
                }
            } else {
                RollbackStage::RolledBack
            },
        });
        if reboots {
            return self.reboot();
        }
        self.observed.running = Some(previous);
        if is_pending {
            // The next daemon finds its record, and lets it go.
            self.armed = None;
            self.verdict = None;
        }
        // It restarts the daemon when it is done.
        self.restart();
    }

    /// The daemon begins anew from what the ledger holds.
    fn restart(&mut self) {
        let saved = serde_json::to_vec(&self.state).expect("a state serialises");
        let state = serde_json::from_slice(&saved).expect("a state reads back");
        assert_eq!(self.state, state, "the ledger lost something");
        self.work = None;
        let policy = self.policy.clone();
        let current = self.state.phase.deployment().map(|it| it.id.clone());
        let is_anothers = current.is_some_and(|current| self.is_anothers(&current));
        let world = recover::World {
            observed: self.observed.clone(),
            verdict: self.verdict.filter(|_| !is_anothers),
            record: self.record.clone(),
        };
        let next = recover::recover(state, &world, &self.context(&policy));
        self.take(next);
    }

    fn reboot(&mut self) {
        let standing = self.state.tested.standing.as_ref();
        let standing = standing.map(|it| it.deployment.candidate.commit().clone());
        self.ended.extend(standing);
        self.observed.boot_id = BootId(format!("boot-{}", self.clock));
        let booted = self.observed.default_entry.toplevel().cloned();
        // Timers and tokens are in memory.
        self.armed = None;
        self.verdict = None;
        self.observed.booted.clone_from(&booted);
        self.observed.running = booted;
        self.restart();
    }

    fn context<'a>(&self, policy: &'a Policy) -> Context<'a> {
        Context {
            policy,
            settings: Settings::default(),
            now: Now {
                wall: jiff::Timestamp::UNIX_EPOCH,
                since_boot: Duration::from_secs(self.clock),
            },
            boot_id: self.observed.boot_id.clone(),
            fresh_id: DeploymentId(format!("deployment-{}", self.clock)),
            random: self.clock,
        }
    }

    fn feed(&mut self, event: Event) {
        let policy = self.policy.clone();
        let next = step(self.state.clone(), event, &self.context(&policy));
        self.take(next);
    }

    fn take(&mut self, next: Step) {
        let before = std::mem::replace(&mut self.state, next.state);
        let was_roots = before.phase.deployment().map(|it| &it.candidate);
        assert!(
            !was_roots.is_some_and(Candidate::is_roots) || before.floor == self.state.floor,
            "root's word made a commit the floor"
        );
        if let Some(deployment) = self.state.phase.deployment() {
            let id = deployment.id.clone();
            self.began_in.entry(id).or_insert(deployment.aim());
        }
        let tested = TESTED.map(commit);
        let floor = self.state.floor.as_ref();
        assert!(
            !floor.is_some_and(|floor| tested.contains(floor)),
            "{floor:?}"
        );
        self.learn();
        for effect in next.effects {
            match effect {
                Effect::Release(_) => {}
                Effect::Dismiss(id) => {
                    // Another's, which has still to act, is left alone.
                    if !self.is_anothers(&id) {
                        self.armed = None;
                        self.verdict = None;
                    }
                }
                Effect::Abandon(id, _) => {
                    let current = self.work.take().map(|(id, _)| id);
                    assert!(current.is_none_or(|current| current == id));
                }
                Effect::Say(_, Word::Confirmed) => {}
                Effect::Say(id, Word::Rejected) => {
                    // Nobody watches it any more, and only the way back follows.
                    self.work = None;
                    self.failed.insert(id.0);
                }
                Effect::Work(id, work) => self.begin(id, work),
            }
        }
        assert!(
            self.armed
                .as_ref()
                .is_none_or(|(id, _)| self.pending.as_ref() == Some(id))
                || self.state.phase.is_guarded(),
            "the guardian is left armed in {}",
            self.state.phase.name()
        );
    }

    /// Whether the guardian is armed for another deployment.
    fn is_anothers(&self, id: &DeploymentId) -> bool {
        self.armed.as_ref().is_some_and(|(armed, _)| armed != id)
    }

    /// Remembers what was activated and failed, and what stands again.
    fn learn(&mut self) {
        let (last, tried) = (&self.state.last, &self.state.tested.tried);
        // The later one last.
        let ended = match self.state.tested.is_latest {
            true => [last, tried],
            false => [tried, last],
        };
        let news: Vec<Finished> = ended
            .into_iter()
            .chain([&self.state.reverted])
            .flatten()
            .filter(|finished| !self.learned.contains(finished))
            .cloned()
            .collect();
        for finished in news {
            if let Some(toplevel) = finished.toplevel.clone() {
                self.learn_of(toplevel, &finished.outcome);
            }
            self.learned.push(finished);
            // No more than three are looked at.
            let surplus = self.learned.len().saturating_sub(6);
            self.learned.drain(..surplus);
        }
    }

    fn learn_of(&mut self, toplevel: Toplevel, outcome: &Outcome) {
        match outcome {
            // The reboot says nothing about it.
            Outcome::RolledBackByReboot(failure) if failure.code == FailureCode::TestEnded => {}
            Outcome::RolledBack(_)
            | Outcome::RolledBackByReboot(_)
            | Outcome::RollbackFailed(_) => {
                self.led_back.insert(toplevel);
            }
            Outcome::Deployed | Outcome::Unchanged => {
                self.led_back.remove(&toplevel);
            }
            Outcome::Refused(_)
            | Outcome::Failed(_)
            | Outcome::Inconclusive(_)
            | Outcome::RebootRequired { .. }
            | Outcome::Superseded
            | Outcome::Overridden(_) => {}
        }
    }

    fn begin(&mut self, id: DeploymentId, work: Work) {
        assert!(
            self.work.is_none(),
            "{work:?} begun while {:?} goes on",
            self.work
        );
        assert!(
            !self.failed.contains(&id.0)
                || matches!(
                    work,
                    Work::Restore { .. } | Work::RollBack(_) | Work::Disarm
                ),
            "{work:?} after a failed step"
        );
        match &work {
            Work::SetProfile(_, permission) | Work::WriteBootEntry(_, permission) => {
                self.check_permission(&id, permission);
            }
            Work::Test(system, _) => self.check_test(&id, system),
            Work::Import(_)
            | Work::Evaluate(_)
            | Work::Build(_)
            | Work::Root(..)
            | Work::Inspect(..)
            | Work::Check(..)
            | Work::Arm(_)
            | Work::Replace
            | Work::Confirm(..)
            | Work::Claim
            | Work::ReadBack
            | Work::Restore { .. }
            | Work::Disarm
            | Work::RollBack(_) => {}
        }
        self.work = Some((id, work));
    }

    fn check_test(&self, id: &DeploymentId, system: &System) {
        assert!(
            !self.tests_ended.contains(&self.here(id)),
            "{id} is tested again in the same boot"
        );
        let armed = self.armed.as_ref().map(|(id, _)| id);
        assert_eq!(armed, Some(id), "activated without a way back");
        let current = self.state.phase.deployment().map(|it| it.cause);
        assert!(
            // Root's word is one try.
            matches!(current, Some(Cause::Rollback | Cause::Push))
                || !self.led_back.contains(&system.toplevel),
            "{} failed before and is activated again",
            system.toplevel
        );
        match self.testing_of(id) {
            Some(tested) => assert!(!self.ended.contains(&tested), "{tested} is tested again"),
            None => assert_ne!(self.began_in[id], Mode::Boot, "{id} is activated"),
        }
    }

    /// The commit that the deployment is to test for the testing branch.
    fn testing_of(&self, id: &DeploymentId) -> Option<CommitId> {
        let current = self.state.phase.deployment().expect("one goes on");
        assert_eq!(current.id, *id);
        let candidate = current.candidate.commit();
        TESTED
            .map(commit)
            .contains(candidate)
            .then(|| candidate.clone())
    }

    fn check_permission(&self, id: &DeploymentId, permission: &BootPermission) {
        assert_eq!(self.testing_of(id), None, "it is only ever tested");
        let mode = self.began_in[id];
        assert_ne!(mode, Mode::Test, "{id} was only to be tested");
        match permission {
            BootPermission::Confirmed(_) => assert!(
                self.tested.contains(&id.0) && self.confirmed.contains(&id.0),
                "boot entry of {id} without a test and a confirmation"
            ),
            BootPermission::BootWithoutTest(_) => {
                let is_policy = self.policy.on_reboot_required == OnRebootRequired::Boot;
                assert!(is_policy || mode == Mode::Boot);
            }
        }
    }

    /// What the work does to the host when it works.
    fn do_work(&mut self) {
        if let Some((id, work)) = self.work.clone() {
            self.do_work_of(&id, &work);
        }
    }

    fn do_work_of(&mut self, id: &DeploymentId, work: &Work) {
        match work {
            // Refused, while another's has still to act.
            Work::Arm(_) if self.is_anothers(id) => {}
            Work::Arm(arming) => {
                self.armed = Some((id.clone(), arming.clone()));
                self.verdict = None;
            }
            Work::Test(system, _) => self.observed.running = Some(system.toplevel.clone()),
            Work::RollBack(rollback) => {
                self.verdict = Some(Verdict::RollBack);
                self.observed.running = Some(rollback.previous.clone());
            }
            Work::Claim | Work::Disarm => {
                self.verdict.get_or_insert(Verdict::Commit);
            }
            Work::SetProfile(system, _) => {
                let generation = self.observed.profile.as_ref().map_or(0, |p| p.generation.0);
                self.observed.profile = Some(ProfileEntry {
                    generation: Generation(generation + 1),
                    toplevel: system.toplevel.clone(),
                });
            }
            Work::WriteBootEntry(system, _) => {
                self.observed.default_entry = DefaultEntry::Toplevel(system.toplevel.clone());
            }
            Work::Restore { previous, .. } => {
                self.observed.profile = Some(previous.clone());
                self.observed.default_entry = DefaultEntry::Toplevel(previous.toplevel.clone());
            }
            Work::Import(_)
            | Work::Evaluate(_)
            | Work::Build(_)
            | Work::Root(..)
            | Work::Inspect(..)
            | Work::Check(..)
            | Work::Replace
            | Work::Confirm(..)
            | Work::ReadBack => {}
        }
    }

    fn complete(&mut self, way: Option<u8>) {
        if way.is_none() {
            self.do_work();
        }
        let Some((id, work)) = self.work.take() else {
            return;
        };
        if matches!(work, Work::Test(..)) {
            self.tests_ended.insert(self.here(&id));
        }
        let report = match way {
            None => self.success(&id, &work),
            Some(way) => self.failure(&id, &work, way),
        };
        self.feed(Event::Completed {
            deployment: id,
            report,
        });
    }

    fn success(&mut self, id: &DeploymentId, work: &Work) -> Report {
        match work {
            Work::Import(_) => Report::Imported(Ok(())),
            Work::Evaluate(candidate) => {
                let index = match candidate.push() {
                    Some(_) => PUSHED,
                    None => toplevel_of(candidate.commit()),
                };
                Report::Evaluated(Ok(derivation(index)))
            }
            Work::Build(wanted) => {
                let index = (1..60).find(|index| derivation(*index) == *wanted);
                Report::Built(Ok(toplevel(index.unwrap_or(0))))
            }
            Work::Root(..) => Report::Rooted(Ok(self.observed.clone())),
            Work::Inspect(..) => Report::Inspected(Ok(Inspection {
                observed: self.observed.clone(),
                reboot_required: None,
            })),
            Work::Check(..) => Report::Checked(Ok(self.observed.clone())),
            Work::Arm(_) if self.is_anothers(id) => {
                Report::Armed(Err(failure(FailureCode::GuardianNotArmed)))
            }
            Work::Arm(_) => Report::Armed(Ok(Armed {
                baseline: Baseline::default(),
                observed: self.observed.clone(),
            })),
            Work::Replace => Report::Replaced(Ok(())),
            Work::Claim => Report::Claimed(Ok(Claim {
                verdict: self.verdict.expect("it was just claimed"),
                observed: self.observed.clone(),
            })),
            Work::Disarm => Report::Disarmed(self.verdict.expect("it was just claimed")),
            Work::RollBack(_) => Report::RolledBack(RollbackEnd::RolledBack {
                remote: Reachability::Unknown,
            }),
            Work::Test(..) => {
                self.tested.insert(id.0.clone());
                Report::Tested(Ok(()))
            }
            Work::Confirm(system, _) => self.confirm(id, system),
            Work::SetProfile(..) => Report::ProfileSet(Ok(())),
            Work::WriteBootEntry(..) => Report::BootEntryWritten(Ok(())),
            Work::ReadBack => Report::ReadBack(self.observed.clone()),
            Work::Restore { .. } => Report::Restored(Ok(())),
        }
    }

    fn confirm(&mut self, id: &DeploymentId, system: &System) -> Report {
        if self.observed.running.as_ref() == Some(&system.toplevel) {
            self.confirmed.insert(id.0.clone());
            return Report::Confirmed(Confirmation::Healthy);
        }
        Report::Confirmed(Confirmation::Overridden(failure(FailureCode::Overridden)))
    }

    fn failure(&mut self, id: &DeploymentId, work: &Work, way: u8) -> Report {
        let transient = failure(FailureCode::StepFailed);
        let fatal = |world: &mut Self| world.failed.insert(id.0.clone());
        let broken: BTreeSet<String> = ["web.service".to_owned()].into();
        match (work, way) {
            (Work::Build(_), 0..3) => Report::Built(Err(BuildFailure::DerivationMissing)),
            (Work::Inspect(..), 0..3) => Report::Inspected(Ok(Inspection {
                observed: self.observed.clone(),
                reboot_required: Some(failure(FailureCode::SwitchInhibited)),
            })),
            (Work::Test(..), 0) => Report::Tested(Err(TestFailure::RebootRequired(failure(
                FailureCode::RebootRequired,
            )))),
            (Work::RollBack(_), 0..2) => {
                self.pending = Some(id.clone());
                self.verdict = Some(Verdict::RollBack);
                let failure = failure(FailureCode::RollbackFailed);
                Report::RolledBack(RollbackEnd::Pending(failure))
            }
            (Work::RollBack(_), _) => Report::RolledBack(RollbackEnd::Failed {
                failure: failure(FailureCode::RollbackFailed),
                failed_units: broken,
            }),
            (Work::Disarm, _) => {
                self.do_work_of(id, work);
                Report::Disarmed(self.verdict.expect("it was just claimed"))
            }
            (Work::Test(system, _), 1..3) => {
                self.observed.running = Some(system.toplevel.clone());
                fatal(self);
                Report::Tested(Err(TestFailure::Touched {
                    failure: failure(FailureCode::ActivationFailed),
                    failed_units: broken,
                }))
            }
            (Work::Confirm(..), 0..3) => {
                fatal(self);
                Report::Confirmed(Confirmation::Unhealthy {
                    failure: failure(FailureCode::UnhealthyAfterTest),
                    failed_units: broken,
                })
            }
            (Work::WriteBootEntry(system, _), 0..2) => {
                // The loader may have got as far as the default entry.
                self.observed.default_entry = DefaultEntry::Toplevel(system.toplevel.clone());
                fatal(self);
                Report::BootEntryWritten(Err(failure(FailureCode::BootLoaderFailed)))
            }
            (work, _) => {
                fatal(self);
                match work {
                    Work::Import(_) => Report::Imported(Err(transient)),
                    Work::Evaluate(_) => Report::Evaluated(Err(transient)),
                    Work::Build(_) => Report::Built(Err(BuildFailure::Failed(transient))),
                    Work::Root(..) => Report::Rooted(Err(transient)),
                    Work::Inspect(..) => Report::Inspected(Err(transient)),
                    Work::Check(..) => Report::Checked(Err(transient)),
                    Work::Arm(_) => Report::Armed(Err(transient)),
                    Work::Replace => Report::Replaced(Err(failure(FailureCode::DaemonNotReplaced))),
                    Work::Claim => Report::Claimed(Err(transient)),
                    Work::Disarm | Work::RollBack(_) => unreachable!("matched above"),
                    Work::Test(..) => Report::Tested(Err(TestFailure::Untouched(transient))),
                    Work::Confirm(..) => Report::Confirmed(Confirmation::Unknown(transient)),
                    Work::SetProfile(..) => Report::ProfileSet(Err(transient)),
                    Work::WriteBootEntry(..) => Report::BootEntryWritten(Err(transient)),
                    Work::ReadBack => Report::ReadBack(Observed {
                        default_entry: DefaultEntry::Unreadable("torn".to_owned()),
                        ..self.observed.clone()
                    }),
                    Work::Restore { .. } => Report::Restored(Err(transient)),
                }
            }
        }
    }

    /// From here on everything works and nobody pushes.
    fn settle(&mut self) {
        for _ in 0..ENOUGH {
            if self.state.phase == Phase::Resting {
                return;
            }
            self.act(&Action::Succeed);
        }
        panic!("never came to rest: {:?}", self.state.phase);
    }

    fn here(&self, id: &DeploymentId) -> (String, String) {
        (id.0.clone(), self.observed.boot_id.0.clone())
    }
}

fn policies() -> impl Strategy<Value = (Mode, OnDrift, OnRebootRequired)> {
    (
        modes(),
        prop_oneof![Just(OnDrift::Report), Just(OnDrift::Correct)],
        prop_oneof![Just(OnRebootRequired::Refuse), Just(OnRebootRequired::Boot)],
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_a_promise(
        policies in policies(),
        history in proptest::collection::vec(action(), 1..120),
    ) {
        let mut world = World::new(policies);
        for action in &history {
            world.act(action);
        }
        world.settle();
    }

    #[test]
    fn a_good_commit_always_arrives_whatever_came_before(
        policies in policies(),
        mode in modes(),
        gone in prop_oneof![Just(Seen::NotFollowed), Just(Seen::Missing), Just(Seen::Merged)],
        history in proptest::collection::vec(action(), 1..60),
    ) {
        let mut world = World::new(policies);
        for action in &history {
            world.act(action);
        }
        world.settle();
        // One that could not be started acts at its deadline, and not before.
        world.guardian_fires(false);
        world.settle();
        world.say(Said::Resume);
        world.act(&Action::SetMode(mode));
        world.testing = gone;
        let before = world.observed.clone();
        world.look(Some(commit(9)));
        world.settle();
        match mode {
            Mode::Switch => {}
            Mode::Boot => {
                prop_assert_eq!(&world.observed.running, &before.running);
                world.reboot();
                world.look(Some(commit(9)));
            }
            Mode::Test => {
                prop_assert_eq!(&world.observed.profile, &before.profile);
                prop_assert_eq!(&world.observed.default_entry, &before.default_entry);
            }
        }
        let last = world.state.last.clone().expect("a deployment came to its end");
        prop_assert_eq!(last.outcome, Outcome::Deployed);
        prop_assert_eq!(&world.observed.running, &Some(toplevel(9)));
        prop_assert!(mode == Mode::Test || world.observed.is_all(&toplevel(9)));
        // It may see only now that a branch is gone.
        world.look(Some(commit(9)));
        let rested = world.state.clone();
        world.look(Some(commit(9)));
        prop_assert_eq!(&world.state, &rested, "another look was no no-op");
        prop_assert_eq!(&rested.phase, &Phase::Resting);
        if mode == Mode::Test {
            world.reboot();
            world.look(Some(commit(9)));
            prop_assert_eq!(&world.state.phase, &Phase::Resting);
            prop_assert_eq!(&world.observed.default_entry, &before.default_entry);
        }
    }
}

/// A host in mode `switch` that has come to commit 9 of its own branch, whatever came before.
fn followed_after(policies: (Mode, OnDrift, OnRebootRequired), history: &[Action]) -> World {
    let mut world = World::new(policies);
    for action in history {
        world.act(action);
    }
    world.settle();
    world.guardian_fires(false);
    world.settle();
    world.say(Said::Resume);
    world.act(&Action::SetMode(Mode::Switch));
    world.testing = Seen::Missing;
    world.look(Some(commit(9)));
    world.settle();
    world
}

proptest! {
    // Each of them goes through five deployments after its history.
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_testing_branch_is_tested_and_left_whatever_came_before(
        policies in policies(),
        history in proptest::collection::vec(action(), 1..60),
    ) {
        let mut world = followed_after(policies, &history);
        for tested in [8, 10] {
            world.testing = Seen::At(tested);
            world.look(Some(commit(9)));
            world.settle();
            let running = toplevel(toplevel_of(&commit(tested)));
            prop_assert_eq!(&world.observed.running, &Some(running));
            prop_assert!(world.observed.boots(&toplevel(9)));
            let rested = world.state.clone();
            world.look(Some(commit(9)));
            prop_assert_eq!(&world.state, &rested, "a second look was no no-op");
            world.reboot();
            world.look(Some(commit(9)));
            prop_assert_eq!(&world.state.phase, &Phase::Resting);
            prop_assert!(world.observed.is_all(&toplevel(9)));
        }
        world.testing = Seen::At(8);
        world.look(Some(commit(9)));
        world.settle();
        world.testing = Seen::Missing;
        world.look(Some(commit(9)));
        world.settle();
        prop_assert!(world.observed.is_all(&toplevel(9)));
        prop_assert_eq!(&world.state.tested.standing, &None);
    }

    #[test]
    fn a_push_is_brought_here_and_held_and_left_whatever_came_before(
        policies in policies(),
        options in prop_oneof![Just(&[][..]), Just(&["test-only"][..]), Just(&["skip-test"][..])],
        history in proptest::collection::vec(action(), 1..60),
    ) {
        let mut world = followed_after(policies, &history);
        world.say(Said::Push(options));
        world.settle();
        let is_tested = options == ["test-only"];
        let is_booted = options == ["skip-test"];
        prop_assert_eq!(world.observed.boots(&toplevel(PUSHED)), !is_tested);
        prop_assert_eq!(world.observed.running == Some(toplevel(PUSHED)), !is_booted);
        for _ in 0..2 {
            world.look(Some(commit(9)));
            prop_assert_eq!(&world.state.phase, &Phase::Resting);
            world.restart();
        }
        world.reboot();
        world.look(Some(commit(9)));
        prop_assert_eq!(&world.state.phase, &Phase::Resting);
        let expected = if is_tested { 9 } else { PUSHED };
        prop_assert!(world.observed.is_all(&toplevel(expected)));
        prop_assert_eq!(&world.state.floor, &Some(commit(9)));
        world.look(Some(commit(11)));
        world.settle();
        prop_assert!(world.observed.is_all(&toplevel(toplevel_of(&commit(11)))));
        prop_assert_eq!(&world.state.hold, &None);
    }
}
