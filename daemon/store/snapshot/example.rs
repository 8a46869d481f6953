//! A snapshot in which everything is known.

use super::*;
use crate::model::push::{Aim, OwnCheck};

/// When everything happened.
pub(crate) const NOON: &str = "2026-11-22T12:00:00Z";

fn noon() -> Timestamp {
    NOON.parse().expect("it is a timestamp")
}

fn path(name: &str) -> crate::model::system::StorePath {
    format!("/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-{name}")
        .try_into()
        .expect("it is a store path")
}

fn toplevel() -> Toplevel {
    Toplevel::new(path("nixos-system-web1-24.11"))
}

/// The commit of everything.
pub(crate) fn commit() -> CommitId {
    "0123456789abcdef0123456789abcdef01234567"
        .to_owned()
        .try_into()
        .expect("it is a commit id")
}

/// The one remote.
pub(crate) fn remote() -> Remote {
    Remote {
        name: "origin".to_owned(),
        url: "https://example.org/hosts.git".to_owned(),
        branch: "main".to_owned().try_into().expect("it is a branch"),
        head: Some(commit()),
        last_answer_at: Some(noon()),
        last_error: Some(RemoteError {
            code: FailureCode::RemoteUnreachable,
            message: "example.org did not answer".to_owned(),
        }),
        next_look_at: Some(noon()),
        place: PlaceName::Silent,
    }
}

/// A pause that holds nothing up.
pub(crate) fn pause() -> Pause {
    Pause {
        by: UserId(1000),
        reason: "a fair".to_owned(),
        since: noon(),
        until: Some(noon()),
        waiting: None,
    }
}

/// A host that root took back.
pub(crate) fn hold() -> Hold {
    Hold {
        by: UserId(0),
        deployment: DeploymentId("00c0ffee00c0ffee".to_owned()),
        commit: commit(),
        since: noon(),
        pushed: None,
        ends_with_boot: false,
    }
}

/// What root pushed.
pub(crate) fn pushed() -> Pushed {
    Pushed {
        source: path("source"),
        configuration: "web1".to_owned().try_into().expect("it is a name"),
        aim: Aim::TestOnly,
        own_check: OwnCheck::Configured,
        commit: Some(commit().to_string()),
        dirty: true,
        name: Some("web: try it".to_owned()),
    }
}

/// The snapshot.
pub(crate) fn full() -> Snapshot {
    let id = DeploymentId("00c0ffee00c0ffee".to_owned());
    Snapshot {
        schema: SCHEMA,
        daemon: Daemon {
            version: "0.1.0".to_owned(),
            pid: 123,
            instance: "6f1ed002ab559585".to_owned(),
            started_at: noon(),
        },
        host: Host {
            name: "web1".to_owned(),
            configuration: "web1".to_owned(),
            boot_id: BootId("3e4a8b52-3b1f-4f0e-9d0e-6f1d0c1b2a39".to_owned()),
        },
        remote: remote(),
        remotes: vec![remote()],
        looks: Looks {
            started: 5,
            finished: 5,
        },
        system: System {
            running: Some(toplevel()),
            booted: Some(toplevel()),
            profile: Some(toplevel()),
            generation: Some(Generation(3)),
            default_entry: Some(toplevel()),
        },
        desired: Some(Desired {
            commit: commit(),
            testing: None,
            pushed: None,
            derivation: path("nixos-system-web1-24.11.drv").try_into().ok(),
            toplevel: Some(toplevel()),
        }),
        last_new_commit_at: Some(noon()),
        phase: Phase {
            name: PhaseName::Resting,
            deployment: Some(id.clone()),
            since: noon(),
            progress: None,
        },
        condition: Condition {
            state: ConditionState::Converged,
            why: "The host is what main asks for.".to_owned(),
            since: noon(),
            remedy: Some("Nothing has to be done.".to_owned()),
        },
        last: Some(Last {
            deployment: id,
            commit: commit(),
            testing: None,
            earlier: None,
            pushed: None,
            outcome: OutcomeName::Refused,
            failure: Some(LastFailure {
                code: FailureCode::EvaluationFailed,
                class: FailureClass::Deterministic,
                message: "the flake does not evaluate".to_owned(),
                detail: "error: undefined variable 'x'".to_owned(),
                hint: "Correct the flake.".to_owned(),
            }),
            finished_at: noon(),
        }),
        quarantine: vec![Held {
            toplevel: Toplevel::new(path("nixos-system-web1-bad")),
            commit: commit(),
            code: FailureCode::UnhealthyAfterTest,
            class: FailureClass::Deterministic,
            message: "web.service failed".to_owned(),
            since: noon(),
        }],
        reboot: RebootName::Safe,
        testing: Some(Testing {
            branch: "testing-web1"
                .to_owned()
                .try_into()
                .expect("it is a branch"),
            state: TestingState::Absent,
            head: None,
            running: None,
            why: "The remote has no such branch.".to_owned(),
            code: None,
        }),
        pause: None,
        hold: None,
        floor: Some(commit()),
    }
}
