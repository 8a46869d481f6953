//! What the far side says, line by line: `deploy-flake ... --output json`.
//!
//! In: bytes that another host wrote. Out: what they mean, made safe to show
//! and of bounded size, or why they mean nothing. Must not: believe more than
//! the form; a host that lies about itself is no better off than one that is
//! broken.
//!
//! The daemon over there may be newer than this command: keys that are not
//! known are left out, words that are not known are shown as they are.

use serde::Deserialize;
use serde_json::Value;

use crate::model::progress::{Count, Progress};
use crate::model::revision::CommitId;
use crate::model::text::{LINE_LIMIT, lines, one_line};

/// The longest line that is read, in bytes: the last one holds the whole state,
/// a few thousand.
pub(super) const LINE_BYTES: usize = 256 * 1024;

/// The version of the lines that is understood.
const SCHEMA: u64 = 1;

/// The longest word of the protocol, in bytes.
const WORD_BYTES: usize = 40;

/// How much of what a step said last is kept, in characters.
const DETAIL_LIMIT: usize = 2000;

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// The daemon was told, and looks.
    Told {
        /// The number of the look.
        look: u64,
    },
    /// The daemon has a snapshot, and deploys it.
    Pushed {
        /// The number of the look that follows.
        look: u64,
    },
    /// A phase began.
    Phase {
        /// Its name.
        name: Word,
        /// Of which deployment.
        deployment: Option<Word>,
    },
    /// How far the phase is.
    Progress(Progress),
    /// The daemon was restarted, and was told again.
    Restarted,
    /// The branch asks for another commit than the one that was expected.
    Unexpected {
        /// What it asks for.
        wanted: Option<CommitId>,
    },
    /// It is over.
    End(Box<End>),
    /// An event that this version does not know.
    Other(Word),
}

/// How it ended, and the state.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct End {
    /// The exit code of the far side.
    pub(super) exit: u8,
    /// What of the state is told.
    pub(super) glimpse: Glimpse,
    /// All of the state, for programs.
    pub(super) snapshot: Value,
}

/// Why a line says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// It is nothing of ours: a banner, or a shell's greeting.
    #[error("no line of JSON: {0}")]
    Foreign(String),
    /// It is longer than any of ours.
    #[error("a line of more than {LINE_BYTES} bytes")]
    TooLong,
    /// Another version wrote it.
    #[error("expected lines of schema {SCHEMA}, found schema {0}")]
    Schema(u64),
    /// It lacks what it needs, or has it in another form.
    #[error("a line that is malformed: {0}")]
    Form(String),
}

/// A word of the protocol: lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Word(String);

impl Word {
    /// The word.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Word {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > WORD_BYTES || !text.bytes().all(known) {
            return Err("expected a word of lower-case letters, digits and hyphens");
        }
        Ok(Self(text))
    }
}

/// A sentence of another host: one line, cut, and nothing in it that steers a
/// terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct Sentence(String);

impl Sentence {
    /// The sentence.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Sentence {
    fn from(text: String) -> Self {
        Self(one_line(&text, LINE_LIMIT))
    }
}

/// The end of an output: some lines, cut and safe as a sentence is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct Tail(String);

impl Tail {
    /// The lines.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Tail {
    fn from(text: String) -> Self {
        Self(lines(&text, DETAIL_LIMIT))
    }
}

/// What of a host's state is told here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Glimpse {
    /// The host.
    pub(super) host: Host,
    /// What its branch asks for.
    pub(super) desired: Option<Desired>,
    /// What is going on.
    pub(super) phase: Phase,
    /// Whether it is what the branch asks for.
    pub(super) condition: Condition,
    /// How the last deployment ended.
    pub(super) last: Option<Last>,
    /// Whether the daemon runs; only `status` says so.
    #[serde(default)]
    pub(super) daemon_running: Option<bool>,
}

/// The host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Host {
    /// Which configuration is its own.
    pub(super) configuration: Sentence,
}

/// What the branch asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Desired {
    /// The commit.
    pub(super) commit: CommitId,
}

