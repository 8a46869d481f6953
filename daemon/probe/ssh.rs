//! Whether an ssh server answers: its banner, on a connection of its own.
//!
//! In: where it should listen. Out: what came. Must not: log in, or send
//! anything.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::sshd_config::Target;
use crate::model::health::SshPort;

/// How long a server may take for its banner. It is the first thing that it
/// sends; a loaded machine takes a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much a server may send before its banner (RFC 4253, section 4.2).
const PREAMBLE_LIMIT: u64 = 8 * 1024;

/// How the line begins that every server of protocol 2 sends.
const BANNER: &[u8] = b"SSH-";

/// What OpenSSH says in the banner's place when it knows us too well: it is
/// there, and would answer somebody else.
const TOO_OFTEN: [&[u8]; 2] = [b"Not allowed at this time", b"Exceeded MaxStartups"];

/// Tries every target, all at once.
pub(super) async fn look(targets: &[Target], deadline: Duration) -> Vec<SshPort> {
    let patience = PATIENCE.min(deadline);
    join_all(targets.iter().map(|target| try_target(target, patience))).await
}

/// The first of the target's addresses that answers, or what the first said.
async fn try_target(target: &Target, patience: Duration) -> SshPort {
    let mut silent = None;
    for address in &target.addresses {
        let banner = try_address(address, patience).await;
        let is_answer = banner.is_ok();
        let port = SshPort {
            address: address.clone(),
            banner,
        };
        if is_answer {
            return port;
        }
        silent.get_or_insert(port);
    }
    silent.unwrap_or_else(|| SshPort {
        address: String::new(),
        banner: Err("there is no address to try".to_owned()),
    })
}

async fn try_address(address: &str, patience: Duration) -> Result<(), String> {
    let heard = timeout(patience, banner(address)).await;
    heard.unwrap_or_else(|_elapsed| Err(format!("no banner came within {patience:?}")))
}

async fn banner(address: &str) -> Result<(), String> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(stream.take(PREAMBLE_LIMIT));
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).await;
        match read.map_err(|error| error.to_string())? {
            0 => return Err("the connection ended before a banner came".to_owned()),
            _ if line.starts_with(BANNER) => return Ok(()),
            _ if TOO_OFTEN.iter().any(|words| line.starts_with(words)) => return Ok(()),
            _preamble => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// What is seen of a server that says this and then hangs up.
    async fn said(words: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let target = Target {
            addresses: vec![address],
        };
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("somebody asks");
            stream.write_all(words.as_bytes()).await.expect("it reads");
        };
        let targets = [target];
        let (ports, ()) = tokio::join!(look(&targets, PATIENCE), serve);
        ports.into_iter().next().expect("one target").banner
    }

    #[tokio::test]
    async fn a_banner_is_an_answer_and_anything_else_is_not() {
        for (words, answered) in [
            ("SSH-2.0-OpenSSH_9.9\r\n", true),
            ("hello\r\nSSH-2.0-x\r\n", true),
            ("Not allowed at this time\r\n", true),
            ("Exceeded MaxStartups\r\n", true),
            ("", false),
            ("HTTP/1.1 400 Bad Request\r\n", false),
        ] {
            assert_eq!(said(words).await.is_ok(), answered, "{words:?}");
        }
    }

    #[tokio::test]
    async fn the_first_address_that_answers_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let good = listener.local_addr().expect("bound").to_string();
        // Port 1 is refused.
        let target = Target {
            addresses: vec!["127.0.0.1:1".to_owned(), good.clone()],
        };
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("somebody asks");
            stream.write_all(b"SSH-2.0-x\r\n").await.expect("it reads");
        };
        let (port, ()) = tokio::join!(try_target(&target, PATIENCE), serve);
        assert_eq!((port.address, port.banner), (good, Ok(())));
    }

    #[tokio::test]
    async fn nobody_there_says_why_with_the_address() {
        let target = Target {
            addresses: vec!["127.0.0.1:1".to_owned()],
        };
        let port = try_target(&target, PATIENCE).await;
        assert_eq!(port.address, "127.0.0.1:1");
        let why = port.banner.expect_err("nobody listens");
        assert!(why.contains("refused"), "{why}");
    }

    #[tokio::test]
    async fn silence_ends_with_patience() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let silent = try_address(&address, Duration::from_millis(20)).await;
        assert_eq!(silent, Err("no banner came within 20ms".to_owned()));
    }
}
