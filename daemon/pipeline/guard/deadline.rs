//! When the guardian acts by itself.
//!
//! In: how long each step that it guards may take. Out: their sum and a margin.
//! Must not: be shorter than what a healthy deployment may take.

use std::time::Duration;

use crate::model::policy::{Deadlines, Health};

/// How long the activation may take to end once it is asked to, at its own
/// deadline.
const STOP: Duration = Duration::from_secs(10);

/// How long the daemon of the new system may take to be there in the place of
/// the old one.
pub(super) const REPLACEMENT: Duration = Duration::from_secs(30);

/// What the ledger, systemd and a busy machine need between the steps, at
/// least.
const LEAST_MARGIN: Duration = Duration::from_secs(10);

/// The part of the sum that is added as margin.
const MARGIN_PART: u32 = 10;

/// How long after arming the guardian acts, unless a verdict was written.
pub(super) fn guardian_deadline(deadlines: &Deadlines, health: &Health) -> Duration {
    let guarded = [
        deadlines.activate,
        STOP,
        REPLACEMENT,
        health.probe_deadline,
        health.confirm_window,
        // One probe may be under way when the host becomes healthy, and the last
        // one may begin at the end of the window.
        deadlines.probe,
        deadlines.probe,
    ];
    let sum = guarded.into_iter().fold(Duration::ZERO, |sum, part| {
        // Each is bounded by the configuration; this only never panics.
        sum.saturating_add(part)
    });
    sum.saturating_add((sum / MARGIN_PART).max(LEAST_MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::OnUnhealthy;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn deadlines(activate: u64, probe: u64) -> Deadlines {
        let other = seconds(100_000);
        Deadlines {
            poll: other,
            fetch: other,
            import: other,
            evaluate: other,
            build: other,
            root: other,
            check: other,
            pre_switch_check: other,
            activate: seconds(activate),
            profile: other,
            boot_loader: other,
            restore: other,
            probe: seconds(probe),
            lock: other,
            rollback: other,
            rollback_health: other,
        }
    }

    fn health(probe_deadline: u64, confirm_window: u64) -> Health {
        Health {
            probe_deadline: seconds(probe_deadline),
            confirm_window: seconds(confirm_window),
            ignore_units: Vec::new(),
            require_units: None,
            on_unhealthy: OnUnhealthy::default(),
            probes: Vec::new(),
        }
    }

    #[test]
    fn it_is_the_sum_of_what_it_guards_and_a_margin() {
        let (activate, probe_deadline, confirm_window, probe) = (900, 300, 60, 30);
        let guarded = activate + 10 + 30 + probe_deadline + confirm_window + 2 * probe;
        let found = guardian_deadline(
            &deadlines(activate, probe),
            &health(probe_deadline, confirm_window),
        );
        assert_eq!(found, seconds(guarded) + seconds(guarded) / 10);
        let short = guardian_deadline(&deadlines(1, 1), &health(1, 1));
        assert_eq!(short, seconds(1 + 10 + 30 + 1 + 1 + 2 + 10));
    }
}
