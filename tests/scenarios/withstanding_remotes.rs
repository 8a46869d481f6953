//! Servers that say anything but what they should, over git:// and http://.
//!
//! In: a scene. Out: codes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::protocol::{
    EMPTY_BLOB, Say, Script, claim, greeting, greeting_of, packet, say, say_and_leave,
    say_and_stay, say_without_end, side_band,
};
use crate::withstanding_scene::{Remote, Scene};

/// It answered, or broke off, and cannot be asked.
const SILENT: &str = "remote-unreachable";
const NOT_GIT: &str = "remote-not-git";
const BIG: &str = "remote-too-big";
const SLOW: &str = "remote-too-slow";
const DAMAGED: &str = "pack-damaged";

pub(crate) fn git_servers(scene: &mut Scene) {
    greetings(scene);
    refs(scene);
    packs(scene);
}

fn says(scene: &mut Scene, what: &str, say: Say, code: &str) {
    scene.remote_is(Remote::Says(say));
    scene.withstands(what, code);
}

fn greetings(scene: &mut Scene) {
    for (what, text, code) in [
        ("a web server's words", "HTTP/1.1 200 OK\r\n\r\n", NOT_GIT),
        ("no length", "zzzz", NOT_GIT),
        ("a length that is too short", "0003abc", NOT_GIT),
        ("a length that is too long", "ffffversion 2\n", NOT_GIT),
        ("NUL", "\0\0\0\0\0\0\0\0", NOT_GIT),
        (
            "a version that nobody knows",
            "000eversion 9\n0000",
            NOT_GIT,
        ),
        ("a refusal", "0013ERR not for you", SILENT),
        ("half a line", "fff0 and less", SILENT),
    ] {
        says(scene, what, say_and_leave(text), code);
    }
    says(scene, "nothing at all", say_and_stay(""), SILENT);
    let id = "1".repeat(40);
    let first = packet(format!("{id} HEAD\0agent=x\n").as_bytes());
    let many = packet(format!("{id} refs/heads/{}\n", "x".repeat(60_000)).as_bytes());
    says(
        scene,
        "refs without end, before they are asked for",
        say_without_end(first, many),
        BIG,
    );
}

fn refs(scene: &mut Scene) {
    let ids = "1".repeat(40);
    let line = |text: String| [packet(text.as_bytes()), b"0000".to_vec()].concat();
    let many = packet(format!("{ids} refs/heads/{}\n", "x".repeat(60_000)).as_bytes());
    for (what, refs, code) in [
        ("refs without end", say_without_end("", many), BIG),
        ("no refs at all", say("0000"), "branch-missing"),
        (
            "another ref",
            say(line(format!("{ids} refs/heads/x\n"))),
            "branch-missing",
        ),
        (
            "a ref of no id",
            say(line("main refs/heads/main\n".to_owned())),
            NOT_GIT,
        ),
        (
            "a ref of half an id",
            say(line("1111 refs/heads/main\n".to_owned())),
            NOT_GIT,
        ),
        (
            "refs that are cut off",
            say_and_leave(&b"003d1111"[..]),
            SILENT,
        ),
        ("silence about refs", say_and_stay(""), SILENT),
    ] {
        let mut script = Script::new(&ids, Vec::new());
        script.refs = refs;
        scene.remote_is(Remote::Script(script));
        scene.withstands(what, code);
    }
    let mut script = Script::new(&ids, Vec::new());
    script.greeting = say(greeting_of("sha256"));
    scene.remote_is(Remote::Script(script.clone()));
    scene.withstands("objects of SHA-256", "remote-unsupported");
    script.greeting = say(greeting());
    script.refs = restless();
    scene.remote_is(Remote::Script(script));
    scene.withstands("a branch that is never where it was", "fetch-failed");
}

/// Another commit each time.
fn restless() -> Say {
    let asked = AtomicUsize::new(0);
    Arc::new(move |stream| {
        let id = asked.fetch_add(1, Ordering::SeqCst);
        let line = packet(format!("{id:040x} refs/heads/main\n").as_bytes());
        io::Write::write_all(stream, &[line, b"0000".to_vec()].concat())
    })
}

