//! One line of Nix's activity stream.
//!
//! In: bytes. Out: what they say, of what is of use here. Must not: fail on what a
//! newer Nix says; what is not known is left out.
//!
//! The numbers are Nix's (`src/libutil/logging.hh`); they are part of what it
//! promises to readers of `--log-format internal-json` since 2.4.

use serde::Deserialize;

/// What every line of the stream begins with.
const PREFIX: &[u8] = b"@nix ";

/// A line of the stream.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub(super) enum Message {
    /// An activity began.
    Start {
        /// Its number.
        id: u64,
        /// How much it matters; the less, the more.
        #[serde(default)]
        level: u64,
        /// What kind of activity it is.
        #[serde(default, rename = "type")]
        kind: u64,
        /// In words.
        #[serde(default)]
        text: String,
        /// What it is about; the first is the derivation, or the store path.
        #[serde(default)]
        fields: Vec<Field>,
    },
    /// It ended.
    Stop {
        /// Its number.
        id: u64,
    },
    /// Something came of it.
    Result {
        /// Its number.
        id: u64,
        /// What.
        #[serde(rename = "type")]
        kind: u64,
        /// More of it.
        #[serde(default)]
        fields: Vec<Field>,
    },
    /// Nix has something to say.
    Msg {
        /// How much it matters.
        #[serde(default)]
        level: u64,
        /// In words, with colours.
        msg: String,
    },
    /// Something that is not known here.
    #[serde(other)]
    Other,
}

/// A field.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Field {
    /// A number.
    Number(u64),
    /// Text.
    Text(String),
    /// Neither.
    Other(serde::de::IgnoredAny),
}

/// Kinds of activities.
pub(super) mod activity {
    /// A store path is copied into the store.
    pub(in crate::relay) const COPY_PATH: u64 = 100;
    /// All that are.
    pub(in crate::relay) const COPY_PATHS: u64 = 103;
    /// All that is built.
    pub(in crate::relay) const BUILDS: u64 = 104;
    /// A derivation is built.
    pub(in crate::relay) const BUILD: u64 = 105;
    /// A build waits for a lock.
    pub(in crate::relay) const BUILD_WAITING: u64 = 111;
}

/// Kinds of results.
pub(super) mod result {
    /// A builder wrote a line.
    pub(in crate::relay) const BUILD_LOG_LINE: u64 = 101;
    /// Done, expected, running, failed.
    pub(in crate::relay) const PROGRESS: u64 = 105;
    /// How much of which kind of activity is going to be.
    pub(in crate::relay) const SET_EXPECTED: u64 = 106;
    /// A hook wrote a line after a build.
    pub(in crate::relay) const POST_BUILD_LOG_LINE: u64 = 107;
}

/// What matters less than this is not shown: it is what Nix shows by itself.
pub(super) const SHOWN: u64 = 3;

/// Understands a line. None: it is not of the stream.
pub(super) fn understand(line: &[u8]) -> Option<Message> {
    serde_json::from_slice(line.strip_prefix(PREFIX)?).ok()
}

/// The field at this place, if it is text.
pub(super) fn text(fields: &[Field], place: usize) -> Option<&str> {
    match fields.get(place)? {
        Field::Text(text) => Some(text),
        Field::Number(_) | Field::Other(_) => None,
    }
}

/// The field at this place, if it is a number.
pub(super) fn number(fields: &[Field], place: usize) -> Option<u64> {
    match fields.get(place)? {
        Field::Number(number) => Some(*number),
        Field::Text(_) | Field::Other(_) => None,
    }
}
