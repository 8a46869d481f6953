//! `deploy-flake doctor`: what of a host would keep it from following.
//!
//! In: what this host is asked, or what other hosts say of themselves. Out: for
//! each thing whether it is well, and what to do. Must not: change anything, or
//! need the daemon.

#[cfg(target_os = "linux")]
mod here;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Question, Selection};
use super::output::Output;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// For people, or JSON.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// With what it ends where something failed.
const FAILED: i32 = 1;

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    #[cfg(target_os = "linux")]
    if !arguments.selection.is_given() {
        return here::run(arguments.output);
    }
    let question = Question {
        name: "doctor",
        words: Vec::new(),
        codes: &[0, FAILED],
    };
    hosts::pages(&arguments.selection, &question, arguments.output)
}

#[cfg(test)]
pub(super) use self::here::tests::screen;
