//! Our verdict on each crafted commit, and git's.

use std::collections::BTreeSet;

use super::case::crafted;

/// What git calls well signed and we do not. `docs/trust.md` says why for each reason.
const STRICTER_THAN_GIT: &[(&str, &str)] = &[
    ("self-signature with SHA-1", "key-not-bound"),
    ("too long a header", "commit-too-large"),
    ("retired key, dated back", "key-expired"),
    ("future key, dated ahead", "key-not-yet-valid"),
    ("OpenPGP key on the list", "key-revoked"),
    ("revoked fingerprint", "key-revoked"),
    ("NUL in the message", "malformed-commit"),
    ("bracket in the name", "malformed-commit"),
    ("carriage returns in headers", "malformed-commit"),
    ("committer before author", "malformed-commit"),
    ("continued author", "malformed-commit"),
    ("header without name", "malformed-commit"),
    ("header without value", "malformed-commit"),
    ("negative time", "malformed-commit"),
    ("no address", "malformed-commit"),
    ("no author", "malformed-commit"),
    ("no space before the address", "malformed-commit"),
    ("no zone", "malformed-commit"),
    ("odd zone", "malformed-commit"),
    ("padded time", "malformed-commit"),
    ("parent after committer", "malformed-commit"),
    ("time beyond all times", "malformed-commit"),
    ("too many headers", "malformed-commit"),
    ("too many parents", "malformed-commit"),
    ("tree in capitals", "malformed-commit"),
    ("two authors", "malformed-commit"),
    ("two encodings", "malformed-commit"),
    ("two trees", "malformed-commit"),
    ("OpenPGP with garbage behind", "malformed-signature"),
    ("OpenPGP without last line", "malformed-signature"),
    ("a space within", "malformed-signature"),
    ("another signature behind", "malformed-signature"),
    ("garbage behind", "malformed-signature"),
    ("signature over text", "malformed-signature"),
    ("something reserved", "malformed-signature"),
    ("sk-ed25519 untouched", "no-user-presence"),
    ("sk-p256 untouched", "no-user-presence"),
    ("two kinds of signatures", "several-signatures"),
    ("two signatures", "several-signatures"),
    ("unsigned header smuggled in", "several-signatures"),
    ("signature from the future", "signature-from-the-future"),
    ("OpenPGP with carriage returns", "unknown-format"),
    ("OpenPGP with SHA-1", "weak-algorithm"),
    ("pgp-dsa", "weak-algorithm"),
    ("pgp-rsa1024", "weak-algorithm"),
    ("weak RSA", "weak-algorithm"),
];

#[test]
fn every_crafted_commit_gets_its_verdict() {
    let crafted = crafted();
    let keys = crafted.keys();
    assert!(crafted.cases.len() >= 100, "{} cases", crafted.cases.len());
    let mut wrong = Vec::new();
    for case in &crafted.cases {
        let found = crafted.verdict(&keys, &case.object);
        let expected = case.expected.map(str::to_owned);
        if found != expected {
            wrong.push(format!(
                "{}: expected {expected:?}, found {found:?}",
                case.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn git_calls_good_whatever_we_call_good_and_little_else() {
    let crafted = crafted();
    let keys = crafted.keys();
    let mut looser = BTreeSet::new();
    let mut stricter = BTreeSet::new();
    for case in &crafted.cases {
        match (crafted.verdict(&keys, &case.object), case.git) {
            (Ok(_), true) | (Err(_), false) => {}
            (Ok(principal), false) => {
                looser.insert((case.name, principal));
            }
            (Err(code), true) => {
                stricter.insert((case.name, code));
            }
        }
    }
    assert_eq!(looser, BTreeSet::new());
    // A newer git may refuse more by itself; none may accept more than this.
    let listed: BTreeSet<_> = STRICTER_THAN_GIT.iter().copied().collect();
    let unlisted: Vec<_> = stricter.difference(&listed).collect();
    assert!(unlisted.is_empty(), "{unlisted:#?}");
    assert!(stricter.contains(&("retired key, dated back", "key-expired")));
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let cases = &crafted().cases;
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
}

#[test]
fn a_reason_is_one_line_that_says_what_was_expected_and_found() {
    let crafted = crafted();
    let keys = crafted.keys();
    for case in &crafted.cases {
        if let Err(reason) = crate::trust::verify(&case.object, &keys, crafted.now) {
            let text = reason.to_string();
            assert!(text.starts_with("expected "), "{text}");
            assert!(text.contains("found "), "{text}");
            assert!(text.chars().count() <= 256, "{text}");
            assert!(!text.chars().any(crate::model::text::is_unsafe), "{text:?}");
        }
    }
}
