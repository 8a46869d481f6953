//! Which commit of several remotes is the one to follow.
//!
//! In: what each remote offers now, in the order of the configuration, and how
//! the commits lie to each other. Out: the remote that is followed, where the
//! others stand, and what is wrong with all of them together. Must not: judge a
//! commit; what is offered here may be followed.
//!
//! The furthest along wins, so a mirror that lags holds nobody back and a
//! remote that died costs nothing. Where two diverge nobody is further, and the
//! order of the configuration decides.

mod testing;

use crate::model::failure::{Failure, FailureCode};
use crate::model::offer::Ancestry;
use crate::model::revision::CommitId;

pub use testing::testing;

/// What a remote offers now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// Nobody knows: it was not asked yet, or its commit was judged against
    /// another floor than the one that holds now.
    Unknown,
    /// Nothing: it did not answer, or has no such branch.
    Nothing(Failure),
    /// What may not be followed.
    Refused(Failure),
    /// What may be followed.
    Commit(CommitId),
}

/// Where a remote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nobody knows yet what it offers, or how that lies to what is followed.
    Unknown,
    /// It offers nothing.
    Silent,
    /// It offers what may not be followed.
    Refused,
    /// Its commit is the one to follow.
    Followed,
    /// It offers the same commit as the one that is followed.
    Same,
    /// It offers an older commit than the one that is followed.
    Behind,
    /// It offers a commit that neither is nor was the one that is followed.
    Diverged,
}

/// Which remote is followed, and where each stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Its place in the list; None: none of them offers what may be followed.
    pub followed: Option<usize>,
    /// One for each remote.
    pub places: Vec<Place>,
}

/// Chooses.
///
/// The first remote that offers anything begins the line, and whoever offers a
/// descendant of what was found so far goes on with it. One pass is enough: who
/// was passed over descends from nothing that comes later in the line, or it
/// would have descended from what the line was when it was looked at.
pub fn choose(offers: &[Offered], ancestry: &Ancestry) -> Choice {
    let mut best: Option<(usize, &CommitId)> = None;
    for (index, offered) in offers.iter().enumerate() {
        let Offered::Commit(commit) = offered else {
            continue;
        };
        let goes_on = best.is_none_or(|(_, found)| ancestry.is_descendant(commit, found));
        if goes_on {
            best = Some((index, commit));
        }
    }
    let place = |(index, offered): (usize, &Offered)| match (offered, best) {
        (Offered::Unknown, _) => Place::Unknown,
        (Offered::Nothing(_), _) => Place::Silent,
        // Older than what was confirmed, and another remote has what follows
        // it: a mirror that lags.
        (Offered::Refused(failure), Some(_)) if failure.code == FailureCode::Downgrade => {
            Place::Behind
        }
        (Offered::Refused(_), _) => Place::Refused,
        (Offered::Commit(commit), Some((followed, wanted))) => {
            if index == followed {
                Place::Followed
            } else if commit == wanted {
                Place::Same
            } else if ancestry.is_descendant(wanted, commit) {
                Place::Behind
            } else if ancestry.is_unrelated(wanted, commit) {
                Place::Diverged
            } else {
                Place::Unknown
            }
        }
        // With a commit there is a best one.
        (Offered::Commit(_), None) => Place::Unknown,
    };
    Choice {
        followed: best.map(|(index, _)| index),
        places: offers.iter().enumerate().map(place).collect(),
    }
}

/// Why the host as a whole does not hear what it is to be: nothing, while one
/// remote offers what may be followed, or while nobody knows what one offers.
///
/// What may not be followed needs somebody, so it comes before a remote that
/// does not answer. But for what is only older than the confirmed commit: that
/// is what a mirror offers while the remote that it mirrors is away.
pub fn trouble(offers: &[Offered]) -> Option<&Failure> {
    let mut refused = None;
    let mut silent = None;
    let mut older = None;
    for offered in offers {
        match offered {
            Offered::Unknown | Offered::Commit(_) => return None,
            Offered::Nothing(failure) => silent = silent.or(Some(failure)),
            Offered::Refused(failure) if failure.code == FailureCode::Downgrade => {
                older = older.or(Some(failure));
            }
            Offered::Refused(failure) => refused = refused.or(Some(failure)),
        }
    }
    refused.or(silent).or(older)
}

