//! `status HOST... --watch`: what several hosts are, whenever it changes.
//!
//! In: the lines of `status --watch` on every host. Out: a table that is drawn
//! again, of one host its page; without a terminal a line for each change. Must
//! not: tell more often than people can read, however often a host speaks.

use std::time::Duration;

use anyhow::anyhow;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::{MissedTickBehavior, sleep};

use super::connection::{Way, no_ssh};
use super::destination::Destination;
use super::errand::Errand;
use super::far::LINE_BYTES;
use super::fate::{self, Ending, Fate};
use super::overview::{self, State};
use super::story::{Next, Story};
use super::{NEWS, Selection, named, runtime, ssh, words};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Reader, offer, print};
use crate::cli::screen::Screen;
use crate::cli::status;
use crate::cli::text::absolute;
use crate::host::lines::{self, Lines};
use crate::host::signals::Stopping;
use crate::host::{clock, random};

/// How often it is told at most.
const TICK: Duration = Duration::from_millis(500);

/// The version of the lines that are understood.
const SCHEMA: u64 = 1;

/// What is heard of a host.
enum Heard {
    /// What it is.
    State(Box<Result<State, Fate>>),
    /// The connection is gone, and is made again.
    Lost(String),
    /// Nothing more comes.
    Over(Fate),
}

/// Shows what every host is until somebody has seen enough, or none of them says
/// anything any more.
pub(in crate::cli) fn run(selection: &Selection, output: Output) -> Result<Exit, Failure> {
    runtime()?.block_on(async {
        let hosts = selection.destinations().await?;
        if hosts.len() > selection.parallel() {
            return Err(too_many(hosts.len(), selection.parallel()));
        }
        let mut stopping = Stopping::listen().map_err(anyhow::Error::new)?;
        let way = selection.way(&hosts);
        let (to, mut heard) = mpsc::channel(NEWS);
        let connections = hosts.iter().enumerate().map(|(number, host)| {
            let (way, to) = (&way, to.clone());
            async move {
                let fate = one(host, way, number, &to).await.with_host(host);
                // Nobody listens any more: then nobody is told.
                let _ = to.send((number, Heard::Over(fate))).await;
            }
        });
        let mut going: FuturesUnordered<_> = connections.collect();
        let mut table = Table::new(&hosts, output)?;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Each arm is cancel-safe: a signal is remembered, a connection that
            // is not polled goes on when it is, what was heard stays in the
            // channel, a tick that is missed is made up for.
            tokio::select! {
                biased;
                () = stopping.next() => return Ok(Exit::Success),
                _ = ticks.tick() => {
                    if table.tell(clock::now().wall)? == Reader::Gone {
                        return Ok(Exit::Success);
                    }
                    if table.is_over() {
                        return table.end();
                    }
                }
                Some((number, it)) = heard.recv() => table.take(number, it),
                Some(()) = going.next() => {}
            }
        }
    })
}

fn too_many(hosts: usize, parallel: usize) -> Failure {
    let error = anyhow!("{hosts} hosts are to be watched, and {parallel} are asked at a time");
    Failure::new(Exit::Usage, error)
        .hint("Watching keeps a connection to each: say --parallel with as many, or name fewer.")
}

/// Listens to one host, and comes back to it when the connection dies.
async fn one(host: &Destination, way: &Way, number: usize, to: &Sender<(usize, Heard)>) -> Fate {
    let errand = Errand::answer(&["status", "--watch", "--output", "json"]);
    let mut story = Story::new(host.after_ssh(), host.configuration(), &errand);
    loop {
        let arguments = ssh::arguments(host, &way.options, way.prompts, story.words());
        let mut lines = match Lines::start(ssh::PROGRAM, &arguments, LINE_BYTES) {
            Ok(lines) => lines,
            Err(error) => return no_ssh(&error),
        };
        loop {
            let status = match lines.next().await {
                Ok(Some(lines::Line::Whole(line))) => status_in(&line),
                Ok(Some(lines::Line::TooLong)) => None,
                Ok(None) => break,
                Err(error) => return no_ssh(&error),
            };
            // A shell's greeting says nothing about the host.
            let Some(json) = status else { continue };
            story.heard();
            let state = Heard::State(Box::new(state(host, json)));
            let _ = to.send((number, state)).await;
        }
        let ended = match lines.end().await {
            Ok(ended) => ended,
            Err(error) => return no_ssh(&error),
        };
        let code = ended.status.code();
        match story.ended(code, &ended.stderr_tail, clock::awake(), random::bits()) {
            Next::Over(fate) => return fate,
            Next::Again { after, why } => {
                let _ = to.send((number, Heard::Lost(why))).await;
                sleep(after).await;
            }
        }
    }
}

