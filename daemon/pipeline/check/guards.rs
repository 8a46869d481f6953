//! What a new system must not lack, or nobody could repair it from afar; and
//! whether it is for this machine at all.
//!
//! In: the closure that runs, the one that is coming, and what is allowed.
//! Out: nothing, or what is missing. Must not: run anything of either, or
//! demand what was not there before.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tracing::warn;

use crate::config::lenient::Gist;
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::{Guard, Guards};
use crate::model::remote::RemoteAddress;
use crate::model::system::Toplevel;
use crate::pipeline::installed::{
    DAEMON_UNIT, Installed, SSH_UNITS, configuration, installed, is_wanted, ssh_server_units,
};
use crate::pipeline::observe::below;

/// The id of the machine (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guarding<'a> {
    /// The host's root directory.
    pub(super) root: &'a Path,
    /// The closure that runs, if any does.
    pub(super) running: Option<&'a Toplevel>,
    /// The one that is coming.
    pub(super) wanted: &'a Toplevel,
    /// What this host follows.
    pub(super) remotes: &'a [RemoteAddress],
    /// What is allowed for every commit, and which machine this is to be.
    pub(super) guards: &'a Guards,
    /// What this commit may lack.
    pub(super) lacking: &'a BTreeSet<Guard>,
}

/// Refuses a system that is for another machine, or lacks what the running one
/// has and nobody allowed it to lack.
pub(super) fn guard(guarding: Guarding<'_>) -> Result<(), Failure> {
    let coming = Closure::read(guarding.root, guarding.wanted);
    for_this_machine(guarding, &coming)?;
    let Some(running) = guarding.running else {
        return Ok(());
    };
    let running = Closure::read(guarding.root, running);
    for &guard in Guard::ALL {
        let Some(lack) = lack(guard, &running, &coming, guarding.remotes) else {
            continue;
        };
        if !guarding.guards.allowed.contains(&guard) && !guarding.lacking.contains(&guard) {
            return Err(lack.refused(guard));
        }
        warn!(
            guard = guard.name(),
            expected = lack.expected,
            found = lack.found,
            "the new system lacks what this one has, as is allowed"
        );
    }
    Ok(())
}

/// What a closure has of what is guarded.
struct Closure {
    daemon: Option<Installed>,
    /// What its daemon's configuration says, or why that cannot be read.
    config: Result<Gist, String>,
    ssh: BTreeSet<String>,
    /// Those that something starts.
    ssh_wanted: BTreeSet<String>,
}

impl Closure {
    fn read(root: &Path, toplevel: &Toplevel) -> Self {
        let daemon = installed(root, toplevel);
        let config = daemon.as_ref().map_or_else(
            || Err("there is none".to_owned()),
            |daemon| configuration(root, daemon),
        );
        let ssh = ssh_server_units(root, toplevel);
        let is_started = |unit: &&String| is_wanted(root, toplevel, unit);
        Self {
            ssh_wanted: ssh.iter().filter(is_started).cloned().collect(),
            daemon,
            config,
            ssh,
        }
    }
}

/// Something that the running closure has and the new one has not.
struct Lack {
    expected: String,
    found: String,
}

/// Whether the new closure lacks it, although the running one has it.
fn lack(
    guard: Guard,
    running: &Closure,
    coming: &Closure,
    remotes: &[RemoteAddress],
) -> Option<Lack> {
    match guard {
        Guard::Daemon => lacks_daemon(running, coming),
        Guard::SshServer => lacks_ssh_server(running, coming),
        Guard::Remote => lacks_remote(running, coming, remotes),
    }
}

fn lacks_daemon(running: &Closure, coming: &Closure) -> Option<Lack> {
    let before = running.daemon.as_ref()?;
    let found = match &coming.daemon {
        None => format!("no {DAEMON_UNIT} that starts a program"),
        Some(daemon) if before.is_wanted && !daemon.is_wanted => {
            format!("a {DAEMON_UNIT} that nothing starts")
        }
        Some(_) => return None,
    };
    Some(Lack {
        expected: format!("{DAEMON_UNIT} in the new system, as in the running one"),
        found,
    })
}

