//! `[fetch]`: how much of a remote's is taken.
//!
//! In: the top of the file. Out: the limits. Must not: leave a remote without
//! one.

use std::ops::RangeInclusive;

use toml::de::DeTable;

use super::values::bytes;
use crate::config::mistakes::Collector;
use crate::config::section::Section;
use crate::model::policy::FetchLimits;

/// A configuration with all its history is far smaller.
const PACK: u64 = 512 << 20;

/// Below it not even a small repository comes through.
const PACKS: RangeInclusive<u64> = (1 << 20)..=(1 << 40);

/// Plenty for an ordinary history; it was not measured against the largest pack.
const MEMORY: u64 = 512 << 20;

/// Below it the fetcher could not even start.
const MEMORIES: RangeInclusive<u64> = (64 << 20)..=(1 << 40);

/// Reads both limits, or their defaults.
pub(super) fn limits(top: &mut Section<'_>, collector: &mut Collector<'_>) -> FetchLimits {
    let empty = DeTable::new();
    let section = top.section("fetch", collector);
    let mut section = section.unwrap_or_else(|| Section::named("fetch", &empty));
    let limits = FetchLimits {
        pack: bytes(&mut section, "pack", PACK, &PACKS, collector),
        memory: bytes(&mut section, "memory", MEMORY, &MEMORIES, collector),
    };
    section.finish(super::belongs, collector);
    limits
}
