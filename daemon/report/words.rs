//! The words for phases, conditions and outcomes, in one place: status text,
//! snapshot and command line all take them from here.
//!
//! In: names, and the facts of the moment. Out: sentences. Must not: depend on
//! the time or on where they are shown.

mod building;
mod testing;
mod pausing;
mod pushing;

pub use building::building;
pub use pausing::until;
pub use pushing::pushed;
pub use testing::testing;

use crate::model::failure::{Failure, FailureCode};
use crate::model::pause::Pause;
use crate::model::revision::{Branch, CommitId};
use crate::model::text::{LINE_LIMIT, one_line};
use crate::store::snapshot::{
    ConditionState, Hold, OutcomeName, PhaseName, PlaceName, Pushed, RebootName, Remote, Snapshot,
};

/// What is being done, to follow "the daemon is".
pub fn phase(name: PhaseName) -> &'static str {
    match name {
        PhaseName::Resting => "resting",
        PhaseName::Importing => "importing the flake",
        PhaseName::Evaluating => "evaluating the configuration",
        PhaseName::Building => "building the system",
        PhaseName::Rooting => "registering the system as a GC root",
        PhaseName::Inspecting => "looking at the host's health",
        PhaseName::Checking => "running the system's own checks",
        PhaseName::Arming => "arming the way back",
        PhaseName::Testing => "activating the system for a test",
        PhaseName::Replacing => "handing over to the new system's daemon",
        PhaseName::Confirming => "watching the host's health",
        PhaseName::Claiming => "writing the verdict",
        PhaseName::SettingProfile => "setting the profile",
        PhaseName::WritingBootEntry => "writing the boot entry",
        PhaseName::ReadingBack => "reading profile and boot entry back",
        PhaseName::Restoring => "putting profile and boot entry back",
        PhaseName::Disarming => "disarming the way back",
        PhaseName::RollingBack => "bringing the previous system back",
    }
}

/// The answer to "is this host what the remote asks for", to follow the
/// host's name.
pub fn condition(state: ConditionState) -> &'static str {
    match state {
        ConditionState::Starting => "starting",
        ConditionState::Converged => "converged",
        ConditionState::Testing => "testing",
        ConditionState::Paused => "paused",
        ConditionState::Holding => "holding",
        ConditionState::Deploying => "deploying",
        ConditionState::Waiting => "waiting",
        ConditionState::Drifted => "drifted",
        ConditionState::Refused => "refused",
        ConditionState::Failed => "failed",
        ConditionState::RolledBack => "rolled back",
        ConditionState::Retrying => "retrying",
        ConditionState::RebootRequired => "reboot required",
        ConditionState::RemoteUnreachable => "remote unreachable",
    }
}

/// Where a remote stands, to follow its commit.
pub fn place(name: PlaceName) -> &'static str {
    match name {
        PlaceName::Unknown => "not known yet",
        PlaceName::Silent => "offers nothing",
        PlaceName::Refused => "what it offers is refused",
        PlaceName::Followed => "followed",
        PlaceName::Same => "the same",
        PlaceName::Behind => "behind",
        PlaceName::Diverged => "diverged",
    }
}

/// What is wrong with one of several remotes while another is followed, each as
/// a sentence. One that is behind catches up by itself.
pub fn warnings(remotes: &[Remote]) -> Vec<String> {
    let followed = remotes.iter().find(|it| it.place == PlaceName::Followed);
    let Some(followed) = followed else {
        return Vec::new();
    };
    let warning = |remote: &Remote| {
        let name = &remote.name;
        match remote.place {
            PlaceName::Silent => Some(format!(
                "{name} offers nothing now; the host follows {}.",
                followed.name
            )),
            PlaceName::Refused => Some(format!(
                "{name} offers what is not followed; the host follows {}.",
                followed.name
            )),
            PlaceName::Diverged => Some(format!(
                "{name} and {} diverge; the host follows {}, which comes first in its list.",
                followed.name, followed.name
            )),
            PlaceName::Unknown | PlaceName::Followed | PlaceName::Same | PlaceName::Behind => None,
        }
    };
    remotes.iter().filter_map(warning).collect()
}

/// The condition, or that it is worse than its word says: what comes first
/// wherever people look.
pub fn headline(snapshot: &Snapshot) -> &'static str {
    if snapshot.needs_human() {
        CRITICAL
    } else if snapshot.reboot == RebootName::Unsafe {
        DO_NOT_REBOOT
    } else {
        condition(snapshot.condition.state)
    }
}

/// For a host that no way led back.
const CRITICAL: &str = "CRITICAL, the way back failed";

/// For a host whose boot entry could not be put back.
const DO_NOT_REBOOT: &str = "CRITICAL, do not reboot";

