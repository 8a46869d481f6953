//! The commands that a host's words name, as they are typed from here: with the
//! host's name.
//!
//! In: text for people, made for the host itself. Out: the same. Must not: change
//! any other word; nor understand what the text is about.

use super::destination::Destination;
use crate::cli::text::WIDTH;

/// What such a command begins with, between backticks.
const BEGINS: &str = "`deploy-flake";

/// How long one may be, in bytes.
const LONGEST: usize = 160;

/// The subcommands that take hosts at their end.
const VERBS: [&str; 15] = [
    "trigger", "retry", "allow", "pause", "resume", "confirm", "reject", "rollback", "status",
    "history", "show", "diff", "logs", "doctor", "plan",
];

/// Where the facts of a page stand.
const FACTS: usize = 13;

/// Text on one line, or that is still to be broken into lines.
pub(super) fn sentence(text: &str, host: &Destination) -> String {
    let name = format!(" {}", host.typed());
    let mut named = String::new();
    let mut rest = text;
    while let Some((before, command, after)) = next(rest) {
        named.push_str(before);
        named.push_str(command);
        if takes_a_host(command) {
            named.push_str(&name);
        }
        rest = after;
    }
    named.push_str(rest);
    named
}

/// A page: a line that gets too long by it hands words on to the next one.
pub(super) fn page(text: &str, host: &Destination) -> String {
    let named = sentence(text, host);
    let mut lines: Vec<String> = Vec::new();
    // What the line before had no room for, and how far to the right it goes on.
    let mut over: Option<(String, usize)> = None;
    for (line, was) in named.lines().zip(text.lines()) {
        let mut line = line.to_owned();
        let is_changed = line != was || over.is_some();
        if let Some((words, indent)) = over.take() {
            if indent_of(&line) == indent && !line.trim().is_empty() && !is_fact(&line) {
                line = format!("{:indent$}{words} {}", "", line.trim_start());
            } else {
                lines.push(format!("{:indent$}{words}", ""));
            }
        }
        if is_changed {
            over = take_what_is_over(&mut line);
        }
        lines.push(line);
    }
    lines.extend(over.map(|(words, indent)| format!("{:indent$}{words}", "")));
    lines.join("\n")
}

/// The text up to the next command, the command without its last backtick, and
/// what follows.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find(BEGINS)?;
    let begun = start + BEGINS.len();
    let end = text[begun..]
        .find('`')
        .map_or(begun, |length| begun + length);
    Some((&text[..start], &text[start..end], &text[end..]))
}

/// Whether the command is one of those, and is whole.
fn takes_a_host(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let is_ours = command.len() <= LONGEST && words.next() == Some(BEGINS);
    is_ours && words.next().is_some_and(|verb| VERBS.contains(&verb))
}

/// Takes the words from the line that it has no room for, and says where the next
/// line begins.
fn take_what_is_over(line: &mut String) -> Option<(String, usize)> {
    let end = line.char_indices().nth(WIDTH).map(|(place, _)| place)?;
    let indent = match is_fact(line) {
        true => FACTS,
        false => indent_of(line),
    };
    let space = line[..=end].rfind(' ').filter(|space| *space > indent)?;
    let words = line.split_off(space);
    Some((words.trim_start().to_owned(), indent))
}

/// Whether it begins with the name of a fact: between words there is one space.
fn is_fact(line: &str) -> bool {
    indent_of(line) < FACTS && line.get(FACTS - 2..FACTS) == Some("  ")
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::destination::parse;
    use super::*;
    use crate::cli::arguments::Arguments;

    fn host(text: &str) -> Destination {
        parse(text).expect("it is a host")
    }

    #[test]
    fn a_command_for_the_host_itself_gets_its_name() {
        for (text, named) in [
            (
                "mend it; or `deploy-flake retry`",
                "mend it; or `deploy-flake retry web1`",
            ),
            (
                "`deploy-flake show 00c0` tells all, `deploy-flake diff 00c0` more",
                "`deploy-flake show 00c0 web1` tells all, `deploy-flake diff 00c0 web1` more",
            ),
            (
                "`deploy-flake\nhistory --limit 100`",
                "`deploy-flake\nhistory --limit 100 web1`",
            ),
        ] {
            assert_eq!(sentence(text, &host("web1")), named);
        }
        for text in [
            "`deploy-flake check-config` tells 1 warning",
            "`systemctl start deploy-flake`, `ssh web1 deploy-flake status`",
            "`deploy-flake`, deploy-flake retry",
            "`deploy-flake retry",
            "`deploy-flake",
            "`deploy-flakes retry`",
        ] {
            assert_eq!(sentence(text, &host("web1")), text);
        }
        let far = host("nixos://root@web1:2222/web");
        assert_eq!(
            sentence("`deploy-flake retry`", &far),
            "`deploy-flake retry nixos://root@web1:2222/web`"
        );
        assert_eq!(parse("nixos://root@web1:2222/web"), Ok(far));
    }

    #[test]
    fn a_page_stays_as_wide_as_it_was() {
        let text = "  held       Nothing is activated again by itself before `deploy-flake retry`\n             \
                    is said, or another commit comes.\n\nto do: Push a commit that mends it; or, if it \
                    was a mistake, `deploy-flake retry`.\n`deploy-flake logs 00c0ffee` shows what was \
                    said.";
        assert_eq!(
            page(text, &host("root@web1.example.org")),
            "  held       Nothing is activated again by itself before `deploy-flake retry\n             \
             root@web1.example.org` is said, or another commit comes.\n\nto do: Push a commit that \
             mends it; or, if it was a mistake, `deploy-flake retry\nroot@web1.example.org`. \
             `deploy-flake logs 00c0ffee root@web1.example.org` shows\nwhat was said."
        );
        let text = "  That stays so until the branch is another commit, or `deploy-flake retry`.\n  \
                    The host was not touched.\n  fact       it is so, as long as nobody says \
                    anything else: `deploy-flake retry`\n  other      fact";
        assert_eq!(
            page(text, &host("web1")),
            "  That stays so until the branch is another commit, or `deploy-flake retry\n  web1`. \
             The host was not touched.\n  fact       it is so, as long as nobody says anything \
             else: `deploy-flake retry\n             web1`\n  other      fact"
        );
        let untouched = format!("{}\n\n  {}\n", "x ".repeat(80), "x".repeat(100));
        assert_eq!(page(&untouched, &host("web1")), untouched.trim_end());
    }

    #[test]
    fn every_subcommand_that_takes_hosts_is_known() {
        let command = Arguments::command();
        let takes_hosts = command.get_subcommands().filter(|it| {
            let words = ["hosts", "words"];
            it.get_positionals()
                .any(|it| words.contains(&it.get_id().as_str()))
        });
        let mut takes_hosts: Vec<&str> = takes_hosts.map(clap::Command::get_name).collect();
        // What is pushed is nothing that a host says.
        takes_hosts.retain(|it| *it != "push");
        takes_hosts.sort_unstable();
        let mut known = VERBS.to_vec();
        known.sort_unstable();
        assert_eq!(takes_hosts, known);
    }
}
