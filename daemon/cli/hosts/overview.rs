//! `status HOST...`: the state of several hosts, a line each, or of one as it
//! tells it itself.
//!
//! In: what each host answered. Out: a table, the page, or one JSON object a
//! line. Must not: show what it does not understand.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::destination::Destination;
use super::far::{self, Glimpse};
use super::fate::{self, Ending, Fate};
use super::story::phase_words;
use super::{named, words};
use crate::cli::columns::cut;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::output::{Output, print};
use crate::cli::status;
use crate::cli::text::age;
use crate::host::{clock, terminal};

/// The version of the lines for programs.
const SCHEMA: u32 = 1;

/// How wide hosts' names get at most.
const LONGEST_LABEL: usize = 32;

/// Of a host whose daemon has written nothing.
const NEVER_RUN: &str = "the daemon has not run since the host was booted";

/// What all hosts are.
pub(super) struct Overview {
    output: Output,
    alone: bool,
    label: usize,
    endings: Vec<Ending>,
    others: Vec<(String, Fate)>,
}

impl Overview {
    /// For these hosts.
    pub(super) fn new(hosts: &[Destination], output: Output) -> Self {
        Self {
            output,
            alone: hosts.len() == 1,
            label: widest(hosts),
            endings: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Takes a host's answer, and tells it at once.
    pub(super) fn take(
        &mut self,
        host: &Destination,
        answer: Result<(Vec<u8>, i32), Fate>,
    ) -> Result<(), Failure> {
        let now = clock::now().wall;
        let state = answer
            .and_then(|(bytes, code)| understand(host, &bytes, code))
            .map_err(|fate| fate.with_host(host));
        let ending = match &state {
            Ok(state) => state.ending(),
            Err(fate) => fate.ending,
        };
        self.endings.push(ending);
        match self.output {
            Output::Json => print(&json_line(host, &state, ending))?,
            Output::Text if self.alone => self.page(host, &state, now)?,
            Output::Text => {
                if self.endings.len() == 1 {
                    print(&self.fitting(&head(self.label)))?;
                }
                print(&self.fitting(&row(self.label, host.label(), &state, now)))?;
            }
        }
        if let Err(fate) = state {
            self.others.push((host.label().to_owned(), fate));
        }
        Ok(())
    }

    /// Tells what there is to do about those that did not answer.
    pub(super) fn end(self) -> Result<Exit, Failure> {
        let exit = fate::exit(self.endings.iter().copied());
        if self.output == Output::Json {
            return Ok(exit);
        }
        let others: Vec<(&str, &Fate)> = self
            .others
            .iter()
            .map(|(label, it)| (&**label, it))
            .collect();
        if let Some(text) = words::each(&others) {
            if !self.alone {
                print("")?;
            }
            print(&text)?;
        }
        Ok(exit)
    }

    fn page(
        &self,
        host: &Destination,
        state: &Result<State, Fate>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        match state {
            Ok(state) => print(&named::page(&status::page_of(&state.json, now), host)),
            Err(_) => Ok(()),
        }
    }

    /// The line in as many columns as there are.
    fn fitting(&self, line: &str) -> String {
        let cut = terminal::size().map(|size| cut(line, size.columns));
        cut.unwrap_or_else(|| line.to_owned()).trim_end().to_owned()
    }
}

/// How wide the column of names is.
pub(super) fn widest(hosts: &[Destination]) -> usize {
    let widths = hosts.iter().map(|host| host.label().chars().count());
    widths.max().unwrap_or(0).clamp(4, LONGEST_LABEL)
}

/// What a host says of itself.
#[derive(Debug, PartialEq)]
pub(super) struct State {
    /// The whole of it.
    pub(super) json: Value,
    /// None: no daemon has written anything in this boot.
    pub(super) glimpse: Option<Glimpse>,
}

impl State {
    /// How it ended for a host that says this.
    pub(super) fn ending(&self) -> Ending {
        match self.glimpse {
            Some(_) => Ending::Answered,
            None => Ending::NotRunning,
        }
    }
}

fn understand(host: &Destination, bytes: &[u8], code: i32) -> Result<State, Fate> {
    // What a shell greets with comes first.
    let start = bytes.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let json: Value = serde_json::from_slice(&bytes[start..])
        .map_err(|_| error(host, "its answer was not understood: no JSON"))?;
    if code != 0 {
        return Ok(State {
            json,
            glimpse: None,
        });
    }
    state(host, json)
}

/// What a host says of itself, if its daemon has run in this boot.
pub(super) fn state(host: &Destination, json: Value) -> Result<State, Fate> {
    let glimpse = far::glimpse(&json)
        .map_err(|malformed| error(host, format!("its answer was not understood: {malformed}")))?;
    let configuration = glimpse.host.configuration.as_str();
    match host.configuration().filter(|it| *it != configuration) {
        Some(wanted) => Err(error(
            host,
            format!("it runs the configuration {configuration:?}, not {wanted:?}"),
        )),
        None => Ok(State {
            json,
            glimpse: Some(glimpse),
        }),
    }
}

fn error(host: &Destination, why: impl Into<String>) -> Fate {
    let to_do = format!(
        "see what `ssh {} deploy-flake status` says",
        host.after_ssh()
    );
    Fate::of(Ending::Error).because(why).with_remedy(to_do)
}

/// The line for programs.
pub(super) fn json_line(host: &Destination, state: &Result<State, Fate>, ending: Ending) -> String {
    let (why, to_do, status) = match state {
        Ok(state) => (None, None, Some(&state.json)),
        Err(fate) => (fate.why.as_ref(), fate.to_do.as_ref(), None),
    };
    json::safe(&json!({
        "schema": SCHEMA,
        "host": host.label(),
        "event": "status",
        "exit": ending.exit().code(),
        "why": why,
        "to_do": to_do,
        "status": status,
    }))
}

/// What stands above the rows.
pub(super) fn head(label: usize) -> String {
    columns(label, ["HOST", "STATE", "COMMIT", "FOR", "WHAT"])
}

/// A host's line.
pub(super) fn row(label: usize, host: &str, state: &Result<State, Fate>, now: Timestamp) -> String {
    match state {
        Ok(State {
            glimpse: Some(glimpse),
            ..
        }) => {
            let wanted = glimpse.desired.as_ref().map(|it| it.commit.short());
            let (since, what) = doing(glimpse);
            let state = glimpse.condition.state.as_str();
            let since = age(since, now);
            columns(label, [host, state, wanted.unwrap_or("-"), &since, &what])
        }
        Ok(State { glimpse: None, .. }) => {
            columns(label, [host, "not-running", "-", "-", NEVER_RUN])
        }
        Err(fate) => {
            let why = fate.why.as_deref().unwrap_or_default();
            columns(label, [host, fate.ending.as_str(), "-", "-", why])
        }
    }
}

/// What a host is, in a sentence.
pub(super) fn sentence(state: &State) -> String {
    match &state.glimpse {
        Some(glimpse) => {
            let what = doing(glimpse).1;
            format!("{}: {what}", glimpse.condition.state.as_str())
        }
        None => NEVER_RUN.to_owned(),
    }
}

/// What is going on, or why nothing is, and since when.
fn doing(glimpse: &Glimpse) -> (Timestamp, String) {
    let condition = &glimpse.condition;
    let (since, what) = if glimpse.phase.name.as_str() == "resting" {
        (condition.since, condition.why.as_str().to_owned())
    } else {
        let what = match glimpse.phase.progress() {
            // That it is building is what the counts say.
            Some(progress) => progress.to_string(),
            None => phase_words(&glimpse.phase.name),
        };
        (glimpse.phase.since, what)
    };
    match glimpse.daemon_running {
        Some(false) => {
            let what = format!("the daemon is NOT RUNNING; its last word: {what}");
            (since, what)
        }
        Some(true) | None => (since, what),
    }
}

/// The columns of a line.
pub(super) fn columns(label: usize, [host, state, commit, since, what]: [&str; 5]) -> String {
    format!("{host:<label$}  {state:<18}  {commit:<12}  {since:>4}  {what}")
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::super::destination::parse;
    use super::*;
    use crate::store::snapshot::example::full;

    fn answer(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut json = serde_json::to_value(full()).expect("it serialises");
        json["daemon_running"] = true.into();
        change(&mut json);
        serde_json::to_vec_pretty(&json).expect("it serialises")
    }

    fn line(host: &str, answer: Result<(Vec<u8>, i32), Fate>) -> String {
        let host = parse(host).expect("it is a host");
        let state = answer.and_then(|(bytes, code)| understand(&host, &bytes, code));
        let now = "2026-11-22T12:12:00Z".parse().expect("it is a time");
        row(10, host.label(), &state, now)
    }

    /// The table of hosts in every state, for docs/screens.md.
    pub(in crate::cli) fn screen(columns: usize) -> String {
        let deploying = answer(|json| {
            json["condition"]["state"] = "deploying".into();
            json["phase"]["name"] = "building".into();
            json["phase"]["progress"] = json!({
                "built": {"done": 41, "expected": 126},
                "fetched": {"done": 0, "expected": 0},
                "last_line": "linux-6.6.61> CC igb_main.o",
            });
        });
        let stopped = answer(|json| json["daemon_running"] = false.into());
        let unreachable = Fate::of(Ending::Unreachable).because("ssh: no route to host");
        let lines = [
            head(10),
            line("web1", Ok((answer(|_| ()), 0))),
            line("web2", Ok((deploying, 0))),
            line("root@web3", Ok((stopped, 0))),
            line("web4", Ok((b"{}".to_vec(), 7))),
            line("web5", Err(unreachable)),
        ];
        lines.map(|it| cut(&it, columns)).join("\n")
    }

    #[test]
    fn each_host_is_a_line() {
        assert_eq!(
            screen(200),
            "\
HOST        STATE               COMMIT         FOR  WHAT
web1        converged           0123456789ab   12m  The host is what main asks for.
web2        deploying           0123456789ab   12m  41 of 126 built: linux-6.6.61> CC igb_main.o
root@web3   converged           0123456789ab   12m  the daemon is NOT RUNNING; its last word: The host is what main asks for.
web4        not-running         -                -  the daemon has not run since the host was booted
web5        unreachable         -                -  ssh: no route to host"
        );
    }

    #[test]
    fn an_answer_is_understood_or_refused() {
        let greeted = [b"Welcome!\n".to_vec(), answer(|_| ())].concat();
        assert!(line("web1", Ok((greeted, 0))).contains("converged"));
        for wrong in [
            &b"Welcome!\n"[..],
            b"{}",
            b"{\"condition\":{}}",
            b"[1]",
            b"{",
        ] {
            let line = line("web1", Ok((wrong.to_vec(), 0)));
            assert!(line.contains("was not understood"), "{line}");
        }
        let other = line("nixos://web1/db", Ok((answer(|_| ()), 0)));
        assert!(
            other.contains("it runs the configuration \"web1\", not \"db\""),
            "{other}"
        );
    }
}
