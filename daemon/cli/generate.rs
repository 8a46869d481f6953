//! `deploy-flake generate`: what packages install beside the program.
//!
//! In: a shell, or a directory. Out: completions on standard output, or manual
//! pages in the directory. Must not: be needed by anything that runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _, Subcommand};
use clap_complete::Shell;

use super::arguments;
use super::exit::Exit;
use super::failure::Failure;
use super::output::write;

/// The program's name.
const NAME: &str = "deploy-flake";

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// What is generated.
#[derive(Debug, Subcommand)]
enum What {
    /// Completions for a shell, on standard output.
    Completions {
        /// Which.
        shell: Shell,
    },
    /// Manual pages: one for the program, and one for each subcommand.
    Man {
        /// Where they are put; it is made if it does not exist.
        directory: PathBuf,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.what {
        What::Completions { shell } => write(&completions(*shell))?,
        What::Man { directory } => man(directory).context("write the manual pages")?,
    }
    Ok(Exit::Success)
}

/// The command line without what is not for use by hand.
fn command() -> Command {
    let all = arguments::Arguments::command();
    let visible = all
        .get_subcommands()
        .filter(|it| !it.is_hide_set())
        .cloned();
    let visible: Vec<Command> = visible.collect();
    Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(all.get_about().cloned().unwrap_or_default())
        .long_about(all.get_long_about().cloned().unwrap_or_default())
        .subcommand_required(true)
        .subcommands(visible)
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), NAME, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn man(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command(), directory)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    /// A few of what people type, and nothing that only the daemon starts.
    const VISIBLE: [&str; 5] = ["trigger", "status", "retry", "remote", "push"];
    const HIDDEN: [&str; 3] = ["guardian", "fetcher", "generate"];

    #[test]
    fn every_shell_completes_what_people_type() {
        for shell in Shell::value_variants() {
            let text = completions(*shell);
            for word in VISIBLE.iter().chain(&["expect", "parallel"]) {
                assert!(text.contains(word), "{word} for {shell}");
            }
            for word in HIDDEN {
                assert!(!text.contains(word), "{word} for {shell}");
            }
        }
    }

    #[test]
    fn every_subcommand_has_a_manual_page() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        man(directory.path()).expect("it can be written");
        let page = |name: &str| fs::read_to_string(directory.path().join(name));
        assert!(
            page("deploy-flake.1")
                .expect("there is one")
                .contains("trigger")
        );
        for name in VISIBLE {
            let text = page(&format!("deploy-flake-{name}.1")).expect(name);
            assert!(
                text.starts_with(".ie") && text.contains(".SH"),
                "{name}: {text}"
            );
        }
        for name in HIDDEN {
            assert!(page(&format!("deploy-flake-{name}.1")).is_err(), "{name}");
        }
    }
}
