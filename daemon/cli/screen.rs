//! A terminal that is drawn again as a whole, and is as it was when that ends.
//!
//! In: a page, made safe to show. Out: standard output. Must not: be used where
//! there is no terminal; nor draw what stands there already.

use super::columns::cut;
use super::failure::Failure;
use super::output::write;
use crate::host::environment::{self, Terminal};
use crate::host::terminal::{self, Size};

/// Another screen beside the one with what was written before, without a cursor.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";

/// Back to what was written before.
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// The terminal, until it is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    drawn: String,
}

impl Screen {
    /// Takes the terminal. None: there is none, or none that can be drawn on.
    pub(super) fn open() -> Result<Option<Self>, Failure> {
        let can_be_drawn_on = match environment::terminal() {
            Terminal::Coloured | Terminal::Plain => terminal::size().is_some(),
            Terminal::Dumb => false,
        };
        if !can_be_drawn_on {
            return Ok(None);
        }
        write(ENTER)?;
        let drawn = String::new();
        Ok(Some(Self { drawn }))
    }

    /// Draws a page, unless it stands there.
    pub(super) fn draw(&mut self, page: &str) -> Result<(), Failure> {
        // A terminal that is gone is nobody's loss.
        let Some(size) = terminal::size() else {
            return Ok(());
        };
        let frame = frame(page, size);
        if frame != self.drawn {
            write(&frame)?;
            self.drawn = frame;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whoever cannot be written to any more has no screen to give back.
        let _ = write(LEAVE);
    }
}

/// What draws the page over whatever stands there; no line is broken by the
/// terminal, and none scrolls it.
fn frame(page: &str, size: Size) -> String {
    let all: Vec<&str> = page.lines().collect();
    let mut lines: Vec<String> = all
        .iter()
        .take(size.rows)
        .map(|line| cut(line, size.columns))
        .collect();
    if all.len() > size.rows {
        let more = format!("({} lines more)", all.len() - size.rows + 1);
        lines.pop();
        lines.push(cut(&more, size.columns));
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\u{1b}[K")).collect();
    format!("\u{1b}[H{}\u{1b}[J", lines.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_drawn_over_what_stands_there_and_never_scrolls() {
        let size = |columns, rows| Size { columns, rows };
        assert_eq!(
            frame("one\ntwo", size(80, 24)),
            "\u{1b}[Hone\u{1b}[K\r\ntwo\u{1b}[K\u{1b}[J"
        );
        assert_eq!(
            frame("one long line\ntwo\nthree", size(8, 2)),
            "\u{1b}[Hone lon…\u{1b}[K\r\n(2 line…\u{1b}[K\u{1b}[J"
        );
        for rows in 1..5 {
            let frame = frame("x\nx\nx", size(3, rows));
            assert!(frame.matches("\r\n").count() < rows, "{rows}: {frame:?}");
        }
    }
}
