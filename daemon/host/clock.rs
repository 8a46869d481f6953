//! The only reader of clocks.
//!
//! In: nothing. Out: one reading of both clocks, and the identity of this
//! boot. Must not: be called by decisions; they get time as an argument.

use std::time::Duration;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

use crate::model::system::BootId;
use crate::model::time::Now;

/// Where the kernel tells which boot this is.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Goes on while the machine sleeps, as macOS's clock of the other name does.
#[cfg(target_os = "linux")]
const SINCE_BOOT: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: ClockId = ClockId::Monotonic;

/// Reads the wall clock and the time since boot together.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads clocks"
)]
pub fn now() -> Now {
    let boot = clock_gettime(SINCE_BOOT);
    Now {
        wall: jiff::Timestamp::now(),
        // Neither part of such a clock is ever negative.
        since_boot: Duration::new(
            boot.tv_sec.unsigned_abs(),
            u32::try_from(boot.tv_nsec).unwrap_or(0),
        ),
    }
}

/// Reads the time that this machine has been awake in this boot: what systemd's
/// own timers run on. It stands still while the machine sleeps, so nothing that
/// could not go on meanwhile is late for it.
#[cfg(target_os = "linux")]
pub fn awake() -> Duration {
    let awake = clock_gettime(ClockId::Monotonic);
    Duration::new(
        awake.tv_sec.unsigned_abs(),
        u32::try_from(awake.tv_nsec).unwrap_or(0),
    )
}

/// The same, counted from the first reading: macOS has a clock for it, which is
/// the one that the standard library reads there.
#[cfg(not(target_os = "linux"))]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads clocks"
)]
pub fn awake() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

/// Reads which boot this is.
pub fn boot_id() -> anyhow::Result<BootId> {
    let text = std::fs::read_to_string(BOOT_ID_FILE)
        .with_context(|| format!("cannot read {BOOT_ID_FILE}"))?;
    Ok(BootId(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_since_boot_does_not_go_back() {
        let first = now();
        let second = now();
        assert!(first.since_boot > Duration::ZERO);
        assert!(second.since_boot >= first.since_boot);
    }
}
