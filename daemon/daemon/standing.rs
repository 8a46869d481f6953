//! What the daemon knows besides its ledger: it is found out anew after every
//! start.
//!
//! In: what looks saw. Out: what status and decisions need of it. Must not:
//! outlive the process.

mod testing;

use std::collections::BTreeSet;

pub(super) use self::testing::IsTested;
use super::followed::{Followed, Loudness};
use crate::config;
use crate::model::failure::{Failure, FailureCode};
use crate::model::offer::{Ancestry, Offer, RemoteNumber};
use crate::model::revision::{Branch, CommitId, Confirmed};
use crate::model::system::Observed;
use crate::model::testing::Testing;
use crate::model::time::Now;
use crate::reconcile::choose::{self, Choice, Offered, Place};
use crate::report::milestones;
use crate::store::history::Origin;

/// What a look at a remote saw.
#[derive(Debug)]
pub(super) struct Sighting {
    /// At which.
    pub(super) remote: RemoteNumber,
    /// What was confirmed when it began.
    pub(super) confirmed: Confirmed,
    /// What was seen.
    pub(super) seen: Seen,
}

/// What a look saw.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time goes through a channel"
)]
#[derive(Debug)]
pub(super) enum Seen {
    /// The host itself is starting or going down; the remote was not asked.
    Busy(Failure),
    /// Something that a look needs did not come to an end: nothing was seen.
    Hanging(Failure),
    /// What the remote answered, and what the host is.
    Looked {
        /// The branches' commits, or why nobody knows.
        offer: Result<Offer, Failure>,
        /// What the host is.
        observed: Observed,
        /// Whether it asks for another daemon than this one.
        is_outdated: bool,
    },
}

/// What was told, and is not told again.
#[derive(Debug, Default)]
struct Told {
    /// Which commits diverge from each other.
    diverging: BTreeSet<(CommitId, CommitId)>,
    /// What of the testing branch is refused.
    refused: Option<(CommitId, FailureCode)>,
    /// What the testing branch does not contain.
    lacking: Option<CommitId>,
}

/// What is known of remotes and host now.
#[derive(Debug)]
pub(super) struct Standing {
    /// What the host is.
    pub(super) observed: Observed,
    /// Why nothing may be begun on the host, if so.
    pub(super) busy: Option<Failure>,
    /// Why the ledger cannot be written, if so.
    pub(super) unsaved: Option<String>,
    /// The remotes, in the order of the configuration.
    pub(super) remotes: Vec<Followed>,
    /// How what they offer lies to each other.
    ancestry: Ancestry,
    /// Which remote was followed last.
    followed: Option<usize>,
    /// The testing branch that the host follows.
    testing_branch: Option<Branch>,
    /// What the testing branch was when somebody could last say.
    pub(super) testing: Option<Testing>,
    /// What was told.
    told: Told,
}

impl Standing {
    /// Before the first look.
    pub(super) fn new(
        remotes: &[config::Remote],
        testing: Option<Branch>,
        observed: Observed,
    ) -> Self {
        let followed = |remote| Followed::new(remote, testing.as_ref());
        Self {
            observed,
            busy: None,
            unsaved: None,
            remotes: remotes.iter().map(followed).collect(),
            ancestry: Ancestry::default(),
            followed: None,
            testing_branch: testing,
            testing: None,
            told: Told::default(),
        }
    }

    /// Takes what a remote answered, or why it did not.
    pub(super) fn take(
        &mut self,
        remote: RemoteNumber,
        offer: Result<Offer, Failure>,
        judged_for: Confirmed,
        now: Now,
    ) {
        let answer = offer.map(|offer| {
            self.ancestry.learn(offer.ancestry);
            (offer.commit, offer.testing)
        });
        if let Some(followed) = self.remotes.get_mut(remote.0) {
            followed.take(answer, judged_for, now);
        }
        let heads = self.remotes.iter().filter_map(|it| it.head.as_ref());
        self.ancestry.keep_only(&heads.collect());
    }

    /// How often in a row a remote failed.
    pub(super) fn failures(&self, remote: RemoteNumber) -> u32 {
        self.remotes.get(remote.0).map_or(0, Followed::failures)
    }