/// What is going on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Phase {
    /// The phase.
    pub(super) name: Word,
    /// Since when.
    pub(super) since: jiff::Timestamp,
    /// How far it is.
    #[serde(default)]
    progress: Option<FarProgress>,
}

impl Phase {
    /// How far it is.
    pub(super) fn progress(&self) -> Option<Progress> {
        self.progress.clone().map(Progress::from)
    }
}

/// How far a build is, as another host says it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct FarProgress {
    built: Count,
    fetched: Count,
    #[serde(default)]
    last_line: Sentence,
}

impl From<FarProgress> for Progress {
    fn from(far: FarProgress) -> Self {
        Self::new(far.built, far.fetched, far.last_line.as_str())
    }
}

/// The answer, and why.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Condition {
    /// In one word.
    pub(super) state: Word,
    /// Why.
    pub(super) why: Sentence,
    /// Since when.
    pub(super) since: jiff::Timestamp,
    /// What to do.
    pub(super) remedy: Option<Sentence>,
}

/// The deployment that ended last.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Last {
    /// Its id.
    pub(super) deployment: Word,
    /// Its commit.
    pub(super) commit: CommitId,
    /// What was pushed, if it was a push.
    #[serde(default)]
    pub(super) pushed: Option<Pushed>,
    /// How it ended.
    pub(super) outcome: Word,
    /// Why it did not end well.
    pub(super) failure: Option<LastFailure>,
}

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Pushed {
    /// Where it is in the host's store.
    pub(super) source: Sentence,
}

/// Why a deployment did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct LastFailure {
    /// What failed, in a word.
    pub(super) code: Word,
    /// What was expected, and what was found.
    #[serde(default)]
    pub(super) message: Sentence,
    /// What to do.
    #[serde(default)]
    pub(super) hint: Sentence,
    /// What a step said last.
    #[serde(default)]
    pub(super) detail: Tail,
}

/// Understands a line.
pub(super) fn understand(line: &[u8]) -> Result<Said, Malformed> {
    let foreign = || Malformed::Foreign(one_line(&String::from_utf8_lossy(line), LINE_LIMIT));
    let value: Value = serde_json::from_slice(line).map_err(|_| foreign())?;
    let Some(schema) = value.get("schema").and_then(Value::as_u64) else {
        return Err(foreign());
    };
    if schema != SCHEMA {
        return Err(Malformed::Schema(schema));
    }
    let event: Word = part(value.get("event"), "event")?;
    let said = match event.as_str() {
        "triggered" | "retried" | "allowed" | "goes-back" => Said::Told {
            look: part(value.get("look"), "look")?,
        },
        "pushed" => Said::Pushed {
            look: part(value.get("look"), "look")?,
        },
        "phase" => Said::Phase {
            name: part(value.get("name"), "name")?,
            deployment: part(value.get("deployment"), "deployment")?,
        },
        "progress" => {
            let progress: FarProgress = part(Some(&value), "progress")?;
            Said::Progress(progress.into())
        }
        "restarted" => Said::Restarted,
        "unexpected" => Said::Unexpected {
            wanted: part(value.get("wanted"), "wanted")?,
        },
        "end" => Said::End(Box::new(end(value)?)),
        _ => Said::Other(event),
    };
    Ok(said)
}

fn end(mut value: Value) -> Result<End, Malformed> {
    let exit = part(value.get("exit"), "exit")?;
    let snapshot = value.get_mut("snapshot").map(Value::take);
    let snapshot = snapshot.ok_or_else(|| Malformed::Form("snapshot is missing".to_owned()))?;
    let glimpse = glimpse(&snapshot)?;
    Ok(End {
        exit,
        glimpse,
        snapshot,
    })
}

/// What of a snapshot is told.
pub(super) fn glimpse(snapshot: &Value) -> Result<Glimpse, Malformed> {
    part(Some(snapshot), "snapshot")
}

