//! What is made once and kept: directories, the root file system, and the programs that go into the hosts.
//!
//! In: the environment of `cargo test`. Out: paths. Environment variables of the test bed are read here only:
//! `DEPLOY_FLAKE_CACHE` (where to keep things), `TESTBED_DEPLOY_FLAKE` (another daemon binary) and
//! `TESTBED_SWITCH_TO_CONFIGURATION` (another program in the place of the stand-in).

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::child;

/// Making the root file system takes a minute, on a slow mirror more; its own limit is twenty.
const ROOTFS_DEADLINE: Duration = Duration::from_secs(1300);
const BUILD_DEADLINE: Duration = Duration::from_secs(600);

/// Where the sources of the test bed are.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testbed")
}

fn target() -> PathBuf {
    // The test program is target/<profile>/deps/scenarios-<hash>.
    let program = env::current_exe().expect("a running program has a path");
    program
        .ancestors()
        .nth(3)
        .expect("cargo's layout of target/")
        .to_owned()
}

/// Where things are kept between runs.
pub(crate) fn directory() -> PathBuf {
    let root = env::var_os("DEPLOY_FLAKE_CACHE").map_or_else(target, PathBuf::from);
    let directory = root.join("testbed");
    fs::create_dir_all(&directory).expect("the cache can be written");
    fs::canonicalize(directory).expect("it has just been made")
}

/// Where a failed scenario leaves its journals.
pub(crate) fn logs() -> PathBuf {
    let directory = target().join("test-logs").join("scenarios");
    fs::create_dir_all(&directory).expect("target can be written");
    directory
}

/// The shared root file system; made on the first call if it is not there.
pub(crate) fn rootfs() -> &'static Path {
    static ROOTFS: OnceLock<PathBuf> = OnceLock::new();
    ROOTFS.get_or_init(|| {
        let mut script = Command::new(sources().join("rootfs"));
        script.env(
            "DEPLOY_FLAKE_CACHE",
            directory().parent().expect("it is below the root"),
        );
        child::run(&mut script, ROOTFS_DEADLINE).text().into()
    })
}

/// A program as it is put into the hosts: stripped, for it is hashed and copied into their Nix stores.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) hash: String,
}

/// The daemon under test.
pub(crate) fn daemon() -> &'static Program {
    static DAEMON: OnceLock<Program> = OnceLock::new();
    DAEMON.get_or_init(|| {
        let chosen = env::var_os("TESTBED_DEPLOY_FLAKE");
        stripped(Path::new(
            &chosen.unwrap_or_else(|| env!("CARGO_BIN_EXE_deploy-flake").into()),
        ))
    })
}

/// What stands in for NixOS's program.
pub(crate) fn switch_to_configuration() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let chosen = env::var_os("TESTBED_SWITCH_TO_CONFIGURATION");
        stripped(&chosen.map_or_else(build_stand_in, PathBuf::from))
    })
}

/// `cargo test --test scenarios` builds no examples, and an old one must not be tested.
fn build_stand_in() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--example",
            "switch-to-configuration",
        ])
        .arg("--target-dir")
        .arg(target());
    child::run(&mut cargo, BUILD_DEADLINE).must_succeed();
    target().join("debug/examples/switch-to-configuration")
}

fn stripped(program: &Path) -> Program {
    let hash = hash_file(program);
    let path = directory().join(format!("program-{hash}"));
    if !path.exists() {
        let part = directory().join(format!("program-{hash}.{}", std::process::id()));
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&part).arg(program);
        if child::run(&mut strip, child::DEADLINE).code != Some(0) {
            // A script in the place of a program cannot be stripped.
            fs::copy(program, &part).expect("the program can be read");
        }
        fs::rename(&part, &path).expect("the cache can be written");
    }
    Program { path, hash }
}

pub(crate) fn hash_file(path: &Path) -> String {
    let content =
        fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    hash(&[&content])
}

/// A short name for a content; parts are kept apart by their lengths.
pub(crate) fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    hasher
        .finalize()
        .iter()
        .take(10)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Keeps other threads and other runs out until it is dropped.
pub(crate) fn lock(name: &str) -> File {
    let file = File::create(directory().join(format!("{name}.lock"))).expect("a writable cache");
    file.lock().expect("a lock on a local file");
    file
}
