//! Commits signed by OpenPGP keys, well and not so well.

use super::case::Bench;
use super::tools::{DATE, EMPTY_TREE, with_header};

/// gpg is told that it is this time, where a key has to be old.
const THEN: [&str; 2] = ["--faked-system-time", "20200101T000000!"];

pub(super) fn add(bench: &mut Bench) {
    primary_keys(bench);
    subkeys(bench);
    ended(bench);
    weak(bench);
    self_signatures(bench);
    foreign(bench);
    armor(bench);
    let keyring = bench.tools.gpg(&["--armor", "--export"], b"");
    bench.keyring = String::from_utf8(keyring).expect("armor is text");
}

/// Makes a key that never expires, and may do what is said.
fn key(bench: &Bench, name: &str, kind: &str, usage: &str) -> String {
    generate(bench, &[], name, kind, usage, "never")
}

fn generate(
    bench: &Bench,
    options: &[&str],
    name: &str,
    kind: &str,
    usage: &str,
    expires: &str,
) -> String {
    let user = format!("{name} <{name}@example.org>");
    let arguments = ["--quick-generate-key", &user, kind, usage, expires];
    bench.tools.gpg(&[options, &arguments].concat(), b"");
    fingerprints(bench, name).remove(0)
}

/// Of the key and its subkeys, in their order.
fn fingerprints(bench: &Bench, name: &str) -> Vec<String> {
    let arguments = [
        "--with-colons",
        "--list-keys",
        &format!("<{name}@example.org>"),
    ];
    let listed = bench.tools.gpg(&arguments, b"");
    let listed = String::from_utf8(listed).expect("text");
    let lines = listed.lines().filter(|line| line.starts_with("fpr:"));
    lines
        .filter_map(|line| line.split(':').nth(9))
        .map(str::to_owned)
        .collect()
}

/// Signs with exactly this key or subkey.
fn detached(bench: &Bench, options: &[&str], key: &str, payload: &[u8]) -> Vec<u8> {
    let key = format!("{key}!");
    let arguments = ["--armor", "--detach-sign", "--local-user", &key];
    bench.tools.gpg(&[options, &arguments].concat(), payload)
}

fn signed(bench: &Bench, options: &[&str], key: &str, message: &str) -> Vec<u8> {
    let payload = bench.tools.payload(message, DATE);
    let armored = detached(bench, options, key, &payload);
    with_header(&payload, "gpgsig", &armored)
}

fn primary_keys(bench: &mut Bench) {
    for (name, kind, principal) in [
        (
            "pgp-ed25519",
            "ed25519",
            "pgp-ed25519 <pgp-ed25519@example.org>",
        ),
        ("pgp-rsa", "rsa2048", "pgp-rsa <pgp-rsa@example.org>"),
        ("pgp-p256", "nistp256", "pgp-p256 <pgp-p256@example.org>"),
    ] {
        let key = key(bench, name, kind, "sign");
        let object = signed(bench, &[], &key, name);
        bench.good(name, object, principal);
    }
    let key = fingerprints(bench, "pgp-ed25519").remove(0);
    let object = signed_by_git(bench, &key);
    bench.good(
        "signed by git with gpg",
        object,
        "pgp-ed25519 <pgp-ed25519@example.org>",
    );
}

fn signed_by_git(bench: &Bench, key: &str) -> Vec<u8> {
    let tools = &bench.tools;
    let key = format!("--gpg-sign={key}");
    let arguments = [
        "-c",
        "user.name=Ann",
        "-c",
        "user.email=ann@x",
        "commit-tree",
        &key,
        "-m",
        "by git",
        EMPTY_TREE,
    ];
    let id = String::from_utf8(tools.git(&arguments, b"")).expect("an id");
    tools.git(&["cat-file", "commit", id.trim()], b"")
}

