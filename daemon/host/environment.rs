//! The only reader of the environment, besides `main`: which programs this
//! daemon uses, found once on its PATH, and through which proxies; what sshd
//! says that was asked for; whether a terminal is to be given colours.
//!
//! In: PATH, the proxies' variables, and a few others. Out: absolute paths that stay the same
//! for the daemon's life.
//! Must not: search again later; a switch may change what PATH would find.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// What curl, git and Nix look at.
const PROXIES: [&str; 7] = [
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Those that are set. One with a password is not passed on: every user of the
/// host can read a unit's environment.
fn proxies_in(value: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let named = |name: &&str| Some(((*name).to_owned(), value(name)?));
    let may_be_shown = |(_, value): &(String, String)| !value.contains('@');
    let proxies = PROXIES.iter().filter_map(named);
    proxies.filter(may_be_shown).collect()
}

/// Programs that steps and the daemon run, by absolute path.
///
/// The paths are not resolved any further: Nix's programs are one binary that
/// looks at the name it was called by.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `nix`: evaluates and builds.
    pub nix: PathBuf,
    /// `nix-env`: sets profiles.
    pub nix_env: PathBuf,
    /// `nix-store`: registers GC roots.
    pub nix_store: PathBuf,
    /// `git`: brings commits into the evaluation's repository.
    pub git: PathBuf,
    /// `rm`: removes a damaged repository, as its owner.
    pub rm: PathBuf,
    /// `journalctl`: reads what a step said.
    pub journalctl: PathBuf,
    /// `systemctl`: for what has no place on the bus.
    pub systemctl: PathBuf,
    path_variable: String,
    proxies: Vec<(String, String)>,
}

impl Programs {
    /// Finds every program on PATH; the error names all that are missing.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the module that reads the environment"
    )]
    pub fn find() -> anyhow::Result<Self> {
        let programs = Self::find_in(&std::env::var("PATH").unwrap_or_default())?;
        Ok(Self {
            proxies: proxies_in(|name| std::env::var(name).ok()),
            ..programs
        })
    }

    /// The environment's proxies, for units that ask the network.
    pub fn proxies(&self) -> &[(String, String)] {
        &self.proxies
    }

    /// PATH as it is given to step units.
    pub fn path_variable(&self) -> &str {
        &self.path_variable
    }

    fn find_in(path_variable: &str) -> anyhow::Result<Self> {
        let mut missing = Vec::new();
        let mut find = |name| {
            lookup(path_variable, name).unwrap_or_else(|| {
                missing.push(name);
                PathBuf::new()
            })
        };
        let programs = Self {
            nix: find("nix"),
            nix_env: find("nix-env"),
            nix_store: find("nix-store"),
            git: find("git"),
            rm: find("rm"),
            journalctl: find("journalctl"),
            systemctl: find("systemctl"),
            path_variable: path_variable.to_owned(),
            proxies: Vec::new(),
        };
        anyhow::ensure!(
            missing.is_empty(),
            "programs are missing on PATH: {} (PATH is {path_variable:?})",
            missing.join(", ")
        );
        Ok(programs)
    }
}

/// The program that this process runs, by its real path.
///
/// # Errors
/// The kernel does not tell.
pub fn own_program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

/// Where systemd put this unit's credentials, if it has any.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads the environment"
)]
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// What was asked of sshd, where it runs another command instead.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads the environment"
)]
pub fn ssh_original_command() -> Option<std::ffi::OsString> {
    std::env::var_os("SSH_ORIGINAL_COMMAND")
}

/// Options for the ssh that Nix starts, in Nix's own form.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads the environment"
)]
pub fn nix_ssh_options() -> Option<String> {
    std::env::var("NIX_SSHOPTS").ok()
}

/// What the environment says about terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Nothing against colours.
    Coloured,
    /// There are to be none (<https://no-color.org>).
    Plain,
    /// It understands nothing but text.
    Dumb,
}

/// What the environment says about the terminal.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads the environment"
)]
pub fn terminal() -> Terminal {
    terminal_by(|name| std::env::var(name).ok())
}

fn terminal_by(value: impl Fn(&str) -> Option<String>) -> Terminal {
    if value("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        Terminal::Dumb
    } else if value("NO_COLOR").is_some_and(|it| !it.is_empty()) {
        Terminal::Plain
    } else {
        Terminal::Coloured
    }
}

/// The first executable file of that name in an absolute directory of PATH.
fn lookup(path_variable: &str, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path_variable)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn program(directory: &Path, name: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, "").expect("the directory is writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
            .expect("the file is ours");
        path
    }

    #[test]
    fn only_executables_in_absolute_directories_are_found() {
        let first = tempfile::tempdir().expect("a temporary directory");
        let second = tempfile::tempdir().expect("a temporary directory");
        program(first.path(), "git", 0o644);
        let good = program(second.path(), "git", 0o755);
        let path = format!(
            "relative:{}:{}",
            first.path().display(),
            second.path().display()
        );
        assert_eq!(lookup(&path, "git"), Some(good));
        assert_eq!(lookup(&path, "nix"), None);
    }

    #[test]
    fn a_proxy_with_a_password_is_not_passed_on() {
        let value = |name: &str| match name {
            "https_proxy" => Some("http://proxy:3128".to_owned()),
            "all_proxy" => Some("http://user:secret@proxy:3128".to_owned()),
            "no_proxy" => Some("localhost,.example.org".to_owned()),
            "PATH" => Some("/bin".to_owned()),
            _ => None,
        };
        let names: Vec<_> = proxies_in(value)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["https_proxy", "no_proxy"]);
    }

    #[test]
    fn colours_are_for_terminals_that_know_them_and_people_who_want_them() {
        for (term, no_color, expected) in [
            (Some("xterm"), None, Terminal::Coloured),
            (Some("xterm"), Some(""), Terminal::Coloured),
            (Some("xterm"), Some("1"), Terminal::Plain),
            (Some("dumb"), None, Terminal::Dumb),
            (None, None, Terminal::Dumb),
        ] {
            let value = |name: &str| if name == "TERM" { term } else { no_color };
            let found = terminal_by(|name| value(name).map(str::to_owned));
            assert_eq!(found, expected, "{term:?} {no_color:?}");
        }
    }

    #[test]
    fn the_error_names_everything_that_is_missing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        program(directory.path(), "git", 0o755);
        let path = directory.path().display().to_string();
        let error = Programs::find_in(&path).expect_err("nix is not there");
        let text = error.to_string();
        assert!(
            text.contains("nix, nix-env, nix-store, rm, journalctl"),
            "{text}"
        );
        assert!(!text.contains("git,"), "{text}");
    }
}
