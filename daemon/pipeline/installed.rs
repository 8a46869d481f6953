//! A closure to what it would run: this daemon, and ssh servers.
//!
//! In: the root directory and a toplevel. Out: programs, files and names of
//! units. Must not: run anything, or look at what is active.
//!
//! Only what stands in the closure counts. Links are followed below the root
//! directory, as they would be on the host.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::observe::below;
use crate::config::DEFAULT_FILE;
use crate::config::lenient::{Gist, gist};
use crate::host::unit_file::{command_words, values};
use crate::model::system::Toplevel;

/// This daemon's unit.
pub(crate) const DAEMON_UNIT: &str = "deploy-flake.service";

/// What an ssh server may be called: NixOS's names, and those of Debian.
pub(crate) const SSH_UNITS: [&str; 4] =
    ["sshd.service", "sshd.socket", "ssh.service", "ssh.socket"];

/// Where sshd reads its configuration unless its command line says otherwise.
const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";

/// Where a closure has its units.
const UNITS: &str = "etc/systemd/system";

/// The longest file that is read, in bytes: real ones have a few thousand.
const FILE_LIMIT: u64 = 1024 * 1024;

/// How many links are followed in one path; the kernel has the same limit.
const LINK_LIMIT: u32 = 40;

/// How the directories end that hold what starts with another unit.
const WANTING: [&str; 2] = ["wants", "requires"];

/// The daemon that a closure would run. Both paths are as the host sees them:
/// absolute, not below the root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Its program.
    pub(crate) program: PathBuf,
    /// Its configuration: in the closure, if it is one of `/etc`.
    pub(crate) config: PathBuf,
    /// Whether anything starts it.
    pub(crate) is_wanted: bool,
}

/// Reads which daemon the closure would run. None: it has no such unit, the
/// unit is masked, or it starts no program with an absolute path.
pub(crate) fn installed(root: &Path, toplevel: &Toplevel) -> Option<Installed> {
    let texts = unit_texts(root, toplevel, DAEMON_UNIT)?;
    let texts = texts.iter().map(String::as_str);
    let commands = values(texts, "Service", "ExecStart");
    let mut words = command_words(commands.first()?).into_iter();
    let program = PathBuf::from(words.next()?);
    let config = config_argument(words).unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    program.is_absolute().then(|| Installed {
        program,
        config: in_closure(toplevel, &config),
        is_wanted: is_wanted(root, toplevel, DAEMON_UNIT),
    })
}

/// Reads what the daemon's configuration says, as far as it matters here; or why
/// it cannot be read.
pub(crate) fn configuration(root: &Path, daemon: &Installed) -> Result<Gist, String> {
    let path = &daemon.config;
    let real = real_path(root, path).ok_or_else(|| format!("{} is missing", path.display()))?;
    let text = read_short(root, &real).map_err(|error| format!("{}: {error}", path.display()))?;
    gist(&text).map_err(|error| format!("{} is not TOML: {error}", path.display()))
}

/// Which of the known ssh servers' units the closure has.
pub(crate) fn ssh_server_units(root: &Path, toplevel: &Toplevel) -> BTreeSet<String> {
    let has = |unit: &&str| unit_texts(root, toplevel, unit).is_some();
    SSH_UNITS
        .into_iter()
        .filter(has)
        .map(str::to_owned)
        .collect()
}

/// Where the ssh servers of a closure should answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SshServers {
    /// Their configuration files, as the host sees them, there or not.
    pub(crate) configs: BTreeSet<PathBuf>,
    /// Where systemd listens for them.
    pub(crate) streams: Vec<String>,
}

/// Reads where the closure's ssh servers should answer: those that something
/// starts or, if nothing does, all that it has.
pub(crate) fn ssh_servers(root: &Path, toplevel: &Toplevel) -> SshServers {
    let all = ssh_server_units(root, toplevel);
    let is_wanted = |unit: &&String| is_wanted(root, toplevel, unit);
    let wanted: Vec<&String> = all.iter().filter(is_wanted).collect();
    let counted = if wanted.is_empty() {
        all.iter().collect()
    } else {
        wanted
    };
    let mut servers = SshServers::default();
    for unit in counted {
        let texts = unit_texts(root, toplevel, unit).unwrap_or_default();
        let texts = texts.iter().map(String::as_str);
        if unit.ends_with(".socket") {
            let streams = values(texts, "Socket", "ListenStream");
            servers.streams.extend(streams);
        } else {
            let commands = values(texts, "Service", "ExecStart");
            let file = commands.first().and_then(|command| sshd_config(command));
            let file = file.unwrap_or_else(|| PathBuf::from(SSHD_CONFIG));
            servers.configs.insert(in_closure(toplevel, &file));
        }
    }
    servers
}

