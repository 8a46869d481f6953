//! A stand-in for NixOS's `switch-to-configuration`, for the test bed.
//!
//! It keeps the contract that the daemon relies on (verbs, order, lock, exit codes, environment, which units are
//! stopped, restarted, left alone) against a real systemd, through `systemctl` on the system bus. In: one verb and
//! the environment that a closure's wrapper sets. Out: a switched system and an exit code.
//!
//! Left out, for no host of the test bed has them: file systems and swap of `/etc/fstab`, and the units of
//! logged-in users. It must never touch the profile: that is its caller's.

#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own: it reads its environment and spawns its children itself"
)]

mod environment;
mod lists;
mod plan;
mod switch;
mod systemd;
mod unit_file;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;

use environment::{Environment, Verb};

/// What the caller learns from the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done and every unit is well.
    Done,
    /// Usage, environment, a failed check or boot loader, or a lost bus.
    Failed,
    /// The activation script failed; the rest was done.
    ActivationFailed,
    /// A unit failed during or after the switch.
    UnitsFailed,
    /// Another switch holds the lock (`EAGAIN`).
    Locked,
    /// The new system needs another interface to PID 1: only a reboot gets there.
    RebootRequired,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::ActivationFailed => 2,
            Self::UnitsFailed => 4,
            Self::Locked => 11,
            Self::RebootRequired => 100,
        }
    }
}

fn main() -> ExitCode {
    let exit = match Verb::from_arguments(std::env::args().nth(1).as_deref()) {
        Some(verb) => run(verb).unwrap_or_else(|message| {
            eprintln!("Error: {message}");
            Exit::Failed
        }),
        None => {
            eprintln!("Usage: switch-to-configuration [check|switch|boot|test|dry-activate]");
            Exit::Failed
        }
    };
    ExitCode::from(exit.code())
}

/// The verb from the lock to the end; an error is exit code 1.
fn run(verb: Verb) -> Result<Exit, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("switch-to-configuration must be run as the root user".into());
    }
    let environment = Environment::read(verb)?;
    environment.check_distribution()?;

    let Some(_held_until_the_end) = take_lock()? else {
        eprintln!("Could not acquire lock");
        return Ok(Exit::Locked);
    };

    if !environment.skip_checks && !environment.run_pre_switch_check() {
        eprintln!("Pre-switch checks failed");
        return Ok(Exit::Failed);
    }
    if verb == Verb::Check {
        return Ok(Exit::Done);
    }
    if verb.writes_boot_entry() && !environment.install_boot_loader() {
        eprintln!("Failed to install bootloader");
        return Ok(Exit::Failed);
    }
    if !environment.skip_sync {
        sync_store()?;
    }
    if verb == Verb::Boot {
        return Ok(Exit::Done);
    }
    if !same_init_interface(&environment.toplevel) {
        eprintln!(
            "This configuration requires a reboot: it talks to another init than the running one"
        );
        return Ok(Exit::RebootRequired);
    }
    switch::live(&environment)
}

/// Takes the machine's lock without waiting; `None` when another switch holds it.
fn take_lock() -> Result<Option<File>, String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create("/run/nixos")
        .map_err(|error| format!("cannot create /run/nixos: {error}"))?;
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .open("/run/nixos/switch-to-configuration.lock")
        .map_err(|error| format!("cannot open the lock file: {error}"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(format!("cannot lock: {error}")),
    }
}

fn sync_store() -> Result<(), String> {
    let store = File::open("/nix/store").map_err(|error| format!("no Nix store: {error}"))?;
    rustix::fs::syncfs(&store).map_err(|error| format!("cannot sync the Nix store: {error}"))
}

/// Whether the new system speaks to the init that runs; without a running system it cannot be told.
fn same_init_interface(toplevel: &Path) -> bool {
    let running = fs::read_to_string("/run/current-system/init-interface-version");
    let wanted = fs::read_to_string(toplevel.join("init-interface-version"));
    matches!((running, wanted), (Ok(running), Ok(wanted)) if running == wanted)
}
