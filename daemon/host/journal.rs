//! What a unit said: the end of its lines in the journal.
//!
//! In: one run of a unit. Out: plain text that is safe in a terminal and a log.
//! Must not: fail, or hold anybody up for a journald that does not answer; what
//! is missing then is told to our own log.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use super::command::{self, Command};

/// How long all of it may take while journald does not answer: no step stalls
/// longer because of its words.
const PATIENCE: Duration = Duration::from_secs(1);

/// How soon it is read what is there already, should journald not answer. What
/// it received it has written, and only syncs, by then.
const HEAD_START: Duration = Duration::from_millis(400);

/// How long reading may take once journald has answered, on a host with a big
/// journal and slow disks.
const READ_DEADLINE: Duration = Duration::from_secs(20);

/// How much text is kept.
const TAIL_LIMIT: usize = 16 * 1024;

/// Whose lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// What the unit's own processes wrote to their standard streams.
    ByProcesses,
    /// Everything, with what systemd said about the unit: why it could not start.
    WithSystemd,
}

/// One run of a unit, by what its lines are found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The unit's name.
    pub unit: String,
    /// Identifies the run; empty when there was none.
    pub invocation_id: String,
    /// When it began, in microseconds of the monotonic clock.
    pub began: u64,
}

/// Whether nothing is missing from what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// journald had written all that it received.
    #[default]
    Whole,
    /// It did not answer in time: the end may be missing, or everything.
    Partial,
}

/// What a unit said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The last lines.
    pub text: String,
    /// Whether they are all.
    pub extent: Extent,
}

/// The last lines of one run of a unit.
pub async fn tail(journalctl: &Path, run: &Run, lines: usize, said: Said) -> Words {
    if run.invocation_id.is_empty() {
        return Words::default();
    }
    let until = Instant::now() + PATIENCE;
    // What a process wrote just before it ended may still be on its way.
    let sync = Command::new(journalctl, ["--sync"]);
    let synced = command::run(&sync, PATIENCE);
    let read = || read(journalctl, run, lines, said);
    let early = async {
        sleep(HEAD_START).await;
        timeout_at(until, read()).await.unwrap_or_default()
    };
    let mut early = pin!(early);
    let mut words = None;
    let synced = {
        let mut synced = pin!(synced);
        loop {
            // Cancel-safe: both are polled on where they were.
            tokio::select! {
                biased;
                synced = &mut synced => break synced,
                text = &mut early, if words.is_none() => words = Some(text),
            }
        }
    };
    match synced {
        Ok(output) if output.status.success() => Words {
            text: read().await,
            extent: Extent::Whole,
        },
        Ok(_) | Err(_) => {
            warn!(
                unit = run.unit,
                "journald does not answer; words of the unit may be missing"
            );
            let text = match words {
                Some(text) => text,
                None => early.await,
            };
            Words {
                text,
                extent: Extent::Partial,
            }
        }
    }
}

/// What the journal's files hold now.
async fn read(journalctl: &Path, run: &Run, lines: usize, said: Said) -> String {
    let read = Command::new(journalctl, arguments(run, lines, said));
    match command::run(&read, READ_DEADLINE).await {
        Ok(output) if output.status.success() => {
            let entries = String::from_utf8_lossy(&output.stdout);
            end_of(&plain(&messages(&entries, run)))
        }
        Ok(output) => {
            warn!(status = %output.status, stderr = output.stderr_tail, "the journal could not be read");
            String::new()
        }
        Err(error) => {
            warn!(%error, "the journal could not be read");
            String::new()
        }
    }
}

/// Lines are looked for by the unit, and told apart afterwards.
fn arguments(run: &Run, lines: usize, said: Said) -> Vec<String> {
    let mut arguments: Vec<_> = ["--quiet", "--no-pager", "--boot", "--output=json", "--all"]
        .map(str::to_owned)
        .into();
    arguments.push("--output-fields=MESSAGE,INVOCATION_ID,_SYSTEMD_INVOCATION_ID".to_owned());
    arguments.push(format!("--lines={lines}"));
    arguments.push(format!("_SYSTEMD_UNIT={}", run.unit));
    match said {
        // While it sets up a process, systemd's own words are in the same cgroup.
        Said::ByProcesses => arguments.push("_TRANSPORT=stdout".to_owned()),
        Said::WithSystemd => {
            arguments.push("+".to_owned());
            arguments.push(format!("INVOCATION_ID={}", run.invocation_id));
        }
    }
    arguments
}

