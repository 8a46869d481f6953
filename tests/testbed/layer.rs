//! The layer between the shared root file system and a host: everything of the project, and the first generation
//! built, in the profile and on `/boot`, so that a host boots into it in a second.
//!
//! In: a generation and the programs under test. Out: a directory to put an overlay over, kept under a hash of all
//! that went in. It is made in a container without a network, by `prepare`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::{self, Program};
use super::cgroup;
use super::child;
use super::container::mount_overlay;
use super::generation::Generation;
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

/// Where `prepare` finds the first generation's flake and leaves what it found out.
const FIRST: &str = "opt/mini/first";

/// What systemd runs at each boot and reload to find units; only that of `/etc/fstab` would find any here.
const GENERATORS: &str = "lib/systemd/system-generators";
const GENERATOR: &str = "systemd-fstab-generator";

const DEADLINE: Duration = Duration::from_secs(180);

/// More layers than this are not worth their space; a build of one takes seconds.
const KEPT_LAYERS: usize = 32;

/// A made layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) directory: PathBuf,
}

impl Layer {
    /// The layer of a first generation; made if it is not there.
    pub(crate) fn of(generation: &Generation) -> Self {
        let host = generation.to_json();
        let name = format!("first-{}", key(&host));
        let directory = cache::directory().join(&name);
        let _one_maker = cache::lock("first");
        if !directory.exists() {
            remove_old_layers();
            make(&directory, &host);
        }
        Self { directory }
    }

    /// The layers for an overlay, the uppermost first.
    pub(crate) fn stack(&self) -> [PathBuf; 2] {
        [self.directory.join("upper"), cache::rootfs().to_owned()]
    }

    /// Every file of a repository that holds one host, by path.
    pub(crate) fn flake(&self, host: &str) -> Vec<(String, String)> {
        let lock = self.directory.join("upper").join(FIRST).join("flake.lock");
        let lock = fs::read_to_string(lock).expect("prepare has made it");
        flake_sources()
            .chain([
                ("flake.lock".into(), lock),
                ("hosts/host.json".into(), host.into()),
            ])
            .collect()
    }
}

fn flake_sources() -> impl Iterator<Item = (String, String)> {
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

/// A hash over all that goes in.
fn key(host: &str) -> String {
    let mut parts: Vec<String> = TOOLS.into_iter().map(source).collect();
    parts.extend(flake_sources().map(|(_, text)| text));
    parts.push(cache::rootfs().display().to_string());
    parts.push(cache::daemon().hash.clone());
    parts.push(cache::switch_to_configuration().hash.clone());
    parts.push(cache::hash_file(&policy()));
    parts.push(source("lighttpd.conf"));
    parts.push(GENERATOR.to_owned());
    parts.push(host.to_owned());
    let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
    cache::hash(&parts)
}

fn make(directory: &Path, host: &str) {
    let part = directory.with_extension("part");
    unmount_below(&part);
    // It is there only if an earlier run was killed.
    let _ = fs::remove_dir_all(&part);
    for name in ["upper", "work", "root"] {
        fs::create_dir_all(part.join(name)).expect("the cache can be written");
    }
    mount_overlay(&[cache::rootfs().display().to_string()], &part);
    fill(&part.join("root"), host);
    let group = format!("bed-{}-prepare", std::process::id());
    let mut prepare = cgroup::nspawn_in(&group);
    prepare
        .args(["--as-pid2", "--private-network"])
        .arg("--directory")
        .arg(part.join("root"))
        .arg("/opt/mini/prepare");
    let output = child::run(&mut prepare, DEADLINE);
    cgroup::remove(&group);
    unmount_below(&part);
    output.must_succeed();
    fs::rename(&part, directory).expect("the cache can be written");
}

/// Puts the project's things where `prepare` and the hosts expect them.
fn fill(root: &Path, host: &str) {
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
    for (name, text) in flake_sources().chain([("hosts/host.json".into(), host.into())]) {
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

/// The oldest go; one that a running host is over keeps its files until it ends.
fn remove_old_layers() {
    let entries = fs::read_dir(cache::directory())
        .into_iter()
        .flatten()
        .flatten();
    let is_layer = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.starts_with("first-") && path.join("upper").is_dir()
    };
    let mut layers: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_layer).collect();
    layers.sort_by_key(|path| {
        fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for old in layers.iter().rev().skip(KEPT_LAYERS) {
        if !mounts.contains(&old.display().to_string()) {
            // It costs only space; the next run tries again.
            let _ = fs::remove_dir_all(old);
        }
    }
}
