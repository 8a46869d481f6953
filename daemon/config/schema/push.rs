//! `[push]`: which snapshots root may push to this host.
//!
//! In: the top of the file, and what commits have to show. Out: which. Must not:
//! let unsigned snapshots in where commits have to be signed, unless somebody
//! says so.

use toml::de::DeTable;

use super::values::choice;
use crate::config::mistakes::Collector;
use crate::config::section::Section;
use crate::model::policy::{Pushes, Require, Trust};

const CHOICES: [(&str, Pushes); 3] = [
    ("never", Pushes::Never),
    ("test-only", Pushes::TestOnly),
    ("always", Pushes::Always),
];

/// Reads both keys, or their defaults.
pub(super) fn pushes(
    top: &mut Section<'_>,
    trust: &Trust,
    collector: &mut Collector<'_>,
) -> Pushes {
    let empty = DeTable::new();
    let section = top.section("push", collector);
    let mut section = section.unwrap_or_else(|| Section::named("push", &empty));
    let allow = section.string("allow", "test-only", collector);
    let allowed = choice(allow, &CHOICES, Pushes::default(), collector);
    let although_signed = section.boolean("although_signed", collector);
    section.finish(super::belongs, collector);
    let is_signed = trust.require != Require::Nothing;
    match allowed {
        Pushes::TestOnly | Pushes::Always if is_signed && although_signed != Some(true) => {
            Pushes::NotWhereSigned
        }
        Pushes::Never | Pushes::NotWhereSigned | Pushes::TestOnly | Pushes::Always => allowed,
    }
}
