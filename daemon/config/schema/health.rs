//! `[health]` and `[[probe]]`: what counts as healthy.
//!
//! In: the top of the file. Out: what is healthy on this host. Must not: look
//! whether units or programs exist; the system may not be built yet.

use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use super::values::{DAY, HOUR, SECOND, choice, name, refusal, span, units};
use crate::config::mistakes::Collector;
use crate::config::section::{Found, Section, quoted};
use crate::model::policy::{Health, OnUnhealthy, UserProbe};

/// Longer than a day would keep a good system from being kept.
const WINDOWS: RangeInclusive<Duration> = SECOND..=DAY;

/// A probe runs several times before a system is kept.
const PROBE_DEADLINES: RangeInclusive<Duration> = SECOND..=HOUR;

/// How long the host may take to become healthy unless the file says otherwise.
pub(in crate::config) const DEFAULT_PROBE_DEADLINE: Duration = Duration::from_secs(5 * 60);

/// How long it must stay so unless the file says otherwise.
pub(in crate::config) const DEFAULT_CONFIRM_WINDOW: Duration = Duration::from_secs(60);

/// How long a probe of the operator's may take unless the file says otherwise.
const PROBE_DEADLINE: Duration = Duration::from_secs(30);

/// What stands in messages for a probe's command.
const EXAMPLE: &str = "/run/current-system/sw/bin/curl";

/// Reads `[health]` and every `[[probe]]`.
pub(super) fn health(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Health {
    let mut health = Health {
        probe_deadline: DEFAULT_PROBE_DEADLINE,
        confirm_window: DEFAULT_CONFIRM_WINDOW,
        ignore_units: Vec::new(),
        require_units: None,
        on_unhealthy: OnUnhealthy::default(),
        probes: Vec::new(),
    };
    if let Some(section) = top.section("health", collector) {
        table(section, &mut health, collector);
    }
    health.probes = probes(top, collector);
    health
}

fn table(mut section: Section<'_>, health: &mut Health, collector: &mut Collector<'_>) {
    let mut read = |key, default| span(&mut section, key, default, &WINDOWS, collector);
    health.confirm_window = read("confirm_window", health.confirm_window);
    health.probe_deadline = read("probe_deadline", health.probe_deadline);
    health.ignore_units = units(&mut section, "ignore_units", "example.service", collector);
    // An empty list says that none is required; none at all, that the daemon
    // finds them out.
    let is_given = section.has("require_units");
    let required = units(&mut section, "require_units", "sshd.service", collector);
    health.require_units = is_given.then_some(required);
    let found = section.string("on_unhealthy", "refuse", collector);
    let choices = [
        ("refuse", OnUnhealthy::Refuse),
        ("proceed-if-not-worse", OnUnhealthy::ProceedIfNotWorse),
    ];
    health.on_unhealthy = choice(found, &choices, OnUnhealthy::default(), collector);
    section.finish(super::belongs, collector);
}

fn probes(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Vec<UserProbe> {
    let mut probes: Vec<UserProbe> = Vec::new();
    for found in top.sections("probe", collector).unwrap_or_default() {
        let place = found.span.clone();
        let probe = probe(found.value, &place, collector);
        let is_named = !probe.name.is_empty();
        if is_named && probes.iter().any(|earlier| earlier.name == probe.name) {
            let refusal = refusal(
                "another probe of this name",
                "each name once",
                &quoted(&probe.name),
                "Give each [[probe]] a name of its own.",
            );
            collector.refuse(&place, "probe.name", refusal);
        }
        probes.push(probe);
    }
    probes
}

fn probe(
    mut section: Section<'_>,
    place: &Range<usize>,
    collector: &mut Collector<'_>,
) -> UserProbe {
    for (key, example) in [
        ("name", "name = \"web\""),
        ("command", "command = [\"/run/current-system/sw/bin/curl\"]"),
    ] {
        if !section.has(key) {
            let refusal = refusal(
                "missing",
                "a [[probe]] with a name and a command",
                "one without it",
                &format!("Add {example}."),
            );
            collector.refuse(place, &format!("probe.{key}"), refusal);
        }
    }
    let probe = UserProbe {
        name: name(&mut section, "", collector),
        command: command(&mut section, collector),
        deadline: span(
            &mut section,
            "deadline",
            PROBE_DEADLINE,
            &PROBE_DEADLINES,
            collector,
        ),
    };
    section.finish(super::belongs, collector);
    probe
}

/// Program and arguments: no shell reads them, and no search path is used.
fn command(section: &mut Section<'_>, collector: &mut Collector<'_>) -> Vec<String> {
    let is_given = section.has("command");
    let before = collector.count();
    let words = section.strings("command", EXAMPLE, collector);
    if is_given && words.is_empty() && collector.count() == before {
        let refusal = refusal(
            "an empty command",
            "a program and its arguments",
            "[]",
            &format!("Write command = [\"{EXAMPLE}\"]."),
        );
        collector.refuse(&section.span_of("command"), "probe.command", refusal);
    }
    if let Some(program) = words.first() {
        absolute(program, collector);
    }
    for word in &words {
        printable(word, collector);
    }
    words.iter().map(|word| word.value.to_owned()).collect()
}

fn absolute(program: &Found<&str>, collector: &mut Collector<'_>) {
    if !Path::new(program.value).is_absolute() {
        let refusal = refusal(
            "not an absolute path",
            "a program by its absolute path",
            &quoted(program.value),
            &format!("Write the whole path, such as \"{EXAMPLE}\"."),
        );
        program.refuse(collector, refusal);
    }
}

fn printable(word: &Found<&str>, collector: &mut Collector<'_>) {
    if word.value.chars().any(char::is_control) {
        let refusal = refusal(
            "has a control character in it",
            "words of printable characters",
            &quoted(word.value),
            "Put what needs it into a script, and name that.",
        );
        word.refuse(collector, refusal);
    }
}
