//! `logs` of other hosts: their lines as they come, each with its host.
//!
//! In: words for the far side. Out: lines, and how it ended. Must not: show a
//! line that it does not understand, or one twice after a connection was lost.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::sleep;

use super::connection::{Way, no_ssh};
use super::destination::Destination;
use super::errand::Errand;
use super::far::LINE_BYTES;
use super::fate::{self, Ending, Fate};
use super::story::{News, Next, Story};
use super::{NEWS, Selection, plain, runtime, ssh, stopped, words};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::logs::{self, Line};
use crate::cli::output::{Output, print};
use crate::host::lines::{self, Lines};
use crate::host::{clock, random};

/// How wide hosts' names get at most.
const LONGEST_LABEL: usize = 32;

/// What is heard of a host.
enum Heard {
    /// A line of its journal.
    Line(Box<Line>),
    /// The connection is gone, and is made again.
    Lost(News),
    /// It is over.
    Over(Fate),
}

/// Shows what every host's journal has, until all of them have ended.
pub(in crate::cli) fn follow(
    selection: &Selection,
    asked: &logs::Asked,
    output: Output,
) -> Result<Exit, Failure> {
    runtime()?.block_on(async {
        let hosts = selection.destinations().await?;
        tokio::select! {
            biased;
            // ssh has ended by the same key; nothing else is lost.
            _ = tokio::signal::ctrl_c() => Err(stopped()),
            exit = all(&hosts, selection, asked, output) => exit,
        }
    })
}

async fn all(
    hosts: &[Destination],
    selection: &Selection,
    asked: &logs::Asked,
    output: Output,
) -> Result<Exit, Failure> {
    let way = selection.way(hosts);
    let (to, mut heard) = mpsc::channel(NEWS);
    let mut waiting = hosts.iter().enumerate().map(|(number, host)| {
        let (way, to) = (&way, to.clone());
        async move {
            let fate = one(host, asked, way, number, &to).await.with_host(host);
            // Nobody listens any more: then nobody is told.
            let _ = to.send((number, Heard::Over(fate))).await;
        }
    });
    let mut going: FuturesUnordered<_> = waiting.by_ref().take(selection.parallel()).collect();
    let mut told = Told::new(hosts, output);
    while told.endings.len() < hosts.len() {
        // Both arms are cancel-safe: a connection that is not polled goes on
        // when it is, and what was heard stays in the channel.
        tokio::select! {
            Some(()) = going.next() => going.extend(waiting.next()),
            Some((number, it)) = heard.recv() => told.take(&hosts[number], it)?,
        }
    }
    told.end()
}

/// Listens to one host, and comes back to it when the connection dies: an
/// activation that is followed may cut it.
async fn one(
    host: &Destination,
    asked: &logs::Asked,
    way: &Way,
    number: usize,
    to: &Sender<(usize, Heard)>,
) -> Fate {
    let errand = Errand::answer(&[]);
    let mut story = Story::new(host.after_ssh(), None, &errand);
    let mut asked = asked.clone();
    let mut told = 0_usize;
    loop {
        let arguments = ssh::arguments(host, &way.options, way.prompts, &asked.words());
        let mut lines = match Lines::start(ssh::PROGRAM, &arguments, LINE_BYTES) {
            Ok(lines) => lines,
            Err(error) => return no_ssh(&error),
        };
        let mut seen = 0_usize;
        loop {
            let line = match lines.next().await {
                Ok(Some(lines::Line::Whole(line))) => Line::read(&line),
                Ok(Some(lines::Line::TooLong)) => None,
                Ok(None) => break,
                Err(error) => return no_ssh(&error),
            };
            // A shell's greeting is no line of a journal.
            let Some(line) = line else { continue };
            story.heard();
            seen += 1;
            if seen <= told {
                continue;
            }
            told = seen;
            // Whoever comes back asks for the same one, also if it has ended.
            asked.settle(&line);
            // Nobody listens any more: then nobody is told.
            let _ = to.send((number, Heard::Line(Box::new(line)))).await;
        }
        let ended = match lines.end().await {
            Ok(ended) => ended,
            Err(error) => return no_ssh(&error),
        };
        let code = ended.status.code();
        if code == Some(0) {
            return Fate::of(Ending::Answered);
        }
        match story.ended(code, &ended.stderr_tail, clock::awake(), random::bits()) {
            Next::Over(fate) => return fate,
            Next::Again { after, why } => {
                let lost = Heard::Lost(News::Lost { why, after });
                let _ = to.send((number, lost)).await;
                sleep(after).await;
            }
        }
    }
}

