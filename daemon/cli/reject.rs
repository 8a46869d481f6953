//! `deploy-flake reject`: an operator says that a system is bad.
//!
//! In: arguments. Out: what `order` makes of them. Must not: call itself.

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::order::{self, reason};
use crate::ipc::client::Order;
use crate::model::deployment::DeploymentId;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this deployment, as status has it; else whichever is in its window.
    #[arg(long, value_name = "ID", value_parser = order::deployment)]
    deployment: Option<DeploymentId>,
    /// Why, for whoever looks at the host next.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = reason)]
    reason: String,
    #[command(flatten)]
    how: order::How,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let deployment = arguments.deployment.clone();
    let mut words = vec!["reject".to_owned()];
    words.extend(order::words_of(deployment.as_ref()));
    if !arguments.reason.is_empty() {
        words.extend(["--reason".to_owned(), arguments.reason.clone()]);
    }
    let reason = arguments.reason.clone();
    order::run(&arguments.how, &Order::Reject { deployment, reason }, words)
}
