//! A child whose output is read line by line while it runs: ssh, which says what
//! another host says; nix, which says how far it is.
//!
//! In: a program, its arguments, and how long a line may be. Out: the lines, and
//! how it ended. Must not: believe, interpret or keep what it reads; nor wait
//! for ever for whoever else holds the child's pipes.
//!
//! The child stays in our process group: it may ask whoever sits at the terminal
//! for a password, and Ctrl-C ends it with us.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::Instant;

/// How much of the end of standard error is kept.
const STDERR_TAIL: usize = 4 * 1024;

/// How long pipes are read on after the child has ended: ssh's master, which
/// goes on in the background, may hold them.
const GRACE: Duration = Duration::from_secs(1);

/// How much is read at once.
const CHUNK: usize = 4 * 1024;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// All of it, without its end.
    Whole(Vec<u8>),
    /// It was longer than anybody would read, and is left out.
    TooLong,
}

/// How the child ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// The end of what it wrote to standard error.
    pub stderr_tail: String,
}

/// Where the child says what is read line by line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    ToStdout,
    ToStderr,
}

/// A pipe from there.
#[derive(Debug)]
enum Pipe {
    Stdout(ChildStdout),
    Stderr(ChildStderr),
}

/// The child. Dropped, it is killed, or one with children of its own is told to
/// end, which ends these, too.
#[derive(Debug)]
pub struct Lines {
    child: Child,
    has_children: bool,
    /// What is read line by line.
    spoken: Pipe,
    /// What only its end is kept of.
    stderr: Option<ChildStderr>,
    held: Vec<u8>,
    errors: Vec<u8>,
    limit: usize,
    /// Within a line that was too long.
    skips: bool,
    ended: Option<(ExitStatus, Instant)>,
    is_over: bool,
}

impl Lines {
    /// Starts a program found on PATH, without standard input.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &str, arguments: &[String], limit: usize) -> io::Result<Self> {
        Self::spawn(program, arguments, &[], limit, Speaks::ToStdout)
    }

    /// The same for one that has children of its own and says everything on standard
    /// error, with variables in addition to our own environment.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn of_stderr(
        program: &str,
        arguments: &[String],
        variables: &[(String, String)],
        limit: usize,
    ) -> io::Result<Self> {
        Self::spawn(program, arguments, variables, limit, Speaks::ToStderr)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "beside `host::command`, which collects output, this one hands it over as it comes"
    )]
    fn spawn(
        program: &str,
        arguments: &[String],
        variables: &[(String, String)],
        limit: usize,
        speaks: Speaks,
    ) -> io::Result<Self> {
        let has_children = speaks == Speaks::ToStderr;
        let stdout = match speaks {
            Speaks::ToStdout => Stdio::piped(),
            Speaks::ToStderr => Stdio::null(),
        };
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .kill_on_drop(!has_children)
            .spawn()?;
        let stderr = child.stderr.take();
        let (spoken, stderr) = match speaks {
            Speaks::ToStdout => (child.stdout.take().map(Pipe::Stdout), stderr),
            Speaks::ToStderr => (stderr.map(Pipe::Stderr), None),
        };
        let no_pipe = || io::Error::other("the child has no pipe");
        Ok(Self {
            child,
            has_children,
            spoken: spoken.ok_or_else(no_pipe)?,
            stderr,
            held: Vec::new(),
            errors: Vec::new(),
            limit,
            skips: false,
            ended: None,
            is_over: false,
        })
    }

    /// The next line; None when there are no more. What stands behind the last
    /// line break is none: it was cut. Cancel-safe: what was read is kept.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.is_over {
                return Ok(None);
            }
            self.read().await?;
        }
    }

    /// Waits for the end, without reading on.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn end(mut self) -> io::Result<Ended> {
        let status = match self.ended {
            Some((status, _)) => status,
            None => self.child.wait().await?,
        };
        // What it said last may still be in the pipe.
        if let Some(stderr) = &mut self.stderr {
            let rest = tokio::time::timeout(GRACE, stderr.read_to_end(&mut self.errors));
            // Without the rest, what is there has to do.
            let _ = rest.await;
            keep_end(&mut self.errors);
        }
        let stderr_tail = String::from_utf8_lossy(&self.errors).trim().to_owned();
        Ok(Ended {
            status,
            stderr_tail,
        })
    }

    /// Has the child end itself, with what it has started; kills it if it has not
    /// after the grace.
    pub async fn stop(mut self, grace: Duration) {
        self.tell_to_end();
        let ended = tokio::time::timeout(grace, self.child.wait()).await;
        if ended.is_err() {
            // One that has ended since is what is wanted.
            let _ = self.child.start_kill();
        }
    }

    fn tell_to_end(&self) {
        // Once it was waited for its number may be somebody else's.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // One that has ended since is what is wanted.
            let _ = kill_process(id, Signal::TERM);
        }
    }

    /// Reads from whichever pipe has something. Each arm is cancel-safe: it
    /// either has put what it read where it belongs, or has read nothing.
    async fn read(&mut self) -> io::Result<()> {
        self.held.reserve(CHUNK);
        self.errors.reserve(CHUNK);
        let stderr = &mut self.stderr;
        let errors = &mut self.errors;
        let read_errors = async move {
            match stderr {
                Some(pipe) => pipe.read_buf(errors).await,
                None => std::future::pending().await,
            }
        };
        let give_up_at = self.ended.map(|(_, at)| at + GRACE);
        let given_up = async move {
            match give_up_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = self.spoken.read(&mut self.held) => self.is_over = read? == 0,
            read = read_errors => {
                if read? == 0 {
                    self.stderr = None;
                }
                keep_end(&mut self.errors);
            }
            status = self.child.wait(), if self.ended.is_none() => {
                self.ended = Some((status?, Instant::now()));
            }
            () = given_up => self.is_over = true,
        }
        Ok(())
    }

    /// Takes a line out of what was read, if a whole one is there.
    fn take(&mut self) -> Option<Line> {
        loop {
            let Some(end) = self.held.iter().position(|byte| *byte == b'\n') else {
                if self.held.len() <= self.limit {
                    return None;
                }
                self.held.clear();
                let is_first = !std::mem::replace(&mut self.skips, true);
                return is_first.then_some(Line::TooLong);
            };
            let mut line: Vec<u8> = self.held.drain(..=end).collect();
            line.pop();
            if std::mem::take(&mut self.skips) {
                continue;
            }
            if line.len() > self.limit {
                return Some(Line::TooLong);
            }
            return Some(Line::Whole(line));
        }
    }
}

