//! A checked toplevel to the running system: `switch-to-configuration test`.
//!
//! In: a toplevel. Out: success, or how far the activation came. Must not:
//! roll back, or touch profile and boot entry.
//!
//! What the exit statuses mean is NixOS's contract, read in the source of
//! `switch-to-configuration`; [`classify`] is all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::warn;

use super::health::{HostView, list};
use super::observe;
use super::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};
use crate::host::journal::{self, Extent, Said};
use crate::model::deployment::{DeploymentId, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Baseline;
use crate::model::policy::Health;
use crate::model::stage::{TestFailure, UnitStep};

/// Exit status when somebody else holds the lock.
pub(super) const LOCK_HELD: i32 = 11;

/// Exit status when everything was done, but for some units that did not come
/// up.
const UNITS_FAILED: i32 = 4;

/// Exit status when the new system needs another init than the one that runs.
const REBOOT_REQUIRED: i32 = 100;

/// How the lines begin that announce the first things that are changed.
const ACTIVATION_MARKS: [&str; 5] = [
    "stopping swap device:",
    "switching to system configuration",
    "stopping the following units:",
    "NOT restarting the following changed units:",
    "activating the configuration...",
];

/// The line with which it gives up before it changes anything.
const REFUSAL_MARK: &str = "Pre-switch checks failed";

/// An output of fewer lines and bytes than these was read as a whole: well
/// below what a step's tail may hold.
const WHOLE_OUTPUT: (usize, usize) = (50, 8 * 1024);

/// What to do when nothing was changed.
const UNTOUCHED_HINT: &str = "Nothing was changed. Its output says why.";

/// What to do when something was; the way back is gone by itself.
const TOUCHED_HINT: &str = "Read the output and the journal of the failed units, and push a \
    repaired commit. If the cause was outside of the commit, `deploy-flake retry` tries it again.";

/// What is no fault of the new system's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Excuses<'a> {
    /// What was broken before.
    pub(crate) baseline: &'a Baseline,
    /// What policy ignores.
    pub(crate) health: &'a Health,
}

impl Excuses<'_> {
    /// Whether that some units did not come up is explained by units that are
    /// ignored or were broken before. If none is broken now, something else
    /// failed that nobody can name.
    fn cover(&self, broken: &BTreeSet<String>) -> bool {
        let is_excused = |unit: &String| {
            self.health.ignore_units.contains(unit)
                || self.baseline.failed.contains(unit)
                || self.baseline.restarting.contains(unit)
        };
        !broken.is_empty() && broken.iter().all(is_excused)
    }
}

/// Runs `switch-to-configuration test`, or adopts the run of an earlier daemon.
pub(crate) async fn test(
    steps: &Steps,
    view: HostView<'_>,
    id: &DeploymentId,
    system: &System,
    excuses: Excuses<'_>,
    deadline: Duration,
) -> Result<(), TestFailure> {
    let plan = StepPlan {
        step: UnitStep::Test,
        deployment: id.clone(),
        commands: vec![vec![
            system.toplevel.switch_to_configuration(),
            "test".to_owned(),
        ]],
        user: StepUser::Root,
        deadline,
        environment: Vec::new(),
        credentials: Vec::new(),
        capture: false,
    };
    let report = match steps.run(&plan).await {
        Ok(report) => report,
        Err(failure) => return Err(unknown(view, failure).await),
    };
    let output = output(steps, view, &report).await;
    judge(view, system, excuses, &report, output.as_deref()).await
}

/// What it said; None if the journal cannot be read. One that said nothing is
/// told from a lost journal by systemd's own words about the unit.
async fn output(steps: &Steps, view: HostView<'_>, report: &StepReport) -> Option<String> {
    if !report.tail.is_empty() || report.end == StepEnd::Succeeded {
        return Some(report.tail.clone());
    }
    // A journald that does not answer is not asked again: that would be waited
    // for twice.
    if report.extent == Extent::Partial {
        return None;
    }
    let name = UnitStep::Test.unit();
    let unit = view.systemd.status(&name).await.ok()??;
    let journalctl = &steps.programs().journalctl;
    let words = journal::tail(journalctl, &unit.run(&name), 1, Said::WithSystemd).await;
    (!words.text.is_empty()).then(String::new)
}

