//! Which known word was probably meant.
//!
//! In: a word and the known ones. Out: the nearest, if it is near. Must not:
//! correct anything by itself.

/// Returns the known word that is at most a third of its letters (at least two
/// edits, for short words) away.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(edits, candidate)| *edits <= (candidate.len() / 3).max(2))
        .filter(|(edits, candidate)| *edits < candidate.chars().count())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The edit distance (Levenshtein), by the usual two rows. Words are keys of a
/// file, so a very long one is simply far from everything.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, character) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_and_nonsense_finds_none() {
        let known = ["url", "branch", "poll_interval", "name"];
        for (word, meant) in [
            ("branhc", Some("branch")),
            ("poll-interval", Some("poll_interval")),
            ("URL", None),
            ("uri", Some("url")),
            ("nme", Some("name")),
            ("something_else", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
    }
}