/// The state in a line; none, if the line is of another kind.
fn status_in(line: &[u8]) -> Option<Value> {
    let mut line: Value = serde_json::from_slice(line).ok()?;
    let is_status = line["schema"] == SCHEMA && line["event"] == "status";
    let status = line.get_mut("status").map(Value::take);
    status.filter(|_| is_status)
}

fn state(host: &Destination, json: Value) -> Result<State, Fate> {
    match json.get("host") {
        Some(Value::Null) => Ok(State {
            json,
            glimpse: None,
        }),
        Some(_) | None => overview::state(host, json),
    }
}

/// What was heard of one host last.
struct Host<'a> {
    destination: &'a Destination,
    state: Option<Result<State, Fate>>,
    /// Why there is no connection.
    lost: Option<String>,
    is_over: bool,
    /// What was told of it last.
    told: String,
}

/// What all hosts are.
struct Table<'a> {
    hosts: Vec<Host<'a>>,
    label: usize,
    to: To,
}

/// To whom it is told.
enum To {
    Terminal(Screen),
    Lines,
    Json,
}

impl<'a> Table<'a> {
    fn new(hosts: &'a [Destination], output: Output) -> Result<Self, Failure> {
        let to = match output {
            Output::Json => To::Json,
            Output::Text => Screen::open()?.map_or(To::Lines, To::Terminal),
        };
        let label = overview::widest(hosts);
        let hosts = hosts.iter().map(|destination| Host {
            destination,
            state: None,
            lost: None,
            is_over: false,
            told: String::new(),
        });
        Ok(Self {
            hosts: hosts.collect(),
            label,
            to,
        })
    }

    fn take(&mut self, number: usize, heard: Heard) {
        let Some(host) = self.hosts.get_mut(number) else {
            return;
        };
        match heard {
            Heard::State(state) => {
                host.state = Some(*state);
                host.lost = None;
            }
            Heard::Lost(why) => host.lost = Some(why),
            Heard::Over(fate) => {
                host.state = Some(Err(fate));
                host.lost = None;
                host.is_over = true;
            }
        }
    }

    /// Tells what has changed.
    fn tell(&mut self, now: Timestamp) -> Result<Reader, Failure> {
        match &mut self.to {
            To::Terminal(screen) => {
                // ssh may be asking for a password.
                if self.hosts.len() == 1 && !self.hosts[0].is_heard_of() {
                    return Ok(Reader::There);
                }
                let page = page(&self.hosts, self.label, now);
                screen.draw(&format!("{page}\n\n{}; Ctrl-C ends this.", absolute(now)))?;
                Ok(Reader::There)
            }
            To::Lines => {
                for host in &mut self.hosts {
                    if let Some(sentence) = host.news(Host::sentence) {
                        let label = host.destination.label();
                        print(&format!("{}  {label}: {sentence}", absolute(now)))?;
                    }
                }
                Ok(Reader::There)
            }
            To::Json => {
                for host in &mut self.hosts {
                    if let Some(line) = host.news(Host::json)
                        && offer(&line)? == Reader::Gone
                    {
                        return Ok(Reader::Gone);
                    }
                }
                Ok(Reader::There)
            }
        }
    }

    fn is_over(&self) -> bool {
        self.hosts.iter().all(|host| host.is_over)
    }

    /// Gives the terminal back, and tells why nothing more comes.
    fn end(self) -> Result<Exit, Failure> {
        let Self { hosts, to, .. } = self;
        let is_told = !matches!(to, To::Json);
        drop(to);
        let fates = hosts.iter().filter_map(|host| match &host.state {
            Some(Err(fate)) => Some((host.destination.label(), fate)),
            Some(Ok(_)) | None => None,
        });
        let fates: Vec<(&str, &Fate)> = fates.collect();
        if let Some(text) = words::each(&fates).filter(|_| is_told) {
            print(&text)?;
        }
        Ok(fate::exit(fates.iter().map(|(_, fate)| fate.ending)))
    }
}

impl Host<'_> {
    fn is_heard_of(&self) -> bool {
        self.state.is_some() || self.lost.is_some()
    }

    /// What is to be told, if it is not what was told last.
    fn news(&mut self, tell: impl Fn(&Self) -> Option<String>) -> Option<String> {
        let told = tell(self)?;
        let is_new = self.told != told;
        self.told.clone_from(&told);
        is_new.then_some(told)
    }

    /// What a line says of it.
    fn sentence(&self) -> Option<String> {
        if let Some(why) = &self.lost {
            return Some(format!("no connection: {why}"));
        }
        Some(match self.state.as_ref()? {
            Ok(state) => overview::sentence(state),
            Err(fate) => words::fate(fate),
        })
    }

    fn json(&self) -> Option<String> {
        if let Some(why) = &self.lost {
            let fate = Fate::of(Ending::Unreachable).because(why);
            let state = Err(fate);
            return Some(overview::json_line(
                self.destination,
                &state,
                Ending::Unreachable,
            ));
        }
        let state = self.state.as_ref()?;
        let ending = match state {
            Ok(state) => state.ending(),
            Err(fate) => fate.ending,
        };
        Some(overview::json_line(self.destination, state, ending))
    }

    fn row(&self, label: usize, now: Timestamp) -> String {
        let name = self.destination.label();
        match (&self.lost, &self.state) {
            (Some(why), _) => {
                let lost =
                    Err(Fate::of(Ending::Unreachable).because(format!("trying again: {why}")));
                overview::row(label, name, &lost, now)
            }
            (None, Some(state)) => overview::row(label, name, state, now),
            (None, None) => overview::columns(label, [name, "connecting", "-", "-", ""])
                .trim_end()
                .to_owned(),
        }
    }
}

