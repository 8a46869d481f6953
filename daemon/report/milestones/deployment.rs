//! The steps of a deployment, forward and back.
//!
//! In, out, must not: as the module above.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::{
    ACTIVATED, ARMED, BOOT_ENTRY_WRITTEN, BUILT, CHECK_PASSED, CONFIRMED, DEPLOYMENT_STARTED,
    DISARMED, EVALUATED, NEW_COMMIT, RESTORING, ROLLING_BACK, TEST_STARTED, milliseconds,
};
use crate::model::deployment::{Cause, DeploymentId};
use crate::model::failure::Failure;
use crate::model::revision::{Branch, CommitId};
use crate::model::system::{Derivation, Toplevel};

/// The branch points to another commit than before.
pub fn new_commit(id: &DeploymentId, branch: &Branch, commit: &CommitId) {
    info!(
        message_id = NEW_COMMIT,
        df_deployment = %id,
        df_branch = %branch,
        df_commit = %commit,
        "the branch points to a new commit"
    );
}

/// A deployment begins.
pub fn deployment_started(id: &DeploymentId, commit: &CommitId, cause: Cause) {
    info!(
        message_id = DEPLOYMENT_STARTED,
        df_deployment = %id,
        df_commit = %commit,
        df_cause = cause.as_str(),
        "a deployment begins"
    );
}

/// The derivation is known.
pub fn evaluated(id: &DeploymentId, derivation: &Derivation, took: Duration) {
    info!(
        message_id = EVALUATED,
        df_deployment = %id,
        df_derivation = %derivation.path(),
        df_duration_ms = milliseconds(took),
        "the configuration is evaluated"
    );
}

/// The toplevel is there.
pub fn built(id: &DeploymentId, toplevel: &Toplevel, took: Duration) {
    info!(
        message_id = BUILT,
        df_deployment = %id,
        df_toplevel = %toplevel,
        df_duration_ms = milliseconds(took),
        "the system is built"
    );
}

/// The closure's own checks passed.
pub fn check_passed(id: &DeploymentId, toplevel: &Toplevel, took: Duration) {
    info!(
        message_id = CHECK_PASSED,
        df_deployment = %id,
        df_toplevel = %toplevel,
        df_duration_ms = milliseconds(took),
        "the system's own checks passed"
    );
}

/// The way back is armed: from here on it needs nothing of this daemon.
pub fn armed(id: &DeploymentId, toplevel: &Toplevel, took: Duration) {
    debug!(
        message_id = ARMED,
        df_deployment = %id,
        df_toplevel = %toplevel,
        df_duration_ms = milliseconds(took),
        "the way back is armed"
    );
}

/// `test` begins.
pub fn test_started(id: &DeploymentId, toplevel: &Toplevel) {
    info!(
        message_id = TEST_STARTED,
        df_deployment = %id,
        df_toplevel = %toplevel,
        "the system is being activated for a test"
    );
}

/// `test` succeeded.
pub fn activated(id: &DeploymentId, toplevel: &Toplevel, took: Duration) {
    info!(
        message_id = ACTIVATED,
        df_deployment = %id,
        df_toplevel = %toplevel,
        df_duration_ms = milliseconds(took),
        "the system runs"
    );
}

/// The host stayed healthy for the confirm window.
pub fn confirmed(id: &DeploymentId, toplevel: &Toplevel, took: Duration) {
    info!(
        message_id = CONFIRMED,
        df_deployment = %id,
        df_toplevel = %toplevel,
        df_duration_ms = milliseconds(took),
        "the host stayed healthy"
    );
}

/// The boot entry is written.
pub fn boot_entry_written(id: &DeploymentId, toplevel: &Toplevel, took: Duration) {
    info!(
        message_id = BOOT_ENTRY_WRITTEN,
        df_deployment = %id,
        df_toplevel = %toplevel,
        df_duration_ms = milliseconds(took),
        "the boot entry is written"
    );
}

/// The way back is disarmed: it is not needed any more.
pub fn disarmed(id: &DeploymentId, took: Duration) {
    debug!(
        message_id = DISARMED,
        df_deployment = %id,
        df_duration_ms = milliseconds(took),
        "the way back is disarmed"
    );
}

/// Profile and boot entry are being put back.
pub fn restoring(id: &DeploymentId, toplevel: &Toplevel) {
    warn!(
        message_id = RESTORING,
        df_deployment = %id,
        df_toplevel = %toplevel,
        "profile and boot entry are being put back to what they were"
    );
}

/// The previous system is brought back.
pub fn rolling_back(id: &DeploymentId, toplevel: &Toplevel, failure: &Failure) {
    warn!(
        message_id = ROLLING_BACK,
        df_deployment = %id,
        df_toplevel = %toplevel,
        df_failure = failure.code.as_str(),
        df_message = failure.message,
        "the previous system is brought back"
    );
}