/// A part of a line; one that is missing is null.
fn part<T: serde::de::DeserializeOwned>(value: Option<&Value>, key: &str) -> Result<T, Malformed> {
    let value = value.unwrap_or(&Value::Null);
    T::deserialize(value).map_err(|error| {
        let why = format!("{key}: {error}");
        Malformed::Form(one_line(&why, LINE_LIMIT))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::text::is_unsafe;
    use crate::store::snapshot::example::full;

    /// The line with which the far side ends, with something changed in it.
    pub(in crate::cli::hosts) fn end_line(exit: u8, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut snapshot = serde_json::to_value(full()).expect("it serialises");
        change(&mut snapshot);
        let line = serde_json::json!({
            "schema": 1, "event": "end", "exit": exit, "snapshot": snapshot,
        });
        serde_json::to_vec(&line).expect("it serialises")
    }

    #[test]
    fn every_event_of_ours_is_understood() {
        let phase = br#"{"schema":1,"event":"phase","name":"building","deployment":"00c0ffee00c0ffee","since":"2026-11-22T12:00:00Z"}"#;
        let word = |text: &str| Word(text.to_owned());
        for (line, said) in [
            (
                &br#"{"schema":1,"event":"triggered","look":6}"#[..],
                Said::Told { look: 6 },
            ),
            (
                br#"{"schema":1,"event":"retried","look":7,"allowed":[]}"#,
                Said::Told { look: 7 },
            ),
            (
                br#"{"schema":1,"event":"goes-back","look":8}"#,
                Said::Told { look: 8 },
            ),
            (
                br#"{"schema":1,"event":"pushed","look":9}"#,
                Said::Pushed { look: 9 },
            ),
            (
                phase,
                Said::Phase {
                    name: word("building"),
                    deployment: Some(word("00c0ffee00c0ffee")),
                },
            ),
            (
                br#"{"schema":1,"event":"progress","built":{"done":1,"expected":3},"fetched":{"done":0,"expected":0},"last_line":"\u001b[2J"}"#,
                Said::Progress(Progress::new(
                    Count {
                        done: 1,
                        expected: 3,
                    },
                    Count::default(),
                    "\u{1b}[2J",
                )),
            ),
            (
                br#"{"schema":1,"event":"restarted","look":1}"#,
                Said::Restarted,
            ),
            (
                br#"{"schema":1,"event":"unexpected","expected":"0123456","wanted":null}"#,
                Said::Unexpected { wanted: None },
            ),
            (
                br#"{"schema":1,"event":"paused-by-somebody","by":"x"}"#,
                Said::Other(word("paused-by-somebody")),
            ),
        ] {
            assert_eq!(understand(line), Ok(said));
        }
        let Ok(Said::End(end)) = understand(&end_line(3, |_| ())) else {
            panic!("it is an end");
        };
        assert_eq!(end.exit, 3);
        let snapshot = full();
        assert_eq!(end.glimpse.condition.state.as_str(), "converged");
        assert_eq!(
            end.glimpse.desired.map(|it| it.commit),
            snapshot.desired.map(|it| it.commit)
        );
        assert_eq!(end.snapshot["schema"], snapshot.schema);
    }

    #[test]
    fn hosts_of_every_version_are_understood() {
        let last_word = |snapshot: Value| {
            let line = serde_json::json!({
                "schema": 1, "event": "end", "exit": 0, "snapshot": snapshot, "future": [1],
            });
            match understand(line.to_string().as_bytes()) {
                Ok(Said::End(end)) => end.glimpse,
                other => panic!("not understood: {other:?}"),
            }
        };
        for older in [
            include_str!("../../store/snapshot/schema-1.json"),
            include_str!("../../store/snapshot/schema-2.json"),
            include_str!("../../store/snapshot/schema-3.json"),
        ] {
            let glimpse = last_word(serde_json::from_str(older).expect("it is JSON"));
            assert_eq!(glimpse.condition.state.as_str(), "converged");
            assert_eq!(glimpse.phase.progress(), None);
        }
        let mut newer = serde_json::to_value(full()).expect("it serialises");
        newer["schema"] = 99.into();
        newer["phase"]["name"] = "dreaming-aloud".into();
        newer["phase"]["progress"] = serde_json::json!({
            "built": {"done": 1, "expected": 3, "failed": 0},
            "fetched": {"done": 0, "expected": 0},
            "signed": {"done": 7, "expected": 9},
        });
        newer["condition"]["state"] = "enlightened".into();
        newer["last"]["failure"]["code"] = "stars-unfavourable".into();
        newer["future"] = Value::Null;
        let glimpse = last_word(newer);
        assert_eq!(glimpse.phase.name.as_str(), "dreaming-aloud");
        assert_eq!(glimpse.condition.state.as_str(), "enlightened");
        let progress = glimpse.phase.progress().map(|it| it.to_string());
        assert_eq!(progress.as_deref(), Some("1 of 3 built"));
    }

    #[test]
    fn what_is_not_of_that_form_is_told_by_its_kind() {
        let kind = |line: &[u8]| match understand(line) {
            Ok(said) => format!("{said:?}"),
            Err(Malformed::Foreign(_)) => "foreign".to_owned(),
            Err(Malformed::TooLong) => "too long".to_owned(),
            Err(Malformed::Schema(schema)) => format!("schema {schema}"),
            Err(Malformed::Form(_)) => "form".to_owned(),
        };
        for (line, expected) in [
            (&b"Welcome to web1!"[..], "foreign"),
            (b"", "foreign"),
            (b"\xff\xfe", "foreign"),
            (b"[]", "foreign"),
            (b"{}", "foreign"),
            (br#"{"schema":"1","event":"restarted"}"#, "foreign"),
            (br#"{"schema":2,"event":"restarted"}"#, "schema 2"),
            (br#"{"schema":1}"#, "form"),
            (br#"{"schema":1,"event":"triggered"}"#, "form"),
            (br#"{"schema":1,"event":"triggered","look":-1}"#, "form"),
            (br#"{"schema":1,"event":"\u001b[2J"}"#, "form"),
            (br#"{"schema":1,"event":"phase","name":"a\nb"}"#, "form"),
            (br#"{"schema":1,"event":"phase","name":["x"]}"#, "form"),
            (
                br#"{"schema":1,"event":"unexpected","wanted":"--help"}"#,
                "form",
            ),
            (
                br#"{"schema":1,"event":"end","exit":256,"snapshot":{}}"#,
                "form",
            ),
            (br#"{"schema":1,"event":"end","exit":0}"#, "form"),
            (
                br#"{"schema":1,"event":"end","exit":0,"snapshot":7}"#,
                "form",
            ),
        ] {
            assert_eq!(kind(line), expected, "{}", String::from_utf8_lossy(line));
        }
        let deep = "[".repeat(100_000);
        assert_eq!(kind(deep.as_bytes()), "foreign");
    }

    #[test]
    fn nothing_that_is_kept_steers_a_terminal_or_has_no_end() {
        let hostile = "\u{1b}]52;c;eA==\u{7}\n\u{9b}2J\u{202e}".repeat(10_000);
        let line = end_line(3, |snapshot| {
            snapshot["host"]["configuration"] = hostile.clone().into();
            snapshot["condition"]["why"] = hostile.clone().into();
            snapshot["condition"]["remedy"] = hostile.clone().into();
            snapshot["last"]["failure"]["detail"] = hostile.clone().into();
        });
        let Ok(Said::End(end)) = understand(&line) else {
            panic!("it is an end");
        };
        let Glimpse {
            host,
            condition,
            last,
            ..
        } = end.glimpse;
        let remedy = condition.remedy.unwrap_or_default();
        let detail = last.and_then(|it| it.failure).map(|it| it.detail);
        let detail = detail.unwrap_or_default();
        for text in [
            host.configuration.as_str(),
            condition.why.as_str(),
            remedy.as_str(),
        ] {
            assert!(!text.is_empty() && !text.chars().any(is_unsafe), "{text}");
            assert!(text.chars().count() <= LINE_LIMIT + 1);
        }
        assert!(!detail.as_str().chars().any(|c| c != '\n' && is_unsafe(c)));
        assert!(detail.as_str().chars().count() <= DETAIL_LIMIT + 1);
        let Err(Malformed::Foreign(shown)) = understand(hostile.as_bytes()) else {
            panic!("it is foreign");
        };
        assert!(!shown.chars().any(is_unsafe) && shown.chars().count() <= LINE_LIMIT + 1);
    }
}
