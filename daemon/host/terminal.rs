//! The terminal that a command writes to and is typed at, if there is one.
//!
//! In: nothing. Out: whether standard output is a terminal, and its size; the
//! lines that are typed. Must not: write to it.

use std::io::{BufRead as _, IsTerminal as _};
use std::thread;

use tokio::sync::mpsc::{self, Receiver};

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

/// Whether standard input is a terminal.
pub fn is_read() -> bool {
    std::io::stdin().is_terminal()
}

/// How many typed lines may wait.
const TYPED: usize = 16;

/// The lines that are typed from now on. Reading cannot be given up, so a thread
/// does it, which ends with the process.
pub fn typed_lines() -> Receiver<String> {
    let (to, lines) = mpsc::channel(TYPED);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if to.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}