/// The table; of one host that answers its page.
fn page(hosts: &[Host<'_>], label: usize, now: Timestamp) -> String {
    if let [host] = hosts
        && let (None, Some(Ok(state))) = (&host.lost, &host.state)
    {
        return named::page(&status::page_of(&state.json, now), host.destination);
    }
    let rows = hosts.iter().map(|host| host.row(label, now));
    let lines: Vec<String> = std::iter::once(overview::head(label)).chain(rows).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::destination::parse;
    use super::*;
    use crate::store::snapshot::example::{NOON, full};

    fn line(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut status = serde_json::to_value(full()).expect("it serialises");
        status["daemon_running"] = true.into();
        change(&mut status);
        let line = json!({"schema": 1, "event": "status", "status": status});
        serde_json::to_vec(&line).expect("it serialises")
    }

    fn heard(host: &Destination, line: &[u8]) -> Heard {
        let json = status_in(line).expect("it is a state");
        Heard::State(Box::new(state(host, json)))
    }

    fn table(hosts: &[Destination]) -> Table<'_> {
        Table::new(hosts, Output::Json).expect("it needs no terminal")
    }

    fn now() -> Timestamp {
        NOON.parse().expect("it is a time")
    }

    #[test]
    fn the_table_shows_what_was_heard_last_of_each_host() {
        let hosts = ["web1", "web2", "root@web3"].map(|it| parse(it).expect("it is a host"));
        let mut table = table(&hosts);
        table.take(0, heard(&hosts[0], &line(|_| ())));
        table.take(1, heard(&hosts[1], &line(|_| ())));
        table.take(1, Heard::Lost("it was cut".to_owned()));
        assert_eq!(
            page(&table.hosts, table.label, now()),
            "\
HOST       STATE               COMMIT         FOR  WHAT
web1       converged           0123456789ab    0s  The host is what main asks for.
web2       unreachable         -                -  trying again: it was cut
root@web3  connecting          -                -"
        );
        table.take(1, heard(&hosts[1], &line(|it| it["host"] = Value::Null)));
        table.take(
            2,
            Heard::Over(Fate::of(Ending::Error).because("no such command")),
        );
        let page = page(&table.hosts, table.label, now());
        assert!(page.contains("web2       not-running "), "{page}");
        assert!(
            page.contains("root@web3  error               -                -  no such command"),
            "{page}"
        );
        assert!(!table.is_over());
    }

    #[test]
    fn one_host_alone_is_shown_with_its_page() {
        let hosts = [parse("web1").expect("it is a host")];
        let mut table = table(&hosts);
        table.take(0, heard(&hosts[0], &line(|_| ())));
        assert!(page(&table.hosts, table.label, now()).starts_with("web1: converged\n"));
    }

    #[test]
    fn a_change_is_told_once() {
        let hosts = [parse("web1").expect("it is a host")];
        let mut table = table(&hosts);
        let host = &mut table.hosts[0];
        assert_eq!(host.news(Host::sentence), None);
        host.state = Some(state(&hosts[0], status_in(&line(|_| ())).expect("a state")));
        let told = host.news(Host::sentence);
        assert_eq!(
            told.as_deref(),
            Some("converged: The host is what main asks for.")
        );
        assert_eq!(host.news(Host::sentence), None);
        host.lost = Some("it was cut".to_owned());
        let told = host.news(Host::sentence);
        assert_eq!(told.as_deref(), Some("no connection: it was cut"));
    }

    #[test]
    fn a_line_of_another_kind_is_no_state_and_another_configuration_is_told() {
        for bad in [
            &b"Welcome!"[..],
            b"{}",
            b"[]",
            br#"{"schema":1,"event":"end","status":{}}"#,
        ] {
            assert_eq!(status_in(bad), None);
        }
        let host = parse("nixos://web1/db").expect("it is a host");
        let json = status_in(&line(|_| ())).expect("it is a state");
        let why = state(&host, json).expect_err("it is another").why;
        assert_eq!(
            why.as_deref(),
            Some("it runs the configuration \"web1\", not \"db\"")
        );
        let malformed = state(&host, json!({})).expect_err("it lacks everything");
        assert_eq!(malformed.ending, Ending::Error);
    }
}
