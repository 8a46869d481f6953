//! The derivation's toplevel, by `nix build`: built, or substituted.
//!
//! In: a derivation. Out: the store path of its output, held by a link of the
//! build user's. Must not: follow that link; `root` makes roots that count.
//!
//! The unit sees the network although only the Nix daemon uses it: a client
//! that sees none tells the daemon not to substitute.
//!
//! Nix runs below our own program (`relay`), which writes what Nix would have
//! written and tells systemd how far it is. There it is read from now and then:
//! a daemon that was restarted finds it where the one before did.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::sleep;

use super::evaluate::environment as variables;
use super::words::{self, Cause};
use super::{Work, argv};
use crate::host::environment;
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureClass, FailureCode};
use crate::model::progress::Progress;
use crate::model::stage::{BuildFailure, UnitStep};
use crate::model::system::{Derivation, StorePath, Toplevel};
use crate::pipeline::room;
use crate::pipeline::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};

/// The link that keeps the garbage collector away until root has made its own.
const OUT_LINK: &str = "/var/cache/deploy-flake/build/result";

const WORK: Work = Work {
    noun: "build",
    timeout: FailureCode::BuildTimeout,
    setting: "`deadlines.build`",
};

/// How often it is asked how far a build is, and so how often anybody is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How far which deployment's build is, as long as it goes on.
pub type Building = Option<(DeploymentId, Progress)>;

/// Builds or substitutes the derivation, if the store has room: five percent,
/// and `reserve` bytes. Meanwhile `building` says how far it is.
pub async fn build(
    steps: &Steps,
    id: &DeploymentId,
    derivation: &Derivation,
    reserve: u64,
    deadline: Duration,
    building: &watch::Sender<Building>,
) -> Result<Toplevel, BuildFailure> {
    has_room(steps, id, derivation, reserve)
        .await
        .map_err(BuildFailure::Failed)?;
    let plan = StepPlan {
        step: UnitStep::Build,
        deployment: id.clone(),
        commands: vec![command(&steps.programs().nix, derivation)],
        user: StepUser::Build,
        deadline,
        environment: variables(steps.programs()),
        credentials: Vec::new(),
        capture: true,
    };
    // Cancel-safe: a watch that is dropped has told, or has not.
    let report = tokio::select! {
        report = steps.run(&plan) => report,
        never = watch(steps, id, building) => match never {},
    };
    building.send_if_modified(|it| it.take_if(|(building, _)| building == id).is_some());
    let report = report.map_err(BuildFailure::Failed)?;
    answer(&report, derivation).map_err(|failure| {
        // Between evaluation and build nothing holds the derivation.
        if derivation.path().as_path().exists() {
            BuildFailure::Failed(failure)
        } else {
            BuildFailure::DerivationMissing
        }
    })
}

/// Tells how far the build is, whenever that is new.
async fn watch(
    steps: &Steps,
    id: &DeploymentId,
    building: &watch::Sender<Building>,
) -> std::convert::Infallible {
    // Until then another deployment's may be in the way.
    while !steps.has_unit(UnitStep::Build, id).await.unwrap_or(false) {
        sleep(PROGRESS_INTERVAL).await;
    }
    loop {
        sleep(PROGRESS_INTERVAL).await;
        let Some(progress) = steps.progress(UnitStep::Build).await else {
            continue;
        };
        let now = Some((id.clone(), progress));
        building.send_if_modified(|before| {
            let is_new = *before != now;
            *before = now;
            is_new
        });
    }
}

/// Whether there is room, where something is going to be built: a host that is
/// what it should be says so on a full disk, too. What an earlier daemon began,
/// had its room; what it used of it since is no reason to throw it away.
async fn has_room(
    steps: &Steps,
    id: &DeploymentId,
    derivation: &Derivation,
    reserve: u64,
) -> Result<(), Failure> {
    let text = fs::read_to_string(derivation.path().as_path()).unwrap_or_default();
    let is_built = output(&text).is_some_and(|path| Path::new(path).exists());
    if is_built || steps.has_unit(UnitStep::Build, id).await? {
        return Ok(());
    }
    room::for_build(Path::new("/"), reserve)
}

