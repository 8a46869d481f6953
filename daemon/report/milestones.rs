//! What an operator reads in the morning: one function per milestone, each
//! with a message id of its own, a constant message, and the facts in fields.
//!
//! In: the facts. Out: a journal entry (or a line on a terminal). Must not:
//! put a fact into the message; change an id once it was released.
//!
//! Field names are the journal's, in small letters: `df_commit` is found as
//! `journalctl DF_COMMIT=...`. The lines of a deployment's steps carry
//! `DEPLOY_FLAKE_DEPLOYMENT`, with the same value as our `DF_DEPLOYMENT`.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::failures::{self, Entry};
use crate::model::deployment::{Cause, DeploymentId, Finished, Outcome};
use crate::model::failure::Failure;
use crate::model::policy::Guard;
use crate::model::revision::{Branch, CommitId};
use crate::model::system::{Configuration, Derivation, Observed, Toplevel};

macro_rules! message_ids {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $id;)*

        /// Every milestone's name and id, besides those of the failures.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

message_ids! {
    /// The daemon is ready.
    DAEMON_READY = "4278b712f24adf6ba786ca23734aefb6";
    /// The daemon stops.
    DAEMON_STOPPING = "cd10a072c1cf5f70168aba8b5a8c690e";
    /// The configuration has a mistake, or something to know.
    CONFIGURATION_PROBLEM = "cbdf711561051af992a4567bb37620a9";
    /// The branch points to another commit.
    NEW_COMMIT = "dbdc3233d34c058df66605882e4eb1d6";
    /// A deployment begins.
    DEPLOYMENT_STARTED = "852ccfae00180a1bc28930096a3fe0e7";
    /// The derivation is known.
    EVALUATED = "3aa69291e52c146def95e13587f9dc52";
    /// The toplevel is there.
    BUILT = "ac3abcd2d8982970b35a01d97388e3f7";
    /// The closure's own checks passed.
    CHECK_PASSED = "9e7ccab314c9fd83dc5f899ab7fad40a";
    /// `test` begins.
    TEST_STARTED = "cbbc9f00e3197d61502d2ef99cfd7bb1";
    /// `test` succeeded.
    ACTIVATED = "27dfa7829d8a7e291a5f69d81b678169";
    /// The host stayed healthy.
    CONFIRMED = "cbf7a626b2d283104f1443c617e98013";
    /// The boot entry is written.
    BOOT_ENTRY_WRITTEN = "c3d68e10f22850f236d3b8ab53bc6a81";
    /// The commit is deployed.
    DEPLOYED = "b5913f728d2ab6804e3a4240b1eda52a";
    /// The commit changes nothing on this host.
    UNCHANGED = "778c7f61d6cf358b4692a05d9f0e1418";
    /// A newer commit came first.
    SUPERSEDED = "4d328067352ee9e19c2daba6ad7b840b";
    /// Profile and boot entry are being put back.
    RESTORING = "5f0c1d6be7d84f0a8e6f3f7a1b0c92de";
    /// The previous system is being brought back.
    ROLLING_BACK = "045af4ed2d8d606e4362a40a299a8dbb";
    /// The way back is armed.
    ARMED = "0d7e265b091e453a9cc27906705370ae";
    /// The way back is disarmed.
    DISARMED = "39d3127f643643d48f005fcc76701e1f";
    /// The previous system runs again.
    ROLLED_BACK = "a7f84cf9e46143f696fc6ca70cec98f6";
    /// A reboot brought the previous system back.
    ROLLED_BACK_BY_REBOOT = "0e0ba53a891341e6b4aa13e4ecf63891";
    /// The way back failed.
    ROLLBACK_FAILED = "06e047a6cb8f419db4cb140d4a413855";
    /// The previous system runs again, and nobody can say whose fault it was.
    INCONCLUSIVE = "b900f38866a343a9bc1086a9c412f3d4";
    /// The host is kept from being shut down.
    SHUTDOWN_INHIBITED = "f3192ea3660140deb0fcf260e9b76086";
    /// It may be shut down again.
    SHUTDOWN_ALLOWED = "213850188b0643caaf506ac6a041e0b6";
    /// Nothing keeps it from being shut down, although something should.
    SHUTDOWN_NOT_INHIBITED = "d3a8934cf9dc4da4ba38f06c01111aa3";
    /// A system is not activated again by itself.
    QUARANTINED = "0f602f6f2bef4816a65589310a266dbf";
    /// An operator wants what failed tried once more.
    RETRY_ASKED = "8362e5f571c443309bed0ae379940162";
    /// Another daemon goes on with the deployment that brought it.
    DAEMON_REPLACED = "9760eb40be8e4875a94c08ac03a15204";
    /// The running system asks for another daemon than this one.
    DAEMON_GIVES_WAY = "210ee6fe6ed143afac16ff2dd8a65bc5";
    /// A look does not come to an end.
    LOOK_HANGS = "8b5595caacac4dd6baf893aaf20b209a";
    /// The journal did not take reports, and some are lost.
    REPORTS_LOST = "e673dd6f0cef409db3bc2df504562bb3";
    /// A deployment goes on after the daemon was restarted.
    RESUMED = "68b2a6e8badca9dd187da14475aa7e41";
    /// A deployment was cut off by a reboot.
    INTERRUPTED = "d3b9f8e8ec2025699b10d010469973ed";
    /// Somebody changed the host.
    DRIFTED = "5abe590959f0786f1beecc5f1ebe6e07";
    /// The host is what it was brought to again.
    DRIFT_CORRECTED = "170995c82080817f8a8ea70e3422a3c7";
    /// The remote answers again.
    REMOTE_REACHABLE = "8d606f7f8584d365c058a4c2a31c602d";
}

