//! All that is kept of one deployment, for people.
//!
//! In: a record and the present time. Out: text at 80 columns. Must not: read
//! anything.

use jiff::Timestamp;

use super::amounts::{count, lasted};
use super::{difference, short};
use crate::cli::sheet::{LABEL, Sheet};
use crate::cli::text::{WIDTH, moment, system};
use crate::model::health::{ProbeReport, Reachability};
use crate::model::policy::Mode;
use crate::model::system::Toplevel;
use crate::model::text::{LINE_LIMIT, lines, one_line};
use crate::report::words;
use crate::store::history::{Evidence, Record};

/// How wide lengths of time are.
const TOOK: usize = 10;

/// A phase that is shorter is only counted, in milliseconds.
const SHORT_PHASE: u64 = 100;

/// How much of a failure's detail is shown, in characters.
const DETAIL_LIMIT: usize = 4000;

/// The whole page.
pub(in super::super) fn render(record: &Record, now: Timestamp) -> String {
    let mut sheet = Sheet::default();
    head(&mut sheet, record, now);
    sheet.blank();
    commit(&mut sheet, record);
    systems(&mut sheet, record);
    phases(&mut sheet, record);
    if let Some(health) = &record.health {
        evidence(&mut sheet, health);
    }
    failure(&mut sheet, record);
    changes(&mut sheet, record);
    sheet.blank();
    if let Some(found) = &record.difference {
        difference::packages(&mut sheet, found);
    }
    to_do(&mut sheet, record);
    sheet.text()
}

fn head(sheet: &mut Sheet, record: &Record, now: Timestamp) {
    let outcome = words::outcome(record.outcome);
    match &record.pushed {
        None => sheet.line(format!("{} {outcome}", record.commit.short())),
        Some(_) => sheet.line(format!("pushed: {outcome}")),
    }
    let interruptions = match record.interruptions {
        0 => String::new(),
        1 => ", with a reboot in between".to_owned(),
        times => format!(", with {times} reboots in between"),
    };
    let ended = moment(record.finished_at, now);
    let took = lasted(record.duration_ms);
    sheet.indented(&format!("Ended {ended}, took {took}{interruptions}."));
}

fn commit(sheet: &mut Sheet, record: &Record) {
    sheet.fact("deployment", &one_line(&record.deployment.0, LINE_LIMIT));
    match &record.pushed {
        None => sheet.fact("commit", record.commit.as_str()),
        Some(pushed) => {
            sheet.fact("what", &words::pushed(pushed));
            sheet.fact("", pushed.source.as_str());
            sheet.fact("instead of", record.commit.as_str());
        }
    }
    let description = record.description.as_ref();
    if let Some(description) = description.filter(|it| !it.subject.is_empty()) {
        sheet.fact("", &one_line(&description.subject, LINE_LIMIT));
    }
    if let Some(remote) = &record.remote {
        let branch = record.testing.as_ref().unwrap_or(&remote.branch);
        sheet.fact(
            "branch",
            &format!("{branch} of {}", one_line(&remote.url, LINE_LIMIT)),
        );
    }
    if let Some(signer) = description.and_then(|it| it.signer.as_ref()) {
        let (who, key) = (
            one_line(&signer.principal, LINE_LIMIT),
            one_line(&signer.key, LINE_LIMIT),
        );
        sheet.fact("signed by", &format!("{who}, {key}"));
    }
    let mode = match record.mode {
        Mode::Switch => "to be tested, then booted",
        Mode::Boot => "to be booted",
        Mode::Test => "only to be tested",
    };
    sheet.fact("why", &format!("{}; {mode}", record.cause.as_str()));
}

fn systems(sheet: &mut Sheet, record: &Record) {
    let width = WIDTH - LABEL;
    let shown = |toplevel: Option<&Toplevel>| {
        toplevel.map_or_else(
            || "not known".to_owned(),
            |toplevel| system(toplevel, width),
        )
    };
    let before = record.before.running.as_ref();
    sheet.fact("before", &shown(before));
    match &record.toplevel {
        Some(wanted) if Some(wanted) == before => sheet.fact("wanted", "the same"),
        Some(wanted) => sheet.fact("wanted", &shown(Some(wanted))),
        None => sheet.fact("wanted", "was not built"),
    }
    let Some(after) = &record.after else {
        return;
    };
    let generation = after.generation;
    let generation = generation.map_or_else(String::new, |it| format!(", generation {}", it.0));
    let named = |toplevel: Option<&Toplevel>| match toplevel {
        Some(it) if Some(it) == record.toplevel.as_ref() => "what was wanted".to_owned(),
        Some(it) if Some(it) == before => "what was before".to_owned(),
        toplevel => shown(toplevel),
    };
    sheet.fact(
        "after",
        &format!("{}{generation}", named(after.running.as_ref())),
    );
    sheet.fact("next boot", &named(after.default_entry.as_ref()));
}

