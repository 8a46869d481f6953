//! The process: reads requests from a socket and answers them, one by one.
//!
//! In: standard input, one end of the daemon's socket pair. Out: answers on
//! the same socket; complaints on standard error, which is the journal. Must
//! not: outlive the other end, or read a line without end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::Mode;

use crate::fetcher::credentials::Credentials;
use crate::fetcher::mirror::Mirror;
use crate::fetcher::remote::Fetcher;
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::{Answer, LINE_LIMIT, Problem, Request};

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
    serve(&mut fetcher, reader, socket)
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

/// Answers every line until the end of the input, or until nobody listens.
pub(super) fn serve(
    fetcher: &mut Fetcher,
    mut reader: impl BufRead,
    mut writer: impl Write,
) -> anyhow::Result<()> {
    while let Some(line) = read_line(&mut reader)? {
        let mut answer =
            serde_json::to_vec(&respond(fetcher, &line)).context("could not write an answer")?;
        answer.push(b'\n');
        match writer.write_all(&answer) {
            Ok(()) => {}
            // The daemon ended while it was waiting for us: that is our end, too.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error).context("could not send an answer"),
        }
        if fetcher.is_stuck() {
            // With the process goes what nobody can end.
            return Ok(());
        }
    }
    Ok(())
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
        Ok(Request::Poll { remote }) => fetcher
            .poll(&remote)
            .unwrap_or_else(|trouble| trouble.answer(&remote.url)),
        Ok(Request::Fetch {
            remote,
            commit,
            pack_limit,
        }) => fetcher
            .fetch(&remote, &commit, pack_limit)
            .unwrap_or_else(|trouble| trouble.answer(&remote.url)),
        Ok(Request::Lineage { tip, base, first }) => fetcher
            .lineage(&tip, base.as_ref(), first)
            .unwrap_or_else(|trouble| trouble.answer("")),
        Err(error) => Trouble::new(Problem::Protocol, error.to_string()).answer(""),
    }
}
