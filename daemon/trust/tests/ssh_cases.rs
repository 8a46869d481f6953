//! Commits signed by SSH keys, well and not so well.

use super::case::Bench;
use super::security_key;
use super::tools::{DATE, EMPTY_TREE, replaced, with_header};

/// 2019-01-01, and 2101-01-01.
const LONG_AGO: i64 = 1_546_300_800;
const FAR_AWAY: i64 = 4_133_980_800;

pub(super) fn add(bench: &mut Bench) {
    every_algorithm(bench);
    security_key::add(bench);
    weak_and_foreign(bench);
    lines_of_allowed_signers(bench);
    times(bench);
    revoked(bench);
    armor(bench);
    blobs(bench);
}

fn signed(bench: &Bench, key: &str, at: i64) -> Vec<u8> {
    let payload = bench.tools.payload(key, at);
    let armored = bench.tools.ssh_sign(key, "git", &payload);
    with_header(&payload, "gpgsig", &armored)
}

fn every_algorithm(bench: &mut Bench) {
    for (name, kind, bits, principal) in [
        ("ed25519", "ed25519", "256", "ed25519@example.org"),
        ("p256", "ecdsa", "256", "p256@example.org"),
        ("p384", "ecdsa", "384", "p384@example.org"),
        ("p521", "ecdsa", "521", "p521@example.org"),
        ("rsa2048", "rsa", "2048", "rsa2048@example.org"),
        ("rsa3072", "rsa", "3072", "rsa3072@example.org"),
    ] {
        let key = bench.tools.ssh_key(name, kind, bits);
        bench.allow(&format!("{principal} {key} a comment"));
        let object = signed(bench, name, DATE);
        bench.good(name, object, principal);
    }
    // git itself signs and inserts the signature.
    let object = signed_by_git(bench);
    bench.good("signed by git", object, "ed25519@example.org");
}

fn signed_by_git(bench: &Bench) -> Vec<u8> {
    let tools = &bench.tools;
    let key = format!("user.signingKey={}", tools.path("ed25519").display());
    let arguments = [
        "-c",
        "gpg.format=ssh",
        "-c",
        &key,
        "-c",
        "user.name=Ann",
        "-c",
        "user.email=ann@x",
        "commit-tree",
        "-S",
        "-m",
        "by git",
        EMPTY_TREE,
    ];
    let id = tools.git(&arguments, b"");
    let id = String::from_utf8(id).expect("an id");
    tools.git(&["cat-file", "commit", id.trim()], b"")
}

fn weak_and_foreign(bench: &mut Bench) {
    let key = bench.tools.ssh_key("rsa1024", "rsa", "1024");
    bench.allow(&format!("rsa1024@example.org {key}"));
    let object = signed(bench, "rsa1024", DATE);
    bench.bad("weak RSA", object, "weak-algorithm");

    bench.tools.ssh_key("foreign", "ed25519", "256");
    let object = signed(bench, "foreign", DATE);
    bench.bad("foreign key", object, "unknown-key");

    let payload = bench.tools.payload("for files", DATE);
    let armored = bench.tools.ssh_sign("ed25519", "file", &payload);
    let object = with_header(&payload, "gpgsig", &armored);
    bench.bad("wrong namespace", object, "wrong-namespace");

    let other = bench.tools.payload("something else", DATE);
    let armored = bench.tools.ssh_sign("ed25519", "git", &other);
    let object = with_header(&payload, "gpgsig", &armored);
    bench.bad("signature over another commit", object, "bad-signature");

    let object = replaced(
        &signed(bench, "ed25519", DATE),
        "\n\ned25519",
        "\n\nEd25519",
    );
    bench.bad("message changed", object, "bad-signature");

    bench.tools.run(
        "ssh-keygen",
        &["-q", "-s", "rsa3072", "-I", "x", "-n", "y", "p256.pub"],
        b"",
    );
    let payload = bench.tools.payload("certified", DATE);
    let armored = bench.tools.ssh_sign("p256", "git", &payload);
    let certificate = bench.tools.text("p256-cert.pub");
    let armored = security_key::with_public_key(&armored, &certificate);
    let object = with_header(&payload, "gpgsig", &armored);
    bench.bad("certificate", object, "certificate");
}

fn lines_of_allowed_signers(bench: &mut Bench) {
    for (name, before, after, verdict) in [
        (
            "files only",
            "files@x",
            "namespaces=\"file\" ",
            Err("key-not-for-git"),
        ),
        (
            "all but git",
            "all@x",
            "namespaces=\"!git,*\" ",
            Err("key-not-for-git"),
        ),
        (
            "git and files",
            "both@x",
            "namespaces=\"file,git\" ",
            Ok("both@x"),
        ),
        (
            "capital option",
            "capital@x",
            "NAMESPACES=\"g?t\" ",
            Ok("capital@x"),
        ),
        ("pattern", "!mallory@x,*@x", "", Ok("*@x")),
        ("quoted", "\"Ann Other,ann@x\"", "", Ok("Ann Other")),
    ] {
        let key = bench.tools.ssh_key(name, "ed25519", "256");
        bench.allow(&format!("{before}\t{after}{key}"));
        let object = signed(bench, name, DATE);
        match verdict {
            Ok(principal) => bench.good(name, object, principal),
            Err(code) => bench.bad(name, object, code),
        }
    }
    // A line that does not let it, then one that does.
    let key = bench.tools.ssh_key("two lines", "ed25519", "256");
    bench.allow(&format!("first@x valid-before=\"20200101Z\" {key}"));
    bench.allow(&format!("second@x {key}"));
    let object = signed(bench, "two lines", DATE);
    bench.good("two lines", object, "second@x");
}