fn lacks_ssh_server(running: &Closure, coming: &Closure) -> Option<Lack> {
    let names = |units: &BTreeSet<String>| {
        let units: Vec<_> = units.iter().map(String::as_str).collect();
        units.join(" and ")
    };
    let found = if !running.ssh.is_empty() && coming.ssh.is_empty() {
        format!("none of {}", SSH_UNITS.join(", "))
    } else if !running.ssh_wanted.is_empty() && coming.ssh_wanted.is_empty() {
        format!("{}, which nothing starts", names(&coming.ssh))
    } else {
        return None;
    };
    Some(Lack {
        expected: format!(
            "an ssh server in the new system, as the running one has {}",
            names(&running.ssh)
        ),
        found,
    })
}

/// One of those that this host follows has to stay: through it comes the commit
/// that repairs what is wrong with the others.
fn lacks_remote(running: &Closure, coming: &Closure, remotes: &[RemoteAddress]) -> Option<Lack> {
    // Where the daemon is missing, too, that was judged before.
    coming.daemon.as_ref()?;
    let follows = |gist: &Gist, it: &RemoteAddress| gist.follows(&it.url, it.branch.as_str());
    let had: Vec<&RemoteAddress> = match &running.config {
        Ok(gist) => remotes.iter().filter(|it| follows(gist, it)).collect(),
        Err(_) => Vec::new(),
    };
    let found = match &coming.config {
        _ if had.is_empty() => return None,
        Ok(gist) if had.iter().any(|it| follows(gist, it)) => return None,
        Ok(gist) => gist.remotes(),
        Err(why) => format!("a configuration that cannot be read: {why}"),
    };
    let each = had
        .iter()
        .map(|it| format!("{}, branch {}", it.shown_url(), it.branch));
    let each: Vec<String> = each.collect();
    Some(Lack {
        expected: format!("the new system's daemon to follow {}", each.join(", or ")),
        found,
    })
}

impl Lack {
    fn refused(&self, guard: Guard) -> Failure {
        let (code, cure) = match guard {
            Guard::Daemon => (
                FailureCode::DaemonMissing,
                "Enable services.deploy-flake in the configuration",
            ),
            Guard::SshServer => (
                FailureCode::SshServerMissing,
                "Enable services.openssh in the configuration",
            ),
            Guard::Remote => (
                FailureCode::RemoteMissing,
                "Keep one of this host's remotes in services.deploy-flake.settings.remote; to move, list both first",
            ),
        };
        let name = guard.name();
        Failure::new(
            code,
            format!("expected {}, and found {}", self.expected, self.found),
            format!(
                "Nothing was changed. {cure}. If this is meant, allow it for this commit with \
                 `deploy-flake retry --allow {name}`, or for every commit with guards.allow = \
                 [\"{name}\"] in the configuration that runs."
            ),
        )
    }
}

/// Refuses on a machine that is not the one that is named, by the running
/// configuration or by the new one.
fn for_this_machine(guarding: Guarding<'_>, coming: &Closure) -> Result<(), Failure> {
    let ours = guarding.guards.machine_id.as_deref();
    let theirs = coming
        .config
        .as_ref()
        .ok()
        .and_then(|gist| gist.machine_id.as_deref());
    let whose = [
        (ours, "the configuration that runs"),
        (theirs, "the new system's configuration"),
    ];
    for (expected, whose) in whose {
        let Some(expected) = expected else { continue };
        let found = fs::read_to_string(below(guarding.root, Path::new(MACHINE_ID)));
        let found = found.map(|text| text.trim().to_ascii_lowercase());
        if found.as_deref().is_ok_and(|found| found == expected) {
            continue;
        }
        let found = found.unwrap_or_else(|error| format!("that it cannot be read: {error}"));
        return Err(Failure::new(
            FailureCode::MachineMismatch,
            format!("expected {MACHINE_ID} to be {expected}, as {whose} says, and found {found}"),
            "Nothing was changed. Deploy this to the machine that it is for, or set machine_id \
             to the id of this one, or leave it out.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
