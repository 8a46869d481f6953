//! The same command on many hosts, through the user's own ssh.
//!
//! In: destinations, and what to ask of each. Out: every host's story while it
//! happens, a summary of what is not fine, one exit code for all. Must not: know
//! what it is that is asked; any subcommand that speaks in events can be sent.
//!
//! ```text
//! words of the command line ─▶ destination   flake: the names of configurations
//!    ssh, started by connection ─▶ far: lines become events ─▶ story: what they mean
//!    ─▶ board or plain: what is shown     fate: how it ended, for each and for all
//! ```
//!
//! Nothing in here needs Linux: it is what runs on an operator's own machine.

mod destination;
mod flake;
mod ssh;
mod far;
mod fate;
mod errand;
mod stderr;
mod story;
mod confirming;
mod connection;
mod copying;
mod versions;
mod words;
mod named;
mod plain;
mod board;
mod show;
mod overview;
mod pages;
mod logs;
mod watch;

pub(super) use self::destination::Destination;
pub(super) use self::flake::{names, reference, told};
pub(super) use self::logs::follow as logs;
pub(super) use self::pages::{Question, ask as pages};
pub(super) use self::watch::run as watch;
pub(super) use errand::{Cargo, Confirm, Errand, Repeats, Stays};

use std::num::NonZeroU16;

use anyhow::{Context as _, anyhow};
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use tokio::sync::mpsc;

use self::confirming::Desk;
use self::connection::{Teller, Way};
use self::fate::{Ending, Fate};
use self::flake::{Pattern, Wanted};
use self::show::Show;
use self::ssh::Prompts;
use self::story::News;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use crate::host::terminal;
use crate::model::text::{LINE_LIMIT, one_line};

/// How many news may wait to be shown: enough that no host waits for another.
const NEWS: usize = 256;

/// What `status` ends with that comes with a state in which nothing is known.
const NEVER_RUN: i32 = 7;

/// Which hosts, and how they are reached.
#[derive(Clone, Debug, Args)]
pub(super) struct Selection {
    /// The hosts to do it on, through your own ssh; here if none is given.
    ///
    /// As ssh takes them (`host`, `user@host`), or as
    /// `nixos://[user@]host[:port][/configuration]`: then it is an error if the
    /// host runs another configuration.
    #[arg(value_name = "HOST", value_parser = destination::parse)]
    hosts: Vec<Destination>,
    #[command(flatten)]
    reach: Reach,
}

/// Which hosts of the local flake, and how all of them are reached.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("hosts-of-flake").args(["all", "on"]).multiple(true))]
pub(super) struct Reach {
    /// All hosts that the local flake has configurations for, by their names.
    #[arg(long)]
    all: bool,
    /// Those whose configuration's name fits, such as 'web-*'; may be repeated.
    #[arg(long, value_name = "PATTERN", value_parser = flake::pattern)]
    on: Vec<Pattern>,
    /// Where the local flake is.
    #[arg(long, value_name = "FLAKE", default_value = ".", requires = "hosts-of-flake",
          value_parser = flake::reference)]
    flake: String,
    /// How many hosts at a time.
    #[arg(long, value_name = "NUMBER", default_value = "32")]
    parallel: NonZeroU16,
    /// An option for ssh, such as ConnectTimeout=60; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = ssh::option)]
    ssh_option: Vec<String>,
}

/// Which hosts something is pushed to: the same, with words of their own.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("targets").args(["hosts", "all", "on"]).multiple(true))]
pub(super) struct Targets {
    /// The hosts to push to, through your own ssh.
    ///
    /// As ssh takes them (`host`, `user@host`), or as
    /// `nixos://[user@]host[:port][/configuration]`: that configuration of the flake
    /// is deployed, else the one that the host is set to. Pushing is for root.
    #[arg(value_name = "HOST", value_parser = destination::parse)]
    hosts: Vec<Destination>,
    /// All hosts that the flake has configurations for, by their names.
    #[arg(long)]
    all: bool,
    /// Those whose configuration's name fits, such as 'web-*'; may be repeated.
    #[arg(long, value_name = "PATTERN", value_parser = flake::pattern)]
    on: Vec<Pattern>,
    /// How many hosts at a time.
    #[arg(long, value_name = "NUMBER", default_value = "32")]
    parallel: NonZeroU16,
    /// An option for ssh, such as ConnectTimeout=60; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = ssh::option)]
    ssh_option: Vec<String>,
}

impl Targets {
    /// Whether there are any.
    pub(super) fn is_given(&self) -> bool {
        !self.hosts.is_empty() || self.all || !self.on.is_empty()
    }

    /// Whether hosts were named, and none was left to the flake.
    pub(super) fn are_named_alone(&self) -> bool {
        !self.hosts.is_empty() && !self.all && self.on.is_empty()
    }

