//! `deploy-flake rollback`: has the daemon go back to an earlier system.
//!
//! In: arguments. Out: what `ask` makes of them. Must not: wait or call itself.

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::{ask, order};
use crate::ipc::client::Call;
use crate::model::deployment::DeploymentId;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The system of this deployment, as status and journal have it; else the
    /// one before the last that was confirmed.
    #[arg(long = "to", value_name = "ID", value_parser = order::deployment)]
    deployment: Option<DeploymentId>,
    #[command(flatten)]
    how: ask::How,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let deployment = arguments.deployment.clone();
    ask::run(&arguments.how, &Call::Rollback { deployment })
}
