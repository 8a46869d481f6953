//! A child whose standard error is read line by line, for as long as it likes.
//!
//! In: a program and its arguments. Out: its lines, and how it ended. Must not: be
//! used by the daemon; there is no deadline here but that of the unit around it.
//!
//! Standard output is the caller's own. What the child leaves behind may hold the
//! pipe: that keeps nobody.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// The longest line that is read, in bytes; what is longer comes in pieces.
const LINE_LIMIT: u64 = 1024 * 1024;

/// How long the pipe is read on after the child has ended, without a line.
const GRACE: Duration = Duration::from_secs(1);

/// The same, however many lines come, and whoever holds up what is done with one.
const LONGEST_GRACE: Duration = Duration::from_secs(30);

/// How often it is looked whether the reader gets on.
const STEP: Duration = Duration::from_millis(20);

/// Runs a program to its end, and gives each of its lines to `each`, without their
/// ends.
///
/// # Errors
/// It cannot be started, or not be waited for.
pub fn run(
    program: &Path,
    arguments: &[OsString],
    each: impl FnMut(&[u8]) + Send + 'static,
) -> io::Result<ExitStatus> {
    let mut child = spawn(program, arguments)?;
    let (all_read, is_read) = mpsc::channel::<()>();
    let reading = Arc::new(Reading::default());
    if let Some(stderr) = child.stderr.take() {
        let state = Arc::clone(&reading);
        let reader = move || {
            read(stderr, each, &state);
            drop(all_read);
        };
        if let Err(error) = thread::Builder::new().spawn(reader) {
            // Nobody would read what it says, and it would wait for that.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
    }
    let status = child.wait()?;
    read_on(&is_read, &reading);
    Ok(status)
}

/// What the reader is at.
#[derive(Default)]
struct Reading {
    /// It has a line, which may take long to be written.
    is_writing: AtomicBool,
    /// How many it had.
    lines: AtomicU64,
}

/// Waits until what was said last is read, and written. Nothing is ever sent: it
/// ends with the reader, or when that only waits for whoever holds the pipe.
fn read_on(is_read: &mpsc::Receiver<()>, reading: &Reading) {
    let (mut waited, mut idle) = (Duration::ZERO, Duration::ZERO);
    let mut before = reading.lines.load(Ordering::Relaxed);
    while waited < LONGEST_GRACE && idle < GRACE {
        if is_read.recv_timeout(STEP) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        waited += STEP;
        let lines = reading.lines.load(Ordering::Relaxed);
        idle = match lines != before || reading.is_writing.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => idle + STEP,
        };
        before = lines;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "beside `host::command`, which has deadlines, this one goes on as long as its unit"
)]
fn spawn(program: &Path, arguments: &[OsString]) -> io::Result<Child> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        // It is the caller whom the service manager listens to.
        .env_remove("NOTIFY_SOCKET")
        .spawn()
}

fn read(stderr: ChildStderr, mut each: impl FnMut(&[u8]), reading: &Reading) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_LIMIT).read_until(b'\n', &mut line);
        // A pipe that cannot be read any more says nothing more.
        if !read.is_ok_and(|read| read > 0) {
            return;
        }
        reading.is_writing.store(true, Ordering::Relaxed);
        each(line.strip_suffix(b"\n").unwrap_or(&line));
        reading.lines.fetch_add(1, Ordering::Relaxed);
        reading.is_writing.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::sync::Mutex;

    use super::*;

    fn ran(script: &str) -> (ExitStatus, Vec<String>) {
        let arguments = ["-c", script].map(OsString::from);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        let status = run(Path::new("/bin/sh"), &arguments, move |line| {
            let line = String::from_utf8_lossy(line).into_owned();
            heard.lock().expect("nobody panics").push(line);
        });
        let lines = lines.lock().expect("nobody panics").clone();
        (status.expect("a shell runs"), lines)
    }

    #[test]
    fn lines_come_whole_and_the_end_is_the_childs_own() {
        let (status, lines) = ran("echo one >&2; echo >&2; printf two >&2; exit 7");
        assert_eq!(lines, ["one", "", "two"]);
        assert_eq!(status.code(), Some(7));
        let (status, lines) = ran("kill -9 $$");
        assert_eq!((status.signal(), lines), (Some(9), vec![]));
        run(Path::new("/nowhere/at/all"), &[], |_| ()).expect_err("it is missing");
    }

    #[test]
    fn whoever_holds_the_pipe_holds_nobody_up() {
        let (status, lines) = ran("sleep 60 & echo said >&2; exit 4");
        assert_eq!(lines, ["said"]);
        assert_eq!(status.code(), Some(4));
    }

    #[test]
    fn what_was_said_last_is_written_however_long_that_takes() {
        let arguments = ["-c", "echo one >&2; echo two >&2"].map(OsString::from);
        let lines = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&lines);
        let slow = move |_: &[u8]| {
            thread::sleep(GRACE + GRACE / 2);
            written.fetch_add(1, Ordering::Relaxed);
        };
        let status = run(Path::new("/bin/sh"), &arguments, slow).expect("a shell runs");
        assert!(status.success());
        assert_eq!(lines.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces() {
        let (_, lines) = ran("head -c 2500000 /dev/zero | tr '\\0' x >&2");
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [1 << 20, 1 << 20, 2_500_000 - (2 << 20)]);
    }
}
