//! Destinations without a subcommand: a push, as with this program's ancestor, if
//! nothing else can be meant (`docs/decisions/0065`).
//!
//! In: the hosts that were named, and the flake. Out: whether all of them are
//! hosts beyond doubt. Must not: let a misspelt subcommand push.

use std::collections::BTreeSet;

use anyhow::anyhow;
use clap::CommandFactory as _;

use super::super::arguments;
use super::super::exit::Exit;
use super::super::failure::Failure;
use super::super::hosts::{self, Destination};
use crate::config::nearest::nearest;
use crate::model::text::{LINE_LIMIT, one_line};

/// Refuses words that may have been meant as anything else: a plain word has to be
/// a configuration of the flake, and be far from every subcommand.
pub(super) async fn check(hosts: &[Destination], flake: &str) -> Result<(), Failure> {
    let plain: Vec<&str> = hosts.iter().filter_map(Destination::plain_word).collect();
    let command = arguments::Arguments::command();
    let commands = command.get_subcommands().map(clap::Command::get_name);
    let commands: Vec<&str> = commands.chain(["help"]).collect();
    for word in &plain {
        if let Some(meant) = near(word, &commands) {
            return Err(refused(word, "is no subcommand").hint(format!("Did you mean `{meant}`?")));
        }
    }
    if plain.is_empty() {
        return Ok(());
    }
    match hosts::names(flake).await {
        Ok(names) => among(&plain, &names),
        Err(failure) => {
            let what = "is no subcommand, and whether it is one of the flake's hosts is not known";
            let why = format!(
                "nix says: {}",
                one_line(&failure.error.root_cause().to_string(), LINE_LIMIT)
            );
            Err(refused(plain[0], what).hint(why))
        }
    }
}

fn among(plain: &[&str], names: &BTreeSet<String>) -> Result<(), Failure> {
    let Some(other) = plain.iter().find(|word| !names.contains(**word)) else {
        return Ok(());
    };
    let all = hosts::told(names);
    Err(refused(
        other,
        &format!("is neither a subcommand nor one of the flake's hosts, which are: {all}"),
    ))
}

fn refused(word: &str, what: &str) -> Failure {
    Failure::new(Exit::Usage, anyhow!("{word:?} {what}: nothing was pushed")).hint(format!(
        "To push to a host of that name say `deploy-flake push {word}`."
    ))
}

/// The subcommand that is probably meant.
fn near<'c>(word: &str, commands: &[&'c str]) -> Option<&'c str> {
    nearest(&word.to_ascii_lowercase(), commands)
}

#[cfg(test)]
mod tests {
    use super::super::super::hosts::destination;
    use super::*;

    fn outcome(words: &[&str], flake: &str) -> String {
        let hosts: Vec<_> = words
            .iter()
            .map(|word| destination(word).expect(word))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        match runtime.block_on(check(&hosts, flake)) {
            Ok(()) => "pushed".to_owned(),
            Err(failure) => {
                assert_eq!(failure.exit, Exit::Usage);
                failure.to_string()
            }
        }
    }

    #[test]
    fn a_misspelt_subcommand_is_never_a_host() {
        // Nobody asks the flake, which is nowhere.
        for (word, meant) in [
            ("statsu", "status"),
            ("status", "status"),
            ("STATUS", "status"),
            ("tigger", "trigger"),
            ("puhs", "push"),
            ("rollbak", "rollback"),
            ("hlep", "help"),
        ] {
            for words in [
                &[word][..],
                &["nixos://web1/web", word],
                &[word, "root@web1"],
            ] {
                let refused = outcome(words, "path:/nowhere/at/all");
                let expected = format!("Did you mean `{meant}`?");
                assert!(refused.contains(&expected), "{words:?}: {refused}");
                assert!(refused.contains("nothing was pushed"), "{refused}");
            }
        }
    }

    #[test]
    fn what_is_written_as_a_host_is_one() {
        for words in [
            &["nixos://statsu"][..],
            &["root@status", "web1.example.org"],
            &["2001:db8::1", "nixos://root@web1:22/web"],
        ] {
            assert_eq!(
                outcome(words, "path:/nowhere/at/all"),
                "pushed",
                "{words:?}"
            );
        }
    }

    #[test]
    fn a_plain_word_is_a_host_of_the_flake() {
        let names = ["web-1", "web-2"].map(str::to_owned).into();
        assert!(among(&["web-1", "web-2"], &names).is_ok());
        let refused = among(&["web-1", "gibberish"], &names).expect_err("it is none");
        assert_eq!(
            refused.to_string(),
            "error: \"gibberish\" is neither a subcommand nor one of the flake's hosts, which are: \
             web-1, web-2: nothing was pushed\n\
             hint: To push to a host of that name say `deploy-flake push gibberish`."
        );
    }
}