/// What was told so far.
struct Told {
    output: Output,
    alone: bool,
    label: usize,
    endings: Vec<Ending>,
    others: Vec<(String, Fate)>,
}

impl Told {
    fn new(hosts: &[Destination], output: Output) -> Self {
        let widths = hosts.iter().map(|host| host.label().chars().count());
        Self {
            output,
            alone: hosts.len() == 1,
            label: widths.max().unwrap_or(0).min(LONGEST_LABEL),
            endings: Vec::new(),
            others: Vec::new(),
        }
    }

    fn take(&mut self, host: &Destination, heard: Heard) -> Result<(), Failure> {
        let label = host.label();
        match (heard, self.output) {
            (Heard::Line(line), Output::Text) => print(&self.text(label, &line)),
            (Heard::Line(line), Output::Json) => print(&json_line(label, &line)),
            (Heard::Lost(news), Output::Text) => print(&plain::text(label, &news)),
            (Heard::Lost(news), Output::Json) => print(&plain::json(label, &news)),
            (Heard::Over(fate), output) => {
                self.endings.push(fate.ending);
                if output == Output::Json {
                    print(&plain::json(label, &News::Over(Box::new(fate.clone()))))?;
                }
                if !fate.ending.is_fine() {
                    self.others.push((label.to_owned(), fate));
                }
                Ok(())
            }
        }
    }

    /// A host that is alone needs no name.
    fn text(&self, label: &str, line: &Line) -> String {
        let text = line.text();
        if self.alone {
            return text;
        }
        let width = self.label;
        let lines = text.lines().map(|it| format!("{label:<width$}  {it}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn end(self) -> Result<Exit, Failure> {
        let exit = fate::exit(self.endings.iter().copied());
        let others = self.others.iter().map(|(label, it)| (&**label, it));
        let others: Vec<(&str, &Fate)> = others.collect();
        if let Some(text) = words::each(&others).filter(|_| self.output == Output::Text) {
            print(&text)?;
        }
        Ok(exit)
    }
}

fn json_line(label: &str, line: &Line) -> String {
    let mut json = serde_json::to_value(line).unwrap_or(Value::Null);
    json["host"] = label.into();
    json["event"] = json!("log");
    json::safe(&json)
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::super::destination::parse;
    use super::*;

    fn line(message: &str) -> Line {
        let json = json!({
            "schema": 1, "at": "2026-11-22T12:00:00Z", "source": "build", "priority": 6,
            "message": message, "why": null, "deployment": "00c0ffee00c0ffee",
        });
        Line::read(json.to_string().as_bytes()).expect("it is a line")
    }

    /// Lines of two hosts, for docs/screens.md.
    pub(in crate::cli) fn screen() -> String {
        let hosts = ["web1", "root@web2"].map(|it| parse(it).expect("it is a host"));
        let told = Told::new(&hosts, Output::Text);
        let lines = [
            (
                "web1",
                "linux> CC drivers/net/ethernet/intel/igb/igb_main.o",
            ),
            ("root@web2", "linux> LD vmlinux"),
        ];
        lines
            .map(|(host, said)| told.text(host, &line(said)))
            .join("\n")
    }

    #[test]
    fn each_line_of_several_hosts_has_its_host() {
        let hosts = ["web1", "root@web2"].map(|it| parse(it).expect("it is a host"));
        let several = Told::new(&hosts, Output::Text);
        assert_eq!(
            several.text("web1", &line("one\ntwo\u{1b}[2J\u{202e}")),
            "web1       12:00:00  build     one\nweb1       12:00:00  build     two"
        );
        let alone = Told::new(&hosts[..1], Output::Text);
        assert_eq!(alone.text("web1", &line("one")), "12:00:00  build     one");
    }

    #[test]
    fn lines_for_programs_have_their_host_and_steer_nothing() {
        assert_eq!(
            json_line("web1", &line("a\u{9b}2J")),
            r#"{"at":"2026-11-22T12:00:00Z","deployment":"00c0ffee00c0ffee","event":"log","host":"web1","message":"a\u009b2J","priority":6,"schema":1,"source":"build","why":null}"#
        );
    }
}
