//! What goes over the wire: a proxy between a host and the git server that counts.
//!
//! In: ports. Out: bytes of TCP's payload in both directions, connections, and when the first byte came. It is this
//! same program in a process of its own, in the namespace of the world's hub, and is asked line by line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::testbed::network::Address;
use crate::testbed::world::World;

/// The word that makes this program the proxy.
pub const WORD: &str = "count-bytes";

/// http, https, ssh.
const PORTS: [u16; 3] = [80, 443, 22];

/// What went over one port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Bytes to the server.
    pub up: u64,
    /// Bytes from it.
    pub down: u64,
    /// How many connections were made.
    pub connections: u64,
    /// When the first of these bytes came, in microseconds of the wall clock.
    pub first_at: u64,
}

/// The proxy, from outside. It ends with this.
pub struct Proxy {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Proxy {
    /// Starts it between the world's git server and everybody who asks the hub.
    pub fn start(world: &World) -> Self {
        let program = std::env::current_exe().expect("a running program has a path");
        let mut child = Command::new("ip")
            .args(["netns", "exec", world.namespace()])
            .arg(program)
            .arg(WORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("iproute2 is installed");
        world.adopt(child.id());
        let requests = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut proxy = Self {
            child,
            requests,
            answers,
        };
        // It answers once it listens.
        proxy.take(PORTS[0]);
        proxy
    }

    /// What went over a port since the last time.
    pub fn take(&mut self, port: u16) -> Traffic {
        writeln!(self.requests, "{port}").expect("the proxy runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the proxy runs");
        let mut numbers = line
            .split_whitespace()
            .map(|word| word.parse().expect("a number"));
        let mut next = || numbers.next().expect("four numbers");
        Traffic {
            up: next(),
            down: next(),
            connections: next(),
            first_at: next(),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended with its namespace.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The proxy itself: listens, and answers until nobody asks any more.
pub fn serve() {
    let counters: BTreeMap<u16, Arc<Counters>> = PORTS
        .into_iter()
        .map(|port| (port, Arc::new(Counters::default())))
        .collect();
    for (port, counters) in &counters {
        let listener =
            TcpListener::bind((Address::HUB.to_string(), *port)).expect("nobody listens there");
        let server = format!("{}:{port}", Address::FIRST);
        let counters = Arc::clone(counters);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                forward(client, &server, &counters);
            }
        });
    }
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let port: u16 = line.parse().expect("a port");
        let Counters {
            up,
            down,
            connections,
            first_at,
        } = &*counters[&port];
        let taken = [up, down, connections, first_at].map(|it| it.swap(0, Ordering::SeqCst));
        let words = taken.map(|number| number.to_string());
        println!("{}", words.join(" "));
    }
}

#[derive(Default)]
struct Counters {
    up: AtomicU64,
    down: AtomicU64,
    connections: AtomicU64,
    first_at: AtomicU64,
}

/// Both ways of one connection, each in a thread of its own.
fn forward(client: TcpStream, server: &str, counters: &Arc<Counters>) {
    let Ok(server) = TcpStream::connect(server) else {
        return;
    };
    counters.connections.fetch_add(1, Ordering::SeqCst);
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("a TCP socket");
    }
    for is_up in [true, false] {
        let [client, server] = [&client, &server].map(|it| it.try_clone().expect("a descriptor"));
        let (from, to) = if is_up {
            (client, server)
        } else {
            (server, client)
        };
        let counters = Arc::clone(counters);
        thread::spawn(move || pump(from, to, &counters, is_up));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, counters: &Counters, is_up: bool) {
    let mut buffer = vec![0; 256 * 1024];
    let counter = if is_up { &counters.up } else { &counters.down };
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        counter.fetch_add(read as u64, Ordering::SeqCst);
        // Only the first is kept.
        let _ = counters
            .first_at
            .compare_exchange(0, now(), Ordering::SeqCst, Ordering::SeqCst);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // The other side may have gone already.
    let _ = to.shutdown(Shutdown::Write);
}

/// Microseconds of the wall clock.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_micros()).expect("before the year 500,000")
}
