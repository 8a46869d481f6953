//! The status for people, at 80 columns.
//!
//! In: the snapshot, whether the daemon lives, and the present time. Out:
//! text. Must not: read anything.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Life;
use crate::cli::events::detail;
use crate::cli::sheet::{LABEL, Sheet};
use crate::cli::text::{WIDTH, moment, relative, system};
use crate::model::text::{LINE_LIMIT, one_line};
use crate::report::words;
use crate::store::snapshot::{
    ConditionState, PhaseName, RebootName, Remote, Snapshot, TestingState,
};

/// How late a look may be before the daemon is said to hang: longer than the
/// jitter of the interval and the time a poll may take.
const GRACE_AT_REST: Duration = Duration::from_secs(2 * 60);

/// The same while a look is going on, which may be fetching.
const GRACE_WHILE_LOOKING: Duration = Duration::from_secs(15 * 60);

/// What to do about a system that is not activated by itself.
const RETRY: &str = "push a commit that mends it; or, if the cause lay outside of the commit, \
                     `deploy-flake retry`";

/// What to do about a pause that holds nothing up.
const RESUME: &str = "`deploy-flake resume`, once new commits may come again";

/// About a boot entry that could not be put back.
const UNSAFE: &str = "DO NOT REBOOT until this is the same as what runs: the boot entry could not \
                      be put back";

/// The whole page.
pub(super) fn render(snapshot: &Snapshot, life: Life, now: Timestamp) -> String {
    let mut page = Sheet::default();
    head(&mut page, snapshot, life, now);
    page.blank();
    wanted(&mut page, snapshot);
    systems(&mut page, snapshot);
    remotes(&mut page, snapshot, now);
    newest(&mut page, snapshot, now);
    testing(&mut page, snapshot);
    hold(&mut page, snapshot, now);
    pause(&mut page, snapshot, now);
    doing(&mut page, snapshot, now);
    last(&mut page, snapshot, now);
    quarantine(&mut page, snapshot, now);
    daemon(&mut page, snapshot, life, now);
    to_do(&mut page, snapshot, life, now);
    page.text()
}

/// The page when no daemon has written anything in this boot.
pub(super) fn never(life: Life) -> String {
    let mut page = Sheet::default();
    match life {
        Life::Running => {
            page.line("deploy-flake: the daemon is starting");
            page.indented("It has not written its state yet.");
            page.blank();
            page.paragraph("to do: look again in a moment, or `systemctl status deploy-flake`");
        }
        Life::Stopped | Life::Unknown => {
            page.line("deploy-flake: the daemon has not run since this host was booted");
            page.indented("Nothing is known of what the remote asks for.");
            page.blank();
            page.paragraph(
                "to do: `systemctl start deploy-flake`; if it does not exist, set \
                 services.deploy-flake.enable = true",
            );
        }
    }
    page.text()
}

fn head(page: &mut Sheet, snapshot: &Snapshot, life: Life, now: Timestamp) {
    let name = one_line(&snapshot.host.name, LINE_LIMIT);
    let condition = &snapshot.condition;
    let state = words::headline(snapshot);
    match trouble(snapshot, life, now) {
        Some(trouble) => {
            page.line(format!("{name}: {}", trouble.headline()));
            page.indented(&format!("The last word of the daemon was: {state}."));
        }
        None => page.line(format!("{name}: {state}")),
    }
    page.indented(&one_line(&condition.why, LINE_LIMIT));
    page.indented(&format!("Since {}.", moment(condition.since, now)));
}

/// Why the snapshot is not to be taken for the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// There is no daemon.
    Stopped,
    /// It should have looked long ago.
    Overdue,
}

impl Trouble {
    fn headline(self) -> &'static str {
        match self {
            Self::Stopped => "the daemon is NOT RUNNING",
            Self::Overdue => "the daemon is OVERDUE",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Stopped => {
                "`systemctl start deploy-flake`; why it ended: `journalctl -u deploy-flake`"
            }
            Self::Overdue => {
                "the next look is long past: `systemctl restart deploy-flake`; steps that run go on"
            }
        }
    }
}

fn trouble(snapshot: &Snapshot, life: Life, now: Timestamp) -> Option<Trouble> {
    match life {
        Life::Stopped => Some(Trouble::Stopped),
        Life::Running | Life::Unknown => is_overdue(snapshot, now).then_some(Trouble::Overdue),
    }
}

/// Whether the next look is long past although nothing keeps the daemon.
fn is_overdue(snapshot: &Snapshot, now: Timestamp) -> bool {
    let grace = if snapshot.looks.started > snapshot.looks.finished {
        GRACE_WHILE_LOOKING
    } else {
        GRACE_AT_REST
    };
    let late = |next: Timestamp| {
        now.duration_since(next) > SignedDuration::try_from(grace).unwrap_or_default()
    };
    let mut next = snapshot.all_remotes().iter().map(|it| it.next_look_at);
    snapshot.phase.name == PhaseName::Resting && next.any(|at| at.is_some_and(late))
}