/// How a deployment ended, to follow its commit.
pub fn outcome(name: OutcomeName) -> &'static str {
    match name {
        OutcomeName::Deployed => "deployed",
        OutcomeName::Unchanged => "was there already",
        OutcomeName::Refused => "refused, nothing was touched",
        OutcomeName::Failed => "failed while its boot entry was written",
        OutcomeName::RolledBack => "was rolled back, the previous system runs again",
        OutcomeName::RolledBackByReboot => "was rolled back by a reboot into the previous system",
        OutcomeName::RollbackFailed => "FAILED, and so did the way back",
        OutcomeName::Inconclusive => "was rolled back without a verdict, and is tried again",
        OutcomeName::RebootRequired => "needs a reboot",
        OutcomeName::Superseded => "gave way to a newer commit",
        OutcomeName::Overridden => "was overridden by a manual switch",
    }
}

/// The one line that `systemctl status` shows.
pub fn status_line(snapshot: &Snapshot) -> String {
    let condition = &snapshot.condition;
    let is_told = condition.state == ConditionState::Paused;
    let paused = match &snapshot.pause {
        Some(_) if !is_told => "paused, ",
        Some(_) | None => "",
    };
    let at_rest = || format!("{paused}{}: {}", headline(snapshot), condition.why);
    let doing = || self::phase(snapshot.phase.name);
    let line = match snapshot.phase.name {
        PhaseName::RollingBack => format!("rolling back: {}", doing()),
        PhaseName::Resting => at_rest(),
        PhaseName::Importing
        | PhaseName::Evaluating
        | PhaseName::Building
        | PhaseName::Rooting
        | PhaseName::Inspecting
        | PhaseName::Checking
        | PhaseName::Arming
        | PhaseName::Testing
        | PhaseName::Replacing
        | PhaseName::Confirming
        | PhaseName::Claiming
        | PhaseName::SettingProfile
        | PhaseName::WritingBootEntry
        | PhaseName::ReadingBack
        | PhaseName::Restoring
        | PhaseName::Disarming => match condition.state {
            // A deployment that stands still.
            ConditionState::Waiting => at_rest(),
            ConditionState::Starting
            | ConditionState::Converged
            | ConditionState::Testing
            | ConditionState::Paused
            | ConditionState::Holding
            | ConditionState::Deploying
            | ConditionState::Drifted
            | ConditionState::Refused
            | ConditionState::Failed
            | ConditionState::RolledBack
            | ConditionState::Retrying
            | ConditionState::RebootRequired
            | ConditionState::RemoteUnreachable => {
                format!("deploying: {}", doing())
            }
        },
    };
    one_line(&line, LINE_LIMIT)
}

/// The facts that a condition is told with.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The branch of the commit.
    pub branch: &'a Branch,
    /// The host's own branch.
    pub own: &'a Branch,
    /// The commit of that which the testing branch does not contain.
    pub lacks: Option<&'a CommitId>,
    /// The commit that it asks for, once known.
    pub commit: Option<&'a CommitId>,
    /// Why the host is not what it asks for, where something failed.
    pub failure: Option<&'a Failure>,
    /// How the last deployment ended, if one did.
    pub outcome: Option<OutcomeName>,
    /// Whether the next boot starts the commit's system.
    pub entry_written: bool,
    /// Why nothing is begun, if an operator wants it so.
    pub pause: Option<&'a Pause>,
    /// What root went back to or pushed, if the host is held there.
    pub hold: Option<&'a Hold>,
    /// What root pushed, if it is about that.
    pub pushed: Option<&'a Pushed>,
}

/// Why the condition is what it is, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionText {
    /// Why, as a sentence.
    pub why: String,
    /// What to do, as a sentence, if there is anything to do.
    pub remedy: Option<String>,
}

