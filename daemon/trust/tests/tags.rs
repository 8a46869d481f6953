//! Tags as git makes them, and as somebody makes them who means harm.

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};

use super::seeded::{Seeded, fuzz};
use super::tools::{DATE, Tools, replaced};
use crate::model::revision::{CommitId, TagName};
use crate::trust::Untrusted;
use crate::trust::fuzzing::fuzz_tag;
use crate::trust::keys::{KeyTexts, Keys, Signer};
use crate::trust::tag::{OBJECT_LIMIT, Tag};

const NAME: &str = "heartbeat-main";

/// What git made, and what its makers' keys are.
struct Made {
    commit: String,
    /// As `git tag -s` made it, and its id.
    signed: Vec<u8>,
    id: String,
    unsigned: Vec<u8>,
    /// By the same key, for files; by a key that nobody lists; by one that has ended.
    for_files: Vec<u8>,
    foreign: Vec<u8>,
    retired: Vec<u8>,
    allowed_signers: String,
    ann: String,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(make)
}

fn make() -> Made {
    let tools = Tools::new();
    let ann = tools.ssh_key("ann", "ed25519", "256");
    let old = tools.ssh_key("old", "ed25519", "256");
    tools.ssh_key("mallory", "ed25519", "256");
    let commit = tools.store(&tools.payload("one", DATE));
    let (signed, id) = by_git(&tools, &commit);
    let unsigned = payload(&commit, DATE);
    let with = |key: &str, namespace: &str| {
        let signature = tools.ssh_sign(key, namespace, &unsigned);
        [&*unsigned, &*signature].concat()
    };
    Made {
        for_files: with("ann", "file"),
        foreign: with("mallory", "git"),
        retired: with("old", "git"),
        allowed_signers: format!(
            "ann@example.org namespaces=\"git\" {ann}\n\
             old@example.org valid-before=\"20250101Z\" {old}\n"
        ),
        ann,
        unsigned,
        signed,
        id,
        commit,
    }
}

/// A tag that git itself has made and signed.
fn by_git(tools: &Tools, commit: &str) -> (Vec<u8>, String) {
    let key = format!("user.signingKey={}", tools.path("ann").display());
    let options = ["-c", "gpg.format=ssh", "-c", &key];
    let who = ["-c", "user.name=Ann", "-c", "user.email=ann@x"];
    let tag = ["tag", "-s", "-m", "alive", NAME, commit];
    tools.git(&[&options[..], &who, &tag].concat(), b"");
    let id = tools.git(&["rev-parse", &format!("refs/tags/{NAME}")], b"");
    let id = String::from_utf8(id).expect("an id").trim().to_owned();
    (tools.git(&["cat-file", "tag", &id], b""), id)
}

fn payload(commit: &str, at: i64) -> Vec<u8> {
    let tagger = format!("Ann <ann@example.org> {at} +0000");
    format!("object {commit}\ntype commit\ntag {NAME}\ntagger {tagger}\n\nalive\n").into_bytes()
}

fn now() -> Timestamp {
    crate::host::clock::now().wall
}

fn keys(revoked: &str) -> Keys {
    let texts = KeyTexts {
        allowed_signers: Some(&made().allowed_signers),
        revoked: Some(revoked.as_bytes()),
        ..KeyTexts::default()
    };
    Keys::load(&texts).expect("files of keys")
}

fn verdict(object: &[u8], keys: &Keys) -> Result<Signer, &'static str> {
    let verdict = Tag::parse(object).and_then(|tag| keys.verify_tag(&tag, now()));
    verdict.map_err(|reason| reason.code())
}

fn code(object: &[u8]) -> Option<&'static str> {
    Tag::parse(object).err().as_ref().map(Untrusted::code)
}

#[test]
fn a_tag_that_git_made_is_read_and_its_signature_is_good() {
    let made = made();
    let tag = Tag::parse(&made.signed).expect("git made it");
    assert_eq!(tag.id.0.as_str(), made.id);
    assert_eq!(tag.commit.as_str(), made.commit);
    assert_eq!(tag.name.as_str(), NAME);
    assert_eq!(tag.tagger.email, "ann@x");
    let age = now().duration_since(tag.tagger.at);
    assert!(age.abs() < SignedDuration::from_mins(10), "{age}");
    assert_eq!(
        [&*tag.payload, &*tag.signature.unwrap_or_default()].concat(),
        made.signed
    );
    let signer = verdict(&made.signed, &keys("")).expect("a good signature");
    assert_eq!(signer.principal, "ann@example.org");
}

