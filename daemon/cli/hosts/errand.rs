//! What is asked of every host, as words for the far side.
//!
//! In: words of ours. Out: which of them are said when. Must not: know what the
//! words mean.

use std::time::Duration;

use super::destination::Destination;
use crate::cli::expect::Expected;
use crate::model::system::StorePath;

/// What is asked of every host.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Errand {
    /// The words for the far side, beginning with the subcommand.
    pub(in crate::cli) first: Vec<String>,
    /// The words once the far side has said that it was told.
    pub(in crate::cli) again: Vec<String>,
    /// Whether the first words may be said twice.
    pub(in crate::cli) repeats: Repeats,
    /// Whether it is over only with the far side's last word.
    pub(in crate::cli) waits: bool,
    /// Which commit has to be there then.
    pub(in crate::cli) expected: Option<Expected>,
    /// How long it may take.
    pub(in crate::cli) timeout: Option<Duration>,
    /// Who ends the confirm window before its time, if anybody does.
    pub(in crate::cli) confirm: Option<Confirm>,
    /// Where the host is meant to be afterwards.
    pub(in crate::cli) stays: Stays,
    /// What is brought there first.
    pub(in crate::cli) cargo: Option<Cargo>,
}

/// Where a host is meant to be afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Stays {
    /// At what its branch asks for.
    WithBranch,
    /// At what it was told, which its branch does not ask for.
    There,
}

/// Paths of the local store that go into the host's before it is asked anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Cargo {
    /// The snapshot.
    pub(in crate::cli) source: StorePath,
    /// The snapshot, and all its inputs.
    pub(in crate::cli) paths: Vec<StorePath>,
    /// What it is called, safe to show.
    pub(in crate::cli) called: String,
    /// How long one attempt may take.
    pub(in crate::cli) timeout: Duration,
    /// How many more attempts there are after the first.
    pub(in crate::cli) retries: u32,
}

/// Who says in a confirm window whether the system is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Confirm {
    /// A new ssh connection: if it works, the system is good.
    Ssh,
    /// You, on this terminal: y or n.
    Ask,
}

impl Errand {
    /// A question that is answered at once, and may be asked again.
    pub(super) fn answer(words: &[&str]) -> Self {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            first: words.clone(),
            again: words,
            repeats: Repeats::Freely,
            waits: true,
            expected: None,
            timeout: None,
            confirm: None,
            stays: Stays::WithBranch,
            cargo: None,
        }
    }

    /// The same for one host: of what is brought there it deploys the
    /// configuration that was named for it, else the one that it runs.
    pub(super) fn at(&self, host: &Destination) -> Self {
        let mut errand = self.clone();
        if let (Some(_), Some(name)) = (&self.cargo, host.configuration()) {
            for words in [&mut errand.first, &mut errand.again] {
                words.extend(["--configuration".to_owned(), name.to_owned()]);
            }
        }
        errand
    }
}

/// Whether the first words may be said twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Repeats {
    /// It makes no difference.
    Freely,
    /// Each time counts.
    Never,
}
