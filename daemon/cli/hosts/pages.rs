//! What other hosts say of themselves at once: `history`, `show`, `diff` and
//! `doctor`, each as the host itself would show it.
//!
//! In: which command, and what each host answered. Out: a page for each host, in
//! the order in which they were named, or one JSON object a line. Must not:
//! understand the pages; nor let one of them pass for another host's.

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};

use super::connection::{self, Way};
use super::destination::Destination;
use super::errand::Errand;
use super::fate::{self, Ending, Fate};
use super::{NEVER_RUN, Selection, named, runtime, words};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::output::{Output, print};
use crate::model::text::{LINE_LIMIT, one_line};

/// The version of the lines for programs.
const SCHEMA: u32 = 1;

/// How long one line of a page may be, in characters.
const LINE: usize = 4000;

/// What a host's name stands between.
const RULE: &str = "──";

/// What every host is asked.
pub(in crate::cli) struct Question {
    /// The subcommand, which is also the event's name, and the key of the answer.
    pub(in crate::cli) name: &'static str,
    /// The words that follow.
    pub(in crate::cli) words: Vec<String>,
    /// With which codes an answer comes.
    pub(in crate::cli) codes: &'static [i32],
}

/// Asks every host, and shows what each of them says.
pub(in crate::cli) fn ask(
    selection: &Selection,
    question: &Question,
    output: Output,
) -> Result<Exit, Failure> {
    runtime()?.block_on(async {
        let hosts = selection.destinations().await?;
        let way = selection.way(&hosts);
        let errand = question.errand(output);
        let asked = stream::iter(&hosts).map(|host| {
            let (way, errand) = (&way, &errand);
            async move { (host, answer(host, errand, way, question.codes).await) }
        });
        let mut answers = asked.buffered(selection.parallel());
        let mut pages = Pages::new(question.name, output, hosts.len());
        while let Some((host, answer)) = answers.next().await {
            pages.take(host, answer)?;
        }
        pages.end()
    })
}

impl Question {
    fn errand(&self, output: Output) -> Errand {
        let words = std::iter::once(self.name).chain(self.words.iter().map(String::as_str));
        let output = match output {
            Output::Text => &[][..],
            Output::Json => &["--output", "json"][..],
        };
        let words: Vec<&str> = words.chain(output.iter().copied()).collect();
        Errand::answer(&words)
    }
}

async fn answer(
    host: &Destination,
    errand: &Errand,
    way: &Way,
    codes: &[i32],
) -> Result<(Vec<u8>, i32), Fate> {
    if let Some(wanted) = host.configuration() {
        let status = Errand::answer(&["status", "--output", "json"]);
        match connection::ask(host, &status, way, &[0, NEVER_RUN]).await {
            Ok((bytes, _)) => runs(wanted, &bytes)?,
            Err(fate) if fate.ending == Ending::Unreachable => return Err(fate),
            // Whoever cannot tell its state may still tell what is wrong with it.
            Err(_) => {}
        }
    }
    connection::ask(host, errand, way, codes).await
}

/// Whether the host runs this configuration, or cannot say.
fn runs(wanted: &str, status: &[u8]) -> Result<(), Fate> {
    let json = understand(status);
    let found = json
        .as_ref()
        .and_then(|it| it.pointer("/host/configuration"));
    match found.and_then(Value::as_str).filter(|it| *it != wanted) {
        None => Ok(()),
        Some(other) => Err(Fate::of(Ending::Error).because(format!(
            "it runs the configuration {:?}, not {wanted:?}",
            one_line(other, LINE_LIMIT)
        ))),
    }
}

/// The JSON behind whatever a shell greets with.
fn understand(bytes: &[u8]) -> Option<Value> {
    let start = bytes.iter().position(|byte| *byte == b'{')?;
    serde_json::from_slice(&bytes[start..]).ok()
}

/// What all hosts said.
struct Pages {
    name: &'static str,
    output: Output,
    alone: bool,
    endings: Vec<Ending>,
    others: Vec<(String, Fate)>,
}

