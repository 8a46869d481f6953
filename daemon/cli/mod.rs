//! The command line: arguments, one file per subcommand, and all text for users.
//!
//! In: arguments. Out: text or JSON on standard output, errors on standard
//! error, an exit code. Must not: hold logic that another part would need.

pub mod arguments;
pub mod exit;
pub mod failure;
mod output;
mod json;
mod text;
mod columns;
mod sheet;
mod screen;
#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod fetcher;
#[cfg(target_os = "linux")]
mod guardian;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod relay;
mod check_config;
mod patience;
mod ask;
mod trigger;
mod retry;
mod allow;
mod order;
mod pause;
mod resume;
mod confirm;
mod reject;
mod rollback;
mod push;
mod expect;
#[cfg(target_os = "linux")]
mod remote;
mod generate;
mod hosts;
mod follow;
mod events;
mod status;
mod past;
mod history;
mod show;
mod diff;
mod logs;
mod doctor;
mod plan;
#[cfg(test)]
mod screens;
// Elsewhere there is no `daemon` and no `remote`.
#[cfg(all(test, target_os = "linux"))]
mod helps;

use self::arguments::{Arguments, Command};
use self::exit::Exit;
use self::failure::Failure;

/// Runs what the arguments ask for.
pub fn run(arguments: Arguments) -> Result<Exit, Failure> {
    match arguments.command {
        #[cfg(target_os = "linux")]
        Command::Daemon(arguments) => daemon::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::Trigger(arguments) => trigger::run(&arguments),
        Command::Retry(arguments) => retry::run(&arguments),
        Command::Allow(arguments) => allow::run(&arguments),
        Command::Pause(arguments) => pause::run(&arguments),
        Command::Resume(arguments) => resume::run(&arguments),
        Command::Confirm(arguments) => confirm::run(&arguments),
        Command::Reject(arguments) => reject::run(&arguments),
        Command::Rollback(arguments) => rollback::run(&arguments),
        Command::Push(arguments) => push::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Remote => remote::run(),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Show(arguments) => show::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Logs(arguments) => logs::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Fetcher(arguments) => fetcher::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Guardian(arguments) => guardian::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Probe(arguments) => probe::run(arguments),
        #[cfg(target_os = "linux")]
        Command::Relay(arguments) => relay::run(&arguments),
    }
}
