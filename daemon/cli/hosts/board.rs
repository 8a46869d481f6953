//! What a terminal shows: what is over stands still, and below it one line for
//! each host that is under way, drawn again in place.
//!
//! In: rows, the size of the terminal, the time. Out: what to write to it. Must
//! not: write, or use more of a line than there is; a line that is broken by the
//! terminal could not be drawn over.

use std::time::Duration;

use super::fate::{Ending, Fate};
use super::words;
use crate::cli::columns::{cut, fill};
use crate::host::terminal::Size;

/// How wide hosts' names get at most.
const LONGEST_LABEL: usize = 32;

/// How wide the time is.
const TIME: usize = 6;

/// One turn of what shows that somebody is alive.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// There are.
    Used,
    /// There are none.
    Unused,
}

/// A colour, by its number in SGR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Dim = 2,
}

/// A host that is under way.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its name.
    pub(super) label: String,
    /// Since when.
    pub(super) since: Duration,
    /// What was heard last.
    pub(super) last: String,
    /// Whether there is a connection.
    pub(super) is_lost: bool,
}

/// The part of the screen that is drawn again.
#[derive(Debug)]
pub(super) struct Board {
    colours: Colours,
    label: usize,
    drawn: usize,
    turn: usize,
    question: Option<String>,
}

impl Board {
    /// A board for hosts of these names.
    pub(super) fn new<'a>(labels: impl IntoIterator<Item = &'a str>, colours: Colours) -> Self {
        let widths = labels.into_iter().map(|label| label.chars().count());
        Self {
            colours,
            label: widths.max().unwrap_or(0).min(LONGEST_LABEL),
            drawn: 0,
            turn: 0,
            question: None,
        }
    }

    /// Puts a question below all rows, or takes it away.
    pub(super) fn ask(&mut self, question: Option<String>) {
        self.question = question;
    }

    /// Somebody ended a line, and the terminal went to the next one.
    pub(super) fn typed(&mut self) {
        self.drawn += 1;
    }

    /// The line that stays of a host whose story is over.
    pub(super) fn over(&self, label: &str, took: Duration, fate: &Fate, size: Size) -> String {
        let (mark, colour) = match fate.ending {
            Ending::Deployed | Ending::AlreadyThere | Ending::Told | Ending::Answered => {
                ('✓', Colour::Green)
            }
            Ending::RebootRequired
            | Ending::GaveUp
            | Ending::Unreachable
            | Ending::RemoteUnreachable
            | Ending::Unexpected => ('!', Colour::Yellow),
            Ending::Refused
            | Ending::RolledBack
            | Ending::NotRunning
            | Ending::NeedsHuman
            | Ending::Error => ('✗', Colour::Red),
        };
        let text = words::fate(fate);
        self.line((mark, colour), label, took, &text, size)
    }

    /// Draws: what stands where the board was goes, then come the lines that
    /// stay, then the rows, and how many hosts are still to begin.
    pub(super) fn draw(
        &mut self,
        stays: &[String],
        rows: &[Row],
        waiting: usize,
        now: Duration,
        size: Size,
    ) -> String {
        let mut text = self.erase();
        for line in stays {
            text.push_str(line);
            text.push('\n');
        }
        let mut lines = self.rows(rows, waiting, now, size);
        lines.extend(self.question.as_ref().map(|it| cut(it, size.columns)));
        self.drawn = lines.len();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        self.turn = (self.turn + 1) % SPINNER.len();
        text
    }

    /// What takes the board off the screen.
    pub(super) fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            drawn => format!("\u{1b}[{drawn}A\r\u{1b}[J"),
        }
    }

    fn rows(&self, rows: &[Row], waiting: usize, now: Duration, size: Size) -> Vec<String> {
        // A line for the cursor, one for how many there are, one for a question.
        let asked = usize::from(self.question.is_some());
        let room = size.rows.saturating_sub(2 + asked).max(1);
        let mut lines: Vec<String> = rows
            .iter()
            .take(room)
            .map(|row| self.row(row, now, size))
            .collect();
        let hidden = rows.len().saturating_sub(room);
        let more = match (hidden, waiting) {
            (0, 0) => return lines,
            (0, waiting) => format!("{waiting} more to begin"),
            (hidden, 0) => format!("{hidden} more under way"),
            (hidden, waiting) => format!("{hidden} more under way, {waiting} more to begin"),
        };
        lines.push(self.coloured(&cut(&more, size.columns), Colour::Dim));
        lines
    }

    fn row(&self, row: &Row, now: Duration, size: Size) -> String {
        let mark = if row.is_lost {
            ('!', Colour::Yellow)
        } else {
            (SPINNER[self.turn], Colour::Dim)
        };
        let time = now.saturating_sub(row.since);
        self.line(mark, &row.label, time, &row.last, size)
    }

    fn line(
        &self,
        (mark, colour): (char, Colour),
        label: &str,
        time: Duration,
        text: &str,
        size: Size,
    ) -> String {
        let label = fill(label, self.label.min(size.columns / 3));
        let time = words::elapsed(time);
        let rest = cut(
            &format!("{label}  {time:>TIME$}  {text}"),
            size.columns.saturating_sub(2),
        );
        format!("{} {rest}", self.coloured(&mark.to_string(), colour))
    }

    fn coloured(&self, text: &str, colour: Colour) -> String {
        match self.colours {
            Colours::Used => format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8),
            Colours::Unused => text.to_owned(),
        }
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests;
