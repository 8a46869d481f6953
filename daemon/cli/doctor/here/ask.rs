//! The host, asked about one thing after the other.
//!
//! In: nothing. Out: what `judge` makes of the answers. Must not: change
//! anything, or wait long for anybody.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::statvfs;

use super::Check;
use super::judge::{self, Disk};
use crate::config::{self, Config, DEFAULT_FILE};
use crate::host::clock;
use crate::host::command::{self, Command};
use crate::ipc::presence;
use crate::model::failure::Failure;
use crate::pipeline::{boot_loader, observe, room};
use crate::store::history::{self, History};
use crate::store::lock;
use crate::store::snapshot::{self, ReadError, Snapshot};

/// Where the host's own file system is.
const ROOT: &str = "/";

/// Where the daemon's state is.
const STATE: &str = "/var/lib/deploy-flake";

/// How long any one program may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Through the Nix daemon, whatever the user's home says.
const THROUGH_DAEMON: (&str, &str) = ("NIX_REMOTE", "daemon");

/// Every check, in the order in which they depend on each other.
pub(super) async fn everything() -> Vec<Check> {
    let loaded = config::load(Path::new(DEFAULT_FILE));
    let known = snapshot::read(Path::new(snapshot::FILE)).map(|(snapshot, _)| snapshot);
    let mut checks = vec![judge::configuration(DEFAULT_FILE, &loaded)];
    let config = loaded.ok().map(|(config, _)| config);
    checks.push(daemon(&known));
    if let Ok(snapshot) = &known {
        checks.push(judge::condition(snapshot));
        checks.extend(judge::remotes(snapshot));
    }
    checks.push(judge::bus(presence::is_present().await));
    checks.push(judge::nix(ask_nix().await));
    checks.extend(disks(config.as_ref()));
    checks.push(judge::clock(synchronised().await));
    if let Some(config) = &config {
        checks.push(entry(config));
    }
    checks.push(state_directory());
    checks.push(kept());
    checks
}

fn daemon(known: &Result<Snapshot, ReadError>) -> Check {
    let is_held = lock::is_held(Path::new(lock::FILE));
    judge::daemon(is_held.ok(), known, clock::now().wall)
}

/// Has Nix look up the running system in its database, by way of its daemon.
async fn ask_nix() -> Result<(), String> {
    let running = observe::running(Path::new(ROOT));
    let running = running.ok_or("there is no running system to ask about")?;
    let words = ["--query", "--hash", running.path().as_str()];
    let mut command = Command::new("nix-store", words);
    command.environment = vec![(THROUGH_DAEMON.0.to_owned(), THROUGH_DAEMON.1.to_owned())];
    said(&command).await.map(drop)
}

/// Whether the clock is synchronised, as systemd knows it from the kernel.
async fn synchronised() -> Result<bool, String> {
    let words = ["show", "--property=NTPSynchronized", "--value"];
    let said = said(&Command::new("timedatectl", words)).await?;
    Ok(said.trim() == "yes")
}

/// What a program wrote; or why it did not.
async fn said(command: &Command) -> Result<String, String> {
    let output = command::run(command, PATIENCE).await;
    let output = output.map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(output.stderr_tail)
}

/// The store, by the rule that builds go by; the state; and the boot loader's
/// files.
fn disks(config: Option<&Config>) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(config) = config {
        let room: Result<(), Failure> =
            room::for_build(Path::new(ROOT), config.guards.store_reserve);
        checks.push(judge::store(&room));
    }
    let loader = config.map(|config| config.boot_loader);
    let kernels = loader.and_then(|loader| boot_loader::kernel_directory(Path::new(ROOT), loader));
    let state = Path::new(STATE);
    for path in [Some(state), kernels.as_deref()].into_iter().flatten() {
        // One that is not there is told of elsewhere.
        if let Ok(disk) = disk(path) {
            checks.push(judge::disk(&disk));
        }
    }
    checks
}

fn disk(path: &Path) -> io::Result<Disk> {
    let it = statvfs(path)?;
    Ok(Disk {
        path: path.to_owned(),
        free: it.f_bavail.saturating_mul(it.f_frsize),
        // Some file systems make files as they need them, and say zero.
        files: (it.f_files > 0).then_some(it.f_favail),
        is_read_only: it.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

fn entry(config: &Config) -> Check {
    let root = Path::new(ROOT);
    let entry = boot_loader::default_entry(root, config.boot_loader);
    judge::boot_loader(&entry, observe::running(root).as_ref(), is_root())
}

fn state_directory() -> Check {
    judge::state_directory(STATE, fs::metadata(STATE).as_ref())
}

fn kept() -> Check {
    let history = History::new(history::DIRECTORY);
    let entries = history.entries();
    let unreadable = entries.as_ref().map_or(0, |entries| {
        entries
            .iter()
            .filter(|entry| history.read(entry).is_err())
            .count()
    });
    judge::history(entries.as_ref().map(Vec::len), unreadable)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