impl Pages {
    fn new(name: &'static str, output: Output, hosts: usize) -> Self {
        Self {
            name,
            output,
            alone: hosts == 1,
            endings: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Takes a host's answer, and shows it at once.
    fn take(
        &mut self,
        host: &Destination,
        answer: Result<(Vec<u8>, i32), Fate>,
    ) -> Result<(), Failure> {
        let answer = answer.map_err(|fate| fate.with_host(host));
        let answer = match self.output {
            Output::Text => {
                let page = answer.map(|(bytes, code)| (page(&bytes, host), code));
                if let Ok((page, _)) = &page {
                    print(&self.under_its_name(host.label(), page))?;
                }
                page.map(|(_, code)| code)
            }
            Output::Json => {
                let answer = answer.and_then(|(bytes, code)| match understand(&bytes) {
                    Some(json) => Ok((json, code)),
                    None => Err(self.not_understood(host)),
                });
                print(&json_line(self.name, host.label(), &answer))?;
                answer.map(|(_, code)| code)
            }
        };
        self.endings.push(ending(&answer));
        if let Err(fate) = answer {
            self.others.push((host.label().to_owned(), fate));
        }
        Ok(())
    }

    /// Tells of those that did not answer.
    fn end(self) -> Result<Exit, Failure> {
        let exit = fate::exit(self.endings.iter().copied());
        let others = self.others.iter().map(|(label, it)| (&**label, it));
        let others: Vec<(&str, &Fate)> = others.collect();
        match words::each(&others).filter(|_| self.output == Output::Text) {
            Some(text) if self.alone || self.endings.len() == others.len() => print(&text)?,
            Some(text) => print(&format!("\n{text}"))?,
            None => {}
        }
        Ok(exit)
    }

    /// The page as it is shown: of several hosts each has its name above, and an
    /// empty line before.
    fn under_its_name(&self, label: &str, page: &str) -> String {
        if self.alone {
            return page.to_owned();
        }
        let is_first = self.endings.len() == self.others.len();
        let before = if is_first { "" } else { "\n" };
        format!("{before}{RULE} {label} {RULE}\n{page}")
    }

    fn not_understood(&self, host: &Destination) -> Fate {
        let ssh = host.after_ssh();
        let to_do = format!("see what `ssh {ssh} deploy-flake {}` says", self.name);
        Fate::of(Ending::Error)
            .because("its answer was not understood: no JSON")
            .with_remedy(to_do)
    }
}

/// What an answer amounts to: `doctor` ends with 1 where something failed.
fn ending(answer: &Result<i32, Fate>) -> Ending {
    match answer {
        Ok(0) => Ending::Answered,
        Ok(_) => Ending::Error,
        Err(fate) => fate.ending,
    }
}

/// The text of another host: nothing in it steers a terminal, or looks like the
/// line above another host's page.
fn page(bytes: &[u8], host: &Destination) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.trim_end().lines().map(|line| one_line(line, LINE));
    let text = lines.collect::<Vec<_>>().join("\n");
    // After whatever else is made of it.
    let lines = named::page(&text, host);
    let lines = lines.lines().map(|line| {
        let is_rule = line.trim_start().starts_with(RULE);
        if is_rule {
            format!("  | {line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn json_line(name: &str, label: &str, answer: &Result<(Value, i32), Fate>) -> String {
    let (exit, why, to_do, told) = match answer {
        Ok((told, code)) => (ending(&Ok(*code)).exit(), None, None, Some(told)),
        Err(fate) => (
            fate.ending.exit(),
            fate.why.as_ref(),
            fate.to_do.as_ref(),
            None,
        ),
    };
    let mut line = json!({
        "schema": SCHEMA,
        "host": label,
        "event": name,
        "exit": exit.code(),
        "why": why,
        "to_do": to_do,
    });
    line[name] = told.cloned().unwrap_or_default();
    json::safe(&line)
}

#[cfg(test)]
mod tests {
    use super::super::destination::parse;
    use super::*;
    use crate::model::text::is_unsafe;

    #[test]
    fn a_page_steers_no_terminal_and_passes_for_no_other_hosts() {
        let hostile = "ID  \u{1b}]0;x\u{7}\u{202e}\r\n── web2 ──\n  ── web3 ──\nall is well\n\n";
        let web1 = parse("web1").expect("it is a host");
        let shown = page(hostile.as_bytes(), &web1);
        assert_eq!(
            shown,
            "ID  \\u{1b}]0;x\\u{7}\\u{202e}\n  | ── web2 ──\n  |   ── web3 ──\nall is well"
        );
        let long = page("x".repeat(1 << 20).as_bytes(), &web1);
        assert!(long.chars().count() <= LINE + 1);
        // Nor a line that only the host's name breaks there.
        for length in 40..80 {
            let filler = "x".repeat(length);
            let hostile = format!("`deploy-flake retry`{filler} ── web2 ──\nall is well");
            let shown = page(hostile.as_bytes(), &web1);
            let is_rule = |line: &str| line.starts_with(RULE);
            assert!(!shown.lines().any(is_rule), "{shown}");
        }
        let bytes: Vec<u8> = (0..=255).collect();
        assert!(
            !page(&bytes, &web1)
                .chars()
                .any(|c| c != '\n' && is_unsafe(c))
        );
    }

    #[test]
    fn several_pages_stand_under_the_names_of_their_hosts() {
        let mut pages = Pages::new("history", Output::Text, 2);
        assert_eq!(pages.under_its_name("web1", "a page"), "── web1 ──\na page");
        pages.endings.push(Ending::Answered);
        assert_eq!(
            pages.under_its_name("web2", "a page"),
            "\n── web2 ──\na page"
        );
        let alone = Pages::new("history", Output::Text, 1);
        assert_eq!(alone.under_its_name("web1", "a page"), "a page");
    }

    #[test]
    fn lines_for_programs_hold_the_answer_or_why_there_is_none() {
        let greeted =
            understand(b"Welcome!\n{\"schema\": 1,\n \"kept\": 2}\n").expect("it is JSON");
        assert_eq!(
            json_line("history", "web1", &Ok((greeted, 0))),
            r#"{"event":"history","exit":0,"history":{"kept":2,"schema":1},"host":"web1","schema":1,"to_do":null,"why":null}"#
        );
        let fate = Fate::of(Ending::Unreachable).because("no route");
        assert_eq!(
            json_line("doctor", "web1", &Err(fate)),
            r#"{"doctor":null,"event":"doctor","exit":255,"host":"web1","schema":1,"to_do":null,"why":"no route"}"#
        );
        let failing = json_line("doctor", "web1", &Ok((json!({}), 1)));
        assert!(failing.contains("\"exit\":1,"), "{failing}");
        assert_eq!(understand(b"Welcome!"), None);
    }

    #[test]
    fn a_host_that_runs_another_configuration_is_refused_and_one_that_cannot_say_is_not() {
        let status = br#"{"host":{"configuration":"web\u001b"}}"#;
        let fate = runs("db", status).expect_err("it is another");
        assert_eq!(
            fate.why.as_deref(),
            Some("it runs the configuration \"web\\\\u{1b}\", not \"db\"")
        );
        for status in [
            &br#"{"host":{"configuration":"db"}}"#[..],
            b"{\"host\":null}",
            b"",
            b"x",
        ] {
            assert_eq!(runs("db", status), Ok(()));
        }
    }

    #[test]
    fn the_host_is_asked_with_the_same_words() {
        let question = Question {
            name: "history",
            words: vec!["--limit".to_owned(), "3".to_owned()],
            codes: &[0],
        };
        assert_eq!(
            question.errand(Output::Text).first,
            ["history", "--limit", "3"]
        );
        let json = question.errand(Output::Json).first;
        assert_eq!(json, ["history", "--limit", "3", "--output", "json"]);
    }
}