fn times(bench: &mut Bench) {
    for (name, options) in [
        ("retired", "valid-before=\"20250101Z\""),
        ("future", "valid-after=\"21000101000000Z\""),
        (
            "window",
            "valid-after=\"202001010000Z\",valid-before=\"21000101Z\"",
        ),
    ] {
        let key = bench.tools.ssh_key(name, "ed25519", "256");
        bench.allow(&format!("{name}@example.org {options} {key}"));
    }
    let now = crate::host::clock::now().wall.as_second();
    // The probe of a stolen key: git asks for the commit's own time, and calls it good.
    let object = signed(bench, "retired", DATE);
    bench.bad("retired key, dated back", object, "key-expired");
    let object = signed(bench, "retired", now);
    bench.bad("retired key, dated now", object, "key-expired");
    let object = signed(bench, "future", FAR_AWAY);
    bench.bad("future key, dated ahead", object, "key-not-yet-valid");
    let object = signed(bench, "future", now);
    bench.bad("future key, dated now", object, "key-not-yet-valid");
    let object = signed(bench, "window", DATE);
    bench.good("within the window", object, "window@example.org");
    let object = signed(bench, "window", LONG_AGO);
    bench.bad("dated before the window", object, "dated-outside-validity");
    let object = signed(bench, "window", FAR_AWAY);
    bench.bad("dated after the window", object, "dated-outside-validity");
}

fn revoked(bench: &mut Bench) {
    let key = bench.tools.ssh_key("revoked", "ed25519", "256");
    bench.allow(&format!("revoked@example.org {key}"));
    bench.revoked += &format!("# lost\n{key} on the train\n");
    let object = signed(bench, "revoked", DATE);
    bench.bad("revoked key", object, "key-revoked");

    let key = bench.tools.ssh_key("fingerprint", "ed25519", "256");
    bench.allow(&format!("fingerprint@example.org {key}"));
    let shown = bench
        .tools
        .run("ssh-keygen", &["-l", "-f", "fingerprint.pub"], b"");
    let shown = String::from_utf8(shown).expect("text");
    let fingerprint = shown.split(' ').nth(1).expect("a fingerprint");
    bench.revoked += &format!("{fingerprint} a laptop\n");
    let object = signed(bench, "fingerprint", DATE);
    bench.bad("revoked fingerprint", object, "key-revoked");
}

fn armor(bench: &mut Bench) {
    let payload = bench.tools.payload("armor", DATE);
    let armored = bench.tools.ssh_sign("ed25519", "git", &payload);
    let text = String::from_utf8(armored.clone()).expect("armor is text");
    let begin = "-----BEGIN SSH SIGNATURE-----\n";
    let end = "-----END SSH SIGNATURE-----\n";
    let middle = text.len() / 2;
    for (name, changed, code) in [
        ("no last line", text.replace(end, ""), "malformed-signature"),
        (
            "cut in the middle",
            text[..middle].to_owned(),
            "malformed-signature",
        ),
        (
            "garbage behind",
            format!("{text}garbage\n"),
            "malformed-signature",
        ),
        (
            "another signature behind",
            format!("{text}{text}"),
            "malformed-signature",
        ),
        (
            "carriage returns",
            text.replace('\n', "\r\n"),
            "unknown-format",
        ),
        (
            "garbage before",
            format!("garbage\n{text}"),
            "unknown-format",
        ),
        (
            "other label",
            text.replace("SSH SIG", "SSH SEAL SIG"),
            "unknown-format",
        ),
        (
            "no base 64",
            text.replace(begin, &format!("{begin}*")),
            "malformed-signature",
        ),
        (
            "a space within",
            text.replace(begin, &format!("{begin} ")),
            "malformed-signature",
        ),
        (
            "nothing within",
            format!("{begin}{end}"),
            "malformed-signature",
        ),
        ("empty signature", String::new(), "unknown-format"),
    ] {
        let object = with_header(&payload, "gpgsig", changed.as_bytes());
        bench.bad(name, object, code);
    }
}

fn blobs(bench: &mut Bench) {
    let payload = bench.tools.payload("blob", DATE);
    let armored = bench.tools.ssh_sign("ed25519", "git", &payload);
    for (name, changed, code) in security_key::damaged(&armored) {
        let object = with_header(&payload, "gpgsig", &changed);
        bench.bad(name, object, code);
    }
}
