//! What to do about a push that failed.
//!
//! In: what a step says to do, which is about a commit: one that is tried again,
//! or in whose place another one comes. Out: the same about a push, which is
//! neither. Must not: lose anything else that is to be done.

/// What a commit that is itself at fault calls for, up to the end of its sentence.
const COMMIT: &str = "Push a commit";

/// The same of what was pushed.
const MEND: &str = "Mend it and push again.";

/// How a step says that something is tried again, and what is to be said instead;
/// the longer ones first.
const AGAIN: [(&str, &str); 6] = [
    ("is tried again by itself", "is to be pushed again"),
    ("is tried again later by itself", "is to be pushed again"),
    ("is tried again later", "is to be pushed again"),
    ("is tried again once", "is to be pushed again once"),
    ("is tried again", "is to be pushed again"),
    ("be tried again", "be pushed again"),
];

/// What to do, for whoever pushed.
pub(super) fn for_who_pushed(hint: &str) -> String {
    let hint = match hint.strip_prefix(COMMIT) {
        None => hint.to_owned(),
        Some(rest) => match rest.split_once(". ") {
            Some((_, more)) => format!("{MEND} {more}"),
            None => MEND.to_owned(),
        },
    };
    let again = |hint: String, (from, to): &(&str, &str)| hint.replace(from, to);
    AGAIN.iter().fold(hint, again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_is_kept_and_nothing_is_tried_again_by_itself() {
        for (hint, expected) in [
            (
                "Push a commit that builds; this one is not tried again. `nix log` shows more.",
                "Mend it and push again. `nix log` shows more.",
            ),
            (
                "Push a commit that mends it; or, if it was a mistake, run `deploy-flake retry`.",
                "Mend it and push again.",
            ),
            (
                "Free some space, for example with `nix-collect-garbage`; it is tried again later.",
                "Free some space, for example with `nix-collect-garbage`; it is to be pushed again.",
            ),
            (
                "It is tried again by itself; see `systemctl status nix-daemon`.",
                "It is to be pushed again; see `systemctl status nix-daemon`.",
            ),
            (
                "Nothing has to be done: this is tried again once the system is up.",
                "Nothing has to be done: this is to be pushed again once the system is up.",
            ),
            (
                "Nothing was changed. It is tried again later by itself; see the journal of the step.",
                "Nothing was changed. It is to be pushed again; see the journal of the step.",
            ),
            (
                "Copy the snapshot into this host's store first (`nix copy`).",
                "Copy the snapshot into this host's store first (`nix copy`).",
            ),
            ("", ""),
        ] {
            assert_eq!(for_who_pushed(hint), expected);
        }
    }
}
