//! What the operator decided beforehand: the part of the configuration that
//! decisions depend on.
//!
//! In: values that `config` validated. Out: the same, for `reconcile` and the
//! pipeline. Must not: know about files or TOML.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::revision::{Branch, CommitId, TagName};

/// How main's systems are brought to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// `test`, the confirm window, then profile and boot entry.
    #[default]
    Switch,
    /// Profile and boot entry; the host arrives with its next reboot.
    Boot,
    /// `test` and the confirm window; a reboot leads back.
    Test,
}

/// When a testing branch is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FollowTesting {
    /// Where commits have to be signed: who may push is then not enough.
    #[default]
    IfSigned,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which snapshots root may push to this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pushes {
    /// None.
    Never,
    /// None, because commits have to be signed here and a snapshot is not.
    NotWhereSigned,
    /// Those that are only to be tested.
    #[default]
    TestOnly,
    /// All.
    Always,
}

/// What to do when the host, at rest, is not what it was brought to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrift {
    /// Say so and leave the host alone.
    #[default]
    Report,
    /// Bring the host back.
    Correct,
}

/// What to do with a system that cannot be activated without a reboot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRebootRequired {
    /// Write nothing and say so.
    #[default]
    Refuse,
    /// Write the boot entry without having tested the system.
    Boot,
}

/// What to do with a host that is not healthy before a deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnhealthy {
    /// Activate nothing.
    #[default]
    Refuse,
    /// Go on; the new system must not be worse.
    ProceedIfNotWorse,
}

/// What to do when the running system could not be brought back live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailedRollback {
    /// Reboot: the boot entry still is the previous system's.
    #[default]
    Reboot,
    /// Stay as it is, and say so.
    Stay,
}

/// What a new system must not lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// This daemon.
    Daemon,
    /// An ssh server, if the old one had one.
    SshServer,
    /// This host's remote.
    Remote,
}

impl Guard {
    /// Every guard.
    pub const ALL: &[Self] = &[Self::Daemon, Self::SshServer, Self::Remote];

    /// The name by which it is allowed to be missing.
    pub fn name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::SshServer => "ssh-server",
            Self::Remote => "remote",
        }
    }
}

/// What is looked at before anything is activated, besides health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// What a new system may lack on this host.
    pub allowed: BTreeSet<Guard>,
    /// The machine that this configuration is for (`/etc/machine-id`).
    pub machine_id: Option<String>,
    /// How many bytes must stay free in the store, besides five percent.
    pub store_reserve: u64,
}

/// How much of a remote's is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// How many bytes of one pack.
    pub pack: u64,
    /// How many bytes of memory the fetcher may use.
    pub memory: u64,
}

/// What a commit has to show before anything of it is evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Who has to have signed what.
    pub require: Require,
    /// What becomes of a commit that does not follow the last confirmed one.
    pub force_push: ForcePush,
    /// The commit that everything has to descend from.
    pub introduction: Option<CommitId>,
    /// The file of SSH keys (ssh-keygen(1), section ALLOWED SIGNERS).
    pub allowed_signers: Option<PathBuf>,
    /// Files of OpenPGP keys, armored.
    pub keyrings: Vec<PathBuf>,
    /// The file of keys that are never believed again.
    pub revoked: Option<PathBuf>,
    /// How each remote has to show that it is alive; None: it does not have to.
    pub heartbeat: Option<Heartbeat>,
}

/// A signed tag that somebody makes anew again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its name, where that is not the one that belongs to the branch.
    pub tag: Option<TagName>,
    /// How old it may be.
    pub max_age: Duration,
    /// The file of SSH keys that may make it, and nothing else; without it,
    /// those may that sign commits.
    pub allowed_signers: Option<PathBuf>,
}

impl Heartbeat {
    /// The tag that belongs to a branch.
    pub fn tag_of(&self, branch: &Branch) -> TagName {
        let named = self.tag.clone();
        named.unwrap_or_else(|| TagName::heartbeat_of(branch))
    }
}

/// Which commits have to be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// None: whoever can push is trusted.
    #[default]
    Nothing,
    /// The tip of the branch.
    Tip,
    /// Those on the way from the tip by first parents.
    FirstParent,
    /// All above the last confirmed one, on both sides of merges.
    EveryCommit,
}

/// What becomes of a commit that is older than the last confirmed one, or
/// beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForcePush {
    /// It is refused until an operator allows it.
    #[default]
    Refuse,
    /// It is followed if it is signed by a trusted key.
    IfSigned,
    /// It is followed.
    Allow,
}

/// A command of the operator's own that says whether the host is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserProbe {
    /// Its name, for people.
    pub name: String,
    /// Program and arguments; exit status 0 is well.
    pub command: Vec<String>,
    /// How long it may take.
    pub deadline: Duration,
}

/// Which boot loader's default entry is read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootLoader {
    /// Whichever of the known ones has its files in place.
    #[default]
    Auto,
    /// `loader/loader.conf` and `loader/entries/`.
    SystemdBoot,
    /// `grub/grub.cfg`.
    Grub,
    /// `extlinux/extlinux.conf`.
    Extlinux,
    /// There is none to read: a container, or a loader that is not known here.
    None,
}

/// What becomes of a commit depends on these settings, too: whoever changes
/// them asks again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Which of the flake's configurations is this host's.
    pub configuration: String,
    /// Stands for everything that may refuse a commit or let it through.
    pub digest: String,
}

/// How long each step may take. A step that takes longer is ended as a whole
/// cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Asking the remote for its refs.
    pub poll: Duration,
    /// Fetching a pack into the mirror.
    pub fetch: Duration,
    /// Importing the commit into the evaluation's repository.
    pub import: Duration,
    /// `nix eval`.
    pub evaluate: Duration,
    /// `nix build`.
    pub build: Duration,
    /// Registering the toplevel's GC root.
    pub root: Duration,
    /// The closure's pre-activate check.
    pub check: Duration,
    /// `switch-to-configuration check`.
    pub pre_switch_check: Duration,
    /// `switch-to-configuration test`.
    pub activate: Duration,
    /// Setting the profile.
    pub profile: Duration,
    /// `switch-to-configuration boot`.
    pub boot_loader: Duration,
    /// Putting profile and boot entry back.
    pub restore: Duration,
    /// One run of the probe.
    pub probe: Duration,
    /// Waiting for the switch lock.
    pub lock: Duration,
    /// `switch-to-configuration test` of the previous system, by the guardian.
    pub rollback: Duration,
    /// What the previous system may take to be healthy again.
    pub rollback_health: Duration,
}

/// What counts as healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The system must become healthy within this after `test`.
    pub probe_deadline: Duration,
    /// And must stay healthy for this long.
    pub confirm_window: Duration,
    /// Units whose failure is nobody's business.
    pub ignore_units: Vec<String>,
    /// Units that must be active after `test`. None: whichever of the ssh
    /// server's units was active before, and this daemon.
    pub require_units: Option<Vec<String>>,
    /// At a host that is not healthy before.
    pub on_unhealthy: OnUnhealthy,
    /// The operator's own probes.
    pub probes: Vec<UserProbe>,
}

/// What decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The mean time between two looks at the remote that is asked most often.
    pub poll_interval: Duration,
    /// How main's systems are brought to the host.
    pub mode: Mode,
    /// At drift.
    pub on_drift: OnDrift,
    /// At a system that needs a reboot.
    pub on_reboot_required: OnRebootRequired,
    /// At a snapshot that root pushes.
    pub pushes: Pushes,
}
