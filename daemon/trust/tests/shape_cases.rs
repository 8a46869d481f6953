//! Commits whose shape is unusual or wrong, most of them signed well.

use super::case::Bench;
use super::tools::{DATE, replaced, with_header};

const GOOD: &str = "ed25519@example.org";

pub(super) fn add(bench: &mut Bench) {
    let payload = bench.tools.payload("shape", DATE);
    bench.bad("unsigned", payload.clone(), "unsigned");
    headers(bench, &payload);
    signature_headers(bench, &payload);
    formats(bench, &payload);
    malformed_but_signed(bench, &payload);
    malformed_around_the_signature(bench, &payload);
}

/// Signs whatever the bytes are.
fn sign(bench: &Bench, payload: &[u8]) -> Vec<u8> {
    with_header(payload, "gpgsig", &armor(bench, payload))
}

fn armor(bench: &Bench, payload: &[u8]) -> Vec<u8> {
    bench.tools.ssh_sign("ed25519", "git", payload)
}

fn headers(bench: &mut Bench, payload: &[u8]) {
    let tag = b"object 4b825dc642cb6eb9a060e54bf8d69288fbee4904\ntype commit\ntag v1\n\
        tagger Ann <ann@x> 0 +0000\n\nv1\n-----BEGIN SSH SIGNATURE-----\nAAAA\n";
    let merged = with_header(payload, "mergetag", tag);
    bench.bad(
        "signed tag merged, itself unsigned",
        merged.clone(),
        "unsigned",
    );
    let object = sign(bench, &merged);
    bench.good("signed tag merged", object, GOOD);
    let encoded = with_header(payload, "encoding", b"ISO-8859-1");
    let object = sign(bench, &encoded);
    bench.good("other encoding", object, GOOD);
    let extra = with_header(payload, "change-id", b"kxlqyzt\nwvuts");
    let object = sign(bench, &extra);
    bench.good("header of somebody else", object, GOOD);
    let twice = with_header(&encoded, "encoding", b"UTF-8");
    let object = sign(bench, &twice);
    bench.bad("two encodings", object, "malformed-commit");

    let parent = format!("parent {}\n", "1".repeat(40));
    let parents = |count| replaced(payload, "author", &(parent.repeat(count) + "author"));
    let object = sign(bench, &parents(3));
    bench.good("three parents", object, GOOD);
    let object = sign(bench, &parents(65));
    bench.bad("too many parents", object, "malformed-commit");
    let many = "x-a b\n".repeat(65);
    let object = sign(bench, &replaced(payload, "\n\n", &format!("\n{many}\n")));
    bench.bad("too many headers", object, "malformed-commit");
    let long = "x".repeat(2 << 20);
    let object = sign(bench, &with_header(payload, "x-long", long.as_bytes()));
    bench.bad("too long a header", object, "commit-too-large");
}

fn signature_headers(bench: &mut Bench, payload: &[u8]) {
    let armored = armor(bench, payload);
    let signed = with_header(payload, "gpgsig", &armored);
    let twice = with_header(&signed, "gpgsig", &armored);
    bench.bad("two signatures", twice, "several-signatures");
    let other = with_header(&signed, "gpgsig-sha256", &armored);
    bench.bad("two kinds of signatures", other, "several-signatures");
    let only = with_header(payload, "gpgsig-sha256", &armored);
    bench.bad("signature for SHA-256 only", only, "unsigned");
    // git leaves out of what is signed whatever begins with "gpgsig".
    let smuggled = with_header(&signed, "gpgsig-note", b"not signed");
    bench.bad(
        "unsigned header smuggled in",
        smuggled,
        "several-signatures",
    );
    let note = with_header(payload, "gpgsignature", &armored);
    bench.bad(
        "header that git takes for a signature",
        note,
        "malformed-commit",
    );
}

fn formats(bench: &mut Bench, payload: &[u8]) {
    for (name, text, code) in [
        (
            "X.509",
            "-----BEGIN SIGNED MESSAGE-----\nMIIB\n-----END SIGNED MESSAGE-----\n",
            "x509",
        ),
        (
            "PGP message",
            "-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n",
            "unknown-format",
        ),
        ("no format", "signed, Ann\n", "unknown-format"),
    ] {
        let object = with_header(payload, "gpgsig", text.as_bytes());
        bench.bad(name, object, code);
    }
}

/// The signature fits: what is wrong was signed, too.
fn malformed_but_signed(bench: &mut Bench, payload: &[u8]) {
    let tree = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
    let who = "Ann <ann@example.org> 1717200000 +0000";
    let committer = format!("committer {who}\n");
    let author = format!("author {who}\n");
    for (name, from, to) in [
        ("two trees", tree, tree.repeat(2)),
        ("no tree", tree, String::new()),
        ("short tree", tree, "tree 4b825dc6\n".to_owned()),
        (
            "tree in capitals",
            tree,
            tree.to_uppercase().replace("TREE", "tree"),
        ),
        ("no author", &author, String::new()),
        ("two authors", &author, author.repeat(2)),
        ("no committer", &committer, String::new()),
        (
            "committer before author",
            &author,
            format!("{committer}{author}"),
        ),
        (
            "parent after committer",
            &committer,
            format!("{committer}parent {}\n", &tree[5..45]),
        ),
        (
            "continued author",
            &author,
            format!("{author} and others\n"),
        ),
        (
            "no address",
            "author Ann <ann@example.org>",
            "author Ann".to_owned(),
        ),
        (
            "no space before the address",
            "author Ann <",
            "author Ann<".to_owned(),
        ),
        (
            "bracket in the name",
            "author Ann <",
            "author A>n <".to_owned(),
        ),
        ("padded time", "> 1717200000", "> 01717200000".to_owned()),
        (
            "time beyond all times",
            "> 1717200000",
            "> 99999999999999999999".to_owned(),
        ),
        ("negative time", "> 1717200000", "> -1".to_owned()),
        ("no zone", " +0000\ncommitter", "\ncommitter".to_owned()),
        (
            "odd zone",
            " +0000\ncommitter",
            " +000\ncommitter".to_owned(),
        ),
        (
            "header without value",
            "\n\nshape",
            "\nx-header\n\nshape".to_owned(),
        ),
        (
            "header without name",
            "\n\nshape",
            "\n\tx y\n\nshape".to_owned(),
        ),
        (
            "carriage returns in headers",
            &author,
            author.replace('\n', "\r\n"),
        ),
        ("NUL in a header", "Ann", "A\0n".to_owned()),
        ("NUL in the message", "shape", "shape\0unseen".to_owned()),
    ] {
        let changed = replaced(payload, from, &to);
        let object = sign(bench, &changed);
        bench.bad(name, object, "malformed-commit");
    }
}

fn malformed_around_the_signature(bench: &mut Bench, payload: &[u8]) {
    let signed = sign(bench, payload);
    let object = replaced(&signed, "\n\nshape", "\nshape");
    bench.bad("no empty line", object, "malformed-commit");
    // The signature's lines, without the space that continues the header.
    let text = String::from_utf8(signed.clone()).expect("text");
    let bare = text.replace("\n ", "\n").into_bytes();
    bench.bad("signature that is not continued", bare, "malformed-commit");
    let object = [b" gpgsig\n", signed.as_slice()].concat();
    bench.bad("continued line first", object, "malformed-commit");
    let windows = text.replace('\n', "\r\n").into_bytes();
    bench.bad("carriage returns everywhere", windows, "malformed-commit");
    bench.bad("nothing at all", Vec::new(), "malformed-commit");
    let object = signed[..signed.len() / 2].to_vec();
    bench.bad("half of it", object, "malformed-commit");
}
