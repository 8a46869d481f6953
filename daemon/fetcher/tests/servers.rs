//! Servers on loopback: git's own, one that speaks http, and some that lie.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::fetcher::tests::upstream::{
    World, ask, failed, fetch, fetched, git, git_command, head, poll, remote,
};
use crate::fetcher::wire::Problem;

/// Starts a server whose every connection is given to `serve`.
pub(super) fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream.expect("a connection")));
        }
    });
    port
}

/// git's own daemon, ended with the test.
pub(super) struct GitDaemon(Child);

impl GitDaemon {
    pub(super) fn serve(directory: &Path, port: u16) -> Self {
        // Not `git daemon`: that is a parent, and would die alone.
        let programs = git(directory, &["--exec-path"]);
        #[expect(clippy::disallowed_methods, reason = "the server of a test")]
        let child = Command::new(Path::new(&programs).join("git-daemon"))
            .args(["--export-all", "--reuseaddr", "--verbose"])
            .current_dir(directory)
            .args(["--listen=127.0.0.1", &format!("--port={port}")])
            .arg(format!("--base-path={}", directory.display()))
            .arg(directory)
            .stderr(Stdio::piped())
            .spawn()
            .expect("git is installed");
        let mut daemon = Self(child);
        let stderr = daemon.0.stderr.take().expect("piped");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let ready = lines.any(|line| line.contains("Ready to rumble"));
        assert!(ready, "git daemon did not start");
        // It ends when nobody reads what it says.
        thread::spawn(move || lines.for_each(drop));
        daemon
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        self.0.kill().expect("our child");
        self.0.wait().expect("our child");
    }
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}

#[test]
fn a_git_daemon_is_polled_and_fetched_from() {
    let world = World::new();
    let port = free_port();
    let daemon = GitDaemon::serve(world.directory.path(), port);
    let remote = remote(&format!("git://127.0.0.1:{port}/upstream"));
    let mut fetcher = world.fetcher();
    assert_eq!(ask(&mut fetcher, &poll(&remote)), head(&world.head()));
    assert_eq!(
        ask(&mut fetcher, &fetch(&remote, &world.head())),
        fetched(&world.head())
    );
    world.assert_mirror_is_whole_at(&world.head());
    drop(daemon);
    let (problem, message) = failed(ask(&mut fetcher, &poll(&remote)));
    assert_eq!(problem, Problem::Remote);
    assert!(
        message.to_lowercase().contains("connection refused"),
        "{message}"
    );
}

/// The git http server, as far as a fetch needs it.
#[derive(Clone, Default)]
pub(super) struct HttpServer {
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    /// After how many requests a connection is closed, 0 for never.
    requests_per_connection: usize,
}

impl HttpServer {
    pub(super) fn start(&self, root: PathBuf) -> u16 {
        let server = self.clone();
        listen(move |stream| {
            server.connections.fetch_add(1, Ordering::SeqCst);
            let mut served = 0;
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            while let Some((head, body)) = read_request(&mut reader) {
                server.requests.fetch_add(1, Ordering::SeqCst);
                (&stream).write_all(&backend(&root, &head, &body)).ok();
                served += 1;
                if served == server.requests_per_connection {
                    return;
                }
            }
        })
    }

    /// Connections and requests since the last call.
    fn take_counts(&self) -> (usize, usize) {
        (
            self.connections.swap(0, Ordering::SeqCst),
            self.requests.swap(0, Ordering::SeqCst),
        )
    }
}

/// The lines of a request's head, and its body.
pub(super) fn read_request(reader: &mut impl BufRead) -> Option<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            text => head.push(text.to_owned()),
        }
    }
    let length = header(&head, "content-length").map_or(0, |text| text.parse().expect("a number"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn header<'a>(head: &'a [String], wanted: &str) -> Option<&'a str> {
    head.iter()
        .filter_map(|line| line.split_once(": "))
        .find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then_some(value))
}

