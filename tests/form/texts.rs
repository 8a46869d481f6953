//! Keeps tests/form/texts.txt what the program says: every text of its sources, for people to read where it changes.
//!
//! In: the sources below daemon/, and that file. Out: the file as it has to be, if it is not, and its lines that differ. Must
//! not: change the file itself, for then no test of it could fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::file;
use super::literals::{Token, modules, shipped};

const COMMITTED: &str = "tests/form/texts.txt";

const INTRODUCTION: &str = "\
What the program says: each text of its sources with a space in it, as it is written there, by file. A test compares it
(tests/form/texts.rs), writes it anew if it differs, and says how to take that over. Help is in docs/commands.md.
";

/// Each file that is compiled without tests, with its texts; found by way of the modules that name it.
fn sources() -> BTreeMap<PathBuf, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut waiting = ["daemon/lib.rs", "daemon/main.rs"]
        .map(PathBuf::from)
        .to_vec();
    while let Some(path) = waiting.pop() {
        let tokens = shipped(&file(&path.display().to_string()));
        let children = modules(&tokens);
        waiting.extend(children.iter().map(|name| file_of(&path, name)));
        found.insert(path, texts(&tokens));
    }
    found
}

/// Where the module is that another one names.
fn file_of(parent: &Path, name: &str) -> PathBuf {
    let directory = match parent.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main" | "mod") => parent.with_file_name(name),
        Some(_) | None => parent.with_extension("").join(name),
    };
    let beside = directory.with_extension("rs");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_beside = root.join(&beside).is_file();
    if is_beside {
        beside
    } else {
        directory.join("mod.rs")
    }
}

/// What people may read, in the order of the source: text with a space in it, in any place but a panic.
fn texts(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if let Token::Text(text) = token
            && is_for_people(text)
            && !is_of_panic(&tokens[..at])
        {
            found.push(text.clone());
        }
    }
    found
}

/// Words, and more than one: not a key, a unit's name, or the layout of a table.
fn is_for_people(text: &str) -> bool {
    let mut own = String::new();
    let mut depth = 0_usize;
    for sign in text.replace("\\n", " ").chars() {
        match sign {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => own.push(sign),
            _ => {}
        }
    }
    text.contains(' ') && own.contains(char::is_alphabetic)
}

/// Why it cannot happen is said to who reads the code.
fn is_of_panic(before: &[Token]) -> bool {
    match before {
        [.., Token::Sign('.'), Token::Word(word), Token::Sign('(')] => word == "expect",
        [.., Token::Word(word), Token::Sign('!'), Token::Sign('(')] => word == "unreachable",
        _ => false,
    }
}

/// The file as it has to be.
fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    for (path, texts) in sources() {
        if !texts.is_empty() {
            text += &format!("\n## {}\n", path.display());
            text.extend(texts.iter().map(|it| format!("\"{it}\"\n")));
        }
    }
    text
}

/// The lines that only one of the two has, each with its source; a line that stands twice may be gone once.
fn differences(before: &str, after: &str) -> Vec<String> {
    let mut counts: BTreeMap<(&str, &str), i32> = BTreeMap::new();
    for (document, step) in [(before, -1), (after, 1)] {
        let mut heading = "";
        for line in document.lines() {
            match line.strip_prefix("## ") {
                Some(path) => heading = path,
                None => *counts.entry((heading, line)).or_default() += step,
            }
        }
    }
    let differing = counts.into_iter().filter(|(_, count)| *count != 0);
    differing
        .map(|((heading, line), count)| {
            let sign = if count > 0 { "new " } else { "gone" };
            format!("{sign} {heading}: {line}")
        })
        .collect()
}

#[test]
fn every_text_of_the_program_is_the_one_that_was_read_over() {
    let (committed, expected) = (file(COMMITTED), document());
    if committed == expected {
        return;
    }
    let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-logs");
    let new = logs.join("texts.txt");
    fs::create_dir_all(&logs).expect("the directory can be made");
    fs::write(&new, &expected).expect("it can be written");
    let differing = differences(&committed, &expected);
    let told = match differing.is_empty() {
        true => "only their order differs".to_owned(),
        false => differing.join("\n"),
    };
    panic!(
        "{COMMITTED} is not what the program says:\n{told}\nRead them over; to take them over: cp {} {COMMITTED}",
        new.display()
    );
}

#[test]
fn a_changed_text_is_told_as_one_that_is_gone_and_one_that_is_new() {
    let before = "## a.rs\n\"one text\"\n\"one text\"\n\n## b.rs\n\"the same\"\n";
    let after = "## a.rs\n\"one text\"\n\"two texts\"\n\n## b.rs\n\"the same\"\n";
    let told = ["gone a.rs: \"one text\"", "new  a.rs: \"two texts\""];
    assert_eq!(differences(before, after), told);
    assert!(differences(after, after).is_empty());
}

#[test]
fn text_for_people_has_words_outside_of_its_places() {
    for text in ["not found", " ago", "{} of {}", "\\n  caused by: {}"] {
        assert!(is_for_people(text), "{text}");
    }
    for text in [
        "",
        "word",
        "sshd.service",
        "{a} {b}",
        "{:>width$}  {}\\n",
        "  ",
    ] {
        assert!(!is_for_people(text), "{text}");
    }
}

#[test]
fn what_a_panic_says_is_no_text_for_people() {
    let source = "f().expect(\"it is there\"); unreachable!(\"not here\"); expect(\"a word\");";
    assert_eq!(texts(&shipped(source)), ["a word"]);
}
