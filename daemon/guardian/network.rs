//! What of the network can be seen without using it: the ssh server on this
//! host's own addresses, and the default route.
//!
//! In: addresses. Out: who does not answer. Must not: resolve names, or leave
//! the host.

use std::fs;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long the ssh server may take to accept, and again to say who it is.
const ANSWER: Duration = Duration::from_secs(3);

/// How every ssh server begins.
const BANNER: &[u8; 4] = b"SSH-";

/// In `/proc/net/route` and `/proc/net/ipv6_route`: the route is up, and it is
/// one that rejects.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

/// Whether an ssh server answers there; why not.
pub(super) fn ssh_answers(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut banner = [0; BANNER.len()];
    stream.read_exact(&mut banner)?;
    if &banner == BANNER {
        Ok(())
    } else {
        Err(io::Error::other("what answers is no ssh server"))
    }
}

/// Whether there is a default route, IPv4 or IPv6.
pub(super) fn has_default_route() -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    read("/proc/net/route").lines().any(is_default_4)
        || read("/proc/net/ipv6_route").lines().any(is_default_6)
}

/// Interface, destination, gateway, flags, three numbers, mask, ...
fn is_default_4(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let flags = words.get(3).and_then(|word| hexadecimal(word));
    words.get(1) == Some(&"00000000")
        && words.get(7) == Some(&"00000000")
        && flags.is_some_and(leads_somewhere)
}

/// Destination, its length, source, its length, next hop, metric, two counts,
/// flags, interface.
fn is_default_6(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let flags = words.get(8).and_then(|word| hexadecimal(word));
    let is_everything = words
        .first()
        .is_some_and(|to| to.bytes().all(|digit| digit == b'0'));
    is_everything
        && words.get(1) == Some(&"00")
        && words.get(9).is_some_and(|interface| *interface != "lo")
        && flags.is_some_and(leads_somewhere)
}

fn hexadecimal(word: &str) -> Option<u32> {
    u32::from_str_radix(word, 16).ok()
}

fn leads_somewhere(flags: u32) -> bool {
    flags & UP != 0 && flags & REJECT == 0
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn default_routes_are_told_from_others() {
        for (line, expected) in [
            (
                "eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0",
                true,
            ),
            (
                "eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0",
                false,
            ),
            (
                "eth0\t00000000\t0100A8C0\t0002\t0\t0\t100\t00000000\t0\t0\t0",
                false,
            ),
            (
                "*\t00000000\t00000000\t0201\t0\t0\t100\t00000000\t0\t0\t0",
                false,
            ),
            (
                "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask",
                false,
            ),
        ] {
            assert_eq!(is_default_4(line), expected, "{line}");
        }
        let zeros = "00000000000000000000000000000000";
        for (length, flags, interface, expected) in [
            ("00", "00000003", "eth0", true),
            ("00", "00200200", "lo", false),
            ("00", "00000203", "eth0", false),
            ("40", "00000001", "eth0", false),
        ] {
            let line = format!(
                "{zeros} {length} {zeros} 00 {zeros} ffffffff 00000001 00000000 {flags} {interface}"
            );
            assert_eq!(is_default_6(&line), expected, "{line}");
        }
    }

    #[test]
    fn only_an_ssh_server_is_one() {
        for (greeting, expected) in [("SSH-2.0-x\r\n", true), ("HTTP/1.1 400\r\n", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
            let address = listener.local_addr().expect("it is bound");
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("somebody connects");
                stream.write_all(greeting.as_bytes()).expect("a reader");
            });
            assert_eq!(ssh_answers(address).is_ok(), expected, "{greeting}");
            server.join().expect("no panic");
            assert!(ssh_answers(address).is_err(), "nobody listens any more");
        }
    }
}
