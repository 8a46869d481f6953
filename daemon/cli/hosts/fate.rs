//! How it ended for one host, and for all of them.
//!
//! In: what was heard. Out: exit codes and counts. Must not: word anything.

use serde_json::Value;

use super::destination::Destination;
use super::named;
use crate::cli::exit::Exit;
use crate::model::revision::CommitId;

/// How it ended for one host, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Ending {
    /// The commit was brought to the host.
    Deployed,
    /// The host was it already.
    AlreadyThere,
    /// The daemon was told; nobody waited.
    Told,
    /// The state was told.
    Answered,
    /// The commit, or the host, did not let it happen.
    Refused,
    /// The commit was activated and failed; the previous system runs again.
    RolledBack,
    /// The host's own remote could not be asked.
    RemoteUnreachable,
    /// A reboot is needed.
    RebootRequired,
    /// It was not over in time.
    GaveUp,
    /// The daemon does not run.
    NotRunning,
    /// The way back failed, too.
    NeedsHuman,
    /// The branch asks for another commit than the expected one.
    Unexpected,
    /// ssh did not get there, or not back there.
    Unreachable,
    /// Anything else.
    Error,
}

impl Ending {
    /// Every one.
    pub(super) const ALL: [Self; 14] = [
        Self::Deployed,
        Self::AlreadyThere,
        Self::Told,
        Self::Answered,
        Self::Refused,
        Self::RolledBack,
        Self::RemoteUnreachable,
        Self::RebootRequired,
        Self::GaveUp,
        Self::NotRunning,
        Self::NeedsHuman,
        Self::Unexpected,
        Self::Unreachable,
        Self::Error,
    ];

    /// The word for programs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::AlreadyThere => "already-there",
            Self::Told => "told",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::RolledBack => "rolled-back",
            Self::RemoteUnreachable => "remote-unreachable",
            Self::RebootRequired => "reboot-required",
            Self::GaveUp => "gave-up",
            Self::NotRunning => "not-running",
            Self::NeedsHuman => "needs-human",
            Self::Unexpected => "unexpected",
            Self::Unreachable => "unreachable",
            Self::Error => "error",
        }
    }

    /// The words for people, to follow the host's name.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Deployed => "deployed",
            Self::AlreadyThere => "there already",
            Self::Told => "told",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::RolledBack => "rolled back",
            Self::RemoteUnreachable => "its remote is unreachable",
            Self::RebootRequired => "reboot required",
            Self::GaveUp => "not over in time",
            Self::NotRunning => "the daemon is not running",
            Self::NeedsHuman => "CRITICAL, the way back failed",
            Self::Unexpected => "another commit",
            Self::Unreachable => "unreachable",
            Self::Error => "error",
        }
    }

    /// The exit code, if all hosts end like this.
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Deployed | Self::Told | Self::Answered => Exit::Success,
            Self::AlreadyThere => Exit::AlreadyThere,
            Self::Refused => Exit::Refused,
            Self::RolledBack => Exit::RolledBack,
            Self::RemoteUnreachable => Exit::RemoteUnreachable,
            Self::RebootRequired => Exit::RebootRequired,
            Self::GaveUp => Exit::GaveUp,
            Self::NotRunning => Exit::NotRunning,
            Self::NeedsHuman => Exit::NeedsHuman,
            Self::Unexpected => Exit::Unexpected,
            Self::Unreachable => Exit::Unreachable,
            Self::Error => Exit::Error,
        }
    }

    /// Whether there is nothing to do about it.
    pub(super) fn is_fine(self) -> bool {
        [Exit::Success, Exit::AlreadyThere].contains(&self.exit())
    }
}

/// What a story is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A commit.
    Commit(CommitId),
    /// A snapshot that is called so, safe to show.
    Snapshot(String),
}

/// How it ended for one host.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fate {
    /// In a word.
    pub(super) ending: Ending,
    /// What it is about.
    pub(super) about: Option<About>,
    /// Why, safe to show.
    pub(super) why: Option<String>,
    /// What to do, safe to show.
    pub(super) to_do: Option<String>,
    /// What a step said last, safe to show.
    pub(super) detail: Option<String>,
    /// The host's whole state, for programs.
    pub(super) snapshot: Option<Box<Value>>,
}

impl Fate {
    /// An ending with nothing to say about it.
    pub(super) fn of(ending: Ending) -> Self {
        Self {
            ending,
            about: None,
            why: None,
            to_do: None,
            detail: None,
            snapshot: None,
        }
    }

    /// Adds why.
    pub(super) fn because(self, why: impl Into<String>) -> Self {
        Self {
            why: Some(why.into()),
            ..self
        }
    }

    /// The same with the commands that it names as they are typed from here.
    pub(super) fn with_host(self, host: &Destination) -> Self {
        let named = |text: Option<String>| text.map(|it| named::sentence(&it, host));
        Self {
            why: named(self.why),
            to_do: named(self.to_do),
            ..self
        }
    }

    /// Adds what to do.
    pub(super) fn with_remedy(self, to_do: impl Into<String>) -> Self {
        Self {
            to_do: Some(to_do.into()),
            ..self
        }
    }
}

/// The exit code for all hosts: theirs, if it is one; success, if each is fine;
/// else a code that says that they differ.
pub(super) fn exit(endings: impl IntoIterator<Item = Ending>) -> Exit {
    let both = |one: Exit, other: Exit| {
        let fine = [Exit::Success, Exit::AlreadyThere];
        if one == other {
            one
        } else if fine.contains(&one) && fine.contains(&other) {
            Exit::Success
        } else {
            Exit::Mixed
        }
    };
    let exits = endings.into_iter().map(Ending::exit);
    exits.reduce(both).unwrap_or(Exit::Success)
}

/// How many hosts ended in which way, those with nothing to do about first.
pub(super) fn counts(endings: &[Ending]) -> Vec<(Ending, usize)> {
    let count = |ending: Ending| (ending, endings.iter().filter(|it| **it == ending).count());
    let counts = Ending::ALL.into_iter().map(count);
    counts.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_end_has_a_code_and_differing_ones_have_another() {
        use Ending::{AlreadyThere, Deployed, Refused, RolledBack, Unreachable};
        for (endings, expected) in [
            (&[Deployed, Deployed][..], Exit::Success),
            (&[Deployed, AlreadyThere], Exit::Success),
            (&[AlreadyThere, AlreadyThere], Exit::AlreadyThere),
            (&[Refused, Refused], Exit::Refused),
            (&[RolledBack], Exit::RolledBack),
            (&[Unreachable, Unreachable], Exit::Unreachable),
            (&[Deployed, Unreachable], Exit::Mixed),
            (&[AlreadyThere, Deployed, RolledBack], Exit::Mixed),
            (&[Refused, RolledBack, Refused], Exit::Mixed),
            (&[Refused, Deployed, Deployed], Exit::Mixed),
        ] {
            assert_eq!(exit(endings.iter().copied()), expected, "{endings:?}");
        }
    }

    #[test]
    fn every_ending_is_counted_once() {
        assert_eq!(
            counts(&[Ending::Refused, Ending::Deployed, Ending::Refused]),
            [(Ending::Deployed, 1), (Ending::Refused, 2)]
        );
        for (place, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, place, "{ending:?}");
        }
    }
}
