//! The kept deployments as a table, newest first: two lines for each.
//!
//! In: records, what could not be read, and how wide the terminal is. Out: text.
//! Must not: read anything.

use super::amounts::{count, lasted};
use super::short;
use crate::cli::columns::cut;
use crate::cli::sheet::Sheet;
use crate::cli::text::relative;
use crate::model::text::{LINE_LIMIT, one_line};
use crate::report::words;
use crate::store::history::Record;
use crate::store::snapshot::OutcomeName;
use jiff::Timestamp;

/// Where the second line of a deployment begins.
const INDENT: usize = 10;

/// What a table is made of.
pub(in super::super) struct Table<'a> {
    /// The newest deployments, newest first.
    pub(in super::super) records: &'a [Record],
    /// Files that could not be read, and why.
    pub(in super::super) unreadable: &'a [(String, String)],
    /// How many are kept.
    pub(in super::super) kept: usize,
    /// How many columns there are.
    pub(in super::super) columns: usize,
}

/// The whole text.
pub(in super::super) fn render(table: &Table<'_>, now: Timestamp) -> String {
    let mut sheet = Sheet::default();
    if !table.records.is_empty() {
        sheet.line(row("ID", "STARTED (UTC)", "COMMIT", "OUTCOME", "TOOK"));
    }
    for record in table.records {
        deployment(&mut sheet, record, table.columns);
    }
    for (file, why) in table.unreadable {
        sheet.paragraph(&format!(
            "warning: {file} is left out: {}",
            one_line(why, LINE_LIMIT)
        ));
    }
    if !table.records.is_empty() || !table.unreadable.is_empty() {
        sheet.blank();
    }
    sheet.paragraph(&sentence(table, now));
    sheet.text()
}

fn row(id: &str, started: &str, commit: &str, outcome: &str, took: &str) -> String {
    let row = format!("{id:<8}  {started:<16}  {commit:<12}  {outcome:<19}  {took}");
    row.trim_end().to_owned()
}

fn deployment(sheet: &mut Sheet, record: &Record, columns: usize) {
    sheet.line(row(
        &short(&record.deployment.0),
        &record.started_at.strftime("%Y-%m-%d %H:%M").to_string(),
        name(record),
        outcome(record.outcome),
        &lasted(record.duration_ms),
    ));
    if let Some(about) = about(record) {
        let room = columns.saturating_sub(INDENT);
        sheet.line(format!("{:INDENT$}{}", "", cut(&about, room)));
    }
}

/// What was to be brought: what was pushed is no commit.
fn name(record: &Record) -> &str {
    match record.pushed {
        Some(_) => "pushed",
        None => record.commit.short(),
    }
}

/// Why it failed, or what the commit says of itself.
fn about(record: &Record) -> Option<String> {
    if let Some(failure) = &record.failure {
        let message = one_line(&failure.message, LINE_LIMIT);
        return Some(format!("{}: {message}", failure.code.as_str()));
    }
    if let Some(pushed) = &record.pushed {
        return Some(words::pushed(pushed));
    }
    let subject = one_line(&record.description.as_ref()?.subject, LINE_LIMIT);
    (!subject.is_empty()).then_some(subject)
}

/// The outcome in a word or two.
pub(in super::super) fn outcome(name: OutcomeName) -> &'static str {
    match name {
        OutcomeName::Deployed => "deployed",
        OutcomeName::Unchanged => "was there already",
        OutcomeName::Refused => "refused",
        OutcomeName::Failed => "failed",
        OutcomeName::RolledBack => "rolled back",
        OutcomeName::RolledBackByReboot => "rolled back, reboot",
        OutcomeName::RollbackFailed => "ROLLBACK FAILED",
        OutcomeName::Inconclusive => "inconclusive",
        OutcomeName::RebootRequired => "needs a reboot",
        OutcomeName::Superseded => "superseded",
        OutcomeName::Overridden => "overridden",
    }
}

