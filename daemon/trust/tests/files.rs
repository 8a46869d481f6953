//! The files of keys: what is understood, and what is refused with which words.

use super::case::crafted;
use super::tools::Tools;
use crate::trust::allowed_signers::AllowedSigners;
use crate::trust::keys::{KeyTexts, Keys};
use crate::trust::revocation::Revoked;
use crate::trust::verify;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

#[test]
fn allowed_signers_are_read_as_ssh_keygen_reads_them() {
    for line in [
        format!("a@x {KEY}"),
        format!("  a@x\t \t{KEY} with a comment"),
        format!("\"a b,c@x\" {KEY}"),
        format!("a@x namespaces=\"git,file\",valid-after=\"20200101Z\" {KEY}"),
        format!("a@x Valid-Before=\"202001010101UTC\" {KEY}\r"),
        format!("a@x namespaces=\"with, comma and space\" {KEY}"),
        format!("a@x namespaces=\"with \\\" quote\" {KEY}"),
    ] {
        let parsed = AllowedSigners::parse(&line);
        assert_eq!(parsed.map(|it| it.len()), Ok(1), "{line}");
    }
    let comments = AllowedSigners::parse("\n# a@x ssh-ed25519\n   \n").expect("comments");
    assert!(comments.is_empty());
}

#[test]
fn what_is_not_understood_in_allowed_signers_is_told_with_its_line() {
    let certificate = "ssh-ed25519-cert-v01@openssh.com AAAA";
    for (line, words) in [
        ("a@x".to_owned(), "principals, options if any"),
        (format!("\"a@x {KEY}"), "closing quote"),
        ("a@x ssh-ed25519 AAAA".to_owned(), "public key"),
        (format!("a@x {certificate}"), "no certificate"),
        (
            format!("a@x cert-authority {KEY}"),
            "certificate authorities",
        ),
        (format!("a@x namespaces=git {KEY}"), "in quotes"),
        (format!("a@x namespaces=\"\" {KEY}"), "in quotes"),
        (format!("a@x no-touch-required {KEY}"), "namespaces="),
        (format!("a@x namespaces {KEY}"), "namespaces="),
        (format!("a@x valid-after=\"20200101\" {KEY}"), "UTC"),
        (format!("a@x valid-after=\"20201301Z\" {KEY}"), "UTC"),
        (
            format!("a@x valid-after=\"20200101Z\",valid-after=\"20210101Z\" {KEY}"),
            "once",
        ),
        (
            format!("a@x valid-after=\"20210101Z\",valid-before=\"20200101Z\" {KEY}"),
            "later",
        ),
        (format!("!a@x {KEY}"), "admitted"),
        (format!("a@x,,b@x {KEY}"), "admitted"),
        ("a@x ssh-other AAAA".to_owned(), "public key"),
    ] {
        let text = format!("# first\n\n{line}\n");
        let mistake = AllowedSigners::parse(&text).expect_err(&line).to_string();
        assert!(mistake.starts_with("line 3: expected "), "{mistake}");
        assert!(mistake.contains(words), "{line}: {mistake}");
    }
}

#[test]
fn revoked_keys_are_keys_and_fingerprints() {
    let text = format!(
        "# lost\n{KEY} a comment\nSHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ\n\
         0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567\n0x{}\n",
        "0a".repeat(32)
    );
    assert!(Revoked::parse(text.as_bytes()).is_ok());
    assert!(Revoked::parse(b"").is_ok());
    for (line, words) in [
        ("SHA256:tooshort", "43 digits"),
        ("MD5:00:11:22", "SHA256:..."),
        ("0123456789ABCDEF", "SHA256:..."),
        ("@cert-authority", "SHA256:..."),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "no certificate"),
    ] {
        let text = format!("\n{line}\n");
        let mistake = Revoked::parse(text.as_bytes()).expect_err(line).to_string();
        assert!(mistake.starts_with("line 2: expected "), "{mistake}");
        assert!(mistake.contains(words), "{line}: {mistake}");
    }
    assert!(Revoked::parse(b"\xff\xfe").is_err());
}

/// Lists by ssh-keygen: of whole keys, of SHA-1, and of SHA-256.
#[test]
fn a_revocation_list_of_openssh_revokes_what_it_names() {
    let crafted = crafted();
    let tools = Tools::new();
    let keys = crafted.allowed_signers.lines();
    let line = keys.clone().find(|it| it.starts_with("ed25519@"));
    let line = line.expect("there is that key");
    let key = line.split_once(' ').expect("a key").1;
    for (kind, text) in [
        ("key", key.to_owned()),
        ("sha1", format!("sha1: {key}\n")),
        ("sha256", format!("sha256: {key}\n")),
    ] {
        tools.write("text", text.as_bytes());
        tools.run("ssh-keygen", &["-q", "-k", "-f", kind, "text"], b"");
        let list = std::fs::read(tools.path(kind)).expect("a list");
        let keys = Keys::load(&KeyTexts {
            allowed_signers: Some(&crafted.allowed_signers),
            revoked: Some(&list),
            ..KeyTexts::default()
        })
        .expect("the list is understood");
        let of = |name| verify(crafted.object(name), &keys, crafted.now);
        assert_eq!(
            of("ed25519").map_err(|it| it.code()),
            Err("key-revoked"),
            "{kind}"
        );
        assert!(of("p256").is_ok(), "{kind}");
        every_part_of_a_list_counts(&list);
    }
}

fn every_part_of_a_list_counts(list: &[u8]) {
    for length in 8..list.len() {
        // Cut between sections it is a list, but of nothing: there is only one.
        let cut = Revoked::parse(&list[..length]);
        let header = 8 + 4 + 24 + 4 + 4;
        assert!(cut.is_err() || length == header, "cut at {length}");
    }
    let unknown = [list, &[255, 0, 0, 0, 0]].concat();
    let mistake = Revoked::parse(&unknown).expect_err("an unknown section");
    assert_eq!(mistake.at, format!("byte {}", list.len()));
}

#[cfg(feature = "openpgp")]
#[test]
fn a_keyring_is_blocks_of_public_keys_and_nothing_else() {
    let good = &crafted().keyring;
    let load = |text: &str| {
        Keys::load(&KeyTexts {
            keyrings: &["", text],
            ..KeyTexts::default()
        })
    };
    assert!(load(good).is_ok());
    assert!(load(&format!("# ours\n{good}\n\n{good}")).is_ok());
    for (text, words) in [
        (format!("{good}garbage"), "BEGIN PGP PUBLIC KEY BLOCK"),
        (
            good.replace("-----END PGP PUBLIC KEY BLOCK-----", ""),
            "END PGP PUBLIC KEY BLOCK",
        ),
        (
            good.replace("PUBLIC KEY", "PRIVATE KEY"),
            "BEGIN PGP PUBLIC KEY BLOCK",
        ),
        (
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"
                .to_owned(),
            "block 1",
        ),
    ] {
        let refused = load(&text).expect_err(words);
        let source = std::error::Error::source(&refused).expect("a source");
        assert!(refused.to_string().contains("keyring 1"), "{refused}");
        assert!(source.to_string().contains(words), "{source}");
    }
}