/// Says why the condition is what it is, and what to do.
pub fn condition_text(state: ConditionState, facts: &Facts<'_>) -> ConditionText {
    let branch = facts.branch;
    let target = match (facts.pushed, facts.commit) {
        (Some(it), _) => pushed(it),
        (None, Some(commit)) => format!("commit {} of {branch}", commit.short()),
        (None, None) => format!("branch {branch}"),
    };
    let cause = facts.failure.map_or_else(
        || "no reason is known".to_owned(),
        |failure| failure.message.clone(),
    );
    let hint = facts
        .failure
        .map(|failure| failure.hint.clone())
        .filter(|hint| !hint.is_empty());
    let (why, remedy) = match state {
        ConditionState::Starting => ("The daemon has not looked yet.".to_owned(), None),
        ConditionState::Converged => (format!("The host is what {target} asks for."), None),
        ConditionState::Testing => testing::condition(&target, facts.own, facts.lacks),
        ConditionState::Paused => pausing::condition(&target, facts.pause),
        ConditionState::Holding => pausing::held(&target, facts.hold),
        ConditionState::Deploying => (format!("The host is being brought to {target}."), None),
        ConditionState::Waiting => (format!("Nothing is started: {cause}."), hint),
        ConditionState::Drifted => (
            format!("Somebody changed the host; it is not what {target} asks for."),
            hint.or_else(|| {
                Some(
                    "Push a commit that holds the change, or set drift = \"correct\" to have \
                     the host brought back."
                        .to_owned(),
                )
            }),
        ),
        ConditionState::Refused if is(facts.failure, FailureCode::RemoteStale) => (
            format!("The host was not touched, and nothing new is followed: {cause}."),
            hint,
        ),
        // The one that it is about stands in the cause.
        ConditionState::Refused if is_offer(facts.failure) => (
            format!("The host was not touched; what the branch points to is refused: {cause}."),
            hint,
        ),
        ConditionState::Refused => (
            format!("The host was not touched; {target} was refused: {cause}."),
            hint,
        ),
        ConditionState::Failed if is(facts.failure, FailureCode::Overridden) => (
            format!("The deployment of {target} was overridden: {cause}."),
            hint,
        ),
        // Whether a reboot is safe stands in the failure's own hint.
        ConditionState::Failed if facts.outcome == Some(OutcomeName::RollbackFailed) => (
            format!(
                "A human has to look at this host: {target} failed when it was activated, and \
                 the previous system could not be brought back whole: {cause}."
            ),
            hint,
        ),
        ConditionState::Failed if is_led_back(facts.outcome) => (
            format!(
                "A human has to look at this host: {target} failed when it was activated and was \
                 led back from, and now its system runs again: {cause}."
            ),
            Some(
                "Push a commit that repairs it, or switch to the system before by hand.".to_owned(),
            ),
        ),
        ConditionState::Failed => (
            format!("The deployment of {target} failed after it had touched the host: {cause}."),
            hint,
        ),
        ConditionState::RolledBack if is(facts.failure, FailureCode::TestEnded) => (
            format!(
                "The host runs the system of its boot entry; {target} is not what it runs: {cause}."
            ),
            hint,
        ),
        ConditionState::RolledBack if is(facts.failure, FailureCode::Rejected) => (
            format!(
                "The previous system {}; {target} was led back from: {cause}.",
                came_back(facts.outcome)
            ),
            hint,
        ),
        ConditionState::RolledBack => (
            format!(
                "The previous system {}; {target} failed when it was activated: {cause}.",
                came_back(facts.outcome)
            ),
            hint,
        ),
        ConditionState::Retrying if facts.outcome == Some(OutcomeName::Inconclusive) => (
            format!(
                "The previous system runs again, without a verdict on {target}, which is going to \
                 be tried again: {cause}."
            ),
            hint,
        ),
        ConditionState::Retrying => (
            format!("The deployment of {target} is going to be tried again: {cause}."),
            hint,
        ),
        ConditionState::RebootRequired if is(facts.failure, FailureCode::WaitsForReboot) => (
            format!("The system of {target} waits for a reboot: {cause}."),
            hint,
        ),
        ConditionState::RebootRequired => (
            format!("The system of {target} can only be reached by a reboot: {cause}."),
            Some(reboot_remedy(facts.entry_written)),
        ),
        ConditionState::RemoteUnreachable => (
            format!("The remote cannot be asked for {branch}: {cause}."),
            hint,
        ),
    };
    ConditionText { why, remedy }
}

fn came_back(outcome: Option<OutcomeName>) -> &'static str {
    if outcome == Some(OutcomeName::RolledBackByReboot) {
        "was brought back by a reboot"
    } else {
        "runs again"
    }
}

fn is_led_back(outcome: Option<OutcomeName>) -> bool {
    matches!(
        outcome,
        Some(OutcomeName::RolledBack | OutcomeName::RolledBackByReboot)
    )
}

/// Whether somebody else touched the host, and the deployment may not have.
fn is_offer(failure: Option<&Failure>) -> bool {
    failure.is_some_and(|failure| failure.code.is_of_offer())
}

fn is(failure: Option<&Failure>, code: FailureCode) -> bool {
    failure.is_some_and(|failure| failure.code == code)
}