#[test]
fn a_tag_is_judged_by_the_same_rules_as_a_commit() {
    let made = made();
    let text = String::from_utf8(made.signed.clone()).expect("text");
    let changed = |from: &str, to: &str| replaced(text.as_bytes(), from, to);
    for (object, revoked, expected) in [
        (made.signed.clone(), String::new(), None),
        (made.unsigned.clone(), String::new(), Some("unsigned")),
        (made.signed.clone(), made.ann.clone(), Some("key-revoked")),
        (
            made.for_files.clone(),
            String::new(),
            Some("wrong-namespace"),
        ),
        (made.foreign.clone(), String::new(), Some("unknown-key")),
        // It is dated back to when its key was valid; the present counts.
        (made.retired.clone(), String::new(), Some("key-expired")),
        (
            changed("alive", "alivf"),
            String::new(),
            Some("bad-signature"),
        ),
        (
            changed("heartbeat-main", "heartbeat-next"),
            String::new(),
            Some("bad-signature"),
        ),
        (
            changed(&made.commit, &"1".repeat(40)),
            String::new(),
            Some("bad-signature"),
        ),
        (
            [&*made.signed, b"\nmore\n"].concat(),
            String::new(),
            Some("malformed-signature"),
        ),
        (
            [&*made.signed, &*made.foreign].concat(),
            String::new(),
            Some("several-signatures"),
        ),
    ] {
        let verdict = verdict(&object, &keys(&revoked)).err();
        assert_eq!(verdict, expected, "{}", String::from_utf8_lossy(&object));
    }
}

/// The tag that is well-formed, with one line changed or added.
#[test]
fn a_tag_that_two_programs_could_read_in_two_ways_is_refused() {
    let made = made();
    let good = String::from_utf8(made.unsigned.clone()).expect("text");
    assert_eq!(code(good.as_bytes()), None);
    let malformed = Some("malformed-tag");
    for (from, to, expected) in [
        ("object ", "objekt ", malformed),
        ("object ", "object  ", malformed),
        (&*made.commit, "main", malformed),
        (
            &*made.commit,
            &*made.commit.to_uppercase().replacen('0', "A", 1),
            malformed,
        ),
        ("type commit", "type tree", malformed),
        ("type commit", "type tag", malformed),
        ("type commit", "type commit ", malformed),
        ("type commit\n", "", malformed),
        ("type commit\n", "type commit\ntype commit\n", malformed),
        ("tag heartbeat-main", "tag heartbeat main", malformed),
        ("tag heartbeat-main", "tag -x", malformed),
        ("tag heartbeat-main", "tag ../main", malformed),
        ("tag heartbeat-main", "tag \u{1b}]52;c;x", malformed),
        ("tag heartbeat-main", "tag ", malformed),
        ("tagger Ann <ann@example.org> ", "tagger ", malformed),
        ("tagger Ann", "tagger Ann>", malformed),
        ("+0000", "+0000 ", malformed),
        ("+0000", "+00000", malformed),
        (" 1717200000 ", " -1 ", malformed),
        (" 1717200000 ", " 01717200000 ", malformed),
        (" 1717200000 ", " 99999999999999999999 ", malformed),
        ("+0000\n", "+0000\r\n", malformed),
        ("+0000\n\n", "+0000\n", malformed),
        ("+0000\n", "+0000\ngpgsig-sha256 x\n", malformed),
        (
            "+0000\n",
            "+0000\ntagger B <b@example.org> 1 +0000\n",
            malformed,
        ),
        ("alive", "al\0ive", malformed),
        (
            "alive\n",
            "-----BEGIN A\n-----BEGIN B\n",
            Some("several-signatures"),
        ),
        ("alive\n", "", None),
        ("alive\n", "of a -----BEGIN\n", None),
    ] {
        let object = replaced(good.as_bytes(), from, to);
        assert_eq!(code(&object), expected, "{from:?} {to:?}");
    }
    for cut in 0..good.find("alive").expect("a message") {
        assert_eq!(code(&good.as_bytes()[..cut]), malformed, "{cut}");
    }
    let long = [good.as_bytes(), &b"x".repeat(OBJECT_LIMIT)].concat();
    assert_eq!(code(&long), Some("tag-too-large"));
}

#[test]
fn no_bytes_make_the_tag_parser_panic() {
    let made = made();
    let corpus = [&made.signed, &made.unsigned, &made.for_files, &made.retired];
    let corpus: Vec<&[u8]> = corpus.map(Vec::as_slice).to_vec();
    fuzz(8, &corpus, fuzz_tag);
}

/// Of a signed tag no byte can be changed, but such that its meaning stays.
#[test]
fn a_signed_tag_that_was_changed_is_not_trusted() {
    let original = Tag::parse(&made().signed).expect("git made it");
    let keys = keys("");
    let mut random = Seeded(9);
    let mut judged = 0;
    for _ in 0..1_000 {
        if let Ok(tag) = Tag::parse(&random.change(&made().signed)) {
            judged += 1;
            let is_trusted = keys.verify_tag(&tag, now()).is_ok();
            assert!(!is_trusted || tag.payload == original.payload);
        }
    }
    assert!(judged > 100, "{judged} tags were well-formed");
}

/// Names of ours, so that the lists of both types stay apart.
#[test]
fn a_heartbeat_is_named_after_its_branch() {
    let branch = "release/24.11".to_owned().try_into().expect("a branch");
    let name = TagName::heartbeat_of(&branch);
    assert_eq!(name.reference(), "refs/tags/heartbeat-release/24.11");
    assert_eq!(TagName::try_from(name.as_str().to_owned()), Ok(name));
    assert!(CommitId::try_from(NAME.to_owned()).is_err());
}
