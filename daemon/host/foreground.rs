//! Runs one child in the foreground, whose lines are read as they come.
//!
//! In: a program and its arguments. Out: its lines. Must not: be used by
//! the daemon; there is no deadline here, because a person or a pipeline waits
//! in front of it and can end it.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The longest line that is read, in bytes; what is longer comes in pieces.
const LINE_LIMIT: u64 = 1024 * 1024;

/// How often it is looked whether there is nothing to wait for any more.
const INTERVAL: Duration = Duration::from_millis(500);

/// Runs a program and gives each of its lines to `each` until it ends, `each`
/// has had enough, or nothing more `is_due`; then it is ended.
pub fn lines(
    program: &str,
    arguments: &[String],
    mut is_due: impl FnMut() -> bool + Send + 'static,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut child = spawn(program, arguments)?;
    let stdout = child.stdout.take();
    let child = Arc::new(Mutex::new(child));
    let watched = Arc::downgrade(&child);
    thread::spawn(move || {
        while is_due() {
            thread::sleep(INTERVAL);
        }
        // What was said last may still be on its way.
        thread::sleep(INTERVAL);
        if let Some(child) = watched.upgrade() {
            end(&child);
        }
    });
    let mut reader = BufReader::new(stdout.ok_or(io::ErrorKind::BrokenPipe)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader)
            .take(LINE_LIMIT)
            .read_until(b'\n', &mut line)?;
        if read == 0 || each(&line).is_break() {
            break;
        }
    }
    end(&child);
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "beside `host::command`, which has deadlines, this one follows"
)]
fn spawn(program: &str, arguments: &[String]) -> io::Result<Child> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
}

/// Ends a child that may have ended, and waits for it.
fn end(child: &Mutex<Child>) {
    if let Ok(mut child) = child.lock() {
        // Both fail only for one that is gone already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(script: &str, is_due: impl FnMut() -> bool + Send + 'static) -> Vec<String> {
        let arguments = ["-c".to_owned(), script.to_owned()];
        let mut told = Vec::new();
        let ran = lines("sh", &arguments, is_due, |line| {
            told.push(String::from_utf8_lossy(line).trim().to_owned());
            match told.len() {
                3.. => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        ran.expect("a shell runs");
        told
    }

    #[test]
    fn lines_come_until_there_are_no_more_or_enough() {
        assert_eq!(told("echo a; echo b", || true), ["a", "b"]);
        assert_eq!(told("yes x", || true), ["x", "x", "x"]);
        assert_eq!(told("echo a; exec sleep 3600", || false), ["a"]);
        let error = lines(
            "/nowhere/at/all",
            &[],
            || true,
            |_| ControlFlow::Continue(()),
        );
        error.expect_err("it is missing");
    }
}