/// The path of the output `out` in the text of a derivation, which begins with
/// its outputs; None where only the build tells it.
fn output(derivation: &str) -> Option<&str> {
    let outputs = derivation.strip_prefix("Derive([")?.split(']').next()?;
    let (_, rest) = outputs.split_once("(\"out\",\"")?;
    let path = rest.split('"').next()?;
    path.starts_with('/').then_some(path)
}

/// Nix below the relay; if that cannot be found, Nix alone: then a build tells
/// nothing of how far it is, and is a build all the same.
fn command(nix: &Path, derivation: &Derivation) -> Vec<String> {
    let relay = environment::own_program().ok().filter(|it| it.is_file());
    let output = format!("{derivation}^out");
    let arguments = |log: &[&'static str]| {
        let fixed = [
            "--extra-experimental-features",
            "nix-command flakes",
            "build",
            "--json",
            "--out-link",
            OUT_LINK,
            &output,
        ];
        argv(nix, fixed.into_iter().chain(log.iter().copied()))
    };
    match relay {
        Some(relay) => {
            let mut command = argv(&relay, ["relay", "--"]);
            command.extend(arguments(&["--log-format", "internal-json"]));
            command
        }
        None => arguments(&["--print-build-logs"]),
    }
}

/// One element of what `nix build --json` prints.
#[derive(Deserialize)]
struct Built {
    #[serde(rename = "drvPath")]
    derivation: String,
    outputs: BTreeMap<String, String>,
}

fn answer(report: &StepReport, derivation: &Derivation) -> Result<Toplevel, Failure> {
    if report.end == StepEnd::Succeeded {
        return toplevel(&report.captured, derivation).ok_or_else(|| unreadable(&report.captured));
    }
    let failure = WORK.ended(report).unwrap_or_else(|| refused(&report.tail));
    Err(failure.with_detail(&report.tail))
}

fn toplevel(captured: &str, derivation: &Derivation) -> Option<Toplevel> {
    let built: Vec<Built> = serde_json::from_str(captured).ok()?;
    let ours = built
        .into_iter()
        .find(|built| absolute(&built.derivation) == derivation.path().as_str())?;
    let output = ours.outputs.get("out")?;
    StorePath::try_from(absolute(output))
        .ok()
        .map(Toplevel::new)
}

/// Nix's JSON formats drop the store's directory from paths, one after the
/// other, in versions from 2.32 on. Whether it is a store path, is for others
/// to check.
fn absolute(path: &str) -> String {
    if path.contains('/') {
        path.to_owned()
    } else {
        format!("/nix/store/{path}")
    }
}

fn refused(tail: &str) -> Failure {
    if tail.is_empty() {
        return Failure {
            class: FailureClass::Transient,
            ..Failure::new(
                FailureCode::BuildFailed,
                "the build failed, and the journal holds no word of it",
                "It is tried again later; see whether journald runs.",
            )
        };
    }
    let finding = words::find(tail);
    if let Some(failure) = finding.and_then(words::common_failure) {
        return failure;
    }
    if finding.is_some_and(|finding| finding.cause == Cause::BuilderTimedOut) {
        return Failure::new(
            FailureCode::BuildTimeout,
            format!("Nix ended a builder: {}", words::first_error(tail)),
            "See `timeout` and `max-silent-time` in nix.conf(5); it is tried again later.",
        );
    }
    Failure::new(
        FailureCode::BuildFailed,
        format!("the build failed: {}", words::first_error(tail)),
        "Push a commit that builds; this one is not tried again. `nix log` of that derivation shows \
         all that its builder said.",
    )
}

