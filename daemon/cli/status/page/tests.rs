//! The page as people see it, in every state.

use super::*;
use crate::model::progress::Progress;
use crate::store::snapshot::example::full;
use crate::store::snapshot::{ConditionState, OutcomeName, PhaseName, PlaceName, RemoteError};

fn at(text: &str) -> Timestamp {
    text.parse().expect("it is a time")
}

fn converged() -> Snapshot {
    let mut snapshot = full();
    snapshot.remote.last_error = None;
    snapshot.remote.next_look_at = Some(at("2026-11-22T12:12:40Z"));
    snapshot.remote.last_answer_at = Some(at("2026-11-22T12:11:40Z"));
    snapshot.remote.place = PlaceName::Followed;
    snapshot.remotes = vec![snapshot.remote.clone()];
    snapshot.phase.deployment = None;
    snapshot.condition.remedy = None;
    snapshot.quarantine.clear();
    if let Some(last) = &mut snapshot.last {
        last.outcome = OutcomeName::Deployed;
        last.failure = None;
    }
    snapshot
}

fn now() -> Timestamp {
    at("2026-11-22T12:12:00Z")
}

/// The page for docs/screens.md.
pub(in crate::cli) fn screen() -> String {
    render(&converged(), Life::Running, now())
}

#[test]
fn a_converged_host_is_told_at_a_glance() {
    assert_eq!(
        screen(),
        "\
web1: converged
  The host is what main asks for.
  Since 2026-11-22 12:00:00 UTC (12 minutes ago).

  wanted     0123456789ab, main of https://example.org/hosts.git
  running    0c2jdyz9ln1y…-nixos-system-web1-24.11
  profile    the same, generation 3
  next boot  the same
  remote     answered 20 seconds ago, asked again in 40 seconds
  new commit last seen 12 minutes ago
  doing      resting, since 12 minutes ago
  last       0123456789ab deployed, 12 minutes ago
  daemon     0.1.0, process 123, started 12 minutes ago"
    );
}

#[test]
fn several_remotes_are_told_each_and_one_that_is_dead_is_a_warning() {
    let mut snapshot = converged();
    let mut mirror = snapshot.remote.clone();
    mirror.name = "mirror".to_owned();
    mirror.url = "ssh://git@example.net/hosts.git".to_owned();
    mirror.place = PlaceName::Silent;
    mirror.last_answer_at = None;
    mirror.head = None;
    mirror.last_error = Some(RemoteError {
        code: crate::model::failure::FailureCode::RemoteUnreachable,
        message: "ssh://git@example.net/hosts.git did not answer within 30 s".to_owned(),
    });
    snapshot.remotes.push(mirror);
    let text = render(&snapshot, Life::Running, now());
    assert!(text.starts_with("web1: converged\n"), "{text}");
    let told = "
  remote     origin, 0123456789ab: followed; answered 20 seconds ago, asked
             again in 40 seconds
             main of https://example.org/hosts.git
  remote     mirror, no commit: offers nothing; never answered yet, asked again
             in 40 seconds
             main of ssh://git@example.net/hosts.git
             ssh://git@example.net/hosts.git did not answer within 30 s
  warning    mirror offers nothing now; the host follows origin.
";
    assert!(text.contains(told), "{text}");
    snapshot.remotes[1].next_look_at = Some(at("2026-11-22T12:00:00Z"));
    assert!(
        is_overdue(&snapshot, now()),
        "one that nobody asks is one too many"
    );
}

