//! `deploy-flake trigger`: has the daemon look at its remote now.
//!
//! In: arguments. Out: what `ask` makes of them. Must not: wait or call itself.

use clap::Args;

use super::ask;
use super::exit::Exit;
use super::failure::Failure;
use crate::ipc::client::Call;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    how: ask::How,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    ask::run(&arguments.how, &Call::Trigger)
}