fn unreadable(captured: &str) -> Failure {
    Failure::new(
        FailureCode::StepFailed,
        "the build succeeded, and its answer names no toplevel",
        "It is tried again later.",
    )
    .with_detail(captured)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DERIVATION: &str = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-nixos-system-h1.drv";
    const OUTPUT: &str = "/nix/store/p53qf9ffxkxwnsahs8bjyv3gfjjiq44w-nixos-system-h1";

    fn derivation() -> Derivation {
        StorePath::try_from(DERIVATION.to_owned())
            .and_then(Derivation::try_from)
            .expect("a good path")
    }

    #[test]
    fn the_output_is_read_from_the_derivation() {
        let known = format!("Derive([(\"out\",\"{OUTPUT}\",\"\",\"\")],[],[],\"x\",\"/bin/sh\")");
        let second = format!(
            "Derive([(\"doc\",\"/nix/store/d\",\"\",\"\"),(\"out\",\"{OUTPUT}\",\"\",\"\")],[])"
        );
        for (text, expected) in [
            (&*known, Some(OUTPUT)),
            (&second, Some(OUTPUT)),
            ("Derive([(\"out\",\"\",\"r:sha256\",\"\")],[])", None),
            ("Derive([],[(\"out\",\"/x\")])", None),
            ("", None),
        ] {
            assert_eq!(output(text), expected, "{text}");
        }
    }

    fn failed(end: StepEnd, tail: &str) -> (FailureCode, FailureClass) {
        let report = StepReport {
            end,
            captured: String::new(),
            tail: tail.to_owned(),
            extent: crate::host::journal::Extent::Whole,
        };
        let failure = answer(&report, &derivation()).expect_err("it did not succeed");
        (failure.code, failure.class)
    }

    #[test]
    fn the_output_of_our_derivation_is_taken() {
        // Without times: that is how Nix answers when there was nothing to do.
        let captured = format!(r#"[{{"drvPath":"{DERIVATION}","outputs":{{"out":"{OUTPUT}"}}}}]"#);
        let found = toplevel(&captured, &derivation());
        assert_eq!(
            found.map(|found| found.to_string()).as_deref(),
            Some(OUTPUT)
        );
        let bare = captured.replace("/nix/store/", "");
        let found = toplevel(&bare, &derivation());
        assert_eq!(
            found.map(|found| found.to_string()).as_deref(),
            Some(OUTPUT)
        );
        for bad in [
            "",
            "[]",
            &captured.replace("vwls", "0wls"),
            &captured.replace("\"out\"", "\"dev\""),
            &captured.replace(OUTPUT, "/etc"),
        ] {
            assert_eq!(toplevel(bad, &derivation()), None, "{bad}");
        }
    }

    #[test]
    fn each_refusal_has_its_code_and_class() {
        use FailureClass::{Deterministic, Transient};
        use FailureCode as Code;
        for (tail, code, class) in [
            (
                include_str!("fixtures/build-fails.txt"),
                Code::BuildFailed,
                Deterministic,
            ),
            (
                include_str!("fixtures/build-dependency-fails.txt"),
                Code::BuildFailed,
                Deterministic,
            ),
            (
                include_str!("fixtures/build-hash-mismatch.txt"),
                Code::BuildFailed,
                Deterministic,
            ),
            (
                include_str!("fixtures/build-wrong-system.txt"),
                Code::BuildFailed,
                Deterministic,
            ),
            (
                include_str!("fixtures/build-fetch-unreachable.txt"),
                Code::InputUnavailable,
                Transient,
            ),
            (
                include_str!("fixtures/build-store-full.txt"),
                Code::DiskFull,
                Transient,
            ),
            (
                include_str!("fixtures/build-daemon-dies.txt"),
                Code::StepFailed,
                Transient,
            ),
            ("", Code::BuildFailed, Transient),
        ] {
            assert_eq!(failed(StepEnd::Exited(1), tail), (code, class), "{tail}");
        }
    }

    #[test]
    fn a_build_that_was_ended_is_not_the_commits_fault() {
        let tail = include_str!("fixtures/build-fails.txt");
        for (end, code) in [
            (StepEnd::TimedOut, FailureCode::BuildTimeout),
            (StepEnd::OutOfMemory, FailureCode::OutOfMemory),
            (StepEnd::Signalled(15), FailureCode::StepFailed),
        ] {
            assert_eq!(failed(end, tail), (code, FailureClass::Transient));
        }
    }
}
