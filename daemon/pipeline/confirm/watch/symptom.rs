//! What a look or a probe shows, compared with what was before, to symptoms.
//!
//! In: what was seen, the baseline, and policy. Out: what is wrong, each with
//! its code: nothing for what was wrong before. Must not: remember.

use std::collections::BTreeSet;

use super::super::super::health::{counted, list};
use super::Seen;
use crate::host::systemd::SystemState;
use crate::model::failure::FailureCode;
use crate::model::health::{Baseline, ProbeReport, Reachability};
use crate::model::policy::Health;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Symptom {
    /// What, for programs.
    pub(in super::super) code: FailureCode,
    /// What was expected and what was found.
    pub(in super::super) text: String,
}

impl Symptom {
    /// A symptom in words.
    pub(in super::super) fn new(code: FailureCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, text }
    }
}

/// The symptom that gives a failure its code: a cause rather than what follows
/// from it. Without the route there is no remote, and without the remote a
/// probe of the operator's may fail, too.
pub(super) fn leading(symptoms: &[Symptom]) -> FailureCode {
    const CAUSES_FIRST: [FailureCode; 6] = [
        FailureCode::RequiredUnitDown,
        FailureCode::UnhealthyAfterTest,
        FailureCode::SshUnreachable,
        FailureCode::RouteLost,
        FailureCode::RemoteLost,
        FailureCode::ProbeFailed,
    ];
    let is_there = |code: &FailureCode| symptoms.iter().any(|it| it.code == *code);
    let first = CAUSES_FIRST.into_iter().find(is_there);
    first.unwrap_or(FailureCode::UnhealthyAfterTest)
}

/// Symptoms as a sentence without its period.
pub(super) fn sentence(symptoms: &[Symptom]) -> String {
    let texts: Vec<_> = symptoms.iter().map(|it| it.text.as_str()).collect();
    texts.join("; ")
}

/// The units that are a verdict: neither ignored nor broken before.
pub(super) fn verdicts(
    units: &BTreeSet<String>,
    health: &Health,
    baseline: &Baseline,
) -> BTreeSet<String> {
    // What failed before may be restarting now, and the other way round.
    let before = baseline.failed.union(&baseline.restarting);
    counted(units, health, &before.cloned().collect())
}

/// What is wrong with the units and the system as a whole.
pub(super) fn of_units(seen: &Seen, health: &Health, baseline: &Baseline) -> Vec<Symptom> {
    let mut symptoms = Vec::new();
    let mut add = |code, text: String| symptoms.push(Symptom::new(code, text));
    let failed = verdicts(&seen.failed, health, baseline);
    let restarting = verdicts(&seen.restarting, health, baseline);
    if !failed.is_empty() {
        let text = format!("failed: {}", list(&failed));
        add(FailureCode::UnhealthyAfterTest, text);
    }
    if !restarting.is_empty() {
        let text = format!("failing and restarting: {}", list(&restarting));
        add(FailureCode::UnhealthyAfterTest, text);
    }
    if !seen.down.is_empty() {
        let text = format!("expected to be active, and not: {}", list(&seen.down));
        add(FailureCode::RequiredUnitDown, text);
    }
    if seen.running.is_none() {
        let text = "/run/current-system is missing".to_owned();
        add(FailureCode::UnhealthyAfterTest, text);
    }
    match &seen.system {
        SystemState::Running | SystemState::Degraded => {}
        state @ (SystemState::Initializing
        | SystemState::Starting
        | SystemState::Maintenance
        | SystemState::Stopping
        | SystemState::Offline
        | SystemState::Unknown(_)) => {
            add(
                FailureCode::UnhealthyAfterTest,
                format!("the system is {state}"),
            );
        }
    }
    symptoms
}

/// What is wrong with the network that was not wrong before. Without a report
/// from before, only the operator's own probes are a verdict.
pub(super) fn of_report(report: &ProbeReport, before: Option<&ProbeReport>) -> Vec<Symptom> {
    let mut symptoms = Vec::new();
    if before.is_some_and(|before| before.ssh.iter().any(|port| port.banner.is_ok())) {
        symptoms.extend(silent_ports(report));
    }
    if before.is_some_and(|before| before.default_route) && !report.default_route {
        let text = "expected the default route that was there before, found none";
        symptoms.push(Symptom::new(FailureCode::RouteLost, text));
    }
    if before.is_some_and(|before| before.remote == Reachability::Reachable)
        && let Reachability::Unreachable(why) = &report.remote
    {
        symptoms.push(remote_lost(why));
    }
    symptoms.extend(failed_probes(report, before));
    symptoms
}

/// The remote that answered before, and does not now.
pub(super) fn remote_lost(why: &str) -> Symptom {
    let text = format!("expected the remote to answer as before, found: {why}");
    Symptom::new(FailureCode::RemoteLost, text)
}