/// Whether what is offered speaks against what the host was to be before: a
/// refusal does, and a mirror that lags does not, unless it is all there is.
pub fn is_refused(offers: &[Offered]) -> bool {
    let speaks = |offered: &Offered| matches!(offered, Offered::Refused(failure) if failure.code != FailureCode::Downgrade);
    let is_all = trouble(offers).is_some_and(|failure| failure.code.is_of_offer());
    is_all || offers.iter().any(speaks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixtures::{commit, failure};
    use super::*;

    fn offers(commits: &[u8]) -> Vec<Offered> {
        let offered = |index: &u8| match index {
            0 => Offered::Nothing(failure(FailureCode::RemoteUnreachable)),
            index => Offered::Commit(commit(*index)),
        };
        commits.iter().map(offered).collect()
    }

    /// Each pair: the second descends from the first.
    fn ancestry(descents: &[(u8, u8)]) -> Ancestry {
        let mut ancestry = Ancestry::default();
        for (ancestor, descendant) in descents {
            ancestry.add(commit(*ancestor), commit(*descendant));
        }
        ancestry.add_unrelated(commit(4), commit(3));
        ancestry.add_unrelated(commit(2), commit(4));
        ancestry
    }

    #[test]
    fn the_furthest_wins_and_at_equal_commits_the_first() {
        use Place::{Behind, Diverged, Followed, Same, Silent};
        let line = ancestry(&[(1, 2), (2, 3), (1, 3), (1, 4)]);
        for (commits, followed, places) in [
            (&[1][..], Some(0), &[Followed][..]),
            (&[1, 1], Some(0), &[Followed, Same]),
            (&[1, 2], Some(1), &[Behind, Followed]),
            (&[2, 1], Some(0), &[Followed, Behind]),
            (&[2, 1, 3, 3], Some(2), &[Behind, Behind, Followed, Same]),
            (&[0, 1], Some(1), &[Silent, Followed]),
            (&[0, 0], None, &[Silent, Silent]),
            (&[], None, &[]),
            // Nobody is further: the first in the list.
            (&[4, 3], Some(0), &[Followed, Diverged]),
            (&[3, 4], Some(0), &[Followed, Diverged]),
            // Its line is gone on with, also by one that comes after another's.
            (&[2, 4, 3], Some(2), &[Behind, Diverged, Followed]),
            // The first is behind both.
            (&[1, 4, 3], Some(1), &[Behind, Followed, Diverged]),
        ] {
            let choice = choose(&offers(commits), &line);
            assert_eq!(choice.followed, followed, "{commits:?}");
            assert_eq!(choice.places, places, "{commits:?}");
        }
    }

    #[test]
    fn what_nobody_knows_is_not_taken_for_further() {
        let choice = choose(&offers(&[1, 2]), &Ancestry::default());
        assert_eq!(choice.places, [Place::Followed, Place::Unknown]);
    }

    #[test]
    fn an_older_commit_is_a_lag_where_another_remote_has_what_follows() {
        let older = Offered::Refused(failure(FailureCode::Downgrade));
        let beside = Offered::Refused(failure(FailureCode::Diverged));
        let good = Offered::Commit(commit(1));
        let none = Ancestry::default();
        let with = choose(&[older.clone(), beside.clone(), good], &none);
        assert_eq!(
            with.places,
            [Place::Behind, Place::Refused, Place::Followed]
        );
        let alone = choose(&[older, beside], &none);
        assert_eq!(alone.places, [Place::Refused, Place::Refused]);
        assert_eq!(alone.followed, None);
    }

    #[test]
    fn the_host_is_told_only_what_keeps_it_from_hearing() {
        let told = |offers: &[Offered]| trouble(offers).map(|failure| failure.code);
        let nothing = Offered::Nothing(failure(FailureCode::RemoteUnreachable));
        let missing = Offered::Nothing(failure(FailureCode::BranchMissing));
        let older = Offered::Refused(failure(FailureCode::Downgrade));
        let unsigned = Offered::Refused(failure(FailureCode::CommitUnsigned));
        let good = Offered::Commit(commit(1));
        let all = [&nothing, &missing, &older, &unsigned];
        for bad in all {
            assert_eq!(told(&[bad.clone(), good.clone()]), None);
            assert_eq!(told(&[Offered::Unknown, bad.clone()]), None);
        }
        for (offers, code) in [
            (vec![&nothing], FailureCode::RemoteUnreachable),
            (vec![&missing, &nothing], FailureCode::BranchMissing),
            (vec![&older], FailureCode::Downgrade),
            (vec![&older, &older], FailureCode::Downgrade),
            (vec![&older, &nothing], FailureCode::RemoteUnreachable),
            (vec![&nothing, &unsigned], FailureCode::CommitUnsigned),
            (vec![&older, &unsigned], FailureCode::CommitUnsigned),
        ] {
            let offers: Vec<Offered> = offers.into_iter().cloned().collect();
            assert_eq!(told(&offers), Some(code), "{offers:?}");
        }
        assert_eq!(told(&[]), None);

        for (offers, refused) in [
            (vec![&nothing], false),
            (vec![&older], true),
            (vec![&older, &nothing], false),
            (vec![&older, &Offered::Unknown], false),
            (vec![&unsigned, &nothing], true),
            (vec![&unsigned, &Offered::Unknown], true),
            (vec![&unsigned, &good], true),
        ] {
            let offers: Vec<Offered> = offers.into_iter().cloned().collect();
            assert_eq!(is_refused(&offers), refused, "{offers:?}");
        }
    }

    /// A history: each commit from the second on descends from an earlier one.
    #[derive(Clone, Debug)]
    struct History {
        parents: Vec<usize>,
    }

    impl History {
        fn is_descendant(&self, commit: usize, of: usize) -> bool {
            let mut at = commit;
            while at > 0 {
                at = self.parents[at - 1];
                if at == of {
                    return true;
                }
            }
            false
        }

        fn ancestry(&self) -> Ancestry {
            let all = 0..=self.parents.len();
            let mut ancestry = Ancestry::default();
            for descendant in all.clone() {
                for ancestor in all.clone() {
                    if self.is_descendant(descendant, ancestor) {
                        ancestry.add(id(ancestor), id(descendant));
                    } else if !self.is_descendant(ancestor, descendant) {
                        ancestry.add_unrelated(id(ancestor), id(descendant));
                    }
                }
            }
            ancestry
        }
    }

    fn id(index: usize) -> CommitId {
        commit(u8::try_from(index).expect("there are few"))
    }

    fn history() -> impl Strategy<Value = History> {
        proptest::collection::vec(any::<prop::sample::Index>(), 1..10).prop_map(|drawn| {
            let parents = drawn.iter().enumerate();
            let parents = parents.map(|(index, parent)| parent.index(index + 1));
            History {
                parents: parents.collect(),
            }
        })
    }

    /// A history, and what up to six remotes offer of it.
    fn world() -> impl Strategy<Value = (History, Vec<Option<usize>>)> {
        history().prop_flat_map(|history| {
            let commits = history.parents.len() + 1;
            let offered = proptest::option::weighted(0.8, 0..commits);
            (Just(history), proptest::collection::vec(offered, 1..7))
        })
    }

    fn as_offers(offered: &[Option<usize>]) -> Vec<Offered> {
        let offer = |offered: &Option<usize>| match offered {
            Some(index) => Offered::Commit(id(*index)),
            None => Offered::Nothing(failure(FailureCode::RemoteUnreachable)),
        };
        offered.iter().map(offer).collect()
    }

    fn chosen(history: &History, offered: &[Option<usize>]) -> Option<usize> {
        let choice = choose(&as_offers(offered), &history.ancestry());
        choice
            .followed
            .map(|index| offered[index].expect("it offers something"))
    }

    proptest! {
        #[test]
        fn nobody_offers_what_is_further_than_what_is_chosen((history, offered) in world()) {
            let Some(chosen) = chosen(&history, &offered) else {
                prop_assert!(offered.iter().all(Option::is_none));
                return Ok(());
            };
            for other in offered.iter().flatten() {
                prop_assert!(!history.is_descendant(*other, chosen));
            }
            // The first that offers anything is never left for what diverges from it.
            let first = offered.iter().flatten().next();
            let first = *first.expect("something was chosen");
            prop_assert!(first == chosen || history.is_descendant(chosen, first));
        }

        #[test]
        fn a_remote_that_dies_or_lags_changes_nothing((history, offered) in world(), at in any::<prop::sample::Index>()) {
            let before = chosen(&history, &offered);
            let mut with = offered.clone();
            with.insert(at.index(offered.len() + 1), None);
            prop_assert_eq!(chosen(&history, &with), before);
            let Some(wanted) = before else { return Ok(()) };
            for ancestor in (0..wanted).filter(|it| history.is_descendant(wanted, *it)) {
                let mut with = offered.clone();
                with.push(Some(ancestor));
                prop_assert_eq!(chosen(&history, &with), before);
            }
        }

        #[test]
        fn on_one_line_the_order_decides_nothing((history, offered) in world()) {
            let offers: Vec<usize> = offered.iter().flatten().copied().collect();
            let is_line = |one: &usize, other: &usize| {
                one == other || history.is_descendant(*one, *other) || history.is_descendant(*other, *one)
            };
            prop_assume!(offers.iter().all(|one| offers.iter().all(|other| is_line(one, other))));
            let mut reversed = offered.clone();
            reversed.reverse();
            prop_assert_eq!(chosen(&history, &offered), chosen(&history, &reversed));
        }

        #[test]
        fn each_remote_has_the_place_that_its_commit_has((history, offered) in world()) {
            let choice = choose(&as_offers(&offered), &history.ancestry());
            prop_assert_eq!(choice.places.len(), offered.len());
            let wanted = choice.followed.and_then(|index| offered[index]);
            let equal = offered.iter().position(|it| it.is_some() && *it == wanted);
            prop_assert_eq!(choice.followed, equal, "the first of those that offer it");
            for (place, offered) in choice.places.iter().zip(&offered) {
                let expected = match (offered, wanted) {
                    (None, _) => *place == Place::Silent,
                    (Some(commit), Some(wanted)) if *commit == wanted => {
                        matches!(place, Place::Followed | Place::Same)
                    }
                    (Some(commit), Some(wanted)) if history.is_descendant(wanted, *commit) => {
                        *place == Place::Behind
                    }
                    (Some(_), _) => *place == Place::Diverged,
                };
                prop_assert!(expected, "{place:?} of {offered:?}, wanted {wanted:?}");
            }
        }
    }
}
