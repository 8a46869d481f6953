//! The proof that a boot entry may be written.
//!
//! In: what the step function saw happen. Out: a value without which nothing
//! can set the profile or call the boot loader. Must not: be made anywhere but
//! in `reconcile` (the ledger only gives back what was made there).

use serde::{Deserialize, Serialize};

use crate::model::failure::Failure;
use crate::model::policy::OnRebootRequired;

/// The system ran, and was seen healthy through the whole confirm window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed(());

impl Confirmed {
    /// Made where a system that was seen healthy is claimed before the guardian
    /// acts, and nowhere else.
    pub(super) fn seen_healthy() -> Self {
        Self(())
    }
}

/// The operator's policy says to write the entry of a system that cannot be
/// tested without a reboot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootWithoutTest {
    reason: Failure,
}

impl BootWithoutTest {
    /// Asks the policy; `Err` gives the reason back where policy refuses.
    pub(super) fn by_policy(policy: OnRebootRequired, reason: Failure) -> Result<Self, Failure> {
        match policy {
            OnRebootRequired::Boot => Ok(Self { reason }),
            OnRebootRequired::Refuse => Err(reason),
        }
    }

    /// What said that the system needs a reboot.
    pub fn reason(&self) -> &Failure {
        &self.reason
    }
}

/// Why profile and boot entry may be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootPermission {
    /// It was tested and confirmed.
    Confirmed(Confirmed),
    /// Policy says so explicitly.
    BootWithoutTest(BootWithoutTest),
}
