//! The hosts that a local flake has configurations for.
//!
//! In: where the flake is, and which of its `nixosConfigurations` are meant.
//! Out: their names as destinations. Must not: evaluate a configuration; only
//! the names are asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::destination::Destination;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::host::command::{self, Command};
use crate::model::text::{LINE_LIMIT, one_line};

/// How long it may take to fetch the flake's inputs and to find the names.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// How many names are told where none fits.
const TOLD: usize = 10;

/// Which of the configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// All of them.
    All,
    /// Those that one of the patterns fits.
    Some(&'a [Pattern]),
}

/// A pattern for names: `*` is any text, `?` any character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Pattern(Vec<char>);

/// Understands a pattern.
pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err("expected a pattern such as 'web-*', found nothing".to_owned());
    }
    Ok(Pattern(text.chars().collect()))
}

impl Pattern {
    /// Whether it fits all of the name. Its time is bounded by the product of
    /// the lengths: each `*` is only ever tried again from the last one on.
    fn fits(&self, name: &str) -> bool {
        let (pattern, name) = (&self.0, name.chars().collect::<Vec<_>>());
        let (mut at, mut in_name) = (0, 0);
        let mut last_star: Option<(usize, usize)> = None;
        while in_name < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    last_star = Some((at, in_name));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[in_name] => {
                    at += 1;
                    in_name += 1;
                }
                Some(_) | None => {
                    let Some((star, from)) = last_star else {
                        return false;
                    };
                    last_star = Some((star, from + 1));
                    at = star + 1;
                    in_name = from + 1;
                }
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }
}

/// Understands where a flake is.
pub(in crate::cli) fn reference(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') {
        return Err("expected a directory or a flake reference".to_owned());
    }
    if text.contains('#') {
        return Err("expected a flake without an attribute".to_owned());
    }
    Ok(text.to_owned())
}

/// Asks Nix for the names, and makes destinations of those that are wanted.
pub(super) async fn hosts(flake: &str, wanted: &Wanted<'_>) -> Result<Vec<Destination>, Failure> {
    chosen(&names(flake).await?, wanted)
}

/// Asks Nix for the names of a flake's configurations.
pub(in crate::cli) async fn names(flake: &str) -> Result<BTreeSet<String>, Failure> {
    let output = command::run(&query(flake), DEADLINE)
        .await
        .map_err(|error| Failure::from(anyhow::Error::new(error)).hint(HINT_NIX))?;
    if !output.status.success() {
        let error = anyhow!("{}", output.stderr_tail).context(format!(
            "nix could not tell the names of {flake}#nixosConfigurations"
        ));
        return Err(Failure::from(error).hint(HINT_FLAKE));
    }
    let names = serde_json::from_slice(&output.stdout).context("understand what nix eval says");
    Ok(names?)
}

const HINT_NIX: &str = "Install Nix, or name the hosts.";
const HINT_FLAKE: &str = "Say where the flake is with --flake, or name the hosts.";

fn query(flake: &str) -> Command {
    let attribute = format!("{flake}#nixosConfigurations");
    let words = [
        "--extra-experimental-features",
        "nix-command flakes",
        "eval",
        "--json",
        // Whoever asks changes nothing.
        "--no-write-lock-file",
        "--apply",
        "builtins.attrNames",
        &attribute,
    ];
    Command::new("nix", words)
}

/// A few of the names, safe to show.
pub(in crate::cli) fn told(names: &BTreeSet<String>) -> String {
    let some: Vec<&str> = names.iter().take(TOLD).map(String::as_str).collect();
    one_line(&some.join(", "), LINE_LIMIT)
}

fn chosen(names: &BTreeSet<String>, wanted: &Wanted<'_>) -> Result<Vec<Destination>, Failure> {
    let is_wanted = |name: &str| match wanted {
        Wanted::All => true,
        Wanted::Some(patterns) => patterns.iter().any(|pattern| pattern.fits(name)),
    };
    let chosen: Vec<&String> = names.iter().filter(|name| is_wanted(name)).collect();
    if chosen.is_empty() {
        let all = told(names);
        let error = anyhow!("none of the flake's configurations is meant; it has: {all}");
        return Err(Failure::new(Exit::Usage, error));
    }
    let destination = |name: &&String| {
        Destination::of_configuration(name).map_err(|why| {
            let name = one_line(name, LINE_LIMIT);
            let error = anyhow!("the configuration {name:?} is not named like a host: {why}");
            Failure::new(Exit::Usage, error)
                .hint("Choose others with --on, and give this one as nixos://HOST/CONFIGURATION.")
        })
    };
    chosen.iter().map(destination).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_names() {
        for (text, name, fits) in [
            ("web1", "web1", true),
            ("web1", "web12", false),
            ("web-*", "web-", true),
            ("web-*", "web-1", true),
            ("web-*", "xweb-1", false),
            ("*", "anything", true),
            ("*-db-*", "eu-db-1", true),
            ("*-db-*", "eu-web-1", false),
            ("*1", "web11", true),
            ("web?", "web1", true),
            ("web?", "web", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
        ] {
            assert_eq!(
                pattern(text).map(|it| it.fits(name)),
                Ok(fits),
                "{text} {name}"
            );
        }
        let slow = pattern(&format!("{}b", "a*".repeat(50))).expect("it is one");
        assert!(!slow.fits(&"a".repeat(5000)));
    }

    #[test]
    fn names_become_hosts_that_have_to_run_that_configuration() {
        let names = ["db-1", "web-1", "web-2"].map(str::to_owned).into();
        let labels = |wanted: &Wanted<'_>| -> Vec<String> {
            let hosts = chosen(&names, wanted).expect("there are some");
            assert!(
                hosts
                    .iter()
                    .all(|it| it.configuration() == Some(it.label()))
            );
            hosts.iter().map(|it| it.label().to_owned()).collect()
        };
        let on = [pattern("web-*").expect("it is one")];
        assert_eq!(labels(&Wanted::Some(&on)), ["web-1", "web-2"]);
        assert_eq!(labels(&Wanted::All), ["db-1", "web-1", "web-2"]);
        let none = [pattern("mail-*").expect("it is one")];
        let failure = chosen(&names, &Wanted::Some(&none)).expect_err("there is none");
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.to_string(),
            "error: none of the flake's configurations is meant; it has: db-1, web-1, web-2"
        );
    }

    #[test]
    fn a_configuration_whose_name_is_no_host_is_refused() {
        for name in ["-oProxyCommand=x", "a b", "a;b", "a\u{1b}[2J"] {
            let names = [name.to_owned()].into();
            let failure = chosen(&names, &Wanted::All).expect_err(name).to_string();
            assert!(failure.contains("not named like a host"), "{failure}");
            assert!(!failure.contains('\u{1b}'), "{failure}");
        }
        for flake in ["", "-x", "--impure", ".#x"] {
            assert!(reference(flake).is_err(), "{flake:?}");
        }
    }
}