/// Lets `git http-backend` answer.
pub(super) fn backend(root: &Path, head: &[String], body: &[u8]) -> Vec<u8> {
    let mut words = head[0].split(' ');
    let method = words.next().expect("a method");
    let target = words.next().expect("a path");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut child = git_command(root)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header(head, "content-type").unwrap_or(""))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("GIT_PROTOCOL", header(head, "git-protocol").unwrap_or(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(body).expect("a request that is read");
    drop(input);
    let output = child.wait_with_output().expect("our child").stdout;
    let split = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a CGI answers with a head");
    let length = output.len() - split - 4;
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n").into_bytes();
    answer.extend_from_slice(&output);
    answer
}

#[test]
fn polls_over_http_use_one_connection_and_one_request_each() {
    let world = World::new();
    let server = HttpServer::default();
    let port = server.start(world.directory.path().to_owned());
    let remote = remote(&format!("http://127.0.0.1:{port}/upstream"));
    let mut fetcher = world.fetcher();
    assert_eq!(ask(&mut fetcher, &poll(&remote)), head(&world.head()));
    assert_eq!(server.take_counts(), (1, 2));
    assert_eq!(
        ask(&mut fetcher, &fetch(&remote, &world.head())),
        fetched(&world.head())
    );
    world.assert_mirror_is_whole_at(&world.head());
    server.take_counts();
    for text in ["three", "four", "five"] {
        let commit = world.commit(text);
        assert_eq!(ask(&mut fetcher, &poll(&remote)), head(&commit));
    }
    assert_eq!(server.take_counts(), (0, 3));
}

#[test]
fn a_server_that_hangs_up_between_polls_is_connected_to_again() {
    let world = World::new();
    let server = HttpServer {
        requests_per_connection: 2,
        ..HttpServer::default()
    };
    let port = server.start(world.directory.path().to_owned());
    let remote = remote(&format!("http://127.0.0.1:{port}/upstream"));
    let mut fetcher = world.fetcher();
    for text in ["three", "four", "five", "six"] {
        let commit = world.commit(text);
        assert_eq!(ask(&mut fetcher, &poll(&remote)), head(&commit));
    }
}

#[test]
fn a_remote_that_nobody_answers_for_is_unreachable() {
    let world = World::new();
    let port = free_port();
    for scheme in ["http", "https", "git"] {
        let remote = remote(&format!("{scheme}://robot:tok3n@127.0.0.1:{port}/upstream"));
        let (problem, message) = failed(ask(&mut world.fetcher(), &poll(&remote)));
        assert_eq!(problem, Problem::Remote, "{message}");
        assert!(
            !message.contains("tok3n") && !message.contains('\n'),
            "{message}"
        );
    }
}

#[test]
fn transports_that_run_programs_are_refused() {
    let world = World::new();
    for url in [
        "ext::sh -c touch% /tmp/smuggled",
        "ssh://-oProxyCommand=true/upstream",
        "ssh://host/-oProxyCommand=true",
        "ftp://127.0.0.1/upstream",
        "/upstream/../../x",
        "",
    ] {
        let (problem, message) = failed(ask(&mut world.fetcher(), &poll(&remote(url))));
        assert!(
            matches!(
                problem,
                Problem::Remote | Problem::Unauthorized | Problem::Unresolved
            ),
            "{url}: {problem:?} {message}"
        );
    }
}

#[test]
fn a_server_that_wants_a_password_is_not_given_one() {
    let world = World::new();
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"
        );
        let port = listen(move |stream| {
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            while read_request(&mut reader).is_some() {
                (&stream).write_all(answer.as_bytes()).ok();
            }
        });
        let remote = remote(&format!("http://127.0.0.1:{port}/upstream"));
        let (problem, message) = failed(ask(&mut world.fetcher(), &poll(&remote)));
        assert_eq!(problem, Problem::Unauthorized, "{message}");
    }
}
