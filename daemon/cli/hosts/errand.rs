//! What is asked of every host, as words for the far side.
//!
//! In: words of ours. Out: which of them are said when. Must not: know what the
//! words mean.

use std::time::Duration;

use crate::cli::expect::Expected;

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
        }
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
