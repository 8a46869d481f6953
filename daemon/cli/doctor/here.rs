//! The doctor of this host.
//!
//! In: configuration, snapshot, bus, Nix, disks, clock, boot loader, state
//! directory and history. Out: what was found of each, as a page or JSON. Must
//! not: change anything, or need the daemon.

mod ask;
mod judge;

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::output::{Output, print};
use crate::cli::past::amounts::count;
use crate::cli::sheet::Sheet;
use crate::model::text::{LINE_LIMIT, one_line};

/// The version of the JSON.
const SCHEMA: u32 = 1;

/// How wide a state and the name of a thing are.
const LABEL: usize = 24;

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    /// Which thing, in a word.
    check: &'static str,
    state: State,
    /// What was found.
    message: String,
    /// What to do, unless it is well.
    remedy: Option<String>,
}

/// Whether it is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It is.
    Pass,
    /// It may become a hindrance, or could not be looked at.
    Warn,
    /// It keeps the host from following, or from being safe.
    Fail,
}

impl Check {
    fn pass(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Pass,
            message: message.into(),
            remedy: None,
        }
    }

    fn warn(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Warn,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn fail(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Fail,
            ..Self::warn(check, message, remedy)
        }
    }
}

/// The JSON.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    /// Whether nothing failed.
    healthy: bool,
    checks: &'a [Check],
}

pub(super) fn run(output: Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let checks = runtime.block_on(ask::everything());
    print(&match output {
        Output::Text => page(&checks),
        Output::Json => {
            let document = Document {
                schema: SCHEMA,
                healthy: number(&checks, State::Fail) == 0,
                checks: &checks,
            };
            json::pretty(&document).context("write the checks as JSON")?
        }
    })?;
    Ok(match number(&checks, State::Fail) {
        0 => Exit::Success,
        _ => Exit::Error,
    })
}

fn number(checks: &[Check], state: State) -> usize {
    checks.iter().filter(|check| check.state == state).count()
}

fn page(checks: &[Check]) -> String {
    let mut sheet = Sheet::default();
    for check in checks {
        let word = match check.state {
            State::Pass => "ok",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        };
        let label = format!("{word:<5}{}", check.check);
        sheet.fact_at(LABEL, &label, &one_line(&check.message, 2 * LINE_LIMIT));
        if let Some(remedy) = &check.remedy {
            sheet.fact_at(
                LABEL,
                "",
                &format!("to do: {}", one_line(remedy, 2 * LINE_LIMIT)),
            );
        }
    }
    sheet.blank();
    sheet.paragraph(&sentence(checks));
    sheet.text()
}

fn sentence(checks: &[Check]) -> String {
    match (number(checks, State::Fail), number(checks, State::Warn)) {
        (0, 0) => "Nothing keeps this host from following its remote.".to_owned(),
        (0, warnings) => format!(
            "Nothing keeps this host from following its remote; look at {}.",
            count(warnings, "warning")
        ),
        (1, _) => "1 thing has to be mended first: what to do stands beside it.".to_owned(),
        (failures, _) => {
            format!("{failures} things have to be mended first: what to do stands beside them.")
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::text::WIDTH;

    fn checks() -> Vec<Check> {
        vec![
            Check::pass("configuration", "/etc/deploy-flake/config.toml is correct"),
            Check::warn(
                "clock",
                "the clock is not synchronised",
                "Run a time service.",
            ),
            Check::fail("disk", "no room \u{1b}[2J".repeat(10), "Make room."),
        ]
    }

    /// The page for docs/screens.md.
    pub(in crate::cli) fn screen() -> String {
        page(&checks()[..2])
    }

    #[test]
    fn each_check_has_a_word_and_each_trouble_a_remedy() {
        assert_eq!(
            screen(),
            "  ok   configuration    /etc/deploy-flake/config.toml is correct
  WARN clock            the clock is not synchronised
                        to do: Run a time service.

Nothing keeps this host from following its remote; look at 1 warning."
        );
    }

    #[test]
    fn what_failed_is_counted_and_nothing_steers_the_terminal() {
        let text = page(&checks());
        assert!(
            text.contains("\n  FAIL disk             no room \\u{1b}[2J"),
            "{text}"
        );
        assert!(text.ends_with("1 thing has to be mended first: what to do stands beside it."));
        let mut two = checks();
        two.push(two[2].clone());
        assert!(
            page(&two)
                .ends_with("\n2 things have to be mended first: what to do stands beside them.")
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
    }
}
