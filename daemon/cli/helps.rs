//! Keeps docs/commands.md what `deploy-flake help` says.
//!
//! In: the arguments as clap knows them, and the document. Out: the document as it has to be, if it is not. Must not: change
//! the document itself, for then no test of it could fail.

use std::fs;
use std::path::PathBuf;

use clap::{Command, CommandFactory as _};

use super::arguments::Arguments;

/// Read as text, in a terminal of any width.
const COLUMNS: usize = 80;

/// What `deploy-flake help NAME...` prints, without the spaces that clap leaves at the ends of empty lines.
fn help(words: &[&str]) -> String {
    let line = ["deploy-flake", "help"].iter().chain(words);
    let told = Arguments::command()
        .term_width(COLUMNS)
        .try_get_matches_from(line)
        .expect_err("help is told as an error");
    let told = told.render().to_string();
    let lines = told.trim_end().lines().map(str::trim_end);
    lines.collect::<Vec<_>>().join("\n")
}

/// Every subcommand that the help lists, in its order; `help` is clap's own.
fn listed() -> Vec<String> {
    let program = Arguments::command();
    let visible = program.get_subcommands().filter(|it| !it.is_hide_set());
    visible.map(Command::get_name).map(str::to_owned).collect()
}

fn chapter(words: &[&str]) -> String {
    let heading = ["deploy-flake"].iter().chain(words);
    let heading = heading.copied().collect::<Vec<_>>().join(" ");
    format!("## `{heading}`\n\n```text\n{}\n```\n", help(words))
}

fn chapters() -> Vec<String> {
    let own = chapter(&[]);
    let others = listed().iter().map(|name| chapter(&[name])).collect();
    [vec![own], others].concat()
}

/// Where tests leave what they have to say: beside what was built, wherever that is.
fn logs() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its program");
    let target = test.ancestors().nth(3).expect("it is in target/debug/deps");
    target.join("test-logs")
}

#[test]
fn the_help_in_the_documentation_is_that_of_the_program() {
    let document = include_str!("../../docs/commands.md");
    let (introduction, _) = document.split_once("\n## ").unwrap_or((document, ""));
    let chapters = chapters();
    let expected = format!("{}\n\n{}", introduction.trim_end(), chapters.join("\n"));
    if document == expected {
        return;
    }
    let new = logs().join("commands.md");
    fs::create_dir_all(logs()).expect("the directory can be made");
    fs::write(&new, expected).expect("it can be written");
    let differing = chapters.into_iter().filter(|it| !document.contains(it));
    panic!(
        "docs/commands.md is not what the program says; it has to have this, in the order of `deploy-flake help`, and no other \
         chapter:\n\n{}\nTo take it over: cp {} docs/commands.md",
        differing.collect::<Vec<_>>().join("\n"),
        new.display()
    );
}

#[test]
fn no_help_is_wider_than_its_terminal() {
    for chapter in chapters() {
        for line in chapter.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
    }
}

#[test]
fn what_only_the_daemon_starts_is_not_listed() {
    let listed = listed();
    assert!(listed.contains(&"trigger".to_owned()), "{listed:?}");
    for hidden in ["guardian", "fetcher", "probe", "relay", "generate"] {
        assert!(!listed.contains(&hidden.to_owned()), "{hidden}");
    }
}
