//! A pushed snapshot, taken as what it is: a path that Nix has registered.
//!
//! In: a store path as text. Out: a GC root that holds it, and a flake in it;
//! or a typed failure. Must not: substitute, build, or read more of the snapshot
//! than whether it is a flake.
//!
//! `source` stays until the next push replaces it: the flake is evaluated once
//! more, should its derivation be garbage-collected.

use std::time::Duration;

use super::root::add_root;
use super::words;
use super::{Work, argv};
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::stage::UnitStep;
use crate::model::system::StorePath;
use crate::pipeline::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};

/// What was pushed last.
const SOURCE: &str = "/var/lib/deploy-flake/gcroots/source";

const FLAKE: &str = "flake.nix";

const WORK: Work = Work {
    noun: "look at the pushed snapshot",
    timeout: FailureCode::ImportFailed,
    setting: "`deadlines.import`",
};

/// Makes sure that the path is valid and a flake, and roots it.
pub async fn take(
    steps: &Steps,
    id: &DeploymentId,
    source: &StorePath,
    deadline: Duration,
) -> Result<(), Failure> {
    let programs = steps.programs();
    let is_valid = argv(&programs.nix_store, ["--check-validity", source.as_str()]);
    let plan = StepPlan {
        step: UnitStep::Import,
        deployment: id.clone(),
        commands: vec![is_valid, add_root(programs, source, SOURCE)],
        user: StepUser::Root,
        deadline,
        environment: Vec::new(),
        credentials: Vec::new(),
        capture: false,
    };
    let report = steps.run(&plan).await?;
    if report.end != StepEnd::Succeeded {
        return Err(failure(&report, source));
    }
    match source.as_path().join(FLAKE).is_file() {
        true => Ok(()),
        false => Err(no_flake(source)),
    }
}

fn no_flake(source: &StorePath) -> Failure {
    Failure::new(
        FailureCode::FlakeMissing,
        format!("the pushed {source} holds no {FLAKE} at its top"),
        "Nothing was changed. Push the source of a flake.",
    )
}

fn failure(report: &StepReport, source: &StorePath) -> Failure {
    let known = WORK
        .ended(report)
        .or_else(|| words::find(&report.tail).and_then(words::common_failure));
    let failure = known.unwrap_or_else(|| {
        Failure::new(
            FailureCode::SourceInvalid,
            format!("{source} is no valid path of this host's store"),
            "Nothing was changed. Copy the snapshot into this host's store first (`nix copy`).",
        )
    });
    failure.with_detail(&report.tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::FailureClass;

    #[test]
    fn only_nix_itself_says_that_a_path_is_invalid() {
        let source = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source".to_owned();
        let source = StorePath::try_from(source).expect("a good path");
        let invalid = format!("error: path '{source}' is not valid");
        let away = "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket'";
        for (end, tail, code, class) in [
            (
                StepEnd::Exited(1),
                &*invalid,
                FailureCode::SourceInvalid,
                FailureClass::Deterministic,
            ),
            (
                StepEnd::Exited(1),
                away,
                FailureCode::StepFailed,
                FailureClass::Transient,
            ),
            (
                StepEnd::TimedOut,
                "",
                FailureCode::ImportFailed,
                FailureClass::Transient,
            ),
        ] {
            let report = StepReport {
                end,
                captured: String::new(),
                tail: tail.to_owned(),
                extent: crate::host::journal::Extent::Whole,
            };
            let failure = failure(&report, &source);
            assert_eq!((failure.code, failure.class), (code, class), "{tail}");
        }
    }
}
