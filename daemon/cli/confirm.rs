//! `deploy-flake confirm`: an operator says that a system is good.
//!
//! In: arguments. Out: what `order` makes of them. Must not: call itself.

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::order;
use crate::ipc::client::Order;
use crate::model::deployment::DeploymentId;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this deployment, as status has it; else whichever is in its window.
    #[arg(long, value_name = "ID", value_parser = order::deployment)]
    deployment: Option<DeploymentId>,
    #[command(flatten)]
    how: order::How,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let deployment = arguments.deployment.clone();
    let mut words = vec!["confirm".to_owned()];
    words.extend(order::words_of(deployment.as_ref()));
    order::run(&arguments.how, &Order::Confirm { deployment }, words)
}
