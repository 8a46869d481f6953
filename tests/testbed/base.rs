//! The layer that all hosts have: everything of the project, the tree of the daemon in the Nix store, and keys.
//!
//! In: the programs under test. Out: a directory over which [`super::layer`] puts a first generation, kept under a
//! hash of all that went in.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::cache::{self, Program};
use super::cgroup;
use super::child;
use super::container::mount_overlay;
use super::leftovers::unmount_below;

/// Files of the test bed that go to `/opt/mini`, and those that a repository holds.
const TOOLS: [&str; 5] = [
    "hook",
    "boot-loader",
    "install-bootloader",
    "prepare",
    "serve-git",
];
const FLAKE: [&str; 5] = [
    "flake.nix",
    "mini-nixos.nix",
    "reachable.nix",
    "daemon.nix",
    "activate-etc",
];

/// What the module says of the daemon's unit; a repository holds it, too.
const SERVICE: &str = "nixos-module/service.nix";

/// Where a first generation's flake is.
pub(super) const FIRST: &str = "opt/mini/first";

/// What systemd runs at each boot and reload to find units; only that of `/etc/fstab` would find any here.
const GENERATORS: &str = "lib/systemd/system-generators";
const GENERATOR: &str = "systemd-fstab-generator";

const DEADLINE: Duration = Duration::from_secs(180);

/// More of them than this are of programs that are gone.
const KEPT: usize = 8;

/// The layer; made if it is not there.
pub(super) fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = cache::directory().join(format!("base-{}", key()));
        let _one_maker = cache::lock("base");
        if !directory.exists() {
            remove_old("base-", KEPT);
            assemble(&directory, &[cache::rootfs()], "base", fill);
        }
        touch(&directory);
        directory
    })
}

/// Every file of a repository but the lock and its hosts, by path.
pub(super) fn flake_sources() -> impl Iterator<Item = (String, String)> {
    let service = fs::read_to_string(of_project(SERVICE)).expect("the module's files are there");
    FLAKE
        .into_iter()
        .map(|name| (name.to_owned(), source(name)))
        .chain([("service.nix".to_owned(), service)])
}

fn source(name: &str) -> String {
    fs::read_to_string(cache::sources().join(name)).expect("the test bed's own files are there")
}

fn policy() -> PathBuf {
    of_project("nixos-module/org.deploy_flake.conf")
}

fn of_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The lock of every repository: it holds the hash of the daemon's tree.
pub(super) fn flake_lock() -> String {
    let lock = directory().join("upper").join(FIRST).join("flake.lock");
    fs::read_to_string(lock).expect("prepare has made it")
}

/// A hash over all that goes in.
fn key() -> String {
    let mut parts: Vec<String> = TOOLS.into_iter().map(source).collect();
    parts.extend(flake_sources().map(|(_, text)| text));
    parts.push(cache::rootfs().display().to_string());
    parts.push(cache::daemon().hash.clone());
    parts.push(cache::switch_to_configuration().hash.clone());
    parts.push(cache::hash_file(&policy()));
    parts.push(source("lighttpd.conf"));
    parts.push(GENERATOR.to_owned());
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    cache::hash(&parts)
}

/// Makes a layer over others, the uppermost first: what `fill` writes, and then what `prepare` does in a container
/// without a network.
pub(super) fn assemble(directory: &Path, below: &[&Path], part: &str, fill: impl FnOnce(&Path)) {
    let making = directory.with_extension("part");
    unmount_below(&making);
    // It is there only if an earlier run was killed.
    let _ = fs::remove_dir_all(&making);
    for name in ["upper", "work", "root"] {
        fs::create_dir_all(making.join(name)).expect("the cache can be written");
    }
    let below: Vec<String> = below.iter().map(|it| it.display().to_string()).collect();
    mount_overlay(&below, &making);
    fill(&making.join("root"));
    let group = format!("bed-{}-prepare-{part}", std::process::id());
    let mut prepare = cgroup::nspawn_in(&group);
    prepare
        .args(["--as-pid2", "--private-network"])
        .arg("--directory")
        .arg(making.join("root"))
        .args(["/opt/mini/prepare", part]);
    let output = child::run(&mut prepare, DEADLINE);
    cgroup::remove(&group);
    unmount_below(&making);
    output.must_succeed();
    fs::rename(&making, directory).expect("the cache can be written");
}

/// Puts the project's things where `prepare` and the hosts expect them.
fn fill(root: &Path) {
    let mini = root.join("opt/mini");
    for name in TOOLS {
        install(&cache::sources().join(name), &mini.join(name), 0o755);
    }
    install(
        &cache::sources().join("lighttpd.conf"),
        &mini.join("lighttpd.conf"),
        0o644,
    );
    let Program { path, .. } = cache::switch_to_configuration();
    install(path, &mini.join("switch-to-configuration"), 0o755);

    let daemon = root.join("opt/deploy-flake");
    install(
        &cache::daemon().path,
        &daemon.join("bin/deploy-flake"),
        0o755,
    );
    install(
        &policy(),
        &daemon.join("share/dbus-1/system.d/org.deploy_flake.conf"),
        0o644,
    );

    mask_generators(root);

    let first = root.join(FIRST);
    fs::create_dir_all(first.join("hosts")).expect("the overlay can be written");
    for (name, text) in flake_sources() {
        fs::write(first.join(name), text).expect("the overlay can be written");
    }
}

fn mask_generators(root: &Path) {
    let masks = root.join("usr/local").join(GENERATORS);
    fs::create_dir_all(&masks).expect("the overlay can be written");
    let all = fs::read_dir(root.join("usr").join(GENERATORS)).expect("systemd is there");
    for name in all.flatten().map(|entry| entry.file_name()) {
        if name != GENERATOR {
            symlink("/dev/null", masks.join(name)).expect("the overlay can be written");
        }
    }
}

fn install(from: &Path, to: &Path, mode: u32) {
    fs::create_dir_all(to.parent().expect("a file is in a directory"))
        .and_then(|()| fs::copy(from, to))
        .and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(mode)))
        .unwrap_or_else(|error| panic!("cannot install {}: {error}", from.display()));
}

/// Those that were not used for longest go; one that a running host is over stays.
pub(super) fn remove_old(prefix: &str, kept: usize) {
    let entries = fs::read_dir(cache::directory()).into_iter().flatten();
    let is_layer = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(prefix)) && path.join("upper").is_dir()
    };
    let mut layers: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_layer)
        .collect();
    layers.sort_by_key(|path| fs::metadata(path).and_then(|it| it.modified()).ok());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for old in layers.iter().rev().skip(kept) {
        if !mounts.contains(&old.display().to_string()) {
            // It costs only space; the next run tries again.
            let _ = fs::remove_dir_all(old);
        }
    }
}

/// Notes that a layer is used.
pub(super) fn touch(directory: &Path) {
    // Otherwise it only goes sooner.
    let _ = fs::File::open(directory).and_then(|it| it.set_modified(SystemTime::now()));
}
