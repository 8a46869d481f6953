//! Servers that answer a poll with anything but the branch: each has its own
//! problem, and the fetcher lives or says that it cannot.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fetcher::limits::Limits;
use crate::fetcher::tests::protocol::{
    Script, greeting, packet, say, say_and_stay, say_without_end,
};
use crate::fetcher::tests::servers::{free_port, listen};
use crate::fetcher::tests::upstream::{World, ask, failed, head, poll, remote};
use crate::fetcher::wire::{Answer, Problem};
use crate::model::remote::RemoteAddress;

/// Limits on bytes that a test can reach.
pub(super) const SMALL: Limits = Limits {
    refs: 1 << 20,
    window: Duration::from_secs(60),
    least: 1000,
    grace: Duration::from_millis(200),
};

/// The same with a time that a test can wait for.
pub(super) const HURRIED: Limits = Limits {
    window: Duration::from_millis(500),
    ..SMALL
};

/// The problem and the words of a poll that has to fail.
fn polled(remote: &RemoteAddress) -> (Problem, String) {
    polled_within(SMALL, remote)
}

fn polled_within(limits: Limits, remote: &RemoteAddress) -> (Problem, String) {
    let world = World::new();
    let mut fetcher = world.fetcher().with_limits(limits);
    failed(ask(&mut fetcher, &poll(remote)))
}

/// Answers every connection with these bytes, and hangs up.
fn answer(text: impl Into<Vec<u8>>) -> u16 {
    let text = text.into();
    listen(move |mut stream| {
        // Only the beginning of the request: some of it is never sent.
        stream.read_exact(&mut [0; 4]).ok();
        stream.write_all(&text).ok();
    })
}

fn http(port: u16) -> RemoteAddress {
    remote(&format!("http://127.0.0.1:{port}/upstream"))
}

fn git(port: u16) -> RemoteAddress {
    remote(&format!("git://127.0.0.1:{port}/upstream"))
}

const ADVERTISEMENT: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n";

#[test]
fn an_http_answer_that_is_no_git_server_s_is_told_by_its_kind() {
    let no_length = "Content-Length: 0\r\n\r\n";
    for (text, expected) in [
        (
            format!("HTTP/1.1 500 \u{1b}[31mno\r\n{no_length}"),
            Problem::ServerError,
        ),
        (
            format!("HTTP/1.1 404 Not Found\r\n{no_length}"),
            Problem::ServerError,
        ),
        (
            format!("HTTP/1.1 503 Busy\r\n{no_length}"),
            Problem::ServerError,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"
                .to_owned(),
            Problem::NotGit,
        ),
        (
            format!("{ADVERTISEMENT}Content-Length: 9\r\n\r\nzzzz# ser"),
            Problem::NotGit,
        ),
        (
            format!("{ADVERTISEMENT}Content-Length: 6\r\n\r\n<html>"),
            Problem::NotGit,
        ),
        (
            format!("{ADVERTISEMENT}Content-Length: 8\r\n\r\n00000000"),
            Problem::NotGit,
        ),
    ] {
        let (problem, message) = polled(&http(answer(text.clone())));
        assert_eq!(problem, expected, "{text:?}: {message}");
        assert!(!message.chars().any(char::is_control), "{message}");
    }
}

#[test]
fn nonsense_in_packet_lines_is_not_git() {
    for garbage in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "zzzz",
        "0001",
        "0003abc",
        "fff5 and less",
        "ffffversion 2\n",
        "\0\0\0\0\0\0\0\0",
        "000eversion 9\n0000",
        "0013ERR not for you",
    ] {
        let (problem, message) = polled(&git(answer(garbage)));
        let expected = [Problem::NotGit, Problem::Remote];
        assert!(
            expected.contains(&problem),
            "{garbage:?}: {problem:?} {message}"
        );
        assert!(!message.chars().any(char::is_control), "{message}");
    }
}

