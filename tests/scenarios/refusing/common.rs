//! What scenarios of refusals share: the daemon's configuration, what a host is, and when a deployment has ended.
//!
//! In: a host. Out: what can be asserted of it. Everything waits for a state, with a deadline.

use std::time::Duration;

use serde_json::Value;

use crate::testbed::host::Host;
use crate::testbed::network::Address;
use crate::testbed::repository::CommitId;

/// Far longer than anything takes that is waited for, also with several hosts on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The daemon's configuration against the world's git server, with keys at its top and tables at its end.
pub(crate) fn daemon_config(top: &str, tables: &str) -> String {
    let url = format!("git://{}/infrastructure.git", Address::FIRST);
    format!("{top}\n[[remote]]\nurl = \"{url}\"\npoll_interval = \"1s\"\n\n{tables}\n")
}

/// What runs on a host and what its next boot starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Systems {
    /// The system that runs.
    pub(crate) running: String,
    /// The system of the profile.
    pub(crate) profile: String,
    /// The system that the default boot entry starts.
    pub(crate) default: String,
    /// The id of that entry.
    pub(crate) entry: String,
}

impl Systems {
    /// Reads them.
    pub(crate) fn of(host: &Host) -> Self {
        Self {
            running: host.running_system(),
            profile: host.profile(),
            default: host.default_system(),
            entry: host.default_entry(),
        }
    }

    /// Whether running system, profile and default entry are all this one.
    pub(crate) fn are_all(&self, system: &str) -> bool {
        [&self.running, &self.profile, &self.default] == [system; 3]
    }
}

/// Waits until a deployment of a commit has ended, and returns the status then.
#[track_caller]
pub(crate) fn wait_for_end(host: &Host, commit: &CommitId) -> Value {
    let description = format!("a deployment of {commit} has ended");
    host.wait_for_status(&description, SOON, |status| {
        status["last"]["commit"] == commit.0 && status["last"]["outcome"] != "superseded"
    })
}

/// Waits until a deployment of a commit has ended in a certain way, and returns the status then.
#[track_caller]
pub(crate) fn wait_for_outcome(host: &Host, commit: &CommitId, outcome: &str) -> Value {
    let description = format!("{commit} is {outcome}");
    host.wait_for_status(&description, SOON, |status| {
        status["last"]["commit"] == commit.0 && status["last"]["outcome"] == outcome
    })
}
