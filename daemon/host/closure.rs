//! What a system's closure holds, asked of Nix and read from the system.
//!
//! In: a toplevel. Out: its paths with their sizes, its kernel, its units. Must
//! not: change anything, or compare; `model::closure` does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::command::{self, Command, CommandError};
use crate::model::closure::Closure;
use crate::model::package::Package;
use crate::model::system::{StorePath, Toplevel};

/// How long Nix may take for a closure of a few thousand paths on a busy host.
const DEADLINE: Duration = Duration::from_secs(60);

/// Through the Nix daemon, whoever asks and whatever their home is.
const ENVIRONMENT: [(&str, &str); 2] = [("NIX_REMOTE", "daemon"), ("HOME", "/homeless-shelter")];

/// How much of a unit's file is read, in bytes.
const UNIT_LIMIT: u64 = 1024 * 1024;

/// Where a toplevel has its units.
const UNITS: &str = "etc/systemd/system";

/// What systemd takes for a unit file.
const SUFFIXES: [&str; 9] = [
    "service",
    "socket",
    "timer",
    "target",
    "mount",
    "automount",
    "path",
    "slice",
    "swap",
];

/// Why a closure is not known.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    /// It is not in the store any more.
    #[error("{0} is not in the store any more")]
    Gone(Toplevel),
    /// Nix could not be asked.
    #[error("ask Nix for the closure of {toplevel}")]
    NotAsked {
        /// Of which system.
        toplevel: Toplevel,
        /// Why.
        source: CommandError,
    },
    /// Nix does not tell.
    #[error("Nix does not tell the closure of {toplevel}: {stderr}")]
    NotTold {
        /// Of which system.
        toplevel: Toplevel,
        /// The end of what it said.
        stderr: String,
    },
    /// Nix tells what is not understood.
    #[error("expected a store path and a size of Nix, found {0:?}")]
    NotUnderstood(String),
}

/// Asks Nix. `nix`: the program, by its path or by a name on PATH.
pub async fn read(nix: &Path, toplevel: &Toplevel) -> Result<Closure, ClosureError> {
    if !toplevel.path().as_path().exists() {
        return Err(ClosureError::Gone(toplevel.clone()));
    }
    let mut command = Command::new(nix, arguments(toplevel));
    command.environment = ENVIRONMENT
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let output = command::run(&command, DEADLINE).await;
    let output = output.map_err(|source| ClosureError::NotAsked {
        toplevel: toplevel.clone(),
        source,
    })?;
    if !output.status.success() {
        return Err(ClosureError::NotTold {
            toplevel: toplevel.clone(),
            stderr: output.stderr_tail,
        });
    }
    let root = toplevel.path().as_path().to_owned();
    let files = move || (kernel(&root), units(&root.join(UNITS)));
    let files = tokio::task::spawn_blocking(files).await;
    let (kernel, units) = files.expect("reading files does not panic, and nobody cancels it");
    Ok(Closure {
        toplevel: toplevel.clone(),
        paths: paths(&String::from_utf8_lossy(&output.stdout))?,
        kernel,
        units,
    })
}

fn arguments(toplevel: &Toplevel) -> Vec<String> {
    [
        "--extra-experimental-features",
        "nix-command",
        "path-info",
        "--recursive",
        "--size",
        toplevel.path().as_str(),
    ]
    .map(str::to_owned)
    .into()
}

/// One path and its size a line.
fn paths(text: &str) -> Result<BTreeMap<StorePath, u64>, ClosureError> {
    let path = |line: &str| {
        let (path, size) = line.trim().split_once(char::is_whitespace)?;
        let path = StorePath::try_from(path.to_owned()).ok()?;
        Some((path, size.trim().parse().ok()?))
    };
    let not_understood = |line: &str| {
        let found = line.chars().take(200).collect();
        ClosureError::NotUnderstood(found)
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| path(line).ok_or_else(|| not_understood(line)))
        .collect()
}

