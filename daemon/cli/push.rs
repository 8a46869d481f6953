//! `deploy-flake push`: a snapshot of the local flake for other hosts, or for this
//! one where it lies in its store already.
//!
//! In: arguments. Out: what is to be brought to each host, and the words for its
//! daemon; here, the call. Must not: wait, copy or call itself; nor let anything
//! through that the daemon does not know (`docs/decisions/0064`).

mod bare;
mod snapshot;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};

use self::snapshot::Snapshot;
use super::ask::{self, Asked, Heard, Waiting};
use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Cargo, Confirm, Destination, Errand, Repeats, Selection, Stays, Targets};
use super::output::{Output, print};
use super::status;
use crate::config::duration;
use crate::ipc::client::Call;
use crate::model::push::Push;
use crate::store;

/// The least and the longest `--copy-timeout`.
const COPY_TIMEOUT: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(6 * 60 * 60);

/// More attempts than anybody waits for.
const MOST_RETRIES: i64 = 100;

/// The arguments.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    targets: Targets,
    /// The flake that is pushed, as it is now; changes that are in no commit go
    /// with it, files that git does not know do not.
    #[arg(long, value_name = "FLAKE", default_value = ".", value_parser = hosts::reference)]
    flake: String,
    /// What the snapshot is called in status and history; else by its directory.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Only tests the system: profile and boot entry stay, and a reboot ends it.
    ///
    /// It is all that a host takes that was not told otherwise (`push.allow`).
    #[arg(long, help_heading = "What becomes of it")]
    test_only: bool,
    /// With skip, makes the system the boot entry without a test; the next reboot
    /// starts it.
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHAT",
        help_heading = "What becomes of it"
    )]
    test: Step,
    /// With skip, asks neither how healthy the host is, nor the system's own check
    /// before it is activated. It must not become worse all the same.
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHAT",
        help_heading = "What becomes of it"
    )]
    preflight_check: Step,
    /// The system's own check, in the place of the one that the host is set to: a
    /// path in the system, such as bin/check.
    #[arg(long, value_name = "PATH", help_heading = "What becomes of it")]
    pre_activate_script: Option<String>,
    /// There are none: a host builds as it builds commits.
    #[arg(long, value_name = "ARGUMENTS", hide = true, num_args = 0.., allow_hyphen_values = true)]
    build_cmdline: Option<Vec<String>>,

    /// How long one attempt to copy may take, 1s to 6h.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = copy_timeout,
          help_heading = "The way there")]
    copy_timeout: Duration,
    /// How often it is tried again, after growing pauses.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, help_heading = "The way there",
          value_parser = clap::value_parser!(u32).range(0..=MOST_RETRIES))]
    copy_retries: u32,

    /// Returns once the daemons have it.
    #[arg(long, conflicts_with_all = ["wait", "timeout"], help_heading = "Waiting")]
    no_wait: bool,
    /// Gives up after this, such as 30m, with the copy; a daemon that has it goes
    /// on.
    #[arg(long, value_name = "DURATION", value_parser = ask::timeout, help_heading = "Waiting")]
    timeout: Option<Duration>,
    /// Ends the confirm window of each host early: by a new ssh connection, if it
    /// works, or by asking you.
    #[arg(long, value_name = "BY", value_enum, num_args = 0..=1, require_equals = true,
          default_missing_value = "ssh", requires = "targets", conflicts_with = "no_wait",
          help_heading = "Waiting")]
    confirm: Option<Confirm>,
    /// For people, or one JSON object a line.
    #[arg(
        long,
        value_enum,
        default_value_t,
        alias = "instrumentation",
        help_heading = "Waiting"
    )]
    output: Output,

    /// A flake that lies in this host's store: it is deployed here.
    #[arg(long, value_name = "PATH", help_heading = "On the host itself",
          conflicts_with_all = ["targets", "flake", "copy_timeout", "copy_retries", "parallel", "ssh_option"])]
    source: Option<String>,
    /// Which of its configurations; else the one that the host is set to.
    #[arg(
        long,
        value_name = "NAME",
        requires = "source",
        conflicts_with = "targets",
        help_heading = "On the host itself"
    )]
    configuration: Option<String>,
    /// Waits until what comes of it is over; for other hosts that is so anyway.
    #[arg(long, help_heading = "Waiting")]
    wait: bool,
    /// The commit that it is made of.
    #[arg(
        long,
        value_name = "ID",
        requires = "source",
        conflicts_with = "targets",
        hide = true
    )]
    commit: Option<String>,
    /// It holds changes that are in no commit.
    #[arg(long, requires = "source", conflicts_with = "targets", hide = true)]
    dirty: bool,
    /// The daemon has it already: it is only waited for.
    #[arg(long, requires = "source", conflicts_with = "targets", hide = true)]
    again: bool,

    /// No subcommand was named: what is meant has to be beyond doubt.
    #[arg(skip)]
    pub(super) is_bare: bool,
}

