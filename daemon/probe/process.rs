//! The process: makes every look at once, and prints what was seen.
//!
//! In: what the command line says. Out: the report. Must not: take longer
//! than it was given, whatever does not answer.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::{remote, route, ssh, sshd_config, user};
use crate::config::Config;
use crate::model::health::ProbeReport;

/// The kernel's routes.
const ROUTES: [&str; 2] = ["/proc/net/route", "/proc/net/ipv6_route"];

/// What to look at.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The closure's configuration: its remotes, and its own probes.
    pub config: Config,
    /// Where this process has what it shows the remotes.
    pub credentials: Option<PathBuf>,
    /// The files of its ssh servers. One that is missing stands for the
    /// server's defaults.
    pub sshd_configs: Vec<PathBuf>,
    /// Where systemd listens for its ssh servers: values of `ListenStream=`.
    pub ssh_listen: Vec<String>,
    /// The closure's own program that says whether the host is well.
    pub health_check: Option<PathBuf>,
    /// How long all of it may take.
    pub within: Duration,
}

/// Looks, and returns the line to print.
///
/// # Errors
/// The process cannot be set up; what does not answer is no error.
pub fn run(probe: &Probe) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let report = runtime.block_on(look(probe));
    // A remote that hangs is left behind: nothing can wake its thread.
    runtime.shutdown_background();
    serde_json::to_string(&report).context("write the report")
}

async fn look(probe: &Probe) -> ProbeReport {
    let deadline = probe.within;
    let deadlines = &probe.config.deadlines;
    let remotes = probe.config.remotes.iter();
    let remotes = remotes.map(|remote| remote::Asked {
        name: &remote.name,
        address: &remote.address,
        patience: remote.timeout(deadlines).min(deadline),
    });
    let targets = targets(probe);
    let commands = user::commands(&probe.config.health.probes, probe.health_check.as_deref());
    let (remote, ssh, user) = tokio::join!(
        remote::look(remotes, probe.credentials.as_deref()),
        ssh::look(&targets, deadline),
        user::look(commands, deadline),
    );
    ProbeReport {
        remote,
        ssh,
        default_route: has_default_route(),
        user,
    }
}

fn targets(probe: &Probe) -> Vec<sshd_config::Target> {
    let mut targets = Vec::new();
    for file in &probe.sshd_configs {
        // Without a file, or one that cannot be read: what sshd does by default.
        let text = fs::read_to_string(file).unwrap_or_default();
        targets.extend(sshd_config::targets(&text));
    }
    let streams = probe.ssh_listen.iter();
    targets.extend(streams.filter_map(|stream| sshd_config::listen_stream(stream)));
    targets.dedup();
    targets
}

/// Last, so that a network that comes up meanwhile is seen.
fn has_default_route() -> bool {
    let [ipv4, ipv6] = ROUTES.map(|file| fs::read_to_string(file).unwrap_or_default());
    route::has_default(&ipv4, &ipv6)
}
