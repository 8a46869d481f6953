//! The terminal that a command writes to, if there is one.
//!
//! In: nothing. Out: whether standard output is a terminal, and its size. Must
//! not: write to it.

use std::io::IsTerminal as _;

/// How many characters fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// In a line.
    pub columns: usize,
    /// Lines on the screen.
    pub rows: usize,
}

/// A terminal that does not say.
const USUAL: Size = Size {
    columns: 80,
    rows: 24,
};

/// The size of the terminal that standard output is; None where it is none.
pub fn size() -> Option<Size> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let told = rustix::termios::tcgetwinsize(&stdout).ok();
    let size = told.map(|it| Size {
        columns: it.ws_col.into(),
        rows: it.ws_row.into(),
    });
    // Terminals over serial lines say 0.
    Some(
        size.filter(|it| it.columns > 0 && it.rows > 0)
            .unwrap_or(USUAL),
    )
}