/// The value of sshd's `-f`.
fn sshd_config(command: &str) -> Option<PathBuf> {
    let words = command_words(command);
    let option = words.iter().position(|word| word == "-f")?;
    words.get(option + 1).map(PathBuf::from)
}

/// Where the closure's own mount units mount something.
pub(crate) fn mount_points(root: &Path, toplevel: &Toplevel) -> Vec<String> {
    let Some(units) = units(root, toplevel) else {
        return Vec::new();
    };
    let entries = fs::read_dir(below(root, &units)).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| name.ends_with(".mount"))
        .filter_map(|unit| {
            let texts = unit_texts(root, toplevel, &unit)?;
            values(texts.iter().map(String::as_str), "Mount", "Where").pop()
        })
        .collect()
}

/// Whether anything in the closure starts the unit.
pub(crate) fn is_wanted(root: &Path, toplevel: &Toplevel, unit: &str) -> bool {
    let Some(units) = units(root, toplevel) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(below(root, &units)) else {
        return false;
    };
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    names.any(|name| {
        let extension = Path::new(&name).extension().and_then(|it| it.to_str());
        let is_wanting = extension.is_some_and(|it| WANTING.contains(&it));
        // The directory may itself be a link; what is in it, need not exist:
        // the unit does, or nobody would ask.
        is_wanting
            && real_path(root, &units.join(&name))
                .is_some_and(|wanting| below(root, &wanting).join(unit).is_symlink())
    })
}

/// The file of the closure that the host would have at a path below `/etc`;
/// any other path as it is.
pub(crate) fn in_closure(toplevel: &Toplevel, path: &Path) -> PathBuf {
    match path.strip_prefix("/etc") {
        Ok(relative) => toplevel.path().as_path().join("etc").join(relative),
        Err(_elsewhere) => path.to_owned(),
    }
}

/// The path without links, as the host sees it; None if it leads nowhere.
pub(crate) fn real_path(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut left: VecDeque<OsString> = parts(path);
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&part);
        let metadata = fs::symlink_metadata(below(root, &next)).ok()?;
        if !metadata.is_symlink() {
            real = next;
            continue;
        }
        links += 1;
        let target = fs::read_link(below(root, &next)).ok()?;
        if links > LINK_LIMIT {
            return None;
        }
        if target.is_absolute() {
            real = PathBuf::from("/");
        }
        let mut parts = parts(&target);
        parts.append(&mut left);
        left = parts;
    }
    Some(real)
}

/// The names in a path, and `..`.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

fn units(root: &Path, toplevel: &Toplevel) -> Option<PathBuf> {
    real_path(root, Path::new(&toplevel.path().join(UNITS)))
}

/// The unit's file and its drop-ins; None if the closure has none of that
/// name, or a masked one.
fn unit_texts(root: &Path, toplevel: &Toplevel, unit: &str) -> Option<Vec<String>> {
    let units = units(root, toplevel)?;
    let text = read(root, &units.join(unit)).filter(|text| !text.is_empty())?;
    let mut texts = vec![text];
    if let Some(directory) = real_path(root, &units.join(format!("{unit}.d"))) {
        texts.extend(drop_ins(root, &directory));
    }
    Some(texts)
}

/// The texts of a directory of drop-ins, in systemd's order: by name.
fn drop_ins(root: &Path, directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(below(root, directory)) else {
        return Vec::new();
    };
    let mut names: Vec<OsString> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| Path::new(name).extension().is_some_and(|it| it == "conf"))
        .collect();
    names.sort();
    names
        .into_iter()
        .filter_map(|name| read(root, &directory.join(name)))
        .collect()
}

/// A unit's file. A masked one is a link to `/dev/null`: no regular file, or
/// an empty one. What cannot be read is no unit, as it is none to systemd.
fn read(root: &Path, path: &Path) -> Option<String> {
    read_short(root, &real_path(root, path)?).ok()
}

/// The text of a regular file of at most 1 MiB, at a path without links.
///
/// A closure may name anything: a FIFO would never be opened, `/dev/zero`
/// never come to an end, and the daemon hang on either.
pub(crate) fn read_short(root: &Path, real: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(open(below(root, real), flags, Mode::empty())?);
    let refused = || io::Error::other("no regular file of at most 1 MiB");
    if !file.metadata()?.is_file() {
        return Err(refused());
    }
    let mut text = String::new();
    let mut limited = file.take(FILE_LIMIT + 1);
    // One byte more than allowed tells a long file from one that just fits.
    match limited.read_to_string(&mut text)? {
        length if length as u64 <= FILE_LIMIT => Ok(text),
        _longer => Err(refused()),
    }
}

/// The value of `--config`, in either form.
fn config_argument(words: impl Iterator<Item = String>) -> Option<PathBuf> {
    let mut words = words;
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(value) = word.strip_prefix("--config=") {
            return Some(PathBuf::from(value));
        }
    }
    None
}

#[cfg(test)]
mod tests;
