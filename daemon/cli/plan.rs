//! `deploy-flake plan`: what a look would do now, and what that would do to the
//! units.
//!
//! In: the snapshot, the configuration, and what the wanted system says itself.
//! Out: a page or JSON. Must not: change anything, or have the daemon do so.

mod foresight;
mod units;

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use self::foresight::{Settings, Would};
use self::units::Changes;
use super::exit::Exit;
use super::failure::Failure;
use super::hosts::{self, Question, Selection};
use super::json;
use super::output::{Output, print};
use super::sheet::{LABEL, Sheet};
use super::status;
use super::text::{WIDTH, moment, relative, system};
use crate::config::{self, DEFAULT_FILE};
use crate::host::clock;
use crate::model::policy::Mode;
use crate::model::revision::CommitId;
use crate::model::system::Toplevel;
use crate::model::text::{LINE_LIMIT, one_line};
use crate::report::words;
use crate::store::snapshot::{self, Remote, Snapshot};

/// The version of the JSON.
const SCHEMA: u32 = 1;

/// The arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// For people, or JSON; of other hosts one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: u32,
    /// What a look would do, in a word.
    would: Would,
    /// The same as a sentence.
    then: &'a str,
    /// Why the host is what it is.
    why: &'a str,
    remedy: Option<&'a str>,
    configuration: &'a str,
    /// How systems are brought to the host; null where the file cannot be read.
    mode: Option<Mode>,
    /// The commit that was confirmed last, which others have to descend from.
    floor: Option<&'a CommitId>,
    /// The commit that is wanted, as the remotes answered last.
    commit: Option<&'a CommitId>,
    remotes: &'a [Remote],
    /// The system that differs from what runs, if there is one.
    toplevel: Option<&'a Toplevel>,
    units: &'a Changes,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.selection.is_given() {
        let question = Question {
            name: "plan",
            words: Vec::new(),
            codes: &[0],
        };
        return hosts::pages(&arguments.selection, &question, arguments.output);
    }
    let snapshot = snapshot::read(Path::new(snapshot::FILE)).map_err(status::not_read)?;
    let snapshot = snapshot.0;
    let settings = settings();
    let other = foresight::other_system(&snapshot);
    let units = match other {
        None => Changes::None,
        Some(other) => ask(&snapshot, other)?,
    };
    let now = clock::now().wall;
    print(&match arguments.output {
        Output::Text => page(&snapshot, settings, &units, now),
        Output::Json => json(&snapshot, settings, &units, now)?,
    })?;
    Ok(Exit::Success)
}

/// What of the configuration a look depends on; none, where nobody can say.
fn settings() -> Option<Settings> {
    let (config, _) = config::load(Path::new(DEFAULT_FILE)).ok()?;
    Some(Settings {
        mode: config.policy.mode,
        on_drift: config.policy.on_drift,
    })
}

fn ask(snapshot: &Snapshot, other: &Toplevel) -> Result<Changes, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    Ok(runtime.block_on(units::changes(snapshot.phase.name, other)))
}

fn json(
    snapshot: &Snapshot,
    settings: Option<Settings>,
    units: &Changes,
    now: Timestamp,
) -> Result<String, Failure> {
    let would = foresight::would(snapshot, settings);
    let condition = &snapshot.condition;
    let told = Told {
        schema: SCHEMA,
        would,
        then: &foresight::sentence(would, snapshot, now),
        why: &condition.why,
        remedy: condition.remedy.as_deref(),
        configuration: &snapshot.host.configuration,
        mode: settings.map(|it| it.mode),
        floor: snapshot.floor.as_ref(),
        commit: snapshot.desired.as_ref().map(|it| &it.commit),
        remotes: snapshot.all_remotes(),
        toplevel: foresight::other_system(snapshot),
        units,
    };
    Ok(json::pretty(&told).context("write the plan as JSON")?)
}

fn page(
    snapshot: &Snapshot,
    settings: Option<Settings>,
    units: &Changes,
    now: Timestamp,
) -> String {
    let mut sheet = Sheet::default();
    let would = foresight::would(snapshot, settings);
    let name = one_line(&snapshot.host.name, LINE_LIMIT);
    sheet.line(format!("{name}: a look now would {}", would.words()));
    // Why it is refused says that.
    if would != Would::Refuse {
        sheet.indented(&foresight::sentence(would, snapshot, now));
    }
    sheet.indented(&one_line(&snapshot.condition.why, LINE_LIMIT));
    sheet.blank();
    for remote in snapshot.all_remotes() {
        self::remote(&mut sheet, remote, now);
    }
    let floor = snapshot.floor.as_ref().map_or_else(
        || "nothing was confirmed yet".to_owned(),
        |floor| {
            let floor = floor.short();
            format!("{floor} was confirmed last; what is followed descends from it")
        },
    );
    sheet.fact("floor", &floor);
    let wanted = snapshot.desired.as_ref();
    let wanted = wanted.map_or("not known yet", |it| it.commit.short());
    let configuration = one_line(&snapshot.host.configuration, LINE_LIMIT);
    sheet.fact(
        "wanted",
        &format!("{wanted}, configuration {configuration}"),
    );
    let mode = settings.map(|it| match it.mode {
        Mode::Switch => "switch: tested, then made the boot entry",
        Mode::Boot => "boot: made the boot entry, untested",
        Mode::Test => "test: only tested, until the next reboot",
    });
    let unreadable = format!("not known: {DEFAULT_FILE} cannot be read");
    sheet.fact("mode", mode.unwrap_or(&unreadable));
    pause(&mut sheet, snapshot, now);
    if let Some(held) = snapshot.held() {
        let code = held.code.as_str();
        let since = relative(held.since, now);
        sheet.fact(
            "held",
            &format!("what is wanted failed here as {code}, {since}"),
        );
    }
    changes(&mut sheet, snapshot, units);
    if let Some(remedy) = &snapshot.condition.remedy {
        sheet.blank();
        sheet.paragraph(&format!("to do: {}", one_line(remedy, LINE_LIMIT)));
    }
    sheet.text()
}

