//! Everything that hostile, foreign or damaged bytes reach is given many of them: nothing panics. Bounded, and the same
//! in each run. `tests/fuzz` has the same functions run by cargo-fuzz for as long as one likes.
//!
//! In: a corpus for each fuzz body. Out: nothing, or a panic. What parses commits, signatures and keys is run beside its
//! corpus, in `daemon/trust/tests/mutations.rs`.

use std::fs;
use std::path::Path;

use deploy_flake::config::fuzzing::fuzz_configuration;
use deploy_flake::fetcher::fuzzing::{fuzz_answer, fuzz_refs, fuzz_request};
use deploy_flake::fetcher::wire::{Answer, Request};
use deploy_flake::relay::fuzzing::fuzz_build_stream;
use deploy_flake::store::ledger::fuzzing::fuzz_ledger;

#[path = "../../daemon/fetcher/tests/protocol.rs"]
#[expect(dead_code, reason = "servers need more of it")]
mod protocol;
#[path = "../../daemon/trust/tests/seeded.rs"]
mod seeded;

use protocol::{greeting, greeting_of, packet};
use seeded::fuzz;

fn slices(corpus: &[Vec<u8>]) -> Vec<&[u8]> {
    corpus.iter().map(Vec::as_slice).collect()
}

fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn no_server_makes_the_reader_of_refs_panic() {
    let id = "1".repeat(40);
    let refs = |line: String| [packet(line.as_bytes()), b"0000".to_vec()].concat();
    let branch = refs(format!("{id} refs/heads/main\n"));
    let many = [
        packet(format!("{id} HEAD symref-target:refs/heads/main\n").as_bytes()),
        packet(format!("{id} refs/tags/v1 peeled:{id}\n").as_bytes()),
        packet(b"unborn HEAD symref-target:refs/heads/main\n"),
        branch.clone(),
    ];
    let old = format!("{id} HEAD\0multi_ack symref=HEAD:refs/heads/main object-format=sha1\n");
    let corpus = [
        [greeting(), branch.clone()].concat(),
        [greeting(), many.concat()].concat(),
        [greeting_of("sha256"), branch.clone()].concat(),
        [packet(old.as_bytes()), branch.clone()].concat(),
        [packet(b"version 1\n"), packet(old.as_bytes()), branch].concat(),
        packet(b"ERR not for you\n"),
    ];
    fuzz(11, &slices(&corpus), fuzz_refs);
}

#[test]
fn no_configuration_makes_its_reader_panic() {
    let manual = String::from_utf8(file("docs/configuration.md")).expect("text");
    // Its examples, which together have every key.
    let blocks = manual.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0.as_bytes().to_vec()));
    let mut corpus: Vec<Vec<u8>> = blocks.collect();
    assert!(!corpus.is_empty());
    corpus.extend(
        corpus
            .concat()
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec),
    );
    fuzz(12, &slices(&corpus), fuzz_configuration);
}

#[test]
fn no_ledger_makes_its_reader_panic() {
    let names = ["confirming", "testing", "writing-boot-entry"];
    let corpus = names.map(|name| file(&format!("daemon/store/ledger/version-1-{name}")));
    fuzz(13, &slices(&corpus), fuzz_ledger);
}

#[test]
fn no_stream_of_nix_makes_the_relay_panic() {
    let names = ["built", "failed", "substituted"];
    let corpus = names.map(|name| file(&format!("daemon/relay/fixtures/{name}.stream")));
    fuzz(16, &slices(&corpus), fuzz_build_stream);
}

const REQUESTS: [&str; 5] = [
    r#"{"request":"poll","remote":{"name":"origin","url":"https://example.org/r.git","branch":"main","access":{"host_keys":["ssh-ed25519 AAAA"],"token":{"password":{"user":"git"}},"ca_file":"/ca.pem","proxy":"http://proxy:3128"}}}"#,
    r#"{"request":"fetch","remote":{"name":"origin","url":"ssh://git@example.org/r","branch":"main","access":{"token":"bearer"}},"commit":"1111111111111111111111111111111111111111","pack_limit":536870912}"#,
    r#"{"request":"poll","remote":{"name":"b","url":"file:///r","branch":"next"},"testing":"testing-web1","heartbeat":"heartbeat-next"}"#,
    r#"{"request":"heartbeat","remote":{"name":"origin","url":"git://example.org/r","branch":"main"},"name":"heartbeat-main","tag":"1111111111111111111111111111111111111111"}"#,
    r#"{"request":"lineage","tip":"1111111111111111111111111111111111111111","base":null,"first":0}"#,
];

const ANSWERS: [&str; 7] = [
    r#"{"answer":"head","commit":"1111111111111111111111111111111111111111"}"#,
    r#"{"answer":"head","commit":"1111111111111111111111111111111111111111","testing":null,"heartbeat":"2222222222222222222222222222222222222222"}"#,
    r#"{"answer":"heartbeat","object":"6f626a656374"}"#,
    r#"{"answer":"branch-missing"}"#,
    r#"{"answer":"fetched","commit":"1111111111111111111111111111111111111111"}"#,
    r#"{"answer":"lineage","objects":["747265650a","00"],"next":7}"#,
    r#"{"answer":"failed","problem":"not-git","message":"a packet line could not be decoded"}"#,
];

#[test]
fn no_message_makes_fetcher_or_daemon_panic() {
    for request in REQUESTS {
        serde_json::from_str::<Request>(request).expect("the corpus is understood");
    }
    for answer in ANSWERS {
        serde_json::from_str::<Answer>(answer).expect("the corpus is understood");
    }
    fuzz(14, &REQUESTS.map(str::as_bytes), fuzz_request);
    fuzz(15, &ANSWERS.map(str::as_bytes), fuzz_answer);
}
