//! `[trust.heartbeat]`: how a remote has to show that it is alive.
//!
//! In: `[trust]`. Out: the tag and its age, if that is demanded. Must not: have a
//! default for the age; it has to fit whoever makes the tag.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::trust::file;
use super::values::{DAY, SECOND, refusal, span};
use crate::config::mistakes::Collector;
use crate::config::section::{Section, quoted};
use crate::model::policy::{Heartbeat, Trust};
use crate::model::revision::TagName;

/// What stands in messages.
const MAX_AGE: Duration = DAY;

/// What is older than a year shows nothing.
const MAX_AGES: RangeInclusive<Duration> = SECOND..=Duration::from_secs(366 * 24 * 60 * 60);

/// Reads the table, if it is there.
pub(super) fn heartbeat(
    trust: &mut Section<'_>,
    collector: &mut Collector<'_>,
) -> Option<Heartbeat> {
    let place = trust.span_of("heartbeat");
    let mut section = trust.section("heartbeat", collector)?;
    if !section.has("max_age") {
        let refusal = refusal(
            "missing",
            "how old the heartbeat may be",
            "a [trust.heartbeat] without it",
            "Add max_age = \"1d\", or more than twice the time between two heartbeats.",
        );
        collector.refuse(&place, "trust.heartbeat.max_age", refusal);
    }
    let heartbeat = Heartbeat {
        tag: tag(&mut section, collector),
        max_age: span(&mut section, "max_age", MAX_AGE, &MAX_AGES, collector),
        allowed_signers: file(&mut section, "allowed_signers", collector),
    };
    section.finish(super::belongs, collector);
    Some(heartbeat)
}

fn tag(section: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<TagName> {
    let found = section.string("tag", "heartbeat-main", collector)?;
    let is_whole = found.value.starts_with("refs/");
    match TagName::try_from(found.value.to_owned()) {
        Ok(tag) if !is_whole => Some(tag),
        Ok(_) | Err(_) => {
            let refusal = refusal(
                "not the name of a tag",
                "the name of a tag such as \"heartbeat-main\"",
                &quoted(found.value),
                "Write the tag alone, without refs/tags/.",
            );
            found.refuse(collector, refusal);
            None
        }
    }
}

/// With a heartbeat that nobody may make, nothing would ever be followed.
pub(super) fn refuse_without_keys(
    trust: &Trust,
    place: &Range<usize>,
    collector: &mut Collector<'_>,
) {
    let Some(heartbeat) = &trust.heartbeat else {
        return;
    };
    let files = [&heartbeat.allowed_signers, &trust.allowed_signers];
    if files.into_iter().all(Option::is_none) && trust.keyrings.is_empty() {
        let refusal = refusal(
            "demands a signed tag, and no key is trusted",
            "`allowed_signers` there, or `allowed_signers` or `keyrings` in [trust]",
            "none",
            "Name a file of keys in `allowed_signers`, such as \"/etc/deploy-flake/heartbeat-signers\".",
        );
        collector.refuse(place, "trust.heartbeat", refusal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};

    const KEYS: &str = "[trust]\nallowed_signers = \"/etc/signers\"\n";

    fn read(text: &str) -> Result<Config, String> {
        let remotes = "[[remote]]\nurl = \"https://example.org/a\"\n\
                       [[remote]]\nname = \"b\"\nurl = \"https://example.org/b\"\nbranch = \"next\"\n";
        let parsed = config::parse("config.toml", &format!("{remotes}{text}"));
        parsed
            .map(|(config, _)| config)
            .map_err(|error| error.to_string())
    }

    fn tags(config: &Config) -> Vec<Option<String>> {
        let remotes = config.remotes.iter();
        let tags = remotes.map(|remote| config.heartbeat_of(remote).map(String::from));
        tags.collect()
    }

    #[test]
    fn each_remotes_heartbeat_is_named_after_its_branch_or_as_it_is_said() {
        let none = read(KEYS).expect("no heartbeat");
        assert_eq!(tags(&none), [None, None]);
        let text = format!("{KEYS}[trust.heartbeat]\nmax_age = \"20s\"\n");
        let config = read(&text).expect(&text);
        let names = ["heartbeat-main", "heartbeat-next"].map(|it| Some(it.to_owned()));
        assert_eq!(tags(&config), names);
        let text = "[trust.heartbeat]\nmax_age = \"1d\"\ntag = \"alive/all\"\n\
                    allowed_signers = \"/etc/robot\"\n";
        let config = read(text).expect(text);
        assert_eq!(tags(&config), vec![Some("alive/all".to_owned()); 2]);
        let heartbeat = config.trust.heartbeat.expect("it was said");
        assert_eq!(heartbeat.max_age, DAY);
        assert_eq!(heartbeat.allowed_signers, Some("/etc/robot".into()));
        assert_eq!(config.trust.allowed_signers, None, "it signs no commits");
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let with_keys = |text: &str| format!("{KEYS}{text}");
        for (text, places) in [
            (
                "[trust.heartbeat]\nmax_age = \"1d\"\n".to_owned(),
                vec!["trust.heartbeat: demands a signed tag, and no key is trusted"],
            ),
            (
                "[trust.heartbeat]\n".to_owned(),
                vec!["trust.heartbeat.max_age: missing", "no key is trusted"],
            ),
            (
                with_keys("[trust.heartbeat]\nmax_age = \"0s\"\n"),
                vec!["trust.heartbeat.max_age: out of range"],
            ),
            (
                with_keys("[trust.heartbeat]\nmax_age = \"367d\"\n"),
                vec!["trust.heartbeat.max_age: out of range"],
            ),
            (
                with_keys("[trust.heartbeat]\nmax_age = \"1d\"\ntag = \"refs/tags/a\"\n"),
                vec!["trust.heartbeat.tag: not the name of a tag"],
            ),
            (
                with_keys("[trust.heartbeat]\nmax_age = \"1d\"\ntag = \"a b\"\n"),
                vec!["trust.heartbeat.tag: not the name of a tag"],
            ),
            (
                with_keys("[trust.heartbeat]\nmax_age = \"1d\"\nmaxage = \"1d\"\n"),
                vec!["trust.heartbeat.maxage: unknown key", "Write max_age"],
            ),
            (
                with_keys("heartbeat = \"1d\"\n"),
                vec!["trust.heartbeat: wrong type", "Write [trust.heartbeat]"],
            ),
            (
                with_keys("max_age = \"1d\"\n"),
                vec![
                    "trust.max_age: unknown key",
                    "Move it to [trust.heartbeat].",
                ],
            ),
        ] {
            let told = read(&text).expect_err(&text);
            for place in places {
                assert!(told.contains(place), "{text}: {told}");
            }
        }
    }
}
