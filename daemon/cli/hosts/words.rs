//! What people read about other hosts: a line for each thing that happened, and
//! a summary of what is not fine.
//!
//! In: news and fates, whose text is safe already. Out: text. Must not: depend
//! on whether there is a terminal.

use super::fate::{About, Ending, Fate, counts};
use super::story::{News, phase_words};
use crate::cli::past::amounts;
use crate::cli::text::wrap;
use crate::config::duration;
use crate::relay::copies::Copied;
use crate::report::words::building;

/// Of how many hosts what a step said last is shown; of more, nobody reads it.
const DETAILED: usize = 3;

/// How many lines of that.
const DETAIL_LINES: usize = 10;

/// What happened, to follow the host's name.
pub(super) fn news(news: &News) -> String {
    match news {
        News::Connecting => "connecting".to_owned(),
        News::Told { look } => format!("told to look (look {look})"),
        News::Copying {
            so_far: Some(copied),
            ..
        } => copying(copied),
        News::Copying { paths: 1, .. } => "copying the snapshot".to_owned(),
        News::Copying { paths, .. } => {
            format!("copying the snapshot and its inputs, {paths} store paths")
        }
        News::NotCopied { why, after } => {
            let seconds = after.as_secs();
            format!("not copied, trying again in {seconds} s: {why}")
        }
        News::Pushed { look } => {
            format!("the daemon has the snapshot, and goes on by itself (look {look})")
        }
        News::Phase(phase) => phase_words(phase),
        // That it is building is what the counts say.
        News::Progress(progress) if progress.is_known() => progress.to_string(),
        News::Progress(progress) => building(progress),
        News::Restarted => "the daemon was restarted, and looks again".to_owned(),
        News::Unexpected { wanted } => {
            let wanted = wanted.as_ref().map_or("nothing", |commit| commit.short());
            format!("the branch asks for {wanted} so far; waiting")
        }
        News::Confirmed(_) => "confirmed, and deployed as soon as it is healthy".to_owned(),
        News::Rejected(_) => "rejected".to_owned(),
        News::Unsaid { why } => format!("not confirmed, its window goes on: {why}"),
        News::Lost { why, after } => {
            let seconds = after.as_secs();
            format!("no connection, trying again in {seconds} s: {why}")
        }
        News::Back { phase: None } => "connected again".to_owned(),
        News::Back { phase: Some(phase) } => format!("connected again, {}", phase_words(phase)),
        News::Other(word) => word.as_str().replace('-', " "),
        News::Over(fate) => self::fate(fate),
    }
}

/// How far the copy is: of what the host lacked.
fn copying(copied: &Copied) -> String {
    let Copied { paths, bytes } = copied;
    let (done, expected) = (amounts::bytes(bytes.done), amounts::bytes(bytes.expected));
    format!(
        "copying, {} of {} store paths, {done} of {expected}",
        paths.done, paths.expected
    )
}

/// What is asked about a host in its confirm window.
pub(super) fn question(label: &str) -> String {
    format!("{label} runs the new system: is it good? (y: confirm, n: lead back, then Enter)")
}

/// How it ended, to follow the host's name.
pub(super) fn fate(fate: &Fate) -> String {
    let words = fate.ending.words();
    match (&fate.why, &fate.about) {
        (Some(why), _) => format!("{words}: {why}"),
        (None, Some(About::Commit(commit))) => format!("{words}, {}", commit.short()),
        (None, Some(About::Snapshot(called))) => format!("{words}, {called}"),
        (None, None) => words.to_owned(),
    }
}

/// What is to be said when all is over: how many are fine, and of each other
/// host why, and what to do. Nothing, if there is one host, and it is fine.
pub(super) fn summary(fates: &[(&str, &Fate)]) -> Option<String> {
    let (fine, others): (Vec<_>, Vec<_>) = fates
        .iter()
        .copied()
        .partition(|(_, it)| it.ending.is_fine());
    if let ([_], []) = (&fine[..], &others[..]) {
        return None;
    }
    let mut paragraphs = Vec::new();
    if fates.len() > 1 {
        paragraphs.push(wrap(&headline(fates, fine.len()), ""));
    }
    paragraphs.extend(each(&others));
    Some(paragraphs.join("\n"))
}