fn subkeys(bench: &mut Bench) {
    let add = |name: &str, expires: &str, options: &[&str]| {
        let primary = generate(bench, options, name, "ed25519", "cert", "never");
        let arguments = ["--quick-add-key", &primary, "ed25519", "sign", expires];
        bench.tools.gpg(&[options, &arguments].concat(), b"");
        let subkey = fingerprints(bench, name).remove(1);
        signed(bench, options, &subkey, name)
    };
    let good = add("pgp-subkey", "never", &[]);
    let expired = add("pgp-expired-subkey", "1d", &THEN);
    let revoked = add("pgp-revoked-subkey", "never", &[]);
    bench.good("pgp-subkey", good, "pgp-subkey <pgp-subkey@example.org>");
    bench.bad("expired subkey", expired, "key-expired");
    let primary = fingerprints(bench, "pgp-revoked-subkey").remove(0);
    let dialogue = b"key 1\nrevkey\ny\n0\n\ny\nsave\n";
    let arguments = ["--command-fd", "0", "--edit-key", &primary];
    // What it asks differs from version to version; whether it was done shows in git's verdict.
    bench.tools.attempt(
        "gpg",
        &[
            &[
                "--quiet",
                "--no-tty",
                "--pinentry-mode",
                "loopback",
                "--passphrase",
                "",
            ],
            &arguments[..],
        ]
        .concat(),
        dialogue,
    );
    bench.bad("revoked subkey", revoked, "key-revoked");
}

fn ended(bench: &mut Bench) {
    let key = generate(bench, &THEN, "pgp-expired", "ed25519", "sign", "1d");
    let object = signed(bench, &THEN, &key, "expired");
    bench.bad("expired OpenPGP key", object, "key-expired");

    let key = generate(bench, &THEN, "pgp-old", "ed25519", "sign", "never");
    let object = signed(bench, &THEN, &key, "an old signature");
    bench.good("old signature", object, "pgp-old <pgp-old@example.org>");
    let options = [&THEN[..], &["--default-sig-expire", "1d"]].concat();
    let object = signed(bench, &options, &key, "for a day");
    bench.bad("expired signature", object, "signature-expired");
    let later = ["--faked-system-time", "20900101T000000!"];
    let object = signed(bench, &later, &key, "from the future");
    bench.bad(
        "signature from the future",
        object,
        "signature-from-the-future",
    );

    let key = super::openpgp_cases::key(bench, "pgp-revoked", "ed25519", "sign");
    let object = signed(bench, &[], &key, "revoked");
    let certificate = format!("gnupg/openpgp-revocs.d/{key}.rev");
    let certificate = bench.tools.text(&certificate).replace(":-----", "-----");
    bench.tools.gpg(&["--import"], certificate.as_bytes());
    bench.bad("revoked OpenPGP key", object, "key-revoked");

    // gpg has no list of revoked keys beside its keyring.
    let key = super::openpgp_cases::key(bench, "pgp-lost", "ed25519", "sign");
    bench.revoked += &format!("# lost\n0x{}\n", key.to_lowercase());
    let object = signed(bench, &[], &key, "lost");
    bench.bad("OpenPGP key on the list", object, "key-revoked");
}

fn weak(bench: &mut Bench) {
    let rsa = fingerprints(bench, "pgp-rsa").remove(0);
    let sha1 = ["--digest-algo", "SHA1"];
    let object = signed(bench, &sha1, &rsa, "by SHA-1");
    bench.bad("OpenPGP with SHA-1", object, "weak-algorithm");
    let object = signed(bench, &["--textmode"], &rsa, "as text");
    bench.bad("signature over text", object, "malformed-signature");
    for (name, kind) in [("pgp-rsa1024", "rsa1024"), ("pgp-dsa", "dsa1024")] {
        let key = key(bench, name, kind, "sign");
        let object = signed(bench, &["--digest-algo", "SHA256"], &key, name);
        bench.bad(name, object, "weak-algorithm");
    }
}

