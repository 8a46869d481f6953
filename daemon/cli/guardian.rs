//! `deploy-flake guardian`: the process that finds the way back.
//!
//! In: orders. Out: an exit code; the rest is in the journal and in its record.
//! Must not: be started by anybody but systemd, as the daemon armed it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Command};

use super::exit::Exit;
use super::failure::Failure;
use crate::guardian::orders::{Orders, REBOOT_PATIENCE, parse_on_failure};
use crate::guardian::{self, Ending};
use crate::model::deployment::DeploymentId;
use crate::model::policy::OnFailedRollback;
use crate::model::revision::CommitId;
use crate::model::system::{StorePath, Toplevel};

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The deployment's id.
    #[arg(long, value_name = "ID")]
    deployment: String,
    /// The commit that asked for it.
    #[arg(long, value_name = "COMMIT", value_parser = commit)]
    commit: CommitId,
    /// The toplevel that is led back to.
    #[arg(long, value_name = "PATH", value_parser = toplevel)]
    previous: Toplevel,
    /// The toplevel that is led back from.
    #[arg(long, value_name = "PATH", value_parser = toplevel)]
    candidate: Toplevel,
    /// The previous system's systemctl.
    #[arg(long, value_name = "PATH")]
    systemctl: PathBuf,
    /// What follows when the running system cannot be brought back live.
    #[arg(long, value_name = "reboot|stay", value_parser = parse_on_failure)]
    on_failure: OnFailedRollback,
    /// What the host was before.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// Seconds between one kind of reboot and a harder one.
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = REBOOT_PATIENCE.as_secs())]
    reboot_patience: u64,
    /// What an older guardian than its daemon does not understand.
    #[arg(skip)]
    pub(super) unknown: Vec<String>,
}

impl Arguments {
    fn orders(&self) -> Orders {
        Orders {
            deployment: DeploymentId(self.deployment.clone()),
            commit: self.commit.clone(),
            previous: self.previous.clone(),
            candidate: self.candidate.clone(),
            systemctl: self.systemctl.clone(),
            on_failure: self.on_failure,
            plan: self.plan.clone(),
            reboot_patience: Duration::from_secs(self.reboot_patience),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    guardian::leave_out(&arguments.unknown);
    match guardian::run(&arguments.orders()) {
        Ending::Obeyed | Ending::Over | Ending::Came(_) => Ok(Exit::Success),
        Ending::StillHere => Err(Failure::new(
            Exit::Error,
            anyhow!("the host cannot be rebooted"),
        )),
    }
}

/// The words that are understood, and those that are not: unknown options with
/// their values, and what belongs to none. The program and the subcommand come
/// first, and every option of this one has a value.
pub(super) fn sorted(words: Vec<OsString>) -> (Vec<OsString>, Vec<String>) {
    let command = Arguments::augment_args(Command::new("guardian"));
    let is_known = |word: &str| {
        let name = word.split_once('=').map_or(word, |(name, _value)| name);
        let name = name.strip_prefix("--");
        name.is_some() && command.get_arguments().any(|it| it.get_long() == name)
    };
    let mut words = words.into_iter();
    let mut known: Vec<OsString> = words.by_ref().take(2).collect();
    let mut unknown = Vec::new();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        if !is_known(&text) {
            // The value of such an option follows as another such word.
            unknown.push(text);
            continue;
        }
        known.push(word);
        if !text.contains('=') {
            known.extend(words.next());
        }
    }
    (known, unknown)
}

fn commit(word: &str) -> Result<CommitId, String> {
    CommitId::try_from(word.to_owned()).map_err(|error| error.to_string())
}

fn toplevel(word: &str) -> Result<Toplevel, String> {
    let path = StorePath::try_from(word.to_owned());
    path.map(Toplevel::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::super::arguments::{Arguments as All, Command as Asked};
    use super::*;

    fn orders() -> Orders {
        let path = |name: &str| format!("/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-{name}");
        Orders {
            deployment: DeploymentId("0123456789abcdef".to_owned()),
            commit: commit(&"a".repeat(40)).expect("a commit"),
            previous: toplevel(&path("old")).expect("a store path"),
            candidate: toplevel(&path("new")).expect("a store path"),
            systemctl: PathBuf::from("/nix/store/x/bin/systemctl"),
            on_failure: OnFailedRollback::Stay,
            plan: PathBuf::from("/run/deploy-flake/private/plan.json"),
            reboot_patience: Duration::from_secs(2),
        }
    }

    #[test]
    fn orders_survive_the_command_line() {
        let orders = orders();
        let command = orders.command(Path::new("/nix/store/y/bin/deploy-flake"));
        let parsed = All::try_parse_from(&command).expect("our own words");
        let Asked::Guardian(arguments) = parsed.command else {
            panic!("another command: {parsed:?}");
        };
        assert_eq!(arguments.orders(), orders);
    }

    #[test]
    fn a_guardian_leaves_out_what_only_a_newer_one_knows() {
        let orders = orders();
        let command = orders.command(Path::new("/nix/store/y/bin/deploy-flake"));
        let end = command.len();
        for (at, added, unknown) in [
            (2, &["--later", "1"][..], &["--later", "1"][..]),
            (end, &["--later", "1"], &["--later", "1"]),
            (2, &["--later=1"], &["--later=1"]),
            (4, &["--later"], &["--later"]),
            (end, &["--later"], &["--later"]),
            (2, &["--later", "-1", "x"], &["--later", "-1", "x"]),
        ] {
            let mut words = command.clone();
            words.splice(at..at, added.iter().map(|&word| word.to_owned()));
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            let read = All::read(words).expect("enough is known");
            let Asked::Guardian(arguments) = read.command else {
                panic!("another command: {read:?}");
            };
            assert_eq!(arguments.orders(), orders, "{added:?} at {at}");
            assert_eq!(arguments.unknown, unknown, "{added:?} at {at}");
        }
    }

    #[test]
    fn a_guardian_needs_what_it_cannot_do_without_and_others_refuse_what_is_unknown() {
        for line in [
            "deploy-flake guardian --later 1",
            "deploy-flake status --later 1",
            "deploy-flake guardian",
        ] {
            let words = line.split(' ').map(OsString::from).collect();
            assert!(All::read(words).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_no_store_path_is_refused() {
        assert!(toplevel("/tmp/x").is_err());
        assert!(parse_on_failure("retry").is_err());
    }
}
