//! `deploy-flake logs`: what daemon and steps said of one deployment.
//!
//! In: the beginning of an id; or what other hosts say of theirs. Out: the
//! journal's lines, made safe for a terminal, or one JSON object a line. Must
//! not: pass anything on to journalctl but digits.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Reach, Selection};
use super::json;
use super::output::{Output, print};
use super::past;
use crate::host::foreground;
use crate::host::journal::plain;
use crate::model::text::one_line;
use crate::store::history::{self, History};
use crate::store::snapshot;

/// The version of the JSON lines.
const SCHEMA: u32 = 1;

/// The user's own, from PATH.
const JOURNALCTL: &str = "journalctl";

/// How long one line may be, in characters.
const LINE: usize = 4000;

/// The unit of PID 1.
const OF_SYSTEMD: &str = "init.scope";

/// How many digits an id has.
const DIGITS: usize = 16;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The beginning of the deployment's id, as `history` shows it; without one,
    /// the deployment that goes on, or the last. Then the hosts to ask, through
    /// your own ssh; here if none is given. Of an id at least 4 digits tell it
    /// from a host; nixos://HOST is always a host.
    #[arg(value_name = "ID|HOST")]
    words: Vec<String>,
    #[command(flatten)]
    reach: Reach,
    /// Waits for more, until the deployment has ended.
    #[arg(long)]
    follow: bool,
    /// For people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The beginning of the deployment's id.
    id: Option<String>,
    /// Whether more is waited for.
    follow: bool,
}

impl Asked {
    /// The words for the far side.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = vec!["logs".to_owned()];
        words.extend(self.id.clone());
        if self.follow {
            words.push("--follow".to_owned());
        }
        words.extend(["--output".to_owned(), Output::Json.as_str().to_owned()]);
        words
    }

    /// Asks for the deployment that this line is of from now on.
    pub(super) fn settle(&mut self, line: &Line) {
        let whole = line.deployment.as_ref().filter(|id| is_whole(id));
        if let Some(id) = whole {
            self.id = Some(id.clone());
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (ids, hosts) = past::split(&arguments.words, 1, past::is_id);
    let asked = Asked {
        id: ids.first().cloned(),
        follow: arguments.follow,
    };
    let selection = Selection::new(hosts, &arguments.reach)?;
    if selection.is_given() {
        hosts::logs(&selection, &asked, arguments.output)
    } else {
        here(&asked, arguments.output)
    }
}

fn here(asked: &Asked, output: Output) -> Result<Exit, Failure> {
    let id = deployment(asked.id.as_deref())?;
    let follow = asked.follow && goes_on().as_deref() == Some(&*id);
    let (mut said, mut trouble) = (0_usize, None);
    let of = id.clone();
    let is_due = move || !follow || goes_on().is_none_or(|now| now == of);
    let read = foreground::lines(JOURNALCTL, &words(&id, follow), is_due, |line| {
        // What is no entry is nobody's words.
        let Some(line) = Line::of(line, &id) else {
            return ControlFlow::Continue(());
        };
        said += 1;
        match line.render(output).and_then(|text| print(&text)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                trouble = Some(failure);
                ControlFlow::Break(())
            }
        }
    });
    read.map_err(no_journal)?;
    match trouble {
        Some(failure) => Err(failure),
        None if said == 0 => Err(silent(&id)),
        None => Ok(Exit::Success),
    }
}

fn no_journal(error: io::Error) -> Failure {
    Failure::from(anyhow!(error).context("run journalctl"))
}

fn silent(id: &str) -> Failure {
    Failure::from(anyhow!("the journal shows no line of deployment {id}")).hint(
        "Its lines are shown to root and to members of the group systemd-journal, for as long as \
         the journal keeps them (journald.conf(5), MaxRetentionSec and SystemMaxUse).",
    )
}

/// The deployment that goes on, if one does and the daemon says so.
fn goes_on() -> Option<String> {
    let (snapshot, _) = snapshot::read(Path::new(snapshot::FILE)).ok()?;
    // At rest it is nobody's id, so that whoever waits for one stops.
    Some(
        snapshot
            .phase
            .deployment
            .map_or_else(String::new, |id| id.0),
    )
}

