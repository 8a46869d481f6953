//! A host on which an operator wants nothing begun.
//!
//! In: what was said. Out: what ledger and status keep of it. Must not: decide
//! what it holds up; `reconcile` does.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::revision::Candidate;

/// The longest pause that ends by itself: what is meant for longer needs
/// somebody who ends it.
pub const LONGEST: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long a reason may be, in characters: a sentence for whoever comes next.
pub const REASON_LIMIT: usize = 200;

/// A user of the host, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub u32);

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => formatter.write_str("root"),
            id => write!(formatter, "user {id}"),
        }
    }
}

/// Nothing new is begun; what runs is finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who said so.
    pub by: UserId,
    /// Why, in their words; may be empty.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself. None: only when somebody says so. Wall clock,
    /// because it must outlive a reboot.
    pub until: Option<Timestamp>,
    /// What would have been begun, if there is anything.
    #[serde(default)]
    pub waiting: Option<Candidate>,
}

impl Pause {
    /// Whether its time has come.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}