    /// An option for ssh that cannot be handed to nix.
    pub(super) fn option_with_spaces(&self) -> Option<&str> {
        let has = |option: &&String| {
            option.chars().filter(|it| it.is_whitespace()).count() > 1 || has_space(option)
        };
        self.ssh_option.iter().find(has).map(String::as_str)
    }

    /// Those that were named.
    pub(super) fn named(&self) -> &[Destination] {
        &self.hosts
    }

    /// All of them, where those of the flake are looked for in this one.
    pub(super) fn of(&self, flake: String) -> Selection {
        Selection {
            hosts: self.hosts.clone(),
            reach: Reach {
                all: self.all,
                on: self.on.clone(),
                flake,
                parallel: self.parallel,
                ssh_option: self.ssh_option.clone(),
            },
        }
    }
}

impl Selection {
    /// These hosts, and those of the flake. For commands whose other words stand
    /// in front of the hosts and may be left out.
    pub(super) fn new(hosts: &[String], reach: &Reach) -> Result<Self, Failure> {
        let parsed = |text: &String| {
            destination::parse(text).map_err(|why| {
                let text = one_line(text, LINE_LIMIT);
                let error = anyhow!("{text:?} is neither an ID nor a host: {why}");
                Failure::new(Exit::Usage, error)
            })
        };
        Ok(Self {
            hosts: hosts.iter().map(parsed).collect::<Result<_, _>>()?,
            reach: reach.clone(),
        })
    }

    /// Whether it is for other hosts. A machine on which no daemon runs has
    /// nothing of its own to tell: there everything is.
    pub(super) fn is_given(&self) -> bool {
        cfg!(not(target_os = "linux")) || self.is_named()
    }

    fn is_named(&self) -> bool {
        !self.hosts.is_empty() || self.reach.all || !self.reach.on.is_empty()
    }

    /// How many hosts are asked at a time.
    fn parallel(&self) -> usize {
        self.reach.parallel.get().into()
    }

    /// Every host, once.
    async fn destinations(&self) -> Result<Vec<Destination>, Failure> {
        if !self.is_named() {
            return Err(nobody_here());
        }
        let mut all = self.hosts.clone();
        let wanted = match (self.reach.all, &self.reach.on[..]) {
            (true, _) => Some(Wanted::All),
            (false, []) => None,
            (false, patterns) => Some(Wanted::Some(patterns)),
        };
        if let Some(wanted) = wanted {
            all.extend(flake::hosts(&self.reach.flake, &wanted).await?);
        }
        let mut labels = std::collections::BTreeSet::new();
        all.retain(|host| labels.insert(host.label().to_owned()));
        Ok(all)
    }

    fn way(&self, hosts: &[Destination]) -> Way {
        let prompts = match hosts {
            [_] => Prompts::Allowed,
            _ => Prompts::Forbidden,
        };
        Way {
            options: self.reach.ssh_option.clone(),
            prompts,
        }
    }
}

/// Whether there is a space behind the `=`.
fn has_space(option: &str) -> bool {
    let value = option.split_once('=').map(|(_, value)| value);
    value.is_some_and(|value| value.contains(char::is_whitespace))
}

/// Sends the errand to every host, and tells how it goes.
pub(super) fn run(selection: &Selection, errand: &Errand, output: Output) -> Result<Exit, Failure> {
    runtime()?.block_on(async {
        let hosts = selection.destinations().await?;
        let labels = hosts.iter().map(|it| it.label().to_owned()).collect();
        let mut show = Show::new(labels, output);
        if errand.confirm == Some(Confirm::Ask) && !(show.can_ask() && terminal::is_read()) {
            return Err(nobody_to_ask());
        }
        let interrupted = tokio::signal::ctrl_c();
        tokio::select! {
            biased;
            // ssh has ended by the same key; nothing else is lost.
            _ = interrupted => {
                show.leave()?;
                Err(stopped())
            }
            endings = send(&hosts, selection, errand, &mut show) => {
                let exit = fate::exit(endings?);
                show.summary(exit)?;
                Ok(exit)
            }
        }
    })
}

