//! `deploy-flake pause`: has the daemon begin no new deployment.
//!
//! In: arguments. Out: what `order` makes of them. Must not: call itself.

use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::order::{self, reason};
use crate::config::duration;
use crate::ipc::client::Order;
use crate::model::pause::LONGEST;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Ends it by itself after this, such as 2h; 90d at most.
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    length: Option<Duration>,
    /// Why, for whoever looks at the host next.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = reason)]
    reason: String,
    #[command(flatten)]
    how: order::How,
}

fn length(text: &str) -> Result<Duration, String> {
    duration::parse(text, &(Duration::from_secs(1)..=LONGEST))
        .map_err(|_| "expected a duration from 1s to 90d, such as 30m, 2h or 7d".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut words = vec!["pause".to_owned()];
    if let Some(length) = arguments.length {
        words.extend(["--for".to_owned(), duration::show(length)]);
    }
    if !arguments.reason.is_empty() {
        words.extend(["--reason".to_owned(), arguments.reason.clone()]);
    }
    let order = Order::Pause {
        length: arguments.length,
        reason: arguments.reason.clone(),
    };
    order::run(&arguments.how, &order, words)
}
