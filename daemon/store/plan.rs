//! What the guardian is armed with, as a file under `/run`.
//!
//! In: a [`RollbackPlan`]. Out: the same, or why it cannot be read. Must not:
//! be needed: a guardian without its plan finds the way back all the same.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::token;
use crate::model::deployment::DeploymentId;
use crate::model::rollback::RollbackPlan;

/// A host has some hundred units, whose names have up to 255 bytes.
const LIMIT: u64 = 4 * 1024 * 1024;

/// Where the plan of a deployment is.
pub fn path(id: &DeploymentId) -> PathBuf {
    Path::new(token::DIRECTORY).join(format!("plan.{id}.json"))
}

/// Writes the plan.
///
/// # Errors
/// The directory cannot be written.
pub fn write(plan: &RollbackPlan) -> io::Result<()> {
    write_to(&path(&plan.deployment), plan)
}

/// Reads a plan.
///
/// # Errors
/// There is none, or it is not one.
pub fn read(path: &Path) -> io::Result<RollbackPlan> {
    if fs::metadata(path)?.len() > LIMIT {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Removes the plan of a deployment that is over.
///
/// # Errors
/// The directory cannot be written.
pub fn remove(id: &DeploymentId) -> io::Result<()> {
    match fs::remove_file(path(id)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whose plans are there.
pub fn found() -> Vec<DeploymentId> {
    found_in(Path::new(token::DIRECTORY))
}

fn found_in(directory: &Path) -> Vec<DeploymentId> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let ids = names.filter_map(|name| {
        let id = name.strip_prefix("plan.")?.strip_suffix(".json")?;
        Some(DeploymentId(id.to_owned()))
    });
    ids.collect()
}

fn write_to(path: &Path, plan: &RollbackPlan) -> io::Result<()> {
    let bytes = serde_json::to_vec(plan)?;
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let new = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&bytes)?;
    // A guardian that starts at this instant reads all of it or none. It is
    // not synced: the file is of this boot, as the guardian is.
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::health::{Baseline, ProbeReport, SshPort};
    use crate::model::policy::OnFailedRollback;
    use crate::model::revision::CommitId;
    use crate::model::system::{BootId, StorePath, Toplevel};

    fn toplevel(name: &str) -> Toplevel {
        let path = format!("/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-{name}");
        Toplevel::new(StorePath::try_from(path).expect("a store path"))
    }

    fn plan() -> RollbackPlan {
        let port = |banner| SshPort {
            address: "127.0.0.1:22".to_owned(),
            banner,
        };
        RollbackPlan {
            deployment: DeploymentId("0123456789abcdef".to_owned()),
            commit: CommitId::try_from("0".repeat(40)).expect("a commit"),
            previous: toplevel("old"),
            candidate: toplevel("new"),
            boot_id: BootId("boot".to_owned()),
            systemctl: PathBuf::from("/nix/store/x/bin/systemctl"),
            baseline: Baseline {
                active: ["sshd.service".to_owned()].into(),
                probe: Some(ProbeReport {
                    ssh: vec![port(Ok(())), port(Err("refused".to_owned()))],
                    ..ProbeReport::default()
                }),
                ..Baseline::default()
            },
            ignore_units: vec!["noise.service".to_owned()],
            lock: Duration::from_secs(60),
            switch: Duration::from_millis(1500),
            health: Duration::from_secs(60),
            on_failed_rollback: OnFailedRollback::Stay,
        }
    }

    /// What the file of [`plan`] says, as guardians read it that are there.
    fn as_json() -> Value {
        json!({
            "deployment": "0123456789abcdef",
            "commit": "0".repeat(40),
            "previous": "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-old",
            "candidate": "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-new",
            "boot_id": "boot",
            "systemctl": "/nix/store/x/bin/systemctl",
            "baseline": {
                "failed": [],
                "restarting": [],
                "restarts": {},
                "active": ["sshd.service"],
                "required": [],
                "probe": {
                    "remote": "unknown",
                    "ssh": [
                        {"address": "127.0.0.1:22", "banner": {"Ok": null}},
                        {"address": "127.0.0.1:22", "banner": {"Err": "refused"}},
                    ],
                    "default_route": false,
                    "user": [],
                },
            },
            "ignore_units": ["noise.service"],
            "lock": {"secs": 60, "nanos": 0},
            "switch": {"secs": 1, "nanos": 500_000_000},
            "health": {"secs": 60, "nanos": 0},
            "on_failed_rollback": "stay",
        })
    }

    #[test]
    fn a_plan_is_what_older_guardians_read_and_newer_ones_may_find_more() {
        let written = serde_json::to_value(plan()).expect("it serialises");
        assert_eq!(written, as_json());
        let mut later = as_json();
        later["something"] = json!("new");
        later["baseline"]["something"] = json!("new");
        let read: RollbackPlan = serde_json::from_value(later).expect("readable");
        assert_eq!(read, plan());
    }

    #[test]
    fn what_a_plan_may_lack_is_empty_then() {
        let mut earlier = as_json();
        let fields = earlier.as_object_mut().expect("an object");
        for field in ["baseline", "ignore_units", "on_failed_rollback"] {
            fields.remove(field).expect("it was there");
        }
        let read: RollbackPlan = serde_json::from_value(earlier).expect("readable");
        assert_eq!(read.baseline, Baseline::default());
        assert_eq!(read.ignore_units, Vec::<String>::new());
        let mut earlier = as_json();
        earlier["baseline"] = json!({"active": ["sshd.service"]});
        let read: RollbackPlan = serde_json::from_value(earlier).expect("readable");
        assert_eq!(read.baseline.active, plan().baseline.active);
    }

    #[test]
    fn a_plan_is_read_as_it_was_written_and_is_roots_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("private/plan.json");
        write_to(&path, &plan()).expect("writable");
        assert_eq!(read(&path).expect("readable"), plan());
        let mode = |path: &Path| {
            let metadata = fs::metadata(path).expect("it is there");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("not the root")), 0o700);
    }

    #[test]
    fn plans_are_found_by_their_deployment() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(found_in(&directory.path().join("none")), []);
        let plan = plan();
        let name = format!("plan.{}.json", plan.deployment);
        write_to(&directory.path().join(name), &plan).expect("writable");
        fs::write(directory.path().join("token.x"), "").expect("writable");
        assert_eq!(found_in(directory.path()), [plan.deployment]);
    }

    #[test]
    fn what_is_missing_torn_or_endless_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("plan.json");
        assert!(read(&path).is_err(), "missing");
        let bytes = serde_json::to_vec(&plan()).expect("plain data");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("writable");
        assert!(read(&path).is_err(), "torn");
        let file = fs::File::create(&path).expect("writable");
        file.set_len(LIMIT + 1).expect("a sparse file");
        assert!(read(&path).is_err(), "endless");
    }
}
