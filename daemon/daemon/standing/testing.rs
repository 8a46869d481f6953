//! What is known of the testing branch.
//!
//! In: what it is at each remote. Out: the one that counts now, and what of it
//! is told. Must not: let status forget what it was while nobody can say.

use super::Standing;
use crate::model::revision::Confirmed;
use crate::model::testing::{Testing, TestingHead};
use crate::reconcile::choose::{self, Offered};
use crate::report::milestones;

/// Whether the host is what its testing branch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum IsTested {
    /// It is.
    Yes,
    /// It is its own branch's.
    No,
}

impl Standing {
    /// What the testing branch is now, if one is followed; and at which remote.
    fn find_testing(
        &self,
        offers: &[Offered],
        confirmed: &Confirmed,
    ) -> Option<(Testing, Option<usize>)> {
        let branch = self.testing_branch.as_ref()?;
        let there = self.remotes.iter().map(|it| it.testing(confirmed));
        let there: Vec<Option<Testing>> = there.collect();
        let found = choose::testing(&self.choice(offers), offers, &there);
        Some(match found {
            Some((index, testing)) => (testing, Some(index)),
            None => (Testing::unknown(branch.clone()), None),
        })
    }

    /// What the testing branch is for the decisions; status shows what nobody
    /// can say now as it was.
    pub(in super::super) fn take_testing(
        &mut self,
        offers: &[Offered],
        confirmed: &Confirmed,
    ) -> Option<Testing> {
        let (testing, index) = self.find_testing(offers, confirmed)?;
        if testing.head == TestingHead::Unknown && self.testing.is_some() {
            return Some(testing);
        }
        self.tell_testing(&testing, index);
        self.testing = Some(testing.clone());
        Some(testing)
    }

    fn tell_testing(&mut self, testing: &Testing, index: Option<usize>) {
        let refused = match &testing.head {
            TestingHead::Refused(commit, failure) => index.map(|index| (index, commit, failure)),
            TestingHead::Unknown
            | TestingHead::Missing
            | TestingHead::Merged(_)
            | TestingHead::At(_) => None,
        };
        let told = refused.map(|(_, commit, failure)| (commit.clone(), failure.code));
        if let Some((index, commit, failure)) = refused
            && self.told.refused != told
        {
            let from = &self.remotes[index];
            milestones::testing_refused(&from.name, &from.url, &testing.branch, commit, failure);
        }
        self.told.refused = told;
    }

    /// Tells once that the branch has moved on without what the host tests.
    pub(in super::super) fn tell_what_is_lacking(&mut self, is_tested: IsTested) {
        let lacking = match (&self.testing, is_tested) {
            (Some(testing), IsTested::Yes) => testing.lacks.as_ref().map(|it| (testing, it)),
            (Some(_), IsTested::No) | (None, _) => None,
        };
        if let Some((testing, lacking)) = lacking
            && self.told.lacking.as_ref() != Some(lacking)
        {
            milestones::testing_lacks(&testing.branch, lacking);
        }
        self.told.lacking = lacking.map(|(_, lacking)| lacking.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{commit, confirmed, failed, offer, standing, take, testing_branch};
    use super::*;
    use crate::model::failure::{Failure, FailureCode};
    use crate::model::offer::Offer;

    /// What a remote offers, with a testing branch.
    fn offer_with(digit: &str, head: TestingHead) -> Result<Offer, Failure> {
        let testing = Testing {
            head,
            ..Testing::unknown(testing_branch())
        };
        offer(digit, &[]).map(|offer| Offer {
            testing: Some(testing),
            ..offer
        })
    }

    #[test]
    fn the_testing_branch_is_left_only_when_all_that_may_have_it_were_heard() {
        let mut standing = standing();
        let head = |standing: &mut Standing, floor: &str| {
            let offers = standing.offers(&confirmed(floor));
            let testing = standing.take_testing(&offers, &confirmed(floor));
            testing.map(|testing| testing.head)
        };
        let unreachable = || failed(FailureCode::RemoteUnreachable);
        let tested = || TestingHead::At(commit("e"));
        assert_eq!(head(&mut standing, "a"), Some(TestingHead::Unknown));
        take(&mut standing, 0, offer_with("a", TestingHead::Missing), "a");
        let unheard = Some(TestingHead::Unknown);
        assert_eq!(head(&mut standing, "a"), unheard, "nobody asked the other");
        take(&mut standing, 1, offer_with("a", tested()), "a");
        assert_eq!(head(&mut standing, "a"), Some(tested()));
        assert_eq!(head(&mut standing, "b"), Some(TestingHead::Unknown));
        let shown = standing.testing.clone().map(|testing| testing.head);
        assert_eq!(shown, Some(tested()), "as it was");
        take(&mut standing, 1, unreachable(), "a");
        assert_eq!(head(&mut standing, "a"), Some(TestingHead::Missing));
        take(&mut standing, 0, unreachable(), "a");
        assert_eq!(head(&mut standing, "a"), Some(TestingHead::Unknown));
    }
}
