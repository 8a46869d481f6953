//! The keys of the file: what each may be, its default, and what it becomes.
//!
//! In: the text. Out: a [`Config`]. Must not: stop at the first mistake; a key
//! that is wrong is noted and stands in for its default until the end.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeTable;

use super::duration::{self, BadDuration};
use super::mistakes::{Collector, Mistakes, Refusal, Warning};
use super::nearest::nearest;
use super::section::{Found, Section, quoted};
use super::{Config, Remote, url};
use crate::fetcher::wire::RemoteAddress;
use crate::model::policy::{
    BootLoader, Deadlines, Guards, Health, OnDrift, OnFailedRollback, OnRebootRequired,
    OnUnhealthy, Policy,
};
use crate::model::revision::Branch;
use crate::model::system::Configuration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A step that is not done in a week is not going to be.
const DEADLINES: RangeInclusive<Duration> = SECOND..=Duration::from_secs(7 * 24 * 60 * 60);
/// More often than once a second is an attack; less than once a day is asleep.
const POLLS: RangeInclusive<Duration> = SECOND..=DAY;
/// Longer than a day would keep a good system from being kept.
const WINDOWS: RangeInclusive<Duration> = SECOND..=DAY;

/// How long the name of a remote may be, in characters.
const NAME_LIMIT: usize = 64;

/// Reads the whole file.
pub(super) fn config(file: &str, text: &str) -> Result<(Config, Vec<Warning>), Mistakes> {
    let mut collector = Collector::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let config = top(Section::top(table.get_ref()), &mut collector);
        return collector.finish(config);
    }
    // What was recovered from a broken text may miss keys that stand in it:
    // mistakes found in that would be misleading.
    for error in errors {
        refuse_syntax(&error, &mut collector);
    }
    collector.finish(None)
}

fn refuse_syntax(error: &toml::de::Error, collector: &mut Collector<'_>) {
    let span = error.span().unwrap_or(0..0);
    let line = collector.line_at(span.start);
    let (wrong, remedy) = match error.message() {
        "duplicate key" => ("the key stands twice", "Keep one of the two."),
        message => (message, "Correct the line; strings stand in double quotes."),
    };
    let refusal = Refusal {
        wrong: wrong.to_owned(),
        expected: "TOML".to_owned(),
        found: line.to_owned(),
        remedy: remedy.to_owned(),
    };
    collector.refuse(&span, "", refusal);
}

/// In which table a key belongs, for one that stands in another.
fn belongs(key: &str) -> Option<String> {
    let table = match key {
        "url" | "branch" | "poll_interval" => "[[remote]]",
        "import_from_derivation" => "[evaluate]",
        "confirm_window" | "probe_deadline" | "ignore_units" => "[health]",
        "configuration" | "mode" | "drift" | "on_reboot_required" | "boot_loader"
        | "pre_activate_check" => "the top of the file, above the first table",
        _ => return None,
    };
    Some(table.to_owned())
}

fn top(mut top: Section<'_>, collector: &mut Collector<'_>) -> Option<Config> {
    let configuration = configuration(&mut top, collector);
    mode(&mut top, collector);
    let on_drift = on_drift(&mut top, collector);
    let on_reboot_required = on_reboot_required(&mut top, collector);
    let boot_loader = boot_loader(&mut top, collector);
    let pre_activate_check = pre_activate_check(&mut top, collector);
    let remote = remote(&mut top, collector);
    let import_from_derivation = evaluate(&mut top, collector);
    let health = health(&mut top, collector);
    let deadlines = deadlines(&mut top, collector);
    top.finish(belongs, collector);
    let remote = remote?;
    Some(Config {
        configuration,
        policy: Policy {
            poll_interval: remote.poll_interval,
            on_drift,
            on_reboot_required,
        },
        remote,
        deadlines,
        health,
        guards: Guards::default(),
        on_failed_rollback: OnFailedRollback::default(),
        boot_loader,
        pre_activate_check,
        import_from_derivation,
    })
}

