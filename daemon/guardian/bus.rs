//! Whether the system bus is alive: without it `switch-to-configuration` can
//! do nothing, and may even hang.
//!
//! In: the bus's socket. Out: yes or no, soon. Must not: speak more of the
//! protocol than the first line.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::say::say;
use crate::host::clock;

/// Where every program looks for the system bus.
const SOCKET: &str = "/run/dbus/system_bus_socket";

/// How long a bus that is just being restarted may need, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a bus may take to answer one connection.
const ANSWER: Duration = Duration::from_secs(3);

/// Between two connections.
const PAUSE: Duration = Duration::from_millis(500);

/// The first line of everybody on the bus: a zero byte, then "I am user 0", in
/// the hexadecimal digits of its text.
const GREETING: &[u8] = b"\0AUTH EXTERNAL 30\r\n";

/// Whether the system bus answers. Connecting starts one that is dead, where
/// systemd listens for it.
pub(super) fn is_alive() -> bool {
    answers_in_time(Path::new(SOCKET), PATIENCE)
}

fn answers_in_time(socket: &Path, patience: Duration) -> bool {
    let give_up_at = clock::awake() + patience;
    loop {
        match greet(socket) {
            Ok(()) => return true,
            Err(error) if clock::awake() >= give_up_at => {
                say(&format!("the system bus does not answer: {error}"));
                return false;
            }
            Err(_not_yet) => sleep(PAUSE),
        }
    }
}

fn greet(path: &Path) -> io::Result<()> {
    let mut stream = open(path)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.write_all(GREETING)?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer)?;
    // It may say OK or REJECTED: it lives.
    Ok(())
}

/// Connects without waiting: where the queue of a stopped bus is full, an
/// ordinary connection would wait for ever.
fn open(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_bus_that_answers_is_alive() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("bus");
        let listener = UnixListener::bind(&path).expect("a socket");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody connects");
            let mut line = [0; GREETING.len()];
            stream.read_exact(&mut line).expect("a greeting");
            stream.write_all(b"OK 0123\r\n").expect("a reader");
            line
        });
        assert!(answers_in_time(&path, ANSWER));
        assert_eq!(server.join().expect("no panic"), GREETING);
    }

    #[test]
    fn one_that_is_dead_or_silent_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("bus");
        assert!(!answers_in_time(&path, Duration::ZERO), "no socket");
        // The kernel accepts the connection; nobody reads it.
        let _listener = UnixListener::bind(&path).expect("a socket");
        assert!(!answers_in_time(&path, Duration::ZERO), "stopped");
    }
}
