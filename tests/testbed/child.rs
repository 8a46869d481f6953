//! Children of the harness, each with a deadline and its output kept.
//!
//! In: a command. Out: [`Output`], or a panic that shows everything: a scenario cannot go on without its bed.

use std::fmt;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a command may take unless it says otherwise: far more than any needs, so only a hang meets it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(2);

/// What a finished command said.
#[derive(Clone, Debug)]
pub struct Output {
    command: String,
    /// The exit code; `None` when a signal or the deadline ended it.
    pub code: Option<i32>,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
}

impl Output {
    /// Returns standard output without its last newline; panics if the command failed.
    #[track_caller]
    pub fn text(&self) -> &str {
        self.must_succeed().stdout.trim_end()
    }

    /// Panics if the command failed.
    #[track_caller]
    pub fn must_succeed(&self) -> &Self {
        assert!(self.code == Some(0), "a command failed\n{self}");
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "command: {}", self.command)?;
        match self.code {
            Some(code) => writeln!(f, "exit code: {code}")?,
            None => writeln!(f, "ended by a signal or its deadline")?,
        }
        write!(f, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end; kills it at the deadline.
pub(crate) fn run(command: &mut Command, deadline: Duration) -> Output {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {shown}: {error}"));
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let give_up_at = Instant::now() + deadline;
    let status = loop {
        match child.try_wait().expect("our own child can be waited for") {
            Some(status) => break Some(status),
            None if Instant::now() > give_up_at => {
                // Both fail only if it has just ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => thread::sleep(POLL),
        }
    };
    Output {
        command: shown,
        code: status.and_then(|status| status.code()),
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    }
}

/// Reads a pipe beside the waiting, so that a talkative child does not block on it.
fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before a failed read is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs a program of the machine that has to succeed.
#[track_caller]
pub(crate) fn must(program: &str, arguments: &[&str]) -> Output {
    let output = run(Command::new(program).args(arguments), DEADLINE);
    output.must_succeed();
    output
}

/// Runs a program of the machine whose failure changes nothing: it takes down what may be gone already.
pub(crate) fn attempt(program: &str, arguments: &[&str]) {
    let output = run(Command::new(program).args(arguments), DEADLINE);
    drop(output);
}