#[test]
fn a_refusal_says_why_and_what_to_do() {
    let mut snapshot = full();
    snapshot.condition.state = ConditionState::Refused;
    snapshot.condition.why = "The host was not touched; commit 0123456789ab of main was \
                                  refused: the flake does not evaluate."
        .to_owned();
    snapshot.condition.remedy = Some("Correct the flake.".to_owned());
    snapshot.remotes[0].next_look_at = Some(now());
    assert_eq!(
        render(&snapshot, Life::Running, now()),
        "\
web1: refused
  The host was not touched; commit 0123456789ab of main was refused: the flake
  does not evaluate.
  Since 2026-11-22 12:00:00 UTC (12 minutes ago).

  wanted     0123456789ab, main of https://example.org/hosts.git
  running    0c2jdyz9ln1y…-nixos-system-web1-24.11
  profile    the same, generation 3
  next boot  the same
  remote     answered 12 minutes ago, asked again now
             example.org did not answer
  new commit last seen 12 minutes ago
  doing      resting, since 12 minutes ago
             journalctl DEPLOY_FLAKE_DEPLOYMENT=00c0ffee00c0ffee
  last       0123456789ab refused, nothing was touched, 12 minutes ago
             evaluation-failed: the flake does not evaluate
  | error: undefined variable 'x'
  held       1 system that failed here: --output json
  daemon     0.1.0, process 123, started 12 minutes ago

to do: Correct the flake."
    );
}

#[test]
fn what_is_wanted_and_held_is_told_with_the_way_out() {
    let mut snapshot = full();
    let wanted = snapshot
        .desired
        .as_ref()
        .and_then(|desired| desired.toplevel.clone());
    let mut held = snapshot.quarantine[0].clone();
    held.toplevel = wanted.expect("the example has everything");
    snapshot.quarantine.push(held);
    snapshot.condition.remedy = Some("Mend web.service.".to_owned());
    let text = render(&snapshot, Life::Running, now());
    let told = "
  held       what is wanted failed here as 0123456789ab, 12 minutes ago, and is
             not activated again by itself
             unhealthy-after-test: web.service failed
             1 other system that failed here: --output json
";
    assert!(text.contains(told), "{text}");
    let to_do = "
to do: Mend web.service.
to do: push a commit that mends it; or, if the cause lay outside of the commit,
`deploy-flake retry`";
    assert!(text.ends_with(to_do), "{text}");
    snapshot.condition.remedy = Some("Run `deploy-flake retry` here.".to_owned());
    let text = render(&snapshot, Life::Running, now());
    assert!(
        text.ends_with("to do: Run `deploy-flake retry` here."),
        "{text}"
    );
}

#[test]
fn a_host_that_no_way_led_back_is_told_first() {
    let mut snapshot = converged();
    snapshot.condition.state = ConditionState::Failed;
    if let Some(last) = &mut snapshot.last {
        last.outcome = OutcomeName::RollbackFailed;
    }
    let text = render(&snapshot, Life::Running, now());
    assert!(
        text.starts_with("web1: CRITICAL, the way back failed\n"),
        "{text}"
    );
}

#[test]
fn a_daemon_that_is_stopped_or_hangs_is_told_first() {
    let text = render(&converged(), Life::Stopped, now());
    assert!(text.starts_with(
        "web1: the daemon is NOT RUNNING\n  The last word of the daemon was: converged.\n"
    ));
    assert!(text.contains("0.1.0, not running, was started 12 minutes ago"));
    assert!(text.contains("to do: `systemctl start deploy-flake`"));

    let later = at("2026-11-22T12:15:00Z");
    let text = render(&converged(), Life::Running, later);
    assert!(text.starts_with("web1: the daemon is OVERDUE\n"), "{text}");
    assert!(
        text.contains("was to be asked again 2 minutes ago"),
        "{text}"
    );
    assert!(text.contains("`systemctl restart deploy-flake`"), "{text}");
}

#[test]
fn a_deployment_or_a_long_fetch_is_not_overdue() {
    let later = at("2026-11-22T12:20:00Z");
    let mut deploying = converged();
    deploying.phase.name = PhaseName::Building;
    assert!(!is_overdue(&deploying, later));
    let mut fetching = converged();
    fetching.looks.started += 1;
    assert!(!is_overdue(&fetching, later));
    assert!(is_overdue(&fetching, at("2026-11-22T12:30:00Z")));
    assert!(is_overdue(&converged(), later));
    let mut first = converged();
    first.remotes[0].next_look_at = None;
    assert!(!is_overdue(&first, later));
}

