//! One table of the file: keys are taken out of it one by one, by type; what
//! is left over is unknown.
//!
//! In: a table with the places of its parts. Out: values, and a mistake for
//! each that is missing, unknown or of another type. Must not: know what the
//! values mean.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::mistakes::{Collector, Refusal};
use super::nearest::nearest;

/// A value with its place.
pub(super) struct Found<T> {
    /// The value.
    pub(super) value: T,
    /// The key, written with dots.
    pub(super) key: String,
    /// Where the value stands.
    pub(super) span: Range<usize>,
}

impl<T> Found<T> {
    /// Notes that this value is not accepted.
    pub(super) fn refuse(&self, collector: &mut Collector<'_>, refusal: Refusal) {
        collector.refuse(&self.span, &self.key, refusal);
    }
}

/// The keys of one table.
pub(super) struct Section<'a> {
    /// The table's own name with a dot, or nothing at the top.
    prefix: String,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn top(table: &'a DeTable<'a>) -> Self {
        Self::named("", table)
    }

    /// A table with its name.
    pub(super) fn named(name: &str, table: &'a DeTable<'a>) -> Self {
        let prefix = if name.is_empty() {
            String::new()
        } else {
            format!("{name}.")
        };
        Self {
            prefix,
            table,
            known: Vec::new(),
        }
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Where the value of the key stands.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or(0..0, Spanned::span)
    }

    /// A string.
    pub(super) fn string(
        &mut self,
        key: &'static str,
        example: &str,
        collector: &mut Collector<'_>,
    ) -> Option<Found<&'a str>> {
        let found = self.take(key)?;
        match found.value.as_str() {
            Some(value) => Some(Found {
                value,
                key: found.key,
                span: found.span,
            }),
            None => {
                let remedy = format!("Write it in quotes, such as {key} = \"{example}\".");
                wrong_type(&found, "a string", remedy, collector);
                None
            }
        }
    }

    /// A boolean.
    pub(super) fn boolean(
        &mut self,
        key: &'static str,
        collector: &mut Collector<'_>,
    ) -> Option<bool> {
        let found = self.take(key)?;
        let value = found.value.as_bool();
        if value.is_none() {
            let remedy = format!("Write {key} = true or {key} = false, without quotes.");
            wrong_type(&found, "true or false", remedy, collector);
        }
        value
    }

    /// An array of strings.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        example: &str,
        collector: &mut Collector<'_>,
    ) -> Vec<Found<&'a str>> {
        let Some(found) = self.take(key) else {
            return Vec::new();
        };
        let remedy = format!("Write {key} = [\"{example}\"].");
        let Some(array) = found.value.as_array() else {
            wrong_type(&found, "an array of strings", remedy, collector);
            return Vec::new();
        };
        let mut strings = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let element = at(format!("{}[{index}]", found.key), element);
            match element.value.as_str() {
                Some(value) => strings.push(Found {
                    value,
                    key: element.key,
                    span: element.span,
                }),
                None => wrong_type(&element, "a string", remedy.clone(), collector),
            }
        }
        strings
    }

    /// A table of its own.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        collector: &mut Collector<'_>,
    ) -> Option<Section<'a>> {
        let found = self.take(key)?;
        match found.value.as_table() {
            Some(table) => Some(Section::named(&found.key, table)),
            None => {
                let name = &found.key;
                let remedy = format!("Write [{name}] on a line of its own, and its keys below it.");
                wrong_type(&found, "a table", remedy, collector);
                None
            }
        }
    }

    /// Every `[[key]]`, with the place of each.
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        collector: &mut Collector<'_>,
    ) -> Option<Vec<Found<Section<'a>>>> {
        let found = self.take(key)?;
        let tables = found.value.as_array().and_then(|array| tables(key, array));
        if tables.is_none() {
            let remedy = format!("Write [[{key}]], with two brackets, above its keys.");
            wrong_type(
                &found,
                &format!("an array of tables, [[{key}]]"),
                remedy,
                collector,
            );
        }
        tables
    }

    /// Notes every key that nobody asked for. `elsewhere` says in which other
    /// table a key of that name belongs.
    pub(super) fn finish(
        self,
        elsewhere: impl Fn(&str) -> Option<String>,
        collector: &mut Collector<'_>,
    ) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let remedy = match (nearest(name, &self.known), elsewhere(name)) {
                (_, Some(place)) => format!("Move it to {place}."),
                (Some(meant), None) => format!("Write {meant}, if that is what was meant."),
                (None, None) => "Remove it.".to_owned(),
            };
            let refusal = Refusal {
                wrong: "unknown key".to_owned(),
                expected: format!("one of {}", self.known.join(", ")),
                found: quoted(name),
                remedy,
            };
            let key_path = format!("{}{name}", self.prefix);
            collector.refuse(&key.span(), &key_path, refusal);
        }
    }

    /// Takes a value out, whatever its type.
    fn take(&mut self, key: &'static str) -> Option<Found<&'a DeValue<'a>>> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some(at(format!("{}{key}", self.prefix), value))
    }
}

fn at<'a>(key: String, value: &'a Spanned<DeValue<'a>>) -> Found<&'a DeValue<'a>> {
    Found {
        value: value.get_ref(),
        key,
        span: value.span(),
    }
}

/// The elements as sections, if every one is a table.
fn tables<'a>(key: &str, array: &'a DeArray<'a>) -> Option<Vec<Found<Section<'a>>>> {
    array
        .iter()
        .map(|element| {
            let table = element.get_ref().as_table()?;
            Some(Found {
                value: Section::named(key, table),
                key: key.to_owned(),
                span: element.span(),
            })
        })
        .collect()
}

fn wrong_type(
    found: &Found<&DeValue<'_>>,
    expected: &str,
    remedy: String,
    collector: &mut Collector<'_>,
) {
    let refusal = Refusal {
        wrong: "wrong type".to_owned(),
        expected: expected.to_owned(),
        found: described(found.value),
        remedy,
    };
    found.refuse(collector, refusal);
}

/// A string of the file as it is shown.
pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// The type of a value with its article.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => format!("{value}, without quotes"),
        DeValue::Datetime(value) => format!("the date or time {value}"),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
