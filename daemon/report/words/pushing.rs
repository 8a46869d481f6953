//! The words for what root pushed.
//!
//! In: what whoever pushed it said of it. Out: a part of a sentence. Must not:
//! let it steer a terminal; it is others' text.

use crate::model::push::NAME_LIMIT;
use crate::model::text::one_line;
use crate::store::snapshot::Pushed;

/// What comes before the hash in a store path.
const STORE: &str = "/nix/store/";

/// How much of an id is shown, in characters.
const SHORT: usize = 12;

/// What was pushed, to stand where a commit and its branch would.
pub fn pushed(pushed: &Pushed) -> String {
    let name = match &pushed.name {
        Some(name) if !name.is_empty() => one_line(name, NAME_LIMIT),
        Some(_) | None => {
            let path = pushed.source.as_str();
            short(path.strip_prefix(STORE).unwrap_or(path))
        }
    };
    let of = match (&pushed.commit, pushed.dirty) {
        (Some(commit), false) => format!(" (commit {})", short(commit)),
        (Some(commit), true) => format!(" (commit {} with changes)", short(commit)),
        (None, true) => " (with changes)".to_owned(),
        (None, false) => String::new(),
    };
    format!("the pushed snapshot {name}{of}")
}

fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::snapshot::example;

    #[test]
    fn a_snapshot_is_told_by_its_name_or_its_hash_and_what_it_is_made_of() {
        let named = example::pushed();
        assert_eq!(
            super::pushed(&named),
            "the pushed snapshot web: try it (commit 0123456789ab with changes)"
        );
        let plain = Pushed {
            commit: None,
            dirty: false,
            name: None,
            ..named.clone()
        };
        assert_eq!(super::pushed(&plain), "the pushed snapshot 0c2jdyz9ln1y");
        let hostile = Pushed {
            name: Some("a\u{1b}[2J\nb".to_owned()),
            commit: None,
            ..named
        };
        assert_eq!(
            super::pushed(&hostile),
            "the pushed snapshot a\\u{1b}[2J\\nb (with changes)"
        );
    }
}
