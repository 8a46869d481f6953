//! The commits that the fetcher lists are the ones that the judge needs: each verdict is the right one, and none is
//! "missing".

use crate::fetcher::tests::upstream::{World, ask, commit, fetch, fetched, git};
use crate::fetcher::wire::{Answer, Problem, Request};
use crate::model::revision::CommitId;
use crate::trust::Untrusted;
use crate::trust::history::{Demand, History, Question};

/// An upstream with a branch that began below the last confirmed commit, and was merged above it.
///
/// ```text
/// one - two - three - floor - merge - tip
///          \                  /
///           side ------------
/// ```
struct Upstream {
    world: World,
    floor: CommitId,
}

impl Upstream {
    fn new() -> Self {
        let world = World::new();
        git(&world.upstream(), &["branch", "side"]);
        world.commit("three");
        let floor = world.commit("floor");
        git(&world.upstream(), &["checkout", "--quiet", "side"]);
        world.commit("side");
        git(&world.upstream(), &["checkout", "--quiet", "main"]);
        git(
            &world.upstream(),
            &["merge", "--quiet", "--no-ff", "--no-edit", "side"],
        );
        world.commit("tip");
        Self { world, floor }
    }

    fn at(&self, name: &str) -> CommitId {
        commit(&git(&self.world.upstream(), &["rev-parse", name]))
    }

    /// Has the branch be this, brings it, and judges it against the floor. The verdict, and how many commits it took.
    fn judged(&self, tip: &CommitId) -> (Result<(), &'static str>, usize) {
        let mut fetcher = self.world.fetched();
        git(
            &self.world.upstream(),
            &["reset", "--quiet", "--hard", tip.as_str()],
        );
        let bring = fetch(&self.world.remote(), tip);
        assert_eq!(ask(&mut fetcher, &bring), fetched(tip));
        let history = read(&mut fetcher, tip, &self.floor);
        let question = Question {
            tip,
            floor: Some(&self.floor),
            introduction: None,
            demand: Demand::Nothing,
        };
        let verdict = history.judge(question, |_| Err(Untrusted::Unsigned));
        (
            verdict.map(drop).map_err(|refused| refused.code()),
            history.len(),
        )
    }
}

/// Every page, as the daemon reads them.
fn read(fetcher: &mut crate::fetcher::remote::Fetcher, tip: &CommitId, base: &CommitId) -> History {
    let mut history = History::default();
    let mut first = 0;
    loop {
        let request = Request::Lineage {
            tip: tip.clone(),
            base: Some(base.clone()),
            first,
        };
        let Answer::Lineage { objects, next } = ask(fetcher, &request) else {
            panic!("a page was expected");
        };
        for object in objects {
            history.add(&bytes(&object)).expect("a commit of git's");
        }
        match next {
            Some(next) => first = next,
            None => return history,
        }
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn what_follows_the_floor_is_shown_to_also_where_it_merges_what_began_below() {
    let upstream = Upstream::new();
    let (verdict, commits) = upstream.judged(&upstream.at("main"));
    assert_eq!(verdict, Ok(()));
    // Three above, and from the floor down to where the side branch began.
    assert_eq!(commits, 6, "tip, merge, side; floor, three, two");
}

#[test]
fn what_does_not_follow_the_floor_is_shown_not_to() {
    let upstream = Upstream::new();
    let expected = [
        ("main~2", Ok(())),
        ("main~3", Err("downgrade")),
        ("main~5", Err("downgrade")),
        ("side", Err("diverged")),
    ];
    // All at once: a verdict moves the branch.
    let expected = expected.map(|(name, verdict)| (name, upstream.at(name), verdict));
    for (name, tip, verdict) in expected {
        assert_eq!(upstream.judged(&tip).0, verdict, "{name}");
    }
    git(
        &upstream.world.upstream(),
        &["checkout", "--quiet", "--orphan", "orphan"],
    );
    let orphan = upstream.world.commit("orphan");
    git(&upstream.world.upstream(), &["checkout", "--quiet", "main"]);
    assert_eq!(upstream.judged(&orphan).0, Err("diverged"));
}

#[test]
fn a_floor_that_the_mirror_does_not_hold_is_not_followed() {
    let mut upstream = Upstream::new();
    upstream.floor = commit(&"ab".repeat(20));
    let (verdict, commits) = upstream.judged(&upstream.at("main"));
    assert_eq!(verdict, Err("diverged"));
    assert_eq!(commits, 7, "all that there are");
}

#[test]
fn a_long_history_comes_page_by_page() {
    let upstream = Upstream::new();
    let message = "x".repeat(600_000);
    let file = upstream.world.directory.path().join("message");
    std::fs::write(&file, &message).expect("a file for the message");
    let file = file.display().to_string();
    for _ in 0..5 {
        git(
            &upstream.world.upstream(),
            &["commit", "--quiet", "--allow-empty", "--file", &file],
        );
    }
    let (verdict, commits) = upstream.judged(&upstream.at("main"));
    assert_eq!(verdict, Ok(()));
    assert_eq!(commits, 11);
}

/// By this the daemon finds out which mirror holds a commit.
#[test]
fn a_commit_that_is_there_follows_itself_and_one_that_is_not_is_incomplete() {
    let upstream = Upstream::new();
    let mut fetcher = upstream.world.fetched();
    let mut follows_itself = |id: &CommitId| {
        let request = Request::Lineage {
            tip: id.clone(),
            base: Some(id.clone()),
            first: 0,
        };
        ask(&mut fetcher, &request)
    };
    let there = Answer::Lineage {
        objects: Vec::new(),
        next: None,
    };
    assert_eq!(follows_itself(&upstream.at("main~1")), there);
    let absent = follows_itself(&commit(&"0123456789".repeat(4)));
    let is_incomplete = matches!(
        absent,
        Answer::Failed {
            problem: Problem::Incomplete,
            ..
        }
    );
    assert!(is_incomplete, "{absent:?}");
    assert_eq!(follows_itself(&upstream.floor), there, "it goes on");
}

/// By this the daemon finds out what a commit says of itself.
#[test]
fn one_commit_is_shown_by_its_bytes() {
    let upstream = Upstream::new();
    let mut fetcher = upstream.world.fetched();
    let mut show = |commit: CommitId| ask(&mut fetcher, &Request::Commit { commit });
    let tip = upstream.at("main");
    let Answer::Lineage { objects, next } = show(tip.clone()) else {
        panic!("the commit is there");
    };
    assert_eq!((objects.len(), next), (1, None));
    let mut history = History::default();
    assert_eq!(history.add(&bytes(&objects[0])), Ok(tip));
    let absent = show(commit(&"0123456789".repeat(4)));
    let is_incomplete = matches!(
        absent,
        Answer::Failed {
            problem: Problem::Incomplete,
            ..
        }
    );
    assert!(is_incomplete, "{absent:?}");
}
