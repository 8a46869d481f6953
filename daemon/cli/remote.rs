//! `deploy-flake remote`: the forced command of a key that may have the daemon
//! look, and see what comes of it, and nothing else.
//!
//! In: what was asked of sshd. Out: what `trigger` and `status` say. Must not:
//! hand any of it to a shell, or to the parser of the command line: what is not
//! on the list below is refused, also what is added to other commands later.

use anyhow::anyhow;

use super::ask::{self, Asked, Heard, Waiting};
use super::exit::Exit;
use super::expect;
use super::failure::Failure;
use super::output::Output;
use super::status;
use crate::host::environment;
use crate::ipc::client::Call;
use crate::model::text::one_line;

/// The longest request, in bytes; the longest that means anything has a hundred.
const LIMIT: usize = 512;

/// How much of what is refused is told.
const TOLD: usize = 60;

/// What is allowed.
#[derive(Clone, Debug)]
enum Request {
    /// To have the daemon look.
    Trigger(Asked),
    /// To see the state.
    Status(Output),
}

pub(super) fn run() -> Result<Exit, Failure> {
    let asked = environment::ssh_original_command();
    let text = match asked.as_ref().map(|it| it.to_str()) {
        None => return Err(refused("this is for sshd, and nothing was asked of it")),
        Some(None) => return Err(refused("what was asked is no text")),
        Some(Some(text)) => text,
    };
    match request(text).map_err(|why| refused(&why))? {
        Request::Trigger(asked) => ask::run_here(&asked, &Call::Trigger).map(undetailed),
        Request::Status(output) => status::here(output),
    }
}

/// The code as everybody else gets it.
fn undetailed(exit: Exit) -> Exit {
    if exit == Exit::AlreadyThere {
        Exit::Success
    } else {
        exit
    }
}

fn refused(why: &str) -> Failure {
    Failure::new(Exit::Usage, anyhow!("refused: {why}")).hint(
        "This key may run `deploy-flake trigger [--wait] [--expect COMMIT] [--timeout DURATION] \
         [--output text|json]` and `deploy-flake status [--output text|json]`.",
    )
}

/// Understands what was asked for. Words are what stands between spaces: nobody
/// needs a quote, so nobody may use one.
fn request(text: &str) -> Result<Request, String> {
    if text.len() > LIMIT {
        return Err(format!("more than {LIMIT} bytes"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || " -=".contains(c);
    if let Some(other) = text.chars().find(|c| !allowed(*c)) {
        let other = one_line(&other.to_string(), TOLD);
        return Err(format!("a command with {other} in it"));
    }
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    match (words.next(), words.next()) {
        (Some("deploy-flake"), Some("trigger")) => trigger(words).map(Request::Trigger),
        (Some("deploy-flake"), Some("status")) => status_of(words).map(Request::Status),
        (Some("deploy-flake"), Some(other)) => Err(format!("deploy-flake {}", shown(other))),
        (Some("deploy-flake"), None) => Err("deploy-flake without a command".to_owned()),
        (Some(other), _) => Err(shown(other)),
        (None, _) => Err("a shell".to_owned()),
    }
}

fn trigger<'a>(words: impl Iterator<Item = &'a str>) -> Result<Asked, String> {
    let mut asked = Asked {
        waiting: Waiting::Told,
        timeout: None,
        output: Output::Text,
        heard: Heard::Never,
    };
    for option in options(words) {
        match option {
            ("--wait", None) if asked.waiting == Waiting::Told => asked.waiting = Waiting::Over,
            ("--wait", None) => {}
            ("--expect", Some(commit)) => asked.waiting = Waiting::Commit(expect::parse(commit)?),
            ("--timeout", Some(time)) => asked.timeout = Some(ask::timeout(time)?),
            ("--output", Some(output)) => asked.output = output_of(output)?,
            (other, _) => return Err(format!("trigger {}", shown(other))),
        }
    }
    match (&asked.waiting, asked.timeout) {
        (Waiting::Told, Some(_)) => Err("--timeout without --wait".to_owned()),
        (Waiting::Told | Waiting::Over | Waiting::Commit(_), _) => Ok(asked),
    }
}

fn status_of<'a>(words: impl Iterator<Item = &'a str>) -> Result<Output, String> {
    let mut output = Output::Text;
    for option in options(words) {
        match option {
            ("--output", Some(it)) => output = output_of(it)?,
            (other, _) => return Err(format!("status {}", shown(other))),
        }
    }
    Ok(output)
}

fn output_of(word: &str) -> Result<Output, String> {
    match word {
        "text" => Ok(Output::Text),
        "json" => Ok(Output::Json),
        other => Err(format!("--output {}", shown(other))),
    }
}

/// Each option with its value, which stands behind it or behind '='. What is no
/// option stands as it is, and is refused.
fn options<'a>(words: impl Iterator<Item = &'a str>) -> Vec<(&'a str, Option<&'a str>)> {
    let mut options = Vec::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let option = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (
                word,
                words.next_if(|next| word.starts_with("--") && !next.starts_with('-')),
            ),
        };
        options.push(option);
    }
    options
}

