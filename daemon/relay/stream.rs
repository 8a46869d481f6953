//! Nix's activity stream, line by line: what people are shown of it, and how far the
//! build is.
//!
//! In: lines of standard error. Out: lines as Nix writes them with
//! `--print-build-logs` where there is no terminal, and progress. Must not: lose a
//! line that is none of the stream, or grow with its length.

use std::collections::HashMap;

use super::message::{Field, Message, SHOWN, activity, number, result, text, understand};
use crate::host::journal::plain;
use crate::model::progress::{Count, Progress};

/// More activities than any build has at once.
const ACTIVITIES: usize = 4096;

/// How much of a derivation's name is kept, in bytes.
const NAME_LIMIT: usize = 256;

/// How long a store path's hash is, with its hyphen.
const HASH: usize = 33;

/// What is known of the build.
#[derive(Debug, Default)]
pub(super) struct Stream {
    activities: HashMap<u64, Activity>,
    /// What activities that are over have done.
    built: u64,
    fetched: u64,
    last_line: String,
}

/// An activity that goes on.
#[derive(Debug)]
enum Activity {
    /// All that is built, or is to be.
    Builds(Count),
    /// All that is fetched, or is to be.
    Fetches(Count),
    /// One derivation is built: its name.
    Build(String),
}

impl Stream {
    /// Takes a line without its end. Returns what of it is for people, without its
    /// end either.
    pub(super) fn take(&mut self, line: &[u8]) -> Option<String> {
        let Some(message) = understand(line) else {
            return Some(shown(&String::from_utf8_lossy(line)));
        };
        match message {
            Message::Start {
                id,
                level,
                kind,
                text,
                fields,
            } => {
                self.begin(id, kind, &fields);
                let is_shown = level <= SHOWN && kind != activity::BUILD_WAITING;
                (is_shown && !text.is_empty()).then(|| shown(&format!("{text}...")))
            }
            Message::Stop { id } => {
                self.end(id);
                None
            }
            Message::Result { id, kind, fields } => self.came_of(id, kind, &fields),
            Message::Msg { level, msg } => (level <= SHOWN).then(|| shown(&msg)),
            Message::Other => None,
        }
    }

    /// How far it is. None, before anything is known to be needed.
    pub(super) fn progress(&self) -> Option<Progress> {
        let mut built = Count {
            done: self.built,
            expected: self.built,
        };
        let mut fetched = Count {
            done: self.fetched,
            expected: self.fetched,
        };
        for activity in self.activities.values() {
            match activity {
                Activity::Builds(count) => built = sum(built, *count),
                Activity::Fetches(count) => fetched = sum(fetched, *count),
                Activity::Build(_) => {}
            }
        }
        let progress = Progress::new(built, fetched, &self.last_line);
        progress.is_known().then_some(progress)
    }

    fn begin(&mut self, id: u64, kind: u64, fields: &[Field]) {
        let name = || name(text(fields, 0).unwrap_or_default()).to_owned();
        let activity = match kind {
            activity::BUILDS => Activity::Builds(Count::default()),
            activity::COPY_PATHS => Activity::Fetches(Count::default()),
            activity::BUILD => {
                let name = name();
                self.last_line = format!("building {name}");
                Activity::Build(name)
            }
            activity::COPY_PATH => {
                self.last_line = format!("fetching {}", name());
                return;
            }
            _ => return,
        };
        if self.activities.len() < ACTIVITIES {
            self.activities.insert(id, activity);
        }
    }

    fn end(&mut self, id: u64) {
        match self.activities.remove(&id) {
            Some(Activity::Builds(count)) => self.built = self.built.saturating_add(count.done),
            Some(Activity::Fetches(count)) => {
                self.fetched = self.fetched.saturating_add(count.done);
            }
            Some(Activity::Build(_)) | None => {}
        }
    }

    fn came_of(&mut self, id: u64, kind: u64, fields: &[Field]) -> Option<String> {
        match kind {
            result::PROGRESS => {
                let (done, expected) = (number(fields, 0)?, number(fields, 1)?);
                match self.activities.get_mut(&id)? {
                    Activity::Builds(count) | Activity::Fetches(count) => {
                        *count = Count { done, expected };
                    }
                    Activity::Build(_) => {}
                }
                None
            }
            result::BUILD_LOG_LINE => self.said(id, "> ", text(fields, 0)?),
            result::POST_BUILD_LOG_LINE => self.said(id, " (post)> ", text(fields, 0)?),
            _ => None,
        }
    }

    /// A builder said something.
    fn said(&mut self, id: u64, mark: &str, line: &str) -> Option<String> {
        let line = shown(line);
        if line.is_empty() {
            return None;
        }
        let name = match self.activities.get(&id) {
            Some(Activity::Build(name)) => name.as_str(),
            Some(Activity::Builds(_) | Activity::Fetches(_)) | None => "unnamed",
        };
        let line = format!("{name}{mark}{line}");
        line.clone_into(&mut self.last_line);
        Some(line)
    }
}

fn sum(left: Count, right: Count) -> Count {
    Count {
        done: left.done.saturating_add(right.done),
        expected: left.expected.saturating_add(right.expected),
    }
}

/// Without colours, and without spaces at its end.
fn shown(text: &str) -> String {
    plain(text).trim_end().to_owned()
}

