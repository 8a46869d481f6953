//! What is a verdict on a system that was led back to, and what is none.

use super::*;
use crate::model::health::{ProbeReport, SshPort};
use crate::model::system::StorePath;

fn toplevel(name: &str) -> Toplevel {
    let path = format!("/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-{name}");
    Toplevel::new(StorePath::try_from(path).expect("a store path"))
}

fn names(units: &[&str]) -> BTreeSet<String> {
    units.iter().map(|&unit| unit.to_owned()).collect()
}

fn before() -> Before {
    let baseline = Baseline {
        failed: names(&["old.service"]),
        restarting: names(&["looping.service"]),
        active: names(&["sshd.service", "web.service"]),
        required: names(&["sshd.service"]),
        probe: Some(ProbeReport {
            default_route: true,
            ..ProbeReport::default()
        }),
        ..Baseline::default()
    };
    Before {
        previous: toplevel("old"),
        wanted: Wanted::of(&baseline),
        baseline: Some(baseline),
        ignore_units: vec!["noise.service".to_owned()],
    }
}

fn well() -> Seen {
    Seen {
        running: Some(toplevel("old")),
        units: Some(BTreeMap::new()),
        has_default_route: true,
        ..Seen::default()
    }
}

fn with_unit(name: &str, active: &str, sub: &str) -> Seen {
    let listed = Listed {
        active: active.to_owned(),
        sub: sub.to_owned(),
    };
    Seen {
        units: Some([(name.to_owned(), listed)].into()),
        ..well()
    }
}

fn with_down(name: &str, load: &str, active: &str, result: &str) -> Seen {
    let shown = Shown {
        load: load.to_owned(),
        active: active.to_owned(),
        result: result.to_owned(),
        ..Shown::default()
    };
    Seen {
        down: vec![(name.to_owned(), shown)],
        ..well()
    }
}

fn words(before: &Before, seen: &Seen) -> Vec<String> {
    before.judge(seen, &Starter::default()).words
}

#[test]
fn a_host_that_is_as_before_is_well() {
    assert!(before().judge(&well(), &Starter::default()).is_none());
}

#[test]
fn another_system_or_a_silent_systemd_is_not() {
    let other = Seen {
        running: Some(toplevel("new")),
        ..well()
    };
    let expected = format!("the running system is {}", toplevel("new"));
    assert_eq!(words(&before(), &other), [expected]);
    let deaf = Seen {
        units: None,
        ..well()
    };
    assert_eq!(words(&before(), &deaf), ["systemd does not answer"]);
}

#[test]
fn only_what_broke_since_is_a_verdict() {
    for (unit, active, sub, counts) in [
        ("new.service", "failed", "failed", true),
        ("new.service", "activating", "auto-restart", true),
        ("new.service", "activating", "auto-restart-queued", true),
        ("new.service", "activating", "start", false),
        ("old.service", "failed", "failed", false),
        ("looping.service", "activating", "auto-restart", false),
        ("noise.service", "failed", "failed", false),
        ("deploy-flake.service", "failed", "failed", false),
        ("deploy-flake-test.service", "failed", "failed", false),
    ] {
        let complaints = before().judge(&with_unit(unit, active, sub), &Starter::default());
        assert_eq!(!complaints.is_none(), counts, "{unit} {active} {sub}");
        assert_eq!(complaints.failed_units.contains(unit), counts, "{unit}");
    }
}

#[test]
fn what_was_active_must_be_again_unless_it_cannot_or_has_ended_well() {
    let mut starter = Starter::default();
    for (unit, load, active, result, missed, missed_once_started) in [
        ("sshd.service", "loaded", "inactive", "success", true, true),
        ("sshd.service", "not-found", "inactive", "", true, true),
        ("web.service", "loaded", "inactive", "success", true, false),
        ("web.service", "loaded", "activating", "success", true, true),
        ("web.service", "loaded", "inactive", "exit-code", true, true),
        ("web.service", "not-found", "inactive", "", false, false),
        ("web.service", "masked", "inactive", "", false, false),
        ("noise.service", "loaded", "inactive", "", false, false),
    ] {
        let seen = with_down(unit, load, active, result);
        let what = format!("{unit} {load} {active} {result}");
        let fresh = before().judge(&seen, &Starter::default());
        assert_eq!(!fresh.is_none(), missed, "{what}");
        // As if it had been tried.
        starter.pretend_started(unit);
        let again = before().judge(&seen, &starter);
        assert_eq!(!again.is_none(), missed_once_started, "{what}");
    }
}

#[test]
fn ssh_and_the_default_route_count_if_they_were_there() {
    let cut_off = Seen {
        has_default_route: false,
        silent: vec!["127.0.0.1:22: refused".to_owned()],
        ..well()
    };
    assert_eq!(
        words(&before(), &cut_off),
        [
            "the ssh server does not answer on 127.0.0.1:22: refused",
            "the default route is gone"
        ]
    );
    let mut offline = before();
    if let Some(baseline) = &mut offline.baseline {
        baseline.probe = None;
    }
    let seen = Seen {
        has_default_route: false,
        ..well()
    };
    assert!(words(&offline, &seen).is_empty());
}

#[test]
fn an_ssh_server_that_did_not_answer_before_is_not_asked() {
    let mut silent = before();
    if let Some(baseline) = &mut silent.baseline {
        let port = |address: &str, banner| SshPort {
            address: address.to_owned(),
            banner,
        };
        baseline.probe = Some(ProbeReport {
            ssh: vec![
                port("127.0.0.1:1", Err("refused".to_owned())),
                port("not an address", Ok(())),
            ],
            ..ProbeReport::default()
        });
    }
    assert!(silent.silent().is_empty());
}

#[test]
fn without_a_plan_only_the_running_system_is_a_verdict() {
    let before = Before::of(&toplevel("old"), None);
    assert!(words(&before, &with_unit("any.service", "failed", "failed")).is_empty());
    let down = with_down("sshd.service", "loaded", "inactive", "exit-code");
    assert!(words(&before, &down).is_empty());
    let other = Seen {
        running: None,
        ..well()
    };
    assert_eq!(words(&before, &other).len(), 1);
}
