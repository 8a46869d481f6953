//! The process: reads requests from a socket and answers them, one by one.
//!
//! In: standard input, one end of the daemon's socket pair. Out: answers on
//! the same socket; complaints on standard error, which is the journal. Must
//! not: outlive the other end, or read a line without end.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use rustix::fs::Mode;

use crate::fetcher::credentials::Credentials;
use crate::fetcher::mirror::Mirror;
use crate::fetcher::remote::{Besides, Fetcher};
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::{Answer, LINE_LIMIT, Problem, Request};

/// A process with more memory of its own than this, in KiB, begins anew before
/// it waits. After thousands of polls it has a third of it.
const LARGE: u64 = 8 * 1024;

/// Serves the daemon at the other end of standard input until it hangs up.
/// `credentials`: the directory where systemd put them, if there are any.
pub fn run(mirror: &Path, credentials: Option<PathBuf>) -> anyhow::Result<()> {
    // What the fetcher writes is read by its group and by nobody else.
    rustix::process::umask(Mode::from_raw_mode(0o027));
    let socket = standard_input()?;
    let credentials = Credentials::new(credentials).context("no memory for ssh")?;
    let mut fetcher = Fetcher::new(Mirror::own(mirror)?, credentials);
    let reader = BufReader::new(
        socket
            .try_clone()
            .context("could not duplicate the socket")?,
    );
    match serve(&mut fetcher, reader, socket, has_grown)? {
        End::HungUp => Ok(()),
        End::Grown => begin_anew(),
    }
}

/// Why no more is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody asks any more, or nobody can be answered.
    HungUp,
    /// All is answered so far, by a process that has become too large to wait.
    Grown,
}

/// Runs this program again in the place of this process, with the same socket:
/// an allocator keeps what a large pack took, a new process has none of it.
/// Whoever asks does not notice; if it fails, it is as if the process had ended.
fn begin_anew() -> anyhow::Result<()> {
    let program = std::env::current_exe().context("could not find this program")?;
    #[expect(
        clippy::disallowed_methods,
        reason = "no child: it is this very process"
    )]
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).context("could not begin anew")
}

/// Standard input as the socket that it is when the daemon started us.
fn standard_input() -> anyhow::Result<UnixStream> {
    let input = io::stdin();
    rustix::net::getpeername(&input)
        .context("expected a socket of the daemon as standard input; `deploy-flake fetcher` is not for use by hand")?;
    let own = input.as_fd().try_clone_to_owned();
    Ok(UnixStream::from(
        own.context("could not duplicate standard input")?,
    ))
}

/// Answers every line until the end of the input, until nobody listens, or
/// until this process `has_grown`.
pub(super) fn serve(
    fetcher: &mut Fetcher,
    mut reader: impl BufRead,
    mut writer: impl Write,
    has_grown: fn() -> bool,
) -> anyhow::Result<End> {
    while let Some(line) = read_line(&mut reader)? {
        let mut answer =
            serde_json::to_vec(&respond(fetcher, &line)).context("could not write an answer")?;
        answer.push(b'\n');
        match writer.write_all(&answer) {
            Ok(()) => {}
            // The daemon ended while it was waiting for us: that is our end, too.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::HungUp),
            Err(error) => return Err(error).context("could not send an answer"),
        }
        if fetcher.is_stuck() {
            // With the process goes what nobody can end.
            return Ok(End::HungUp);
        }
        if has_grown() {
            return Ok(End::Grown);
        }
    }
    Ok(End::HungUp)
}

/// Whether this process has more memory of its own than it should wait with.
/// Where the kernel does not say, it has not.
fn has_grown() -> bool {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|it| it.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.is_some_and(|kilobytes| kilobytes > LARGE)
}

/// The next line, or nothing at the end of the input.
fn read_line(reader: &mut impl BufRead) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader
        .by_ref()
        .take(LINE_LIMIT as u64)
        .read_until(b'\n', &mut line)
        .context("could not read a request")?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() == LINE_LIMIT => bail!("a request is longer than {LINE_LIMIT} bytes"),
        Some(_) => bail!("the input ends within a request"),
    }
}

/// The answer to one request.
fn respond(fetcher: &mut Fetcher, line: &[u8]) -> Answer {
    match serde_json::from_slice(line) {
        Ok(Request::Poll {
            remote,
            testing,
            heartbeat,
        }) => {
            let besides = Besides {
                testing: testing.as_ref(),
                heartbeat: heartbeat.as_ref(),
            };
            let answer = fetcher.poll(&remote, besides);
            answer.unwrap_or_else(|trouble| trouble.answer(&remote.url))
        }
        Ok(Request::Fetch {
            remote,
            commit,
            pack_limit,
        }) => fetcher
            .fetch(&remote, &commit, pack_limit)
            .unwrap_or_else(|trouble| trouble.answer(&remote.url)),
        Ok(Request::Heartbeat { remote, name, tag }) => fetcher
            .heartbeat(&remote, &name, &tag)
            .unwrap_or_else(|trouble| trouble.answer(&remote.url)),
        Ok(Request::Lineage { tip, base, first }) => fetcher
            .lineage(&tip, base.as_ref(), first)
            .unwrap_or_else(|trouble| trouble.answer("")),
        Ok(Request::Commit { commit }) => fetcher
            .commit(&commit)
            .unwrap_or_else(|trouble| trouble.answer("")),
        Err(error) => Trouble::new(Problem::Protocol, error.to_string()).answer(""),
    }
}