fn wanted(page: &mut Sheet, snapshot: &Snapshot) {
    let remote = &snapshot.remote;
    let commit = match (&snapshot.desired, &remote.head) {
        (Some(desired), _) => desired.commit.short(),
        (None, Some(head)) => head.short(),
        (None, None) => "not known yet",
    };
    let url = one_line(&remote.url, LINE_LIMIT);
    let testing = snapshot.desired.as_ref().and_then(|it| it.testing.as_ref());
    let branch = testing.unwrap_or(&remote.branch);
    let pushed = snapshot.desired.as_ref().and_then(|it| it.pushed.as_ref());
    match pushed {
        None => page.fact("wanted", &format!("{commit}, {branch} of {url}")),
        Some(pushed) => page.fact("wanted", &words::pushed(pushed)),
    }
    let toplevel = snapshot
        .desired
        .as_ref()
        .and_then(|desired| desired.toplevel.as_ref());
    if let Some(toplevel) = toplevel.filter(|it| Some(*it) != snapshot.system.running.as_ref()) {
        page.fact("", &system(toplevel, WIDTH - LABEL));
    }
}

fn systems(page: &mut Sheet, snapshot: &Snapshot) {
    let systems = &snapshot.system;
    let width = WIDTH - LABEL;
    let running = systems.running.as_ref();
    page.fact(
        "running",
        &running.map_or_else(|| "not known".to_owned(), |it| system(it, width)),
    );
    let profile = match &systems.profile {
        None => "not known".to_owned(),
        Some(it) if Some(it) == running => "the same".to_owned(),
        Some(it) => system(it, width),
    };
    let generation = systems
        .generation
        .map_or_else(String::new, |it| format!(", generation {}", it.0));
    page.fact("profile", &format!("{profile}{generation}"));
    let next = match &systems.default_entry {
        None => "not read from the boot loader".to_owned(),
        Some(it) if Some(it) == running => "the same".to_owned(),
        Some(it) => system(it, width),
    };
    page.fact("next boot", &next);
    match snapshot.reboot {
        RebootName::Safe => {}
        RebootName::Unsafe => page.fact("", UNSAFE),
    }
}

fn remotes(page: &mut Sheet, snapshot: &Snapshot, now: Timestamp) {
    let all = snapshot.all_remotes();
    if let [remote] = all {
        page.fact("remote", &times(remote, now));
        error(page, remote);
        return;
    }
    for remote in all {
        let name = one_line(&remote.name, LINE_LIMIT);
        let place = words::place(remote.place);
        let commit = remote
            .head
            .as_ref()
            .map_or("no commit", |head| head.short());
        let times = times(remote, now);
        page.fact("remote", &format!("{name}, {commit}: {place}; {times}"));
        let of = format!("{} of {}", remote.branch, remote.url);
        page.fact("", &one_line(&of, LINE_LIMIT));
        error(page, remote);
    }
    for warning in words::warnings(all) {
        page.fact("warning", &one_line(&warning, LINE_LIMIT));
    }
}

/// Since when the branch is what it is: of one that is held back for ever this
/// is all that can be seen.
fn newest(page: &mut Sheet, snapshot: &Snapshot, now: Timestamp) {
    if let Some(at) = snapshot.last_new_commit_at {
        page.fact("new commit", &format!("last seen {}", relative(at, now)));
    }
}

/// When the remote answered, and is asked again.
fn times(remote: &Remote, now: Timestamp) -> String {
    let answered = remote.last_answer_at.map_or_else(
        || "never answered yet".to_owned(),
        |at| format!("answered {}", relative(at, now)),
    );
    let next = remote.next_look_at.map_or_else(String::new, |at| {
        if at >= now {
            format!(", asked again {}", relative(at, now))
        } else {
            format!(", was to be asked again {}", relative(at, now))
        }
    });
    format!("{answered}{next}")
}

fn error(page: &mut Sheet, remote: &Remote) {
    if let Some(error) = &remote.last_error {
        page.fact("", &one_line(&error.message, LINE_LIMIT));
    }
}

/// The testing branch, unless there is none to speak of.
fn testing(page: &mut Sheet, snapshot: &Snapshot) {
    let Some(testing) = &snapshot.testing else {
        return;
    };
    match testing.state {
        TestingState::Absent => {}
        TestingState::Unknown
        | TestingState::Merged
        | TestingState::Refused
        | TestingState::Pending
        | TestingState::Running
        | TestingState::Held => {
            let why = one_line(&testing.why, LINE_LIMIT);
            page.fact("testing", &format!("{}: {why}", testing.branch));
            if let Some(code) = testing.code {
                page.fact("", code.as_str());
            }
        }
    }
}

/// What root went back to, or pushed.
fn hold(page: &mut Sheet, snapshot: &Snapshot, now: Timestamp) {
    let Some(hold) = &snapshot.hold else { return };
    let (commit, by) = (hold.commit.short(), hold.by);
    let since = relative(hold.since, now);
    let until = match hold.ends_with_boot {
        true => "held until a new commit, `resume` or a reboot",
        false => "held until a new commit or `resume`",
    };
    match &hold.pushed {
        None => page.fact(
            "went back",
            &format!("by {by} to {commit}, {since}; {until}"),
        ),
        Some(pushed) => {
            page.fact("runs", &words::pushed(pushed));
            page.fact("", &format!("by {by}, {since}; {until}"));
        }
    }
}

