//! The host's own ssh against servers that are none, hang, or lie. What a real
//! server's keys lead to is for the scenarios.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use crate::fetcher::tests::hostile::{HURRIED, SMALL};
use crate::fetcher::tests::servers::{free_port, listen};
use crate::fetcher::tests::upstream::{World, ask, failed, poll, remote};
use crate::fetcher::wire::Problem;
use crate::model::remote::RemoteAddress;

fn ssh(port: u16) -> RemoteAddress {
    remote(&format!("ssh://git@127.0.0.1:{port}/upstream"))
}

#[test]
fn a_refused_connection_is_told_in_the_words_of_ssh() {
    let world = World::new();
    let mut fetcher = world.fetcher().with_limits(SMALL);
    for _ in 0..2 {
        let (problem, message) = failed(ask(&mut fetcher, &poll(&ssh(free_port()))));
        assert_eq!(problem, Problem::Remote, "{message}");
        assert!(message.ends_with("Connection refused"), "{message}");
        let told = message.matches("Connection refused").count();
        assert_eq!(
            told, 1,
            "what was said last time is not told again: {message}"
        );
    }
}

#[test]
fn a_name_that_nobody_knows_is_told_as_such() {
    let nowhere = remote("git@nowhere.invalid:upstream");
    let world = World::new();
    let (problem, message) = failed(ask(&mut world.fetcher(), &poll(&nowhere)));
    assert_eq!(problem, Problem::Unresolved, "{message}");
}

#[test]
fn a_server_that_hangs_after_its_greeting_is_given_up() {
    for greeting in ["", "SSH-2.0-hanging\r\n"] {
        let port = listen(move |mut stream| {
            stream.write_all(greeting.as_bytes()).ok();
            // Until the client hangs up.
            io::copy(&mut stream, &mut io::sink()).ok();
        });
        let world = World::new();
        let mut fetcher = world.fetcher().with_limits(HURRIED);
        let (problem, message) = failed(ask(&mut fetcher, &poll(&ssh(port))));
        assert_eq!(problem, Problem::TooSlow, "{greeting:?}: {message}");
        assert!(fetcher.is_stuck(), "it ends, and its unit ends ssh with it");
    }
}

#[test]
fn a_server_that_speaks_no_ssh_is_told_as_such() {
    let port = listen(|mut stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).ok();
    });
    let world = World::new();
    let (problem, message) = failed(ask(&mut world.fetcher(), &poll(&ssh(port))));
    assert_eq!(problem, Problem::Remote, "{message}");
    assert!(message.contains("kex_exchange_identification"), "{message}");
}

#[test]
fn nothing_in_a_url_becomes_an_option_of_ssh_or_a_command() {
    let world = World::new();
    let mark = world.directory.path().join("smuggled");
    let touch = format!("touch${{IFS}}{}", mark.display());
    let port = free_port();
    for url in [
        format!("ssh://-oProxyCommand={touch}/upstream"),
        format!("ssh://-oProxyCommand={touch}@127.0.0.1:{port}/upstream"),
        format!("ssh://%2doProxyCommand={touch}/upstream"),
        format!("ssh://git@-oProxyCommand={touch}/upstream"),
        format!("-oProxyCommand={touch}:upstream"),
        format!("ssh://127.0.0.1:{port}/;{touch}"),
        format!("ssh://$({touch})@127.0.0.1:{port}/upstream"),
        format!("ssh://`{touch}`@127.0.0.1:{port}/upstream"),
    ] {
        let (_, message) = failed(ask(&mut world.fetcher(), &poll(&remote(&url))));
        assert!(!Path::new(&mark).exists(), "{url}: {message}");
    }
}
