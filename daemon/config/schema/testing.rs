//! `[testing]`: the branch whose commits are only ever tested.
//!
//! In: the top of the file. Out: its name, and when it is followed. Must not:
//! know this host's name.

use toml::de::DeTable;

use super::values::{branch, choice};
use crate::config::Testing;
use crate::config::mistakes::Collector;
use crate::config::section::Section;
use crate::model::policy::FollowTesting;

const CHOICES: [(&str, FollowTesting); 3] = [
    ("if-signed", FollowTesting::IfSigned),
    ("always", FollowTesting::Always),
    ("never", FollowTesting::Never),
];

/// Reads both keys, or their defaults.
pub(super) fn testing(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Testing {
    let empty = DeTable::new();
    let section = top.section("testing", collector);
    let mut section = section.unwrap_or_else(|| Section::named("testing", &empty));
    let follow = section.string("follow", "if-signed", collector);
    let follow = choice(follow, &CHOICES, FollowTesting::default(), collector);
    let name = section.string("branch", "testing-web1", collector);
    let branch = name.and_then(|found| branch(found, collector));
    section.finish(super::belongs, collector);
    Testing { follow, branch }
}
