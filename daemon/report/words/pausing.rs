//! The words for a pause, and for a host that is held where root took it.
//!
//! In: what an operator said. Out: sentences. Must not: depend on the time or on
//! where they are shown.

use jiff::Timestamp;

use super::pushed;
use crate::model::pause::{Pause, REASON_LIMIT};
use crate::model::text::one_line;
use crate::store::snapshot::{Hold, Pushed};

/// When a pause ends, to follow "nothing new is begun".
pub fn until(until: Option<Timestamp>) -> String {
    match until {
        Some(until) => format!("until {}", until.strftime("%Y-%m-%d %H:%M:%S UTC")),
        None => "until somebody says so".to_owned(),
    }
}

/// A host on which something waits for the end of a pause: why, and what to do.
pub(super) fn condition(target: &str, pause: Option<&Pause>) -> (String, Option<String>) {
    let remedy = "Run `deploy-flake resume` once it may be deployed; nothing is lost until then.";
    let Some(pause) = pause else {
        return (format!("Deployments are paused; {target} waits."), None);
    };
    let reason = match one_line(&pause.reason, REASON_LIMIT) {
        reason if reason.is_empty() => String::new(),
        reason => format!(": {reason}"),
    };
    let why = format!(
        "{target} waits, for {} has paused deployments {}{reason}",
        pause.by,
        until(pause.until),
    );
    (sentence(&why), Some(remedy.to_owned()))
}

/// A host that root took back, or to what they pushed: why, and what to do.
pub(super) fn held(target: &str, hold: Option<&Hold>) -> (String, Option<String>) {
    if let Some(hold) = hold
        && let Some(it) = &hold.pushed
    {
        return at_push(target, hold, it);
    }
    let remedy = "Push a commit that mends what was gone back from; `deploy-flake resume` has the \
                  branch followed as it is.";
    let at = match hold {
        Some(hold) => format!(
            "commit {}, to which {} went back",
            hold.commit.short(),
            hold.by
        ),
        None => "an earlier commit".to_owned(),
    };
    let why = format!("The host holds the system of {at}; {target} is not followed.");
    (why, Some(remedy.to_owned()))
}

fn at_push(target: &str, hold: &Hold, it: &Pushed) -> (String, Option<String>) {
    let (what, by) = (pushed(it), hold.by);
    let (how, ends) = match hold.ends_with_boot {
        true => (", to be tested", "a reboot and `deploy-flake resume` lead"),
        false => ("", "`deploy-flake resume` leads"),
    };
    let why = format!(
        "The host holds {what}, by the word of {by}{how}; {target} is not followed, the next \
         commit replaces it."
    );
    let remedy = format!("Commit what is to stay; {ends} back to the branch as it is.");
    (why, Some(remedy))
}

/// With a capital at its beginning and a period at its end.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    let rest = characters.as_str().trim_end_matches('.');
    let first = first.map_or_else(String::new, String::from);
    format!("{first}{rest}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pause::UserId;
    use crate::store::snapshot::example;

    #[test]
    fn a_host_that_holds_what_was_pushed_says_what_ends_that() {
        let mut hold = Hold {
            pushed: Some(example::pushed()),
            ends_with_boot: true,
            ..example::hold()
        };
        let target = "commit 0123456789ab of main";
        let (why, remedy) = held(target, Some(&hold));
        assert_eq!(
            why,
            "The host holds the pushed snapshot web: try it (commit 0123456789ab with changes), \
             by the word of root, to be tested; commit 0123456789ab of main is not followed, the \
             next commit replaces it."
        );
        let remedy = remedy.expect("there is something to do");
        assert!(remedy.contains("a reboot"), "{remedy}");
        hold.ends_with_boot = false;
        let (_, remedy) = held(target, Some(&hold));
        let remedy = remedy.expect("there is something to do");
        assert!(
            !remedy.contains("a reboot") && remedy.contains("resume"),
            "{remedy}"
        );
    }

    #[test]
    fn a_pause_is_told_with_who_why_and_until_when() {
        let mut pause = Pause {
            by: UserId(0),
            reason: String::new(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
            waiting: None,
        };
        let told = |pause: &Pause| condition("commit 1 of main", Some(pause)).0;
        assert_eq!(
            told(&pause),
            "Commit 1 of main waits, for root has paused deployments until somebody says so."
        );
        pause.by = UserId(1000);
        pause.reason = "a fair\u{1b}[2J.".to_owned();
        pause.until = "2026-11-22T12:00:00Z".parse().ok();
        assert_eq!(
            told(&pause),
            "Commit 1 of main waits, for user 1000 has paused deployments until 2026-11-22 \
             12:00:00 UTC: a fair\\u{1b}[2J."
        );
    }
}
