//! Ancestry, on commits put together here: nothing is signed, so `verify` is a
//! stand-in that knows by the message who signed.

use crate::model::revision::CommitId;
use crate::trust::commit::Commit;
use crate::trust::history::{
    Accepted, BYTE_LIMIT, COMMIT_LIMIT, Demand, History, NotAdded, Question, Refused,
};
use crate::trust::keys::Signer;
use crate::trust::untrusted::Untrusted;

#[derive(Default)]
struct World {
    history: History,
}

impl World {
    fn object(message: &str, parents: &[&CommitId]) -> Vec<u8> {
        let who = "Ann <ann@example.org> 1717200000 +0000";
        let parents: String = parents.iter().map(|it| format!("parent {it}\n")).collect();
        let tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\n{message}\n").into_bytes()
    }

    /// A commit that is brought.
    fn commit(&mut self, message: &str, parents: &[&CommitId]) -> CommitId {
        let added = self.history.add(&Self::object(message, parents));
        added.expect("a well-formed commit")
    }

    /// A commit that is only named.
    fn absent(message: &str, parents: &[&CommitId]) -> CommitId {
        let commit = Commit::parse(&Self::object(message, parents));
        commit.expect("a well-formed commit").id
    }

    fn judge(
        &self,
        tip: &CommitId,
        floor: Option<&CommitId>,
        demand: Demand,
    ) -> Result<usize, (&'static str, Option<CommitId>)> {
        self.ask(Question {
            tip,
            floor,
            introduction: None,
            demand,
        })
    }

    fn ask(&self, question: Question<'_>) -> Result<usize, (&'static str, Option<CommitId>)> {
        let verdict = self
            .history
            .judge(question, signed_unless_it_says_otherwise);
        verdict.map(|it| it.verified).map_err(|refused| {
            let code = refused.code();
            (code, about(refused))
        })
    }
}

fn about(refused: Refused) -> Option<CommitId> {
    match refused {
        Refused::Missing { commit } | Refused::Untrusted { commit, .. } => Some(commit),
        Refused::TooMuch { .. }
        | Refused::Downgrade { .. }
        | Refused::Diverged { .. }
        | Refused::NotIntroduced { .. } => None,
    }
}

fn signed_unless_it_says_otherwise(commit: &Commit) -> Result<Signer, Untrusted> {
    if commit.message().starts_with(b"unsigned") {
        return Err(Untrusted::Unsigned);
    }
    Ok(Signer {
        principal: String::from_utf8_lossy(commit.message()).into_owned(),
        key: String::new(),
    })
}

const ALL: [Demand; 3] = [Demand::EveryCommit, Demand::FirstParent, Demand::Tip];

#[test]
fn a_tip_follows_the_floor_only_if_it_descends_from_it() {
    let mut world = World::default();
    let root = world.commit("root", &[]);
    let floor = world.commit("floor", &[&root]);
    let tip = world.commit("tip", &[&floor]);
    let sibling = world.commit("sibling", &[&root]);
    let orphan = world.commit("orphan", &[]);
    for demand in ALL {
        assert_eq!(world.judge(&tip, Some(&floor), demand), Ok(1));
        assert_eq!(world.judge(&floor, Some(&floor), demand), Ok(0));
        assert_eq!(
            world.judge(&root, Some(&floor), demand),
            Err(("downgrade", None))
        );
        assert_eq!(
            world.judge(&sibling, Some(&floor), demand),
            Err(("diverged", None))
        );
        assert_eq!(
            world.judge(&orphan, Some(&floor), demand),
            Err(("diverged", None))
        );
    }
}

