//! One function for each parser that hostile or foreign bytes reach.
//!
//! In: any bytes. Out: nothing. Must not: panic, or take long; there is nothing
//! else that a caller could see.

use jiff::Timestamp;

use super::commit::Commit;
use super::keys::{KeyTexts, Keys, verify};
use super::tag::Tag;
use super::{revocation, ssh};

/// Parses a commit object, and checks what holds for each that is accepted.
pub fn fuzz_commit(bytes: &[u8]) {
    if let Ok(commit) = Commit::parse(bytes) {
        assert!(commit.payload.len() <= bytes.len());
        assert!(commit.payload.ends_with(commit.message()));
    }
}

/// Parses a tag object, and checks what holds for each that is accepted.
pub fn fuzz_tag(bytes: &[u8]) {
    if let Ok(tag) = Tag::parse(bytes) {
        let signature = tag.signature.clone().unwrap_or_default();
        assert!([&*tag.payload, &*signature].concat() == bytes);
        let verdict = Keys::default().verify_tag(&tag, Timestamp::UNIX_EPOCH);
        assert!(
            verdict.is_err(),
            "nobody may sign, but it is by {verdict:?}"
        );
    }
}

/// Verifies an armored SSH signature that nobody is allowed to make.
pub fn fuzz_ssh_signature(bytes: &[u8]) {
    judge_signed(ssh::BEGIN, bytes);
}

/// Verifies an armored OpenPGP signature that nobody is allowed to make.
pub fn fuzz_openpgp_signature(bytes: &[u8]) {
    judge_signed(b"-----BEGIN PGP SIGNATURE-----\n", bytes);
}

/// Loads a file of allowed signers.
pub fn fuzz_allowed_signers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let texts = KeyTexts {
        allowed_signers: Some(&text),
        ..KeyTexts::default()
    };
    drop(Keys::load(&texts));
}

/// Loads an armored keyring.
pub fn fuzz_keyring(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let texts = KeyTexts {
        keyrings: &[&text],
        ..KeyTexts::default()
    };
    drop(Keys::load(&texts));
}

/// Loads a file of revoked keys, in either format.
pub fn fuzz_revoked(bytes: &[u8]) {
    drop(revocation::Revoked::parse(bytes));
}

/// Judges a commit with this signature, whether or not it begins as it should.
fn judge_signed(begin: &[u8], bytes: &[u8]) {
    let rest = bytes.strip_prefix(begin).unwrap_or(bytes);
    let armored = [begin, rest].concat();
    let mut object = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\
        author A <a@example.org> 0 +0000\ncommitter A <a@example.org> 0 +0000\ngpgsig"
        .to_vec();
    for line in armored.split(|byte| *byte == b'\n') {
        object.push(b' ');
        object.extend_from_slice(line);
        object.push(b'\n');
    }
    object.extend_from_slice(b"\nmessage\n");
    let verdict = verify(&object, &Keys::default(), Timestamp::UNIX_EPOCH);
    assert!(
        verdict.is_err(),
        "nobody may sign, but it is by {verdict:?}"
    );
}
