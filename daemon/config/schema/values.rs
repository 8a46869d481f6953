//! The kinds of values that more than one table has.
//!
//! In: a table and a key. Out: the value, or its default and a mistake. Must
//! not: know what a value is for.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::duration::{self, BadDuration};
use crate::config::mistakes::{Collector, Refusal};
use crate::config::nearest::nearest;
use crate::config::section::{Found, Section, quoted};
use crate::config::size::{self, BadSize};
use crate::model::revision::Branch;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a name may be, in characters.
const NAME_LIMIT: usize = 64;

/// A duration within bounds, or its default.
pub(super) fn span(
    section: &mut Section<'_>,
    key: &'static str,
    default: Duration,
    bounds: &RangeInclusive<Duration>,
    collector: &mut Collector<'_>,
) -> Duration {
    let example = duration::show(default);
    let Some(found) = section.string(key, &example, collector) else {
        return default;
    };
    let bad = match duration::parse(found.value, bounds) {
        Ok(duration) => return duration,
        Err(bad) => bad,
    };
    let (least, most) = (
        duration::show(*bounds.start()),
        duration::show(*bounds.end()),
    );
    let (wrong, remedy) = match bad {
        BadDuration::NoUnit => (
            "a duration without its unit",
            format!("Write \"{}s\" for seconds, or m, h or d.", found.value),
        ),
        BadDuration::Malformed => (
            "not a duration",
            format!("Write numbers with their units, such as \"{example}\" or \"1h30m\"."),
        ),
        BadDuration::OutOfRange => (
            "out of range",
            format!(
                "Write at least \"{least}\" and at most \"{most}\"; the default is \"{example}\"."
            ),
        ),
    };
    let expected = format!("a duration from \"{least}\" to \"{most}\"");
    let refusal = refusal(wrong, &expected, &quoted(found.value), &remedy);
    found.refuse(collector, refusal);
    default
}

/// One of several words, or the default.
pub(super) fn choice<T: Copy>(
    found: Option<Found<&str>>,
    choices: &[(&'static str, T)],
    default: T,
    collector: &mut Collector<'_>,
) -> T {
    let Some(found) = found else {
        return default;
    };
    let chosen = choices.iter().find(|(word, _)| *word == found.value);
    if let Some((_, value)) = chosen {
        return *value;
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let meant = nearest(found.value, &words).unwrap_or(words[0]);
    let refusal = refusal(
        "not one of the choices",
        &format!("one of \"{}\"", words.join("\", \"")),
        &quoted(found.value),
        &format!("Write \"{meant}\", if that is what was meant."),
    );
    found.refuse(collector, refusal);
    default
}

/// A refusal, in words.
pub(super) fn refusal(wrong: &str, expected: &str, found: &str, remedy: &str) -> Refusal {
    Refusal {
        wrong: wrong.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// A number of bytes within bounds, or its default.
pub(super) fn bytes(
    section: &mut Section<'_>,
    key: &'static str,
    default: u64,
    bounds: &RangeInclusive<u64>,
    collector: &mut Collector<'_>,
) -> u64 {
    let example = size::show(default);
    let Some(found) = section.string(key, &example, collector) else {
        return default;
    };
    let bad = match size::parse(found.value, bounds) {
        Ok(bytes) => return bytes,
        Err(bad) => bad,
    };
    let (least, most) = (size::show(*bounds.start()), size::show(*bounds.end()));
    let (wrong, remedy) = match bad {
        BadSize::NoUnit => (
            "a size without its unit",
            format!("Write \"{}MiB\", or GiB or TiB.", found.value),
        ),
        BadSize::Malformed => (
            "not a size",
            format!("Write a whole number with KiB, MiB, GiB or TiB, such as \"{example}\"."),
        ),
        BadSize::OutOfRange => (
            "out of range",
            format!(
                "Write at least \"{least}\" and at most \"{most}\"; the default is \"{example}\"."
            ),
        ),
    };
    let expected = format!("a size from \"{least}\" to \"{most}\"");
    let refusal = refusal(wrong, &expected, &quoted(found.value), &remedy);
    found.refuse(collector, refusal);
    default
}

/// A name for people, or its default.
pub(super) fn name(
    section: &mut Section<'_>,
    default: &str,
    collector: &mut Collector<'_>,
) -> String {
    let Some(found) = section.string("name", default, collector) else {
        return default.to_owned();
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let name = found.value;
    if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(allowed) {
        let refusal = refusal(
            "not a name",
            "a name of at most 64 letters, digits, '_' and '-'",
            &quoted(name),
            if default.is_empty() {
                "Write a short name."
            } else {
                "Write a short name, or leave it out."
            },
        );
        found.refuse(collector, refusal);
    }
    name.to_owned()
}

/// Units by their full names; `example` is one that may stand there.
pub(super) fn units(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    collector: &mut Collector<'_>,
) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    for found in section.strings(key, example, collector) {
        let unit = found.value;
        if units.iter().any(|earlier| earlier == unit) {
            let refusal = refusal(
                "stands twice",
                "each unit once",
                &quoted(unit),
                "Remove one of the two.",
            );
            found.refuse(collector, refusal);
        } else if !is_unit_name(unit) {
            let refusal = refusal(
                "not the name of a unit",
                "a unit's full name with its suffix, such as \"example.service\"",
                &quoted(unit),
                "Write the name as `systemctl --failed` shows it.",
            );
            found.refuse(collector, refusal);
        }
        units.push(unit.to_owned());
    }
    units
}

/// Whether the text has the form of a unit's name (systemd.unit(5)).
fn is_unit_name(text: &str) -> bool {
    const SUFFIXES: [&str; 11] = [
        "service",
        "socket",
        "device",
        "mount",
        "automount",
        "swap",
        "target",
        "path",
        "timer",
        "slice",
        "scope",
    ];
    const LIMIT: usize = 255;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let (name, suffix) = text.rsplit_once('.').unwrap_or((text, ""));
    !name.is_empty()
        && SUFFIXES.contains(&suffix)
        && text.len() <= LIMIT
        && text.bytes().all(allowed)
}

/// The name of a branch.
pub(super) fn branch(found: Found<&str>, collector: &mut Collector<'_>) -> Option<Branch> {
    match Branch::try_from(found.value.to_owned()) {
        Ok(branch) => Some(branch),
        Err(malformed) => {
            let refusal = refusal(
                "not the name of a branch",
                malformed.expected,
                &quoted(found.value),
                "Write the branch alone, without refs/heads/ and without the remote's name.",
            );
            found.refuse(collector, refusal);
            None
        }
    }
}
