//! How far a copy to another store is, by Nix's activity stream.
//!
//! In: lines of standard error. Out: paths and bytes, and what people are shown.
//! Must not: lose a line that is none of the stream, or grow with its length.
//!
//! Nix opens one activity for all paths, sets what it expects of bytes there, and
//! tells of each path how much has gone.

use std::collections::HashMap;

use super::message::{Field, Message, SHOWN, activity, number, result, understand};
use crate::host::journal::plain;
use crate::model::progress::Count;

/// More paths than are copied at once.
const ACTIVITIES: usize = 4096;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Store paths.
    pub paths: Count,
    /// Bytes of them, not compressed.
    pub bytes: Count,
}

/// What is known of the copy.
#[derive(Debug, Default)]
pub struct Copies {
    going: HashMap<u64, Going>,
    /// Of paths that are there.
    bytes: u64,
    copied: Copied,
}

/// An activity that goes on.
#[derive(Debug)]
enum Going {
    /// All paths.
    Paths,
    /// One path: how many of its bytes have gone.
    Path(u64),
}

impl Copies {
    /// Takes a line without its end. Returns what of it is for people.
    pub fn take(&mut self, line: &[u8]) -> Option<String> {
        let Some(message) = understand(line) else {
            return Some(shown(&String::from_utf8_lossy(line)));
        };
        match message {
            Message::Start { id, kind, .. } => self.begin(id, kind),
            Message::Stop { id } => self.end(id),
            Message::Result { id, kind, fields } => self.came_of(id, kind, &fields),
            Message::Msg { level, msg } if level <= SHOWN => return Some(shown(&msg)),
            Message::Msg { .. } | Message::Other => {}
        }
        None
    }

    /// How far it is. None, before anything is known to be needed.
    pub fn copied(&self) -> Option<Copied> {
        let of_paths = self.going.values().map(|going| match going {
            Going::Paths => 0,
            Going::Path(bytes) => *bytes,
        });
        let done = of_paths.fold(self.bytes, u64::saturating_add);
        let bytes = Count {
            done,
            expected: self.copied.bytes.expected.max(done),
        };
        let copied = Copied {
            bytes,
            ..self.copied
        };
        (copied.paths.expected > 0).then_some(copied)
    }

    fn begin(&mut self, id: u64, kind: u64) {
        let going = match kind {
            activity::COPY_PATHS => Going::Paths,
            activity::COPY_PATH => Going::Path(0),
            _ => return,
        };
        if self.going.len() < ACTIVITIES {
            self.going.insert(id, going);
        }
    }

    fn end(&mut self, id: u64) {
        if let Some(Going::Path(bytes)) = self.going.remove(&id) {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    fn came_of(&mut self, id: u64, kind: u64, fields: &[Field]) {
        let (Some(going), Some(first), Some(second)) = (
            self.going.get_mut(&id),
            number(fields, 0),
            number(fields, 1),
        ) else {
            return;
        };
        match (going, kind) {
            (Going::Path(bytes), result::PROGRESS) => *bytes = first,
            (Going::Paths, result::PROGRESS) => {
                self.copied.paths = Count {
                    done: first,
                    expected: second.max(first),
                };
            }
            (Going::Paths, result::SET_EXPECTED) if first == activity::COPY_PATH => {
                self.copied.bytes.expected = second;
            }
            _ => {}
        }
    }
}

/// Without colours, and without spaces at its end.
fn shown(text: &str) -> String {
    plain(text).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn count(done: u64, expected: u64) -> Count {
        Count { done, expected }
    }

    #[test]
    fn paths_and_bytes_are_counted_and_the_rest_is_shown() {
        let mut copies = Copies::default();
        let mut seen = Vec::new();
        for line in [
            r#"@nix {"action":"start","id":1,"level":5,"type":103,"text":""}"#,
            r#"@nix {"action":"result","id":1,"type":106,"fields":[100,5000]}"#,
            r#"@nix {"action":"result","id":1,"type":105,"fields":[0,2,1,0]}"#,
            r#"@nix {"action":"start","id":2,"level":3,"type":100,"text":"copying","fields":["/nix/store/x"]}"#,
            r#"@nix {"action":"result","id":2,"type":105,"fields":[1000,4000]}"#,
            r#"@nix {"action":"result","id":2,"type":105,"fields":[4000,4000]}"#,
            r#"@nix {"action":"stop","id":2}"#,
            r#"@nix {"action":"result","id":1,"type":105,"fields":[1,2,1,0]}"#,
            r#"@nix {"action":"start","id":3,"type":100}"#,
            r#"@nix {"action":"result","id":3,"type":105,"fields":[2000,1000]}"#,
        ] {
            assert_eq!(copies.take(line.as_bytes()), None, "{line}");
            seen.extend(copies.copied());
        }
        seen.dedup();
        let copied = |paths, bytes| Copied { paths, bytes };
        assert_eq!(
            seen,
            [
                copied(count(0, 2), count(0, 5000)),
                copied(count(0, 2), count(1000, 5000)),
                copied(count(0, 2), count(4000, 5000)),
                copied(count(1, 2), count(4000, 5000)),
                copied(count(1, 2), count(6000, 6000)),
            ]
        );
        for (line, shown) in [
            (
                "root@web1: Permission denied",
                "root@web1: Permission denied",
            ),
            (
                r#"@nix {"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m no room"}"#,
                "error: no room",
            ),
        ] {
            assert_eq!(copies.take(line.as_bytes()).as_deref(), Some(shown));
        }
    }

    #[test]
    fn neither_numbers_nor_their_count_do_harm() {
        let mut copies = Copies::default();
        let say =
            |copies: &mut Copies, line: String| assert_eq!(copies.take(line.as_bytes()), None);
        for id in 0..10_000_u64 {
            let kind = if id == 0 { 103 } else { 100 };
            let start = format!(r#"@nix {{"action":"start","id":{id},"type":{kind}}}"#);
            let max = u64::MAX;
            let result = format!(
                r#"@nix {{"action":"result","id":{id},"type":105,"fields":[{max},{max}]}}"#
            );
            say(&mut copies, start);
            say(&mut copies, result);
        }
        assert_eq!(copies.going.len(), ACTIVITIES);
        for id in 0..10_000 {
            say(
                &mut copies,
                format!(r#"@nix {{"action":"stop","id":{id}}}"#),
            );
        }
        assert!(copies.going.is_empty());
        let all = count(u64::MAX, u64::MAX);
        let copied = copies.copied();
        assert_eq!(
            copied,
            Some(Copied {
                paths: all,
                bytes: all
            })
        );
    }
}
