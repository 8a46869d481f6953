//! What a closure's wrapper and the caller say in the environment, and the two hooks they name.
//!
//! In: environment variables, `/etc/os-release`. Out: [`Environment`]. It must not look at units.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Check,
    Switch,
    Boot,
    Test,
    DryActivate,
}

impl Verb {
    pub(crate) fn from_arguments(verb: Option<&str>) -> Option<Self> {
        match verb? {
            "check" => Some(Self::Check),
            "switch" => Some(Self::Switch),
            "boot" => Some(Self::Boot),
            "test" => Some(Self::Test),
            "dry-activate" => Some(Self::DryActivate),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Switch => "switch",
            Self::Boot => "boot",
            Self::Test => "test",
            Self::DryActivate => "dry-activate",
        }
    }

    pub(crate) fn writes_boot_entry(self) -> bool {
        matches!(self, Self::Switch | Self::Boot)
    }
}

/// The parsed environment.
pub(crate) struct Environment {
    pub(crate) verb: Verb,
    /// Where the scripts `activate` and `dry-activate` are.
    pub(crate) out: PathBuf,
    /// The system to go to; the same as `out` but for specialisations.
    pub(crate) toplevel: PathBuf,
    /// The systemd of the new system.
    pub(crate) systemd: PathBuf,
    pub(crate) skip_checks: bool,
    pub(crate) skip_sync: bool,
    /// Do not leave the targets, which are always started, out of the messages.
    pub(crate) display_all_units: bool,
    distribution: String,
    install_boot_loader: String,
    pre_switch_check: String,
}

impl Environment {
    pub(crate) fn read(verb: Verb) -> Result<Self, String> {
        let environment = Self {
            verb,
            out: required("OUT")?.into(),
            toplevel: required("TOPLEVEL")?.into(),
            distribution: required("DISTRO_ID")?,
            install_boot_loader: required("INSTALL_BOOTLOADER")?,
            pre_switch_check: required("PRE_SWITCH_CHECK")?,
            systemd: required("SYSTEMD")?.into(),
            skip_checks: is_one("NIXOS_NO_CHECK"),
            skip_sync: is_one("NIXOS_NO_SYNC"),
            display_all_units: is_one("STC_DISPLAY_ALL_UNITS"),
        };
        if !environment.systemd.join("lib/systemd/systemd").exists() {
            return Err(format!("no systemd in {}", environment.systemd.display()));
        }
        Ok(environment)
    }

    /// A closure for one distribution must not take over another one's `/etc`.
    pub(crate) fn check_distribution(&self) -> Result<(), String> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let same = release
            .lines()
            .filter_map(|line| line.strip_prefix("ID="))
            .any(|id| id.trim_matches('"') == self.distribution);
        if same || Path::new("/etc/NIXOS").is_file() {
            return Ok(());
        }
        Err("This is not a NixOS installation!".into())
    }

    /// A child of this switch: every one of them may ask which verb it serves.
    pub(crate) fn child(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("NIXOS_ACTION", self.verb.as_str());
        command
    }

    pub(crate) fn run_pre_switch_check(&self) -> bool {
        let arguments = [self.toplevel.as_os_str(), OsStr::new(self.verb.as_str())];
        self.run_hook(&self.pre_switch_check, &arguments)
    }

    pub(crate) fn install_boot_loader(&self) -> bool {
        self.run_hook(&self.install_boot_loader, &[self.toplevel.as_os_str()])
    }

    /// Runs a hook given as words without quoting.
    fn run_hook(&self, hook: &str, arguments: &[&OsStr]) -> bool {
        let mut words = hook.split_whitespace();
        let Some(program) = words.next() else {
            return false;
        };
        self.child(program)
            .args(words)
            .args(arguments)
            .status()
            .is_ok_and(|status| status.success())
    }
}

fn required(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("missing required environment variable ${name}"))
}

fn is_one(name: &str) -> bool {
    env::var(name).as_deref() == Ok("1")
}