/// The whole id: of what is kept, of what goes on, or as it was given.
fn deployment(begins: Option<&str>) -> Result<String, Failure> {
    let history = History::new(history::DIRECTORY);
    let now = goes_on().filter(|id| !id.is_empty());
    let Some(begins) = begins else {
        let last = || Some(history.entries().ok()?.pop()?.id().to_owned());
        return now
            .or_else(last)
            .ok_or_else(|| anyhow!("there was no deployment yet").into());
    };
    let begins = &*begins.to_ascii_lowercase();
    if let Some(now) = now.filter(|now| !begins.is_empty() && now.starts_with(begins)) {
        return Ok(now);
    }
    if is_whole(begins) {
        return Ok(begins.to_owned());
    }
    let entry = past::find(past::entries(&history)?, begins)?;
    Ok(entry.id().to_owned())
}

/// The journal may keep what the history does not.
fn is_whole(id: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    id.len() == DIGITS && id.bytes().all(is_digit)
}

/// The words for journalctl: the lines of steps and those of the daemon.
fn words(id: &str, follow: bool) -> Vec<String> {
    let fields = "--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,DF_MESSAGE";
    let mut words: Vec<String> = ["--quiet", "--no-pager", "--output=json", "--all", fields]
        .map(str::to_owned)
        .into();
    if follow {
        words.extend(["--follow", "--no-tail"].map(str::to_owned));
    }
    words.push(format!("DEPLOY_FLAKE_DEPLOYMENT={id}"));
    words.push("+".to_owned());
    words.push(format!("DF_DEPLOYMENT={id}"));
    words
}

/// An entry as journalctl writes it.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    at: String,
    #[serde(rename = "MESSAGE")]
    message: Text,
    #[serde(rename = "PRIORITY")]
    priority: Option<Text>,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<Text>,
    #[serde(rename = "_SYSTEMD_UNIT")]
    unit: Option<Text>,
    #[serde(rename = "DF_MESSAGE")]
    why: Option<Text>,
}

/// journalctl writes as bytes what is no text, and several values as a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    One(String),
    Bytes(Vec<u8>),
    Several(Vec<String>),
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::One(text) => text,
            Self::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Self::Several(texts) => texts.join(" "),
        }
    }
}

/// A line of the journal.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    schema: u32,
    at: Timestamp,
    /// Which step, `daemon`, or the unit.
    source: String,
    /// As syslog has it: 3 and less are errors, 4 warnings.
    priority: Option<u8>,
    message: String,
    /// What the daemon found.
    why: Option<String>,
    /// Of which deployment. Older versions do not write it.
    #[serde(default)]
    deployment: Option<String>,
}

