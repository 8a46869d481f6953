//! What the network is before an activation: some runs of the running closure's
//! probe to the report that what comes after is compared with.
//!
//! In: how each run ended. Out: the best report, that there is no probe, or a
//! refusal. Must not: let one unlucky run switch the comparison off.
//!
//! What is not known to have worked before is no verdict later. So a remote that
//! does not answer for once, or a probe that cannot be started for once, would
//! let a system be kept that breaks the network.

use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use super::super::probe;
use super::super::step::Steps;
use super::HostView;
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::{ProbeReport, Reachability};
use crate::model::policy::OnUnhealthy;
use crate::model::system::Toplevel;

/// How often is probed until it is good. More would hold up every deployment
/// to a host that misses something for good.
const MOST_PROBES: u32 = 3;

/// Between two of them: what hung for a moment has gone on by then.
const PAUSE: Duration = Duration::from_secs(1);

/// Probes from the closure that runs, until a report shows nothing wrong, or
/// often enough. None: the closure has no probe, or gives no report and policy
/// goes on without.
pub(super) async fn before(
    steps: &Steps,
    view: HostView<'_>,
    id: &DeploymentId,
    previous: &Toplevel,
    on_unhealthy: OnUnhealthy,
    deadline: Duration,
) -> Result<Option<ProbeReport>, Failure> {
    let mut best = Best::default();
    for number in 1..=MOST_PROBES {
        match probe::run(steps, view, id, previous, deadline).await {
            Ok(None) => return Ok(best.report),
            Ok(Some(report)) => best.take(report),
            Err(failure) => best.fail(failure),
        }
        if best.is_good() || number == MOST_PROBES {
            break;
        }
        sleep(PAUSE).await;
    }
    best.report_or_refusal(on_unhealthy)
}

/// What is known after some runs.
#[derive(Debug, Default)]
struct Best {
    report: Option<ProbeReport>,
    /// Why the last run that gave no report gave none.
    failure: Option<Failure>,
}

impl Best {
    /// Keeps the report with less that is wrong. A remote that answered once
    /// counts as one that answers, whichever report is kept.
    fn take(&mut self, report: ProbeReport) {
        let Some(kept) = self.report.take() else {
            self.report = Some(report);
            return;
        };
        let answered = [&kept, &report].map(|it| it.remote == Reachability::Reachable);
        let mut better = if faults(&report) < faults(&kept) {
            report
        } else {
            kept
        };
        if answered.contains(&true) {
            better.remote = Reachability::Reachable;
        }
        self.report = Some(better);
    }

    fn fail(&mut self, failure: Failure) {
        warn!(
            df_problem = failure.message,
            "the network cannot be looked at from the running system"
        );
        self.failure = Some(failure);
    }

    fn is_good(&self) -> bool {
        self.report.as_ref().is_some_and(|it| faults(it) == 0)
    }

    fn report_or_refusal(self, on_unhealthy: OnUnhealthy) -> Result<Option<ProbeReport>, Failure> {
        match (self.report, self.failure) {
            (Some(report), _) => Ok(Some(report)),
            (None, None) => Ok(None),
            // The host's own trouble, which passes.
            (None, Some(failure)) if failure.code != FailureCode::ProbeFailed => Err(failure),
            (None, Some(failure)) => match on_unhealthy {
                OnUnhealthy::Refuse => Err(refused(&failure)),
                OnUnhealthy::ProceedIfNotWorse => Ok(None),
            },
        }
    }
}

/// How much is wrong. A host may well do without a default route: that alone
/// is no reason to look again.
fn faults(report: &ProbeReport) -> usize {
    let remote = match report.remote {
        Reachability::Unknown | Reachability::Reachable => 0,
        Reachability::Unreachable(_) => 1,
    };
    let silent = report.ssh.iter().filter(|port| port.banner.is_err());
    let failed = report.user.iter().filter(|probe| probe.result.is_err());
    remote + silent.count() + failed.count()
}

