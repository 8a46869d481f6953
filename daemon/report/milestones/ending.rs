//! How a deployment ended.
//!
//! In, out, must not: as the module above.

use std::time::Duration;

use tracing::{error, info, warn};

use super::{
    DEPLOYED, Entry, INCONCLUSIVE, QUARANTINED, ROLLBACK_FAILED, ROLLED_BACK,
    ROLLED_BACK_BY_REBOOT, SUPERSEDED, UNCHANGED, failures, milliseconds,
};
use crate::model::deployment::{DeploymentId, Finished, Outcome};
use crate::model::failure::{Failure, FailureCode};
use crate::model::revision::CommitId;
use crate::model::system::Toplevel;

/// The previous system runs again, and is as healthy as before.
pub fn rolled_back(id: &DeploymentId, previous: Option<&Toplevel>, took: Duration) {
    warn!(
        message_id = ROLLED_BACK,
        df_deployment = %id,
        df_running = previous.map(tracing::field::display),
        df_duration_ms = milliseconds(took),
        "the previous system runs again"
    );
}

/// A reboot brought the previous system back.
pub fn rolled_back_by_reboot(id: &DeploymentId, previous: Option<&Toplevel>, failure: &Failure) {
    warn!(
        message_id = ROLLED_BACK_BY_REBOOT,
        df_deployment = %id,
        df_running = previous.map(tracing::field::display),
        df_failure = failure.code.as_str(),
        df_message = failure.message,
        df_detail = failure.detail,
        "a reboot brought the previous system back"
    );
}

/// The way back failed; whether a reboot is safe stands in the hint.
pub fn rollback_failed(id: &DeploymentId, previous: Option<&Toplevel>, failure: &Failure) {
    error!(
        message_id = ROLLBACK_FAILED,
        df_deployment = %id,
        df_previous = previous.map(tracing::field::display),
        df_failure = failure.code.as_str(),
        df_message = failure.message,
        df_detail = failure.detail,
        df_hint = failure.hint,
        "the way back failed, this host needs a human"
    );
}

/// The previous system runs again, and the commit may be innocent.
pub fn inconclusive(id: &DeploymentId, previous: Option<&Toplevel>, failure: &Failure) {
    warn!(
        message_id = INCONCLUSIVE,
        df_deployment = %id,
        df_running = previous.map(tracing::field::display),
        df_failure = failure.code.as_str(),
        df_message = failure.message,
        "the previous system runs again, without a verdict on the commit"
    );
}

/// A system is not activated again by itself.
pub fn quarantined(toplevel: &Toplevel, commit: &CommitId, failure: &Failure) {
    warn!(
        message_id = QUARANTINED,
        df_toplevel = %toplevel,
        df_commit = %commit,
        df_failure = failure.code.as_str(),
        df_class = failure.class.as_str(),
        "the system is not activated again by itself, `deploy-flake retry` would"
    );
}

/// A deployment ended, however it did.
pub fn ended(finished: &Finished, took: Duration) {
    match &finished.outcome {
        Outcome::Deployed => ended_well(finished, took, DEPLOYED, "the commit is deployed"),
        Outcome::Unchanged => ended_well(
            finished,
            took,
            UNCHANGED,
            "the commit changes nothing on this host",
        ),
        Outcome::Superseded => ended_well(
            finished,
            took,
            SUPERSEDED,
            "the deployment gave way to a newer commit",
        ),
        Outcome::RebootRequired { reason, .. } if reason.code == FailureCode::WaitsForReboot => {
            let Entry {
                message_id,
                message,
            } = failures::entry(reason.code);
            ended_well(finished, took, message_id, message);
        }
        Outcome::Refused(failure)
        | Outcome::Overridden(failure)
        | Outcome::RolledBack(failure)
        | Outcome::RolledBackByReboot(failure)
        | Outcome::Inconclusive(failure)
        | Outcome::RebootRequired {
            reason: failure, ..
        } => ended_whole(finished, took, failure),
        Outcome::Failed(failure) | Outcome::RollbackFailed(failure) => {
            ended_touched(finished, took, failure);
        }
    }
}

fn ended_well(finished: &Finished, took: Duration, message_id: &str, message: &'static str) {
    info!(
        message_id,
        df_deployment = %finished.deployment.id,
        df_commit = %finished.deployment.candidate.commit(),
        df_toplevel = finished.toplevel.as_ref().map(tracing::field::display),
        df_outcome = finished.outcome.as_str(),
        df_duration_ms = milliseconds(took),
        "{message}"
    );
}

/// It ended without what was asked for, and nothing of ours is half done: the
/// host is what it was, or what somebody else made of it.
fn ended_whole(finished: &Finished, took: Duration, failure: &Failure) {
    let Entry {
        message_id,
        message,
    } = failures::entry(failure.code);
    warn!(
        message_id,
        df_deployment = %finished.deployment.id,
        df_commit = %finished.deployment.candidate.commit(),
        df_toplevel = finished.toplevel.as_ref().map(tracing::field::display),
        df_outcome = finished.outcome.as_str(),
        df_failure = failure.code.as_str(),
        df_class = failure.class.as_str(),
        df_message = failure.message,
        df_detail = failure.detail,
        df_hint = failure.hint,
        df_duration_ms = milliseconds(took),
        "{}: {message}",
        finished.outcome.as_str()
    );
}

/// It ended half-way: the host is neither as it was nor as was asked for.
fn ended_touched(finished: &Finished, took: Duration, failure: &Failure) {
    let Entry {
        message_id,
        message,
    } = failures::entry(failure.code);
    error!(
        message_id,
        df_deployment = %finished.deployment.id,
        df_commit = %finished.deployment.candidate.commit(),
        df_toplevel = finished.toplevel.as_ref().map(tracing::field::display),
        df_outcome = finished.outcome.as_str(),
        df_failure = failure.code.as_str(),
        df_class = failure.class.as_str(),
        df_message = failure.message,
        df_detail = failure.detail,
        df_hint = failure.hint,
        df_duration_ms = milliseconds(took),
        "{}: {message}",
        finished.outcome.as_str()
    );
}
