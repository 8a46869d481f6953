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
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The longest line that is read, in bytes; what is longer comes in pieces.
const LINE_LIMIT: u64 = 1024 * 1024;

/// How long the pipe is read on after the child has ended.
const GRACE: Duration = Duration::from_secs(1);

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
    if let Some(stderr) = child.stderr.take() {
        thread::spawn(move || {
            read(stderr, each);
            drop(all_read);
        });
    }
    let status = child.wait()?;
    // Nothing is ever sent: it ends with the reader, or is not waited for.
    let _ = is_read.recv_timeout(GRACE);
    Ok(status)
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

fn read(stderr: ChildStderr, mut each: impl FnMut(&[u8])) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_LIMIT).read_until(b'\n', &mut line);
        // A pipe that cannot be read any more says nothing more.
        if !read.is_ok_and(|read| read > 0) {
            return;
        }
        each(line.strip_suffix(b"\n").unwrap_or(&line));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::sync::{Arc, Mutex};

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
    fn a_line_without_an_end_comes_in_pieces() {
        let (_, lines) = ran("head -c 2500000 /dev/zero | tr '\\0' x >&2");
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [1 << 20, 1 << 20, 2_500_000 - (2 << 20)]);
    }
}
