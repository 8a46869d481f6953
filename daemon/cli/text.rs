//! Text for people at 80 columns: times, store paths, paragraphs.
//!
//! In: values and the present time. Out: words. Must not: read a clock.

use jiff::Timestamp;

use crate::model::system::Toplevel;

/// How wide text for people is, in characters.
pub(super) const WIDTH: usize = 80;

/// How many characters of a store path's hash are shown.
const HASH: usize = 12;

/// A time for people: absolute, and how long ago.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", absolute(at), relative(at, now))
}

/// A time in UTC, to the second.
pub(super) fn absolute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// How long ago, or in how long, in the largest unit that is not zero.
pub(super) fn relative(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(at.as_second());
    if seconds == 0 {
        return "now".to_owned();
    }
    let length = length(seconds.unsigned_abs());
    if seconds > 0 {
        format!("{length} ago")
    } else {
        format!("in {length}")
    }
}

/// How long ago, in at most four characters: `40s`, `12m`, `3h`, `120d`.
pub(super) fn age(at: Timestamp, now: Timestamp) -> String {
    // What was set by a clock that is ahead of this one has just begun.
    let seconds = now.as_second().saturating_sub(at.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn length(seconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("day", 24 * 60 * 60),
        ("hour", 60 * 60),
        ("minute", 60),
        ("second", 1),
    ];
    let (unit, size) = UNITS
        .into_iter()
        .find(|(_, size)| seconds >= *size)
        .unwrap_or(("second", 1));
    let number = seconds / size;
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

/// A toplevel by the beginning of its hash and its name, cut to the width.
pub(super) fn system(toplevel: &Toplevel, width: usize) -> String {
    let path = toplevel.path().as_str();
    let name = path.rsplit('/').next().unwrap_or(path);
    let (hash, rest) = name.split_at_checked(HASH).unwrap_or((name, ""));
    let rest = rest.split_once('-').map_or("", |(_, rest)| rest);
    let shown = format!("{hash}…-{rest}");
    if shown.chars().count() <= width {
        return shown;
    }
    let cut: String = shown.chars().take(width.saturating_sub(1)).collect();
    format!("{cut}…")
}

/// Breaks a paragraph into indented lines of at most [`WIDTH`] characters,
/// between words. A word that is longer than such a line stays whole, so that it
/// can be copied, and begins as far to the left as it has to.
pub(super) fn wrap(paragraph: &str, indent: &str) -> String {
    let room = WIDTH.saturating_sub(indent.chars().count());
    let mut lines: Vec<String> = Vec::new();
    // What the last line has left; none before the first, and after a long word.
    let mut left = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        match lines.last_mut().filter(|_| length < left) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
                left -= 1 + length;
            }
            None => {
                let start = indent.chars().take(WIDTH.saturating_sub(length));
                lines.push(start.chain(word.chars()).collect());
                left = room.saturating_sub(length);
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit() {
        let at = |text: &str| text.parse::<Timestamp>().expect("it is a time");
        let now = at("2026-11-22T12:00:00Z");
        for (then, told) in [
            ("2026-11-22T12:00:00.4Z", "now"),
            ("2026-11-22T11:59:59Z", "1 second ago"),
            ("2026-11-22T11:59:01Z", "59 seconds ago"),
            ("2026-11-22T11:00:01Z", "59 minutes ago"),
            ("2026-11-22T10:00:00Z", "2 hours ago"),
            ("2026-11-20T10:00:00Z", "2 days ago"),
            ("2026-11-22T12:00:40Z", "in 40 seconds"),
        ] {
            assert_eq!(relative(at(then), now), told);
        }
        assert_eq!(
            moment(at("2026-11-22T11:00:00Z"), now),
            "2026-11-22 11:00:00 UTC (1 hour ago)"
        );
    }

    #[test]
    fn an_age_takes_four_characters() {
        let at = |text: &str| text.parse::<Timestamp>().expect("it is a time");
        let now = at("2026-11-22T12:00:00Z");
        for (then, told) in [
            ("2026-11-22T12:00:03Z", "0s"),
            ("2026-11-22T11:59:01Z", "59s"),
            ("2026-11-22T11:59:00Z", "1m"),
            ("2026-11-22T11:00:00Z", "1h"),
            ("2026-11-21T12:00:01Z", "23h"),
            ("2026-11-21T12:00:00Z", "1d"),
            ("2024-02-29T12:00:00Z", "997d"),
        ] {
            assert_eq!(age(at(then), now), told);
        }
    }

    #[test]
    fn a_system_is_cut_to_the_width() {
        let path = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-web1-24.11";
        let path = path.to_owned().try_into().expect("it is a store path");
        let toplevel = Toplevel::new(path);
        assert_eq!(
            system(&toplevel, 80),
            "0c2jdyz9ln1y…-nixos-system-web1-24.11"
        );
        assert_eq!(system(&toplevel, 20), "0c2jdyz9ln1y…-nixos…");
    }

    #[test]
    fn paragraphs_are_broken_between_words() {
        let text = wrap(&"word ".repeat(40), "  ");
        assert!(
            text.lines()
                .all(|line| line.len() <= WIDTH && line.starts_with("  word"))
        );
        assert_eq!(text.split_whitespace().count(), 40);
        let long = "x".repeat(100);
        assert_eq!(wrap(&format!("a {long} b"), ""), format!("a\n{long}\nb"));
        let (path, indent) = ("x".repeat(75), " ".repeat(13));
        assert_eq!(
            wrap(&format!("a {path} b"), &indent),
            format!("{indent}a\n     {path}\n{indent}b")
        );
    }
}
