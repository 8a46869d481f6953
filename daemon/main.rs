//! Process entry: arguments, the environment, error to exit code.
//!
//! In: what the process was started with. Out: an exit code. Must not: do
//! anything else; besides `host::environment`, nobody else reads the
//! environment.

use std::process::ExitCode;

use deploy_flake::cli;
use deploy_flake::cli::arguments::Arguments;
#[cfg(target_os = "linux")]
use deploy_flake::report::journal::{self, Environment, Reporting};

fn main() -> ExitCode {
    let arguments = Arguments::of(std::env::args_os().collect());
    #[cfg(target_os = "linux")]
    let _reporting = reporting(&arguments);
    match cli::run(arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

/// Services report to the journal. There are none where there is no Linux.
#[cfg(target_os = "linux")]
fn reporting(arguments: &Arguments) -> Option<Reporting> {
    let is_service = arguments.command.is_service();
    is_service.then(|| journal::install(&environment()))
}

#[cfg(target_os = "linux")]
#[expect(
    clippy::disallowed_methods,
    reason = "main reads the environment for everybody"
)]
fn environment() -> Environment {
    Environment {
        filter: std::env::var("DEPLOY_FLAKE_LOG").ok(),
        journal_stream: std::env::var("JOURNAL_STREAM").ok(),
    }
}
