//! What is written where there is no terminal: `host: what happened`, or one
//! JSON object a line (schema 1, `docs/exit-codes.md`).
//!
//! In: news. Out: lines. Must not: keep anything.

use serde_json::{Value, json};

use super::far::Word;
use super::fate::{About, Ending, Fate, counts};
use super::story::News;
use super::words;
use crate::cli::exit::Exit;
use crate::cli::json::safe;
use crate::model::progress::Count;

/// The version of the lines.
const SCHEMA: u32 = 1;

/// The line for people.
pub(super) fn text(label: &str, news: &News) -> String {
    format!("{label}: {}", words::news(news))
}

/// The line for programs.
pub(super) fn json(label: &str, news: &News) -> String {
    let mut line = match news {
        News::Connecting => json!({"event": "connecting"}),
        News::Told { look } => json!({"event": "told", "look": look}),
        News::Copying { paths, so_far } => {
            let count = |it: Count| json!({"done": it.done, "expected": it.expected});
            let copied =
                so_far.map(|it| json!({"paths": count(it.paths), "bytes": count(it.bytes)}));
            json!({"event": "copying", "paths": paths, "copied": copied})
        }
        News::NotCopied { why, after } => {
            json!({"event": "not-copied", "why": why, "again_in_seconds": after.as_secs_f64()})
        }
        News::Pushed { look } => json!({"event": "pushed", "look": look}),
        News::Phase(name) => json!({"event": "phase", "name": name.as_str()}),
        News::Progress(it) => json!({
            "event": "progress",
            "built": it.built,
            "fetched": it.fetched,
            "last_line": it.last_line,
        }),
        News::Restarted => json!({"event": "restarted"}),
        News::Unexpected { wanted } => json!({"event": "unexpected", "wanted": wanted}),
        News::Confirmed(it) => json!({"event": "confirmed", "deployment": it.as_str()}),
        News::Rejected(it) => json!({"event": "rejected", "deployment": it.as_str()}),
        News::Unsaid { why } => json!({"event": "unconfirmed", "why": why}),
        News::Lost { why, after } => {
            json!({"event": "lost", "why": why, "again_in_seconds": after.as_secs_f64()})
        }
        News::Back { phase } => {
            json!({"event": "back", "phase": phase.as_ref().map(Word::as_str)})
        }
        News::Other(name) => json!({"event": "other", "name": name.as_str()}),
        News::Over(fate) => end(fate),
    };
    line["schema"] = SCHEMA.into();
    line["host"] = label.into();
    safe(&line)
}

fn end(fate: &Fate) -> Value {
    let commit = match &fate.about {
        Some(About::Commit(commit)) => Some(commit),
        Some(About::Snapshot(_)) | None => None,
    };
    json!({
        "event": "end",
        "exit": fate.ending.exit().code(),
        "ending": fate.ending.as_str(),
        "commit": commit,
        "why": fate.why,
        "to_do": fate.to_do,
        "snapshot": fate.snapshot,
    })
}

/// The last line for programs.
pub(super) fn json_summary(endings: &[Ending], exit: Exit) -> String {
    let counts = counts(endings).into_iter();
    let counts: serde_json::Map<String, Value> = counts
        .map(|(ending, count)| (ending.as_str().to_owned(), count.into()))
        .collect();
    let line = json!({
        "schema": SCHEMA,
        "event": "summary",
        "exit": exit.code(),
        "hosts": endings.len(),
        "endings": counts,
    });
    safe(&line)
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use std::time::Duration;

    use super::super::over;
    use super::*;
    use crate::store::snapshot::example::commit;

    /// Two hosts' stories.
    fn stories() -> [(&'static str, News); 7] {
        let phase = |word: &str| {
            let word = Word::try_from(word.to_owned());
            News::Phase(word.expect("it is a word"))
        };
        let end = |fate: Fate| News::Over(Box::new(fate));
        let lost = News::Lost {
            why: "Connection to web1 closed by remote host.".to_owned(),
            after: Duration::from_secs(1),
        };
        let deployed = Fate {
            about: Some(About::Commit(commit())),
            ..Fate::of(Ending::Deployed)
        };
        let gone = Fate::of(Ending::Unreachable)
            .because("ssh: connect to host web2 port 22: No route to host")
            .with_remedy("see whether `ssh web2` works");
        [
            ("web1", News::Told { look: 7 }),
            ("web1", phase("building")),
            ("web2", end(gone)),
            ("web1", phase("testing")),
            ("web1", lost),
            ("web1", News::Back { phase: None }),
            ("web1", end(deployed)),
        ]
    }

    fn fates() -> Vec<(&'static str, Fate)> {
        let stories = stories();
        let ends = stories
            .iter()
            .filter_map(|(host, news)| Some((*host, over(news)?.clone())));
        ends.collect()
    }

    /// The lines for people, for docs/screens.md.
    pub(in crate::cli) fn screen() -> String {
        let lines = stories().map(|(host, news)| text(host, &news));
        let fates = fates();
        let fates: Vec<(&str, &Fate)> = fates.iter().map(|(host, it)| (*host, it)).collect();
        let summary = words::summary(&fates).expect("not all are fine");
        format!("{}\n{summary}", lines.join("\n"))
    }

    /// The lines for programs, for docs/screens.md.
    pub(in crate::cli) fn json_screen() -> String {
        let lines = stories().map(|(host, news)| json(host, &news));
        let endings: Vec<Ending> = fates().iter().map(|(_, fate)| fate.ending).collect();
        let summary = json_summary(&endings, Exit::Mixed);
        format!("{}\n{summary}", lines.join("\n"))
    }

    #[test]
    fn lines_for_programs_name_the_host() {
        assert_eq!(
            json("web1", &News::Told { look: 6 }),
            r#"{"event":"told","host":"web1","look":6,"schema":1}"#
        );
        let fate = Fate {
            about: Some(About::Commit(commit())),
            ..Fate::of(Ending::Refused)
        };
        let over = News::Over(Box::new(fate.because("Why.").with_remedy("What.")));
        let line: Value = serde_json::from_str(&json("web1", &over)).expect("it is JSON");
        let expected = json!({
            "schema": 1, "host": "web1", "event": "end", "exit": 3, "ending": "refused",
            "commit": commit(), "why": "Why.", "to_do": "What.", "snapshot": null,
        });
        assert_eq!(line, expected);
        assert_eq!(
            json_summary(
                &[Ending::Deployed, Ending::Refused, Ending::Refused],
                Exit::Mixed
            ),
            r#"{"endings":{"deployed":1,"refused":2},"event":"summary","exit":11,"hosts":3,"schema":1}"#
        );
    }
}
