//! A control group of its own for each container.
//!
//! In: a name. Out: nspawn inside that group. Without it, nspawn would put every container into the same `payload`
//! group below the harness's own, and the systemd of one host would kill processes of another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::world::poll_until;

/// For killed processes to be gone.
const DEADLINE: Duration = Duration::from_secs(5);

/// A command that has moved into the group before it starts; its program comes as the first argument.
pub(crate) fn command_in(group: &str) -> Command {
    let directory = directory(group);
    fs::create_dir_all(&directory).expect("root may make control groups");
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(directory.join("cgroup.procs"));
    command
}

/// Where a group is.
pub(crate) fn directory(group: &str) -> PathBuf {
    let root = mounts("cgroup2")
        .next()
        .expect("a machine with a cgroup2 hierarchy");
    root.join(group)
}

/// A command for `systemd-nspawn` that has moved into the group before it starts.
pub(crate) fn nspawn_in(group: &str) -> Command {
    let mut command = command_in(group);
    command
        .arg("systemd-nspawn")
        // A machine with cgroup v1 mounted would otherwise have a container with it, too.
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .args(["--quiet", "--register=no", "--keep-unit", "--console=pipe"])
        .args(["--link-journal=no", "--resolv-conf=off", "--timezone=off"]);
    command
}

/// Kills what is in the group, and removes it; nspawn makes a copy of it where cgroup v1 is mounted.
pub(crate) fn remove(group: &str) {
    for root in mounts("cgroup2").chain(mounts("cgroup")) {
        let directory = root.join(group);
        // Older kernels have no such file; then the processes have been killed one by one.
        let _ = fs::write(directory.join("cgroup.kill"), "1");
        // Killed is not gone: a group can be removed only when its last process has been.
        let removed = poll_until(DEADLINE, || {
            remove_below(&directory);
            !directory.exists()
        });
        if !removed {
            eprintln!(
                "the control group {} could not be removed",
                directory.display()
            );
        }
    }
}

fn remove_below(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    // It is tried again as long as there are processes.
    let _ = fs::remove_dir(directory);
}

fn mounts(kind: &str) -> impl Iterator<Item = PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let point = fields.next()?;
            (fields.next()? == kind).then(|| PathBuf::from(point))
        })
        .collect();
    mounts.into_iter()
}
