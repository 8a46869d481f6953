//! How much and how slowly a remote may send.
//!
//! In: the daemon's word on packs. Out: numbers. Must not: measure.

use std::time::Duration;

/// The limits of one fetcher.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many bytes of refs are taken. A server of protocol 2 sends the one
    /// ref that it is asked for; an older one sends all, some 60 bytes each.
    pub(super) refs: u64,
    /// How long may be waited for an answer, and for each piece of a pack. The
    /// daemon's deadline for a poll is a little longer: what the fetcher says
    /// is more than that it is late.
    pub(super) window: Duration,
    /// How many bytes of a pack have to come in each window that was spent
    /// waiting for them.
    pub(super) least: u64,
    /// How long whatever was given up may take to end.
    pub(super) grace: Duration,
}

impl Default for Limits {
    /// 16 MiB of refs are a quarter of a million. At 1 KiB a second no pack
    /// worth fetching arrives before the daemon's deadline.
    fn default() -> Self {
        Self {
            refs: 16 << 20,
            window: Duration::from_secs(25),
            least: 25 * 1024,
            grace: Duration::from_secs(1),
        }
    }
}
