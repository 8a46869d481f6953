//! The proof that a boot entry may be written.
//!
//! In: what the step function saw happen. Out: a value without which nothing
//! can set the profile or call the boot loader. Must not: be made anywhere but
//! in `reconcile` (the ledger only gives back what was made there).

use serde::{Deserialize, Serialize};

use crate::model::deployment::Deployment;
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::{Mode, OnRebootRequired};

/// The system ran, and was seen healthy through the whole confirm window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed(());

impl Confirmed {
    /// Made where a system that was seen healthy is claimed before the guardian
    /// acts, and nowhere else. None: it was only to be tested.
    pub(super) fn seen_healthy(deployment: &Deployment) -> Option<Self> {
        match deployment.aim() {
            Mode::Switch => Some(Self(())),
            Mode::Boot | Mode::Test => None,
        }
    }
}

/// The operator says to write the entry of a system that was not tested: of
/// one that cannot be without a reboot, or of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootWithoutTest {
    reason: Failure,
}

impl BootWithoutTest {
    /// Asks the policy for a system that needs a reboot; `Err` gives the reason
    /// back where policy refuses, or it was only to be tested.
    pub(super) fn by_policy(
        deployment: &Deployment,
        policy: OnRebootRequired,
        reason: Failure,
    ) -> Result<Self, Failure> {
        match (deployment.aim(), policy) {
            (Mode::Switch | Mode::Boot, OnRebootRequired::Boot) => Ok(Self { reason }),
            (Mode::Switch | Mode::Boot, OnRebootRequired::Refuse) | (Mode::Test, _) => Err(reason),
        }
    }

    /// Asks the mode. None: it is to be tested first, or only.
    pub(super) fn by_mode(deployment: &Deployment) -> Option<Self> {
        match deployment.aim() {
            Mode::Boot => Some(Self {
                reason: waits_for_reboot(deployment),
            }),
            Mode::Switch | Mode::Test => None,
        }
    }

    /// What said that the system needs a reboot.
    pub fn reason(&self) -> &Failure {
        &self.reason
    }
}

fn waits_for_reboot(deployment: &Deployment) -> Failure {
    let why = match deployment.mode {
        Mode::Boot => "mode = \"boot\" activates nothing before the next reboot",
        // Root pushed it so.
        Mode::Switch | Mode::Test => "root wants it activated by the next reboot alone",
    };
    Failure::new(
        FailureCode::WaitsForReboot,
        format!("its boot entry is written, and {why}"),
        "Reboot the host when it suits.",
    )
}

/// Why profile and boot entry may be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootPermission {
    /// It was tested and confirmed.
    Confirmed(Confirmed),
    /// Policy or mode say so explicitly.
    BootWithoutTest(BootWithoutTest),
}