async fn judge(
    view: HostView<'_>,
    system: &System,
    excuses: Excuses<'_>,
    report: &StepReport,
    output: Option<&str>,
) -> Result<(), TestFailure> {
    let is_running = observe::running(view.root).as_ref() == Some(&system.toplevel);
    let failure =
        |code, message: &str, hint| Failure::new(code, message, hint).with_detail(&report.tail);
    match classify(&report.end, reach(output, report.extent, is_running)) {
        Ending::Activated => Ok(()),
        Ending::Untouched { code, message } => Err(TestFailure::Untouched(failure(
            code,
            &message,
            UNTOUCHED_HINT,
        ))),
        Ending::RebootRequired => Err(TestFailure::RebootRequired(failure(
            FailureCode::RebootRequired,
            "the system needs another init interface than the one that runs \
             (switch-to-configuration test: exit status 100)",
            "Nothing was changed. Reboot into it: run its `switch-to-configuration boot`, or set \
             on_reboot_required = \"boot\".",
        ))),
        Ending::Touched { code, message } => {
            let failed_units = view.broken_units().await;
            // Profile and boot entry wait for the confirm window all the same.
            if report.end == StepEnd::Exited(UNITS_FAILED)
                && is_running
                && excuses.cover(&failed_units)
            {
                warn!(
                    df_units = list(&failed_units),
                    "activated; what did not come up is ignored or was broken before"
                );
                return Ok(());
            }
            let message = if failed_units.is_empty() {
                message
            } else {
                format!("{message}; failed units: {}", list(&failed_units))
            };
            let failure = failure(code, &message, TOUCHED_HINT);
            Err(TestFailure::Touched {
                failure,
                failed_units,
            })
        }
    }
}

/// How `test` ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    /// All of it worked.
    Activated,
    /// Nothing was changed.
    Untouched { code: FailureCode, message: String },
    /// Nothing was changed, and only a reboot can.
    RebootRequired,
    /// Something was changed, or may have been.
    Touched { code: FailureCode, message: String },
}

/// How far the output shows that it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The host was being changed.
    Activation,
    /// It ended before that.
    BeforeActivation,
    /// The output does not tell.
    Unknown,
}

/// What an end of `switch-to-configuration test` means. Unsure is touched.
fn classify(end: &StepEnd, reach: Reach) -> Ending {
    let touched = |message: String| Ending::Touched {
        code: FailureCode::ActivationFailed,
        message: format!("switch-to-configuration test {message}"),
    };
    let untouched = |code, message: String| Ending::Untouched { code, message };
    match (end, reach) {
        (StepEnd::Succeeded, _) => Ending::Activated,
        (StepEnd::Exited(1), Reach::BeforeActivation) => untouched(
            FailureCode::ActivationRefused,
            "switch-to-configuration test refused before it changed anything (exit status 1)"
                .to_owned(),
        ),
        (StepEnd::Exited(LOCK_HELD), Reach::BeforeActivation | Reach::Unknown) => untouched(
            FailureCode::LockHeld,
            "another switch-to-configuration holds the lock (exit status 11)".to_owned(),
        ),
        (StepEnd::Exited(REBOOT_REQUIRED), Reach::BeforeActivation | Reach::Unknown) => {
            Ending::RebootRequired
        }
        (StepEnd::Exited(2), _) => {
            touched("went on after the activation script had failed (exit status 2)".to_owned())
        }
        (StepEnd::Exited(UNITS_FAILED), _) => {
            touched("could not bring all units up (exit status 4)".to_owned())
        }
        (StepEnd::Exited(101), _) => touched("crashed (exit status 101)".to_owned()),
        (StepEnd::Exited(status), _) => touched(format!("failed (exit status {status})")),
        (StepEnd::Signalled(signal), _) => touched(format!("was ended by signal {signal}")),
        (StepEnd::OutOfMemory, _) => touched("was ended because memory ran out".to_owned()),
        (StepEnd::TimedOut, _) => Ending::Touched {
            code: FailureCode::ActivationTimeout,
            message: "switch-to-configuration test was ended at its deadline".to_owned(),
        },
        (StepEnd::CouldNotStart(why), _) => untouched(
            FailureCode::StepFailed,
            format!("switch-to-configuration test could not be started: {why}"),
        ),
    }
}

/// Reads from the output how far it came. That the candidate is the running
/// system shows nothing if it already was, and what is not there may be missing
/// from a part; so then only a refusal in words counts.
fn reach(output: Option<&str>, extent: Extent, candidate_is_running: bool) -> Reach {
    let Some(output) = output else {
        return Reach::Unknown;
    };
    let mut lines = output.lines().map(str::trim);
    if lines
        .clone()
        .any(|line| ACTIVATION_MARKS.iter().any(|mark| line.starts_with(mark)))
    {
        return Reach::Activation;
    }
    if lines.any(|line| line == REFUSAL_MARK) {
        return Reach::BeforeActivation;
    }
    let is_short = output.lines().count() < WHOLE_OUTPUT.0 && output.len() < WHOLE_OUTPUT.1;
    let is_whole = is_short && extent == Extent::Whole;
    if is_whole && !candidate_is_running {
        Reach::BeforeActivation
    } else {
        Reach::Unknown
    }
}

