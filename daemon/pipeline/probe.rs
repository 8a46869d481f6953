//! A closure to what the network looks like from it: one run of its own probe.
//!
//! In: a closure. Out: its report, or that it has none. Must not: judge a
//! report, or keep a unit.
//!
//! Every run is a fresh one: what an earlier daemon began is stopped, for
//! nobody wants to know any more what was seen then.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::health::HostView;
use super::installed::{Installed, configuration, installed, ssh_servers};
use super::observe::below;
use super::remotes::those_there;
use super::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};
use crate::host::random;
use crate::model::credential::Credential;
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::{ProbeReport, Reachability};
use crate::model::stage::UnitStep;
use crate::model::system::Toplevel;

/// The closure's own program that says whether the host is well.
const HEALTH_CHECK: &str = "health-check";

/// What of its deadline a probe does not get, so that it can still report what
/// did not answer; at most a fifth.
const MARGIN: Duration = Duration::from_secs(2);

/// With which status a program ends that does not know what it was asked: one
/// from before there was a probe.
const NOT_UNDERSTOOD: i32 = 2;

/// Between two probes of a remote that may come back.
const AGAIN: Duration = Duration::from_secs(1);

/// SIGHUP, SIGINT, SIGKILL, SIGTERM: others end a program by its own fault.
const ENDED_BY_SOMEBODY: [i32; 4] = [1, 2, 9, 15];

/// Runs the probe of a closure. None: the closure has no daemon, or one that
/// knows no probe.
///
/// Fails with `probe-failed` when the closure's program did not give a report,
/// and with another code when it could not be run for reasons of the host's.
pub(crate) async fn run(
    steps: &Steps,
    view: HostView<'_>,
    id: &DeploymentId,
    closure: &Toplevel,
    deadline: Duration,
) -> Result<Option<ProbeReport>, Failure> {
    let Some(daemon) = installed(view.root, closure) else {
        return Ok(None);
    };
    let plan = StepPlan {
        step: UnitStep::Probe,
        deployment: id.clone(),
        commands: vec![command(view.root, closure, &daemon, deadline)],
        user: StepUser::Probe,
        deadline,
        environment: steps.programs().proxies().to_vec(),
        credentials: credentials(view.root, &daemon).await,
        capture: true,
    };
    // A part of its own each time: no run is ever adopted.
    let report = steps.run_part(&plan, &random::id()).await;
    steps.release(UnitStep::Probe).await;
    read(&report?, closure)
}

/// Whether the remote can be asked from a closure: once is enough, and it is
/// asked for as long as `patience`, because a network comes back slowly.
pub(crate) async fn remote_from(
    steps: &Steps,
    view: HostView<'_>,
    id: &DeploymentId,
    closure: &Toplevel,
    deadline: Duration,
    patience: Duration,
) -> Reachability {
    let give_up_at = Instant::now() + patience;
    loop {
        let seen = run(steps, view, id, closure, deadline).await;
        let remote = seen.ok().flatten().map(|report| report.remote);
        let is_silent = matches!(remote, Some(Reachability::Unreachable(_)));
        if !is_silent || Instant::now() >= give_up_at {
            return remote.unwrap_or_default();
        }
        sleep(AGAIN).await;
    }
}

/// What the closure's remotes are to be shown. A configuration that cannot be
/// read has none; its own daemon says so.
///
/// Where there are several, one that has nothing to show is a remote that does
/// not answer, and no reason to start no probe at all.
async fn credentials(root: &Path, daemon: &Installed) -> Vec<Credential> {
    let Ok(gist) = configuration(root, daemon) else {
        return Vec::new();
    };
    if gist.has_several_remotes() {
        return those_there(&gist.credentials).await;
    }
    gist.credentials
}

