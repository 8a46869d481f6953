//! The commands that a host's words name, as they are typed from here: with the
//! host's name.
//!
//! In: text for people, made for the host itself. Out: the same. Must not: change
//! any other word; nor understand what the text is about.

use super::destination::Destination;
use crate::cli::columns::width;
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

/// What stands before lines that others wrote.
const QUOTED: &str = "| ";

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

/// A page: of a line that gets too long by it, the end stands on a line of its own.
/// What was said by others, behind a mark, stays as it is.
pub(super) fn page(text: &str, host: &Destination) -> String {
    let named = sentence(text, host);
    let lines = named.lines().zip(text.lines()).map(|(line, was)| {
        if line == was || was.trim_start().starts_with(QUOTED) {
            return was.to_owned();
        }
        broken(line, width(was).max(WIDTH))
    });
    lines.collect::<Vec<_>>().join("\n")
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

/// The line, broken before the word that has no room.
fn broken(line: &str, room: usize) -> String {
    let indent = match is_fact(line) {
        true => FACTS,
        false => indent_of(line),
    };
    let mut taken = 0;
    let over = line.char_indices().find(|(_, character)| {
        taken += width(character.encode_utf8(&mut [0; 4]));
        taken > room
    });
    let Some((over, _)) = over else {
        return line.to_owned();
    };
    let fits = &line[..over];
    let end = match line[over..].starts_with(' ') {
        true => Some(over),
        false => fits.rfind(' '),
    };
    match end.filter(|end| *end > indent) {
        Some(end) => {
            let rest = line[end..].trim_start();
            format!("{}\n{:indent$}{rest}", &line[..end], "")
        }
        None => line.to_owned(),
    }
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
        for (text, named) in [
            (
                "  held       Nothing is activated again by itself before `deploy-flake retry`\n             \
                 is said.\n\nto do: `deploy-flake logs 00c0`",
                "  held       Nothing is activated again by itself before `deploy-flake retry\n             \
                 root@web1.example.org`\n             is said.\n\nto do: `deploy-flake logs 00c0 \
                 root@web1.example.org`",
            ),
            (
                "  That stays so until the branch is another commit, or `deploy-flake retry`.\n  Since.",
                "  That stays so until the branch is another commit, or `deploy-flake retry\n  \
                 root@web1.example.org`.\n  Since.",
            ),
            (
                "  | `deploy-flake retry`\nend",
                "  | `deploy-flake retry`\nend",
            ),
        ] {
            assert_eq!(page(text, &host("root@web1.example.org")), named);
        }
        let untouched = format!("{}\n\n  {}", "x ".repeat(80), "x".repeat(100));
        assert_eq!(page(&untouched, &host("web1")), untouched);
        // A table that was asked for at another width keeps it.
        let wide = format!(
            "{} `deploy-flake retry` {}",
            "x ".repeat(70),
            "x ".repeat(9)
        );
        let broken = page(&wide, &host("web1"));
        let widths: Vec<usize> = broken.lines().map(width).collect();
        assert!(widths[0] > 150 && widths[0] <= width(&wide), "{widths:?}");
    }

    #[test]
    fn whatever_a_page_is_made_of_it_is_only_broken() {
        for (number, filler) in ["ö", "漢", "x", " ", "`", "\u{301}"]
            .into_iter()
            .enumerate()
        {
            for length in 50..90 {
                let text = format!("`deploy-flake retry`{}── web2 ──", filler.repeat(length));
                let shown = page(&text, &host("web1"));
                let without = |text: &str| text.replace([' ', '\n'], "");
                let expected = sentence(&text, &host("web1"));
                assert_eq!(without(&shown), without(&expected), "{number}, {length}");
            }
        }
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
