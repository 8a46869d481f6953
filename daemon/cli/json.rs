//! JSON that people may look at, too.
//!
//! In: values. Out: JSON in which nothing steers a terminal. Must not: change what
//! it says.
//!
//! JSON itself escapes what steers a terminal in seven bits; the rest is escaped
//! here.

use serde::Serialize;
use serde_json::Value;

use crate::model::text::is_unsafe;

/// The value on several lines.
///
/// # Errors
/// It is none that JSON has.
pub(super) fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(escaped)
}

/// The value on one line.
///
/// # Errors
/// It is none that JSON has.
pub(super) fn line(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(escaped)
}

/// The same of what is JSON already.
pub(super) fn safe(value: &Value) -> String {
    escaped(value.to_string())
}

fn escaped(text: String) -> String {
    // A line break is one between values: in a text it is escaped already.
    let is_raw = |character: char| character != '\n' && is_unsafe(character);
    if !text.chars().any(is_raw) {
        return text;
    }
    let mut shown = String::new();
    for character in text.chars() {
        if is_raw(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let value = json!({"a": "\u{1b}[2J\u{9b}2J\n\u{202e}\u{e0041}\u{7f}ü"});
        let shown = [pretty(&value), line(&value), Ok(safe(&value))];
        for shown in shown.map(|it| it.expect("it is JSON")) {
            assert!(!shown.chars().any(|c| c != '\n' && is_unsafe(c)), "{shown}");
            let read: Value = serde_json::from_str(&shown).expect("it is JSON");
            assert_eq!(read, value);
        }
    }
}
