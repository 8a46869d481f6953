//! The file of SSH keys that may sign, in the format of ssh-keygen(1), section
//! ALLOWED SIGNERS.
//!
//! In: the file's text. Out: one entry a line. Must not: accept a line that it
//! understands only in part. Two things of the format are refused: certificate
//! authorities, and times without `Z`, whose meaning depends on where they are
//! read.

mod options;
mod time;

use jiff::Timestamp;
use ssh_key::public::KeyData;

use super::key_file::{FILE_LIMIT, Mistake, public_key};
use super::pattern::PatternList;
use options::Options;

/// The keys that may sign, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct AllowedSigners {
    entries: Vec<Entry>,
}

/// One line: who may sign with which key, for what, and when.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Whom the line is about: the first principal that it admits.
    pub(super) principal: String,
    pub(super) key: KeyData,
    /// Every namespace, if there is no list.
    namespaces: Option<PatternList>,
    /// The key is not valid before.
    pub(super) valid_after: Option<Timestamp>,
    /// The key is not valid from then on.
    pub(super) valid_before: Option<Timestamp>,
}

impl AllowedSigners {
    /// Parses the whole file, or names the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        if text.len() > FILE_LIMIT {
            let at = "the file".to_owned();
            return Err(Mistake::new(at, "at most 4 MiB", b"more"));
        }
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                entries.push(Entry::parse(index + 1, line)?);
            }
        }
        Ok(Self { entries })
    }

    /// How many lines name a key.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no line names a key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The lines that name this key.
    pub(super) fn entries_of<'a>(&'a self, key: &'a KeyData) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.key == *key)
    }
}

impl Entry {
    fn parse(number: usize, line: &str) -> Result<Self, Mistake> {
        let (principals, rest) = principals(number, line)?;
        let (options, key) = if is_key_type(first_word(rest)) {
            (Options::default(), rest)
        } else {
            let end = end_of_options(rest);
            (
                Options::parse(number, &rest[..end])?,
                rest[end..].trim_start(),
            )
        };
        let patterns = PatternList::new(principals);
        let expected = "principals of which at least one is admitted";
        let principal = patterns.first().filter(|_| !patterns.has_empty());
        let principal = principal.ok_or_else(|| Mistake::in_line(number, expected, principals))?;
        Ok(Self {
            principal: principal.to_owned(),
            key: public_key(number, key)?,
            namespaces: options.namespaces,
            valid_after: options.valid_after,
            valid_before: options.valid_before,
        })
    }

    /// Whether the line lets its key sign for the namespace.
    pub(super) fn may_sign_for(&self, namespace: &str) -> bool {
        self.namespaces
            .as_ref()
            .is_none_or(|it| it.admits(namespace))
    }
}

/// Splits off the first field, which may be in quotes.
fn principals(number: usize, line: &str) -> Result<(&str, &str), Mistake> {
    let (field, rest) = match line.strip_prefix('"') {
        Some(quoted) => {
            let expected = "a closing quote after the principals";
            let split = quoted.split_once('"');
            split.ok_or_else(|| Mistake::in_line(number, expected, line))?
        }
        None => line.split_at(first_word(line).len()),
    };
    if !rest.starts_with([' ', '\t']) {
        let expected = "principals, options if any, and a public key";
        return Err(Mistake::in_line(number, expected, line));
    }
    Ok((field, rest.trim_start()))
}

fn first_word(text: &str) -> &str {
    text.split([' ', '\t']).next().unwrap_or_default()
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|it| word.starts_with(it))
}

/// Where the options end: at the first space that is not in quotes.
fn end_of_options(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            ' ' | '\t' if !quoted => return at,
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = character == '\\' && !escaped;
    }
    text.len()
}
