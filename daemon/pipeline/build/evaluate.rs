//! The commit's derivation for this host, by `nix eval`.
//!
//! In: a candidate that was imported, or a snapshot that was taken, and the name of the configuration. Out:
//! a derivation in the store. Must not: write a lock file, use a registry,
//! take settings from the flake, or build anything unless that is allowed.

use std::path::Path;
use std::time::Duration;

use tracing::warn;

use super::import::{Source, import_anew};
use super::inputs::Inputs;
use super::words::{self, Cause};
use super::{REPOSITORY, Work, argv, variables};
use crate::host::environment::Programs;
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureClass, FailureCode};
use crate::model::flake::Flake;
use crate::model::revision::Candidate;
use crate::model::stage::UnitStep;
use crate::model::system::{Configuration, Derivation, StorePath};
use crate::pipeline::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};

/// The part of the step that follows a new repository.
const AGAIN: &str = "again";

const WORK: Work = Work {
    noun: "evaluation",
    timeout: FailureCode::EvaluationTimeout,
    setting: "`deadlines.evaluate`",
};

/// Evaluates the configuration; makes a repository that Nix cannot read anew,
/// once.
pub async fn evaluate(
    steps: &Steps,
    id: &DeploymentId,
    how: Evaluating<'_>,
    deadline: Duration,
) -> Result<Derivation, Failure> {
    let configuration = how.configuration;
    let environment = how.inputs.environment_over(environment(steps.programs()));
    let plan = StepPlan {
        step: UnitStep::Evaluate,
        deployment: id.clone(),
        commands: vec![how.command(&steps.programs().nix)],
        user: StepUser::Build,
        deadline,
        environment,
        credentials: how.inputs.credentials.clone(),
        capture: true,
    };
    let Flakes::Mirrored {
        candidate, source, ..
    } = how.flakes
    else {
        return answer(&steps.run(&plan).await?, configuration);
    };
    if !steps.has_begun(UnitStep::Evaluate, id, AGAIN).await? {
        let report = steps.run(&plan).await?;
        if !is_damaged(&report) {
            return answer(&report, configuration);
        }
        warn!(deployment = %id, nix = report.tail, "repository cannot be read and is made anew");
        import_anew(steps, id, candidate, source, deadline).await?;
    }
    let report = steps.run_part(&plan, AGAIN).await?;
    steps.release(UnitStep::Import).await;
    answer(&report, configuration)
}

/// How a flake is evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Evaluating<'a> {
    /// Which configuration of the flake.
    pub configuration: &'a Configuration,
    /// Whether evaluation may build.
    pub import_from_derivation: bool,
    /// With what its inputs are fetched.
    pub inputs: &'a Inputs,
    /// Where it is.
    pub flakes: Flakes<'a>,
}

/// Where a flake is.
#[derive(Clone, Copy, Debug)]
pub enum Flakes<'a> {
    /// In a commit, in the evaluation's repository.
    Mirrored {
        /// The commit.
        candidate: &'a Candidate,
        /// Where in it.
        flake: &'a Flake,
        /// From where it is imported, should it have to be once more.
        source: &'a Source,
    },
    /// In the store, at the top of what root pushed.
    Pushed(&'a StorePath),
}

impl Flakes<'_> {
    fn url(&self) -> String {
        match self {
            Self::Mirrored {
                candidate, flake, ..
            } => {
                let mut query = format!("rev={}", candidate.commit());
                if let Some(directory) = &flake.directory {
                    query.push_str(&format!("&dir={directory}"));
                }
                if flake.submodules {
                    query.push_str("&submodules=1");
                }
                format!("git+file://{REPOSITORY}?{query}")
            }
            Self::Pushed(source) => format!("path:{source}"),
        }
    }
}

impl Evaluating<'_> {
    fn flake(&self) -> String {
        format!("{}#.{}", self.flakes.url(), self.configuration.attribute())
    }

    fn command(&self, nix: &Path) -> Vec<String> {
        // The dot keeps Nix from looking below `packages` first, which can
        // cost more than the answer.
        let flake = self.flake();
        let import_from_derivation = self.import_from_derivation.to_string();
        argv(
            nix,
            [
                "--extra-experimental-features",
                "nix-command flakes",
                "eval",
                "--raw",
                "--print-build-logs",
                // Alone: together with --no-write-lock-file, inputs would
                // float silently.
                "--no-update-lock-file",
                "--no-use-registries",
                "--option",
                "accept-flake-config",
                "false",
                "--option",
                "pure-eval",
                "true",
                "--option",
                "allow-import-from-derivation",
                &import_from_derivation,
                // One file a commit, never read again, and it remembers failures.
                "--option",
                "eval-cache",
                "false",
                &flake,
            ],
        )
    }
}