fn silent_ports(report: &ProbeReport) -> impl Iterator<Item = Symptom> {
    report.ssh.iter().filter_map(|port| {
        let why = port.banner.as_ref().err()?;
        let text = format!(
            "expected the ssh server to answer on {}, found: {why}",
            port.address
        );
        Some(Symptom::new(FailureCode::SshUnreachable, text))
    })
}

/// A probe is known by its name: one that failed before is no verdict.
fn failed_probes(report: &ProbeReport, before: Option<&ProbeReport>) -> Vec<Symptom> {
    let failed_before = |name: &str| {
        let mut before = before.into_iter().flat_map(|before| &before.user);
        before.any(|probe| probe.name == name && probe.result.is_err())
    };
    report
        .user
        .iter()
        .filter(|probe| !failed_before(&probe.name))
        .filter_map(|probe| {
            let why = probe.result.as_ref().err()?;
            let text = format!("expected probe {} to succeed, found: {why}", probe.name);
            Some(Symptom::new(FailureCode::ProbeFailed, text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::{SshPort, UserProbeResult};

    fn ssh(port: u16, banner: Result<(), &str>) -> SshPort {
        SshPort {
            address: format!("127.0.0.1:{port}"),
            banner: banner.map_err(str::to_owned),
        }
    }

    fn user(name: &str, result: Result<(), &str>) -> UserProbeResult {
        UserProbeResult {
            name: name.to_owned(),
            result: result.map_err(str::to_owned),
        }
    }

    fn good() -> ProbeReport {
        ProbeReport {
            remote: Reachability::Reachable,
            ssh: vec![ssh(22, Ok(()))],
            default_route: true,
            user: vec![user("web", Ok(()))],
        }
    }

    fn bad() -> ProbeReport {
        ProbeReport {
            remote: Reachability::Unreachable("refused".to_owned()),
            ssh: vec![ssh(22, Err("refused"))],
            default_route: false,
            user: vec![user("web", Err("503"))],
        }
    }

    fn codes(after: &ProbeReport, before: Option<&ProbeReport>) -> Vec<FailureCode> {
        let symptoms = of_report(after, before);
        symptoms.into_iter().map(|symptom| symptom.code).collect()
    }

    #[test]
    fn what_is_lost_is_a_symptom_and_what_was_not_there_is_none() {
        use FailureCode::{ProbeFailed, RemoteLost, RouteLost, SshUnreachable};
        let (good, bad) = (good(), bad());
        assert_eq!(codes(&good, Some(&good)), []);
        assert_eq!(codes(&good, Some(&bad)), []);
        let all = [SshUnreachable, RouteLost, RemoteLost, ProbeFailed];
        assert_eq!(codes(&bad, Some(&good)), all);
        assert_eq!(codes(&bad, Some(&bad)), []);
        assert_eq!(codes(&bad, None), [ProbeFailed], "nobody looked before");
    }

    #[test]
    fn a_port_that_was_changed_is_asked_at_its_new_place_only() {
        let moved = ProbeReport {
            ssh: vec![ssh(2222, Ok(()))],
            ..good()
        };
        assert_eq!(codes(&moved, Some(&good())), []);
        let half = ProbeReport {
            ssh: vec![ssh(22, Ok(())), ssh(2222, Err("refused"))],
            ..good()
        };
        let symptoms = of_report(&half, Some(&good()));
        assert_eq!(symptoms.len(), 1);
        assert_eq!(
            symptoms[0].text,
            "expected the ssh server to answer on 127.0.0.1:2222, found: refused"
        );
    }

    #[test]
    fn a_remote_that_nobody_asked_is_not_lost() {
        let unknown = ProbeReport {
            remote: Reachability::Unknown,
            ..good()
        };
        assert_eq!(codes(&unknown, Some(&good())), []);
        let lost = ProbeReport {
            remote: Reachability::Unreachable("x".to_owned()),
            ..good()
        };
        assert_eq!(codes(&lost, Some(&unknown)), []);
    }

    #[test]
    fn a_new_probe_that_fails_is_a_verdict_and_one_that_failed_before_is_not() {
        let after = ProbeReport {
            user: vec![user("web", Err("503")), user("new", Err("no"))],
            ..good()
        };
        let before = ProbeReport {
            user: vec![user("web", Err("500"))],
            ..good()
        };
        let symptoms = of_report(&after, Some(&before));
        assert_eq!(
            sentence(&symptoms),
            "expected probe new to succeed, found: no"
        );
    }

    #[test]
    fn the_cause_leads_whatever_follows_from_it() {
        let symptoms = of_report(&bad(), Some(&good()));
        assert_eq!(leading(&symptoms), FailureCode::SshUnreachable);
        assert_eq!(leading(&symptoms[1..]), FailureCode::RouteLost);
        assert_eq!(leading(&symptoms[2..]), FailureCode::RemoteLost);
        assert_eq!(leading(&symptoms[3..]), FailureCode::ProbeFailed);
        assert_eq!(leading(&[]), FailureCode::UnhealthyAfterTest);
    }
}
