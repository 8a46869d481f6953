//! GC roots that count: made by root, from store paths that Nix checked.
//!
//! In: a derivation and the toplevel that is said to be its output. Out: links
//! below `gcroots/`, registered with Nix. Must not: build, substitute, or
//! follow a link that another user can write.
//!
//! `candidate` holds what is being deployed and stays until the next one
//! replaces it; `previous` holds what ran before it, and `guardian` the program
//! that leads back to it. What is deployed is held by its profile besides.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::words;
use super::{Work, argv};
use crate::host::environment::Programs;
use crate::model::deployment::{DeploymentId, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::stage::UnitStep;
use crate::model::system::{StorePath, Toplevel};
use crate::pipeline::guard::program;
use crate::pipeline::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};

/// What is being deployed, or was last.
const CANDIDATE: &str = "/var/lib/deploy-flake/gcroots/candidate";

/// What ran before.
const PREVIOUS: &str = "/var/lib/deploy-flake/gcroots/previous";

const WORK: Work = Work {
    noun: "registration of the GC roots",
    timeout: FailureCode::NotRooted,
    setting: "`deadlines.root`",
};

/// Makes sure that the toplevel is the derivation's own output, and roots it;
/// roots what runs now, too.
pub async fn root(
    steps: &Steps,
    id: &DeploymentId,
    system: &System,
    previous: Option<&Toplevel>,
    deadline: Duration,
) -> Result<(), Failure> {
    let own = program::own_store_path();
    let plan = StepPlan {
        step: UnitStep::Root,
        deployment: id.clone(),
        commands: commands(steps.programs(), system, previous, own.as_ref()),
        user: StepUser::Root,
        deadline,
        environment: Vec::new(),
        credentials: Vec::new(),
        capture: false,
    };
    let report = steps.run(&plan).await?;
    if report.end != StepEnd::Succeeded {
        return Err(failure(&report));
    }
    verify(Path::new(CANDIDATE), &system.toplevel)
}

/// What runs now comes first: were there only one root, it had to be that.
fn commands(
    programs: &Programs,
    system: &System,
    previous: Option<&Toplevel>,
    own: Option<&StorePath>,
) -> Vec<Vec<String>> {
    let previous = previous.map(|toplevel| add_root(programs, toplevel.path(), PREVIOUS));
    // The guardian is of our own program, which no system may hold any more.
    let guardian = own.filter(|path| !program::is_rooted(path));
    let guardian = guardian.map(|path| add_root(programs, path, program::ROOT));
    let candidate = add_root(programs, system.derivation.path(), CANDIDATE);
    previous
        .into_iter()
        .chain(guardian)
        .chain([candidate])
        .collect()
}

/// For a derivation, Nix itself finds the output and links to that. Nothing
/// may be built or downloaded: all of it was, by the build user.
pub(super) fn add_root(programs: &Programs, path: &StorePath, link: &str) -> Vec<String> {
    argv(
        &programs.nix_store,
        [
            "--realise",
            path.as_str(),
            "--add-root",
            link,
            "--max-jobs",
            "0",
            "--option",
            "builders",
            "",
            "--option",
            "substitute",
            "false",
        ],
    )
}

/// The link is in a directory that only root can enter.
fn verify(link: &Path, expected: &Toplevel) -> Result<(), Failure> {
    let found = match fs::read_link(link) {
        Ok(target) if target == expected.path().as_path() => return Ok(()),
        Ok(target) => format!("the derivation's output is {}", target.display()),
        Err(error) => format!("{} cannot be read: {error}", link.display()),
    };
    Err(Failure::new(
        FailureCode::NotRooted,
        format!("{expected} is not what the derivation builds: {found}"),
        "Nothing of it is run; it is evaluated and built again.",
    ))
}

fn failure(report: &StepReport) -> Failure {
    if let Some(failure) = WORK.ended(report) {
        return failure;
    }
    words::find(&report.tail)
        .and_then(words::common_failure)
        .unwrap_or_else(|| {
            Failure::new(
                FailureCode::NotRooted,
                format!(
                    "no GC root could be made: {}",
                    words::last_error(&report.tail)
                ),
                "It is tried again later.",
            )
        })
        .with_detail(&report.tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toplevel(name: &str) -> Toplevel {
        StorePath::try_from(format!(
            "/nix/store/p53qf9ffxkxwnsahs8bjyv3gfjjiq44w-{name}"
        ))
        .map(Toplevel::new)
        .expect("a good path")
    }

    #[test]
    fn a_link_must_point_to_exactly_the_toplevel() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let link = directory.path().join("candidate");
        let good = toplevel("good");
        assert!(verify(&link, &good).is_err(), "there is none");
        std::os::unix::fs::symlink(good.path().as_path(), &link).expect("the directory is ours");
        assert_eq!(verify(&link, &good), Ok(()));
        let failure = verify(&link, &toplevel("other")).expect_err("it is another");
        assert_eq!(failure.code, FailureCode::NotRooted);
    }

    #[test]
    fn an_output_that_is_not_there_is_not_rooted() {
        let report = StepReport {
            end: StepEnd::Exited(1),
            captured: String::new(),
            tail: include_str!("fixtures/root-not-built.txt").to_owned(),
            extent: crate::host::journal::Extent::Whole,
        };
        assert_eq!(failure(&report).code, FailureCode::NotRooted);
    }
}
