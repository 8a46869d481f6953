//! The guardian's timer and service as plain data.
//!
//! In: a command. Out: units that systemd takes. Must not: call anything.

use std::time::Duration;

use crate::host::systemd::{AtShutdown, Kind, TransientTimer, TransientUnit, WhenKilled};
use crate::model::deployment::DeploymentId;

/// The service: the guardian itself.
pub(super) const SERVICE: &str = "deploy-flake-guardian.service";

/// The timer that starts it when nobody has decided in time.
pub(super) const TIMER: &str = "deploy-flake-guardian.timer";

/// What it is called in the journal.
const IDENTIFIER: &str = "deploy-flake-guardian";

/// The kernel ends nearly everything before it, when memory runs out.
const INDISPENSABLE: i32 = -900;

/// How the descriptions of both units begin.
const DESCRIPTION: &str = "deploy-flake: guardian of deployment ";

/// The description by which a later daemon knows whose guardian it is.
pub(super) fn describe(id: &DeploymentId) -> String {
    format!("{DESCRIPTION}{id}")
}

/// Whose guardian it is.
pub(super) fn described(description: &str) -> Option<DeploymentId> {
    let id = description.strip_prefix(DESCRIPTION)?;
    Some(DeploymentId(id.to_owned()))
}

/// The timer.
pub(super) fn timer(id: &DeploymentId, after: Duration) -> TransientTimer {
    TransientTimer {
        name: TIMER.to_owned(),
        description: describe(id),
        after,
    }
}

/// The service. No one-shot: one that runs is a queued job, and the system
/// would count as starting all the while.
pub(super) fn service(
    id: &DeploymentId,
    command: Vec<String>,
    path_variable: &str,
) -> TransientUnit {
    let mut unit = TransientUnit::new(SERVICE, Kind::Exec, vec![command]);
    unit.description = describe(id);
    unit.environment = vec![("PATH".to_owned(), path_variable.to_owned())];
    unit.syslog_identifier = Some(IDENTIFIER.to_owned());
    unit.log_fields = vec![("DEPLOY_FLAKE_DEPLOYMENT".to_owned(), id.to_string())];
    unit.oom_score_adjust = Some(INDISPENSABLE);
    // It reboots the host as its last resort, and must see that through.
    unit.at_shutdown = AtShutdown::GoesOn;
    // What it runs is ended at its deadline as a cgroup.
    unit.delegate = true;
    // It may have ended the daemon, who otherwise would start it again.
    unit.when_killed = WhenKilled::ComesBack;
    unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guardian_says_whose_it_is() {
        let id = DeploymentId("0123456789abcdef".to_owned());
        assert_eq!(described(&describe(&id)), Some(id));
        assert_eq!(described("deploy-flake: test of deployment 01"), None);
    }
}