fn phases(sheet: &mut Sheet, record: &Record) {
    let (long, short): (Vec<_>, Vec<_>) = record
        .phases
        .iter()
        .map(|it| (words::phase(it.phase), it.duration_ms))
        .partition(|(_, milliseconds)| *milliseconds >= SHORT_PHASE);
    let width = long.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut label = "phases";
    for (name, milliseconds) in &long {
        let took = lasted(*milliseconds);
        let row = format!(
            "{label:<beside$}{name:<width$}  {took:>TOOK$}",
            beside = LABEL - 2
        );
        sheet.line(format!("  {row}"));
        label = "";
    }
    if !short.is_empty() {
        let noun = if long.is_empty() {
            "phase"
        } else {
            "other phase"
        };
        let number = count(short.len(), noun);
        sheet.fact(label, &format!("{number} of less than 0.1 s each"));
    }
}

fn evidence(sheet: &mut Sheet, health: &Evidence) {
    let names = |names: &[String]| {
        let names: Vec<String> = names
            .iter()
            .map(|name| one_line(name, LINE_LIMIT))
            .collect();
        names.join(", ")
    };
    sheet.fact(
        "health",
        &format!("watched for {}", lasted(health.watched_ms)),
    );
    if let Some(expected) = &health.expected {
        sheet.fact("", &format!("right before: {}", seen(expected)));
    }
    if !health.required.is_empty() {
        sheet.fact(
            "",
            &format!("had to be active: {}", names(&health.required)),
        );
    }
    if !health.failed_before.is_empty() {
        let failed = names(&health.failed_before);
        sheet.fact(
            "",
            &format!("had failed before, and so were no verdict: {failed}"),
        );
    }
}

/// What a probe saw, in words.
fn seen(probe: &ProbeReport) -> String {
    let mut seen = Vec::new();
    match &probe.remote {
        Reachability::Reachable => seen.push("the remote answered".to_owned()),
        Reachability::Unreachable(_) => seen.push("the remote did not answer".to_owned()),
        Reachability::Unknown => {}
    }
    for port in &probe.ssh {
        let address = one_line(&port.address, LINE_LIMIT);
        let answers = if port.banner.is_ok() {
            "answered"
        } else {
            "did not answer"
        };
        seen.push(format!("ssh on {address} {answers}"));
    }
    let route = if probe.default_route {
        "a default route"
    } else {
        "no default route"
    };
    seen.push(route.to_owned());
    for user in &probe.user {
        let name = one_line(&user.name, LINE_LIMIT);
        let verdict = if user.result.is_ok() {
            "passed"
        } else {
            "failed"
        };
        seen.push(format!("{name} {verdict}"));
    }
    seen.join(", ")
}

fn failure(sheet: &mut Sheet, record: &Record) {
    let Some(failure) = &record.failure else {
        return;
    };
    let message = one_line(&failure.message, LINE_LIMIT);
    sheet.fact(
        "failure",
        &format!("{} ({})", failure.code.as_str(), failure.class.as_str()),
    );
    sheet.fact("", &message);
    for line in lines(&failure.detail, DETAIL_LIMIT).lines() {
        sheet.line(format!("  | {line}"));
    }
}

fn changes(sheet: &mut Sheet, record: &Record) {
    match (&record.difference, record.systems()) {
        (Some(found), _) => {
            sheet.fact("changes", &difference::sentence(found));
            difference::facts(sheet, found);
        }
        (None, Some(_)) => sheet.fact("changes", "not found out"),
        (None, None) => {}
    }
}

