//! What the daemon itself comes through: its start and end, its configuration,
//! its successor, its looks, the journal, the remote, and the host at rest.
//!
//! In, out, must not: as the module above.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{error, info, warn};

use super::{
    ALLOW_ASKED, CONFIGURATION_PROBLEM, CONFIRM_ASKED, DAEMON_GIVES_WAY, DAEMON_READY,
    DAEMON_REPLACED, DAEMON_STOPPING, DIFFERENCE_UNKNOWN, DRIFT_CORRECTED, DRIFTED, Entry,
    INTERRUPTED, LOOK_HANGS, PAUSE_ENDED, PAUSED, PUSH_ASKED, REMOTE_REACHABLE, REMOTE_REPLACED,
    REMOTES_DIVERGE, REPORTS_LOST, RESUMED, RESUMED_BY, RETRY_ASKED, ROLLBACK_ASKED,
    SHUTDOWN_ALLOWED, SHUTDOWN_INHIBITED, SHUTDOWN_NOT_INHIBITED, TESTING_LACKS, TESTING_REFUSED,
    failures, milliseconds,
};
use crate::model::deployment::DeploymentId;
use crate::model::failure::Failure;
use crate::model::pause::{Pause, UserId};
use crate::model::policy::Guard;
use crate::model::push::Push;
use crate::model::revision::{Branch, CommitId};
use crate::model::system::{Configuration, Observed, Toplevel};