/// What people call a store path: without directory, hash and `.drv`.
fn name(path: &str) -> &str {
    let base = path.rsplit('/').next().unwrap_or_default();
    let name = base.get(HASH..).unwrap_or(base);
    let name = name.strip_suffix(".drv").unwrap_or(name);
    let mut end = name.len().min(NAME_LIMIT);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::is_unsafe;

    /// Streams of Nix 2.26, and what the same Nix writes without a terminal with
    /// `--print-build-logs`. `failed` is of a client of the Nix daemon.
    const REAL: [(&str, &str, &str); 3] = [
        (
            "built",
            include_str!("fixtures/built.stream"),
            include_str!("fixtures/built.txt"),
        ),
        (
            "failed",
            include_str!("fixtures/failed.stream"),
            include_str!("fixtures/failed.txt"),
        ),
        (
            "substituted",
            include_str!("fixtures/substituted.stream"),
            include_str!("fixtures/substituted.txt"),
        ),
    ];

    /// What is shown of a stream, and each progress once.
    fn relayed(stream: &str) -> (String, Vec<String>) {
        let mut state = Stream::default();
        let (mut text, mut told) = (String::new(), Vec::new());
        for line in stream.lines() {
            if let Some(line) = state.take(line.as_bytes()) {
                text.push_str(&line);
                text.push('\n');
            }
            told.extend(state.progress().map(|progress| progress.to_string()));
        }
        told.dedup();
        (text, told)
    }

    #[test]
    fn people_are_shown_what_nix_itself_would_have_written() {
        for (name, stream, text) in REAL {
            assert_eq!(relayed(stream).0, text, "{name}");
        }
    }

    #[test]
    fn progress_is_told_in_counts_and_the_last_line() {
        let told = |index: usize| relayed(REAL[index].1).1;
        assert_eq!(
            told(0),
            [
                "0 of 1 built",
                "0 of 2 built",
                "0 of 3 built",
                "0 of 3 built: building one",
                "0 of 3 built: one> unpacking one",
                "0 of 3 built: one> compiling one",
                "1 of 3 built: one> compiling one",
                "1 of 3 built: building two",
                "1 of 3 built: two> line 1 of two",
                "1 of 3 built: two> line 2 of two",
                "1 of 3 built: two> line 3 of two",
                "2 of 3 built: two> line 3 of two",
                "2 of 3 built: building three",
                "2 of 3 built: three> progress 20%",
                "2 of 3 built: three> red",
                "3 of 3 built: three> red",
            ]
        );
        let failed = told(1);
        assert!(failed.contains(&"0 of 2 built: dep> dep fails".to_owned()));
        let substituted = told(2);
        let last = substituted.last().map(String::as_str);
        assert_eq!(last, Some("1 of 1 fetched: fetching three"));
    }

    #[test]
    fn what_is_none_of_the_stream_is_shown_as_it_is() {
        let mut stream = Stream::default();
        for (line, shown) in [
            ("Warning: known hosts", Some("Warning: known hosts")),
            ("@nix {\"action\":\"sta", Some("@nix {\"action\":\"sta")),
            ("@nix 7", Some("@nix 7")),
            ("\u{1b}[31mred\u{1b}[0m", Some("red")),
            (r#"@nix {"action":"dream","of":["x"]}"#, None),
            (
                r#"@nix {"action":"result","type":105,"id":1,"fields":["x"]}"#,
                None,
            ),
            (
                r#"@nix {"action":"result","type":101,"id":1,"fields":["x"]}"#,
                Some("unnamed> x"),
            ),
            (
                r#"@nix {"action":"result","type":101,"id":1,"fields":[""]}"#,
                None,
            ),
            (r#"@nix {"action":"msg","level":4,"msg":"chatter"}"#, None),
            (
                r#"@nix {"action":"start","id":1,"type":105,"fields":[7]}"#,
                None,
            ),
        ] {
            assert_eq!(stream.take(line.as_bytes()).as_deref(), shown, "{line}");
        }
    }

    #[test]
    fn neither_numbers_nor_names_nor_their_count_do_harm() {
        let mut stream = Stream::default();
        let long = "\u{1b}[2Jé".repeat(10_000);
        for id in 0..10_000_u64 {
            let start = serde_json::json!({
                "action": "start", "id": id, "type": 104 + id % 2, "fields": [if id % 100 == 0 { &long } else { "x" }],
            });
            let result = serde_json::json!({
                "action": "result", "id": id, "type": 105, "fields": [u64::MAX, u64::MAX, 1, 1],
            });
            for message in [start, result] {
                stream.take(format!("@nix {message}").as_bytes());
            }
        }
        assert_eq!(stream.activities.len(), ACTIVITIES);
        let progress = stream.progress().expect("much is to be built");
        assert_eq!(progress.built.expected, u64::MAX);
        assert!(!progress.to_string().chars().any(is_unsafe));
        for id in 0..10_000 {
            stream.take(format!(r#"@nix {{"action":"stop","id":{id}}}"#).as_bytes());
        }
        assert!(stream.activities.is_empty());
        assert_eq!(stream.built, u64::MAX);
    }

    #[test]
    fn a_store_path_is_called_by_its_name() {
        for (path, expected) in [
            (
                "/nix/store/q7idiifvcp7hsvqpyipwfri8056ajxs1-linux-6.6.drv",
                "linux-6.6",
            ),
            ("/nix/store/q7idiifvcp7hsvqpyipwfri8056ajxs1-x", "x"),
            ("short", "short"),
            ("", ""),
            ("ééééééééééééééééééééé", "ééééééééééééééééééééé"),
        ] {
            assert_eq!(name(path), expected);
        }
    }
}
