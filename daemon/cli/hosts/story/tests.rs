//! One host's story, told from its beginning in every way that it can end.

use super::super::errand::Cargo;
use super::super::far::tests::end_line;
use super::super::far::understand;
use super::*;
use crate::model::system::StorePath;

const LABEL: &str = "web1";

fn errand(repeats: Repeats) -> Errand {
    let words = |words: &str| words.split(' ').map(str::to_owned).collect();
    Errand {
        first: words("retry --wait --output json"),
        again: words("trigger --wait --output json"),
        repeats,
        waits: true,
        expected: None,
        timeout: None,
        confirm: None,
        stays: Stays::WithBranch,
        cargo: None,
    }
}

fn hear(story: &mut Story<'_>, line: &str) -> Option<News> {
    story.hear(understand(line.as_bytes()))
}

/// Hears the last word, of a state that is changed like that.
fn end(story: &mut Story<'_>, exit: u8, change: impl FnOnce(&mut serde_json::Value)) -> Fate {
    match story.hear(understand(&end_line(exit, change))) {
        Some(News::Over(fate)) => *fate,
        other => panic!("not over: {other:?}"),
    }
}

const TOLD: &str = r#"{"schema":1,"event":"triggered","look":6}"#;
const BUILDING: &str =
    r#"{"schema":1,"event":"phase","name":"building","deployment":"00c0ffee00c0ffee"}"#;

fn lost(story: &mut Story<'_>, stderr: &str, at: u64) -> Next {
    story.ended(Some(255), stderr, Duration::from_secs(at), 0)
}

fn is_over(next: Next) -> Fate {
    match next {
        Next::Over(fate) => fate,
        Next::Again { why, .. } => panic!("again: {why}"),
    }
}

#[test]
fn a_deployment_of_this_story_is_told_apart_from_one_before() {
    let errand = errand(Repeats::Freely);
    for (phase, outcome, ending) in [
        (Some(BUILDING), "deployed", Ending::Deployed),
        (Some(BUILDING), "unchanged", Ending::AlreadyThere),
        (None, "deployed", Ending::AlreadyThere),
    ] {
        let mut story = Story::new(LABEL, None, &errand);
        assert_eq!(hear(&mut story, TOLD), Some(News::Told { look: 6 }));
        if let Some(phase) = phase {
            assert!(matches!(hear(&mut story, phase), Some(News::Phase(_))));
            assert_eq!(hear(&mut story, phase), None, "told once");
        }
        let fate = end(&mut story, 0, |it| it["last"]["outcome"] = outcome.into());
        assert_eq!(fate.ending, ending, "{phase:?} {outcome}");
        assert_eq!((fate.why, fate.detail), (None, None));
    }
}

#[test]
fn each_code_of_the_far_side_is_an_ending_with_why_and_what_to_do() {
    let errand = errand(Repeats::Freely);
    for (exit, ending) in [
        (3, Ending::Refused),
        (4, Ending::RemoteUnreachable),
        (5, Ending::RebootRequired),
        (8, Ending::NeedsHuman),
        (9, Ending::RolledBack),
        (10, Ending::Unexpected),
    ] {
        let mut story = Story::new(LABEL, None, &errand);
        let fate = end(&mut story, exit, |it| {
            it["condition"]["remedy"] = "Push another.".into();
        });
        assert_eq!(fate.ending, ending);
        assert!(fate.why.is_some() && fate.to_do.is_some(), "{fate:?}");
    }
    for exit in [1, 2, 6, 7, 11, 12, 42, 130, 255] {
        let fate = end(&mut Story::new(LABEL, None, &errand), exit, |_| ());
        assert_eq!(fate.ending, Ending::Error, "{exit}");
    }
}

#[test]
fn a_host_that_contradicts_itself_is_not_believed() {
    let mut expecting = errand(Repeats::Freely);
    expecting.expected = crate::cli::expect::parse("fffffff").ok();
    let plain = errand(Repeats::Freely);
    let why = |errand: &Errand, configuration, state: &str| {
        let mut story = Story::new(LABEL, configuration, errand);
        let fate = end(&mut story, 0, |it| it["condition"]["state"] = state.into());
        assert_eq!(fate.ending, Ending::Error);
        fate.why.unwrap_or_default()
    };
    assert_eq!(
        why(&plain, None, "rolled-back"),
        "it contradicts itself: success, but its condition is rolled-back"
    );
    assert_eq!(
        why(&plain, Some("db"), "converged"),
        "it runs the configuration \"web1\", not \"db\""
    );
    assert_eq!(
        why(&expecting, None, "converged"),
        "it ended well, but not with fffffff"
    );
}