    /// What each remote offers now.
    pub(super) fn offers(&self, confirmed: &Confirmed) -> Vec<Offered> {
        self.remotes
            .iter()
            .map(|it| it.offered(confirmed))
            .collect()
    }

    /// Which of them is followed, and where the others stand.
    pub(super) fn choice(&self, offers: &[Offered]) -> Choice {
        choose::choose(offers, &self.ancestry)
    }

    /// The commit to follow, if any remote offers one.
    pub(super) fn head(&self, offers: &[Offered]) -> Option<CommitId> {
        match offers.get(self.choice(offers).followed?) {
            Some(Offered::Commit(commit)) => Some(commit.clone()),
            Some(Offered::Unknown | Offered::Nothing(_) | Offered::Refused(_)) | None => None,
        }
    }

    /// The remote that status speaks of: the one that is followed; else the one
    /// that is to blame; else the first.
    pub(super) fn spoken_of(&self, offers: &[Offered]) -> usize {
        let trouble = choose::trouble(offers);
        let is_trouble = |offered: &Offered| match offered {
            Offered::Nothing(failure) | Offered::Refused(failure) => Some(failure) == trouble,
            Offered::Unknown | Offered::Commit(_) => false,
        };
        let blamed = || offers.iter().position(is_trouble);
        self.choice(offers).followed.or_else(blamed).unwrap_or(0)
    }

    /// The branch that is followed, for people.
    pub(super) fn branch(&self, offers: &[Offered]) -> &Branch {
        &self.remotes[self.spoken_of(offers)].branch
    }

    /// The remote that is followed, for the history.
    pub(super) fn origin(&self, offers: &[Offered]) -> Origin {
        let remote = &self.remotes[self.spoken_of(offers)];
        Origin {
            name: remote.name.clone(),
            url: remote.url.clone(),
            branch: remote.branch.clone(),
        }
    }

    /// Tells the journal what is new of the remotes among each other.
    pub(super) fn tell(&mut self, offers: &[Offered]) {
        let choice = self.choice(offers);
        self.tell_refusals(offers, &choice);
        let Some(followed) = choice.followed else {
            return;
        };
        self.tell_divergence(followed, &choice);
        let before = self.followed.replace(followed).filter(|it| *it != followed);
        let Some(before) = before else { return };
        // Remotes that bring the same commits one after the other are no news.
        let is_lost = matches!(choice.places[before], Place::Silent | Place::Refused);
        if is_lost && let Some(commit) = &self.remotes[followed].head {
            let (from, to) = (&self.remotes[before], &self.remotes[followed]);
            milestones::remote_replaced(&from.name, &to.name, &to.url, commit);
        }
    }

    fn tell_refusals(&mut self, offers: &[Offered], choice: &Choice) {
        let trouble = choose::trouble(offers);
        let is_aloud = trouble.is_some_and(|failure| failure.code.is_of_offer());
        // Who is asked first after a start says nothing about the others.
        let is_open = !is_aloud && offers.contains(&Offered::Unknown);
        for (remote, place) in self.remotes.iter_mut().zip(&choice.places) {
            let loudness = match place {
                Place::Refused if is_aloud => Some(Loudness::Aloud),
                Place::Refused => Some(Loudness::Aside),
                Place::Unknown
                | Place::Silent
                | Place::Followed
                | Place::Same
                | Place::Behind
                | Place::Diverged => None,
            };
            if !is_open || loudness.is_none() {
                remote.tell_refusal(loudness);
            }
        }
    }