/// The step has no result: it was not started, or it cannot be watched.
async fn unknown(view: HostView<'_>, failure: Failure) -> TestFailure {
    // Without a unit nothing ran.
    if let Ok(None) = view.systemd.unit(&UnitStep::Test.unit()).await {
        return TestFailure::Untouched(failure);
    }
    TestFailure::Touched {
        failure,
        failed_units: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::OnUnhealthy;

    #[test]
    fn every_end_is_classified() {
        use FailureCode::{
            ActivationFailed, ActivationRefused, ActivationTimeout, LockHeld, StepFailed,
        };
        use Reach::{Activation, BeforeActivation, Unknown};
        use StepEnd::{CouldNotStart, Exited, OutOfMemory, Signalled, Succeeded, TimedOut};
        #[derive(Debug, PartialEq)]
        enum Kind {
            Activated,
            Untouched(FailureCode),
            RebootRequired,
            Touched(FailureCode),
        }
        let failed = Kind::Touched(ActivationFailed);
        let kind = |ending| match ending {
            Ending::Activated => Kind::Activated,
            Ending::Untouched { code, .. } => Kind::Untouched(code),
            Ending::RebootRequired => Kind::RebootRequired,
            Ending::Touched { code, .. } => Kind::Touched(code),
        };
        for (end, before, unknown, activation) in [
            (
                Succeeded,
                &Kind::Activated,
                &Kind::Activated,
                &Kind::Activated,
            ),
            (
                Exited(1),
                &Kind::Untouched(ActivationRefused),
                &failed,
                &failed,
            ),
            (Exited(2), &failed, &failed, &failed),
            (Exited(4), &failed, &failed, &failed),
            (
                Exited(11),
                &Kind::Untouched(LockHeld),
                &Kind::Untouched(LockHeld),
                &failed,
            ),
            (
                Exited(100),
                &Kind::RebootRequired,
                &Kind::RebootRequired,
                &failed,
            ),
            (Exited(101), &failed, &failed, &failed),
            (Exited(28), &failed, &failed, &failed),
            (Signalled(9), &failed, &failed, &failed),
            (OutOfMemory, &failed, &failed, &failed),
            (
                TimedOut,
                &Kind::Touched(ActivationTimeout),
                &Kind::Touched(ActivationTimeout),
                &Kind::Touched(ActivationTimeout),
            ),
            (
                CouldNotStart("x".to_owned()),
                &Kind::Untouched(StepFailed),
                &Kind::Untouched(StepFailed),
                &Kind::Untouched(StepFailed),
            ),
        ] {
            for (reach, expected) in [
                (BeforeActivation, before),
                (Unknown, unknown),
                (Activation, activation),
            ] {
                assert_eq!(&kind(classify(&end, reach)), expected, "{end:?} {reach:?}");
            }
        }
    }

    #[test]
    fn units_that_are_ignored_or_were_broken_before_are_no_failure() {
        let units = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let baseline = Baseline {
            failed: units(&["failed"]),
            restarting: units(&["restarting"]),
            ..Baseline::default()
        };
        let health = Health {
            probe_deadline: Duration::ZERO,
            confirm_window: Duration::ZERO,
            ignore_units: vec!["ignored".to_owned()],
            require_units: None,
            on_unhealthy: OnUnhealthy::default(),
            probes: Vec::new(),
        };
        let excuses = Excuses {
            baseline: &baseline,
            health: &health,
        };
        for (broken, covered) in [
            (&["failed", "restarting", "ignored"][..], true),
            (&["ignored"], true),
            (&["failed", "new"], false),
            (&["new"], false),
            (&[], false),
        ] {
            assert_eq!(excuses.cover(&units(broken)), covered, "{broken:?}");
        }
    }

    #[test]
    fn the_output_tells_how_far_it_came_or_that_it_does_not_tell() {
        let long = "a line of a check\n".repeat(60);
        let refused_at_length = format!("{long}Pre-switch checks failed\n");
        for (output, expected, if_running) in [
            ("", Reach::BeforeActivation, Reach::Unknown),
            ("usage: ...\n", Reach::BeforeActivation, Reach::Unknown),
            (
                "no\nPre-switch check 'x' failed\nPre-switch checks failed\n",
                Reach::BeforeActivation,
                Reach::BeforeActivation,
            ),
            (long.as_str(), Reach::Unknown, Reach::Unknown),
            (
                refused_at_length.as_str(),
                Reach::BeforeActivation,
                Reach::BeforeActivation,
            ),
            (
                "stopping the following units: a.service\n",
                Reach::Activation,
                Reach::Activation,
            ),
            (
                "activating the configuration...\nerror: lost the bus\n",
                Reach::Activation,
                Reach::Activation,
            ),
        ] {
            assert_eq!(
                reach(Some(output), Extent::Whole, false),
                expected,
                "{output:?}"
            );
            assert_eq!(
                reach(Some(output), Extent::Whole, true),
                if_running,
                "{output:?}"
            );
            let part = reach(Some(output), Extent::Partial, false);
            assert_eq!(
                part, if_running,
                "what is missing shows nothing: {output:?}"
            );
        }
        assert_eq!(
            reach(None, Extent::Partial, false),
            Reach::Unknown,
            "a lost journal"
        );
    }
}