/// What lies below the floor need not be there, and what is there need not be signed.
#[test]
fn nothing_below_the_floor_is_asked_for() {
    let root = World::absent("root", &[]);
    let mut world = World::default();
    let floor = World::absent("unsigned floor", &[&root]);
    let one = world.commit("one", &[&floor]);
    let tip = world.commit("tip", &[&one]);
    assert_eq!(world.judge(&tip, Some(&floor), Demand::EveryCommit), Ok(2));
    let older = world.commit("older", &[&root]);
    // Whether it is older than the floor cannot be seen without the floor.
    let verdict = world.judge(&older, Some(&floor), Demand::EveryCommit);
    assert_eq!(verdict, Err(("missing-object", Some(root))));
}

#[test]
fn a_commit_that_is_not_there_is_named() {
    let mut world = World::default();
    let floor = world.commit("floor", &[]);
    let absent = World::absent("absent", &[&floor]);
    let tip = world.commit("tip", &[&absent]);
    for demand in ALL {
        let verdict = world.judge(&tip, Some(&floor), demand);
        assert_eq!(verdict, Err(("missing-object", Some(absent.clone()))));
    }
    let verdict = world.judge(&absent, Some(&floor), Demand::Tip);
    assert_eq!(verdict, Err(("missing-object", Some(absent))));
}

#[test]
fn an_unsigned_commit_in_the_middle_counts_where_every_commit_has_to_be_signed() {
    let mut world = World::default();
    let floor = world.commit("floor", &[]);
    let middle = world.commit("unsigned", &[&floor]);
    let tip = world.commit("tip", &[&middle]);
    let refused = Err(("unsigned", Some(middle)));
    assert_eq!(
        world.judge(&tip, Some(&floor), Demand::EveryCommit),
        refused
    );
    assert_eq!(
        world.judge(&tip, Some(&floor), Demand::FirstParent),
        refused
    );
    assert_eq!(world.judge(&tip, Some(&floor), Demand::Tip), Ok(1));
}

#[test]
fn both_sides_of_a_merge_count_unless_the_merge_vouches_for_one() {
    let mut world = World::default();
    let floor = world.commit("floor", &[]);
    let main = world.commit("main", &[&floor]);
    let side = world.commit("unsigned side", &[&floor]);
    let tip = world.commit("merge", &[&main, &side]);
    let refused = Err(("unsigned", Some(side.clone())));
    assert_eq!(
        world.judge(&tip, Some(&floor), Demand::EveryCommit),
        refused
    );
    assert_eq!(world.judge(&tip, Some(&floor), Demand::FirstParent), Ok(2));
    // The other way round the unsigned one is on the way of first parents.
    let tip = world.commit("merge", &[&side, &main]);
    assert_eq!(
        world.judge(&tip, Some(&floor), Demand::FirstParent),
        refused
    );
}

#[test]
fn a_branch_from_below_the_floor_needs_the_proof_that_it_is_below() {
    let mut world = World::default();
    let root = World::absent("root", &[]);
    let fork = World::absent("unsigned fork", &[&root]);
    let floor_object = World::object("floor", &[&fork]);
    let floor = World::absent("floor", &[&fork]);
    let side = world.commit("side", &[&fork]);
    let tip = world.commit("merge", &[&floor, &side]);
    let without = world.judge(&tip, Some(&floor), Demand::EveryCommit);
    assert_eq!(without, Err(("missing-object", Some(fork))));
    assert_eq!(world.history.add(&floor_object), Ok(floor.clone()));
    assert_eq!(world.judge(&tip, Some(&floor), Demand::EveryCommit), Ok(2));
}

#[test]
fn a_merge_of_an_unrelated_history_counts_to_its_root() {
    let mut world = World::default();
    let floor = world.commit("floor", &[]);
    let foreign_root = world.commit("unsigned root", &[]);
    let foreign = world.commit("foreign", &[&foreign_root]);
    let tip = world.commit("merge", &[&floor, &foreign]);
    let verdict = world.judge(&tip, Some(&floor), Demand::EveryCommit);
    assert_eq!(verdict, Err(("unsigned", Some(foreign_root))));
}

