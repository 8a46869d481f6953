//! The commit from the mirror into the evaluation's own repository.
//!
//! In: a candidate that the fetcher says is in the mirror. Out: the commit, in
//! a repository that only the build user can write. Must not: read anybody's
//! git configuration, run a hook, or touch the network.
//!
//! The fetch goes over `file://`, that is through upload-pack and index-pack:
//! every object that arrives is hashed again. A fetcher that lies about what a
//! commit id names is found out here, and nothing is evaluated under a commit
//! id that is not that commit. git's own check looks at each object as well,
//! so no tree comes to Nix with names that no file can have.
//!
//! The repository is a cache. When git cannot work with it, it is removed and
//! made anew, once. It keeps one ref, so all but the last commit's history is
//! garbage that nothing collects yet: git packs what it fetches, and a new
//! repository costs one local fetch.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;

use super::words::{self, Cause};
use super::{REPOSITORY, Work, argv, variables};
use crate::host::environment::Programs;
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::revision::{Candidate, CommitId};
use crate::model::stage::UnitStep;
use crate::pipeline::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};

/// What git's check finds in many histories that old tools have made, and what
/// leads nowhere: it passes over these. All else that it finds is refused.
const HARMLESS: [&str; 14] = [
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badFilemode",
    "badName",
    "badTimezone",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "multipleAuthors",
    "nulInCommit",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
];

/// The only ref that is kept.
const REFERENCE: &str = "refs/deploy/candidate";

/// The part of the step that begins with removing the repository.
const ANEW: &str = "anew";

const WORK: Work = Work {
    noun: "import of the commit",
    timeout: FailureCode::ImportFailed,
    setting: "`deadlines.import`",
};

/// From where a candidate is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The mirror that holds it.
    pub mirror: PathBuf,
    /// What a submodule's relative URL is relative to; None: there are none.
    pub origin: Option<String>,
}

/// What this daemon knows of the evaluation's repository, which is in a
/// directory that it cannot look into.
#[derive(Debug, Default)]
pub struct Repository {
    /// Whether the last import found one: then none is made before the next,
    /// for each command of a unit costs a sandbox of its own.
    has_worked: AtomicBool,
}

/// Brings the candidate into the evaluation's repository; makes a repository
/// that git cannot work with anew, once.
pub async fn import(
    steps: &Steps,
    repository: &Repository,
    id: &DeploymentId,
    candidate: &Candidate,
    source: &Source,
    deadline: Duration,
) -> Result<(), Failure> {
    if !steps.has_begun(UnitStep::Import, id, ANEW).await? {
        let mut plan = plan(steps.programs(), id, candidate.commit(), source, deadline);
        if !repository.has_worked.load(Ordering::Relaxed) {
            plan.commands.insert(0, initialise(steps.programs()));
        }
        let report = steps.run(&plan).await?;
        if report.end == StepEnd::Succeeded {
            repository.has_worked.store(true, Ordering::Relaxed);
            return Ok(());
        }
        repository.has_worked.store(false, Ordering::Relaxed);
        if !may_be_damaged(&report) {
            return Err(failure(&report));
        }
        warn!(deployment = %id, git = report.tail, "repository does not work and is made anew");
    }
    import_anew(steps, id, candidate, source, deadline).await
}

/// Removes the repository and brings the candidate into a new one.
pub(super) async fn import_anew(
    steps: &Steps,
    id: &DeploymentId,
    candidate: &Candidate,
    source: &Source,
    deadline: Duration,
) -> Result<(), Failure> {
    let programs = steps.programs();
    let mut plan = plan(programs, id, candidate.commit(), source, deadline);
    let remove = ["-rf", "--one-file-system", "--", REPOSITORY];
    let anew = [argv(&programs.rm, remove), initialise(programs)];
    plan.commands.splice(0..0, anew);
    let report = steps.run_part(&plan, ANEW).await?;
    match report.end {
        StepEnd::Succeeded => Ok(()),
        StepEnd::Exited(_)
        | StepEnd::Signalled(_)
        | StepEnd::TimedOut
        | StepEnd::OutOfMemory
        | StepEnd::CouldNotStart(_) => Err(failure(&report)),
    }
}

fn plan(
    programs: &Programs,
    id: &DeploymentId,
    commit: &CommitId,
    source: &Source,
    deadline: Duration,
) -> StepPlan {
    let origin = source.origin.as_deref();
    let name_origin = origin.map(|origin| name_origin(programs, origin));
    let mut commands: Vec<_> = name_origin.into_iter().collect();
    commands.push(fetch(programs, commit, source));
    StepPlan {
        step: UnitStep::Import,
        deployment: id.clone(),
        commands,
        user: StepUser::Import,
        deadline,
        environment: variables(&[
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            // Its words are read.
            ("LC_ALL", "C"),
        ]),
        credentials: Vec::new(),
        capture: false,
    }
}

/// Harmless where there is a repository already. Non-bare, for Nix reads that
/// directly; without a template there are no hooks.
fn initialise(programs: &Programs) -> Vec<String> {
    argv(
        &programs.git,
        [
            "-c",
            "init.defaultBranch=deploy",
            "init",
            "--quiet",
            "--template=",
            REPOSITORY,
        ],
    )
}