fn packs(scene: &mut Scene) {
    let noise: Vec<u8> = (0..200_000_u32)
        .map(|index| index.wrapping_mul(2_654_435_761).to_be_bytes()[1])
        .collect();
    let noise = scene.store("blob", &noise);
    let (tip, tree) = commit_of(scene, &noise);
    let pack = scene.pack(&[&tip, &tree, &noise]);
    let changed = |at: usize, to: u8| {
        let mut pack = pack.clone();
        pack[at] ^= to;
        pack
    };
    let half = pack[..pack.len() / 2].to_vec();
    for (what, damaged) in [
        ("a pack with a wrong checksum", changed(pack.len() - 1, 1)),
        ("a pack with a wrong byte", changed(pack.len() / 2, 0xff)),
        ("a pack that is none", changed(0, 1)),
        ("a pack of another version", changed(7, 7)),
        ("half a pack", half.clone()),
        ("a pack of nothing", Vec::new()),
        ("a pack without the tree", scene.pack(&[&tip])),
        ("a pack without the file", scene.pack(&[&tip, &tree])),
        ("a pack without the commit", scene.pack(&[&tree, &noise])),
    ] {
        scene.remote_is(Remote::Script(Script::new(&tip, damaged)));
        scene.withstands(what, DAMAGED);
    }
    let endless = |count| {
        let head = side_band(&claim(count));
        say_without_end(head, side_band(&EMPTY_BLOB.repeat(5000)))
    };
    for (what, pack, code) in [
        ("a pack without end", endless(1_000_000), BIG),
        (
            "a pack of four thousand million objects",
            endless(u32::MAX),
            BIG,
        ),
        (
            "a pack that breaks off",
            say_and_leave(side_band(&half)),
            DAMAGED,
        ),
        (
            "a pack that stops coming",
            say_and_stay(side_band(&half)),
            SLOW,
        ),
        (
            "a server that gives up",
            say_and_leave(packet(b"\x03fatal: no\n")),
            DAMAGED,
        ),
        (
            "a channel that nobody knows",
            say(packet(b"\x09what")),
            DAMAGED,
        ),
        ("a pack that is no packets", say("zzzz"), DAMAGED),
    ] {
        let mut script = Script::new(&tip, Vec::new());
        script.pack = pack;
        scene.remote_is(Remote::Script(script));
        scene.withstands(what, code);
    }
    let bomb = scene.server().path("/srv/bomb");
    let make = "truncate --size=129M F; git hash-object -w F; rm F";
    let bomb = scene.beside(&make.replace('F', &bomb.display().to_string()));
    let (tip, tree) = commit_of(scene, &bomb);
    let pack = scene.pack(&[&tip, &tree, &bomb]);
    scene.remote_is(Remote::Script(Script::new(&tip, pack)));
    scene.withstands("a pack that unpacks to far more than it is", BIG);
}

/// A commit on top of the floor that has one file.
fn commit_of(scene: &mut Scene, file: &str) -> (String, String) {
    let tree = scene.beside(&format!("printf '100644 blob {file}\\tx\\n' | git mktree"));
    let floor = scene.floor.0.clone();
    let who = "A <a@example.org> 1 +0000";
    let commit = format!("tree {tree}\nparent {floor}\nauthor {who}\ncommitter {who}\n\nx\n");
    (scene.store("commit", commit.as_bytes()), tree)
}

pub(crate) fn web_servers(scene: &mut Scene) {
    scene.remote_is(Remote::Says(say_and_leave("")));
    scene.ask_by("http");
    let nothing = "Content-Length: 0\r\n\r\n";
    let kind = "Content-Type: application/x-git-upload-pack-advertisement\r\n";
    let elsewhere = "Location: http://10.77.0.1/git/infrastructure.git/info/refs\r\n";
    for (what, text, code) in [
        (
            "301",
            format!("301 Moved\r\n{elsewhere}{nothing}"),
            "remote-redirected",
        ),
        (
            "302",
            format!("302 Found\r\n{elsewhere}{nothing}"),
            "remote-redirected",
        ),
        (
            "307",
            format!("307 Temporary\r\n{elsewhere}{nothing}"),
            "remote-redirected",
        ),
        (
            "308",
            format!("308 Permanent\r\n{elsewhere}{nothing}"),
            "remote-redirected",
        ),
        (
            "401",
            format!("401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n{nothing}"),
            "remote-denied",
        ),
        ("403", format!("403 No\r\n{nothing}"), "remote-denied"),
        ("404", format!("404 Not Found\r\n{nothing}"), "remote-error"),
        (
            "500",
            format!("500 \u{1b}[31mno\r\n{nothing}"),
            "remote-error",
        ),
        ("503", format!("503 Busy\r\n{nothing}"), "remote-error"),
        (
            "a web page",
            "200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned(),
            "remote-not-git",
        ),
        (
            "no length",
            format!("200 OK\r\n{kind}Content-Length: 9\r\n\r\nzzzz# ser"),
            "remote-not-git",
        ),
        (
            "nothing but flushes",
            format!("200 OK\r\n{kind}Content-Length: 8\r\n\r\n00000000"),
            "remote-not-git",
        ),
        (
            "an empty answer",
            format!("200 OK\r\n{kind}{nothing}"),
            "remote-unreachable",
        ),
    ] {
        let say = say_and_leave(format!("HTTP/1.1 {text}"));
        says(scene, &format!("http: {what}"), say, code);
    }
    let head = format!("HTTP/1.1 200 OK\r\n{kind}\r\n");
    let line = packet(&[b'x'; 1000]).repeat(100);
    let begin = [head.as_bytes(), b"001e# service=git-upload-pack\n0000"].concat();
    says(
        scene,
        "http: an answer without end",
        say_without_end(begin, line),
        NOT_GIT,
    );
    let headers = b"X-Many: 1\r\n".repeat(1000);
    scene.remote_is(Remote::Says(say_without_end(
        "HTTP/1.1 200 OK\r\n",
        headers,
    )));
    let (code, message) = scene.look("http: headers without end");
    // Either there are too many of them first, or none of them was git's.
    assert!([BIG, NOT_GIT].contains(&&*code), "{code}: {message}");
    says(
        scene,
        "http: silence",
        say_and_stay("HTTP/1.1 200 OK\r\n"),
        SILENT,
    );
}
