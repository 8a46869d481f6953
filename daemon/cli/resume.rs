//! `deploy-flake resume`: lets the daemon go on after a pause.
//!
//! In: arguments. Out: what `order` makes of them. Must not: call itself.

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::order;
use crate::ipc::client::Order;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    how: order::How,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    order::run(&arguments.how, &Order::Resume, vec!["resume".to_owned()])
}
