//! Text in so many columns of a terminal.
//!
//! In: text that is safe to show, on one line. Out: as much of it as there is room
//! for. Must not: be used for what is read by programs, or is to be copied.

/// Where Nix keeps what it built.
const STORE: &str = "/nix/store/";

/// How long the hash in a store path is, in characters; a hyphen follows.
const HASH: usize = 32;

/// What stands for what was left out.
const CUT: char = '…';

/// Characters from U+1100 on that take one column, and are drawn here.
const NARROW: &str = "…✓✗─→↑↓⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

/// The text in exactly so many columns.
pub(super) fn fill(text: &str, columns: usize) -> String {
    let cut = cut(text, columns);
    let missing = columns.saturating_sub(width(&cut));
    format!("{cut}{}", " ".repeat(missing))
}

/// The text in at most so many columns. Where they are not enough, hashes of store
/// paths go first, then the end.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let short = without_hashes(text);
    if width(&short) <= columns {
        return short;
    }
    let mut shown = String::new();
    let mut taken = 0;
    for character in short.chars() {
        taken += width_of(character);
        if taken >= columns {
            break;
        }
        shown.push(character);
    }
    if columns > 0 {
        shown.push(CUT);
    }
    shown
}

/// How many columns the text takes at most.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// How many columns a character takes at most. Terminals differ; where one might
/// take two, two are kept for it, but for what is drawn here.
fn width_of(character: char) -> usize {
    match character {
        '\u{1100}'.. if !NARROW.contains(character) => 2,
        _ => 1,
    }
}

/// The text with the names of store paths alone: `…-linux-6.6.61.drv`.
fn without_hashes(text: &str) -> String {
    let mut pieces = text.split(STORE);
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (hash, rest) = piece.split_at_checked(HASH).unwrap_or((piece, ""));
        if rest.starts_with('-') && hash.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            shown.push(CUT);
            shown.push_str(rest);
        } else {
            shown.push_str(STORE);
            shown.push_str(piece);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-web.drv";

    #[test]
    fn text_is_cut_to_the_columns_that_it_takes() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "long…");
        assert_eq!(cut("äöü ß", 4), "äöü…");
        assert_eq!(cut("漢字", 4), "漢字");
        assert_eq!(cut("漢字漢", 4), "漢…");
        assert_eq!(cut("→ …", 3), "→ …");
        assert_eq!((cut("xx", 1), cut("x", 0)), ("…".to_owned(), String::new()));
        assert_eq!(fill("x", 3), "x  ");
        assert_eq!(fill("xxxx", 3), "xx…");
    }

    #[test]
    fn hashes_of_store_paths_go_before_anything_else_does() {
        let text = format!("'{PATH}' failed: /nix/store/x and {PATH}");
        assert_eq!(cut(&text, 200), text, "there is room");
        let short = "'…-web.drv' failed: /nix/store/x and …-web.drv";
        assert_eq!(cut(&text, 80), short);
        assert_eq!(cut(&text, 20), "'…-web.drv' failed:…");
        assert_eq!(without_hashes("/nix/store/"), "/nix/store/");
    }
}