#[test]
fn an_introduction_has_to_be_an_ancestor() {
    let mut world = World::default();
    let root = world.commit("unsigned root", &[]);
    let introduction = world.commit("unsigned introduction", &[&root]);
    let floor = world.commit("floor", &[&introduction]);
    let tip = world.commit("tip", &[&floor]);
    let other = world.commit("other", &[&root]);
    let ask = |tip, floor, introduction| {
        world.ask(Question {
            tip,
            floor,
            introduction: Some(introduction),
            demand: Demand::EveryCommit,
        })
    };
    assert_eq!(ask(&tip, None, &introduction), Ok(2));
    assert_eq!(ask(&tip, Some(&floor), &introduction), Ok(1));
    assert_eq!(ask(&tip, Some(&floor), &tip), Ok(1));
    assert_eq!(ask(&other, None, &introduction), Err(("diverged", None)));
    assert_eq!(
        ask(&tip, Some(&floor), &other),
        Err(("not-introduced", None))
    );
    // Without either, all of it down to the root.
    let verdict = world.judge(&tip, None, Demand::EveryCommit);
    assert_eq!(verdict, Err(("unsigned", Some(introduction))));
}

#[test]
fn the_signer_of_the_tip_is_told() {
    let mut world = World::default();
    let floor = world.commit("floor", &[]);
    let one = world.commit("one", &[&floor]);
    let tip = world.commit("tip", &[&one]);
    let question = Question {
        tip: &tip,
        floor: Some(&floor),
        introduction: None,
        demand: Demand::EveryCommit,
    };
    let accepted = world
        .history
        .judge(question, signed_unless_it_says_otherwise);
    let Ok(Accepted { verified, signer }) = accepted else {
        panic!("{accepted:?}");
    };
    assert_eq!(verified, 2);
    assert_eq!(signer.map(|it| it.principal).as_deref(), Some("tip\n"));
}

#[test]
fn a_long_history_and_a_wide_one_are_walked_without_recursion() {
    let mut world = World::default();
    let floor = world.commit("floor", &[]);
    let mut tip = floor.clone();
    for number in 0..5_000 {
        let side = world.commit(&format!("side {number}"), &[&tip]);
        tip = world.commit(&format!("merge {number}"), &[&tip, &side]);
    }
    assert_eq!(
        world.judge(&tip, Some(&floor), Demand::EveryCommit),
        Ok(10_000)
    );
    assert_eq!(
        world.judge(&tip, Some(&floor), Demand::FirstParent),
        Ok(5_000)
    );
}

#[test]
fn as_many_commits_and_bytes_are_taken_as_are_looked_at_and_no_more() {
    let too_much = |added| match added {
        Err(NotAdded::Refused(Refused::TooMuch { limit, .. })) => Some(limit),
        Err(_) | Ok(_) => None,
    };
    let mut world = World::default();
    let first = World::object("0", &[]);
    for number in 0..COMMIT_LIMIT {
        world.commit(&number.to_string(), &[]);
    }
    let added = world.history.add(&World::object("one more", &[]));
    assert_eq!(too_much(added), Some(COMMIT_LIMIT));
    assert!(world.history.add(&first).is_ok(), "it is there already");
    assert_eq!(world.history.len(), COMMIT_LIMIT);

    let mut world = World::default();
    let half = "x".repeat(1 << 19);
    let size = World::object(&format!("100{half}"), &[]).len();
    for number in 0..BYTE_LIMIT / size {
        world.commit(&format!("{}{half}", 100 + number), &[]);
    }
    let added = world.history.add(&World::object(&half, &[]));
    assert_eq!(too_much(added), Some(BYTE_LIMIT));
}

#[test]
fn bytes_that_are_no_commit_are_not_taken() {
    let mut history = History::default();
    let added = history.add(b"blob");
    assert!(matches!(
        added,
        Err(NotAdded::Untrusted(Untrusted::MalformedCommit { .. }))
    ));
    assert!(history.is_empty());
}