/// Of each host that is not fine why, and what to do.
pub(super) fn each(others: &[(&str, &Fate)]) -> Option<String> {
    let is_detailed = others.len() <= DETAILED;
    let told = others
        .iter()
        .map(|(label, fate)| not_fine(label, fate, is_detailed));
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("\n"))
}

fn headline(fates: &[(&str, &Fate)], fine: usize) -> String {
    let endings: Vec<Ending> = fates.iter().map(|(_, fate)| fate.ending).collect();
    let told = counts(&endings).into_iter().map(|(ending, count)| {
        let words = ending.words();
        format!("{count} {words}")
    });
    let told: Vec<String> = told.collect();
    let (all, told) = (fates.len(), told.join("; "));
    if fine == all {
        format!("all {all} hosts are fine: {told}")
    } else {
        format!("{fine} of {all} hosts are fine: {told}")
    }
}

fn not_fine(label: &str, fate: &Fate, is_detailed: bool) -> String {
    let mut lines = vec![wrap(&format!("{label}: {}", self::fate(fate)), "")];
    if let Some(detail) = fate.detail.as_ref().filter(|_| is_detailed) {
        let all: Vec<&str> = detail.lines().collect();
        let end = &all[all.len().saturating_sub(DETAIL_LINES)..];
        lines.extend(end.iter().map(|line| format!("  | {line}")));
    }
    if let Some(to_do) = &fate.to_do {
        lines.push(wrap(&format!("to do: {to_do}"), "  "));
    }
    lines.join("\n")
}