/// The daemon is ready and follows branches: name, URL and branch of each
/// remote. The fields are those of the first; the names are all.
pub fn daemon_ready(configuration: &Configuration, remotes: &[(&str, &str, &Branch)]) {
    let names: Vec<&str> = remotes.iter().map(|(name, _, _)| *name).collect();
    let first = remotes.first();
    info!(
        message_id = DAEMON_READY,
        df_version = env!("CARGO_PKG_VERSION"),
        df_configuration = %configuration,
        df_remotes = names.join(" "),
        df_url = first.map(|(_, url, _)| *url),
        df_branch = first.map(|(_, _, branch)| tracing::field::display(branch)),
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

/// How the systems of a deployment differ could not be found out.
pub fn difference_unknown(deployment: &DeploymentId, why: &str) {
    warn!(
        message_id = DIFFERENCE_UNKNOWN,
        df_deployment = %deployment,
        df_message = why,
        "how the systems differ is not known"
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

/// An operator wants what failed tried once more.
pub fn retry_asked(allowed: &BTreeSet<Guard>) {
    let names: Vec<_> = allowed.iter().map(|guard| guard.name()).collect();
    info!(
        message_id = RETRY_ASKED,
        df_allowed = names.join(" "),
        "an operator wants what the branch asks for tried once more"
    );
}

/// Root lets a commit be followed once.
pub fn allow_asked(commit: &CommitId) {
    info!(
        message_id = ALLOW_ASKED,
        df_commit = %commit,
        "an operator lets a commit be followed once"
    );
}

/// An operator wants nothing new begun.
pub fn paused(pause: &Pause) {
    warn!(
        message_id = PAUSED,
        df_user = pause.by.0,
        df_reason = pause.reason,
        df_until = pause.until.as_ref().map(tracing::field::display),
        "an operator has paused deployments, what runs is finished"
    );
}

/// An operator lets the host go on.
pub fn resumed_by(user: UserId) {
    info!(
        message_id = RESUMED_BY,
        df_user = user.0,
        "an operator lets deployments go on"
    );
}

/// The time of a pause came.
pub fn pause_ended() {
    info!(
        message_id = PAUSE_ENDED,
        "the pause is over, deployments go on"
    );
}

/// Root wants an earlier system back.
pub fn rollback_asked(to: &DeploymentId, user: UserId) {
    warn!(
        message_id = ROLLBACK_ASKED,
        df_earlier = %to,
        df_user = user.0,
        "an operator takes the host back to an earlier system, where it stays"
    );
}

/// Root wants a snapshot of their own.
pub fn push_asked(push: &Push, user: UserId) {
    warn!(
        message_id = PUSH_ASKED,
        df_source = %push.source,
        df_configuration = %push.configuration,
        df_source_commit = push.claims.commit,
        df_name = push.claims.name,
        df_user = user.0,
        "an operator has pushed a snapshot, with which the host stays"
    );
}

/// An operator says that a system in its confirm window is good.
pub fn confirm_asked(id: &DeploymentId, user: UserId) {
    info!(
        message_id = CONFIRM_ASKED,
        df_deployment = %id,
        df_user = user.0,
        "an operator confirms the system, nothing more than its health is waited for"
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

/// A remote could not be asked, for the first time since it could.
pub fn remote_unreachable(remote: &str, url: &str, failure: &Failure) {
    let Entry {
        message_id,
        message,
    } = failures::entry(failure.code);
    warn!(
        message_id,
        df_remote = remote,
        df_url = url,
        df_failure = failure.code.as_str(),
        df_class = failure.class.as_str(),
        df_message = failure.message,
        df_detail = failure.detail,
        "{message}"
    );
}

/// What a remote offers is not followed, and neither is anything else.
pub fn offer_refused(remote: &str, url: &str, failure: &Failure) {
    let Entry {
        message_id,
        message,
    } = failures::entry(failure.code);
    error!(
        message_id,
        df_remote = remote,
        df_url = url,
        df_failure = failure.code.as_str(),
        df_class = failure.class.as_str(),
        df_message = failure.message,
        df_detail = failure.detail,
        df_hint = failure.hint,
        "{message}"
    );
}

/// What a remote offers is not followed, and another remote is.
pub fn offer_left_aside(remote: &str, url: &str, failure: &Failure) {
    let Entry {
        message_id,
        message,
    } = failures::entry(failure.code);
    warn!(
        message_id,
        df_remote = remote,
        df_url = url,
        df_failure = failure.code.as_str(),
        df_class = failure.class.as_str(),
        df_message = failure.message,
        df_detail = failure.detail,
        df_hint = failure.hint,
        "{message}"
    );
}

/// What the testing branch is, is not tested.
pub fn testing_refused(
    remote: &str,
    url: &str,
    branch: &Branch,
    commit: &CommitId,
    failure: &Failure,
) {
    warn!(
        message_id = TESTING_REFUSED,
        df_remote = remote,
        df_url = url,
        df_branch = %branch,
        df_commit = %commit,
        df_failure = failure.code.as_str(),
        df_class = failure.class.as_str(),
        df_message = failure.message,
        df_detail = failure.detail,
        df_hint = failure.hint,
        "the testing branch is not followed"
    );
}

/// The branch has moved on without what the host tests.
pub fn testing_lacks(branch: &Branch, commit: &CommitId) {
    warn!(
        message_id = TESTING_LACKS,
        df_branch = %branch,
        df_commit = %commit,
        "a commit of the host's own branch waits for the end of the test"
    );
}

/// A remote answers again.
pub fn remote_reachable(remote: &str, url: &str, unreachable_for: Duration) {
    info!(
        message_id = REMOTE_REACHABLE,
        df_remote = remote,
        df_url = url,
        df_duration_ms = milliseconds(unreachable_for),
        "the remote answers again"
    );
}

/// The remote that was followed offers nothing any more, and another one does.
pub fn remote_replaced(before: &str, remote: &str, url: &str, commit: &CommitId) {
    info!(
        message_id = REMOTE_REPLACED,
        df_remote = remote,
        df_remote_before = before,
        df_url = url,
        df_commit = %commit,
        "another remote is followed now"
    );
}

/// Two remotes offer commits of which neither descends from the other.
pub fn remotes_diverge(followed: &str, ours: &CommitId, other: &str, theirs: &CommitId) {
    warn!(
        message_id = REMOTES_DIVERGE,
        df_remote = followed,
        df_commit = %ours,
        df_other_remote = other,
        df_other_commit = %theirs,
        "two remotes diverge, the first of the list is followed"
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
