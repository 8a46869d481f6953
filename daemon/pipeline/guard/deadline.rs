//! When the guardian acts by itself.
//!
//! In: how long each step that it guards may take, by the configuration that
//! runs and by the one that is coming. Out: their sum and a margin. Must not:
//! be shorter than what a healthy deployment may take.

use std::path::Path;
use std::time::Duration;

use crate::config::lenient::Times;
use crate::model::policy::{Deadlines, Health};
use crate::model::system::Toplevel;
use crate::pipeline::installed::{configuration, installed};

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

/// How long a coming configuration may make each time, unless ours is long
/// already: what it says is not confirmed, and may be what is wrong with it.
const MOST_ASKED: Duration = Duration::from_secs(60 * 60);

/// The times of the daemon that is coming: it watches by its own configuration.
/// None: there is none, or nobody can tell; then no other daemon watches.
pub(super) fn coming(root: &Path, candidate: &Toplevel) -> Option<Times> {
    let daemon = installed(root, candidate)?;
    let gist = configuration(root, &daemon).ok()?;
    Some(gist.times)
}

/// How long after arming the guardian acts, unless a verdict was written. Which
/// of the two daemons takes a step is not known now: the longer time counts.
pub(super) fn guardian_deadline(
    deadlines: &Deadlines,
    health: &Health,
    coming: Option<Times>,
) -> Duration {
    let ours = Times {
        activate: deadlines.activate,
        probe: deadlines.probe,
        probe_deadline: health.probe_deadline,
        confirm_window: health.confirm_window,
    };
    let times = coming.map_or(ours, |coming| longest(ours, coming));
    let guarded = [
        times.activate,
        STOP,
        REPLACEMENT,
        // To become healthy, and after the window to prove it once more: what
        // was lost for a moment at its end may come back for as long.
        times.probe_deadline,
        times.confirm_window,
        times.probe_deadline,
        // One probe may be under way when the host becomes healthy, and the last
        // one may begin when the time is nearly over.
        times.probe,
        times.probe,
    ];
    let sum = guarded.into_iter().fold(Duration::ZERO, |sum, part| {
        // Each is bounded by the configuration; this only never panics.
        sum.saturating_add(part)
    });
    sum.saturating_add((sum / MARGIN_PART).max(LEAST_MARGIN))
}

/// The longer of each.
fn longest(ours: Times, coming: Times) -> Times {
    Times {
        activate: longer(ours.activate, coming.activate),
        probe: longer(ours.probe, coming.probe),
        probe_deadline: longer(ours.probe_deadline, coming.probe_deadline),
        confirm_window: longer(ours.confirm_window, coming.confirm_window),
    }
}

/// A commit may ask for more time, but not for a guardian that never comes.
fn longer(ours: Duration, coming: Duration) -> Duration {
    ours.max(coming.min(MOST_ASKED.max(ours * 4)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::policy::OnUnhealthy;
    use crate::model::system::StorePath;

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
        let guarded = activate + 10 + 30 + 2 * probe_deadline + confirm_window + 2 * probe;
        let found = guardian_deadline(
            &deadlines(activate, probe),
            &health(probe_deadline, confirm_window),
            None,
        );
        assert_eq!(found, seconds(guarded) + seconds(guarded) / 10);
        let short = guardian_deadline(&deadlines(1, 1), &health(1, 1), None);
        assert_eq!(short, seconds(1 + 10 + 30 + 2 + 1 + 2 + 10));
    }

    #[test]
    fn the_longer_of_the_running_and_the_coming_daemons_times_counts() {
        let of = |activate, probe, probe_deadline, confirm_window| Times {
            activate: seconds(activate),
            probe: seconds(probe),
            probe_deadline: seconds(probe_deadline),
            confirm_window: seconds(confirm_window),
        };
        let (deadlines, health) = (deadlines(900, 30), health(300, 60));
        let alone = guardian_deadline(&deadlines, &health, None);
        let shorter = guardian_deadline(&deadlines, &health, Some(of(1, 1, 1, 1)));
        assert_eq!(shorter, alone);
        for (longer, added) in [
            (of(1, 1, 1, 60 + 1740), 1740),
            (of(1, 1, 300 + 100, 1), 2 * 100),
            (of(1, 30 + 100, 1, 1), 2 * 100),
            (of(900 + 100, 1, 1, 1), 100),
        ] {
            let found = guardian_deadline(&deadlines, &health, Some(longer));
            let added = seconds(added);
            assert_eq!(found, alone + added + added / 10, "{longer:?}");
        }
    }

    #[test]
    fn a_commit_cannot_put_the_guardian_off_for_ever() {
        let (week, hour) = (seconds(7 * 24 * 3600), seconds(3600));
        for (ours, coming, expected) in [
            (seconds(60), week, hour),
            (seconds(60), seconds(1800), seconds(1800)),
            (hour, week, hour * 4),
            (week, hour, week),
        ] {
            assert_eq!(longer(ours, coming), expected, "{ours:?} {coming:?}");
        }
    }

    #[test]
    fn the_coming_daemons_times_are_those_of_its_own_configuration() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-a";
        let closure = Toplevel::new(StorePath::try_from(path.to_owned()).expect("a store path"));
        let units = root.path().join(&path[1..]).join("etc/systemd/system");
        fs::create_dir_all(&units).expect("writable");
        assert_eq!(coming(root.path(), &closure), None, "no daemon");
        let unit = "[Service]\nExecStart=/p daemon --config /c.toml\n";
        fs::write(units.join("deploy-flake.service"), unit).expect("writable");
        assert_eq!(coming(root.path(), &closure), None, "no configuration");
        let text = "[health]\nconfirm_window = \"30m\"\n";
        fs::write(root.path().join("c.toml"), text).expect("writable");
        let found = coming(root.path(), &closure).expect("it has both");
        assert_eq!(found.confirm_window, seconds(30 * 60));
    }
}