/// That nothing new is begun, and by whose word.
fn pause(page: &mut Sheet, snapshot: &Snapshot, now: Timestamp) {
    let Some(pause) = &snapshot.pause else { return };
    let until = words::until(pause.until);
    let since = relative(pause.since, now);
    let by = pause.by;
    page.fact(
        "paused",
        &format!("by {by}, {since}; nothing new is begun {until}"),
    );
    if !pause.reason.is_empty() {
        page.fact("", &one_line(&pause.reason, LINE_LIMIT));
    }
    if let Some(waiting) = &pause.waiting {
        page.fact("", &format!("{} waits for its end", waiting.short()));
    }
}

fn doing(page: &mut Sheet, snapshot: &Snapshot, now: Timestamp) {
    let phase = &snapshot.phase;
    let doing = words::phase(phase.name);
    let since = relative(phase.since, now);
    page.fact("doing", &format!("{doing}, since {since}"));
    if let Some(progress) = &phase.progress {
        // The file could be written by whoever is root; the line is others' anyway.
        let text = one_line(&progress.to_string(), LINE_LIMIT);
        page.fact("", &text);
    }
    if let Some(deployment) = &phase.deployment {
        let id = one_line(&deployment.0, LINE_LIMIT);
        page.fact("", &format!("journalctl DEPLOY_FLAKE_DEPLOYMENT={id}"));
    }
}

fn last(page: &mut Sheet, snapshot: &Snapshot, now: Timestamp) {
    let Some(last) = &snapshot.last else {
        page.fact("last", "no deployment has ended yet");
        return;
    };
    let outcome = words::outcome(last.outcome);
    let commit = match &last.pushed {
        None => last.commit.short().to_owned(),
        Some(pushed) => words::pushed(pushed),
    };
    let branch = last.testing.as_ref();
    let of = branch.map_or_else(String::new, |branch| format!(" of {branch}"));
    page.fact(
        "last",
        &format!(
            "{commit}{of} {outcome}, {}",
            relative(last.finished_at, now)
        ),
    );
    let Some(failure) = &last.failure else {
        return;
    };
    let message = one_line(&failure.message, LINE_LIMIT);
    page.fact("", &format!("{}: {message}", failure.code.as_str()));
    if let Some(detail) = detail(last, snapshot) {
        page.line(detail);
    }
}

/// What failed here and is not activated again: in full if it is what the
/// branch asks for, else how many there are.
fn quarantine(page: &mut Sheet, snapshot: &Snapshot, now: Timestamp) {
    let held = snapshot.held();
    if let Some(held) = held {
        let since = relative(held.since, now);
        let code = held.code.as_str();
        page.fact(
            "held",
            &format!(
                "what is wanted failed here as {}, {since}, and is not activated again by itself",
                held.commit.short()
            ),
        );
        let message = one_line(&held.message, LINE_LIMIT);
        page.fact("", &format!("{code}: {message}"));
    }
    let others = snapshot.quarantine.len() - usize::from(held.is_some());
    if others > 0 {
        let plural = if others == 1 { "" } else { "s" };
        let label = if held.is_some() { "" } else { "held" };
        let other = if held.is_some() { " other" } else { "" };
        page.fact(
            label,
            &format!("{others}{other} system{plural} that failed here: --output json"),
        );
    }
}

fn daemon(page: &mut Sheet, snapshot: &Snapshot, life: Life, now: Timestamp) {
    let daemon = &snapshot.daemon;
    let version = one_line(&daemon.version, LINE_LIMIT);
    let started = relative(daemon.started_at, now);
    let text = match life {
        Life::Running => format!("{version}, process {}, started {started}", daemon.pid),
        Life::Stopped => format!("{version}, not running, was started {started}"),
        Life::Unknown => format!("{version}, started {started}; whether it runs is not known"),
    };
    page.fact("daemon", &text);
}

fn to_do(page: &mut Sheet, snapshot: &Snapshot, life: Life, now: Timestamp) {
    let remedy = snapshot.condition.remedy.as_deref();
    // Not while it is being tried, nor where the daemon itself says so already.
    let is_held = snapshot.held().is_some() && snapshot.phase.name == PhaseName::Resting;
    let is_told = remedy.is_some_and(|remedy| remedy.contains("deploy-flake retry"));
    let is_paused = snapshot.pause.is_some();
    let is_pause_told = snapshot.condition.state == ConditionState::Paused;
    let remedies = [
        trouble(snapshot, life, now).map(|trouble| trouble.remedy().to_owned()),
        remedy.map(|text| one_line(text, LINE_LIMIT)),
        (is_held && !is_told).then(|| RETRY.to_owned()),
        (is_paused && !is_pause_told).then(|| RESUME.to_owned()),
    ];
    if remedies.iter().any(Option::is_some) {
        page.blank();
    }
    for remedy in remedies.iter().flatten() {
        page.paragraph(&format!("to do: {remedy}"));
    }
}

#[cfg(test)]
pub(super) mod tests;
