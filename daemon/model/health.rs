//! What a host's health is made of, as plain data.
//!
//! In: what systemd and the probe saw. Out: values for the ledger, and for
//! comparing after with before. Must not: give the verdict.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What a host was right before an activation: what was broken then is no
/// verdict, what broke since is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Baseline {
    /// Failed units.
    pub failed: BTreeSet<String>,
    /// Units that failed and were waiting to be started again.
    pub restarting: BTreeSet<String>,
    /// How often each running service had been restarted by systemd itself.
    pub restarts: BTreeMap<String, u32>,
    /// Active units that are to be active again after a rollback: services,
    /// sockets, timers, paths, mounts and targets; neither ours nor transient.
    pub active: BTreeSet<String>,
    /// Units that must be active after `test` and after a rollback, too; each was
    /// active.
    pub required: BTreeSet<String>,
    /// What the probe of the closure that ran then saw, at its best of a few
    /// runs; None if it has none, or could not look and policy went on.
    pub probe: Option<ProbeReport>,
}

/// What a probe saw: its whole output, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Whether the closure's remote could be asked, on a fresh connection.
    pub remote: Reachability,
    /// Each port on which the closure's ssh server should answer.
    pub ssh: Vec<SshPort>,
    /// Whether there is a default route (IPv4 or IPv6).
    pub default_route: bool,
    /// The closure's own probes.
    #[serde(default)]
    pub user: Vec<UserProbeResult>,
}

/// Whether something could be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reachability {
    /// Nobody asked.
    #[default]
    Unknown,
    /// It answered.
    Reachable,
    /// It did not; why.
    Unreachable(String),
}

/// A port of the ssh server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshPort {
    /// Address and port that were tried, such as `127.0.0.1:22`.
    pub address: String,
    /// Whether a banner (`SSH-2.0-...`) came; else why not.
    pub banner: Result<(), String>,
}

/// How one of the operator's probes ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserProbeResult {
    /// Its name.
    pub name: String,
    /// Well, or what it said.
    pub result: Result<(), String>,
}
