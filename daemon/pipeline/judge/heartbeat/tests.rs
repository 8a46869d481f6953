//! What a heartbeat shows, and for how long that is remembered.

use std::path::Path;

use super::*;
use crate::model::revision::Branch;
use crate::trust::commit::Identity;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn commit(digit: char) -> CommitId {
    CommitId::try_from(digit.to_string().repeat(40)).expect("forty digits")
}

fn name(text: &str) -> TagName {
    TagName::try_from(text.to_owned()).expect("a tag's name")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn tag(made_at: &str) -> Tag {
    let id = TagId(commit('1'));
    Tag {
        id,
        commit: commit('2'),
        name: name("heartbeat-main"),
        tagger: Identity {
            name: "Ann".to_owned(),
            email: "ann@example.org".to_owned(),
            at: at(made_at),
        },
        signature: None,
        payload: Vec::new(),
    }
}

fn demanded() -> Heartbeat {
    Heartbeat {
        tag: None,
        max_age: HOUR,
        allowed_signers: None,
    }
}

fn address() -> RemoteAddress {
    RemoteAddress {
        name: "origin".to_owned(),
        url: "https://robot:tok3n@example.org/r.git".to_owned(),
        branch: Branch::try_from("main".to_owned()).expect("a branch name"),
        access: crate::model::remote::Access::default(),
    }
}

#[test]
fn a_heartbeat_counts_from_five_minutes_ahead_until_it_is_too_old() {
    let now = at("2026-11-22T12:00:00Z");
    let old = |at| Stale::Old { max_age: HOUR, at };
    for (made_at, expected) in [
        ("2026-11-22T12:00:00Z", Ok(())),
        ("2026-11-22T11:00:00Z", Ok(())),
        ("2026-11-22T10:59:59Z", Err(old(at("2026-11-22T10:59:59Z")))),
        ("1970-01-01T00:00:00Z", Err(old(at("1970-01-01T00:00:00Z")))),
        ("2026-11-22T12:05:00Z", Ok(())),
        (
            "2026-11-22T12:05:01Z",
            Err(Stale::Ahead(at("2026-11-22T12:05:01Z"))),
        ),
        (
            "9999-01-01T00:00:00Z",
            Err(Stale::Ahead(at("9999-01-01T00:00:00Z"))),
        ),
    ] {
        let found = in_time(&demanded(), &tag(made_at), now);
        assert_eq!(found, expected, "{made_at}");
    }
}

#[test]
fn a_tag_of_another_id_or_without_a_signature_is_no_heartbeat() {
    let object = b"object 2222222222222222222222222222222222222222\ntype commit\n\
        tag heartbeat-main\ntagger A <a@x> 0 +0000\n\nalive\n";
    let parsed = parse(object, &TagId(commit('1')));
    let Err(Stale::OtherObject { expected, found }) = parsed else {
        panic!("{parsed:?}");
    };
    assert_eq!(expected, commit('1'));
    let tag = parse(object, &TagId(found)).expect("its own id");
    assert_eq!(tag.commit, commit('2'));
    let verdict = is_from(&tag, &tag.name, &Keys::default(), Timestamp::UNIX_EPOCH);
    assert_eq!(verdict, Err(Stale::Untrusted(Untrusted::Unsigned)));
    let torn = parse(b"object 1", &TagId(commit('1')));
    assert!(matches!(torn, Err(Stale::Untrusted(_))), "{torn:?}");
}

#[test]
fn its_own_keys_are_the_only_ones_where_it_has_some() {
    let trust = Trust {
        allowed_signers: Some("/etc/signers".into()),
        keyrings: vec!["/etc/ann.asc".into()],
        revoked: Some("/etc/revoked".into()),
        ..Trust::default()
    };
    assert_eq!(signers(&trust, &demanded()), trust);
    let own = Heartbeat {
        allowed_signers: Some("/etc/robot".into()),
        ..demanded()
    };
    let of_robot = signers(&trust, &own);
    assert_eq!(
        of_robot.allowed_signers.as_deref(),
        Some(Path::new("/etc/robot"))
    );
    assert!(of_robot.keyrings.is_empty());
    assert_eq!(of_robot.revoked, trust.revoked, "who is revoked is revoked");
}

#[test]
fn a_verdict_is_remembered_by_the_tags_id_and_one_without_a_tag_beside_its_commit() {
    let judge = Judge::new(Trust::default(), None, Path::new("/nowhere"));
    let (id, other) = (TagId(commit('1')), TagId(commit('3')));
    let known = |id: &TagId, tip| match judge.known_heartbeat(id, &commit(tip)) {
        Known::Verdict(verdict) => Some(verdict.map(|tag| tag.id.clone())),
        Known::Tag(_) => panic!("it was judged just now"),
        Known::Nothing => None,
    };
    assert_eq!(known(&id, 'a'), None);
    let good = Ok(Arc::new(tag("2026-11-22T12:00:00Z")));
    let bad = || Stale::NoTag("too much".to_owned());
    // Nobody is listed, so the verdict on either is bad.
    let vouch = |tag| judge.vouch(&demanded(), &name("heartbeat-main"), &id, &commit('a'), tag);
    let unsigned = Err(Stale::Untrusted(Untrusted::Unsigned));
    assert!(vouch(good).is_ok());
    assert_eq!(known(&id, 'a'), Some(unsigned.clone()));
    assert_eq!(known(&id, 'b'), Some(unsigned), "whatever the branch is");
    assert_eq!(known(&other, 'a'), None);
    assert!(vouch(Err(bad())).is_ok());
    assert_eq!(known(&id, 'a'), Some(Err(bad())));
    assert_eq!(known(&id, 'b'), None, "it is to be brought again");
}

#[test]
fn each_reason_has_its_words_without_secrets_and_the_same_with_each_look() {
    for stale in [
        Stale::Missing,
        Stale::NoTag("expected a tag, found a commit".to_owned()),
        Stale::OtherObject {
            expected: commit('1'),
            found: commit('2'),
        },
        Stale::Untrusted(Untrusted::Unsigned),
        Stale::OtherName(name("v1")),
        Stale::Ahead(at("2026-11-22T12:00:00Z")),
        Stale::Old {
            max_age: HOUR,
            at: at("2026-11-22T12:00:00Z"),
        },
        Stale::Withheld(commit('2')),
    ] {
        let failure = stale.failure(&address(), &name("heartbeat-main"));
        assert_eq!(failure.code, FailureCode::RemoteStale);
        assert!(failure.code.is_of_offer());
        assert!(failure.hint.ends_with('.'), "{failure:?}");
        assert!(!failure.message.ends_with('.'), "{failure:?}");
        assert!(!format!("{failure:?}").contains("tok3n"), "{failure:?}");
        assert_eq!(failure, stale.failure(&address(), &name("heartbeat-main")));
    }
    let old = Stale::Old {
        max_age: HOUR,
        at: at("2026-11-22T12:00:00Z"),
    };
    assert_eq!(
        old.failure(&address(), &name("heartbeat-main")).message,
        "the heartbeat heartbeat-main of https://example.org/r.git does not show that it is alive: \
         expected one made within 1h, found one of 2026-11-22T12:00:00Z"
    );
}
