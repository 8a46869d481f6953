//! From a commit, or a pushed snapshot, to a toplevel: import, evaluate, build, root. Four steps,
//! four units, four deadlines.
//!
//! In: a candidate that is in the mirror, and this host's configuration. Out:
//! a derivation, a toplevel, and GC roots that hold it; or a typed failure.
//! Must not: run Nix or git in the daemon, or believe a path that was not
//! checked.
//!
//! Evaluation and build belong to the build user, who is nobody to anybody.
//! Only `root` runs as root: it takes store paths as text, has Nix check that
//! they belong together, and makes the roots itself.

mod words;
mod import;
mod pushed;
mod inputs;
mod evaluate;
mod realise;
mod root;

pub use evaluate::{Evaluating, Flakes, evaluate};
pub use import::{Repository, Source, import};
pub use inputs::Inputs;
pub use pushed::take;
pub use realise::{Building, build};
pub use root::root;

use super::step::{StepEnd, StepReport};
use crate::model::failure::{Failure, FailureCode};

/// The evaluation's own repository.
const REPOSITORY: &str = "/var/cache/deploy-flake/build/repository";

/// What a step's name, its timeout and its own failure are to people.
struct Work {
    /// As in "the evaluation was killed".
    noun: &'static str,
    /// The code at its deadline.
    timeout: FailureCode,
    /// The setting that lengthens the deadline.
    setting: &'static str,
}

impl Work {
    /// What an end means that is not the program's own word; None: the program
    /// said no, and its words must tell why.
    fn ended(&self, report: &StepReport) -> Option<Failure> {
        let noun = self.noun;
        let failure = match &report.end {
            StepEnd::Succeeded | StepEnd::Exited(_) => return None,
            StepEnd::TimedOut => Failure::new(
                self.timeout,
                format!("the {noun} did not end within its deadline"),
                format!("If it needs that long, raise {}.", self.setting),
            ),
            StepEnd::OutOfMemory => Failure::new(
                FailureCode::OutOfMemory,
                format!("the {noun} was ended because memory ran out"),
                "Give the host more memory or swap; it is tried again later.",
            ),
            StepEnd::Signalled(signal) => Failure::new(
                FailureCode::StepFailed,
                format!("the {noun} was killed by signal {signal}"),
                "Somebody or something ended it; it is tried again later.",
            ),
            StepEnd::CouldNotStart(why) => Failure::new(
                FailureCode::StepFailed,
                format!("the {noun} could not be started: {why}"),
                "See whether the NixOS module of deploy-flake is enabled: it makes users and groups.",
            ),
        };
        Some(failure.with_detail(&report.tail))
    }
}

/// An argument vector from its words.
fn argv<'a>(
    program: &std::path::Path,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let program = program.display().to_string();
    let arguments = arguments.into_iter().map(str::to_owned);
    std::iter::once(program).chain(arguments).collect()
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