/// The daemon is ready and follows a branch.
pub fn daemon_ready(configuration: &Configuration, url: &str, branch: &Branch) {
    info!(
        message_id = DAEMON_READY,
        df_version = env!("CARGO_PKG_VERSION"),
        df_configuration = %configuration,
        df_url = url,
        df_branch = %branch,
        "the daemon is ready"
    );
}

/// The daemon was asked to stop; running steps go on.
pub fn daemon_stopping() {
    info!(
        message_id = DAEMON_STOPPING,
        "the daemon stops, running steps go on"
    );
}

/// The configuration is accepted, and there is something to know about it.
pub fn configuration_warning(warning: &str) {
    warn!(
        message_id = CONFIGURATION_PROBLEM,
        df_message = warning,
        "the configuration is accepted with a warning"
    );
}

/// The configuration is not accepted.
pub fn configuration_refused(mistakes: &str) {
    error!(
        message_id = CONFIGURATION_PROBLEM,
        df_message = mistakes,
        "the configuration is not accepted"
    );
}

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

/// The way back is disarmed: it is not needed any more.
pub fn disarmed(id: &DeploymentId, took: Duration) {
    debug!(
        message_id = DISARMED,
        df_deployment = %id,
        df_duration_ms = milliseconds(took),
        "the way back is disarmed"
    );
}

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

/// An operator wants what failed tried once more.
pub fn retry_asked(allowed: &BTreeSet<Guard>) {
    let names: Vec<_> = allowed.iter().map(|guard| guard.name()).collect();
    info!(
        message_id = RETRY_ASKED,
        df_allowed = names.join(" "),
        "an operator wants what the branch asks for tried once more"
    );
}

/// Another daemon goes on with the deployment that brought it.
pub fn daemon_replaced(id: &DeploymentId, commit: &CommitId) {
    info!(
        message_id = DAEMON_REPLACED,
        df_deployment = %id,
        df_commit = %commit,
        df_version = env!("CARGO_PKG_VERSION"),
        "the daemon was replaced in the middle of the deployment, which goes on"
    );
}

/// Somebody switched to a system with another daemon, or other settings for it.
pub fn daemon_gives_way() {
    info!(
        message_id = DAEMON_GIVES_WAY,
        df_version = env!("CARGO_PKG_VERSION"),
        "the running system has another daemon or other settings for it: this one gives way"
    );
}

/// A look does not come to an end; if it is the last, systemd is not told any
/// more that the daemon lives.
pub fn look_hangs(failure: &Failure, is_last: bool) {
    let message = if is_last {
        "looks hang, the watchdog is not fed any more: systemd starts the daemon anew"
    } else {
        "a look hangs and was given up"
    };
    error!(
        message_id = LOOK_HANGS,
        df_failure = failure.code.as_str(),
        df_message = failure.message,
        df_hint = failure.hint,
        "{message}"
    );
}