#[test]
fn a_redirect_is_not_followed_and_nobody_is_asked_there() {
    for scheme in ["http", "https", "git", "file"] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let elsewhere = listen(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let location = format!("{scheme}://127.0.0.1:{elsewhere}/upstream/info/refs");
        for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
            let text =
                format!("HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let (problem, message) = polled(&http(answer(text)));
            assert_eq!(problem, Problem::Redirected, "{status}: {message}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0, "{location}");
    }
}

#[test]
fn a_name_that_nobody_knows_is_told_as_such() {
    for scheme in ["http", "https", "git"] {
        let url = format!("{scheme}://nowhere.invalid/upstream");
        let world = World::new();
        let (problem, message) = failed(ask(&mut world.fetcher(), &poll(&remote(&url))));
        assert_eq!(problem, Problem::Unresolved, "{message}");
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let port = listen(|mut stream| {
        // Until the client hangs up.
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    for remote in [http(port), git(port)] {
        let (problem, message) = polled_within(HURRIED, &remote);
        assert_eq!(problem, Problem::TooSlow, "{message}");
    }
    let mut script = Script::new(&"1".repeat(40), Vec::new());
    script.refs = say_and_stay("");
    let (problem, message) = polled_within(HURRIED, &script.start());
    assert_eq!(problem, Problem::TooSlow, "{message}");
}

/// Says one byte, waits until the other side must have taken it, and so on.
fn trickle(stream: &mut TcpStream, text: &[u8]) {
    for byte in text.iter().cycle() {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_that_says_a_byte_now_and_then_is_given_up() {
    let port = listen(|mut stream| trickle(&mut stream, &greeting()));
    let (problem, message) = polled_within(HURRIED, &git(port));
    assert_eq!(problem, Problem::TooSlow, "{message}");
    let port = listen(|mut stream| {
        stream.write_all(ADVERTISEMENT.as_bytes()).ok();
        trickle(&mut stream, b"X-Slow: 1\r\n");
    });
    let (problem, message) = polled_within(HURRIED, &http(port));
    assert_eq!(problem, Problem::TooSlow, "{message}");
}

#[test]
fn refs_without_end_are_not_taken() {
    let line = packet(format!("{} refs/heads/other\n", "1".repeat(40)).as_bytes());
    let many = line.repeat(1000);
    let mut script = Script::new(&"1".repeat(40), Vec::new());
    script.refs = say_without_end("", many.clone());
    let (problem, message) = polled(&script.clone().start());
    assert_eq!(problem, Problem::TooBig, "protocol 2: {message}");
    // Protocol 0 tells them before anything is asked for.
    let first = format!("{} HEAD\0agent=x\n", "1".repeat(40));
    script.greeting = say_without_end(packet(first.as_bytes()), many);
    let (problem, message) = polled(&script.start());
    assert_eq!(problem, Problem::TooBig, "protocol 0: {message}");
}

#[test]
fn a_branch_that_is_gone_is_no_failure_of_the_remote() {
    let world = World::new();
    let mut script = Script::new(&"1".repeat(40), Vec::new());
    script.refs = say("0000");
    let found = ask(&mut world.fetcher(), &poll(&script.start()));
    assert_eq!(found, Answer::BranchMissing);
}

/// A server of TLS, ended with the test.
struct TlsServer(Child);

impl TlsServer {
    /// With a certificate of its own for a name.
    fn start(directory: &Path, port: u16, name: &str) -> Self {
        let [key, certificate] = ["key", "certificate"].map(|file| directory.join(file));
        let paths = [&key, &certificate].map(|path| path.display().to_string());
        let make = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test",
            "-keyout",
            &paths[0],
            "-out",
            &paths[1],
            "-addext",
            &format!("subjectAltName={name}"),
        ];
        #[expect(clippy::disallowed_methods, reason = "the server of a test")]
        let made = Command::new("openssl").args(make).output();
        assert!(made.expect("openssl is installed").status.success());
        assert!(fs::metadata(&key).is_ok());
        #[expect(clippy::disallowed_methods, reason = "the server of a test")]
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-accept",
                &format!("127.0.0.1:{port}"),
            ])
            .args(["-key", &paths[0], "-cert", &paths[1]])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let server = Self(child);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        server
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.0.kill().expect("our child");
        self.0.wait().expect("our child");
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_or_of_another_name_is_not_accepted() {
    for (name, told) in [
        ("IP:127.0.0.1", Problem::Untrusted),
        ("DNS:elsewhere.example", Problem::WrongName),
    ] {
        let world = World::new();
        let port = free_port();
        let _server = TlsServer::start(world.directory.path(), port, name);
        let remote = remote(&format!("https://127.0.0.1:{port}/upstream"));
        let (problem, message) = failed(ask(&mut world.fetcher(), &poll(&remote)));
        assert_eq!(problem, told, "{name}: {message}");
    }
    // Plain text where TLS is expected.
    let remote = remote(&format!(
        "https://127.0.0.1:{}/upstream",
        answer("HTTP/1.1 200 OK\r\n\r\n")
    ));
    let (problem, message) = polled(&remote);
    assert_eq!(problem, Problem::Untrusted, "{message}");
}

#[test]
fn a_ref_that_is_announced_and_does_not_follow_is_nobodys_end() {
    let world = World::new();
    let id = world.head();
    for (symref, branch) in [
        ("symref=HEAD:refs/heads/main", "refs/heads/main"),
        ("symref=refs/heads/other:refs/heads/main", "refs/heads/main"),
        ("symref=HEAD:refs/heads/main symref=a:b", "refs/heads/other"),
    ] {
        let first = format!("{id} {branch}\0multi_ack {symref} agent=x\n");
        let mut script = Script::new(id.as_str(), Vec::new());
        script.greeting = say([packet(first.as_bytes()), b"0000".to_vec()].concat());
        let found = ask(&mut world.fetcher(), &poll(&script.start()));
        let expected = match branch {
            "refs/heads/main" => head(&id),
            _ => Answer::BranchMissing,
        };
        assert_eq!(found, expected, "{symref}");
    }
}