fn to_do(sheet: &mut Sheet, record: &Record) {
    let failure = record.failure.as_ref();
    if let Some(failure) = failure.filter(|failure| !failure.hint.is_empty()) {
        let hint = one_line(&failure.hint, 2 * LINE_LIMIT);
        sheet.paragraph(&format!("to do: {hint}"));
    }
    let id = short(&record.deployment.0);
    sheet.paragraph(&format!("`deploy-flake logs {id}` shows what was said."));
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;
    use crate::store::history::example::{deployed, rolled_back};

    fn told(record: &Record) -> String {
        render(
            record,
            "2026-11-22T12:06:30Z".parse().expect("it is a time"),
        )
    }

    /// The page for docs/screens.md.
    pub(in crate::cli) fn screen() -> String {
        told(&deployed())
    }

    #[test]
    fn a_deployment_is_told_from_commit_to_changes() {
        assert_eq!(
            screen(),
            "\
0123456789ab deployed
  Ended 2026-11-22 12:01:30 UTC (5 minutes ago), took 1 min 30 s.

  deployment 00c0ffee00c0ffee
  commit     0123456789abcdef0123456789abcdef01234567
             web: serve more
  branch     main of https://example.org/hosts.git
  signed by  alice@example.org, SHA256:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo
  why        new commit; to be tested, then booted
  before     aaaaaaaaaaaa…-nixos-system-web1-24.11.1
  wanted     bbbbbbbbbbbb…-nixos-system-web1-24.11.2
  after      what was wanted, generation 42
  next boot  what was wanted
  phases     importing the flake                    0.1 s
             evaluating the configuration           8.4 s
             building the system                     15 s
             activating the system for a test       2.1 s
             watching the host's health         1 min 0 s
  health     watched for 1 min 0 s
             right before: the remote answered, ssh on 127.0.0.1:22 answered, a
             default route
             had to be active: nginx.service
             had failed before, and so were no verdict: old.service
  changes    2 packages changed, 1 package added, 1 package removed, 3 units,
             another kernel.
  kernel     linux 6.6.60 → linux 6.6.61, from the next boot on
  units      added: fd.timer
             changed: nginx.service, sshd.service
  size       1.6 GiB → 1.6 GiB (+4.0 MiB), 812 → 815 paths

changed
  ↑ linux    6.6.60 → 6.6.61                                                +0 B
  ↓ openssl  3.0.15 → 3.0.14                                                +0 B

added
  + fd  10.2.0                                                          +3.3 MiB

removed
  - nano  8.2                                                           -3.3 MiB

`deploy-flake logs 00c0ffee` shows what was said."
        );
    }

    #[test]
    fn a_failure_is_told_with_its_cause_and_what_to_do() {
        let text = told(&rolled_back());
        assert!(
            text.starts_with("0123456789ab was rolled back, the previous system runs again\n"),
            "{text}"
        );
        let told = "  failure    unhealthy-after-test (deterministic)\n             web.service \
                    failed\n  | web.service: exit status 1\n";
        assert!(text.contains(told), "{text}");
        assert!(
            text.contains("  after      what was before, generation 41\n"),
            "{text}"
        );
        assert!(
            text.contains("\n\nto do: Push a commit that mends it.\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out_or_said() {
        let mut bare = deployed();
        bare.description = None;
        bare.remote = None;
        bare.phases.clear();
        bare.health = None;
        bare.difference = None;
        bare.after = None;
        bare.interruptions = 2;
        let text = told(&bare);
        assert!(text.contains("  changes    not found out\n"), "{text}");
        assert!(text.contains("with 2 reboots"), "{text}");
        bare.toplevel = None;
        let text = told(&bare);
        assert!(text.contains("  wanted     was not built\n"), "{text}");
    }

    #[test]
    fn nothing_that_others_wrote_steers_a_terminal() {
        let hostile = "\u{1b}]0;owned\u{7}\u{202e}";
        let mut record = rolled_back();
        record.description = deployed().description;
        if let Some(failure) = &mut record.failure {
            failure.message = hostile.to_owned();
            failure.detail = format!("one\n{hostile}");
            failure.hint = hostile.to_owned();
        }
        if let Some(description) = &mut record.description {
            description.subject = hostile.to_owned();
            if let Some(signer) = &mut description.signer {
                signer.principal = hostile.to_owned();
            }
        }
        if let Some(health) = &mut record.health {
            health.required = vec![hostile.to_owned()];
        }
        if let Some(difference) = &mut record.difference {
            difference.units.added = vec![hostile.to_owned()];
        }
        let text = told(&record);
        let steers = |c: char| c != '\n' && crate::model::text::is_unsafe(c);
        assert!(!text.chars().any(steers), "{text:?}");
    }
}
