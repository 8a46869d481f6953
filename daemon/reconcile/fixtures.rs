//! Small values for the tests of the decisions.

use std::collections::BTreeSet;
use std::time::Duration;

use super::permission::{BootPermission, BootWithoutTest, Confirmed};
use super::phase::Activation;
use super::state::Context;
use crate::model::deployment::{Cause, Deployment, DeploymentId, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Baseline;
use crate::model::policy::{Mode, OnDrift, OnRebootRequired, Policy, Pushes, Settings};
use crate::model::push::Push;
use crate::model::revision::{Candidate, CommitId};
use crate::model::system::{
    BootId, DefaultEntry, Derivation, Generation, Observed, ProfileEntry, StorePath, Toplevel,
};
use crate::model::time::Now;

/// A store path that differs by its index.
pub(super) fn store_path(index: u8, name: &str) -> StorePath {
    let hash = format!("{index:032}");
    StorePath::try_from(format!("/nix/store/{hash}-{name}")).expect("a well-formed store path")
}

/// The toplevel of that index.
pub(super) fn toplevel(index: u8) -> Toplevel {
    Toplevel::new(store_path(index, "nixos-system"))
}

/// The derivation of that index.
pub(super) fn derivation(index: u8) -> Derivation {
    Derivation::try_from(store_path(index, "system.drv")).expect("it ends in .drv")
}

/// Derivation and toplevel of that index.
pub(super) fn system(index: u8) -> System {
    System {
        derivation: derivation(index),
        toplevel: toplevel(index),
    }
}

/// The commit of that index.
pub(super) fn commit(index: u8) -> CommitId {
    CommitId::try_from(format!("{index:040x}")).expect("forty digits")
}

/// A failure with this code.
pub(super) fn failure(code: FailureCode) -> Failure {
    Failure::new(code, "a failure", "a hint")
}

/// A host on which everything is the toplevel of that index.
pub(super) fn observed(index: u8) -> Observed {
    Observed {
        running: Some(toplevel(index)),
        booted: Some(toplevel(index)),
        profile: Some(ProfileEntry {
            generation: Generation(1),
            toplevel: toplevel(index),
        }),
        default_entry: DefaultEntry::Toplevel(toplevel(index)),
        boot_id: boot(0),
    }
}

/// The boot of that index.
pub(super) fn boot(index: u64) -> BootId {
    BootId(format!("boot-{index}"))
}

/// A policy with every default.
pub(super) fn policy() -> Policy {
    Policy {
        poll_interval: Duration::from_secs(60),
        mode: Mode::Switch,
        on_drift: OnDrift::Report,
        on_reboot_required: OnRebootRequired::Refuse,
        pushes: Pushes::TestOnly,
    }
}

/// A decision taken so many seconds after the epoch.
pub(super) fn context(policy: &Policy, second: u64) -> Context<'_> {
    Context {
        policy,
        settings: Settings::default(),
        now: now(second),
        boot_id: boot(0),
        fresh_id: DeploymentId(format!("deployment-{second}")),
        random: 500,
    }
}

/// Both clocks, so many seconds after the epoch.
pub(super) fn now(second: u64) -> Now {
    let second_of_clock = i64::try_from(second).expect("tests use small numbers");
    Now {
        wall: jiff::Timestamp::from_second(second_of_clock).expect("a small number is a time"),
        since_boot: Duration::from_secs(second),
    }
}

/// A deployment of the commit of that index, on a host where everything is 0.
pub(super) fn deployment(index: u8) -> Deployment {
    Deployment {
        id: DeploymentId("deployment".to_owned()),
        candidate: Candidate::Commit(commit(index)),
        cause: Cause::NewCommit,
        mode: Mode::Switch,
        settings: Settings::default(),
        before: observed(0),
        started: now(0),
        boot_id: boot(0),
        interruptions: 0,
        superseded_before: 0,
        reevaluations: 0,
        allowed: BTreeSet::new(),
    }
}

/// A push of the snapshot of that index.
pub(super) fn push(index: u8, options: &[&str]) -> Box<Push> {
    let options: Vec<_> = options.iter().map(|it| (*it).to_owned()).collect();
    let source = store_path(index, "source").as_str().to_owned();
    Box::new(Push::parse(source, "web1".to_owned(), &options).expect("it is a push"))
}

/// What the host was before, told from no baseline.
pub(super) fn baseline() -> Baseline {
    Baseline {
        active: ["sshd.service".to_owned()].into(),
        ..Baseline::default()
    }
}

/// That deployment, with its system activated.
pub(super) fn activation(index: u8) -> Activation {
    Activation {
        deployment: deployment(index),
        system: system(index),
        baseline: baseline(),
    }
}

/// The permission of a confirmed system.
pub(super) fn confirmed() -> BootPermission {
    let proof = Confirmed::seen_healthy(&deployment(1));
    BootPermission::Confirmed(proof.expect("the mode is switch"))
}

/// The permission of a system that could not be tested.
pub(super) fn untested() -> BootPermission {
    let reason = failure(FailureCode::SwitchInhibited);
    let proof = BootWithoutTest::by_policy(&deployment(1), OnRebootRequired::Boot, reason);
    BootPermission::BootWithoutTest(proof.expect("the policy allows it"))
}