/// What the owner says of a key, weakly or not at all.
fn self_signatures(bench: &mut Bench) {
    let options = [&THEN[..], &["--cert-digest-algo", "SHA1"]].concat();
    let key = generate(bench, &options, "pgp-sha1", "rsa2048", "sign", "never");
    let object = signed(bench, &[], &key, "by a key that SHA-1 binds");
    bench.bad("self-signature with SHA-1", object, "key-not-bound");
    let key = super::openpgp_cases::key(bench, "pgp-certifies", "ed25519", "sign");
    let object = signed(bench, &[], &key, "by a key that may not sign any more");
    let dialogue = b"change-usage\nS\nQ\nsave\n";
    let arguments = [
        "--batch",
        "--quiet",
        "--no-tty",
        "--pinentry-mode",
        "loopback",
    ];
    let edit = ["--passphrase", "", "--command-fd", "0", "--edit-key", &key];
    bench
        .tools
        .attempt("gpg", &[&arguments[..], &edit].concat(), dialogue);
    bench.bad("key for certifying only", object, "key-may-not-sign");
}

fn foreign(bench: &mut Bench) {
    let home = bench.tools.path("stranger").display().to_string();
    let stranger = ["--homedir", &home];
    let arguments = [
        "--quick-generate-key",
        "x@example.org",
        "ed25519",
        "sign",
        "never",
    ];
    bench.tools.gpg(&[&stranger[..], &arguments].concat(), b"");
    let payload = bench.tools.payload("by a stranger", DATE);
    let arguments = ["--armor", "--detach-sign"];
    let armored = bench
        .tools
        .gpg(&[&stranger[..], &arguments].concat(), &payload);
    let object = with_header(&payload, "gpgsig", &armored);
    bench.bad("foreign OpenPGP key", object, "unknown-key");

    let key = fingerprints(bench, "pgp-ed25519").remove(0);
    let armored = detached(bench, &[], &key, b"something else");
    let object = with_header(&payload, "gpgsig", &armored);
    bench.bad("OpenPGP over something else", object, "bad-signature");
}

fn armor(bench: &mut Bench) {
    let key = fingerprints(bench, "pgp-ed25519").remove(0);
    let payload = bench.tools.payload("armor of OpenPGP", DATE);
    let armored = detached(bench, &[], &key, &payload);
    let text = String::from_utf8(armored).expect("armor is text");
    let end = "-----END PGP SIGNATURE-----\n";
    let second = key_and(bench, &payload);
    for (name, changed, code) in [
        (
            "OpenPGP without last line",
            text.replace(end, ""),
            "malformed-signature",
        ),
        (
            "OpenPGP with garbage behind",
            format!("{text}garbage\n"),
            "malformed-signature",
        ),
        ("OpenPGP twice", text.repeat(2), "malformed-signature"),
        ("OpenPGP by two keys", second, "malformed-signature"),
        (
            "OpenPGP cut",
            text[..text.len() / 2].to_owned(),
            "malformed-signature",
        ),
        (
            "OpenPGP with nothing within",
            format!("-----BEGIN PGP SIGNATURE-----\n\n{end}"),
            "malformed-signature",
        ),
        (
            "OpenPGP with carriage returns",
            text.replace('\n', "\r\n"),
            "unknown-format",
        ),
    ] {
        let object = with_header(&payload, "gpgsig", changed.as_bytes());
        bench.bad(name, object, code);
    }
    let with_comment = text.replacen("\n\n", "\nComment: by hand\n\n", 1);
    let object = with_header(&payload, "gpgsig", with_comment.as_bytes());
    bench.good(
        "OpenPGP with a comment",
        object,
        "pgp-ed25519 <pgp-ed25519@example.org>",
    );
}

fn key_and(bench: &Bench, payload: &[u8]) -> String {
    let rsa = fingerprints(bench, "pgp-rsa").remove(0);
    let other = ["--local-user", &rsa];
    let first = fingerprints(bench, "pgp-ed25519").remove(0);
    let armored = detached(bench, &other, &first, payload);
    String::from_utf8(armored).expect("armor is text")
}