fn refused(failure: &Failure) -> Failure {
    Failure::new(
        FailureCode::SystemUnhealthy,
        format!(
            "expected a report from the running system's probe, and found none in {MOST_PROBES} \
             runs: {}",
            failure.message
        ),
        "Nothing was activated: nobody could tell afterwards whether the network became worse. \
         See `journalctl --identifier=deploy-flake-probe`; this is tried again by itself. To \
         deploy all the same, set health.on_unhealthy = \"proceed-if-not-worse\".",
    )
    .with_detail(&failure.detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::FailureClass;
    use crate::model::health::{SshPort, UserProbeResult};

    fn report(remote: Reachability, ssh: Result<(), &str>) -> ProbeReport {
        ProbeReport {
            remote,
            ssh: vec![SshPort {
                address: "127.0.0.1:22".to_owned(),
                banner: ssh.map_err(str::to_owned),
            }],
            default_route: true,
            user: Vec::new(),
        }
    }

    fn down() -> Reachability {
        Reachability::Unreachable("503".to_owned())
    }

    fn failure(code: FailureCode) -> Failure {
        Failure::new(code, "the probe of X could not be started", "h")
    }

    fn kept(reports: impl IntoIterator<Item = ProbeReport>) -> ProbeReport {
        let mut best = Best::default();
        for report in reports {
            best.take(report);
        }
        let kept = best.report_or_refusal(OnUnhealthy::Refuse);
        kept.expect("there is one").expect("there is one")
    }

    #[test]
    fn a_remote_that_answers_in_any_run_answered_before() {
        let (good, refused) = (
            report(Reachability::Reachable, Ok(())),
            report(down(), Ok(())),
        );
        for order in [[&good, &refused], [&refused, &good]] {
            assert_eq!(kept(order.into_iter().cloned()), good);
        }
        let silent = report(Reachability::Reachable, Err("refused"));
        for order in [[&silent, &refused], [&refused, &silent]] {
            let kept = kept(order.into_iter().cloned());
            assert_eq!(kept.remote, Reachability::Reachable);
        }
        assert_eq!(kept([refused.clone(), refused.clone()]), refused);
    }

    #[test]
    fn it_is_looked_again_while_something_is_wrong() {
        let is_good = |report: &ProbeReport| {
            let mut best = Best::default();
            best.take(report.clone());
            best.is_good()
        };
        let good = report(Reachability::Reachable, Ok(()));
        assert!(is_good(&good));
        assert!(is_good(&report(Reachability::Unknown, Ok(()))), "not asked");
        assert!(!is_good(&report(down(), Ok(()))));
        assert!(!is_good(&report(Reachability::Reachable, Err("refused"))));
        let failing = UserProbeResult {
            name: "web".to_owned(),
            result: Err("503".to_owned()),
        };
        assert!(!is_good(&ProbeReport {
            user: vec![failing],
            ..good.clone()
        }));
        assert!(is_good(&ProbeReport {
            default_route: false,
            ..good
        }));
        assert!(!Best::default().is_good(), "nothing was seen");
    }

    #[test]
    fn a_run_without_a_report_is_made_good_by_one_that_gives_one() {
        let mut best = Best::default();
        best.fail(failure(FailureCode::ProbeFailed));
        let good = report(Reachability::Reachable, Ok(()));
        best.take(good.clone());
        best.fail(failure(FailureCode::StepFailed));
        assert_eq!(best.report_or_refusal(OnUnhealthy::Refuse), Ok(Some(good)));
    }

    #[test]
    fn without_any_report_it_is_refused_for_now_unless_policy_goes_on() {
        let failed = |code, on_unhealthy| {
            let mut best = Best::default();
            best.fail(failure(code));
            best.report_or_refusal(on_unhealthy)
        };
        let policy = OnUnhealthy::Refuse;
        let refused = failed(FailureCode::ProbeFailed, policy).expect_err("it is refused");
        assert_eq!(refused.code, FailureCode::SystemUnhealthy);
        assert_eq!(
            refused.class,
            FailureClass::Host,
            "the commit is not to blame"
        );
        assert!(refused.message.contains("could not be started"));
        let policy = OnUnhealthy::ProceedIfNotWorse;
        assert_eq!(failed(FailureCode::ProbeFailed, policy), Ok(None));
        let disturbed = failed(FailureCode::StepFailed, policy).expect_err("the host's trouble");
        assert_eq!(disturbed.code, FailureCode::StepFailed);
        let no_probe = Best::default().report_or_refusal(OnUnhealthy::Refuse);
        assert_eq!(no_probe, Ok(None));
    }
}