    fn tell_divergence(&mut self, followed: usize, choice: &Choice) {
        let mut diverging = BTreeSet::new();
        for (index, place) in choice.places.iter().enumerate() {
            let heads = (&self.remotes[followed].head, &self.remotes[index].head);
            let (Place::Diverged, (Some(ours), Some(theirs))) = (place, heads) else {
                continue;
            };
            let pair = (ours.clone(), theirs.clone());
            if !self.told.diverging.contains(&pair) {
                let (first, other) = (&self.remotes[followed], &self.remotes[index]);
                milestones::remotes_diverge(&first.name, ours, &other.name, theirs);
            }
            diverging.insert(pair);
        }
        self.told.diverging = diverging;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::failure::FailureCode;
    use crate::model::system::{BootId, DefaultEntry};

    pub(super) fn commit(digit: &str) -> CommitId {
        CommitId::try_from(digit.repeat(40)).expect("forty digits")
    }

    pub(super) fn confirmed(floor: &str) -> Confirmed {
        Confirmed {
            floor: Some(commit(floor)),
            allowed: None,
        }
    }

    pub(super) fn testing_branch() -> Branch {
        Branch::try_from("testing-web1".to_owned()).expect("a branch name")
    }

    pub(super) fn standing() -> Standing {
        let text = "[[remote]]\nurl = \"https://a.example.org/a\"\n\
                    [[remote]]\nname = \"b\"\nurl = \"https://b.example.org/a\"\nbranch = \"next\"\n";
        let (config, _) = config::parse("config.toml", text).expect(text);
        let observed = Observed {
            running: None,
            booted: None,
            profile: None,
            default_entry: DefaultEntry::Unreadable("none".to_owned()),
            boot_id: BootId("boot".to_owned()),
        };
        Standing::new(&config.remotes, Some(testing_branch()), observed)
    }

    /// What a remote offers, which descends from these.
    pub(super) fn offer(digit: &str, descends_from: &[&str]) -> Result<Offer, Failure> {
        let mut ancestry = Ancestry::default();
        for ancestor in descends_from {
            ancestry.add(commit(ancestor), commit(digit));
        }
        Ok(Offer {
            commit: commit(digit),
            ancestry,
            testing: None,
        })
    }

    pub(super) fn failed(code: FailureCode) -> Result<Offer, Failure> {
        Err(Failure::new(code, "m", "h"))
    }

    pub(super) fn take(
        standing: &mut Standing,
        remote: usize,
        offer: Result<Offer, Failure>,
        floor: &str,
    ) {
        let now = Now {
            wall: "2026-11-22T12:00:00Z".parse().expect("a time"),
            since_boot: Duration::from_secs(1),
        };
        standing.take(RemoteNumber(remote), offer, confirmed(floor), now);
    }

    #[test]
    fn the_furthest_is_followed_until_its_remote_fails_and_again_once_it_answers() {
        let mut standing = standing();
        let head = |standing: &Standing| standing.head(&standing.offers(&confirmed("a")));
        assert_eq!(head(&standing), None, "nobody was asked");
        take(&mut standing, 0, offer("a", &[]), "a");
        take(&mut standing, 1, offer("b", &["a"]), "a");
        assert_eq!(head(&standing), Some(commit("b")));
        let offers = standing.offers(&confirmed("a"));
        assert_eq!(standing.branch(&offers).as_str(), "next");
        take(
            &mut standing,
            1,
            failed(FailureCode::RemoteUnreachable),
            "a",
        );
        assert_eq!(head(&standing), Some(commit("a")));
        assert_eq!(standing.failures(RemoteNumber(1)), 1);
        take(&mut standing, 1, offer("b", &["a"]), "a");
        assert_eq!(head(&standing), Some(commit("b")));
        assert_eq!(standing.failures(RemoteNumber(1)), 0);
    }

    #[test]
    fn a_commit_that_was_judged_against_an_older_floor_is_not_followed() {
        let mut standing = standing();
        take(&mut standing, 0, offer("b", &[]), "a");
        take(&mut standing, 1, offer("c", &["b"]), "a");
        // It was confirmed, and its remote dies before the other is asked again.
        take(
            &mut standing,
            1,
            failed(FailureCode::RemoteUnreachable),
            "c",
        );
        let offers = standing.offers(&confirmed("c"));
        assert_eq!(standing.head(&offers), None);
        assert_eq!(
            standing.choice(&offers).places,
            [Place::Unknown, Place::Silent]
        );
        take(&mut standing, 0, failed(FailureCode::Downgrade), "c");
        let offers = standing.offers(&confirmed("c"));
        assert_eq!(standing.spoken_of(&offers), 1, "a lag is not to blame");
        take(&mut standing, 1, offer("c", &[]), "c");
        let offers = standing.offers(&confirmed("c"));
        assert_eq!(
            standing.choice(&offers).places,
            [Place::Behind, Place::Followed]
        );
    }
}