/// Nix reads `/etc/nix/nix.conf` and no user's settings, unless they are given.
pub(super) fn environment(programs: &Programs) -> Vec<(String, String)> {
    let mut environment = variables(&[
        ("NIX_USER_CONF_FILES", ""),
        ("GIT_TERMINAL_PROMPT", "0"),
        // Its words, and those of git below it, are read.
        ("LC_ALL", "C"),
    ]);
    environment.extend(programs.proxies().iter().cloned());
    environment
}

fn is_damaged(report: &StepReport) -> bool {
    matches!(report.end, StepEnd::Exited(_))
        && words::cause(&report.tail) == Some(Cause::RepositoryDamaged)
}

fn answer(report: &StepReport, configuration: &Configuration) -> Result<Derivation, Failure> {
    if report.end == StepEnd::Succeeded {
        return derivation(&report.captured);
    }
    let failure = WORK
        .ended(report)
        .unwrap_or_else(|| refused(&report.tail, configuration));
    Err(failure.with_detail(&report.tail))
}

fn derivation(captured: &str) -> Result<Derivation, Failure> {
    if captured.is_empty() {
        return Err(Failure::new(
            FailureCode::StepFailed,
            "the evaluation's answer is gone",
            "It is tried again later.",
        ));
    }
    StorePath::try_from(captured.to_owned())
        .and_then(Derivation::try_from)
        .map_err(|error| {
            Failure::new(
                FailureCode::EvaluationFailed,
                format!("drvPath of the configuration is no derivation: {error}"),
                "`config.system.build.toplevel` has to be a derivation.",
            )
        })
}

fn refused(tail: &str, configuration: &Configuration) -> Failure {
    if tail.is_empty() {
        return unexplained();
    }
    let Some(finding) = words::find(tail) else {
        return own_fault(tail);
    };
    if let Some(failure) = words::common_failure(finding) {
        return failure;
    }
    match finding.cause {
        Cause::LockFileIncomplete => Failure::new(
            FailureCode::LockFileIncomplete,
            "flake.lock does not hold every input",
            "Run `nix flake lock` and commit flake.lock; it is never written here.",
        ),
        Cause::FlakeMissing => Failure::new(
            FailureCode::FlakeMissing,
            "the commit holds no flake.nix",
            "The flake has to be at the top of the repository.",
        ),
        Cause::ConfigurationMissing => Failure::new(
            FailureCode::ConfigurationMissing,
            format!("the flake has no nixosConfigurations.\"{configuration}\" with a toplevel"),
            "Add it, or set `configuration` to the name that this host has in the flake.",
        ),
        Cause::RepositoryDamaged => Failure::new(
            FailureCode::ImportFailed,
            "Nix cannot read the evaluation's repository, although it is new",
            "It is tried again later; see whether the disk is sound, and what `git fsck` says of the \
             remote's repository.",
        ),
        Cause::Interrupted
        | Cause::NixDaemonAway
        | Cause::BuilderUnreachable
        | Cause::DiskFull
        | Cause::OutOfMemory
        | Cause::NotInMirror
        | Cause::ObjectRefused
        | Cause::InputUnavailable
        | Cause::BuilderTimedOut => own_fault(tail),
    }
}

fn own_fault(tail: &str) -> Failure {
    Failure::new(
        FailureCode::EvaluationFailed,
        format!(
            "the configuration does not evaluate: {}",
            words::last_error(tail)
        ),
        "Push a commit that evaluates; this one is not tried again.",
    )
}

