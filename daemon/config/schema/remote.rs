//! `[[remote]]`: what this host follows.
//!
//! In: the top of the file. Out: the one remote, if there is one. Must not:
//! stop at the first mistake.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::access;
use super::values::{DAY, MINUTE, SECOND, name, refusal, span};
use crate::config::mistakes::Collector;
use crate::config::section::{Section, quoted};
use crate::config::{Remote, url};
use crate::fetcher::wire::RemoteAddress;
use crate::model::revision::Branch;

/// More often than once a second is an attack; less than once a day is asleep.
const POLLS: RangeInclusive<Duration> = SECOND..=DAY;

/// What a remote is called that has no name.
pub(in crate::config) const DEFAULT_NAME: &str = "origin";

/// Reads the one `[[remote]]`.
pub(super) fn remote(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<Remote> {
    let missing = |wrong: &str, found: &str| {
        refusal(
            wrong,
            "exactly one [[remote]] with a url",
            found,
            "Add the two lines [[remote]] and url = \"https://example.org/hosts.git\".",
        )
    };
    let before = collector.count();
    let Some(remotes) = top.sections("remote", collector) else {
        // A `remote` of the wrong type was noted by `sections`.
        if collector.count() == before {
            let refusal = missing("there is no remote", "none");
            collector.refuse(&(0..0), "remote", refusal);
        }
        return None;
    };
    let number = remotes.len();
    let mut first = None;
    for (index, found) in remotes.into_iter().enumerate() {
        let place = found.span.clone();
        if index > 0 {
            let refusal = refusal(
                "another remote",
                "exactly one [[remote]], for now",
                &format!("number {} of {number}", index + 1),
                "Remove all but one.",
            );
            found.refuse(collector, refusal);
        }
        let remote = one_remote(found.value, &place, collector);
        first = first.or(remote);
    }
    if number == 0 {
        collector.refuse(&(0..0), "remote", missing("there is no remote", "none"));
    }
    first
}

fn one_remote(
    mut section: Section<'_>,
    place: &Range<usize>,
    collector: &mut Collector<'_>,
) -> Option<Remote> {
    let name = name(&mut section, DEFAULT_NAME, collector);
    let branch = branch(&mut section, collector);
    let poll_interval = span(&mut section, "poll_interval", MINUTE, &POLLS, collector);
    let before = collector.count();
    let url = remote_url(&mut section, collector);
    if url.is_none() && collector.count() == before {
        let refusal = refusal(
            "missing",
            url::EXPECTED,
            "a [[remote]] without it",
            "Add url = \"https://example.org/hosts.git\".",
        );
        collector.refuse(place, "remote.url", refusal);
    }
    let (access, credentials) = access::access(&mut section, &name, url.as_deref(), collector);
    section.finish(super::belongs, collector);
    Some(Remote {
        address: RemoteAddress {
            name: name.clone(),
            url: url?,
            branch: branch?,
            access,
        },
        credentials,
        name,
        poll_interval,
    })
}

fn branch(section: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<Branch> {
    let found = section.string("branch", "main", collector);
    let text = found.as_ref().map_or("main", |found| found.value);
    match (Branch::try_from(text.to_owned()), found) {
        (Ok(branch), _) => Some(branch),
        (Err(malformed), Some(found)) => {
            let refusal = refusal(
                "not the name of a branch",
                malformed.expected,
                &quoted(found.value),
                "Write the branch alone, without refs/heads/ and without the remote's name.",
            );
            found.refuse(collector, refusal);
            None
        }
        (Err(_), None) => None,
    }
}

fn remote_url(section: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<String> {
    let found = section.string("url", "https://example.org/hosts.git", collector)?;
    match url::parse(found.value) {
        Ok(parsed) => {
            if let Some(warning) = parsed.warning {
                collector.warn(&found.span, &found.key, warning);
            }
            Some(parsed.url)
        }
        Err(refused) => {
            let shown = quoted(&url::redacted(found.value));
            let refusal = refusal(refused.wrong, url::EXPECTED, &shown, refused.remedy);
            found.refuse(collector, refusal);
            None
        }
    }
}