#[test]
fn a_confirm_window_is_known_by_its_deployment() {
    let errand = errand(Repeats::Freely);
    let mut story = Story::new(LABEL, None, &errand);
    let window = |story: &Story<'_>| story.in_window().map(|it| it.as_str().to_owned());
    hear(&mut story, BUILDING);
    assert_eq!(window(&story), None);
    hear(&mut story, &BUILDING.replace("building", "confirming"));
    assert_eq!(window(&story).as_deref(), Some("00c0ffee00c0ffee"));
    hear(&mut story, &BUILDING.replace("building", "claiming"));
    assert_eq!(window(&story), None);
}

#[test]
fn a_connection_that_dies_is_made_again_and_nothing_is_told_twice() {
    let errand = errand(Repeats::Never);
    let mut story = Story::new(LABEL, None, &errand);
    assert_eq!(story.words()[0], "retry");
    hear(
        &mut story,
        r#"{"schema":1,"event":"retried","look":6,"allowed":[]}"#,
    );
    hear(&mut story, BUILDING);
    assert_eq!(
        lost(
            &mut story,
            "Connection to web1 closed by remote host.\n",
            100
        ),
        Next::Again {
            after: Duration::from_secs(1),
            why: "Connection to web1 closed by remote host.".to_owned(),
        }
    );
    assert_eq!(story.words()[0], "trigger", "a retry is one activation");
    assert_eq!(
        lost(&mut story, "", 200),
        Next::Again {
            after: Duration::from_secs(2),
            why: "the connection was lost".to_owned(),
        }
    );
    assert_eq!(hear(&mut story, TOLD), None, "it was told before");
    let phase = Word::try_from("building".to_owned()).ok();
    assert_eq!(
        hear(&mut story, BUILDING),
        Some(News::Back { phase }),
        "the same goes on, with a connection"
    );
    assert_eq!(hear(&mut story, BUILDING), None);
    let fate = end(&mut story, 0, |it| {
        it["last"]["outcome"] = "deployed".into()
    });
    assert_eq!(fate.ending, Ending::Deployed);
}

#[test]
fn a_host_that_stays_away_is_given_up() {
    let errand = errand(Repeats::Freely);
    let mut story = Story::new(LABEL, None, &errand);
    hear(&mut story, BUILDING);
    for at in [1000, 1200, 1400, 1599] {
        assert!(matches!(
            lost(&mut story, "no route", at),
            Next::Again { .. }
        ));
    }
    let fate = is_over(lost(&mut story, "no route", 1600));
    assert_eq!(fate.ending, Ending::Unreachable);
    assert_eq!(
        fate.why.as_deref(),
        Some(
            "it was building the system when the connection was lost, and did not come back \
             within 10m: no route"
        )
    );
    assert_eq!(
        fate.to_do.as_deref(),
        Some("the daemon goes on by itself; `deploy-flake status` tells how far it is")
    );
}

#[test]
fn a_host_that_was_never_reached_is_tried_a_few_times_if_that_may_help() {
    let attempts = |repeats, stderr: &str| {
        let errand = errand(repeats);
        let mut story = Story::new(LABEL, None, &errand);
        let mut attempts = 1;
        while let Next::Again { .. } = lost(&mut story, stderr, 100) {
            attempts += 1;
        }
        attempts
    };
    assert_eq!(attempts(Repeats::Freely, "Connection refused"), 3);
    assert_eq!(attempts(Repeats::Never, "Connection refused"), 1);
    for words in [
        "root@web1: Permission denied (publickey).",
        "Host key verification failed.",
        "ssh: Could not resolve hostname web1: Name or service not known",
    ] {
        assert_eq!(attempts(Repeats::Freely, words), 1, "{words}");
    }
    let errand = errand(Repeats::Never);
    let mut story = Story::new(LABEL, None, &errand);
    let fate = is_over(lost(&mut story, "banner\n\u{1b}[31mrefused\n\n", 1));
    assert_eq!(fate.why.as_deref(), Some("\\u{1b}[31mrefused"));
    assert_eq!(fate.to_do.as_deref(), Some("see whether `ssh web1` works"));
}