/// What is read of an entry.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "MESSAGE")]
    message: Message,
    #[serde(rename = "_SYSTEMD_INVOCATION_ID")]
    said_by: Option<String>,
    #[serde(rename = "INVOCATION_ID")]
    said_about: Option<String>,
    #[serde(rename = "__MONOTONIC_TIMESTAMP")]
    at: String,
}

/// journalctl writes as bytes what is no text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    Bytes(Vec<u8>),
}

impl Entry {
    /// Whether it is of this run.
    ///
    /// When journald comes to the first line of a process only after its unit
    /// has ended, it cannot find out the run any more and leaves it out: a
    /// short check that fails on a busy host. The unit is known all the same,
    /// and no other run of it began since.
    fn is_of(&self, run: &Run) -> bool {
        let names_run = |id: &Option<String>| id.as_deref() == Some(run.invocation_id.as_str());
        let is_late =
            self.said_by.is_none() && self.at.parse().is_ok_and(|at: u64| at >= run.began);
        names_run(&self.said_by) || names_run(&self.said_about) || is_late
    }
}

/// The messages of a run, one a line. An entry that is not as journald writes
/// them is nobody's words.
fn messages(entries: &str, run: &Run) -> String {
    let entries = entries
        .lines()
        .filter_map(|line| serde_json::from_str::<Entry>(line).ok());
    let messages = entries
        .filter(|entry| entry.is_of(run))
        .map(|entry| match entry.message {
            Message::Text(text) => text,
            Message::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        });
    messages.collect::<Vec<_>>().join("\n")
}

fn end_of(text: &str) -> String {
    let mut start = text.len().saturating_sub(TAIL_LIMIT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].trim().to_owned()
}

/// Removes escape sequences and everything else that could move a cursor,
/// reorder text or hide in it; keeps line ends and tabs.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => skip_escape(&mut rest),
            // The eight-bit form of ESC [.
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\n' | '\t' => plain.push(character),
            // A progress line that was written over and over: keep its states apart.
            '\r' => plain.push('\n'),
            hidden if is_hidden(hidden) => {}
            visible => plain.push(visible),
        }
    }
    plain
}

/// Control characters, and what reorders text without being seen.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn skip_escape(rest: &mut std::str::Chars<'_>) {
    match rest.clone().next() {
        Some('[') => {
            rest.next();
            skip_control_sequence(rest);
        }
        // An operating system command, such as a window's title or the clipboard.
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(rest),
        // Two characters, such as ESC c.
        Some(_) | None => {
            rest.next();
        }
    }
}

fn skip_control_sequence(rest: &mut std::str::Chars<'_>) {
    let is_final = |character: char| ('\u{40}'..='\u{7e}').contains(&character);
    rest.by_ref().find(|&character| is_final(character));
}

