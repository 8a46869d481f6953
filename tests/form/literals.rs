//! The string literals of a source, and the modules that it names, without what is compiled for tests only.
//!
//! In: the text of a Rust file that compiles. Out: each literal as it is written, with the code before it. Must not: judge
//! which of them are for people.
//!
//! It knows as much of Rust as that takes: comments, literals, attributes and braces. Of an item that it cannot end it says so.

use std::iter::Peekable;
use std::str::Chars;

/// What a source is made of; comments and spaces are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, a key word or a number.
    Word(String),
    /// Of text or of bytes: what stands between the quotes, on one line.
    Text(String),
    Sign(char),
}

impl Token {
    fn is(&self, sign: char) -> bool {
        *self == Self::Sign(sign)
    }

    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Text(_) | Self::Sign(_) => None,
        }
    }
}

/// The tokens of a source that are compiled without its tests.
pub(super) fn shipped(source: &str) -> Vec<Token> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut rest = tokens.as_slice();
    while let [first, after @ ..] = rest {
        rest = match attribute(rest) {
            Some((inner, after)) if is_for_tests(inner) => behind_item(after),
            Some((inner, after)) if is_for_compilers(inner) => after,
            Some(_) | None => {
                found.push(first.clone());
                after
            }
        };
    }
    found
}

/// The modules that a source has in files of their own.
pub(super) fn modules(tokens: &[Token]) -> Vec<String> {
    let named = tokens.windows(3).filter_map(|three| match three {
        [Token::Word(key), Token::Word(name), Token::Sign(';')] if key == "mod" => Some(name),
        _ => None,
    });
    named.cloned().collect()
}

fn is_for_tests(attribute: &[Token]) -> bool {
    let words: Vec<_> = attribute.iter().filter_map(Token::word).collect();
    let may_be_shipped = words.iter().any(|word| ["any", "not"].contains(word));
    words.first() == Some(&"cfg") && words.contains(&"test") && !may_be_shipped
}

/// Lints and documentation: their reasons are for who reads the code, and no text of the program.
fn is_for_compilers(attribute: &[Token]) -> bool {
    let name = attribute.first().and_then(Token::word);
    name.is_some_and(|name| ["expect", "allow", "doc"].contains(&name))
}

/// What stands in the attribute that begins here, and what follows it.
fn attribute(tokens: &[Token]) -> Option<(&[Token], &[Token])> {
    let rest = tokens.strip_prefix(&[Token::Sign('#')])?;
    let rest = rest.strip_prefix(&[Token::Sign('!')]).unwrap_or(rest);
    let rest = rest.strip_prefix(&[Token::Sign('[')])?;
    let end = closing(rest)?;
    Some((&rest[..end], &rest[end + 1..]))
}

/// Where the bracket is closed in which these tokens stand.
fn closing(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') if depth == 0 => return Some(at),
            Token::Sign(')' | ']' | '}') => depth -= 1,
            Token::Sign(_) | Token::Word(_) | Token::Text(_) => {}
        }
    }
    None
}

/// What follows the item that begins here: it ends with its braces, or with a semicolon outside of any.
fn behind_item(tokens: &[Token]) -> &[Token] {
    const ITEMS: [&str; 9] = [
        "pub", "mod", "use", "const", "fn", "impl", "async", "struct", "enum",
    ];
    let mut rest = tokens;
    while let Some((_, after)) = attribute(rest) {
        rest = after;
    }
    let first = rest.first().and_then(Token::word).unwrap_or_default();
    assert!(ITEMS.contains(&first), "where `{first}` ends is not known");
    while let [first, after @ ..] = rest {
        rest = after;
        if let Token::Sign('(' | '[' | '{') = first {
            let end = closing(rest).expect("what is opened is closed");
            rest = &rest[end + 1..];
        }
        if first.is('{') || first.is(';') {
            break;
        }
    }
    rest
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '/' if rest.peek() == Some(&'/') => drop(rest.by_ref().find(|c| *c == '\n')),
            '/' if rest.peek() == Some(&'*') => skip_comment(&mut rest),
            '"' => tokens.push(Token::Text(escaped(&mut rest, '"'))),
            '\'' => skip_character(&mut rest),
            _ if is_of_word(first) => tokens.push(word(first, &mut rest)),
            _ if first.is_whitespace() => {}
            _ => tokens.push(Token::Sign(first)),
        }
    }
    tokens
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A word, or the literal whose prefix looks like one: `r"…"`, `b"…"`, `br#"…"#`.
fn word(first: char, rest: &mut Peekable<Chars>) -> Token {
    let mut word = String::from(first);
    while let Some(next) = rest.next_if(|c| is_of_word(*c)) {
        word.push(next);
    }
    match word.as_str() {
        "b" | "c" if rest.next_if_eq(&'"').is_some() => Token::Text(escaped(rest, '"')),
        "r" | "br" | "cr" => raw(rest).map_or(Token::Word(word), Token::Text),
        _ => Token::Word(word),
    }
}

