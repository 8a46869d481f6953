//! What a git server says, word by word, in protocol 2 over git://: for servers that lie, here and in scenarios.
//!
//! In: what to say at which point. Out: bytes on a connection. Must not: know which connection that is.

use std::io::{self, Read, Write};
use std::sync::Arc;

/// A connection.
pub(super) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Says something to a client that waits for it. An error ends the connection.
pub(super) type Say = Arc<dyn Fn(&mut dyn Stream) -> io::Result<()> + Send + Sync>;

/// What a server says at which point.
#[derive(Clone)]
pub(super) struct Script {
    /// Before the first command.
    pub(super) greeting: Say,
    /// To `ls-refs`.
    pub(super) refs: Say,
    /// To `fetch`, before the line that announces a pack.
    pub(super) before: Say,
    /// To `fetch`, after the line that announces a pack.
    pub(super) pack: Say,
}

impl Script {
    /// A server whose branch is this object, and that sends this pack.
    pub(super) fn new(tip: &str, pack: Vec<u8>) -> Self {
        let line = packet(format!("{tip} refs/heads/main\n").as_bytes());
        Self {
            greeting: say(greeting()),
            refs: say([line, b"0000".to_vec()].concat()),
            before: say(""),
            pack: say([side_band(&pack), b"0000".to_vec()].concat()),
        }
    }

    /// Talks to one client until either hangs up.
    pub(super) fn play(&self, stream: &mut dyn Stream) -> io::Result<()> {
        read_packet(stream)?;
        (self.greeting)(stream)?;
        loop {
            let mut command = Vec::new();
            while let Some(line) = read_packet(stream)? {
                command.extend(line);
            }
            if command.starts_with(b"command=ls-refs") {
                (self.refs)(stream)?;
            } else if command.starts_with(b"command=fetch") {
                (self.before)(stream)?;
                stream.write_all(&packet(b"packfile\n"))?;
                (self.pack)(stream)?;
            } else {
                return Ok(());
            }
        }
    }
}

/// Says these bytes.
pub(super) fn say(bytes: impl Into<Vec<u8>>) -> Say {
    let bytes = bytes.into();
    Arc::new(move |stream| stream.write_all(&bytes))
}

/// Says these bytes, and then nothing at all.
pub(super) fn say_and_stay(bytes: impl Into<Vec<u8>>) -> Say {
    let bytes = bytes.into();
    Arc::new(move |stream| {
        stream.write_all(&bytes)?;
        // Until the client hangs up.
        io::copy(stream, &mut io::sink()).map(drop)
    })
}

/// Says these bytes, and hangs up.
pub(super) fn say_and_leave(bytes: impl Into<Vec<u8>>) -> Say {
    let bytes = bytes.into();
    Arc::new(move |stream| {
        stream.write_all(&bytes)?;
        Err(io::ErrorKind::ConnectionAborted.into())
    })
}

/// Says these bytes first, and those for as long as anybody listens.
pub(super) fn say_without_end(first: impl Into<Vec<u8>>, again: impl Into<Vec<u8>>) -> Say {
    let (first, again) = (first.into(), again.into());
    Arc::new(move |stream| {
        stream.write_all(&first)?;
        loop {
            stream.write_all(&again)?;
        }
    })
}

/// What a server of protocol 2 begins with.
pub(super) fn greeting() -> Vec<u8> {
    greeting_of("sha1")
}

/// The same with the hash by which its objects are named.
pub(super) fn greeting_of(format: &str) -> Vec<u8> {
    let format = format!("object-format={format}\n");
    let lines = ["version 2\n", "ls-refs\n", "fetch\n", &format];
    let mut all = lines.map(|line| packet(line.as_bytes())).concat();
    all.extend(b"0000");
    all
}

pub(super) fn packet(data: &[u8]) -> Vec<u8> {
    [format!("{:04x}", data.len() + 4).as_bytes(), data].concat()
}

/// Data of a pack as it is sent beside progress.
pub(super) fn side_band(data: &[u8]) -> Vec<u8> {
    let packets = data
        .chunks(60_000)
        .map(|part| packet(&[&[1], part].concat()));
    packets.collect::<Vec<_>>().concat()
}

/// The head of a pack that claims so many objects.
pub(super) fn claim(objects: u32) -> Vec<u8> {
    [b"PACK\0\0\0\x02", &objects.to_be_bytes()[..]].concat()
}

/// An empty blob in a pack, deflated.
pub(super) const EMPTY_BLOB: &[u8] = &[0x30, 0x78, 0x9c, 0x03, 0, 0, 0, 0, 0x01];

/// The next packet's data, nothing at a flush; delimiters are data without any.
fn read_packet(stream: &mut dyn Stream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let text = std::str::from_utf8(&length).map_err(io::Error::other)?;
    let length = usize::from_str_radix(text, 16).map_err(io::Error::other)?;
    if length == 0 {
        return Ok(None);
    }
    let mut data = vec![0; length.saturating_sub(4)];
    stream.read_exact(&mut data)?;
    Ok(Some(data))
}
