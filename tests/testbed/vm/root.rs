//! The root file system that virtual machines are run from (`qemu` makes it).
//!
//! In: a program of it, and a world's directory. Out: a command. What is bound in is so in a mount namespace that ends
//! with the program: the machine sees nothing of it, and the root itself is never written to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::testbed::{cache, child};

/// Making the root takes a minute, on a slow mirror more; its own limit is twenty.
const DEADLINE: Duration = Duration::from_secs(1300);

/// Binds the world's directories in and becomes the program: its process keeps the id that was given to this.
const ENTER: &str = "root=$1 host=$2 disk=$3; shift 3
mount --bind \"$host\" \"$root/mnt/host\"
mount --bind \"$disk\" \"$root/mnt/disk\"
mount --rbind /dev \"$root/dev\"
exec chroot \"$root\" \"$@\"";

/// Where the disk's directory is for a program inside.
pub(crate) const DISK: &str = "/mnt/disk";

/// The root; made on the first call if it is not there.
pub(crate) fn path() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let mut script = Command::new(cache::sources().join("vm/qemu"));
        let cache = cache::directory();
        script.env(
            "DEPLOY_FLAKE_CACHE",
            cache.parent().expect("it is below the root"),
        );
        child::run(&mut script, DEADLINE).text().into()
    })
}

/// A program of the root, after `before` (which runs what follows it), with the root of a host and a disk's directory.
pub(crate) fn command(before: &[&str], host: &Path, disk: &Path, words: &[&str]) -> Command {
    let unshare = ["unshare", "--mount", "--propagation=private", "sh", "-euc"];
    let mut all = before.iter().chain(&unshare);
    let mut command = Command::new(all.next().expect("there is at least unshare"));
    command
        .args(all)
        .args([ENTER, "enter"])
        .args([path(), host, disk])
        .args(words);
    command
}