/// What follows `r`, if it is a literal; else it is left as it is: a name, or `r#type`.
fn raw(rest: &mut Peekable<Chars>) -> Option<String> {
    let ahead: String = rest.clone().take_while(|c| *c == '#').collect();
    let mut after = rest.clone().skip(ahead.len());
    (after.next() == Some('"')).then_some(())?;
    let text = after.collect::<String>();
    let end = format!("\"{ahead}");
    let (text, _) = text.split_once(&end).expect("a raw literal ends");
    let length = 2 * end.len() + text.chars().count();
    rest.by_ref().take(length).for_each(drop);
    Some(text.replace('\n', "\\n"))
}

/// What stands before the closing quote, as it is written, but on one line: an escaped end of line joins two lines.
fn escaped(rest: &mut Peekable<Chars>, quote: char) -> String {
    let mut text = String::new();
    while let Some(next) = rest.next() {
        match next {
            _ if next == quote => break,
            '\\' if rest.next_if_eq(&'\n').is_some() => {
                while rest.next_if(|c| c.is_whitespace()).is_some() {}
            }
            '\\' => text.extend([Some(next), rest.next()].into_iter().flatten()),
            '\n' => text.push_str("\\n"),
            _ => text.push(next),
        }
    }
    text
}

/// Behind `'` stands a character and a second `'`, or the name of a lifetime.
fn skip_character(rest: &mut Peekable<Chars>) {
    let mut ahead = rest.clone();
    let is_escaped = ahead.next() == Some('\\');
    if is_escaped || ahead.next() == Some('\'') {
        escaped(rest, '\'');
    }
}

/// Comments may hold comments.
fn skip_comment(rest: &mut Peekable<Chars>) {
    let (mut depth, mut before) = (0_usize, '/');
    for next in rest.by_ref() {
        match (before, next) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            (_, _) => {
                before = next;
                continue;
            }
        }
        if depth == 0 {
            break;
        }
        // The second sign of a pair is not the first one of another.
        before = ' ';
    }
}

/// The texts among the tokens.
fn found(source: &str) -> Vec<String> {
    let texts = shipped(source).into_iter().filter_map(|token| match token {
        Token::Text(text) => Some(text),
        Token::Word(_) | Token::Sign(_) => None,
    });
    texts.collect()
}

#[test]
fn literals_of_every_kind_are_found_as_they_are_written() {
    for (source, expected) in [
        (r#"say("one", "two")"#, vec!["one", "two"]),
        (r#"("", "a \"b\" \\", "c")"#, vec!["", r#"a \"b\" \\"#, "c"]),
        (r#"(b"one", c"two")"#, vec!["one", "two"]),
        (
            r###"(r"a\", r#"b "c""#, br##"d "# e"##, "f")"###,
            vec![r"a\", r#"b "c""#, r##"d "# e"##, "f"],
        ),
        ("(\"one \\\n      two\")", vec!["one two"]),
        (
            "(\"one\n  two\", r\"three\nfour\")",
            vec!["one\\n  two", "three\\nfour"],
        ),
        ("r#type(\"one\")", vec!["one"]),
        ("#[error(\"one {0}\")] struct X;", vec!["one {0}"]),
    ] {
        assert_eq!(found(source), expected, "{source}");
    }
}

#[test]
fn what_only_looks_like_a_literal_is_left_out() {
    for source in [
        "// \"comment\"\n/// it's \"doc\"\n//! \"doc\"\n(\"one\")",
        "/* \"a\" /* \"b\" */ \"c\" */ (\"one\")",
        "/**/ (\"one\") /*/ \"a\" */",
        "('\"', \"one\", '\\'', '\\\\', b'\"', '\\u{22}')",
        "fn f<'a>(x: &'a str) -> X<'_> { (\"one\") }",
        "#[expect(lint, reason = \"a reason\")] f(\"one\");",
        "#![allow(lint, reason = \"a reason\")] f(\"one\");",
    ] {
        assert_eq!(found(source), ["one"], "{source}");
    }
}

#[test]
fn what_is_compiled_for_tests_only_is_left_out_and_what_follows_is_not() {
    for source in [
        "#[cfg(test)] mod tests { fn f() { g(\"{\"); } } f(\"one\");",
        "#[cfg(test)] pub(super) fn f(x: [u8; 2]) -> X { g(\"a\") } f(\"one\");",
        "#[cfg(test)] const X: [&str; 1] = [\"a\"]; f(\"one\");",
        "#[cfg(test)] #[expect(x)] use a::{b, c}; f(\"one\");",
        "#[cfg(all(test, unix))] mod a { f(\"a\") } f(\"one\");",
        "#[cfg(not(test))] f(\"one\");",
        "#[cfg(target_os = \"linux\")] f(\"one\");",
    ] {
        let found = found(source);
        assert_eq!(found.last().map(String::as_str), Some("one"), "{source}");
        assert!(!found.contains(&"a".to_owned()), "{source}");
    }
}

#[test]
fn modules_in_files_of_their_own_are_named_unless_they_are_tests() {
    let source = "mod one; pub(crate) mod two; mod three { } #[cfg(test)] mod tests; // mod four;";
    assert_eq!(modules(&shipped(source)), ["one", "two"]);
}
