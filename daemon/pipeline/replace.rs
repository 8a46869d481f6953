//! The daemon of the new system takes over from this one.
//!
//! In: what this daemon was started from. Out: nothing, where it is what the
//! system asks for; else this daemon's end, and the next one asks again. Must
//! not: judge whether the next daemon works; the confirm window does, and the
//! guardian is armed meanwhile.
//!
//! `switch-to-configuration` leaves the unit alone (`X-RestartIfChanged=false`):
//! it must not be ended by the very activation that it watches over. So one
//! that somebody switched to by hand is not started either: this daemon sees
//! that at its next look at rest, and gives way.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::lock;
use crate::host::systemd::Systemd;
use crate::model::failure::{Failure, FailureCode};

/// The daemon's unit.
const UNIT: &str = "deploy-flake.service";

/// Where a system's units are.
const UNIT_DIRECTORY: &str = "etc/systemd/system";

/// How long systemd may take to end this daemon: its stop deadline is 90 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a daemon is started from: the text of its unit, which names the
/// program, of the unit's drop-ins, and of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    root: PathBuf,
    configuration: PathBuf,
    digest: Option<String>,
}

impl Origin {
    /// What a daemon with this configuration file would be started from now.
    pub fn read(root: &Path, configuration: &Path) -> Self {
        Self {
            root: root.to_owned(),
            configuration: configuration.to_owned(),
            digest: digest(root, configuration),
        }
    }

    /// Whether a daemon that is started now would be this one again. A system
    /// without the unit has no other daemon to offer.
    pub fn is_current(&self) -> bool {
        let now = digest(&self.root, &self.configuration);
        now.is_none() || now == self.digest
    }
}

/// None where there is no unit.
fn digest(root: &Path, configuration: &Path) -> Option<String> {
    let units = root.join(UNIT_DIRECTORY);
    let mut digest = Sha256::new();
    digest.update(fs::read(units.join(UNIT)).ok()?);
    for drop_in in drop_ins(&units.join(format!("{UNIT}.d"))) {
        digest.update(fs::read(drop_in).unwrap_or_default());
    }
    let configuration = configuration.strip_prefix("/").unwrap_or(configuration);
    digest.update(fs::read(root.join(configuration)).unwrap_or_default());
    let bytes = digest.finalize();
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn drop_ins(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Whether the system asks for another daemon, and asks in full: in the middle
/// of a switch, the unit that systemd has may still be the one before.
pub(crate) fn is_outdated(origin: &Origin, root: &Path) -> bool {
    !origin.is_current() && !lock::is_held(root)
}

/// Restarts this daemon if the system asks for another one; then it does not
/// return in time to be heard.
pub(crate) async fn replace(systemd: &Systemd, origin: &Origin) -> Result<(), Failure> {
    if origin.is_current() {
        return Ok(());
    }
    let restarted = systemd.restart(UNIT).await;
    restarted.map_err(|error| not_replaced(&format!("{:#}", anyhow::Error::new(error))))?;
    sleep(PATIENCE).await;
    Err(not_replaced("systemd did not end this one"))
}

fn not_replaced(why: &str) -> Failure {
    Failure::new(
        FailureCode::DaemonNotReplaced,
        format!("the new system's daemon could not take over: {why}"),
        "See `systemctl status deploy-flake` and the journal of PID 1.",
    )
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FlockOperation, flock};

    use super::*;

    const CONFIGURATION: &str = "/etc/deploy-flake/config.toml";

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        let directory = path.parent().expect("it is below the root");
        fs::create_dir_all(directory).expect("a directory of ours");
        fs::write(path, text).expect("a file of ours");
    }

    #[test]
    fn a_daemon_is_current_until_unit_drop_in_or_configuration_change() {
        for changed in [
            "etc/systemd/system/deploy-flake.service",
            "etc/systemd/system/deploy-flake.service.d/more.conf",
            "etc/deploy-flake/config.toml",
        ] {
            let root = tempfile::tempdir().expect("a temporary directory");
            write(root.path(), "etc/systemd/system/deploy-flake.service", "a");
            write(root.path(), "etc/deploy-flake/config.toml", "b");
            let origin = Origin::read(root.path(), Path::new(CONFIGURATION));
            assert!(origin.is_current());
            write(root.path(), changed, "another");
            assert!(!origin.is_current(), "{changed}");
        }
    }

    #[test]
    fn a_daemon_is_not_outdated_before_the_switch_is_over() {
        let root = tempfile::tempdir().expect("a temporary directory");
        write(root.path(), "etc/systemd/system/deploy-flake.service", "a");
        let origin = Origin::read(root.path(), Path::new(CONFIGURATION));
        assert!(!is_outdated(&origin, root.path()));
        let switch = "run/nixos/switch-to-configuration.lock";
        write(root.path(), switch, "");
        let switch = fs::File::open(root.path().join(switch)).expect("it is there");
        flock(&switch, FlockOperation::LockExclusive).expect("nobody holds it");
        write(root.path(), "etc/systemd/system/deploy-flake.service", "b");
        assert!(!is_outdated(&origin, root.path()));
        drop(switch);
        assert!(is_outdated(&origin, root.path()));
    }

    #[test]
    fn a_system_without_the_daemon_offers_no_other() {
        let root = tempfile::tempdir().expect("a temporary directory");
        write(root.path(), "etc/systemd/system/deploy-flake.service", "a");
        let origin = Origin::read(root.path(), Path::new(CONFIGURATION));
        fs::remove_file(root.path().join("etc/systemd/system/deploy-flake.service"))
            .expect("it is ours");
        assert!(origin.is_current());
    }
}
