//! A git server that says what it is told to, in protocol 2 over git://.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;

use crate::fetcher::tests::servers::listen;
use crate::fetcher::tests::upstream::{World, git_command, remote};
use crate::fetcher::wire::RemoteAddress;

/// Says something to a client that waits for it.
pub(super) type Say = Arc<dyn Fn(&mut TcpStream) -> io::Result<()> + Send + Sync>;

/// What a server says at which point.
#[derive(Clone)]
pub(super) struct Script {
    /// Before the first command.
    pub(super) greeting: Say,
    /// To `ls-refs`.
    pub(super) refs: Say,
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
            pack: say([side_band(&pack), b"0000".to_vec()].concat()),
        }
    }

    /// Starts it, for as long as the test runs.
    pub(super) fn start(self) -> RemoteAddress {
        let port = listen(move |mut stream| {
            // A client that hangs up is what most of these are about.
            let _ = self.play(&mut stream);
        });
        remote(&format!("git://127.0.0.1:{port}/upstream"))
    }

    fn play(&self, stream: &mut TcpStream) -> io::Result<()> {
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

/// What a server of protocol 2 begins with.
pub(super) fn greeting() -> Vec<u8> {
    let lines = [
        "version 2\n",
        "ls-refs\n",
        "fetch\n",
        "object-format=sha1\n",
    ];
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

/// The next packet's data, nothing at a flush; delimiters are data without any.
fn read_packet(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
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

impl World {
    /// A pack of exactly these objects of the upstream.
    pub(super) fn pack_of(&self, objects: &[&str]) -> Vec<u8> {
        let mut child = git_command(&self.upstream())
            .args(["pack-objects", "--stdout", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git is installed");
        let mut input = child.stdin.take().expect("piped");
        input
            .write_all(format!("{}\n", objects.join("\n")).as_bytes())
            .expect("a list that is read");
        drop(input);
        child.wait_with_output().expect("our child").stdout
    }

    /// A pack of all of the upstream.
    pub(super) fn whole_pack(&self) -> Vec<u8> {
        let all = super::upstream::git(&self.upstream(), &["rev-list", "--objects", "--all"]);
        let names: Vec<&str> = all
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        self.pack_of(&names)
    }
}