impl Line {
    /// A line that another host wrote for programs; none, if it is anything else.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(line).ok()?;
        (line.schema == SCHEMA).then_some(line)
    }

    /// A line as journalctl writes it.
    fn of(line: &[u8], deployment: &str) -> Option<Self> {
        let entry: Entry = serde_json::from_slice(line).ok()?;
        let microseconds: i64 = entry.at.parse().ok()?;
        let unit = entry.unit.or(entry.identifier).map(Text::into_string);
        Some(Self {
            schema: SCHEMA,
            at: Timestamp::from_microsecond(microseconds).ok()?,
            source: source(&unit.unwrap_or_default()),
            priority: entry.priority.and_then(|it| it.into_string().parse().ok()),
            message: entry.message.into_string(),
            why: entry.why.map(Text::into_string),
            deployment: Some(deployment.to_owned()),
        })
    }

    fn render(&self, output: Output) -> Result<String, Failure> {
        match output {
            Output::Json => Ok(json::line(self).context("write a line as JSON")?),
            Output::Text => Ok(self.text()),
        }
    }

    /// One line for each of the message's, each with its time and source, safe
    /// to show.
    pub(super) fn text(&self) -> String {
        let at = self.at.strftime("%H:%M:%S").to_string();
        let why = self
            .why
            .as_deref()
            .map_or_else(String::new, |why| format!(": {why}"));
        let message = plain(&format!("{}{why}", self.message));
        let lines = message.trim_end().lines().map(|line| {
            // A tab is no more than a space here.
            let line = one_line(&line.replace('\t', "    "), LINE);
            format!("{at}  {:<8}  {line}", one_line(&self.source, 32))
                .trim_end()
                .to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The step of a unit's name; the unit, if it is none of ours.
fn source(unit: &str) -> String {
    if unit == OF_SYSTEMD {
        return "systemd".to_owned();
    }
    let name = unit.strip_suffix(".service").unwrap_or(unit);
    match name.strip_prefix("deploy-flake") {
        Some("") => "daemon".to_owned(),
        Some(step) => step.trim_start_matches('-').to_owned(),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = r#""__REALTIME_TIMESTAMP":"1795348800000000""#;

    fn line(fields: &str) -> Option<Line> {
        Line::of(format!("{{{AT},{fields}}}").as_bytes(), "00c0ffee00c0ffee")
    }

    #[test]
    fn entries_are_told_by_step_and_time() {
        for (fields, told) in [
            (
                r#""MESSAGE":"building it","_SYSTEMD_UNIT":"deploy-flake-build.service""#,
                "12:00:00  build     building it",
            ),
            (
                r#""MESSAGE":"the commit is refused","DF_MESSAGE":"no room","_SYSTEMD_UNIT":"deploy-flake.service""#,
                "12:00:00  daemon    the commit is refused: no room",
            ),
            (
                r#""MESSAGE":"Starting it","_SYSTEMD_UNIT":"init.scope""#,
                "12:00:00  systemd   Starting it",
            ),
            (
                r#""MESSAGE":[104,105,10,27,91,49,109,255],"SYSLOG_IDENTIFIER":"sh""#,
                "12:00:00  sh        hi\n12:00:00  sh        \u{fffd}",
            ),
            (
                r#""MESSAGE":"a\u001b]0;x\u0007b\u202ec\tand more","_SYSTEMD_UNIT":"web.service""#,
                "12:00:00  web       abc    and more",
            ),
        ] {
            assert_eq!(
                line(fields).map(|line| line.text()).as_deref(),
                Some(told),
                "{fields}"
            );
        }
        for bad in ["\"MESSAGE\":null", "", "\"PRIORITY\":\"6\""] {
            assert_eq!(line(bad), None, "{bad}");
        }
        assert_eq!(Line::of(b"-- No entries --", ""), None);
    }

    #[test]
    fn lines_for_programs_have_a_schema_and_the_text_as_it_is() {
        let fields =
            r#""MESSAGE":"a\u001b[1m","PRIORITY":"4","_SYSTEMD_UNIT":"deploy-flake-test.service""#;
        let line = line(fields).expect("it is an entry");
        assert_eq!(
            line.render(Output::Json).expect("it serialises"),
            r#"{"schema":1,"at":"2026-11-22T12:00:00Z","source":"test","priority":4,"message":"a\u001b[1m","why":null,"deployment":"00c0ffee00c0ffee"}"#
        );
        let of_older = br#"{"schema":1,"at":"2026-11-22T12:00:00Z","source":"test","priority":4,"message":"a","why":null}"#;
        assert!(Line::read(of_older).is_some());
        for bad in [&b"Welcome!"[..], b"{}", br#"{"schema":2}"#] {
            assert_eq!(Line::read(bad), None);
        }
    }

    #[test]
    fn whoever_comes_back_asks_for_the_deployment_that_was_begun_with() {
        let mut asked = Asked {
            id: None,
            follow: true,
        };
        assert_eq!(asked.words().join(" "), "logs --follow --output json");
        let fields = r#""MESSAGE":"a""#;
        asked.settle(&line(fields).expect("it is an entry"));
        assert_eq!(
            asked.words().join(" "),
            "logs 00c0ffee00c0ffee --follow --output json"
        );
        let mut hostile = line(fields).expect("it is an entry");
        hostile.deployment = Some("--flush".to_owned());
        asked.settle(&hostile);
        assert_eq!(asked.id.as_deref(), Some("00c0ffee00c0ffee"));
    }

    #[test]
    fn only_digits_reach_journalctl() {
        assert!(is_whole("00c0ffee00c0ffee"));
        for bad in [
            "",
            "00c0ffee",
            "00C0FFEE00C0FFEE",
            "--flush00c0ffee0",
            "00c0ffee00c0ffe\n",
        ] {
            assert!(!is_whole(bad), "{bad:?}");
        }
        let words = words("00c0ffee00c0ffee", true);
        assert!(words.ends_with(&[
            "--follow".to_owned(),
            "--no-tail".to_owned(),
            "DEPLOY_FLAKE_DEPLOYMENT=00c0ffee00c0ffee".to_owned(),
            "+".to_owned(),
            "DF_DEPLOYMENT=00c0ffee00c0ffee".to_owned(),
        ]));
    }
}
