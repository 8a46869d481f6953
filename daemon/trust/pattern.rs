//! Pattern lists as in ssh_config(5): `*` and `?`, commas, `!` for exceptions.
//!
//! In: a list and a text. Out: whether the list admits the text. Must not: be
//! recursive or slow, whatever the pattern.

/// Patterns between commas. One that begins with `!` excludes what it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PatternList(Vec<String>);

impl PatternList {
    pub(super) fn new(text: &str) -> Self {
        Self(text.split(',').map(str::to_owned).collect())
    }

    /// Whether a pattern matches the text, and none excludes it.
    pub(super) fn admits(&self, text: &str) -> bool {
        let mut admitted = false;
        for pattern in &self.0 {
            match pattern.strip_prefix('!') {
                Some(excluded) if matches(excluded.as_bytes(), text.as_bytes()) => return false,
                Some(_) => {}
                None => admitted |= matches(pattern.as_bytes(), text.as_bytes()),
            }
        }
        admitted
    }

    /// The first pattern that the list itself admits: whom the list is about.
    pub(super) fn first(&self) -> Option<&str> {
        let mut admitting = self.0.iter().filter(|it| !it.starts_with('!'));
        admitting.find(|it| self.admits(it)).map(String::as_str)
    }

    pub(super) fn has_empty(&self) -> bool {
        self.0
            .iter()
            .any(|it| it.trim_start_matches('!').is_empty())
    }
}

/// Whether `*` (anything) and `?` (one byte) can stand for what makes the text
/// of the pattern. After a mismatch only the last `*` is tried again, so the
/// time is at most the product of both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&b'*') {
            retry = Some((at, read));
            at += 1;
        } else if pattern
            .get(at)
            .is_some_and(|it| *it == b'?' || *it == text[read])
        {
            at += 1;
            read += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            at = star + 1;
            read = from + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|it| *it == b'*')
}

#[cfg(test)]
mod tests {
    use super::PatternList;

    #[test]
    fn a_list_admits_what_a_pattern_matches_and_none_excludes() {
        for (list, text, admitted) in [
            ("a@x", "a@x", true),
            ("a@x", "a@xy", false),
            ("*@x", "a@x", true),
            ("*@x", "@x", true),
            ("?@x", "@x", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("b@x,a@x", "a@x", true),
            ("!a@x,*@x", "a@x", false),
            ("*@x,!a@x", "a@x", false),
            ("!a@x", "b@x", false),
            ("", "a", false),
        ] {
            assert_eq!(
                PatternList::new(list).admits(text),
                admitted,
                "{list} {text}"
            );
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_the_product_of_both_lengths() {
        let pattern = "*a".repeat(500);
        let text = "a".repeat(499) + "b";
        assert!(!PatternList::new(&pattern).admits(&text));
    }

    #[test]
    fn a_list_is_about_the_first_whom_it_admits() {
        assert_eq!(PatternList::new("!a@x,*@x").first(), Some("*@x"));
        assert_eq!(PatternList::new("!a@x,a@x,b@x").first(), Some("b@x"));
        assert_eq!(PatternList::new("!a@x").first(), None);
    }
}