/// Up to BEL or ESC \, but never beyond the line: an open one must not hide
/// all that follows.
fn skip_string(rest: &mut std::str::Chars<'_>) {
    while let Some(character) = rest.clone().next() {
        if character == '\n' {
            return;
        }
        rest.next();
        if character == '\u{7}' {
            return;
        }
        if character == '\u{1b}' {
            rest.next();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_or_hide_text_is_removed() {
        for (dirty, clean) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\u{1b}[31;1merror:\u{1b}[0m no", "error: no"),
            ("a\u{1b}]52;c;ZXZpbA==\u{7}b", "ab"),
            ("a\u{1b}]0;title\u{1b}\\b", "ab"),
            ("a\u{1b}]open\nb", "a\nb"),
            ("\u{1b}creset", "reset"),
            ("10%\r20%", "10%\n20%"),
            ("nul\0bel\u{7}del\u{7f}", "nulbeldel"),
            ("a\u{9b}2Jb\u{85}c", "abc"),
            ("evil\u{202e}txt", "eviltxt"),
            ("ende\u{1b}", "ende"),
            ("Grüße ✓", "Grüße ✓"),
        ] {
            assert_eq!(plain(dirty), clean, "{dirty:?}");
        }
    }

    /// A `journalctl` that does this.
    fn journalctl(directory: &Path, script: &str) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = directory.join("journalctl");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        path
    }

    const ENTRY: &str =
        r#"echo '{"MESSAGE":"words","_SYSTEMD_INVOCATION_ID":"abc","__MONOTONIC_TIMESTAMP":"1"}'"#;

    #[tokio::test]
    async fn a_journald_that_does_not_answer_is_not_waited_for_and_read_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let hangs = "sleep 3600";
        for (sync, read, text, extent) in [
            ("exit 0", ENTRY, "words", Extent::Whole),
            ("exit 0", "exit 1", "", Extent::Whole),
            ("exit 1", ENTRY, "words", Extent::Partial),
            (hangs, ENTRY, "words", Extent::Partial),
            (hangs, hangs, "", Extent::Partial),
        ] {
            let script = format!("if [ \"$1\" = --sync ]; then {sync}; else {read}; fi");
            let journalctl = journalctl(directory.path(), &script);
            let begun = Instant::now();
            let words = tail(&journalctl, &run(), 40, Said::ByProcesses).await;
            let expected = Words {
                text: text.to_owned(),
                extent,
            };
            assert_eq!(words, expected, "{sync}, {read}");
            // Far less than a step may be held up by nothing but its words.
            assert!(begun.elapsed() < 4 * PATIENCE, "{sync}, {read}");
        }
    }

    fn run() -> Run {
        Run {
            unit: "a.service".to_owned(),
            invocation_id: "abc".to_owned(),
            began: 1000,
        }
    }

    #[test]
    fn lines_of_systemd_are_asked_for_only_when_wanted() {
        let own = arguments(&run(), 40, Said::ByProcesses);
        assert!(own.contains(&"--lines=40".to_owned()));
        assert!(own.ends_with(&[
            "_SYSTEMD_UNIT=a.service".to_owned(),
            "_TRANSPORT=stdout".to_owned()
        ]));
        let all = arguments(&run(), 40, Said::WithSystemd);
        assert!(all.ends_with(&["+".to_owned(), "INVOCATION_ID=abc".to_owned()]));
    }

    #[test]
    fn lines_of_a_run_are_told_from_those_of_others() {
        for (fields, is_its) in [
            (
                r#""_SYSTEMD_INVOCATION_ID":"abc","__MONOTONIC_TIMESTAMP":"999""#,
                true,
            ),
            (
                r#""_SYSTEMD_INVOCATION_ID":"def","__MONOTONIC_TIMESTAMP":"2000""#,
                false,
            ),
            (
                r#""_SYSTEMD_INVOCATION_ID":"pid1","INVOCATION_ID":"abc","__MONOTONIC_TIMESTAMP":"2000""#,
                true,
            ),
            // journald came too late to know the run.
            (r#""__MONOTONIC_TIMESTAMP":"2000""#, true),
            (r#""__MONOTONIC_TIMESTAMP":"999""#, false),
        ] {
            let entry = format!(r#"{{"MESSAGE":"words",{fields}}}"#);
            let expected = if is_its { "words" } else { "" };
            assert_eq!(messages(&entry, &run()), expected, "{fields}");
        }
    }

    #[test]
    fn bytes_are_read_and_what_is_no_entry_is_left_out() {
        let of_run = r#""_SYSTEMD_INVOCATION_ID":"abc","__MONOTONIC_TIMESTAMP":"1""#;
        let entries = format!(
            "{{\"MESSAGE\":[104,105,255],{of_run}}}\n{{\"MESSAGE\":null,{of_run}}}\n-- No entries --\n\
             {{\"MESSAGE\":\"two\\nlines\",{of_run}}}"
        );
        assert_eq!(messages(&entries, &run()), "hi\u{fffd}\ntwo\nlines");
    }

    #[test]
    fn a_long_text_keeps_its_end() {
        let text = format!("{}ü the end\n", "é".repeat(TAIL_LIMIT));
        let end = end_of(&text);
        assert!(end.len() <= TAIL_LIMIT);
        assert!(end.ends_with("the end"));
    }
}
