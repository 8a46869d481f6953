//! Text that others wrote, made safe to show on a terminal or in a log line.
//!
//! In: commit subjects, ref and unit names, the end of an output. Out: the same
//! for people. Must not: be applied to what programs read; JSON escapes itself.

/// What stands at the end of text that was cut.
const CUT: char = '…';

/// How long a name or a message may be on one line, in characters.
pub const LINE_LIMIT: usize = 256;

/// Returns the text as one line of at most `limit` characters, in which every
/// character that steers a terminal, or that changes the order of what is
/// read, is escaped.
pub fn one_line(text: &str, limit: usize) -> String {
    escaped(text, limit, |_| false)
}

/// Returns the text like [`one_line`] does, but keeps its line breaks.
pub fn lines(text: &str, limit: usize) -> String {
    escaped(text, limit, |character| character == '\n')
}

/// Escapes what is not kept. Stops reading at the limit, so that a text of
/// any length costs no more than a short one.
fn escaped(text: &str, limit: usize, keep: impl Fn(char) -> bool) -> String {
    let mut shown = String::new();
    let mut length = 0;
    for character in text.chars() {
        let piece = if is_unsafe(character) && !keep(character) {
            character.escape_default().to_string()
        } else {
            character.to_string()
        };
        length += piece.chars().count();
        if length > limit {
            shown.push(CUT);
            break;
        }
        shown.push_str(&piece);
    }
    shown
}

/// Whether the character steers a terminal (C0, DEL, C1), breaks the line, is
/// invisible, or changes the direction of writing.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_comes_through() {
        for (hostile, shown) in [
            ("plain, with ümlaut", "plain, with ümlaut"),
            ("\u{1b}]52;c;aGk=\u{7}", "\\u{1b}]52;c;aGk=\\u{7}"),
            ("\u{9b}31mred", "\\u{9b}31mred"),
            ("\u{9d}52;c;x\u{9c}", "\\u{9d}52;c;x\\u{9c}"),
            ("one\ntwo\r\n", "one\\ntwo\\r\\n"),
            ("tab\there", "tab\\there"),
            ("\u{7f}", "\\u{7f}"),
            ("ab\u{202e}dc", "ab\\u{202e}dc"),
            ("a\u{2028}b", "a\\u{2028}b"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
        ] {
            assert_eq!(one_line(hostile, LINE_LIMIT), shown);
        }
    }

    #[test]
    fn a_mebibyte_becomes_one_short_line() {
        for character in ["x", "\n", "é", "\u{1b}"] {
            let shown = one_line(&character.repeat(1 << 20), LINE_LIMIT);
            assert!(shown.chars().count() <= LINE_LIMIT + 1, "{character:?}");
            assert!(shown.ends_with(CUT), "{character:?}");
            assert!(!shown.chars().any(is_unsafe), "{character:?}");
        }
    }

    #[test]
    fn a_text_of_several_lines_keeps_only_its_line_breaks() {
        assert_eq!(lines("a\nb\r\u{1b}[2J\n", 100), "a\nb\\r\\u{1b}[2J\n");
    }
}