/// Whether a step of the pipeline is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Step {
    /// It is, as for commits.
    #[default]
    Run,
    /// It is left out.
    Skip,
}

fn copy_timeout(text: &str) -> Result<Duration, String> {
    duration::parse(text, &COPY_TIMEOUT)
        .map_err(|_| "expected a duration from 1s to 6h, such as 90s or 10m".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.build_cmdline.is_some() {
        return Err(no_build_arguments());
    }
    match &arguments.source {
        Some(source) => here(arguments, source),
        None if arguments.targets.is_given() => there(arguments),
        None => Err(nowhere()),
    }
}

/// Has the daemon of this host deploy what lies in its store.
fn here(arguments: &Arguments, source: &str) -> Result<Exit, Failure> {
    let configuration = match &arguments.configuration {
        Some(name) => name.clone(),
        None => own_configuration()?,
    };
    let push =
        Push::parse(source.to_owned(), configuration, &arguments.options()).map_err(usage)?;
    let asked = Asked {
        waiting: match arguments.wait {
            true => Waiting::Over,
            false => Waiting::Told,
        },
        timeout: arguments.timeout,
        output: arguments.output,
        heard: match arguments.again {
            true => Heard::Before,
            false => Heard::Never,
        },
    };
    let push = Box::new(push);
    ask::run_here(&asked, &Call::Push { push }).map(undetailed)
}

/// The configuration that the daemon of this host follows.
fn own_configuration() -> Result<String, Failure> {
    match store::snapshot::read(Path::new(store::snapshot::FILE)) {
        Ok((snapshot, _)) => Ok(snapshot.host.configuration),
        Err(error) => Err(status::not_read(error)),
    }
}

/// Brings a snapshot to other hosts, and has their daemons deploy it.
fn there(arguments: &Arguments) -> Result<Exit, Failure> {
    if let Some(option) = arguments.targets.option_with_spaces() {
        return Err(spaces(option));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let snapshot = runtime.block_on(async {
        let interrupted = tokio::signal::ctrl_c();
        tokio::select! {
            biased;
            // Nothing was brought anywhere yet.
            _ = interrupted => Err(Failure::new(Exit::Interrupted, anyhow!("interrupted"))),
            taken = taken(arguments) => taken,
        }
    })?;
    drop(runtime);
    print(&snapshot.told(arguments.output))?;
    let errand = arguments.errand(&snapshot);
    let selection = arguments.selection(&snapshot);
    hosts::run(&selection, &errand, arguments.output).map(undetailed)
}

/// The snapshot, once everything is known to be meant and understood.
async fn taken(arguments: &Arguments) -> Result<Snapshot, Failure> {
    if arguments.is_bare {
        bare::check(arguments.targets.named(), &arguments.flake).await?;
    }
    let snapshot = snapshot::take(&arguments.flake, arguments.name.as_deref()).await?;
    let source = snapshot.source.to_string();
    // The host would refuse the same, after all of it was copied.
    let options = arguments.options_of(&snapshot);
    Push::parse(source, "any".to_owned(), &options).map_err(usage)?;
    are_there(arguments.targets.named(), &snapshot).await?;
    Ok(snapshot)
}

/// Whether the flake has the configurations that were named.
async fn are_there(hosts: &[Destination], snapshot: &Snapshot) -> Result<(), Failure> {
    let wanted: Vec<&str> = hosts
        .iter()
        .filter_map(Destination::configuration)
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    // What cannot be evaluated here may be there: each host finds out.
    let Ok(names) = hosts::names(&snapshot.url()).await else {
        return Ok(());
    };
    match wanted.iter().find(|name| !names.contains(**name)) {
        None => Ok(()),
        Some(missing) => Err(no_configuration(missing, &names)),
    }
}

/// The code as whoever has no use for "there already" gets it.
fn undetailed(exit: Exit) -> Exit {
    if exit == Exit::AlreadyThere {
        Exit::Success
    } else {
        exit
    }
}

impl Arguments {
    /// Whether hosts were named one by one, and nothing else says where to.
    pub(super) fn names_hosts_alone(&self) -> bool {
        self.source.is_none() && self.targets.are_named_alone()
    }

    /// The options for the bus, of a snapshot that was described in words.
    fn options(&self) -> Vec<String> {
        let claims = Snapshot::claims(self.commit.as_deref(), self.dirty, self.name.as_deref());
        [self.aims(), claims].concat()
    }

    /// The same for one that was taken here.
    fn options_of(&self, snapshot: &Snapshot) -> Vec<String> {
        let commit = snapshot.commit.as_deref();
        let claims = Snapshot::claims(commit, snapshot.dirty, snapshot.name.as_deref());
        [self.aims(), claims].concat()
    }

    fn aims(&self) -> Vec<String> {
        let mut options = Vec::new();
        options.extend(self.test_only.then(|| "test-only".to_owned()));
        if self.test == Step::Skip {
            options.push("skip-test".to_owned());
        }
        if self.preflight_check == Step::Skip {
            options.push("skip-preflight".to_owned());
        }
        let script = self.pre_activate_script.as_ref();
        options.extend(script.map(|path| format!("pre-activate-script={path}")));
        options
    }

    fn selection(&self, snapshot: &Snapshot) -> Selection {
        // What is pushed says which hosts there are, whatever becomes of its place.
        self.targets.of(snapshot.url())
    }

    /// What is asked of other hosts.
    fn errand(&self, snapshot: &Snapshot) -> Errand {
        let first = self.far_words(snapshot);
        let mut again = first.clone();
        again.push("--again".to_owned());
        Errand {
            first,
            again,
            // The far side finds out whether its host is busy with it already.
            repeats: Repeats::Freely,
            waits: !self.no_wait,
            expected: None,
            timeout: self.timeout,
            confirm: self.confirm,
            stays: Stays::There,
            cargo: Some(Cargo {
                source: snapshot.source.clone(),
                paths: snapshot.paths.clone(),
                called: snapshot.called(),
                timeout: self.copy_timeout,
                retries: self.copy_retries,
            }),
        }
    }

    /// The words for the far side; the configuration is each host's own.
    fn far_words(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut words = vec!["push".to_owned()];
        let mut with = |option: &str, value: &str| {
            words.extend([option.to_owned(), value.to_owned()]);
        };
        with("--source", snapshot.source.as_str());
        if let Some(commit) = &snapshot.commit {
            with("--commit", commit);
        }
        if let Some(timeout) = self.timeout {
            with("--timeout", &duration::show(timeout));
        }
        with("--output", Output::Json.as_str());
        // They may begin with a hyphen.
        let name = snapshot.name.as_ref().map(|name| format!("--name={name}"));
        let script = self.pre_activate_script.as_ref();
        let script = script.map(|path| format!("--pre-activate-script={path}"));
        let flags = [
            (snapshot.dirty, "--dirty"),
            (self.test_only, "--test-only"),
            (self.test == Step::Skip, "--test=skip"),
            (self.preflight_check == Step::Skip, "--preflight-check=skip"),
            (!self.no_wait, "--wait"),
        ];
        let flags = flags.into_iter().filter(|(is_said, _)| *is_said);
        words.extend(
            name.into_iter()
                .chain(script)
                .chain(flags.map(|(_, flag)| flag.to_owned())),
        );
        words
    }
}

fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Usage, error)
}

fn nowhere() -> Failure {
    usage(anyhow!("nothing says where to push to")).hint(
        "Name hosts, such as nixos://root@HOST/CONFIGURATION, or say --all or --on PATTERN; on the \
         host itself name a flake in its store, with --source.",
    )
}

fn no_configuration(name: &str, names: &BTreeSet<String>) -> Failure {
    let all = hosts::told(names);
    usage(anyhow!(
        "the flake has no configuration {name:?}; it has: {all}"
    ))
    .hint("Correct the name behind nixos://HOST/. Nothing was copied.")
}

fn no_build_arguments() -> Failure {
    usage(anyhow!(
        "a push has no arguments for the build: a host builds what is pushed as it builds commits"
    ))
    .hint(
        "Put what the build needs into the flake, or into the host's configuration: [evaluate] and \
         nix.settings.",
    )
}

fn spaces(option: &str) -> Failure {
    usage(anyhow!(
        "--ssh-option {option:?} has spaces, which nix takes for the end of an option"
    ))
    .hint("Put it into ~/.ssh/config.")
}

#[cfg(test)]
pub(super) mod tests;
