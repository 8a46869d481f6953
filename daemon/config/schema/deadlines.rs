//! `[deadlines]`: how long each step may take.
//!
//! In: the top of the file. Out: every deadline. Must not: leave a step
//! without one.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeTable;

use super::values::{HOUR, MINUTE, SECOND, span};
use crate::config::mistakes::Collector;
use crate::config::section::Section;
use crate::model::policy::Deadlines;

/// A step that is not done in a week is not going to be.
const DEADLINES: RangeInclusive<Duration> = SECOND..=Duration::from_secs(7 * 24 * 60 * 60);

/// How long `test` may take unless the file says otherwise.
pub(in crate::config) const DEFAULT_ACTIVATE: Duration = Duration::from_secs(15 * 60);

/// How long one run of the probe may take unless the file says otherwise.
pub(in crate::config) const DEFAULT_PROBE: Duration = Duration::from_secs(30);

/// Reads every deadline, or its default.
pub(super) fn deadlines(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Deadlines {
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
        activate: read("activate", DEFAULT_ACTIVATE),
        profile: read("profile", 2 * MINUTE),
        boot_loader: read("boot_loader", 5 * MINUTE),
        restore: read("restore", 10 * MINUTE),
        probe: read("probe", DEFAULT_PROBE),
        lock: read("lock", MINUTE),
        rollback: read("rollback", 5 * MINUTE),
        rollback_health: read("rollback_health", MINUTE),
    };
    section.finish(super::belongs, collector);
    deadlines
}
