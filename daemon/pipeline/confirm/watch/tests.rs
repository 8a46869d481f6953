//! Sequences of looks and probes, and the second in which they are judged.

use super::*;
use crate::model::health::{ProbeReport, Reachability, SshPort, UserProbeResult};
use crate::model::policy::OnUnhealthy;
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
        on_unhealthy: OnUnhealthy::default(),
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
        down: BTreeSet::new(),
        queued: BTreeSet::new(),
        restarting: BTreeSet::new(),
        restarts: BTreeMap::new(),
        recurring: BTreeSet::new(),
        running: Some(toplevel("new")),
        token: None,
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
        recurring: units(&["flapping.service"]),
        ..good()
    }
}

/// Hears in each second what `heard` says, in that order; the second and the
/// verdict.
fn hear(baseline: &Baseline, heard: impl Fn(u64) -> Vec<Heard>) -> (u64, Verdict) {
    let (tested, health) = (toplevel("new"), health());
    let mut watch = Watch::new(&tested, &health, baseline);
    for second in 0..120 {
        for heard in heard(second) {
            if let Some(verdict) = watch.judge(Duration::from_secs(second), &heard) {
                return (second, verdict);
            }
        }
    }
    panic!("no verdict in two minutes");
}

/// Looks once a second at what `look` shows, from a closure without a probe.
fn watch(look: impl Fn(u64) -> Heard) -> (u64, Verdict) {
    hear(&Baseline::default(), |second| without_probe(look(second)))
}

fn without_probe(look: Heard) -> Vec<Heard> {
    vec![Heard::Probed(Probed::NoProbe), look]
}

fn watch_seen(seen: impl Fn(u64) -> Seen) -> (u64, Verdict) {
    watch(|second| Heard::Seen(seen(second)))
}

/// The second, the broken units, and that the message says so.
fn unhealthy(verdict: (u64, Verdict), words: &str) -> (u64, BTreeSet<String>) {
    let (second, _code, broken) = unhealthy_because(verdict, words);
    (second, broken)
}

/// The same with the failure's code.
fn unhealthy_because(verdict: (u64, Verdict), words: &str) -> (u64, FailureCode, BTreeSet<String>) {
    let (
        second,
        Verdict::Unhealthy {
            code,
            message,
            broken,
        },
    ) = verdict
    else {
        panic!("{verdict:?} is not unhealthy");
    };
    assert!(message.contains(words), "{message}");
    (second, code, broken)
}

#[test]
fn a_host_that_is_healthy_all_the_time_is_confirmed_after_the_window() {
    assert_eq!(watch_seen(|_| good()), (10, Verdict::Healthy));
}

/// Hears an operator confirm in that second, before what is seen in it.
fn confirmed_in(second: u64, seen: impl Fn(u64) -> Seen) -> (u64, Verdict) {
    hear(&Baseline::default(), |now| {
        let mut heard = without_probe(Heard::Seen(seen(now)));
        if now == second {
            heard.insert(0, Heard::Said(Word::Confirmed));
        }
        heard
    })
}

#[test]
fn an_operators_word_stands_for_the_window_and_never_for_health() {
    assert_eq!(confirmed_in(0, |_| good()), (2, Verdict::Healthy));
    assert_eq!(confirmed_in(5, |_| good()), (5, Verdict::Healthy));
    let slow = |second| match second {
        0..8 => restarting(&["slow.service"]),
        8.. => good(),
    };
    assert_eq!(confirmed_in(0, slow), (10, Verdict::Healthy));
    let (second, broken) = unhealthy(
        confirmed_in(0, |_| failed(&["web.service"])),
        "is not healthy after",
    );
    assert_eq!((second, broken), (4, units(&["web.service"])));
}

