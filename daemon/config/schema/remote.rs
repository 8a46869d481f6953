//! `[[remote]]`: what this host follows.
//!
//! In: the top of the file. Out: the remotes, in their order. Must not: stop at
//! the first mistake.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::access;
use super::values::{self, DAY, HOUR, MINUTE, SECOND, name, refusal, span};
use crate::config::mistakes::{Collector, Refusal};
use crate::config::section::{Section, quoted};
use crate::config::{Remote, url};
use crate::model::remote::RemoteAddress;
use crate::model::revision::Branch;

/// More often than once a second is an attack; less than once a day is asleep.
const POLLS: RangeInclusive<Duration> = SECOND..=DAY;

/// What does not answer within an hour does not answer.
const TIMEOUTS: RangeInclusive<Duration> = SECOND..=HOUR;

/// What stands in messages.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The branch that is followed if none is named.
const DEFAULT_BRANCH: &str = "main";

/// What a remote is called that has no name.
pub(in crate::config) const DEFAULT_NAME: &str = "origin";

/// How many remotes there may be: each has a process and a mirror of its own.
const REMOTES_LIMIT: usize = 16;

/// Reads every `[[remote]]`. None: none is there, or one of them is wrong.
pub(super) fn remotes(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<Vec<Remote>> {
    let before = collector.count();
    let found = top.sections("remote", collector).unwrap_or_default();
    // A `remote` of the wrong type was noted by `sections`.
    if found.is_empty() && collector.count() == before {
        let refusal = refusal(
            "there is no remote",
            "at least one [[remote]] with a url",
            "none",
            "Add the two lines [[remote]] and url = \"https://example.org/hosts.git\".",
        );
        collector.refuse(&(0..0), "remote", refusal);
    }
    let mut remotes: Vec<Option<Remote>> = Vec::new();
    let mut names = BTreeSet::new();
    for (index, found) in found.into_iter().enumerate() {
        let (place, mut section) = (found.span, found.value);
        if index == REMOTES_LIMIT {
            let refusal = refusal(
                "too many remotes",
                &format!("at most {REMOTES_LIMIT}"),
                "another one",
                "Remove those that are not needed.",
            );
            collector.refuse(&place, "remote", refusal);
        }
        let name = name(&mut section, DEFAULT_NAME, collector);
        if !names.insert(name.clone()) {
            collector.refuse(&place, "remote.name", named_twice(&name));
        }
        remotes.push(one_remote(section, name, &place, collector));
    }
    let remotes: Option<Vec<Remote>> = remotes.into_iter().collect();
    remotes.filter(|remotes| !remotes.is_empty())
}

/// The name tells units, mirrors and lines of the status apart.
fn named_twice(name: &str) -> Refusal {
    refusal(
        "another remote of this name",
        "each name once; a remote without a name is \"origin\"",
        &quoted(name),
        "Give each [[remote]] a name of its own.",
    )
}

fn one_remote(
    mut section: Section<'_>,
    name: String,
    place: &Range<usize>,
    collector: &mut Collector<'_>,
) -> Option<Remote> {
    let branch = branch(&mut section, collector);
    let poll_interval = span(&mut section, "poll_interval", MINUTE, &POLLS, collector);
    let has_timeout = section.has("timeout");
    let timeout = span(&mut section, "timeout", TIMEOUT, &TIMEOUTS, collector);
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
        timeout: has_timeout.then_some(timeout),
    })
}

fn branch(section: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<Branch> {
    match section.string("branch", DEFAULT_BRANCH, collector) {
        Some(found) => values::branch(found, collector),
        None => Branch::try_from(DEFAULT_BRANCH.to_owned()).ok(),
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
