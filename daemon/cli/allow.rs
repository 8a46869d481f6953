//! `deploy-flake allow`: has the daemon follow a commit once that it refuses.
//!
//! In: arguments. Out: what `ask` makes of them. Must not: wait or call itself.

use clap::Args;

use super::ask;
use super::exit::Exit;
use super::failure::Failure;
use crate::ipc::client::Call;
use crate::model::revision::CommitId;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The commit, by its whole id: it is followed once, if the branch still
    /// points to it, though it is older than what was confirmed, does not
    /// descend from it, or is not signed.
    #[arg(value_name = "COMMIT", value_parser = commit)]
    commit: CommitId,
    #[command(flatten)]
    how: ask::How,
}

fn commit(text: &str) -> Result<CommitId, String> {
    CommitId::try_from(text.to_owned()).map_err(|_| {
        "expected 40 hexadecimal digits, as `git rev-parse COMMIT` prints them".to_owned()
    })
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let commit = arguments.commit.clone();
    ask::run(&arguments.how, &Call::Allow { commit })
}