/// The journal takes reports again, and did not take this many.
pub fn reports_lost(lost: u64) {
    warn!(
        message_id = REPORTS_LOST,
        df_lost = lost,
        "reports were lost while the journal took none"
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

/// A deployment goes on after the daemon was restarted.
pub fn resumed(id: &DeploymentId, commit: &CommitId, phase: &str) {
    info!(
        message_id = RESUMED,
        df_deployment = %id,
        df_commit = %commit,
        df_phase = phase,
        "a deployment goes on after a restart of the daemon"
    );
}

/// A deployment was cut off by a reboot.
pub fn interrupted(id: &DeploymentId, commit: &CommitId, phase: &str) {
    warn!(
        message_id = INTERRUPTED,
        df_deployment = %id,
        df_commit = %commit,
        df_phase = phase,
        "a deployment was cut off by a reboot"
    );
}

/// A reboot leads astray, and the host is kept from it.
pub fn shutdown_inhibited() {
    error!(
        message_id = SHUTDOWN_INHIBITED,
        "the boot entry is not what runs, so a reboot or shutdown of this host is inhibited"
    );
}

/// The default entry starts what runs again.
pub fn shutdown_allowed() {
    info!(
        message_id = SHUTDOWN_ALLOWED,
        "the boot entry is read back as sound, this host may be rebooted again"
    );
}

/// A reboot leads astray, and logind does not keep the host from it.
pub fn shutdown_not_inhibited(failure: &Failure) {
    error!(
        message_id = SHUTDOWN_NOT_INHIBITED,
        df_failure = failure.code.as_str(),
        df_message = failure.message,
        df_hint = failure.hint,
        "do not reboot this host, which nothing keeps from it"
    );
}

/// Somebody changed the host, at rest.
pub fn drifted(expected: &Toplevel, observed: &Observed) {
    warn!(
        message_id = DRIFTED,
        df_toplevel = %expected,
        df_running = observed.running.as_ref().map(tracing::field::display),
        df_profile = observed.profile_toplevel().map(tracing::field::display),
        df_default_entry = observed.default_entry.toplevel().map(tracing::field::display),
        "the host is not what it was brought to"
    );
}

/// The host is what it was brought to again.
pub fn drift_corrected(toplevel: &Toplevel) {
    info!(
        message_id = DRIFT_CORRECTED,
        df_toplevel = %toplevel,
        "the host is what it was brought to again"
    );
}

/// The remote could not be asked, for the first time since it could.
pub fn remote_unreachable(url: &str, failure: &Failure) {
    let Entry {
        message_id,
        message,
    } = failures::entry(failure.code);
    warn!(
        message_id,
        df_url = url,
        df_failure = failure.code.as_str(),
        df_class = failure.class.as_str(),
        df_message = failure.message,
        df_detail = failure.detail,
        "{message}"
    );
}

/// The remote answers again.
pub fn remote_reachable(url: &str, unreachable_for: Duration) {
    info!(
        message_id = REMOTE_REACHABLE,
        df_url = url,
        df_duration_ms = milliseconds(unreachable_for),
        "the remote answers again"
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

/// Durations are counted in milliseconds in the journal.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::failure::FailureCode;

    #[test]
    fn every_message_id_has_128_bits_and_is_its_own() {
        let failures = FailureCode::ALL
            .iter()
            .map(|code| (code.as_str(), failures::entry(*code).message_id));
        let mut seen = HashSet::new();
        for (name, id) in ALL.iter().copied().chain(failures) {
            let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(
                id.len() == 32 && id.bytes().all(hexadecimal),
                "{name}: {id}"
            );
            assert!(seen.insert(id), "{name}: {id} is somebody else's");
        }
    }

    #[test]
    fn every_failure_has_a_message_of_its_own() {
        let messages: HashSet<_> = FailureCode::ALL
            .iter()
            .map(|code| failures::entry(*code).message)
            .collect();
        assert_eq!(messages.len(), FailureCode::ALL.len());
    }
}