fn reboot_remedy(entry_written: bool) -> String {
    if entry_written {
        "Reboot the host: its boot entry is written, and the system was not tested.".to_owned()
    } else {
        "Set on_reboot_required = \"boot\" to have the boot entry written without a test, then \
         reboot."
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::snapshot::example;

    #[test]
    fn the_status_line_says_the_phase_or_why_there_is_none() {
        let mut snapshot = example::full();
        let line = |snapshot: &Snapshot| status_line(snapshot);
        assert_eq!(
            line(&snapshot),
            "converged: The host is what main asks for."
        );
        snapshot.pause = Some(example::pause());
        assert_eq!(
            line(&snapshot),
            "paused, converged: The host is what main asks for."
        );
        snapshot.pause = None;
        snapshot.phase.name = PhaseName::Building;
        assert_eq!(line(&snapshot), "deploying: building the system");
        snapshot.phase.name = PhaseName::RollingBack;
        assert_eq!(
            line(&snapshot),
            "rolling back: bringing the previous system back"
        );
        snapshot.phase.name = PhaseName::Building;
        let converged = std::mem::replace(&mut snapshot.condition.state, ConditionState::Waiting);
        assert!(line(&snapshot).starts_with("waiting: "), "it stands still");
        snapshot.condition.state = converged;
        snapshot.phase.name = PhaseName::Resting;
        snapshot.condition.why = "a\nb\u{1b}".to_owned();
        assert_eq!(line(&snapshot), "converged: a\\nb\\u{1b}");
    }

    #[test]
    fn a_condition_says_why_and_what_to_do() {
        let branch = Branch::try_from("main".to_owned()).expect("it is a branch");
        let commit = example::commit();
        let failure = Failure::new(FailureCode::CheckRefused, "the check said no", "Fix it.");
        let facts = Facts {
            branch: &branch,
            own: &branch,
            lacks: None,
            commit: Some(&commit),
            failure: Some(&failure),
            outcome: None,
            entry_written: false,
            pause: None,
            hold: None,
            pushed: None,
        };
        let text = condition_text(ConditionState::Refused, &facts);
        assert_eq!(
            text.why,
            "The host was not touched; commit 0123456789ab of main was refused: the check said no."
        );
        assert_eq!(text.remedy.as_deref(), Some("Fix it."));
        let overridden = Failure::new(FailureCode::Overridden, "another system runs", "");
        let facts_then = Facts {
            failure: Some(&overridden),
            ..facts
        };
        assert_eq!(
            condition_text(ConditionState::Failed, &facts_then).why,
            "The deployment of commit 0123456789ab of main was overridden: another system runs."
        );
        let text = condition_text(
            ConditionState::Converged,
            &Facts {
                failure: None,
                ..facts
            },
        );
        assert_eq!(
            text.why,
            "The host is what commit 0123456789ab of main asks for."
        );
        assert_eq!(text.remedy, None);
    }

    #[test]
    fn what_the_way_back_led_to_is_told_apart() {
        let branch = Branch::try_from("main".to_owned()).expect("it is a branch");
        let failure = Failure::new(FailureCode::UnhealthyAfterTest, "web failed", "Mend it.");
        let why = |state, outcome| {
            let facts = Facts {
                branch: &branch,
                own: &branch,
                lacks: None,
                commit: None,
                failure: Some(&failure),
                outcome: Some(outcome),
                entry_written: false,
                pause: None,
                hold: None,
                pushed: None,
            };
            let text = condition_text(state, &facts);
            assert_eq!(text.remedy.as_deref(), Some("Mend it."));
            text.why
        };
        for (state, outcome, beginning) in [
            (
                ConditionState::RolledBack,
                OutcomeName::RolledBack,
                "The previous system runs again; branch main failed",
            ),
            (
                ConditionState::RolledBack,
                OutcomeName::RolledBackByReboot,
                "The previous system was brought back by a reboot; branch main failed",
            ),
            (
                ConditionState::Retrying,
                OutcomeName::Inconclusive,
                "The previous system runs again, without a verdict",
            ),
            (
                ConditionState::Failed,
                OutcomeName::RollbackFailed,
                "A human has to look at this host: branch main failed",
            ),
            (
                ConditionState::Failed,
                OutcomeName::Failed,
                "The deployment of branch main failed after",
            ),
        ] {
            let why = why(state, outcome);
            assert!(why.starts_with(beginning), "{why}");
            assert!(why.ends_with(": web failed."), "{why}");
        }
    }

    #[test]
    fn a_failed_way_back_reads_as_critical() {
        let mut snapshot = example::full();
        snapshot.condition.state = ConditionState::Failed;
        assert_eq!(headline(&snapshot), "failed");
        if let Some(last) = &mut snapshot.last {
            last.outcome = OutcomeName::RollbackFailed;
        }
        assert_eq!(headline(&snapshot), "CRITICAL, the way back failed");
        assert!(status_line(&snapshot).starts_with("CRITICAL, "));
    }
}
