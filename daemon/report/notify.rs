//! What the service manager is told: readiness, status text, watchdog.
//!
//! In: words. Out: datagrams to systemd, nothing at all outside of it. Must
//! not: fail whoever tells; the daemon's work does not depend on being heard.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::model::text::{LINE_LIMIT, one_line};

/// The daemon is ready: it can be called, and it looks.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The line that `systemctl status` shows.
pub fn status(text: &str) {
    // A line break would begin another message to systemd.
    tell(&[NotifyState::Status(&one_line(text, LINE_LIMIT))]);
}

/// The daemon's loop turns. To be told by the loop and by nothing else.
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// The daemon stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often [`watchdog`] is to be told: three times within systemd's limit,
/// so that one late turn does no harm. None without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
        .map(|limit| limit / 3)
        .filter(|interval| !interval.is_zero())
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