#[test]
fn an_error_of_the_far_side_is_told_with_its_hint() {
    let errand = errand(Repeats::Freely);
    let said = "Last login: today\nerror: not allowed\n  caused by: no\u{7} right\nhint: Join.\n";
    for (code, stderr, ending, why, to_do) in [
        (
            1,
            said,
            Ending::Error,
            "not allowed: no\\u{7} right",
            Some("Join."),
        ),
        (
            7,
            "error: nobody answers\n",
            Ending::NotRunning,
            "nobody answers",
            None,
        ),
        (
            6,
            "error: too slow\nhint: It goes on.",
            Ending::GaveUp,
            "too slow",
            Some("It goes on."),
        ),
        (
            127,
            "sh: 1: deploy-flake: not found",
            Ending::Error,
            "sh: 1: deploy-flake: not found",
            Some("install deploy-flake there, where ssh's commands find it (PATH)"),
        ),
        (77, "", Ending::Error, "it does not say why", None),
    ] {
        let mut story = Story::new(LABEL, None, &errand);
        let fate = is_over(story.ended(Some(code), stderr, Duration::ZERO, 0));
        assert_eq!(fate.ending, ending, "{code}");
        assert_eq!(fate.why.as_deref(), Some(why), "{code}");
        assert_eq!(fate.to_do.as_deref(), to_do, "{code}");
    }
}

#[test]
fn a_command_that_the_daemon_outgrew_is_started_again_twice() {
    let errand = errand(Repeats::Freely);
    let mut story = Story::new(LABEL, None, &errand);
    hear(&mut story, BUILDING);
    let stderr = "error: expected a snapshot of schema 1 to 3, found schema 4";
    let ended = |story: &mut Story<'_>| story.ended(Some(1), stderr, Duration::ZERO, 0);
    assert!(matches!(ended(&mut story), Next::Again { .. }));
    assert!(matches!(ended(&mut story), Next::Again { .. }));
    assert_eq!(is_over(ended(&mut story)).ending, Ending::Error);
}

