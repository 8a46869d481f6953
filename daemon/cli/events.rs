//! What `trigger`, `retry` and `allow` write while they wait: lines for people, or one JSON object
//! a line (schema 1, `docs/exit-codes.md` and `--help`).
//!
//! In: what happened. Out: a line. Must not: decide.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::exit::Exit;
use super::follow::last_if;
use super::json;
use super::output::Output;
use super::text::{absolute, wrap};
use crate::model::deployment::DeploymentId;
use crate::model::policy::Guard;
use crate::model::progress::Progress;
use crate::model::revision::CommitId;
use crate::model::text::{LINE_LIMIT, lines, one_line};
use crate::report::words;
use crate::store::snapshot::{Last, Phase, Pushed, Snapshot};

/// The version of the lines.
const SCHEMA: u32 = 1;

/// How much of a step's last output is shown, in characters.
const DETAIL_LIMIT: usize = 4000;

/// One thing that happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event<'a> {
    /// The daemon has been told to look.
    Triggered {
        /// The number of the look.
        look: u64,
        /// In how many seconds it begins, where somebody asked only just now.
        #[serde(rename = "begins_in_seconds", skip_serializing_if = "is_zero")]
        begins_in: u64,
    },
    /// The daemon has been told to try once more.
    Retried {
        /// The number of the look.
        look: u64,
        /// What the system may lack.
        allowed: &'a BTreeSet<Guard>,
    },
    /// The daemon has been told to follow a commit once.
    Allowed {
        /// The number of the look.
        look: u64,
        /// Which commit.
        commit: &'a CommitId,
    },
    /// The daemon goes back to an earlier system.
    GoesBack {
        /// The number of the look that follows.
        look: u64,
    },
    /// The daemon has a snapshot, and deploys it.
    Pushed {
        /// The number of the look that follows.
        look: u64,
    },
    /// The daemon begins nothing new.
    Paused {
        /// When that ends by itself, if it does.
        until: Option<Timestamp>,
        /// Why.
        reason: &'a str,
    },
    /// The daemon goes on.
    Resumed {
        /// The number of the look that follows.
        look: u64,
    },
    /// The daemon waits for nothing more than the health of a system.
    Confirmed {
        /// Which deployment's.
        deployment: &'a DeploymentId,
    },
    /// The daemon leads back from a system.
    Rejected {
        /// Which deployment's.
        deployment: &'a DeploymentId,
        /// Why.
        reason: &'a str,
    },
    /// A phase began.
    Phase {
        /// Which, for which deployment, since when.
        #[serde(flatten)]
        phase: &'a Phase,
    },
    /// The phase is further than it was.
    Progress {
        /// How far.
        #[serde(flatten)]
        progress: &'a Progress,
    },
    /// The branch asks for another commit than the expected one.
    Unexpected {
        /// Which was expected, or its beginning.
        expected: String,
        /// Which it asks for.
        wanted: Option<&'a CommitId>,
    },
    /// The daemon was restarted, and told again.
    Restarted {
        /// The number of the look, for the new one.
        look: u64,
    },
    /// The look, and all that came of it, is over.
    End {
        /// The exit code.
        exit: u8,
        /// The whole state.
        snapshot: &'a Snapshot,
        /// The push that failed, which the state of the host is not about: it goes
        /// on with what it was before.
        #[serde(skip)]
        push: Option<&'a Last>,
    },
}

