//! `deploy-flake retry`: has the daemon try once more what failed here.
//!
//! In: arguments. Out: what `ask` makes of them. Must not: wait or call itself.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::ask;
use super::exit::Exit;
use super::failure::Failure;
use crate::ipc::client::Call;
use crate::model::policy::Guard;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Lets the system lack this, for this one try: the daemon, an ssh server,
    /// or this host's remote. Without it the host may be lost to you.
    #[arg(long, value_name = "WHAT", value_parser = guards())]
    allow: Vec<Guard>,
    #[command(flatten)]
    how: ask::How,
}

fn guards() -> impl clap::builder::TypedValueParser<Value = Guard> {
    let names = Guard::ALL.iter().map(|guard| guard.name());
    PossibleValuesParser::new(names).try_map(|name| {
        let known = Guard::ALL.iter().find(|guard| guard.name() == name);
        known.copied().ok_or("no such guard")
    })
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let allowed = arguments.allow.iter().copied().collect();
    ask::run(&arguments.how, &Call::Retry { allowed })
}