fn remote(sheet: &mut Sheet, remote: &Remote, now: Timestamp) {
    let head = remote
        .head
        .as_ref()
        .map_or("no commit", |head| head.short());
    let (name, url) = (
        one_line(&remote.name, LINE_LIMIT),
        one_line(&remote.url, LINE_LIMIT),
    );
    let (branch, place) = (&remote.branch, words::place(remote.place));
    sheet.fact("remote", &format!("{name}, {branch} of {url}"));
    let answered = remote.last_answer_at.map_or_else(
        || "it never answered yet".to_owned(),
        |at| format!("as of {}", moment(at, now)),
    );
    sheet.fact("", &format!("{head}: {place}; {answered}"));
    if let Some(error) = &remote.last_error {
        let message = one_line(&error.message, LINE_LIMIT);
        sheet.fact("", &format!("{}: {message}", error.code.as_str()));
    }
}

fn pause(sheet: &mut Sheet, snapshot: &Snapshot, now: Timestamp) {
    let Some(pause) = &snapshot.pause else { return };
    let since = relative(pause.since, now);
    let until = words::until(pause.until);
    let text = format!("by {}, {since}; nothing new is begun {until}", pause.by);
    sheet.fact("paused", &text);
}

fn changes(sheet: &mut Sheet, snapshot: &Snapshot, units: &Changes) {
    if let Some(other) = foresight::other_system(snapshot) {
        sheet.fact("system", &system(other, WIDTH - LABEL));
    }
    match units {
        Changes::None => sheet.fact(
            "units",
            "none: no other system than the running one is built",
        ),
        Changes::Known { lines } => {
            let mut label = "units";
            for line in lines {
                sheet.fact(label, &one_line(line, 4 * LINE_LIMIT));
                label = "";
            }
        }
        Changes::Unknown { why } => {
            sheet.fact(
                "units",
                &format!("not known: {}", one_line(why, 2 * LINE_LIMIT)),
            );
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::policy::OnDrift;
    use crate::model::text::is_unsafe;
    use crate::store::history::example::after;
    use crate::store::snapshot::example::{NOON, full};
    use crate::store::snapshot::{ConditionState, PlaceName};

    fn now() -> Timestamp {
        NOON.parse().expect("it is a time")
    }

    const SETTINGS: Option<Settings> = Some(Settings {
        mode: Mode::Switch,
        on_drift: OnDrift::Report,
    });

    /// A host on which somebody switched by hand.
    fn drifted() -> Snapshot {
        let mut snapshot = full();
        snapshot.remote.place = PlaceName::Followed;
        snapshot.remote.last_error = None;
        snapshot.remotes = vec![snapshot.remote.clone()];
        snapshot.condition.state = ConditionState::Drifted;
        snapshot.condition.why =
            "Somebody changed the host; it is not what commit 0123456789ab of main asks for."
                .to_owned();
        snapshot.condition.remedy = Some("Push a commit that holds the change.".to_owned());
        snapshot.system.running = Some(after());
        snapshot
    }

    /// The page for docs/screens.md.
    pub(in crate::cli) fn screen() -> String {
        let units = Changes::Known {
            lines: vec!["would restart the following units: web.service".to_owned()],
        };
        page(&drifted(), SETTINGS, &units, now())
    }

    #[test]
    fn the_page_tells_what_would_be_done_why_and_to_which_units() {
        assert_eq!(
            screen(),
            "\
web1: a look now would tell of the drift
  The host is left as it is, because drift is to be reported.
  Somebody changed the host; it is not what commit 0123456789ab of main asks
  for.

  remote     origin, main of https://example.org/hosts.git
             0123456789ab: followed; as of 2026-11-22 12:00:00 UTC (now)
  floor      0123456789ab was confirmed last; what is followed descends from it
  wanted     0123456789ab, configuration web1
  mode       switch: tested, then made the boot entry
  system     0c2jdyz9ln1y…-nixos-system-web1-24.11
  units      would restart the following units: web.service

to do: Push a commit that holds the change."
        );
    }

    #[test]
    fn the_json_has_a_schema_and_says_the_same() {
        let units = Changes::Unknown {
            why: "root".to_owned(),
        };
        let text = json(&drifted(), SETTINGS, &units, now()).expect("it serialises");
        let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(json["schema"], 1);
        assert_eq!(json["would"], "report");
        assert_eq!(json["mode"], "switch");
        assert_eq!(json["units"]["state"], "unknown");
        assert_eq!(json["remotes"][0]["name"], "origin");
        assert_eq!(json["floor"], json["commit"]);
    }

    #[test]
    fn nothing_that_others_wrote_steers_a_terminal() {
        let hostile = "\u{1b}]0;x\u{7}\u{202e}\n".repeat(50);
        let mut snapshot = drifted();
        snapshot.condition.why.clone_from(&hostile);
        snapshot.condition.remedy = Some(hostile.clone());
        snapshot.host.name.clone_from(&hostile);
        snapshot.host.configuration.clone_from(&hostile);
        snapshot.remotes[0].url.clone_from(&hostile);
        for units in [
            Changes::Known {
                lines: vec![hostile.clone()],
            },
            Changes::Unknown {
                why: hostile.clone(),
            },
        ] {
            let text = page(&snapshot, None, &units, now());
            let steers = |c: char| c != '\n' && is_unsafe(c);
            assert!(!text.chars().any(steers), "{text:?}");
        }
    }
}