fn command(root: &Path, closure: &Toplevel, daemon: &Installed, deadline: Duration) -> Vec<String> {
    let within = deadline - MARGIN.min(deadline / 5);
    let mut command = vec![
        daemon.program.display().to_string(),
        "probe".to_owned(),
        format!("--config={}", daemon.config.display()),
        format!("--within={}", within.as_millis()),
    ];
    let servers = ssh_servers(root, closure);
    let configs = servers.configs.iter();
    command.extend(configs.map(|file| format!("--sshd-config={}", file.display())));
    let streams = servers.streams.iter();
    command.extend(streams.map(|stream| format!("--ssh-listen={stream}")));
    let own = closure.path().join(HEALTH_CHECK);
    if is_executable(&below(root, Path::new(&own))) {
        command.push(format!("--health-check={own}"));
    }
    command
}

fn is_executable(path: &Path) -> bool {
    let metadata = path.metadata();
    metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

fn read(report: &StepReport, closure: &Toplevel) -> Result<Option<ProbeReport>, Failure> {
    let how = match &report.end {
        StepEnd::Succeeded => match serde_json::from_str(report.captured.trim()) {
            Ok(seen) => return Ok(Some(seen)),
            Err(error) => format!("gave no report: {error}"),
        },
        StepEnd::Exited(NOT_UNDERSTOOD) => return Ok(None),
        StepEnd::Exited(status) => format!("failed (exit status {status})"),
        StepEnd::Signalled(signal) if ENDED_BY_SOMEBODY.contains(signal) => {
            return Err(disturbed(&format!("was ended by signal {signal}"), report));
        }
        StepEnd::OutOfMemory => {
            return Err(disturbed("was ended because memory ran out", report));
        }
        StepEnd::Signalled(signal) => format!("crashed (signal {signal})"),
        StepEnd::TimedOut => "did not end within its deadline".to_owned(),
        StepEnd::CouldNotStart(why) => format!("could not be started: {why}"),
    };
    Err(Failure::new(
        FailureCode::ProbeFailed,
        format!("the probe of {closure} {how}"),
        "Its output says why; `journalctl --identifier=deploy-flake-probe` has all of it.",
    )
    .with_detail(&report.tail))
}

fn disturbed(how: &str, report: &StepReport) -> Failure {
    Failure::new(
        FailureCode::StepFailed,
        format!("the probe {how}"),
        "It is run again by itself.",
    )
    .with_detail(&report.tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::system::StorePath;

    fn closure() -> Toplevel {
        let path = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-a";
        Toplevel::new(StorePath::try_from(path.to_owned()).expect("a store path"))
    }

    fn ended(end: StepEnd, captured: &str) -> Result<Option<ProbeReport>, FailureCode> {
        let report = StepReport {
            end,
            captured: captured.to_owned(),
            tail: "tail".to_owned(),
            extent: crate::host::journal::Extent::Whole,
        };
        read(&report, &closure()).map_err(|failure| failure.code)
    }

    #[test]
    fn only_a_report_is_a_report_and_only_an_older_program_has_none() {
        let line = serde_json::to_string(&ProbeReport::default()).expect("it serialises");
        let seen = ended(StepEnd::Succeeded, &format!("{line}\n"));
        assert_eq!(seen, Ok(Some(ProbeReport::default())));
        assert_eq!(ended(StepEnd::Exited(2), ""), Ok(None));
        for (end, code) in [
            (StepEnd::Succeeded, FailureCode::ProbeFailed),
            (StepEnd::Exited(1), FailureCode::ProbeFailed),
            (StepEnd::Signalled(11), FailureCode::ProbeFailed),
            (StepEnd::TimedOut, FailureCode::ProbeFailed),
            (
                StepEnd::CouldNotStart("EXEC".to_owned()),
                FailureCode::ProbeFailed,
            ),
            (StepEnd::Signalled(15), FailureCode::StepFailed),
            (StepEnd::OutOfMemory, FailureCode::StepFailed),
        ] {
            assert_eq!(ended(end.clone(), ""), Err(code), "{end:?}");
        }
    }

    #[test]
    fn the_program_and_its_files_are_the_closures() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let daemon = Installed {
            program: "/p".into(),
            config: "/c".into(),
            is_wanted: true,
        };
        let deadline = Duration::from_secs(5);
        let command = command(root.path(), &closure(), &daemon, deadline);
        assert_eq!(command, ["/p", "probe", "--config=/c", "--within=4000"]);
    }
}
