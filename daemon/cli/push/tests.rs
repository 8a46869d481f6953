//! Every option has its place: in the words for the far side, and from there in
//! those for the bus.

use clap::Parser as _;

use super::super::arguments::{self, Command};
use super::*;

const SOURCE: &str = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn parse(words: &[String]) -> Arguments {
    let words = std::iter::once("deploy-flake".to_owned()).chain(words.iter().cloned());
    let parsed = arguments::Arguments::try_parse_from(words).expect("it is understood");
    let Command::Push(arguments) = parsed.command else {
        panic!("it is a push");
    };
    *arguments
}

fn line(line: &str) -> Arguments {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words)
}

fn snapshot() -> Snapshot {
    let source = |text: &str| text.to_owned().try_into().expect("a good path");
    Snapshot {
        source: source(SOURCE),
        paths: vec![source(SOURCE)],
        commit: Some(COMMIT.to_owned()),
        dirty: true,
        name: Some("-ann's fleet".to_owned()),
    }
}

/// The first lines of a push, for docs/screens.md.
pub(in crate::cli) fn told() -> String {
    let snapshot = Snapshot {
        name: Some("fleet".to_owned()),
        ..snapshot()
    };
    snapshot.told(Output::Text)
}

#[test]
fn what_is_said_here_is_what_the_daemon_of_the_far_side_hears() {
    let claims = [
        format!("commit={COMMIT}"),
        "dirty".to_owned(),
        "name=-ann's fleet".to_owned(),
    ];
    for (given, options) in [
        ("push web1", &[][..]),
        ("push web1 --test-only --no-wait", &["test-only"]),
        ("push web1 --test=run --preflight-check=run", &[]),
        (
            "push web1 --test=skip --preflight-check=skip --timeout 1h30m",
            &["skip-test", "skip-preflight"],
        ),
        (
            "push web1 --pre-activate-script bin/check",
            &["pre-activate-script=bin/check"],
        ),
    ] {
        let here = line(given);
        let far = parse(&here.far_words(&snapshot()));
        let options = options.iter().map(|it| (*it).to_owned());
        let expected: Vec<String> = options.chain(claims.clone()).collect();
        assert_eq!(far.options(), expected, "{given}");
        assert_eq!(here.options_of(&snapshot()), expected, "{given}");
        assert_eq!(far.source.as_deref(), Some(SOURCE));
        assert_eq!(far.wait, !here.no_wait, "{given}");
        assert_eq!(far.timeout, here.timeout, "{given}");
        assert_eq!(far.output, Output::Json);
    }
    let errand = line("push web1").errand(&snapshot());
    assert!(parse(&errand.again).again && !parse(&errand.first).again);
}

#[test]
fn what_a_host_would_refuse_is_refused_before_anything_is_copied() {
    let push = |words: &str| {
        let options = line(words).options_of(&snapshot());
        Push::parse(SOURCE.to_owned(), "any".to_owned(), &options)
    };
    for words in [
        "push web1 --test-only --test=skip",
        "push web1 --preflight-check=skip --pre-activate-script x",
        "push web1 --pre-activate-script /bin/sh",
        "push web1 --pre-activate-script ../x",
    ] {
        assert!(push(words).is_err(), "{words}");
    }
    assert!(push("push web1 --test-only").is_ok());
}

#[test]
fn what_has_no_place_is_answered_with_what_there_is_instead() {
    let build = "error: a push has no arguments for the build: a host builds what is pushed as it \
                 builds commits\nhint: Put what the build needs into the flake, or into the host's \
                 configuration: [evaluate] and nix.settings.";
    let nowhere = "error: nothing says where to push to\nhint: Name hosts, such as \
                   nixos://root@HOST/CONFIGURATION, or say --all or --on PATTERN; on the host \
                   itself name a flake in its store, with --source.";
    for (words, expected) in [
        ("push web1 --build-cmdline=--impure", build),
        ("push web1 --build-cmdline --builders x", build),
        ("push --build-cmdline", build),
        ("push", nowhere),
    ] {
        let refused = run(&line(words)).expect_err(words);
        assert_eq!(refused.exit, Exit::Usage, "{words}");
        assert_eq!(refused.to_string(), expected);
    }
    let option = "ProxyCommand=ssh -W %h:%p jump".to_owned();
    let words = ["push", "web1", "--ssh-option"].map(str::to_owned);
    let refused = run(&parse(&[&words[..], &[option]].concat())).expect_err("it has spaces");
    assert_eq!(
        refused.to_string(),
        "error: --ssh-option \"ProxyCommand=ssh -W %h:%p jump\" has spaces, which nix takes for the \
         end of an option\nhint: Put it into ~/.ssh/config."
    );
    let names = ["db", "web1"].map(str::to_owned).into();
    assert_eq!(
        no_configuration("wbe1", &names).to_string(),
        "error: the flake has no configuration \"wbe1\"; it has: db, web1\nhint: Correct the name \
         behind nixos://HOST/. Nothing was copied."
    );
}
