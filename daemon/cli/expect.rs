//! `--expect COMMIT`: the commit that has to be there in the end.
//!
//! In: a commit's id or its beginning, and the snapshot in which a look is over.
//! Out: whether that is the end. Must not: ask or wait.

use std::collections::BTreeSet;
use std::fmt;

use super::exit::Exit;
use crate::model::revision::CommitId;
use crate::store::snapshot::Snapshot;

/// The shortest beginning that is accepted: what git shows.
const SHORTEST: usize = 7;

/// The commit, by its id or the beginning of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected(String);

impl Expected {
    /// Whether it is this one.
    pub(super) fn is(&self, commit: &CommitId) -> bool {
        commit.as_str().starts_with(&self.0)
    }

    /// What a look that is over means, which ends with this code by itself.
    pub(super) fn judge(&self, exit: Exit, snapshot: &Snapshot) -> Judged {
        let known = self.known(snapshot);
        if known.len() > 1 {
            return Judged::Ambiguous;
        }
        let wanted = snapshot.desired.as_ref().map(|it| &it.commit);
        if wanted.is_some_and(|wanted| self.is(wanted)) {
            return Judged::Over(exit);
        }
        // These say of no commit that it is there.
        let says_nothing = [Exit::RemoteUnreachable, Exit::NeedsHuman].contains(&exit);
        // It is offered, and there is a reason why it is not followed.
        let mut heads = snapshot
            .all_remotes()
            .iter()
            .filter_map(|it| it.head.as_ref());
        let is_held_up = exit != Exit::Success && heads.any(|head| self.is(head));
        if says_nothing || is_held_up {
            Judged::Over(exit)
        } else {
            Judged::Other
        }
    }

    /// The commits of the snapshot that it may be.
    fn known<'a>(&self, snapshot: &'a Snapshot) -> BTreeSet<&'a CommitId> {
        let heads = snapshot
            .all_remotes()
            .iter()
            .filter_map(|it| it.head.as_ref());
        let wanted = snapshot.desired.iter().map(|it| &it.commit);
        let last = snapshot.last.iter().map(|it| &it.commit);
        let held = snapshot.quarantine.iter().map(|it| &it.commit);
        let all = heads.chain(wanted).chain(last).chain(held);
        all.filter(|commit| self.is(commit)).collect()
    }
}

/// What a look means for the expected commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is over, with this code.
    Over(Exit),
    /// The branch asks for another one, so far.
    Other,
    /// The beginning is that of several commits.
    Ambiguous,
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Understands a commit's id or its beginning.
pub(super) fn parse(text: &str) -> Result<Expected, String> {
    let is_id =
        (SHORTEST..=40).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
    if is_id {
        Ok(Expected(text.to_ascii_lowercase()))
    } else {
        Err(format!(
            "expected {SHORTEST} to 40 hexadecimal digits, as `git rev-parse HEAD` prints them"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::snapshot::example::full;

    fn commit(text: &str) -> CommitId {
        CommitId::try_from(format!("{text:0<40}")).expect("it is a commit id")
    }

    #[test]
    fn ids_and_their_beginnings_are_understood() {
        for good in [
            "0123456",
            "0123456789abcdef0123456789abcdef01234567",
            "ABCDEF0",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "012345",
            "main",
            "0123456;",
            "--help",
            "0123456789abcdef0123456789abcdef012345678",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let expected = parse("0123456").expect("it is one");
        assert!(expected.is(&commit("01234567")) && !expected.is(&commit("0123457")));
    }

    #[test]
    fn the_end_is_for_the_expected_commit_only() {
        let expected = |text| parse(text).expect("it is one");
        let snapshot = full();
        let (this, other) = (expected("0123456"), expected("fffffff"));
        for exit in [
            Exit::Success,
            Exit::Refused,
            Exit::RolledBack,
            Exit::RebootRequired,
        ] {
            assert_eq!(this.judge(exit, &snapshot), Judged::Over(exit));
            assert_eq!(other.judge(exit, &snapshot), Judged::Other, "{exit:?}");
        }
        for exit in [Exit::RemoteUnreachable, Exit::NeedsHuman] {
            assert_eq!(other.judge(exit, &snapshot), Judged::Over(exit));
        }
    }

    #[test]
    fn a_commit_that_is_offered_and_not_followed_ends_it_unless_all_is_well() {
        let mut snapshot = full();
        let offered = parse("fffffff").expect("it is one");
        snapshot.remotes[0].head = Some(commit("fffffff"));
        assert_eq!(
            offered.judge(Exit::Refused, &snapshot),
            Judged::Over(Exit::Refused)
        );
        // As while a testing branch is tested.
        assert_eq!(offered.judge(Exit::Success, &snapshot), Judged::Other);
    }

    #[test]
    fn a_beginning_of_two_commits_is_none_of_them() {
        let mut snapshot = full();
        snapshot.remotes[0].head = Some(commit("01234567"));
        let expected = parse("0123456").expect("it is one");
        assert_eq!(expected.judge(Exit::Success, &snapshot), Judged::Ambiguous);
    }
}
