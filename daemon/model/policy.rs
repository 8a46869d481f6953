//! What the operator decided beforehand: the part of the configuration that
//! decisions depend on.
//!
//! In: values that `config` validated. Out: the same, for `reconcile` and the
//! pipeline. Must not: know about files or TOML.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
}

/// What decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The mean time between two looks at the remote.
    pub poll_interval: Duration,
    /// At drift.
    pub on_drift: OnDrift,
    /// At a system that needs a reboot.
    pub on_reboot_required: OnRebootRequired,
}