#[test]
fn a_system_that_is_rejected_is_not_watched_any_more() {
    let verdict = hear(&Baseline::default(), |second| match second {
        3 => vec![Heard::Said(Word::Rejected)],
        _ => without_probe(Heard::Seen(good())),
    });
    assert_eq!(verdict, (3, Verdict::GuardianActs));
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
fn a_service_that_is_only_restarted_after_a_failure_may_not_be_restarted() {
    let at_five = |recurring: &[&str]| {
        watch_seen(|second| Seen {
            recurring: units(recurring),
            ..restarted(if second < 5 { 7 } else { 8 })
        })
    };
    let (second, broken) = unhealthy(at_five(&[]), "flapping.service ended and was restarted");
    assert_eq!((second, broken), (5, units(&["flapping.service"])));
    assert_eq!(at_five(&["flapping.service"]), (10, Verdict::Healthy));
    let appears = watch_seen(|second| if second < 5 { good() } else { restarted(0) });
    assert_eq!(appears, (10, Verdict::Healthy), "a first start is none");
}

#[test]
fn restarts_that_no_look_sees_are_counted_and_one_may_be_a_good_end() {
    let (second, broken) = unhealthy(
        watch_seen(|second| restarted(7 + u32::try_from(second / 3).expect("small"))),
        "flapping.service ended and was restarted",
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
    let reset = watch_seen(|second| {
        restarted(if second < 5 {
            7
        } else {
            u32::from(second > 6) * 2
        })
    });
    assert_eq!(
        unhealthy(reset, "flapping.service ended and was restarted").0,
        7,
        "after a reset it is counted from zero"
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
    let deaf = || Heard::Unreadable("no answer".to_owned());
    let early = watch(|_| deaf());
    assert_eq!(unhealthy(early, "cannot be read: no answer").0, 30);
    let late = watch(|second| {
        if second < 5 {
            Heard::Seen(good())
        } else {
            deaf()
        }
    });
    assert_eq!(unhealthy(late, "cannot be read: no answer").0, 40);
    let passing = watch(|second| match second {
        4..20 => deaf(),
        _ => Heard::Seen(good()),
    });
    assert_eq!(passing, (20, Verdict::Healthy));
}

/// What was broken before, in units.
fn broken_before(failed: &[&str], restarting: &[&str]) -> Baseline {
    Baseline {
        failed: units(failed),
        restarting: units(restarting),
        ..Baseline::default()
    }
}

#[test]
fn what_was_broken_before_is_no_verdict_whichever_way_it_is_broken_now() {
    let before = broken_before(&["failed.service"], &["flapping.service"]);
    for seen in [
        failed(&["failed.service", "flapping.service"]),
        restarting(&["failed.service", "flapping.service"]),
    ] {
        let verdict = hear(&before, |_| without_probe(Heard::Seen(seen.clone())));
        assert_eq!(verdict, (10, Verdict::Healthy), "{seen:?}");
    }
    let counted = hear(&before, |second| {
        let count = u32::try_from(second).expect("small");
        without_probe(Heard::Seen(restarted(count)))
    });
    assert_eq!(counted, (10, Verdict::Healthy));
    let more = failed(&["failed.service", "web.service"]);
    let verdict = hear(&before, |_| without_probe(Heard::Seen(more.clone())));
    assert_eq!(unhealthy(verdict, "failed: web.service").0, 4);
}

#[test]
fn a_required_unit_that_nothing_starts_does_not_wait_for_the_deadline() {
    let down = Seen {
        down: units(&["sshd.service"]),
        ..good()
    };
    let verdict = watch_seen(|_| down.clone());
    let (second, code, broken) = unhealthy_because(verdict, "and not: sshd.service");
    assert_eq!((second, code), (4, FailureCode::RequiredUnitDown));
    assert_eq!(broken, units(&["sshd.service"]));
    let starting = Seen {
        queued: units(&["sshd.service"]),
        ..down.clone()
    };
    let late = watch_seen(|_| starting.clone());
    assert_eq!(unhealthy(late, "within 30s").0, 30);
    let comes = watch_seen(|second| {
        if second < 20 {
            starting.clone()
        } else {
            good()
        }
    });
    assert_eq!(comes, (30, Verdict::Healthy));
    let goes = watch_seen(|second| if second < 6 { good() } else { down.clone() });
    assert_eq!(unhealthy(goes, "did not stay so").0, 6);
}

#[test]
fn a_guardian_that_acts_is_obeyed_whatever_runs() {
    for running in ["new", "old"] {
        let verdict = watch_seen(|second| Seen {
            running: Some(toplevel(if second < 4 { "new" } else { running })),
            token: (second >= 4).then_some(rollback::Verdict::RollBack),
            ..good()
        });
        assert_eq!(verdict, (4, Verdict::GuardianActs), "{running}");
    }
    let ours = watch_seen(|_| Seen {
        token: Some(rollback::Verdict::Commit),
        ..good()
    });
    assert_eq!(ours, (10, Verdict::Healthy));
}

fn report() -> ProbeReport {
    ProbeReport {
        remote: Reachability::Reachable,
        ssh: vec![SshPort {
            address: "127.0.0.1:22".to_owned(),
            banner: Ok(()),
        }],
        default_route: true,
        user: vec![UserProbeResult {
            name: "web".to_owned(),
            result: Ok(()),
        }],
    }
}

/// A host on which everything was reachable before.
fn all_reachable() -> Baseline {
    Baseline {
        probe: Some(report()),
        ..Baseline::default()
    }
}

fn remote_down() -> ProbeReport {
    ProbeReport {
        remote: Reachability::Unreachable("refused".to_owned()),
        ..report()
    }
}

fn probed(report: ProbeReport) -> Heard {
    Heard::Probed(Probed::Seen(report))
}

/// A good look, then a probe that begins and ends in the same second; this
/// daemon polls in the first one.
fn probe(baseline: &Baseline, heard: impl Fn(u64) -> Heard) -> (u64, Verdict) {
    hear(baseline, |second| {
        vec![
            Heard::Polled(Ok(())),
            Heard::Seen(good()),
            Heard::ProbeBegins,
            heard(second),
        ]
    })
}

#[test]
fn a_network_that_is_as_good_as_before_is_confirmed_after_the_window() {
    let verdict = probe(&all_reachable(), |_| probed(report()));
    assert_eq!(verdict, (10, Verdict::Healthy));
}

#[test]
fn each_loss_has_its_own_code_and_gets_the_whole_deadline_to_come_back() {
    use FailureCode::{ProbeFailed, RemoteLost, RouteLost, SshUnreachable};
    let silent = ProbeReport {
        ssh: vec![SshPort {
            address: "127.0.0.1:2222".to_owned(),
            banner: Err("refused".to_owned()),
        }],
        ..report()
    };
    let lost = ProbeReport {
        default_route: false,
        ..report()
    };
    let failed = ProbeReport {
        user: vec![UserProbeResult {
            name: "web".to_owned(),
            result: Err("503".to_owned()),
        }],
        ..report()
    };
    for (bad, code, words) in [
        (&silent, SshUnreachable, "127.0.0.1:2222, found: refused"),
        (&lost, RouteLost, "expected the default route"),
        (&remote_down(), RemoteLost, "as before, found: refused"),
        (&failed, ProbeFailed, "probe web to succeed, found: 503"),
    ] {
        let verdict = probe(&all_reachable(), |_| probed(bad.clone()));
        let (second, found, _) = unhealthy_because(verdict, words);
        assert_eq!((second, found), (30, code));
        let back = probe(&all_reachable(), |second| {
            probed(if second < 20 { bad.clone() } else { report() })
        });
        assert_eq!(back, (30, Verdict::Healthy), "{words}");
        let unknown = probe(&Baseline::default(), |_| probed(bad.clone()));
        if code == ProbeFailed {
            assert_eq!(unhealthy(unknown, words).0, 30);
        } else {
            assert_eq!(unknown, (10, Verdict::Healthy), "nobody looked before");
        }
    }
}

#[test]
fn one_bad_probe_in_the_window_is_borne_and_three_in_a_row_are_not() {
    let bad_in = |seconds: std::ops::Range<u64>| {
        probe(&all_reachable(), |second| {
            let is_bad = seconds.contains(&second);
            probed(if is_bad { remote_down() } else { report() })
        })
    };
    assert_eq!(bad_in(5..6), (10, Verdict::Healthy));
    assert_eq!(bad_in(5..7), (10, Verdict::Healthy));
    let (second, code, _) = unhealthy_because(bad_in(5..8), "did not stay so");
    assert_eq!((second, code), (7, FailureCode::RemoteLost));
}

#[test]
fn the_last_probe_must_be_good() {
    let verdict = probe(&all_reachable(), |second| {
        let is_bad = second == 9 || second == 10;
        probed(if is_bad { remote_down() } else { report() })
    });
    assert_eq!(verdict, (11, Verdict::Healthy));
}

#[test]
fn a_probe_that_is_under_way_at_the_end_is_waited_for() {
    let slow = |last: ProbeReport| {
        hear(&all_reachable(), move |second| {
            let mut heard = vec![Heard::Polled(Ok(())), Heard::Seen(good())];
            match second {
                0..9 => heard.extend([Heard::ProbeBegins, probed(report())]),
                9 => heard.push(Heard::ProbeBegins),
                14 => heard.push(probed(last.clone())),
                15.. => heard.extend([Heard::ProbeBegins, probed(last.clone())]),
                10..14 => {}
            }
            heard
        })
    };
    assert_eq!(slow(report()), (14, Verdict::Healthy));
    let (second, code, _) = unhealthy_because(slow(remote_down()), "did not stay so");
    assert_eq!((second, code), (16, FailureCode::RemoteLost));
}

#[test]
fn a_program_that_gives_no_report_is_no_system_to_keep() {
    let broken = || Heard::Probed(Probed::Broken("it crashed".to_owned()));
    let (second, code, _) = unhealthy_because(probe(&all_reachable(), |_| broken()), "it crashed");
    assert_eq!((second, code), (30, FailureCode::ProbeFailed));
    let later = probe(&all_reachable(), |second| match second {
        0..5 => probed(report()),
        5.. => broken(),
    });
    assert_eq!(unhealthy(later, "did not stay so").0, 7);
}

#[test]
fn a_probe_that_cannot_be_run_proves_nothing_and_not_for_ever() {
    let deaf = || Heard::Probed(Probed::Unreadable("no bus".to_owned()));
    let passing = probe(&all_reachable(), |second| match second {
        4..20 => deaf(),
        _ => probed(report()),
    });
    assert_eq!(passing, (20, Verdict::Healthy));
    let never = probe(&all_reachable(), |second| match second {
        0..5 => probed(report()),
        5.. => deaf(),
    });
    assert_eq!(unhealthy(never, "cannot be looked at: no bus").0, 40);
    let from_the_start = probe(&all_reachable(), |_| deaf());
    assert_eq!(unhealthy(from_the_start, "within 30s").0, 30);
}

#[test]
fn a_remote_that_was_down_before_is_no_verdict() {
    let before = Baseline {
        probe: Some(remote_down()),
        ..Baseline::default()
    };
    let verdict = hear(&before, |_| {
        vec![
            Heard::Seen(good()),
            Heard::ProbeBegins,
            probed(remote_down()),
            Heard::Polled(Err(cannot_poll())),
        ]
    });
    assert_eq!(verdict, (10, Verdict::Healthy));
}

fn cannot_poll() -> Symptom {
    Symptom::new(FailureCode::RemoteLost, "nobody there")
}

/// Everything is good but this daemon's own poll.
fn poll(polled: impl Fn(u64) -> Option<Result<(), Symptom>>) -> (u64, Verdict) {
    hear(&all_reachable(), |second| {
        let mut heard = vec![Heard::Seen(good()), Heard::ProbeBegins, probed(report())];
        heard.extend(polled(second).map(Heard::Polled));
        heard
    })
}

#[test]
fn a_daemon_that_cannot_poll_is_none_to_keep() {
    let refused = || Some(Err(cannot_poll()));
    let (second, code, _) = unhealthy_because(poll(|_| refused()), "nobody there");
    assert_eq!(code, FailureCode::RemoteLost);
    assert!((4..6).contains(&second), "{second}");
    let never = poll(|_| None);
    assert_eq!(unhealthy(never, "own poll has not ended").0, 40);
    let once = poll(|second| match second {
        0..3 => refused(),
        3 => Some(Ok(())),
        _ => None,
    });
    assert_eq!(once, (10, Verdict::Healthy));
    let late = poll(|second| (second == 15).then_some(Ok(())));
    assert_eq!(late, (15, Verdict::Healthy));
}