fn shown(word: &str) -> String {
    one_line(word, TOLD)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_look_and_the_state_may_be_asked_for() {
        for (text, waiting, timeout, output) in [
            ("deploy-flake trigger", "Told", None, Output::Text),
            (
                "  deploy-flake   trigger --wait ",
                "Over",
                None,
                Output::Text,
            ),
            (
                "deploy-flake trigger --wait --expect 0123456 --timeout 1h30m --output json",
                "Commit(Expected(\"0123456\"))",
                Some(5400),
                Output::Json,
            ),
            (
                "deploy-flake trigger --output=json --expect=0123456 --wait",
                "Commit(Expected(\"0123456\"))",
                None,
                Output::Json,
            ),
        ] {
            let Ok(Request::Trigger(asked)) = request(text) else {
                panic!("{text}");
            };
            assert_eq!(format!("{:?}", asked.waiting), waiting, "{text}");
            assert_eq!(asked.timeout, timeout.map(Duration::from_secs), "{text}");
            assert_eq!(asked.output, output, "{text}");
        }
        for (text, expected) in [
            ("deploy-flake status", Output::Text),
            ("deploy-flake status --output json", Output::Json),
        ] {
            let is_that = |it: Request| matches!(it, Request::Status(output) if output == expected);
            assert!(request(text).is_ok_and(is_that), "{text}");
        }
    }

    #[test]
    fn nothing_else_may_be_asked_for() {
        let long = format!("deploy-flake trigger {}", "--wait ".repeat(100));
        for text in [
            "",
            " ",
            "sh",
            "deploy-flake",
            "deploy-flake retry",
            "deploy-flake allow 0123456789abcdef0123456789abcdef01234567",
            "deploy-flake daemon",
            "deploy-flake remote",
            "/bin/deploy-flake trigger",
            "deploy-flake trigger; id",
            "deploy-flake trigger && id",
            "deploy-flake trigger | sh",
            "deploy-flake trigger $(id)",
            "deploy-flake trigger `id`",
            "deploy-flake trigger\nid",
            "deploy-flake trigger\tid",
            "deploy-flake trigger 'a'",
            "deploy-flake trigger \u{1b}[2J",
            "deploy-flake trigger host2",
            "deploy-flake trigger --all",
            "deploy-flake trigger --flake x",
            "deploy-flake trigger --ssh-option ProxyCommand=id",
            "deploy-flake trigger --wait=yes",
            "deploy-flake trigger --wait host2",
            "deploy-flake trigger --wait --wait -- host2",
            "deploy-flake trigger --expect",
            "deploy-flake trigger --expect main",
            "deploy-flake trigger --expect -x",
            "deploy-flake trigger --wait --timeout",
            "deploy-flake trigger --wait --timeout forever",
            "deploy-flake trigger --timeout 5m",
            "deploy-flake trigger --wait --output xml",
            "deploy-flake trigger -h",
            "deploy-flake trigger --help",
            "deploy-flake status host2",
            "deploy-flake status --wait",
            "deploy-flake status --output",
            "scp -t x",
            &long,
        ] {
            assert!(request(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_refused_is_one_line_with_what_may_be_asked_instead() {
        let why = |text: &str| refused(&request(text).expect_err(text)).to_string();
        let hint = "hint: This key may run";
        for (text, first) in [
            ("deploy-flake retry", "error: refused: deploy-flake retry"),
            ("", "error: refused: a shell"),
            (
                "deploy-flake trigger \u{1b}[2J",
                "error: refused: a command with \\u{1b} in it",
            ),
            (
                "deploy-flake trigger --wait; id",
                "error: refused: a command with ; in it",
            ),
            ("deploy-flake trigger web2", "error: refused: trigger web2"),
        ] {
            let told = why(text);
            let (line, rest) = told.split_once('\n').expect("there is a hint");
            assert_eq!(line, first);
            assert!(
                rest.starts_with(hint) && rest.lines().count() == 1,
                "{rest}"
            );
        }
    }
}
