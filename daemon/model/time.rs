//! When things happened: a wall-clock time for people, and time since boot for
//! decisions, always taken together.
//!
//! In: what `host::clock` read. Out: values to compare. Must not: read a clock.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One reading of both clocks.
///
/// Deadlines use `since_boot` (CLOCK_BOOTTIME, never set by anybody); `wall`
/// is for people and for what must outlive a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// Time since this boot, suspend included.
    pub since_boot: Duration,
}