/// How long something has been going on, in at most six characters.
pub(super) fn elapsed(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => duration::show(std::time::Duration::from_secs(seconds / 60 * 60)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::far::Word;
    use super::*;
    use crate::model::progress::{Count, Progress};
    use crate::store::snapshot::example::commit;

    fn fates() -> Vec<(&'static str, Fate)> {
        let deployed = Fate {
            about: Some(About::Commit(commit())),
            ..Fate::of(Ending::Deployed)
        };
        let there = Fate {
            ending: Ending::AlreadyThere,
            ..deployed.clone()
        };
        let rolled_back = Fate {
            about: Some(About::Commit(commit())),
            detail: Some("error: cannot bind port 80\nweb.service: failed".to_owned()),
            ..Fate::of(Ending::RolledBack)
        }
        .because("The unit web.service failed after the activation.")
        .with_remedy("push a commit that mends it");
        let unreachable = Fate::of(Ending::Unreachable)
            .because("ssh: connect to host db port 22: Connection refused")
            .with_remedy("see whether `ssh db` works");
        vec![
            ("web1", deployed),
            ("web2", there),
            ("web3", rolled_back),
            ("db", unreachable),
        ]
    }

    fn summarised(fates: &[(&'static str, Fate)]) -> Option<String> {
        let fates: Vec<(&str, &Fate)> = fates.iter().map(|(label, it)| (*label, it)).collect();
        summary(&fates)
    }

    #[test]
    fn the_summary_tells_of_each_host_that_is_not_fine_why_and_what_to_do() {
        let fates = fates();
        assert_eq!(
            summarised(&fates).expect("there is one"),
            "\
2 of 4 hosts are fine: 1 deployed; 1 there already; 1 rolled back; 1 unreachable
web3: rolled back: The unit web.service failed after the activation.
  | error: cannot bind port 80
  | web.service: failed
  to do: push a commit that mends it
db: unreachable: ssh: connect to host db port 22: Connection refused
  to do: see whether `ssh db` works"
        );
        assert_eq!(
            summarised(&fates[..2]).expect("there is one"),
            "all 2 hosts are fine: 1 deployed; 1 there already"
        );
        assert_eq!(summarised(&fates[..1]), None);
        assert_eq!(
            summarised(&fates[3..]).expect("there is one"),
            "db: unreachable: ssh: connect to host db port 22: Connection refused\n  \
             to do: see whether `ssh db` works"
        );
    }

    #[test]
    fn every_thing_that_happens_is_a_line() {
        let word = |text: &str| Word::try_from(text.to_owned()).expect("it is a word");
        let [(_, deployed), (_, there), (_, rolled_back), _] = &fates()[..] else {
            panic!("there are four");
        };
        let over = |fate: &Fate| News::Over(Box::new(fate.clone()));
        let count = |done, expected| Count { done, expected };
        let copied = Copied {
            paths: count(1, 2),
            bytes: count(120 << 20, 430 << 20),
        };
        let pushed = Fate {
            about: Some(About::Snapshot("fleet (with changes)".to_owned())),
            ..Fate::of(Ending::Deployed)
        };
        for (news, line) in [
            (News::Connecting, "connecting"),
            (News::Told { look: 7 }, "told to look (look 7)"),
            (
                News::Copying {
                    paths: 1,
                    so_far: None,
                },
                "copying the snapshot",
            ),
            (
                News::Copying {
                    paths: 7,
                    so_far: None,
                },
                "copying the snapshot and its inputs, 7 store paths",
            ),
            (
                News::Copying {
                    paths: 7,
                    so_far: Some(copied),
                },
                "copying, 1 of 2 store paths, 120.0 MiB of 430.0 MiB",
            ),
            (
                News::NotCopied {
                    why: "the copy took longer than 10m".to_owned(),
                    after: Duration::from_millis(2200),
                },
                "not copied, trying again in 2 s: the copy took longer than 10m",
            ),
            (
                News::Pushed { look: 7 },
                "the daemon has the snapshot, and goes on by itself (look 7)",
            ),
            (News::Phase(word("building")), "building the system"),
            (
                News::Phase(word("rolling-back")),
                "bringing the previous system back",
            ),
            (News::Phase(word("dreaming-aloud")), "dreaming aloud"),
            (
                News::Progress(Progress::parse("1 of 3 built: two> x").expect("it is one")),
                "1 of 3 built: two> x",
            ),
            (
                News::Confirmed(word("00c0ffee00c0ffee")),
                "confirmed, and deployed as soon as it is healthy",
            ),
            (News::Rejected(word("00c0ffee00c0ffee")), "rejected"),
            (
                News::Unsaid {
                    why: "no route".to_owned(),
                },
                "not confirmed, its window goes on: no route",
            ),
            (News::Restarted, "the daemon was restarted, and looks again"),
            (
                News::Unexpected {
                    wanted: Some(commit()),
                },
                "the branch asks for 0123456789ab so far; waiting",
            ),
            (
                News::Lost {
                    why: "Connection to web1 closed.".to_owned(),
                    after: Duration::from_millis(4400),
                },
                "no connection, trying again in 4 s: Connection to web1 closed.",
            ),
            (
                News::Back {
                    phase: Some(word("building")),
                },
                "connected again, building the system",
            ),
            (News::Back { phase: None }, "connected again"),
            (over(deployed), "deployed, 0123456789ab"),
            (over(&pushed), "deployed, fleet (with changes)"),
            (over(there), "there already, 0123456789ab"),
            (
                over(rolled_back),
                "rolled back: The unit web.service failed after the activation.",
            ),
        ] {
            assert_eq!(self::news(&news), line);
        }
    }

    #[test]
    fn time_is_told_in_few_characters() {
        for (seconds, told) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m01s"),
            (3599, "59m59s"),
            (3661, "1h1m"),
            (100 * 3600, "4d4h"),
        ] {
            assert_eq!(elapsed(Duration::from_secs(seconds)), told);
        }
    }
}
