//! A ledger in every state that a crash, a disk or another daemon may leave.

use super::*;
use crate::model::failure::FailureCode;
use crate::model::policy::Mode;
use crate::reconcile::phase::Phase;
use crate::reconcile::state::Retry;

fn state(attempts: u32) -> State {
    State {
        retry: Some(Retry {
            attempts,
            out_of_memory: 0,
            not_before: jiff::Timestamp::UNIX_EPOCH,
        }),
        ..State::default()
    }
}

fn ledger() -> (tempfile::TempDir, Ledger) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ledger = Ledger::new(directory.path());
    (directory, ledger)
}

#[test]
fn a_first_start_is_fresh_and_nobodys_fault() {
    let (_directory, ledger) = ledger();
    let loaded = ledger.load();
    assert_eq!(loaded.source, Source::Fresh);
    assert_eq!(loaded.problems, Vec::<String>::new());
}

#[test]
fn what_was_saved_last_is_loaded() {
    let (_directory, ledger) = ledger();
    for attempts in 1..4 {
        ledger.save(&state(attempts)).expect("a writable directory");
        let loaded = ledger.load();
        assert_eq!(
            (loaded.source, loaded.state),
            (Source::Current, state(attempts))
        );
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let whole = encode(&state(3)).expect("a state serialises");
    for index in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[index] ^= 1 << bit;
            assert!(
                decode(&damaged).is_err(),
                "byte {index}, bit {bit} was not noticed"
            );
        }
    }
}

#[test]
fn leftovers_of_a_kill_between_the_writes_do_no_harm() {
    let (_directory, ledger) = ledger();
    ledger.save(&state(1)).expect("a writable directory");
    fs::write(ledger.path("ledger.new"), b"half").expect("writable");
    remove_if_there(&ledger.path("ledger.previous")).expect("removable");
    assert_eq!(ledger.load().state, state(1));
    ledger.save(&state(2)).expect("a writable directory");
    assert_eq!(ledger.load().state, state(2));
}

/// A file that holds no state of ours.
#[derive(Clone, Debug)]
struct Found {
    name: String,
    bytes: Option<Vec<u8>>,
    /// What it is called after it was looked at; none: it is not kept aside.
    aside: Option<&'static str>,
}

fn found(name: &str, bytes: impl Into<Option<Vec<u8>>>, aside: Option<&'static str>) -> Found {
    let (name, bytes) = (name.to_owned(), bytes.into());
    Found { name, bytes, aside }
}