/// The package that the kernel is of; where it lies in the toplevel itself, what
/// tells it from another.
fn kernel(toplevel: &Path) -> Option<String> {
    let file = fs::canonicalize(toplevel.join("kernel")).ok()?;
    let store = file.components().take(4).collect::<std::path::PathBuf>();
    let path = StorePath::try_from(store.display().to_string());
    match path {
        Ok(path) if path.as_path() != toplevel => {
            let package = Package::of(&path);
            let version = package.version.unwrap_or_default();
            Some(format!("{} {version}", package.name).trim().to_owned())
        }
        Ok(_) | Err(_) => content(&file).map(|content| content[..12].to_owned()),
    }
}

/// Every unit with what tells its file and its drop-ins from others. One that
/// cannot be read is left out.
fn units(directory: &Path) -> BTreeMap<String, String> {
    let names = names(directory);
    let is_unit = |name: &String| {
        let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
        suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix))
    };
    let unit = |name: String| {
        let mut all = content(&directory.join(&name))?;
        let drop_ins = directory.join(format!("{name}.d"));
        for drop_in in self::names(&drop_ins) {
            all.push_str(&content(&drop_ins.join(&drop_in)).unwrap_or_default());
        }
        Some((name, all))
    };
    names.into_iter().filter(is_unit).filter_map(unit).collect()
}

/// What is in a directory, in order; nothing, if there is none.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The SHA-256 of a regular file, in hexadecimal digits; of a masked unit, that
/// of nothing.
fn content(file: &Path) -> Option<String> {
    let metadata = fs::metadata(file)
        .ok()
        .filter(|metadata| !metadata.is_dir())?;
    let mut bytes = Vec::new();
    // Whoever opens a pipe waits for somebody at its other end.
    if metadata.is_file() {
        let opened = File::open(file).ok()?;
        opened.take(UNIT_LIMIT).read_to_end(&mut bytes).ok()?;
    }
    let digest = Sha256::digest(&bytes);
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nix_tells_is_read_or_refused() {
        let one = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-hello-2.12";
        let told = format!("{one}  \t    1234\n\n{one}-bin 0\n");
        let read = paths(&told).expect("it is well formed");
        let sizes: Vec<u64> = read.into_values().collect();
        assert_eq!(sizes, [1234, 0]);
        for bad in [one, "/nix/store/x 1", &format!("{one} many"), "warning: x"] {
            assert!(paths(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn units_are_told_apart_by_what_stands_in_them_and_their_drop_ins() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("ours");
            fs::write(path, text).expect("ours");
        };
        write("a.service", "[Service]\n");
        write("b.service", "[Service]\n");
        write("system.conf", "no unit");
        write("multi-user.target.wants/a.service", "");
        std::os::unix::fs::symlink("/dev/null", directory.path().join("m.timer")).expect("ours");
        let before = units(directory.path());
        let names: Vec<&String> = before.keys().collect();
        assert_eq!(names, ["a.service", "b.service", "m.timer"]);
        assert_eq!(before["a.service"], before["b.service"]);
        write("a.service.d/overrides.conf", "[Service]\nNice=1\n");
        let after = units(directory.path());
        assert_ne!(before["a.service"], after["a.service"]);
        assert_eq!(before["b.service"], after["b.service"]);
        assert!(units(Path::new("/nowhere/at/all")).is_empty());
    }

    #[test]
    fn a_kernel_in_the_toplevel_itself_is_told_by_its_content() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(kernel(directory.path()), None);
        fs::write(directory.path().join("kernel"), "linux-1").expect("ours");
        let one = kernel(directory.path());
        fs::write(directory.path().join("kernel"), "linux-2").expect("ours");
        assert_ne!(one, kernel(directory.path()));
        assert_eq!(one.map(|one| one.len()), Some(12));
    }

    #[tokio::test]
    async fn a_system_that_is_gone_is_told_by_its_path() {
        let path = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-gone".to_owned();
        let toplevel = Toplevel::new(path.try_into().expect("it is a store path"));
        let error = read(Path::new("nix"), &toplevel)
            .await
            .expect_err("it is gone");
        assert!(matches!(error, ClosureError::Gone(_)), "{error}");
    }
}