#[test]
fn a_host_without_a_daemon_says_what_to_do() {
    assert_eq!(
        never(Life::Stopped),
        "\
deploy-flake: the daemon has not run since this host was booted
  Nothing is known of what the remote asks for.

to do: `systemctl start deploy-flake`; if it does not exist, set
services.deploy-flake.enable = true"
    );
}

#[test]
fn no_line_is_wider_than_80_columns_and_none_steers_the_terminal() {
    let mut snapshot = full();
    snapshot.condition.why = "\u{1b}]52;c;x\u{7} ".repeat(100);
    snapshot.condition.remedy = Some("word ".repeat(100));
    if let Some(failure) = snapshot
        .last
        .as_mut()
        .and_then(|last| last.failure.as_mut())
    {
        failure.message = "\u{9b}1m word ".repeat(100);
        failure.detail = "\u{1b}[2J".to_owned();
    }
    let text = render(&snapshot, Life::Unknown, now());
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn a_host_that_tests_says_of_which_branch_and_where_a_reboot_leads() {
    use crate::store::snapshot::TestingState;
    let mut snapshot = converged();
    let branch = snapshot.testing.as_ref().map(|it| it.branch.clone());
    if let Some(desired) = &mut snapshot.desired {
        desired.testing.clone_from(&branch);
    }
    if let Some(last) = &mut snapshot.last {
        last.testing = branch;
    }
    if let Some(testing) = &mut snapshot.testing {
        testing.state = TestingState::Running;
        testing.why = "The host runs it; a reboot leads back to main.".to_owned();
    }
    snapshot.condition.state = ConditionState::Testing;
    let page = render(&snapshot, Life::Running, now());
    for line in [
        "web1: testing",
        "  wanted     0123456789ab, testing-web1 of https://example.org/hosts.git",
        "  testing    testing-web1: The host runs it; a reboot leads back to main.",
        "  last       0123456789ab of testing-web1 deployed, 12 minutes ago",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line:?} in {page}"
        );
    }
}

#[test]
fn what_operators_said_is_told_with_the_way_out() {
    let mut snapshot = converged();
    snapshot.pause = Some(crate::store::snapshot::example::pause());
    let page = render(&snapshot, Life::Running, now());
    assert!(page.starts_with("web1: converged\n"), "{page}");
    let paused = "
  paused     by user 1000, 12 minutes ago; nothing new is begun until 2026-11-22
             12:00:00 UTC
             a fair
";
    assert!(page.contains(paused), "{page}");
    assert!(page.contains("to do: `deploy-flake resume`"), "{page}");
    snapshot.pause = None;
    snapshot.hold = Some(crate::store::snapshot::example::hold());
    snapshot.condition.state = ConditionState::Holding;
    let page = render(&snapshot, Life::Running, now());
    let held = "
  went back  by root to 0123456789ab, 12 minutes ago; held until a new commit or
             `resume`
";
    assert!(page.contains(held), "{page}");
    snapshot.hold = Some(crate::store::snapshot::Hold {
        pushed: Some(crate::store::snapshot::example::pushed()),
        ends_with_boot: true,
        ..crate::store::snapshot::example::hold()
    });
    let page = render(&snapshot, Life::Running, now());
    let held = "
  runs       the pushed snapshot web: try it (commit 0123456789ab with changes)
             by root, 12 minutes ago; held until a new commit, `resume` or a
             reboot
";
    assert!(page.contains(held), "{page}");
}

#[test]
fn a_build_says_how_far_it_is_and_what_was_said_last() {
    let mut snapshot = converged();
    snapshot.phase.name = PhaseName::Building;
    let line = "41 of 126 built, 12 of 260 fetched: linux-6.6.61> CC drivers/net/igb.o";
    snapshot.phase.progress = Progress::parse(line);
    let page = render(&snapshot, Life::Running, now());
    let told = "
  doing      building the system, since 12 minutes ago
             41 of 126 built, 12 of 260 fetched: linux-6.6.61> CC
             drivers/net/igb.o
";
    assert!(page.contains(told), "{page}");
}
