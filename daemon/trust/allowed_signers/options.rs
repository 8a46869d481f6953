//! The options of a line of allowed signers.
//!
//! In: `name="value",name`. Out: what they mean. Must not: ignore one.

use jiff::Timestamp;

use super::time;
use crate::trust::key_file::Mistake;
use crate::trust::pattern::PatternList;

#[derive(Default)]
pub(super) struct Options {
    pub(super) namespaces: Option<PatternList>,
    pub(super) valid_after: Option<Timestamp>,
    pub(super) valid_before: Option<Timestamp>,
}

impl Options {
    pub(super) fn parse(line: usize, text: &str) -> Result<Self, Mistake> {
        let mut options = Self::default();
        for option in split(text) {
            options.add(line, &option)?;
        }
        if let (Some(after), Some(before)) = (options.valid_after, options.valid_before)
            && after >= before
        {
            let expected = "a time for valid-before that is later than valid-after";
            return Err(Mistake::in_line(line, expected, text));
        }
        Ok(options)
    }

    fn add(&mut self, line: usize, option: &str) -> Result<(), Mistake> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let once = "each option once";
        match (name.to_ascii_lowercase().as_str(), value) {
            ("namespaces", Some(value)) => {
                let namespaces = PatternList::new(&unquoted(line, value)?);
                set(&mut self.namespaces, namespaces)
            }
            ("valid-after", Some(value)) => set(&mut self.valid_after, instant(line, value)?),
            ("valid-before", Some(value)) => set(&mut self.valid_before, instant(line, value)?),
            ("cert-authority", None) => {
                let expected = "a key that signs itself; certificate authorities are not supported";
                return Err(Mistake::in_line(line, expected, option));
            }
            _ => {
                let expected =
                    "namespaces=\"...\", valid-after=\"...\", valid-before=\"...\", then a public key";
                return Err(Mistake::in_line(line, expected, option));
            }
        }
        .map_err(|Twice| Mistake::in_line(line, once, option))
    }
}

struct Twice;

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), Twice> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Twice),
    }
}

fn instant(line: usize, value: &str) -> Result<Timestamp, Mistake> {
    let value = unquoted(line, value)?;
    let expected = "a time in UTC: YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ";
    time::parse(&value).ok_or_else(|| Mistake::in_line(line, expected, &value))
}

/// The text between the quotes, which ssh-keygen demands; `\"` is a quote.
fn unquoted(line: usize, value: &str) -> Result<String, Mistake> {
    let inner = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let inner = inner.map(|inner| inner.replace("\\\"", "\u{0}"));
    let inner = inner.filter(|inner| !inner.contains('"') && !inner.is_empty());
    let inner = inner.ok_or_else(|| Mistake::in_line(line, "a value in quotes", value))?;
    Ok(inner.replace('\u{0}', "\""))
}

/// Splits at the commas that are not in quotes.
fn split(text: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars() {
        match character {
            ',' if !quoted => {
                options.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = character == '\\' && !escaped;
        if let Some(option) = options.last_mut() {
            option.push(character);
        }
    }
    options
}
