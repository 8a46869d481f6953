//! What a terminal shows: what is over stands still, and below it one line for
//! each host that is under way, drawn again in place.
//!
//! In: rows, the size of the terminal, the time. Out: what to write to it. Must
//! not: write, or use more of a line than there is; a line that is broken by the
//! terminal could not be drawn over.

use std::time::Duration;

use super::fate::{Ending, Fate};
use super::words;
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

/// The text in exactly so many columns.
fn fill(text: &str, columns: usize) -> String {
    let cut = cut(text, columns);
    let missing = columns.saturating_sub(width(&cut));
    format!("{cut}{}", " ".repeat(missing))
}

/// The text in at most so many columns.
pub(in crate::cli) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut shown = String::new();
    let mut taken = 0;
    for character in text.chars() {
        taken += width_of(character);
        if taken >= columns {
            break;
        }
        shown.push(character);
    }
    if columns > 0 {
        shown.push('…');
    }
    shown
}

fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// How many columns a character takes at most. Terminals differ; where one might
/// take two, two are kept for it, but for what is drawn here.
fn width_of(character: char) -> usize {
    match character {
        '\u{1100}'.. if !SPINNER.contains(&character) && !"…✓✗".contains(character) => 2,
        _ => 1,
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::super::story::News;
    use super::*;
    use crate::model::progress::Progress;

    const WIDE: Size = Size {
        columns: 80,
        rows: 24,
    };

    fn row(label: &str, since: u64, last: &str) -> Row {
        Row {
            label: label.to_owned(),
            since: Duration::from_secs(since),
            last: last.to_owned(),
            is_lost: false,
        }
    }

    fn board() -> Board {
        Board::new(["web1", "root@web2:2222"], Colours::Unused)
    }

    /// Hosts in the middle of their stories, for docs/screens.md.
    pub(in crate::cli) fn screen(columns: usize) -> String {
        let size = Size { columns, rows: 24 };
        let mut board = board();
        let now = Duration::from_secs(95);
        let fate = Fate::of(Ending::RolledBack).because(
            "The previous system runs again; commit 0123456789ab of main failed when it was \
             activated: web.service failed.",
        );
        let over = board.over("web3", Duration::from_secs(62), &fate, size);
        let mut lost = row(
            "root@web2:2222",
            35,
            "no connection, trying again in 2 s: ssh: connect to host web2 port 2222: Connection \
             timed out",
        );
        lost.is_lost = true;
        let progress = Progress::parse(
            "41 of 126 built, 12 of 260 fetched: linux-6.6.61> CC drivers/net/ethernet/intel/igb/igb_main.o",
        );
        let building = words::news(&News::Progress(progress.expect("it is one")));
        let rows = [row("web1", 0, &building), lost];
        board
            .draw(&[over], &rows, 3, now, size)
            .trim_end()
            .to_owned()
    }

    #[test]
    fn each_host_has_a_line_and_the_next_ones_are_counted() {
        assert_eq!(
            screen(80),
            "\
✗ web3             1m02s  rolled back: The previous system runs again; commit 0…
⠋ web1             1m35s  building, 41 of 126 built, 12 of 260 fetched: linux-6…
! root@web2:2222   1m00s  no connection, trying again in 2 s: ssh: connect to h…
3 more to begin"
        );
        assert!(
            screen(200).contains("Connection timed out\n"),
            "{}",
            screen(200)
        );
    }

    #[test]
    fn what_is_over_stands_still_above_what_is_drawn_again() {
        let mut board = board();
        let rows = [
            row("web1", 0, "connecting"),
            row("root@web2:2222", 0, "connecting"),
        ];
        let now = Duration::from_secs(1);
        board.draw(&[], &rows, 0, now, WIDE);
        let fate = Fate::of(Ending::RolledBack).because("The unit web.service failed.");
        let stays = [board.over("web1", now, &fate, WIDE)];
        assert_eq!(
            board.draw(&stays, &rows[1..], 0, now, WIDE),
            "\u{1b}[2A\r\u{1b}[J\
✗ web1                1s  rolled back: The unit web.service failed.
⠙ root@web2:2222      1s  connecting
"
        );
        assert_eq!(board.erase(), "\u{1b}[1A\r\u{1b}[J");
        assert_eq!(board.erase(), "");
    }

    #[test]
    fn a_question_stands_below_and_what_was_typed_is_drawn_over() {
        let mut board = board();
        board.ask(Some("is it good?".to_owned()));
        let rows = [row("web1", 0, "watching")];
        let now = Duration::from_secs(1);
        assert_eq!(
            board.draw(&[], &rows, 0, now, WIDE),
            "⠋ web1                1s  watching\nis it good?\n"
        );
        board.typed();
        board.ask(None);
        assert_eq!(
            board.draw(&[], &rows, 0, now, WIDE),
            "\u{1b}[3A\r\u{1b}[J⠙ web1                1s  watching\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_board_higher() {
        let text = "a very long word ".repeat(30);
        let asian = "漢字".repeat(100);
        for (columns, lines) in [(80, 24), (200, 50), (20, 5), (1, 1), (3, 2)] {
            let size = Size {
                columns,
                rows: lines,
            };
            let rows: Vec<Row> = (0..100)
                .map(|number| row("web1", number, if number % 2 == 0 { &text } else { &asian }))
                .collect();
            let drawn = board().draw(&[], &rows, 5, Duration::from_secs(4000), size);
            let shown: Vec<&str> = drawn.lines().collect();
            assert!(shown.len() <= lines.max(2), "{columns}: {drawn}");
            let widest = shown.iter().map(|line| width(line)).max();
            assert!(widest <= Some(columns.max(2)), "{columns}: {drawn}");
        }
    }

    #[test]
    fn colours_come_only_where_they_are_wanted() {
        let fate = Fate::of(Ending::Deployed);
        let line = |colours| {
            let board = Board::new(["web1"], colours);
            board.over("web1", Duration::from_secs(1), &fate, WIDE)
        };
        assert_eq!(line(Colours::Unused), "✓ web1      1s  deployed");
        assert_eq!(
            line(Colours::Used),
            "\u{1b}[32m✓\u{1b}[0m web1      1s  deployed"
        );
    }
}
