//! The only place that spawns children: short ones, with a deadline.
//!
//! In: an argument vector and a deadline. Out: status, standard output and the
//! end of standard error. Must not: interpret either; nothing long, privileged
//! or hostile runs here, that is what transient units are for.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;

/// How much standard output a child may write: far above what ours do.
const STDOUT_LIMIT: usize = 16 * 1024 * 1024;

/// How much of the end of standard error is kept.
const STDERR_TAIL: usize = 4 * 1024;

/// What to run.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program, by absolute path or by a name on PATH.
    pub program: PathBuf,
    /// Its arguments, without the program.
    pub arguments: Vec<String>,
    /// Variables in addition to our own environment.
    pub environment: Vec<(String, String)>,
}

impl Command {
    /// A command with arguments and our own environment.
    pub fn new<A: Into<String>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }
}

/// What a child left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to standard output.
    pub stdout: Vec<u8>,
    /// The end of what it wrote to standard error.
    pub stderr_tail: String,
}

/// Why a child did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its output or its status could not be read.
    #[error("cannot read what {} writes", program.display())]
    Read {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was killed at its deadline, with everything it had started.
    #[error("{} did not end within {}", program.display(), deadline.as_secs_f32())]
    Deadline {
        /// The program.
        program: PathBuf,
        /// How long it had.
        deadline: Duration,
    },
    /// It was killed because it wrote more than anybody would read.
    #[error("{} wrote more than {STDOUT_LIMIT} bytes", program.display())]
    TooMuch {
        /// The program.
        program: PathBuf,
    },
}

/// Runs a child to its end; kills its whole process group at the deadline, and
/// when the caller loses interest.
pub async fn run(command: &Command, deadline: Duration) -> Result<Output, CommandError> {
    let group = Group(spawn(command)?);
    let program = || command.program.clone();
    let collected = tokio::time::timeout(deadline, collect(group)).await;
    match collected {
        Ok(Ok(Some(output))) => Ok(output),
        Ok(Ok(None)) => Err(CommandError::TooMuch { program: program() }),
        Ok(Err(source)) => Err(CommandError::Read {
            program: program(),
            source,
        }),
        Err(_elapsed) => Err(CommandError::Deadline {
            program: program(),
            deadline,
        }),
    }
}

/// A child that leads a process group of its own, killed when dropped unless
/// it was waited for.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // `id` is None once the child was waited for: then its number may
        // already belong to somebody else.
        let leader = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = leader.and_then(Pid::from_raw) {
            // A group that is gone already is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that spawns children"
)]
fn spawn(command: &Command) -> Result<Child, CommandError> {
    tokio::process::Command::new(&command.program)
        .args(&command.arguments)
        .envs(command.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| CommandError::Start {
            program: command.program.clone(),
            source,
        })
}

/// Reads both streams to their ends, then waits. None: too much output.
async fn collect(mut group: Group) -> std::io::Result<Option<Output>> {
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    let out = group.0.stdout.take();
    let err = group.0.stderr.take();
    let (complete, _) = tokio::try_join!(
        read_head(out, &mut stdout, STDOUT_LIMIT),
        read_tail(err, &mut stderr, STDERR_TAIL)
    )?;
    if !complete {
        return Ok(None);
    }
    let status = group.0.wait().await?;
    Ok(Some(Output {
        status,
        stdout,
        stderr_tail: String::from_utf8_lossy(&stderr).trim().to_owned(),
    }))
}

/// Reads up to a limit; whether that was all.
async fn read_head(
    stream: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    limit: usize,
) -> std::io::Result<bool> {
    let Some(stream) = stream else {
        return Ok(true);
    };
    // One byte above the limit tells "exactly full" from "more".
    stream.take(limit as u64 + 1).read_to_end(into).await?;
    Ok(into.len() <= limit)
}

/// Reads everything and keeps the end.
async fn read_tail(
    stream: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    keep: usize,
) -> std::io::Result<()> {
    let Some(mut stream) = stream else {
        return Ok(());
    };
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            length => {
                into.extend_from_slice(&chunk[..length]);
                into.drain(..into.len().saturating_sub(keep));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any of these take on a busy machine.
    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        Command::new("/bin/sh", ["-c", script])
    }

    #[tokio::test]
    async fn status_and_both_streams_come_back() {
        let output = run(&shell("echo out; echo err >&2; exit 3"), LONG)
            .await
            .expect("a shell runs");
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stdout, b"out\n");
        assert_eq!(output.stderr_tail, "err");
    }

    #[tokio::test]
    async fn a_long_standard_error_keeps_its_end() {
        let output = run(&shell("yes | head -c 100000 >&2; echo 'the end' >&2"), LONG)
            .await
            .expect("a shell runs");
        assert!(output.stderr_tail.len() <= STDERR_TAIL);
        assert!(output.stderr_tail.ends_with("the end"));
    }

    #[tokio::test]
    async fn a_group_that_hangs_is_killed_at_the_deadline() {
        // The grandchild holds the pipe: only killing the group ends the read.
        let hanging = shell("sleep 3600 & sleep 3600");
        let error = run(&hanging, Duration::from_millis(50))
            .await
            .expect_err("it hangs");
        assert!(matches!(error, CommandError::Deadline { .. }), "{error}");
    }

    #[tokio::test]
    async fn endless_output_is_cut_off() {
        let error = run(&Command::new("yes", ["x"]), LONG)
            .await
            .expect_err("it never ends");
        assert!(matches!(error, CommandError::TooMuch { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run(&Command::new("/nowhere/at/all", [""; 0]), LONG)
            .await
            .expect_err("it is missing");
        assert_eq!(error.to_string(), "cannot start /nowhere/at/all");
    }
}