/// What is no ledger, or none that is understood here.
fn foreign() -> Vec<Found> {
    let of_version = |version: u32, content: &str| {
        let header = header_of(version, content.as_bytes());
        format!("{header}\n{content}\n").into_bytes()
    };
    vec![
        found("missing", None, None),
        found(
            "of the next version",
            of_version(4, "{}"),
            Some("from-version-4"),
        ),
        found(
            "of a far version with another header",
            b"deploy-flake ledger 70 blake3 xx\n{}\n".to_vec(),
            Some("from-version-70"),
        ),
        found(
            "of a version that is no number of ours",
            b"deploy-flake ledger 99999999999 sha256 xx\n{}\n".to_vec(),
            Some("damaged"),
        ),
        found("of version 0", of_version(0, "{}"), Some("damaged")),
        found(
            "in a phase that is not known",
            of_version(3, r#"{"phase":{"name":"levitating"}}"#),
            Some("from-version-3"),
        ),
        found(
            "no state",
            of_version(3, r#"{"phase":7}"#),
            Some("from-version-3"),
        ),
        found("somebody else's", vec![0xff; 4096], Some("damaged")),
        found(
            "too large",
            vec![b'x'; usize::try_from(SIZE_LIMIT).expect("it fits") + 1],
            Some("damaged"),
        ),
    ]
}

/// A ledger cut at every byte, and with one bit of each byte flipped.
fn torn() -> Vec<Found> {
    let whole = encode(&state(2)).expect("a state serialises");
    let mut all = Vec::new();
    for length in 0..whole.len() {
        let cut = whole[..length].to_vec();
        all.push(found(&format!("cut at {length}"), cut, Some("damaged")));
    }
    for index in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[index] ^= 1;
        // A flipped version is another version: it is kept all the same.
        let is_version = flipped[..index].ends_with(b"ledger ");
        let aside = (!is_version).then_some("damaged");
        all.push(found(&format!("flipped at {index}"), flipped, aside));
    }
    all
}

#[test]
fn whatever_became_of_the_ledger_the_copy_before_or_a_fresh_start_follows() {
    let whole = |attempts| encode(&state(attempts)).expect("a state serialises");
    for damage in foreign().into_iter().chain(torn()) {
        for (previous, expected) in [
            (Some(whole(1)), (Source::Previous, state(1))),
            (Some(b"torn".to_vec()), (Source::Fresh, State::default())),
            (None, (Source::Fresh, State::default())),
        ] {
            let (_directory, ledger) = ledger();
            let put = |name: &str, bytes: &Option<Vec<u8>>| {
                if let Some(bytes) = bytes {
                    fs::write(ledger.path(name), bytes).expect("writable");
                }
            };
            put("ledger", &damage.bytes);
            put("ledger.previous", &previous);
            let loaded = ledger.load();
            let case = format!("{}, {:?}", damage.name, loaded.problems);
            assert_eq!((loaded.source, loaded.state), expected, "{case}");
            let is_first_start = damage.bytes.is_none() && previous.is_none();
            assert_eq!(loaded.problems.is_empty(), is_first_start, "{case}");
            if let Some(aside) = damage.aside {
                let aside = ledger.path(&format!("ledger.{aside}"));
                assert_eq!(fs::read(&aside).ok(), damage.bytes, "{case}");
                let name = aside.display().to_string();
                assert!(
                    loaded
                        .problems
                        .iter()
                        .any(|problem| problem.ends_with(&name)),
                    "{case}"
                );
            }
        }
    }
}

#[test]
fn what_was_found_is_replaced_by_the_next_ledger() {
    for damage in foreign() {
        let (_directory, ledger) = ledger();
        if let Some(bytes) = &damage.bytes {
            fs::write(ledger.path("ledger"), bytes).expect("writable");
        }
        ledger.load();
        ledger.save(&state(3)).expect("a writable directory");
        assert_eq!(ledger.load().state, state(3), "{}", damage.name);
    }
}

#[test]
fn an_older_copy_in_the_place_of_the_ledger_is_taken_for_it() {
    let (_directory, ledger) = ledger();
    ledger.save(&state(1)).expect("a writable directory");
    let older = fs::read(ledger.path("ledger")).expect("the ledger");
    ledger.save(&state(2)).expect("a writable directory");
    // Nothing on disk could tell; the world is compared with it afterwards.
    fs::remove_file(ledger.path("ledger")).expect("removable");
    fs::write(ledger.path("ledger"), older).expect("writable");
    let loaded = ledger.load();
    assert_eq!((loaded.source, loaded.state), (Source::Current, state(1)));
}

/// They were written by the daemon whose ledger had version 1.
#[test]
fn a_ledger_of_version_1_is_read_with_what_it_knew() {
    for (name, bytes) in [
        ("testing", &include_bytes!("version-1-testing")[..]),
        ("confirming", include_bytes!("version-1-confirming")),
        (
            "writing-boot-entry",
            include_bytes!("version-1-writing-boot-entry"),
        ),
    ] {
        let (_directory, ledger) = ledger();
        fs::write(ledger.path("ledger"), bytes).expect("writable");
        let loaded = ledger.load();
        assert_eq!(loaded.source, Source::Current, "{:?}", loaded.problems);
        assert_eq!(loaded.problems, Vec::<String>::new());
        let state = loaded.state;
        assert_eq!(state.phase.name(), name);
        assert_ne!(state.phase, Phase::Resting);
        assert_eq!(state.retry.as_ref().map(|retry| retry.attempts), Some(3));
        assert!(state.known_broken.contains("web.service"));
        assert_eq!(state.quarantine.iter().count(), 0);
        let last = state.last.as_ref().expect("one had ended");
        let code = last.outcome.failure().map(|failure| failure.code);
        assert_eq!(code, Some(FailureCode::UnhealthyAfterTest));
        assert!(last.deployment.allowed.is_empty());
        // From then on it is of this version.
        ledger.save(&state).expect("a writable directory");
        let written = fs::read(ledger.path("ledger")).expect("the ledger");
        assert!(written.starts_with(b"deploy-flake ledger 3 sha256 "));
        assert_eq!(ledger.load().state, state);
    }
}

/// Earlier daemons of this version know neither a pause nor a rollback.
#[test]
fn what_is_new_within_a_version_has_a_default() {
    let mut json = serde_json::to_value(state(3)).expect("a state serialises");
    let keys = json.as_object_mut().expect("it is an object");
    for key in ["pause", "proven", "hold", "reverted"] {
        assert!(keys.remove(key).is_some(), "{key}");
    }
    let content = json.to_string();
    let header = header_of(VERSION, content.as_bytes());
    let bytes = format!("{header}\n{content}\n").into_bytes();
    assert_eq!(decode(&bytes).ok(), Some(state(3)));
}

/// It was written by a daemon whose ledger had version 2.
#[test]
fn a_ledger_of_version_2_is_of_main_in_mode_switch() {
    let (_directory, ledger) = ledger();
    let bytes = include_bytes!("version-2-confirming");
    fs::write(ledger.path("ledger"), bytes).expect("writable");
    let loaded = ledger.load();
    assert_eq!(loaded.source, Source::Current, "{:?}", loaded.problems);
    let state = loaded.state;
    assert_eq!(state.phase.name(), "confirming");
    let deployment = state.phase.deployment().expect("one goes on");
    assert_eq!(deployment.aim(), Mode::Switch);
    assert_eq!(state.quarantine.iter().count(), 1);
    assert!(state.floor.is_some());
    ledger.save(&state).expect("a writable directory");
    assert_eq!(ledger.load().state, state);
}