/// What the newest came to, and where there is more.
fn sentence(table: &Table<'_>, now: Timestamp) -> String {
    let Some(newest) = table.records.first() else {
        return "No deployment is kept. Each is once it has ended; what goes on is told by \
                `deploy-flake status`."
            .to_owned();
    };
    let shown = if table.records.len() < table.kept {
        format!(" of {}", count(table.kept, "deployment"))
    } else {
        String::new()
    };
    let (id, when) = (
        short(&newest.deployment.0),
        relative(newest.finished_at, now),
    );
    let more = if newest.failure.is_some() {
        format!("`deploy-flake show {id}` tells why and what to do")
    } else {
        format!(
            "`deploy-flake show {id}` tells all of it, `deploy-flake diff {id}` what it changed"
        )
    };
    format!(
        "Shown: {}{shown}. The newest ended {when}: {}; {more}.",
        table.records.len(),
        outcome(newest.outcome),
    )
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use crate::cli::text::WIDTH;
    use crate::model::failure::FailureCode;
    use crate::store::history::example::{deployed, rolled_back};

    fn now() -> Timestamp {
        "2026-11-22T12:06:30Z".parse().expect("it is a time")
    }

    fn told(records: &[Record], unreadable: &[(String, String)], kept: usize) -> String {
        let table = Table {
            records,
            unreadable,
            kept,
            columns: WIDTH,
        };
        render(&table, now())
    }

    /// The table for docs/screens.md.
    pub(in crate::cli) fn screen(columns: usize) -> String {
        let mut refused = rolled_back();
        refused.deployment.0 = "5eed5eed5eed5eed".to_owned();
        refused.outcome = OutcomeName::Refused;
        if let Some(failure) = &mut refused.failure {
            failure.code = FailureCode::BuildFailed;
            failure.message = "the build failed: builder for \
                 '/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-web1-24.11.drv' failed \
                 with exit code 1"
                .to_owned();
        }
        let table = Table {
            records: &[refused, rolled_back(), deployed()],
            unreadable: &[],
            kept: 41,
            columns,
        };
        render(&table, now())
    }

    #[test]
    fn each_deployment_has_two_lines() {
        assert_eq!(
            told(&[rolled_back(), deployed()], &[], 41),
            "\
ID        STARTED (UTC)     COMMIT        OUTCOME              TOOK
a1b2c3d4  2026-11-22 12:00  0123456789ab  rolled back          1 min 30 s
          unhealthy-after-test: web.service failed
00c0ffee  2026-11-22 12:00  0123456789ab  deployed             1 min 30 s
          web: serve more

Shown: 2 of 41 deployments. The newest ended 5 minutes ago: rolled back;
`deploy-flake show a1b2c3d4` tells why and what to do."
        );
    }

    #[test]
    fn what_could_not_be_read_is_told() {
        let torn = (
            "0000000007-0a.json".to_owned(),
            "it was torn \u{1b}[2J".to_owned(),
        );
        let text = told(&[deployed()], &[torn], 1);
        assert!(
            text.contains("warning: 0000000007-0a.json is left out: it was torn \\u{1b}[2J\n\n"),
            "{text}"
        );
        assert!(
            told(&[], &[], 0).starts_with("No deployment is kept."),
            "an empty history has no table"
        );
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_nothing_steers_it() {
        let mut record = deployed();
        record.duration_ms = 1000 * 24 * 3_600_000;
        record.outcome = OutcomeName::RolledBackByReboot;
        if let Some(description) = &mut record.description {
            description.subject = "\u{202e}wide \u{1b}]0;x\u{7} ".repeat(40);
        }
        let mut failed = rolled_back();
        if let Some(failure) = &mut failed.failure {
            failure.message = "line\n".repeat(200);
        }
        let text = told(&[record, failed], &[], 2);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(!line.chars().any(crate::model::text::is_unsafe), "{line:?}");
        }
    }
}
