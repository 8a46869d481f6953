//! Records in which everything is known.

use super::*;
use crate::model::closure::{
    Change, Counts, Difference, KernelChange, PackageChange, Size, UnitChanges,
};
use crate::model::deployment::Cause;
use crate::model::description::{Description, Signer};
use crate::model::failure::{FailureClass, FailureCode};
use crate::model::health::{ProbeReport, Reachability, SshPort};
use crate::model::policy::Mode;
use crate::model::system::{Generation, StorePath, Toplevel};
use crate::store::snapshot::{LastFailure, OutcomeName, PhaseName, System, example};

fn toplevel(hash: char, name: &str) -> Toplevel {
    let path = format!("/nix/store/{}-{name}", hash.to_string().repeat(32));
    Toplevel::new(StorePath::try_from(path).expect("it is a store path"))
}

/// The system before.
pub(crate) fn before() -> Toplevel {
    toplevel('a', "nixos-system-web1-24.11.1")
}

/// The commit's system.
pub(crate) fn after() -> Toplevel {
    toplevel('b', "nixos-system-web1-24.11.2")
}

fn system(toplevel: Toplevel, generation: u64) -> System {
    System {
        running: Some(toplevel.clone()),
        booted: Some(before()),
        profile: Some(toplevel.clone()),
        generation: Some(Generation(generation)),
        default_entry: Some(toplevel),
    }
}

fn package(name: &str, change: Change, before: &[&str], after: &[&str]) -> PackageChange {
    let owned = |versions: &[&str]| versions.iter().map(|it| (*it).to_owned()).collect();
    PackageChange {
        name: name.to_owned(),
        change,
        before: owned(before),
        after: owned(after),
        bytes: 3_500_000 * (after.len() as i64 - before.len() as i64),
    }
}

/// One of every kind.
pub(crate) fn difference() -> Difference {
    Difference {
        counts: Counts {
            added: 1,
            removed: 1,
            changed: 2,
            resized: 0,
        },
        packages: vec![
            package("fd", Change::Added, &[], &["10.2.0"]),
            package("linux", Change::Upgraded, &["6.6.60"], &["6.6.61"]),
            package("openssl", Change::Downgraded, &["3.0.15"], &["3.0.14"]),
            package("nano", Change::Removed, &["8.2"], &[]),
        ],
        omitted: 0,
        rebuilt: 12,
        units: UnitChanges {
            added: vec!["fd.timer".to_owned()],
            removed: Vec::new(),
            changed: vec!["nginx.service".to_owned(), "sshd.service".to_owned()],
        },
        kernel: Some(KernelChange {
            before: Some("linux 6.6.60".to_owned()),
            after: Some("linux 6.6.61".to_owned()),
        }),
        before: Size {
            paths: 812,
            bytes: 1_800_000_000,
        },
        after: Size {
            paths: 815,
            bytes: 1_804_200_000,
        },
    }
}

/// One that was deployed.
pub(crate) fn deployed() -> Record {
    let at = |text: &str| text.parse().expect("it is a time");
    let lasted = |phase, duration_ms| Lasted { phase, duration_ms };
    Record {
        schema: SCHEMA,
        deployment: DeploymentId("00c0ffee00c0ffee".to_owned()),
        outcome: OutcomeName::Deployed,
        failure: None,
        cause: Cause::NewCommit,
        mode: Mode::Switch,
        commit: example::commit(),
        testing: None,
        pushed: None,
        remote: Some(Origin {
            name: "origin".to_owned(),
            url: "https://example.org/hosts.git".to_owned(),
            branch: "main".to_owned().try_into().expect("it is a branch"),
        }),
        description: Some(Description {
            subject: "web: serve more".to_owned(),
            signer: Some(Signer {
                principal: "alice@example.org".to_owned(),
                key: "SHA256:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo".to_owned(),
            }),
        }),
        started_at: at("2026-11-22T12:00:00Z"),
        finished_at: at("2026-11-22T12:01:30Z"),
        duration_ms: 90_250,
        interruptions: 0,
        phases: vec![
            lasted(PhaseName::Importing, 120),
            lasted(PhaseName::Evaluating, 8_400),
            lasted(PhaseName::Building, 15_000),
            lasted(PhaseName::Testing, 2_100),
            lasted(PhaseName::Confirming, 60_000),
        ],
        before: system(before(), 41),
        toplevel: Some(after()),
        after: Some(system(after(), 42)),
        health: Some(Evidence {
            watched_ms: 60_000,
            failed_before: vec!["old.service".to_owned()],
            required: vec!["nginx.service".to_owned()],
            expected: Some(ProbeReport {
                remote: Reachability::Reachable,
                ssh: vec![SshPort {
                    address: "127.0.0.1:22".to_owned(),
                    banner: Ok(()),
                }],
                default_route: true,
                user: Vec::new(),
            }),
        }),
        difference: Some(difference()),
    }
}

/// One that was rolled back.
pub(crate) fn rolled_back() -> Record {
    Record {
        deployment: DeploymentId("a1b2c3d4a1b2c3d4".to_owned()),
        outcome: OutcomeName::RolledBack,
        failure: Some(LastFailure {
            code: FailureCode::UnhealthyAfterTest,
            class: FailureClass::Deterministic,
            message: "web.service failed".to_owned(),
            detail: "web.service: exit status 1".to_owned(),
            hint: "Push a commit that mends it.".to_owned(),
        }),
        description: None,
        after: Some(system(before(), 41)),
        ..deployed()
    }
}
