//! What is wrong with a configuration file, and where.
//!
//! In: byte ranges of the file's text and words about them. Out: lines for
//! people, each with file, line, column and key. Must not: know the keys.

use std::fmt;
use std::ops::Range;

use crate::model::text::{LINE_LIMIT, one_line};

/// A place in the file, counted from one, for an editor to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// At which key, written with dots; empty where the text is no TOML.
    pub key: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What was expected.
    pub expected: String,
    /// What stands there.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// Every mistake of one file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The file's name.
    pub file: String,
    /// The mistakes; at least one.
    pub mistakes: Vec<Mistake>,
}

/// Something that is accepted and that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// In which file.
    pub file: String,
    /// Where.
    pub place: Place,
    /// At which key.
    pub key: String,
    /// What to know, as a sentence.
    pub text: String,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.len() {
            1 => write!(formatter, "the configuration has one mistake")?,
            number => write!(formatter, "the configuration has {number} mistakes")?,
        }
        for mistake in &self.mistakes {
            let Place { line, column } = mistake.place;
            write!(formatter, "\n{}:{line}:{column}: ", self.file)?;
            if !mistake.key.is_empty() {
                write!(formatter, "{}: ", mistake.key)?;
            }
            write!(formatter, "{}", mistake.wrong)?;
            write!(formatter, "\n  expected: {}", mistake.expected)?;
            write!(formatter, "\n  found:    {}", mistake.found)?;
            write!(formatter, "\n  to do:    {}", mistake.remedy)?;
        }
        Ok(())
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(
            formatter,
            "{}:{line}:{column}: {}: {}",
            self.file, self.key, self.text
        )
    }
}

/// What to say about a value that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What is wrong with it.
    pub(super) wrong: String,
    /// What was expected.
    pub(super) expected: String,
    /// What stands there.
    pub(super) found: String,
    /// What to do.
    pub(super) remedy: String,
}

/// Collects mistakes and warnings while a file is read.
pub(super) struct Collector<'t> {
    file: String,
    text: &'t str,
    mistakes: Vec<Mistake>,
    warnings: Vec<Warning>,
}

impl<'t> Collector<'t> {
    pub(super) fn new(file: &str, text: &'t str) -> Self {
        Self {
            file: file.to_owned(),
            text,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes a mistake. What the file says is shown on one line, escaped.
    pub(super) fn refuse(&mut self, span: &Range<usize>, key: &str, refusal: Refusal) {
        let place = self.place(span.start);
        self.mistakes.push(Mistake {
            place,
            key: one_line(key, LINE_LIMIT),
            wrong: refusal.wrong,
            expected: refusal.expected,
            found: one_line(&refusal.found, LINE_LIMIT),
            remedy: one_line(&refusal.remedy, LINE_LIMIT),
        });
    }

    /// Notes a warning.
    pub(super) fn warn(&mut self, span: &Range<usize>, key: &str, text: &str) {
        self.warnings.push(Warning {
            file: self.file.clone(),
            place: self.place(span.start),
            key: key.to_owned(),
            text: text.to_owned(),
        });
    }

    /// How many mistakes there are so far.
    pub(super) fn count(&self) -> usize {
        self.mistakes.len()
    }

    /// The line of the text in which the byte stands.
    pub(super) fn line_at(&self, byte: usize) -> &'t str {
        let (before, after) = self.text.split_at(self.boundary(byte));
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after
            .find('\n')
            .map_or(self.text.len(), |newline| before.len() + newline);
        self.text[start..end].trim()
    }

    /// Returns what was read, if there was no mistake.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<(T, Vec<Warning>), Mistakes> {
        self.mistakes.sort_by_key(|mistake| mistake.place);
        self.warnings.sort_by_key(|warning| warning.place);
        match value {
            Some(value) if self.mistakes.is_empty() => Ok((value, self.warnings)),
            Some(_) | None => Err(Mistakes {
                file: self.file,
                mistakes: self.mistakes,
            }),
        }
    }

    fn place(&self, byte: usize) -> Place {
        let before = &self.text[..self.boundary(byte)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Place { line, column }
    }

    /// The nearest position at or before the byte that does not cut a character.
    fn boundary(&self, byte: usize) -> usize {
        let mut boundary = byte.min(self.text.len());
        while !self.text.is_char_boundary(boundary) {
            boundary -= 1;
        }
        boundary
    }
}
