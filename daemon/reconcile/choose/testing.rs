//! Which remote's testing branch is the one to test.
//!
//! In: which remote is followed, and what the testing branch is at each. Out:
//! the one that counts. Must not: judge a commit; what is at a testing branch
//! here was judged beside that remote's own branch.
//!
//! The testing branch belongs to the branch that is followed, so it is taken
//! from there. Where that remote has none, it may have been pushed to another.

use super::{Choice, Offered};
use crate::model::testing::{Testing, TestingHead};

/// The testing branch that counts, and the place in the list of the remote that
/// it is from. None: no remote is followed, or none that can be believed now is
/// asked for a testing branch.
///
/// `there`: what it is at each remote; None where it is not asked for.
pub fn testing(
    choice: &Choice,
    offers: &[Offered],
    there: &[Option<Testing>],
) -> Option<(usize, Testing)> {
    let followed = choice.followed?;
    // A remote that was not asked yet, or is to be judged again, may have one:
    // only once it is heard the host leaves what it tests.
    let is_healthy =
        |index: &usize| matches!(offers[*index], Offered::Commit(_) | Offered::Unknown);
    let others = (0..offers.len()).filter(|index| *index != followed);
    let others = others.filter(is_healthy);
    let in_turn = std::iter::once(followed).chain(others);
    let asked = |index: usize| Some((index, there.get(index)?.as_ref()?));
    let mut asked = in_turn.filter_map(asked).peekable();
    let first = asked.peek().copied();
    let having = asked.find(|(_, testing)| testing.head != TestingHead::Missing);
    let (index, testing) = having.or(first)?;
    Some((index, beside(testing, &offers[followed])))
}

/// The same testing branch beside what is followed, which may be another commit
/// than the one that it was judged beside.
fn beside(testing: &Testing, followed: &Offered) -> Testing {
    let mut testing = testing.clone();
    let Offered::Commit(main) = followed else {
        return testing;
    };
    testing.lacks = testing.lacks.filter(|lacking| lacking == main);
    if let TestingHead::At(commit) = &testing.head
        && commit == main
    {
        testing.head = TestingHead::Merged(commit.clone());
    }
    testing
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::{commit, failure};
    use super::super::choose;
    use super::*;
    use crate::model::failure::FailureCode;
    use crate::model::offer::Ancestry;
    use crate::model::revision::Branch;

    fn branch() -> Branch {
        Branch::try_from("testing-web1".to_owned()).expect("a branch name")
    }

    fn with(head: TestingHead) -> Option<Testing> {
        Some(Testing {
            head,
            ..Testing::unknown(branch())
        })
    }

    fn at(index: u8) -> Option<Testing> {
        with(TestingHead::At(commit(index)))
    }

    fn found(offers: &[Offered], there: &[Option<Testing>]) -> Option<(usize, TestingHead)> {
        let mut ancestry = Ancestry::default();
        ancestry.add(commit(1), commit(2));
        let choice = choose(offers, &ancestry);
        testing(&choice, offers, there).map(|(index, it)| (index, it.head))
    }

    #[test]
    fn it_is_that_of_the_remote_that_is_followed() {
        let offers = [Offered::Commit(commit(1)), Offered::Commit(commit(2))];
        assert_eq!(
            found(&offers, &[at(3), at(4)]),
            Some((1, TestingHead::At(commit(4))))
        );
        let refused = TestingHead::Refused(commit(4), failure(FailureCode::CommitUnsigned));
        for head in [
            refused,
            TestingHead::Merged(commit(2)),
            TestingHead::Unknown,
        ] {
            let there = [at(3), with(head.clone())];
            assert_eq!(found(&offers, &there), Some((1, head)), "it has one");
        }
    }

    #[test]
    fn where_it_has_none_the_first_healthy_one_that_has_is_asked() {
        let good = Offered::Commit(commit(1));
        let silent = Offered::Nothing(failure(FailureCode::RemoteUnreachable));
        let refused = Offered::Refused(failure(FailureCode::CommitUnsigned));
        let none = with(TestingHead::Missing);
        let same = [good.clone(), good.clone(), good.clone()];
        for (offers, there, expected) in [
            (same.clone(), [none.clone(), at(3), at(4)], Some((1, at(3)))),
            (
                same.clone(),
                [none.clone(), none.clone(), at(4)],
                Some((2, at(4))),
            ),
            // There it is the remote's own branch.
            (same.clone(), [None, none.clone(), at(4)], Some((2, at(4)))),
            (
                same.clone(),
                [None, none.clone(), none.clone()],
                Some((1, none.clone())),
            ),
            (
                same,
                [none.clone(), none.clone(), none.clone()],
                Some((0, none.clone())),
            ),
            // What is not healthy has none.
            (
                [good.clone(), silent.clone(), refused.clone()],
                [none.clone(), at(3), at(4)],
                Some((0, none.clone())),
            ),
            ([good.clone(), silent, refused], [None, at(3), at(4)], None),
            // Nobody knows yet whether it has one.
            (
                [good.clone(), Offered::Unknown, good],
                [none.clone(), with(TestingHead::Unknown), none],
                Some((1, with(TestingHead::Unknown))),
            ),
        ] {
            let expected =
                expected.map(|(index, testing)| (index, testing.expect("one is there").head));
            assert_eq!(found(&offers, &there), expected, "{offers:?} {there:?}");
        }
        let nothing = Offered::Nothing(failure(FailureCode::RemoteUnreachable));
        assert_eq!(found(&[nothing], &[at(3)]), None, "nobody is followed");
    }

    #[test]
    fn another_remotes_is_seen_beside_what_is_followed() {
        let offers = [Offered::Commit(commit(1)), Offered::Commit(commit(2))];
        let choice = Choice {
            followed: Some(1),
            places: Vec::new(),
        };
        let none = with(TestingHead::Missing);
        let merged = found(&offers, &[at(2), none.clone()]);
        assert_eq!(merged, Some((0, TestingHead::Merged(commit(2)))));
        for (lacks, expected) in [(1, None), (2, Some(commit(2)))] {
            let there = Testing {
                lacks: Some(commit(lacks)),
                ..at(3).expect("one is there")
            };
            let found = testing(&choice, &offers, &[Some(there), none.clone()]);
            assert_eq!(found.and_then(|(_, it)| it.lacks), expected);
        }
    }
}
