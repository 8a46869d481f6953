//! Keeps docs/screens.md what people see: each screen in it is what the program
//! makes of the data that its own tests use.

use super::past::{page, table};
use super::push::tests as push;
use super::{diff, doctor, hosts, plan, status};

/// Every screen, by its heading in the document.
fn screens() -> Vec<(&'static str, String)> {
    vec![
        ("`trigger HOST...`, 80 columns", hosts::board_screen(80)),
        ("`trigger HOST...`, 200 columns", hosts::board_screen(200)),
        ("`trigger HOST... --confirm=ask`", hosts::question_screen()),
        (
            "`trigger HOST...` without a terminal",
            hosts::plain_screen(),
        ),
        ("`trigger HOST... --output json`", hosts::json_screen()),
        ("`push HOST...`, 80 columns", push_screen(80)),
        ("`push HOST...`, 200 columns", push_screen(200)),
        ("`push HOST...`, at its end", hosts::push_summary()),
        ("`status HOST...`, 80 columns", hosts::overview_screen(80)),
        ("`status HOST...`, 200 columns", hosts::overview_screen(200)),
        ("`status`", status::screen()),
        ("`plan`", plan::tests::screen()),
        ("`history`, 80 columns", table::tests::screen(80)),
        ("`history`, 200 columns", table::tests::screen(200)),
        ("`show ID`", page::tests::screen()),
        ("`diff`", diff::tests::screen()),
        ("`logs HOST...`", hosts::logs_screen()),
        ("`doctor`", doctor::screen()),
    ]
}

/// A push from its first line on.
fn push_screen(columns: usize) -> String {
    [push::told(), hosts::push_screen(columns)].join("\n")
}

fn chapter((heading, screen): &(&str, String)) -> String {
    format!("## {heading}\n\n```text\n{screen}\n```\n")
}

#[test]
fn the_screens_in_the_documentation_are_those_of_the_program() {
    let document = include_str!("../../docs/screens.md");
    let chapters: Vec<String> = screens().iter().map(chapter).collect();
    let (_, found) = document.split_once("\n## ").expect("there are chapters");
    let (found, expected) = (format!("## {found}"), chapters.join("\n"));
    assert!(
        found == expected,
        "docs/screens.md has to end with this:\n{expected}"
    );
}

#[test]
fn no_screen_is_wider_than_its_terminal() {
    for (heading, screen) in screens() {
        let columns = if heading.contains("200") { 200 } else { 80 };
        for line in screen.lines() {
            let is_cut = !["without a terminal", "json", "logs"]
                .iter()
                .any(|whole| heading.contains(whole));
            let is_wide = line.chars().count() > columns;
            assert!(!(is_cut && is_wide), "{heading}: {line}");
        }
    }
}