fn configuration(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<Configuration> {
    let found = top.string("configuration", "web1", collector)?;
    match Configuration::try_from(found.value.to_owned()) {
        Ok(configuration) => Some(configuration),
        Err(malformed) => {
            let refusal = refusal(
                "not the name of a configuration",
                malformed.expected,
                &quoted(found.value),
                "Write the name below nixosConfigurations in the flake.",
            );
            found.refuse(collector, refusal);
            None
        }
    }
}

/// There is one mode so far; the key is there so that a file can say so.
fn mode(top: &mut Section<'_>, collector: &mut Collector<'_>) {
    let found = top.string("mode", "switch", collector);
    choice(found, &[("switch", ())], (), collector);
}

fn on_drift(top: &mut Section<'_>, collector: &mut Collector<'_>) -> OnDrift {
    let found = top.string("drift", "report", collector);
    let choices = [("report", OnDrift::Report), ("correct", OnDrift::Correct)];
    choice(found, &choices, OnDrift::default(), collector)
}

fn on_reboot_required(top: &mut Section<'_>, collector: &mut Collector<'_>) -> OnRebootRequired {
    let found = top.string("on_reboot_required", "refuse", collector);
    let choices = [
        ("refuse", OnRebootRequired::Refuse),
        ("boot", OnRebootRequired::Boot),
    ];
    choice(found, &choices, OnRebootRequired::default(), collector)
}

fn boot_loader(top: &mut Section<'_>, collector: &mut Collector<'_>) -> BootLoader {
    let found = top.string("boot_loader", "auto", collector);
    let choices = [
        ("auto", BootLoader::Auto),
        ("systemd-boot", BootLoader::SystemdBoot),
        ("grub", BootLoader::Grub),
        ("extlinux", BootLoader::Extlinux),
        ("none", BootLoader::None),
    ];
    choice(found, &choices, BootLoader::default(), collector)
}

fn pre_activate_check(top: &mut Section<'_>, collector: &mut Collector<'_>) -> String {
    const DEFAULT: &str = "pre-activate-safety-checks";
    let Some(found) = top.string("pre_activate_check", DEFAULT, collector) else {
        return DEFAULT.to_owned();
    };
    let component = |part: &str| !part.is_empty() && part != "." && part != "..";
    let control = found.value.chars().any(char::is_control);
    if control || !found.value.split('/').all(component) {
        let refusal = refusal(
            "not a path inside the toplevel",
            "a relative path without . and .. in it",
            &quoted(found.value),
            "Write the path below the toplevel, such as \"pre-activate-safety-checks\".",
        );
        found.refuse(collector, refusal);
    }
    found.value.to_owned()
}

fn remote(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<Remote> {
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
    place: &std::ops::Range<usize>,
    collector: &mut Collector<'_>,
) -> Option<Remote> {
    let name = remote_name(&mut section, collector);
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
    section.finish(belongs, collector);
    Some(Remote {
        address: RemoteAddress {
            name: name.clone(),
            url: url?,
            branch: branch?,
        },
        name,
        poll_interval,
    })
}

fn remote_name(section: &mut Section<'_>, collector: &mut Collector<'_>) -> String {
    const DEFAULT: &str = "origin";
    let Some(found) = section.string("name", DEFAULT, collector) else {
        return DEFAULT.to_owned();
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let name = found.value;
    if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(allowed) {
        let refusal = refusal(
            "not a name",
            "a name of at most 64 letters, digits, '_' and '-'",
            &quoted(name),
            "Write a short name, or leave it out.",
        );
        found.refuse(collector, refusal);
    }
    name.to_owned()
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

fn evaluate(top: &mut Section<'_>, collector: &mut Collector<'_>) -> bool {
    let Some(mut section) = top.section("evaluate", collector) else {
        return false;
    };
    let import_from_derivation = section.boolean("import_from_derivation", collector);
    section.finish(belongs, collector);
    import_from_derivation.unwrap_or(false)
}

fn health(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Health {
    let mut health = Health {
        probe_deadline: 5 * MINUTE,
        confirm_window: MINUTE,
        ignore_units: Vec::new(),
        require_units: None,
        on_unhealthy: OnUnhealthy::default(),
        probes: Vec::new(),
    };
    let Some(mut section) = top.section("health", collector) else {
        return health;
    };
    let mut read = |key, default| span(&mut section, key, default, &WINDOWS, collector);
    health.confirm_window = read("confirm_window", health.confirm_window);
    health.probe_deadline = read("probe_deadline", health.probe_deadline);
    health.ignore_units = ignore_units(&mut section, collector);
    section.finish(belongs, collector);
    health
}

/// The units whose failure is nobody's business, by their full names.
fn ignore_units(section: &mut Section<'_>, collector: &mut Collector<'_>) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    for found in section.strings("ignore_units", "example.service", collector) {
        let unit = found.value;
        if units.iter().any(|earlier| earlier == unit) {
            let refusal = refusal(
                "stands twice",
                "each unit once",
                &quoted(unit),
                "Remove one of the two.",
            );
            found.refuse(collector, refusal);
        } else if !is_unit_name(unit) {
            let refusal = refusal(
                "not the name of a unit",
                "a unit's full name with its suffix, such as \"example.service\"",
                &quoted(unit),
                "Write the name as `systemctl --failed` shows it.",
            );
            found.refuse(collector, refusal);
        }
        units.push(unit.to_owned());
    }
    units
}

/// Whether the text has the form of a unit's name (systemd.unit(5)).
fn is_unit_name(text: &str) -> bool {
    const SUFFIXES: [&str; 11] = [
        "service",
        "socket",
        "device",
        "mount",
        "automount",
        "swap",
        "target",
        "path",
        "timer",
        "slice",
        "scope",
    ];
    const LIMIT: usize = 255;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let (name, suffix) = text.rsplit_once('.').unwrap_or((text, ""));
    !name.is_empty()
        && SUFFIXES.contains(&suffix)
        && text.len() <= LIMIT
        && text.bytes().all(allowed)
}

fn deadlines(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Deadlines {
    let empty = DeTable::new();
    let section = top.section("deadlines", collector);
    let mut section = section.unwrap_or_else(|| Section::named("deadlines", &empty));
    let mut read = |key, default| span(&mut section, key, default, &DEADLINES, collector);
    let deadlines = Deadlines {
        poll: read("poll", 30 * SECOND),
        fetch: read("fetch", 10 * MINUTE),
        import: read("import", 10 * MINUTE),
        evaluate: read("evaluate", 30 * MINUTE),
        build: read("build", 6 * HOUR),
        root: read("root", 5 * MINUTE),
        check: read("check", 60 * SECOND),
        pre_switch_check: read("pre_switch_check", 5 * MINUTE),
        activate: read("activate", 15 * MINUTE),
        profile: read("profile", 2 * MINUTE),
        boot_loader: read("boot_loader", 5 * MINUTE),
        restore: read("restore", 10 * MINUTE),
        probe: read("probe", 30 * SECOND),
        lock: read("lock", MINUTE),
        rollback: read("rollback", 5 * MINUTE),
        rollback_health: read("rollback_health", MINUTE),
    };
    section.finish(belongs, collector);
    deadlines
}

/// A duration within bounds, or its default.
fn span(
    section: &mut Section<'_>,
    key: &'static str,
    default: Duration,
    bounds: &RangeInclusive<Duration>,
    collector: &mut Collector<'_>,
) -> Duration {
    let example = duration::show(default);
    let Some(found) = section.string(key, &example, collector) else {
        return default;
    };
    let bad = match duration::parse(found.value, bounds) {
        Ok(duration) => return duration,
        Err(bad) => bad,
    };
    let (least, most) = (
        duration::show(*bounds.start()),
        duration::show(*bounds.end()),
    );
    let (wrong, remedy) = match bad {
        BadDuration::NoUnit => (
            "a duration without its unit",
            format!("Write \"{}s\" for seconds, or m, h or d.", found.value),
        ),
        BadDuration::Malformed => (
            "not a duration",
            format!("Write numbers with their units, such as \"{example}\" or \"1h30m\"."),
        ),
        BadDuration::OutOfRange => (
            "out of range",
            format!(
                "Write at least \"{least}\" and at most \"{most}\"; the default is \"{example}\"."
            ),
        ),
    };
    let expected = format!("a duration from \"{least}\" to \"{most}\"");
    let refusal = refusal(wrong, &expected, &quoted(found.value), &remedy);
    found.refuse(collector, refusal);
    default
}

/// One of several words, or the default.
fn choice<T: Copy>(
    found: Option<Found<&str>>,
    choices: &[(&'static str, T)],
    default: T,
    collector: &mut Collector<'_>,
) -> T {
    let Some(found) = found else {
        return default;
    };
    let chosen = choices.iter().find(|(word, _)| *word == found.value);
    if let Some((_, value)) = chosen {
        return *value;
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let meant = nearest(found.value, &words).unwrap_or(words[0]);
    let refusal = refusal(
        "not one of the choices",
        &format!("one of \"{}\"", words.join("\", \"")),
        &quoted(found.value),
        &format!("Write \"{meant}\", if that is what was meant."),
    );
    found.refuse(collector, refusal);
    default
}

/// A refusal, in words.
fn refusal(wrong: &str, expected: &str, found: &str, remedy: &str) -> Refusal {
    Refusal {
        wrong: wrong.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
        remedy: remedy.to_owned(),
    }
}
