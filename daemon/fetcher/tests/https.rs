//! Where a token goes, and how a proxy is asked. What a real https server and
//! its certificate lead to is for the scenarios.

use std::fs;
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use crate::fetcher::remote::Fetcher;
use crate::fetcher::tests::servers::{backend, listen, read_request};
use crate::fetcher::tests::upstream::{World, ask, failed, fetch, fetched, head, poll, remote};
use crate::fetcher::wire::Problem;
use crate::model::remote::{RemoteAddress, TokenAs};

const TOKEN: &str = "s3cret-t0ken";

/// The same in base 64, after the default user and a colon.
const ENCODED: &str = "Z2l0OnMzY3JldC10MGtlbg==";

/// A fetcher that has a token for the remote.
fn with_token(world: &World) -> Fetcher {
    let directory = world.directory.path().join("credentials");
    fs::create_dir_all(&directory).expect("a new directory");
    fs::write(directory.join("origin.token"), TOKEN).expect("a written file");
    world.fetcher_with(Some(directory))
}

/// A server that answers every request with this, and tells its lines.
fn listening(answer: &'static str) -> (u16, Receiver<Vec<String>>) {
    let (sender, heads) = channel();
    let port = listen(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        while let Some((head, _body)) = read_request(&mut reader) {
            // The test may have seen enough.
            let _ = sender.send(head);
            (&stream).write_all(answer.as_bytes()).ok();
        }
    });
    (port, heads)
}

fn through(proxy: u16, url: &str) -> RemoteAddress {
    let mut remote = remote(url);
    remote.access.proxy = Some(format!("http://127.0.0.1:{proxy}"));
    remote
}

/// Has a git server answer whatever the host in the request is.
fn forward(root: &Path, stream: &TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    while let Some((mut head, body)) = read_request(&mut reader) {
        assert!(head[0].contains(" http://git.invalid/"), "{head:?}");
        head[0] = head[0].replace("http://git.invalid", "");
        let mut stream = stream;
        stream.write_all(&backend(root, &head, &body)).ok();
    }
}

#[test]
fn a_proxy_is_asked_and_finds_the_name_itself() {
    let world = World::new();
    let root = world.directory.path().to_owned();
    let proxy = listen(move |stream| forward(&root, &stream));
    let remote = through(proxy, "http://git.invalid/upstream");
    let mut fetcher = world.fetcher();
    assert_eq!(ask(&mut fetcher, &poll(&remote)), head(&world.head()));
    let fetch = fetch(&remote, &world.head());
    assert_eq!(ask(&mut fetcher, &fetch), fetched(&world.head()));
}

#[test]
fn a_proxy_between_us_and_an_https_server_never_sees_the_token() {
    for token in [TokenAs::default(), TokenAs::Bearer] {
        let world = World::new();
        let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        let (proxy, heads) = listening(refused);
        let mut remote = through(proxy, "https://git.invalid/upstream");
        remote.access.token = token;
        let (_, message) = failed(ask(&mut with_token(&world), &poll(&remote)));
        let lines = heads.recv().expect("the proxy was asked").join("\n");
        assert!(lines.starts_with("CONNECT git.invalid:443 "), "{lines}");
        for text in [lines, message] {
            let told = text.to_lowercase();
            assert!(
                !told.contains("authorization") && !told.contains(TOKEN),
                "{text}"
            );
            assert!(!text.contains(ENCODED), "{text}");
        }
    }
}

#[test]
fn a_token_is_not_sent_in_the_clear() {
    for token in [TokenAs::default(), TokenAs::Bearer] {
        let world = World::new();
        let (port, heads) = listening(
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
        );
        let mut remote = remote(&format!("http://127.0.0.1:{port}/upstream"));
        remote.access.token = token;
        let (problem, message) = failed(ask(&mut with_token(&world), &poll(&remote)));
        assert_eq!(problem, Problem::Unauthorized, "{message}");
        for head in heads.try_iter() {
            let lines = head.join("\n").to_lowercase();
            assert!(!lines.contains("authorization"), "{lines}");
        }
    }
}

#[test]
fn a_token_that_is_none_is_told_before_anybody_is_asked() {
    let world = World::new();
    let mut fetcher = with_token(&world);
    let file = world.directory.path().join("credentials/origin.token");
    fs::write(file, "two words").expect("a written file");
    let (port, heads) = listening("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let remote = remote(&format!("http://127.0.0.1:{port}/upstream"));
    let (problem, message) = failed(ask(&mut fetcher, &poll(&remote)));
    assert_eq!(problem, Problem::Credential, "{message}");
    assert!(!message.contains("two words"), "{message}");
    assert!(heads.try_recv().is_err(), "nobody was asked");
}
