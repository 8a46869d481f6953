//! Foreign bytes: nothing panics, and nothing that was changed stays signed.

use super::case::crafted;
use super::seeded::{Seeded, fuzz};
use crate::trust::commit::Commit;
use crate::trust::fuzzing;
use crate::trust::verify;

#[test]
fn no_bytes_make_the_commit_parser_panic() {
    let crafted = crafted();
    let short = crafted.cases.iter().map(|case| case.object.as_slice());
    let corpus: Vec<&[u8]> = short.filter(|it| it.len() < 8_000).collect();
    fuzz(1, &corpus, fuzzing::fuzz_commit);
}

#[test]
fn no_bytes_make_the_signature_parsers_panic() {
    let commits = crafted().cases.iter();
    let signatures = commits.filter_map(|case| Commit::parse(&case.object).ok()?.signature);
    let signatures: Vec<Vec<u8>> = signatures.collect();
    let corpus: Vec<&[u8]> = signatures.iter().map(Vec::as_slice).collect();
    assert!(corpus.len() > 50);
    fuzz(2, &corpus, fuzzing::fuzz_ssh_signature);
    fuzz(3, &corpus, fuzzing::fuzz_openpgp_signature);
}

#[test]
fn no_bytes_make_the_parsers_of_keys_panic() {
    let crafted = crafted();
    let lines: Vec<&[u8]> = crafted.allowed_signers.lines().map(str::as_bytes).collect();
    fuzz(4, &lines, fuzzing::fuzz_allowed_signers);
    let list = b"SSHKRL\n\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \0\0\0\0\0\0\0\0\x02\0\0\0\x08\0\0\0\x04abcd\x01\0\0\0\0";
    fuzz(
        5,
        &[crafted.revoked.as_bytes(), list],
        fuzzing::fuzz_revoked,
    );
    assert!(crate::trust::revocation::Revoked::parse(list).is_ok());
}

/// Of a signed commit no byte can be changed, but such that its meaning stays.
#[test]
fn a_signed_commit_that_was_changed_is_not_trusted() {
    let crafted = crafted();
    let keys = crafted.keys();
    let object = crafted.object("ed25519");
    let original = Commit::parse(object).expect("it is well-formed");
    let mut random = Seeded(6);
    let mut judged = 0;
    for _ in 0..1_000 {
        let changed = random.change(object);
        if let Ok(commit) = Commit::parse(&changed) {
            judged += 1;
            let trusted = verify(&changed, &keys, crafted.now).is_ok();
            assert!(!trusted || commit.payload == original.payload);
        }
    }
    assert!(judged > 100, "{judged} commits were well-formed");
}

#[cfg(feature = "openpgp")]
#[test]
fn no_bytes_make_the_keyring_panic() {
    // Changed as packets, then armored: a change of the armor alone seldom gets that far.
    let keyring = &crafted().keyring;
    let lines = keyring.lines().filter(|line| !line.starts_with("-----"));
    let digits: String = lines.filter(|line| line.len() > 5).collect();
    let digits = digits.trim_end_matches('=');
    let whole = digits.len() / 4 * 4;
    let bytes = crate::trust::base64::decode(&digits.as_bytes()[..whole]);
    let bytes = bytes.expect("base 64");
    let mut random = Seeded(7);
    for _ in 0..300 {
        let from = random.next(bytes.len());
        let to = bytes.len().min(from + 1_500);
        let changed = random.change(&bytes[from..to]);
        let armored = super::security_key::encode(&changed);
        let (begin, end) = (
            "-----BEGIN PGP PUBLIC KEY BLOCK-----",
            "-----END PGP PUBLIC KEY BLOCK-----",
        );
        fuzzing::fuzz_keyring(format!("{begin}\n\n{armored}\n{end}\n").as_bytes());
    }
    fuzzing::fuzz_keyring(keyring.as_bytes());
}