/// Without a word nobody can say that it is the commit's fault.
fn unexplained() -> Failure {
    Failure {
        class: FailureClass::Transient,
        ..Failure::new(
            FailureCode::EvaluationFailed,
            "the evaluation failed, and the journal holds no word of it",
            "It is tried again later; see whether journald runs.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::revision::CommitId;

    fn configuration() -> Configuration {
        Configuration::try_from("h1".to_owned()).expect("a good name")
    }

    fn report(end: StepEnd, captured: &str, tail: &str) -> StepReport {
        StepReport {
            end,
            captured: captured.to_owned(),
            tail: tail.to_owned(),
            extent: crate::host::journal::Extent::Whole,
        }
    }

    fn code_of(end: StepEnd, captured: &str, tail: &str) -> (FailureCode, FailureClass) {
        let failure =
            answer(&report(end, captured, tail), &configuration()).expect_err("it did not succeed");
        (failure.code, failure.class)
    }

    #[test]
    fn an_answer_is_a_derivation_or_the_commits_fault() {
        let good = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-nixos-system-h1.drv";
        let found = answer(&report(StepEnd::Succeeded, good, ""), &configuration());
        assert_eq!(found.map(|found| found.to_string()), Ok(good.to_owned()));
        for (captured, expected) in [
            ("not a store path", FailureCode::EvaluationFailed),
            (
                "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-x",
                FailureCode::EvaluationFailed,
            ),
            ("", FailureCode::StepFailed),
        ] {
            assert_eq!(code_of(StepEnd::Succeeded, captured, "").0, expected);
        }
    }

    #[test]
    fn each_refusal_has_its_code_and_class() {
        use FailureClass::{Deterministic, Transient};
        use FailureCode as Code;
        for (tail, code, class) in [
            (
                include_str!("fixtures/eval-throw.txt"),
                Code::EvaluationFailed,
                Deterministic,
            ),
            (
                include_str!("fixtures/eval-syntax.txt"),
                Code::EvaluationFailed,
                Deterministic,
            ),
            (
                include_str!("fixtures/eval-flake-missing.txt"),
                Code::FlakeMissing,
                Deterministic,
            ),
            (
                include_str!("fixtures/eval-configuration-missing.txt"),
                Code::ConfigurationMissing,
                Deterministic,
            ),
            (
                include_str!("fixtures/eval-lock-incomplete.txt"),
                Code::LockFileIncomplete,
                Deterministic,
            ),
            (
                include_str!("fixtures/eval-git-unreachable.txt"),
                Code::InputUnavailable,
                Transient,
            ),
            (
                include_str!("fixtures/eval-cache-full.txt"),
                Code::DiskFull,
                Transient,
            ),
            (
                include_str!("fixtures/eval-out-of-memory.txt"),
                Code::OutOfMemory,
                Transient,
            ),
            (
                include_str!("fixtures/eval-daemon-down.txt"),
                Code::StepFailed,
                Transient,
            ),
            (
                include_str!("fixtures/eval-object-missing.txt"),
                Code::ImportFailed,
                Transient,
            ),
            ("", Code::EvaluationFailed, Transient),
        ] {
            assert_eq!(
                code_of(StepEnd::Exited(1), "", tail),
                (code, class),
                "{tail}"
            );
        }
    }

    #[test]
    fn a_step_that_was_ended_is_not_the_commits_fault() {
        for (end, code) in [
            (StepEnd::TimedOut, FailureCode::EvaluationTimeout),
            (StepEnd::OutOfMemory, FailureCode::OutOfMemory),
            (StepEnd::Signalled(9), FailureCode::StepFailed),
            (
                StepEnd::CouldNotStart("user missing (217/USER)".to_owned()),
                FailureCode::StepFailed,
            ),
        ] {
            let found = code_of(end, "", include_str!("fixtures/eval-throw.txt"));
            assert_eq!(found, (code, FailureClass::Transient));
        }
    }

    #[test]
    fn a_timeout_keeps_the_last_lines() {
        let report = report(StepEnd::TimedOut, "", "ifd> compiling\nifd> linking");
        let failure = answer(&report, &configuration()).expect_err("it did not succeed");
        assert!(failure.detail.ends_with("ifd> linking"));
    }

    fn command(flakes: Flakes<'_>) -> Vec<String> {
        let how = Evaluating {
            configuration: &configuration(),
            import_from_derivation: false,
            inputs: &Inputs {
                credentials: Vec::new(),
                environment: Vec::new(),
            },
            flakes,
        };
        how.command(Path::new("/bin/nix"))
    }

    fn of_commit(flake: &Flake) -> Vec<String> {
        let commit = "0123456789abcdef0123456789abcdef01234567".to_owned();
        let commit = CommitId::try_from(commit).expect("a good id");
        command(Flakes::Mirrored {
            candidate: &Candidate::Commit(commit),
            flake,
            source: &Source {
                mirror: "/mirror".into(),
                origin: None,
            },
        })
    }

    #[test]
    fn a_pushed_flake_is_the_path_in_the_store() {
        let source = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source";
        let path = StorePath::try_from(source.to_owned()).expect("a good path");
        let expected = format!("path:{source}#.{}", configuration().attribute());
        let command = command(Flakes::Pushed(&path));
        assert_eq!(command.last(), Some(&expected));
    }

    #[test]
    fn a_directory_and_submodules_are_part_of_the_question() {
        let flake = Flake {
            directory: Some("nix/hosts".to_owned()),
            submodules: true,
            nix_config: None,
        };
        let command = of_commit(&flake);
        let asked = command.last().map(String::as_str).unwrap_or_default();
        assert!(
            asked.contains("01234567&dir=nix/hosts&submodules=1#."),
            "{asked}"
        );
    }

    #[test]
    fn nix_is_asked_for_exactly_this_commit() {
        let command = of_commit(&Flake::default());
        assert_eq!(
            command.last().map(String::as_str),
            Some(
                "git+file:///var/cache/deploy-flake/build/repository\
                 ?rev=0123456789abcdef0123456789abcdef01234567\
                 #.nixosConfigurations.\"h1\".config.system.build.toplevel.drvPath"
            )
        );
        assert!(!command.contains(&"--no-write-lock-file".to_owned()));
    }
}
