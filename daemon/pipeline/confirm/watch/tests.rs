//! Sequences of looks, one a second, and the second in which they are judged.

use super::*;
use crate::model::system::StorePath;

fn toplevel(name: &str) -> Toplevel {
    let path = format!("/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-{name}");
    Toplevel::new(StorePath::try_from(path).expect("a store path"))
}

fn health() -> Health {
    Health {
        probe_deadline: Duration::from_secs(30),
        confirm_window: Duration::from_secs(10),
        ignore_units: vec!["ignored.service".to_owned()],
        require_units: None,
        on_unhealthy: crate::model::policy::OnUnhealthy::Refuse,
        probes: Vec::new(),
    }
}

fn units(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn good() -> Seen {
    Seen {
        system: SystemState::Running,
        failed: BTreeSet::new(),
        queued: BTreeSet::new(),
        restarting: BTreeSet::new(),
        restarts: BTreeMap::new(),
        running: Some(toplevel("new")),
    }
}

fn failed(names: &[&str]) -> Seen {
    Seen {
        system: SystemState::Degraded,
        failed: units(names),
        ..good()
    }
}

fn restarting(names: &[&str]) -> Seen {
    Seen {
        restarting: units(names),
        ..good()
    }
}

fn restarted(count: u32) -> Seen {
    Seen {
        restarts: BTreeMap::from([("flapping.service".to_owned(), count)]),
        ..good()
    }
}

/// Looks once a second at what `seen` shows; the second and the verdict.
fn watch(seen: impl Fn(u64) -> Look) -> (u64, Verdict) {
    let (tested, health) = (toplevel("new"), health());
    let mut watch = Watch::new(&tested, &health);
    for second in 0..120 {
        if let Some(verdict) = watch.judge(Duration::from_secs(second), &seen(second)) {
            return (second, verdict);
        }
    }
    panic!("no verdict in two minutes");
}

fn watch_seen(seen: impl Fn(u64) -> Seen) -> (u64, Verdict) {
    watch(|second| Look::Seen(seen(second)))
}

/// The second, the broken units, and that the message says so.
fn unhealthy(verdict: (u64, Verdict), words: &str) -> (u64, BTreeSet<String>) {
    let (second, Verdict::Unhealthy { message, broken }) = verdict else {
        panic!("{verdict:?} is not unhealthy");
    };
    assert!(message.contains(words), "{message}");
    (second, broken)
}

#[test]
fn a_host_that_is_healthy_all_the_time_is_confirmed_after_the_window() {
    assert_eq!(watch_seen(|_| good()), (10, Verdict::Healthy));
}

#[test]
fn the_window_begins_when_the_host_has_become_healthy() {
    let verdict = watch_seen(|second| match second {
        0..8 => restarting(&["slow.service"]),
        8.. => good(),
    });
    assert_eq!(verdict, (18, Verdict::Healthy));
}

#[test]
fn units_that_are_ignored_are_no_verdict() {
    let verdict = watch_seen(|second| Seen {
        restarting: units(if second % 2 == 0 {
            &["ignored.service"]
        } else {
            &[]
        }),
        ..failed(if second % 2 == 0 {
            &[]
        } else {
            &["ignored.service"]
        })
    });
    assert_eq!(verdict, (10, Verdict::Healthy));
}

#[test]
fn a_failed_unit_that_nothing_starts_again_does_not_wait_for_the_deadline() {
    let verdict = watch_seen(|_| failed(&["ignored.service", "web.service"]));
    let (second, broken) = unhealthy(verdict, "failed: web.service");
    assert_eq!(second, u64::from(SETTLED_LOOKS) - 1);
    assert_eq!(broken, units(&["ignored.service", "web.service"]));
}

#[test]
fn a_failed_unit_with_a_queued_job_gets_the_whole_deadline() {
    let queued = |_| Seen {
        queued: units(&["web.service"]),
        ..failed(&["web.service"])
    };
    let (second, _) = unhealthy(watch_seen(queued), "within 30s");
    assert_eq!(second, 30);
    let recovering = watch_seen(|second| if second < 20 { queued(second) } else { good() });
    assert_eq!(recovering, (30, Verdict::Healthy));
}

#[test]
fn a_restarting_unit_gets_the_whole_deadline() {
    let (second, broken) = unhealthy(
        watch_seen(|_| restarting(&["web.service"])),
        "failing and restarting: web.service",
    );
    assert_eq!((second, broken), (30, units(&["web.service"])));
}

#[test]
fn a_unit_that_flaps_between_looks_never_becomes_healthy() {
    let verdict = watch_seen(|second| match second % 3 {
        0 => restarting(&["web.service"]),
        _ => good(),
    });
    assert_eq!(unhealthy(verdict, "within 30s").0, 30);
}

#[test]
fn what_breaks_in_the_window_is_not_forgiven() {
    let (second, broken) = unhealthy(
        watch_seen(|second| match second {
            6 => failed(&["late.service"]),
            _ => good(),
        }),
        "did not stay so for 10s: failed: late.service",
    );
    assert_eq!((second, broken), (6, units(&["late.service"])));
}

#[test]
fn restarts_that_no_look_sees_are_counted_and_one_is_allowed() {
    let (second, broken) = unhealthy(
        watch_seen(|second| restarted(7 + u32::try_from(second / 3).expect("small"))),
        "flapping.service was restarted",
    );
    assert_eq!((second, broken), (6, units(&["flapping.service"])));
    let once = watch_seen(|second| restarted(if second < 5 { 7 } else { 8 }));
    assert_eq!(once, (10, Verdict::Healthy));
    let by_hand = watch_seen(|second| restarted(if second < 5 { 7 } else { 0 }));
    assert_eq!(
        by_hand,
        (10, Verdict::Healthy),
        "a manual restart resets the count"
    );
}

#[test]
fn a_switch_by_somebody_else_ends_the_watch() {
    let verdict = watch_seen(|second| Seen {
        running: Some(toplevel(if second < 4 { "new" } else { "theirs" })),
        ..good()
    });
    assert_eq!(verdict, (4, Verdict::Overridden(toplevel("theirs"))));
}

#[test]
fn a_link_that_is_just_being_replaced_is_no_verdict() {
    let verdict = watch_seen(|second| Seen {
        running: (second != 1).then(|| toplevel("new")),
        ..good()
    });
    assert_eq!(verdict, (12, Verdict::Healthy));
}

#[test]
fn a_host_that_goes_down_says_nothing_about_the_system() {
    let verdict = watch_seen(|second| Seen {
        system: if second < 3 {
            SystemState::Running
        } else {
            SystemState::Stopping
        },
        ..failed(if second < 3 { &[] } else { &["any.service"] })
    });
    assert_eq!(verdict, (3, Verdict::GoingDown));
}

#[test]
fn rescue_mode_is_not_healthy() {
    let verdict = watch_seen(|_| Seen {
        system: SystemState::Maintenance,
        ..good()
    });
    assert_eq!(unhealthy(verdict, "the system is maintenance").0, 30);
}

#[test]
fn a_deaf_bus_is_no_verdict_until_it_has_been_deaf_for_too_long() {
    let deaf = || Look::Unreadable("no answer".to_owned());
    let early = watch(|_| deaf());
    assert_eq!(unhealthy(early, "cannot be read: no answer").0, 30);
    let late = watch(|second| {
        if second < 5 {
            Look::Seen(good())
        } else {
            deaf()
        }
    });
    assert_eq!(unhealthy(late, "cannot be read: no answer").0, 40);
    let passing = watch(|second| match second {
        4..20 => deaf(),
        _ => Look::Seen(good()),
    });
    assert_eq!(passing, (20, Verdict::Healthy));
}