impl Pipe {
    /// Cancel-safe, like what it calls.
    async fn read(&mut self, held: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Stdout(pipe) => pipe.read_buf(held).await,
            Self::Stderr(pipe) => pipe.read_buf(held).await,
        }
    }
}

fn keep_end(errors: &mut Vec<u8>) {
    errors.drain(..errors.len().saturating_sub(STDERR_TAIL));
}

impl Drop for Lines {
    fn drop(&mut self) {
        if self.has_children {
            self.tell_to_end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Lines {
        let arguments = ["-c".to_owned(), script.to_owned()];
        Lines::start("sh", &arguments, 10).expect("a shell runs")
    }

    async fn all(lines: &mut Lines) -> Vec<Line> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.expect("it can be read") {
            all.push(line);
        }
        all
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_owned())
    }

    #[tokio::test]
    async fn lines_come_one_by_one_and_then_the_end() {
        let mut lines = shell("echo one; echo two; printf cut; echo why >&2; exit 3");
        assert_eq!(all(&mut lines).await, [whole("one"), whole("two")]);
        let ended = lines.end().await.expect("it ends");
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!(ended.stderr_tail, "why");
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_left_out_and_the_next_one_is_not() {
        let mut lines =
            shell("head -c 100000 /dev/zero | tr '\\0' x; echo; echo 0123456789x; echo ok");
        let expected = [Line::TooLong, Line::TooLong, whole("ok")];
        assert_eq!(all(&mut lines).await, expected);
    }

    #[tokio::test]
    async fn whoever_holds_the_pipes_holds_nobody_up() {
        let mut lines = shell("sleep 60 & echo out; exit 4");
        assert_eq!(all(&mut lines).await, [whole("out")]);
        assert_eq!(lines.end().await.expect("it ends").status.code(), Some(4));
    }
}
