//! `machine_id`, `[guards]` and `[reserve]`: what is looked at before anything
//! is activated.
//!
//! In: the top of the file. Out: the guards. Must not: read the machine's id;
//! that is for the host the file ends up on.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::values::{bytes, choice, refusal};
use crate::config::mistakes::Collector;
use crate::config::section::{Section, quoted};
use crate::model::policy::{Guard, Guards};

/// A store that builds may fill to the brim leaves none for the next one.
const STORE_RESERVE: u64 = 1 << 30;

/// Nobody has more than a pebibyte; nothing at all is the operator's choice.
const RESERVES: RangeInclusive<u64> = 0..=(1 << 50);

/// How many hexadecimal digits a machine's id has (machine-id(5)).
const MACHINE_ID_LENGTH: usize = 32;

/// Reads everything about guards.
pub(super) fn guards(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Guards {
    Guards {
        machine_id: machine_id(top, collector),
        allowed: allowed(top, collector),
        store_reserve: reserve(top, collector),
    }
}

fn machine_id(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<String> {
    let example = "0123456789abcdef0123456789abcdef";
    let found = top.string("machine_id", example, collector)?;
    let is_hexadecimal = found.value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if found.value.len() != MACHINE_ID_LENGTH || !is_hexadecimal {
        let refusal = refusal(
            "not the id of a machine",
            "32 hexadecimal digits",
            &quoted(found.value),
            "Write what stands in /etc/machine-id of the host that this is for.",
        );
        found.refuse(collector, refusal);
        return None;
    }
    Some(found.value.to_ascii_lowercase())
}

fn allowed(top: &mut Section<'_>, collector: &mut Collector<'_>) -> BTreeSet<Guard> {
    let Some(mut section) = top.section("guards", collector) else {
        return BTreeSet::new();
    };
    let choices: Vec<(&'static str, Option<Guard>)> = Guard::ALL
        .iter()
        .map(|guard| (guard.name(), Some(*guard)))
        .collect();
    let words = section.strings("allow", "ssh-server", collector);
    let allowed = words
        .into_iter()
        .filter_map(|found| choice(Some(found), &choices, None, collector))
        .collect();
    section.finish(super::belongs, collector);
    allowed
}

fn reserve(top: &mut Section<'_>, collector: &mut Collector<'_>) -> u64 {
    let Some(mut section) = top.section("reserve", collector) else {
        return STORE_RESERVE;
    };
    let reserve = bytes(&mut section, "store", STORE_RESERVE, &RESERVES, collector);
    section.finish(super::belongs, collector);
    reserve
}
