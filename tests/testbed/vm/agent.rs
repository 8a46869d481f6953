//! The harness's end of a virtual machine's second serial port; `agent` is the other one.
//!
//! In: lines. Out: answers, or an error where the machine does not answer in time.

use std::io::{BufRead, BufReader, Error, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::testbed::world::poll_until;

/// QEMU makes its socket at once.
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);

/// How much longer than the machine itself waits one waits for its answer.
const MARGIN: Duration = Duration::from_secs(20);

/// What a line came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u32,
    pub(crate) text: String,
}

/// A connection to a machine's agent.
pub(crate) struct Agent {
    port: BufReader<UnixStream>,
}

impl Agent {
    /// Connects to a machine that was just switched on; none if it does not get that far.
    pub(crate) fn connect(socket: &Path) -> Option<Self> {
        let mut stream = None;
        poll_until(CONNECT_DEADLINE, || {
            stream = UnixStream::connect(socket).ok();
            stream.is_some()
        });
        let port = BufReader::new(stream?);
        Some(Self { port })
    }

    /// Waits until the agent says that it is there.
    pub(crate) fn wait_until_ready(&mut self, deadline: Duration) -> Result<()> {
        self.read("READY", deadline).map(drop)
    }

    /// Runs a line of shell as root.
    pub(crate) fn run(&mut self, line: &str, deadline: Duration) -> Result<Answer> {
        assert!(!line.contains('\n'), "more than a line: {line}");
        writeln!(self.port.get_mut(), "{line}")?;
        let answer = self.read("ANSWER ", deadline)?;
        let (code, text) = answer.split_once(' ').unwrap_or((&answer, ""));
        Ok(Answer {
            code: code.parse().map_err(Error::other)?,
            text: from_hexadecimal(text)?,
        })
    }

    /// Waits until a file inside is there and matches, looked at every other millisecond; says whether it came true.
    pub(crate) fn wait_for(
        &mut self,
        file: &str,
        pattern: &str,
        deadline: Duration,
    ) -> Result<bool> {
        let line = format!("await {} {file} {pattern}", deadline.as_secs());
        Ok(self.run(&line, deadline + MARGIN)?.code == 0)
    }

    /// The rest of the next line that starts like this.
    fn read(&mut self, start: &str, deadline: Duration) -> Result<String> {
        self.port.get_ref().set_read_timeout(Some(deadline))?;
        loop {
            let mut line = Vec::new();
            if self.port.read_until(b'\n', &mut line)? == 0 {
                return Err(Error::other("the machine is off"));
            }
            let line = String::from_utf8_lossy(&line);
            if let Some(rest) = line.trim_end().strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
    }
}

fn from_hexadecimal(text: &str) -> Result<String> {
    let bytes = (0..text.len() / 2).map(|byte| u8::from_str_radix(&text[2 * byte..][..2], 16));
    let bytes: std::result::Result<Vec<u8>, _> = bytes.collect();
    let bytes = bytes.map_err(Error::other)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