impl Event<'_> {
    /// The line, or lines for people.
    pub(super) fn render(&self, output: Output) -> anyhow::Result<String> {
        match output {
            Output::Text => Ok(self.text()),
            Output::Json => Ok(json::line(&Versioned {
                schema: SCHEMA,
                event: self,
            })?),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Triggered { look, begins_in } => triggered(*look, *begins_in),
            Self::Retried { look, allowed } => retried(*look, allowed),
            Self::Allowed { look, commit } => {
                format!(
                    "the daemon may follow {commit} once, and looks at its remote (look {look})"
                )
            }
            Self::GoesBack { look } => wrap(
                &format!(
                    "the host goes back to an earlier system, and stays there until the branch is \
                     a new commit or somebody says `deploy-flake resume` (look {look})"
                ),
                "",
            ),
            Self::Pushed { look } => {
                format!("the daemon has the snapshot, and goes on by itself (look {look})")
            }
            Self::Paused { until, .. } => paused(*until),
            Self::Resumed { look } => {
                format!("deployments go on: the daemon looks at its remote (look {look})")
            }
            Self::Confirmed { deployment } => wrap(
                &format!(
                    "deployment {deployment} ends its confirm window as soon as the host is seen \
                     healthy; `deploy-flake status` tells how it ends"
                ),
                "",
            ),
            Self::Rejected { deployment, .. } => wrap(
                &format!(
                    "the host is led back from deployment {deployment}, whose system is not \
                     activated again by itself; `deploy-flake status` tells when it is there"
                ),
                "",
            ),
            Self::Restarted { look } => {
                format!("the daemon was restarted, and looks again (look {look})")
            }
            Self::Unexpected { expected, wanted } => {
                let wanted = wanted.map_or("nothing", |commit| commit.short());
                format!("the branch asks for {wanted}, not for {expected}")
            }
            Self::Phase { phase } => {
                format!("{}  {}", absolute(phase.since), words::phase(phase.name))
            }
            Self::End {
                push: Some(last), ..
            } => end_of_push(last),
            Self::Progress { progress } => words::building(progress),
            Self::End { snapshot, .. } => end(snapshot),
        }
    }
}

fn triggered(look: u64, begins_in: u64) -> String {
    match begins_in {
        0 => format!("the daemon looks at its remote (look {look})"),
        1 => {
            format!("the daemon was asked only just now, and looks again in a second (look {look})")
        }
        seconds => format!(
            "the daemon was asked only just now, and looks again in {seconds} seconds (look {look})"
        ),
    }
}

fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

fn paused(until: Option<Timestamp>) -> String {
    let until = words::until(until);
    wrap(
        &format!(
            "deployments are paused: nothing new is begun {until}, and what runs is finished; \
             `deploy-flake resume` lets them go on"
        ),
        "",
    )
}

fn retried(look: u64, allowed: &BTreeSet<Guard>) -> String {
    let names: Vec<_> = allowed.iter().map(|guard| guard.name()).collect();
    let lacking = if names.is_empty() {
        String::new()
    } else {
        format!("; the system may lack: {}", names.join(", "))
    };
    format!("the daemon tries what its branch asks for once more (look {look}){lacking}")
}

/// A line with its version in front.
#[derive(Serialize)]
struct Versioned<'a> {
    schema: u32,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

/// The end of an exit code.
pub(super) fn over(exit: Exit, snapshot: &Snapshot) -> Event<'_> {
    Event::End {
        exit: exit.code(),
        snapshot,
        push: None,
    }
}

/// The same for whoever waits for what was pushed.
pub(super) fn push_over<'a>(exit: Exit, snapshot: &'a Snapshot, pushed: &Pushed) -> Event<'a> {
    Event::End {
        exit: exit.code(),
        snapshot,
        push: last_if(snapshot, pushed),
    }
}

/// The final word on a push that failed.
fn end_of_push(last: &Last) -> String {
    let outcome = words::outcome(last.outcome);
    let Some(failure) = &last.failure else {
        return outcome.to_owned();
    };
    let why = one_line(&failure.message, LINE_LIMIT);
    let mut text = wrap(&format!("{outcome}: {why}"), "");
    if !failure.detail.is_empty() {
        text.push('\n');
        text.push_str(&indented(&failure.detail));
    }
    let hint = one_line(&failure.hint, LINE_LIMIT);
    text.push('\n');
    text.push_str(&wrap(&format!("to do: {hint}"), ""));
    text
}

/// The final word: the condition, the end of the output of what failed, and
/// what to do.
fn end(snapshot: &Snapshot) -> String {
    let condition = &snapshot.condition;
    let state = words::headline(snapshot);
    let why = one_line(&condition.why, LINE_LIMIT);
    let mut text = wrap(&format!("{state}: {why}"), "");
    if let Some(detail) = snapshot
        .last
        .as_ref()
        .and_then(|last| detail(last, snapshot))
    {
        text.push('\n');
        text.push_str(&detail);
    }
    if let Some(remedy) = &condition.remedy {
        text.push('\n');
        text.push_str(&wrap(
            &format!("to do: {}", one_line(remedy, LINE_LIMIT)),
            "",
        ));
    }
    text
}