/// Asks every host for its state.
pub(super) fn status(selection: &Selection, output: Output) -> Result<Exit, Failure> {
    runtime()?.block_on(async {
        let hosts = selection.destinations().await?;
        let way = selection.way(&hosts);
        let errand = Errand::answer(&["status", "--output", "json"]);
        let asked = stream::iter(&hosts).map(|host| {
            let (way, errand) = (&way, &errand);
            async move {
                (
                    host,
                    connection::ask(host, errand, way, &[0, NEVER_RUN]).await,
                )
            }
        });
        let mut answers = asked.buffered(selection.parallel());
        let mut overview = overview::Overview::new(&hosts, output);
        while let Some((host, answer)) = answers.next().await {
            overview.take(host, answer)?;
        }
        overview.end()
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    Ok(runtime.context("start the runtime")?)
}

fn stopped() -> Failure {
    Failure::new(Exit::Interrupted, anyhow!("interrupted"))
        .hint("The daemons go on; `deploy-flake status HOST...` tells how far they are.")
}

fn nobody_here() -> Failure {
    let error = anyhow!(
        "no host is named, and this machine is none: deploy-flake's daemon runs on NixOS only"
    );
    Failure::new(Exit::Usage, error).hint(
        "Name the hosts as ssh takes them, or say --all or --on PATTERN for those of the local \
         flake.",
    )
}

fn nobody_to_ask() -> Failure {
    let error = anyhow!("--confirm=ask asks on a terminal, and there is none");
    Failure::new(Exit::Usage, error)
        .hint("Say --confirm for a new ssh connection to confirm, or run it on a terminal.")
}

/// Follows all hosts, so many at a time, and shows what comes.
async fn send(
    hosts: &[Destination],
    selection: &Selection,
    errand: &Errand,
    show: &mut Show,
) -> Result<Vec<Ending>, Failure> {
    let way = selection.way(hosts);
    let (to, mut news) = mpsc::channel(NEWS);
    let desk = Desk::default();
    let mut answers = match errand.confirm {
        Some(Confirm::Ask) => Some(terminal::typed_lines()),
        Some(Confirm::Ssh) | None => None,
    };
    let follow = |(number, host)| {
        let teller = Teller {
            number,
            to: to.clone(),
        };
        let (way, desk) = (&way, &desk);
        async move { connection::follow(host, errand, way, &teller, desk).await }
    };
    let mut waiting = hosts.iter().enumerate().map(follow);
    let mut going: FuturesUnordered<_> = waiting.by_ref().take(selection.parallel()).collect();
    let mut endings = Vec::new();
    let mut ticks = tokio::time::interval(show::TICK);
    while endings.len() < hosts.len() {
        // Each arm is cancel-safe: a connection that is not polled goes on when
        // it is, news and typed lines stay in their channels, a tick that is
        // missed is made up for.
        tokio::select! {
            Some(()) = going.next() => going.extend(waiting.next()),
            Some((number, it)) = news.recv() => {
                if let News::Over(fate) = &it {
                    endings.push(fate.ending);
                }
                show.take(number, it)?;
            }
            line = typed(&mut answers) => {
                show.answered();
                desk.answer(&line);
            }
            _ = ticks.tick() => {
                show.ask(desk.asks());
                show.tick()?;
            }
        }
    }
    Ok(endings)
}

/// The next line that somebody typed; nobody types where nobody is asked.
async fn typed(lines: &mut Option<mpsc::Receiver<String>>) -> String {
    let next = match lines {
        Some(lines) => lines.recv().await,
        None => None,
    };
    match next {
        Some(line) => line,
        // The keyboard is gone: then there is no answer.
        None => std::future::pending().await,
    }
}

#[cfg(test)]
pub(super) use self::destination::parse as destination;

#[cfg(test)]
pub(super) use self::board::tests::{
    push_screen, push_summary, question_screen, screen as board_screen,
};
#[cfg(test)]
pub(super) use self::logs::tests::screen as logs_screen;
#[cfg(test)]
pub(super) use self::overview::tests::screen as overview_screen;
#[cfg(test)]
pub(super) use self::plain::tests::{json_screen, screen as plain_screen};

/// What stands at the end of a story, for all who show it.
fn over(news: &News) -> Option<&Fate> {
    match news {
        News::Over(fate) => Some(fate),
        News::Connecting
        | News::Copying { .. }
        | News::NotCopied { .. }
        | News::Pushed { .. }
        | News::Told { .. }
        | News::Phase(_)
        | News::Progress(_)
        | News::Restarted
        | News::Unexpected { .. }
        | News::Confirmed(_)
        | News::Rejected(_)
        | News::Unsaid { .. }
        | News::Lost { .. }
        | News::Back { .. }
        | News::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_no_host_is_named_none_is_asked() {
        let reach = Reach {
            all: false,
            on: Vec::new(),
            flake: ".".to_owned(),
            parallel: NonZeroU16::MIN,
            ssh_option: Vec::new(),
        };
        let of = |hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
            Selection::new(&hosts, &reach).map_err(|failure| failure.to_string())
        };
        let nobody = of(&[]).expect("it is understood");
        let refused = nobody.destinations().await.expect_err("nobody is named");
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.to_string().contains("Name the hosts"), "{refused}");

        let somebody = of(&["web1", "root@web1", "web1"]).expect("it is understood");
        let hosts = somebody.destinations().await.expect("two are named");
        assert_eq!(hosts.len(), 2);
    }
}