#[test]
fn without_a_last_word_nothing_is_taken_for_a_success() {
    let errand = errand(Repeats::Freely);
    let ended = |lines: &[&str]| {
        let mut story = Story::new(LABEL, None, &errand);
        for line in lines {
            hear(&mut story, line);
        }
        is_over(story.ended(Some(0), "", Duration::ZERO, 0))
    };
    for (lines, why) in [
        (&[][..], "it ended without a word"),
        (&[TOLD, BUILDING], "it ended without a word"),
        (
            &["Welcome!", TOLD],
            "its answer was not understood: no line of JSON: Welcome!",
        ),
        (
            &[r#"{"schema":9,"event":"end"}"#],
            "its answer was not understood: expected lines of schema 1, found schema 9",
        ),
    ] {
        let fate = ended(lines);
        assert_eq!(fate.ending, Ending::Error);
        assert_eq!(fate.why.as_deref(), Some(why));
    }
    let mut told = errand;
    told.waits = false;
    let mut story = Story::new(LABEL, None, &told);
    let silent = is_over(story.ended(Some(0), "", Duration::ZERO, 0));
    assert_eq!(silent.ending, Ending::Error);
    hear(&mut story, TOLD);
    let fate = is_over(story.ended(Some(0), "", Duration::ZERO, 0));
    assert_eq!(fate.ending, Ending::Told);
}

#[test]
fn pauses_grow_and_differ() {
    let seconds = |attempt, bits| pause(attempt, bits).as_secs_f64();
    assert_eq!(seconds(1, 0), 1.0);
    assert_eq!(seconds(4, 0), 8.0);
    assert_eq!(seconds(5, 0), 16.0);
    assert_eq!(seconds(6, 0), 30.0);
    assert_eq!(seconds(4_000_000, 0), 30.0);
    assert!(seconds(6, 499) > 44.0 && seconds(6, 499) < 45.0);
}

const SOURCE: &str = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source";

fn pushing() -> Errand {
    let source = || StorePath::try_from(SOURCE.to_owned()).expect("a good path");
    Errand {
        stays: Stays::There,
        cargo: Some(Cargo {
            source: source(),
            paths: vec![source()],
            called: "fleet (with changes)".to_owned(),
            timeout: Duration::from_secs(1),
            retries: 0,
        }),
        ..errand(Repeats::Freely)
    }
}

const PUSHED: &str = r#"{"schema":1,"event":"pushed","look":7}"#;

#[test]
fn a_push_is_told_by_what_became_of_it_and_not_by_the_state_of_the_host() {
    let errand = pushing();
    for (exit, state, pushed, outcome, expected) in [
        (
            0,
            "holding",
            SOURCE,
            "deployed",
            "deployed, fleet (with changes)",
        ),
        (
            0,
            "holding",
            SOURCE,
            "unchanged",
            "there already, fleet (with changes)",
        ),
        (
            9,
            "converged",
            SOURCE,
            "rolled-back",
            "rolled back: It does not start.",
        ),
        (
            3,
            "holding",
            SOURCE,
            "refused",
            "refused: It does not start.",
        ),
        // The next commit came, and took its place.
        (
            3,
            "converged",
            "/nix/store/0c2jdyz9ln1yvwls3xha72mwhnx49kvh-source",
            "deployed",
            "refused: The host is what main asks for.",
        ),
        (
            0,
            "rolled-back",
            SOURCE,
            "deployed",
            "error: it contradicts itself: success, but its condition is rolled-back",
        ),
    ] {
        let mut story = Story::new(LABEL, None, &errand);
        assert_eq!(hear(&mut story, PUSHED), Some(News::Pushed { look: 7 }));
        assert_eq!(story.words(), errand.again, "it is said once");
        hear(&mut story, BUILDING);
        let fate = end(&mut story, exit, |it| {
            it["condition"]["state"] = state.into();
            let last = &mut it["last"];
            last["outcome"] = outcome.into();
            last["pushed"] = serde_json::json!({ "source": pushed });
            last["failure"]["message"] = "It does not start.".into();
            last["failure"]["hint"] = "Mend it.".into();
        });
        let told = super::super::words::fate(&fate);
        assert_eq!(told, expected, "{exit} {state} {outcome}");
        let is_ours = told.ends_with("It does not start.");
        assert_eq!(
            fate.to_do.as_deref() == Some("Mend it."),
            is_ours,
            "{fate:?}"
        );
        assert!(fate.snapshot.is_some());
    }
}

#[test]
fn a_host_that_was_taken_back_may_hold_and_one_that_looks_may_not() {
    let back = Errand {
        stays: Stays::There,
        ..errand(Repeats::Never)
    };
    for (errand, ending) in [
        (&back, Ending::AlreadyThere),
        (&errand(Repeats::Freely), Ending::Error),
    ] {
        let mut story = Story::new(LABEL, None, errand);
        let told = r#"{"schema":1,"event":"goes-back","look":6}"#;
        assert_eq!(hear(&mut story, told), Some(News::Told { look: 6 }));
        let fate = end(&mut story, 0, |it| {
            it["condition"]["state"] = "holding".into()
        });
        assert_eq!(fate.ending, ending);
    }
}

#[test]
fn what_a_daemon_declines_is_refused_with_its_words() {
    let errand = pushing();
    let mut story = Story::new(LABEL, None, &errand);
    let stderr = "error: this host takes no pushes\nhint: See `deploy-flake status`.";
    let fate = is_over(story.ended(Some(3), stderr, Duration::ZERO, 0));
    assert_eq!(fate.ending, Ending::Refused);
    assert_eq!(fate.why.as_deref(), Some("this host takes no pushes"));
    let gave_up = Story::new(LABEL, None, &errand).gave_up(Duration::from_secs(60));
    assert_eq!(
        gave_up.why.as_deref(),
        Some("the snapshot was on its way after 1m")
    );
    let to_do = gave_up.to_do.expect("there is something to do");
    assert!(to_do.starts_with("push again"), "{to_do}");
}