/// The end of the output of what failed, if it is the wanted commit that did.
pub(super) fn detail(last: &Last, snapshot: &Snapshot) -> Option<String> {
    let wanted = snapshot.desired.as_ref()?;
    let failure = last.failure.as_ref()?;
    if last.commit != wanted.commit || failure.detail.is_empty() {
        return None;
    }
    Some(indented(&failure.detail))
}

fn indented(detail: &str) -> String {
    let shown = lines(detail, DETAIL_LIMIT);
    let indented: Vec<String> = shown.lines().map(|line| format!("  | {line}")).collect();
    indented.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::snapshot::OutcomeName;
    use crate::store::snapshot::example::full;

    #[test]
    fn lines_for_programs_have_a_schema_and_an_event() {
        let snapshot = full();
        let render = |event: Event<'_>| event.render(Output::Json).expect("it serialises");
        assert_eq!(
            render(Event::Triggered {
                look: 6,
                begins_in: 0
            }),
            r#"{"schema":1,"event":"triggered","look":6}"#
        );
        assert_eq!(
            render(Event::Triggered {
                look: 6,
                begins_in: 7
            }),
            r#"{"schema":1,"event":"triggered","look":6,"begins_in_seconds":7}"#
        );
        let allowed = [Guard::SshServer].into();
        let retried = || Event::Retried {
            look: 6,
            allowed: &allowed,
        };
        assert_eq!(
            render(retried()),
            r#"{"schema":1,"event":"retried","look":6,"allowed":["ssh-server"]}"#
        );
        assert_eq!(
            retried().render(Output::Text).expect("it is text"),
            "the daemon tries what its branch asks for once more (look 6); the system may lack: \
             ssh-server"
        );
        assert_eq!(
            render(Event::Phase {
                phase: &snapshot.phase
            }),
            r#"{"schema":1,"event":"phase","name":"resting","deployment":"00c0ffee00c0ffee","since":"2026-11-22T12:00:00Z"}"#
        );
        let progress = Progress::parse("1 of 3 built: two> x").expect("it is one");
        let progress = Event::Progress {
            progress: &progress,
        };
        assert_eq!(
            progress.render(Output::Text).expect("it is text"),
            "building, 1 of 3 built: two> x"
        );
        assert_eq!(
            render(progress),
            r#"{"schema":1,"event":"progress","built":{"done":1,"expected":3},"fetched":{"done":0,"expected":0},"last_line":"two> x"}"#
        );
        let line = render(over(Exit::Refused, &snapshot));
        let json: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        assert_eq!(json["event"], "end");
        assert_eq!(json["exit"], 3);
        assert_eq!(json["snapshot"]["condition"]["state"], "converged");
        assert!(!line.contains('\n'));
    }

    #[test]
    fn the_final_word_says_why_and_what_to_do() {
        let mut snapshot = full();
        snapshot.condition.remedy = Some("Correct the flake.\u{1b}[2J".to_owned());
        let text = over(Exit::Refused, &snapshot)
            .render(Output::Text)
            .expect("it is text");
        assert_eq!(
            text,
            "converged: The host is what main asks for.\n  \
               | error: undefined variable 'x'\n\
             to do: Correct the flake.\\u{1b}[2J"
        );
    }

    #[test]
    fn the_final_word_on_a_push_that_failed_is_about_the_push() {
        let mut snapshot = full();
        let pushed = crate::store::snapshot::example::pushed();
        snapshot.last = snapshot.last.map(|last| Last {
            pushed: Some(pushed.clone()),
            outcome: OutcomeName::RolledBack,
            ..last
        });
        let text = push_over(Exit::RolledBack, &snapshot, &pushed)
            .render(Output::Text)
            .expect("it is text");
        let start = "was rolled back, the previous system runs again: ";
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.contains("\n  | error: undefined") && text.contains("\nto do: "),
            "{text}"
        );
        let other = Pushed {
            dirty: !pushed.dirty,
            ..pushed
        };
        let text = push_over(Exit::Refused, &snapshot, &other)
            .render(Output::Text)
            .expect("it is text");
        assert!(text.starts_with("converged: "), "{text}");
    }
}