/// Nothing is fetched from there: Nix looks it up for submodules whose URL is
/// relative to the repository's.
fn name_origin(programs: &Programs, url: &str) -> Vec<String> {
    argv(
        &programs.git,
        ["-C", REPOSITORY, "config", "remote.origin.url", url],
    )
}

fn fetch(programs: &Programs, commit: &CommitId, source: &Source) -> Vec<String> {
    let mirror = format!("file://{}", source.mirror.display());
    // The mirror belongs to the fetcher. That git may read it all the same
    // must be said to upload-pack itself: it does not inherit our settings.
    let upload_pack = format!(
        "--upload-pack='{}' -c 'safe.directory=*' -c core.hooksPath=/dev/null upload-pack",
        programs.git.display()
    );
    let refspec = format!("{commit}:{REFERENCE}");
    let harmless = HARMLESS.map(|defect| format!("fetch.fsck.{defect}=ignore"));
    let mut arguments = vec!["-C", REPOSITORY, "-c", "fetch.fsckObjects=true"];
    arguments.extend(harmless.iter().flat_map(|setting| ["-c", setting]));
    arguments.extend([
        "-c",
        "protocol.allow=never",
        "-c",
        "protocol.file.allow=always",
        // The second version serves any object that is named, not only
        // what a ref points to.
        "-c",
        "protocol.version=2",
        "-c",
        "core.hooksPath=/dev/null",
        "fetch",
        "--quiet",
        "--force",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
        &upload_pack,
        &mirror,
        &refspec,
    ]);
    argv(&programs.git, arguments)
}

/// Whether a new repository could help: not where the mirror, the commit or the
/// disk is the reason.
fn may_be_damaged(report: &StepReport) -> bool {
    matches!(report.end, StepEnd::Exited(_)) && words::cause(&report.tail).is_none()
}

fn failure(report: &StepReport) -> Failure {
    if let Some(failure) = WORK.ended(report) {
        return failure;
    }
    let finding = words::find(&report.tail);
    let failure = finding.and_then(words::common_failure);
    failure
        .unwrap_or_else(|| match finding {
            Some(finding) if finding.cause == Cause::ObjectRefused => Failure::new(
                FailureCode::ObjectRefused,
                format!(
                    "git refuses what the commit's history holds: {}",
                    words::refused_object(&report.tail, finding)
                ),
                "Nothing of it was evaluated. Find out who made it, and push a history without it.",
            ),
            Some(finding) if finding.cause == Cause::NotInMirror => Failure::new(
                FailureCode::ImportFailed,
                "the mirror does not hold the commit any more",
                "It is fetched again by itself.",
            ),
            Some(_) | None => Failure::new(
                FailureCode::ImportFailed,
                "git could not import the commit from the mirror",
                "It is tried again later, with a new repository.",
            ),
        })
        .with_detail(&report.tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(end: StepEnd, tail: &str) -> StepReport {
        StepReport {
            end,
            captured: String::new(),
            tail: tail.to_owned(),
            extent: crate::host::journal::Extent::Whole,
        }
    }

    #[test]
    fn a_new_repository_is_made_only_where_it_could_help() {
        let exited = |tail| may_be_damaged(&report(StepEnd::Exited(128), tail));
        assert!(exited(include_str!("fixtures/import-object-empty.txt")));
        assert!(exited(include_str!("fixtures/import-not-a-directory.txt")));
        assert!(!exited(include_str!("fixtures/import-not-in-mirror.txt")));
        assert!(!exited(include_str!("fixtures/import-name-refused.txt")));
        assert!(!exited(include_str!("fixtures/import-name-empty.txt")));
        assert!(!exited("fatal: write error: No space left on device"));
        assert!(!may_be_damaged(&report(StepEnd::TimedOut, "")));
    }

    #[test]
    fn an_object_that_git_refuses_is_the_commits_fault_and_named() {
        use crate::model::failure::FailureClass;
        for (tail, words) in [
            (
                include_str!("fixtures/import-name-refused.txt"),
                "object f4b419127a298f599cd93c974e24548712b6d94f: hasDotdot: contains '..'",
            ),
            (
                include_str!("fixtures/import-submodule-refused.txt"),
                "gitmodulesUrl: disallowed submodule url: -ufoo",
            ),
            (
                include_str!("fixtures/import-name-empty.txt"),
                "empty filename in tree entry",
            ),
        ] {
            let failure = failure(&report(StepEnd::Exited(128), tail));
            assert_eq!(failure.code, FailureCode::ObjectRefused);
            assert_eq!(failure.class, FailureClass::Deterministic);
            assert!(failure.message.ends_with(words), "{}", failure.message);
        }
    }

    #[test]
    fn any_other_import_that_failed_is_never_the_commits_fault() {
        use crate::model::failure::FailureClass;
        for (tail, code) in [
            (
                include_str!("fixtures/import-not-in-mirror.txt"),
                FailureCode::ImportFailed,
            ),
            ("fatal: unheard of", FailureCode::ImportFailed),
            (
                "fatal: write error: No space left on device",
                FailureCode::DiskFull,
            ),
        ] {
            let failure = failure(&report(StepEnd::Exited(128), tail));
            assert_eq!(failure.code, code, "{tail}");
            assert_eq!(failure.class, FailureClass::Transient, "{tail}");
        }
    }
}
