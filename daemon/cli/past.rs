//! What `history`, `show`, `diff` and `logs` share: the kept deployments, found
//! by the beginning of an id, and the form in which they are told.
//!
//! In: the history, an id. Out: records, or why there is none. Must not: need the
//! daemon, the bus or the network.

pub(super) mod amounts;
pub(super) mod difference;
pub(super) mod page;
pub(super) mod table;

use std::io;

use anyhow::{Context as _, anyhow};

use super::exit::Exit;
use super::failure::Failure;
use crate::model::text::{LINE_LIMIT, one_line};
use crate::store::history::{Entry, History, Record};

/// How many digits of an id are enough to tell deployments apart, for people.
const SHORT: usize = 8;

/// The beginning of an id, as it is shown and can be asked for.
pub(super) fn short(id: &str) -> String {
    one_line(id, LINE_LIMIT).chars().take(SHORT).collect()
}

/// How many digits tell an id from a host's name, where both may stand: `db` is
/// a host.
const TELLING: usize = 4;

/// Whether the word is the beginning of an id where a host might stand as well.
pub(super) fn is_id(word: &str) -> bool {
    (TELLING..=16).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Splits what is asked about, at most so many words of that kind, from the hosts
/// that are asked.
pub(super) fn split(
    words: &[String],
    most: usize,
    is_asked_about: impl Fn(&str) -> bool,
) -> (&[String], &[String]) {
    let others = words.iter().position(|word| !is_asked_about(word));
    words.split_at(others.unwrap_or(words.len()).min(most))
}

/// Every deployment that is kept, oldest first.
pub(super) fn entries(history: &History) -> Result<Vec<Entry>, Failure> {
    history.entries().map_err(|error| {
        let is_closed = error.kind() == io::ErrorKind::PermissionDenied;
        let failure = Failure::from(anyhow!(error).context("list the history"));
        if is_closed {
            failure.hint("Run it as root; the daemon of this host lets nobody else read it.")
        } else {
            failure
        }
    })
}

/// There is none yet.
pub(super) fn nothing_kept() -> Failure {
    Failure::from(anyhow!("no deployment is kept"))
        .hint("Each is once it has ended; what goes on is told by `deploy-flake status`.")
}

/// The one deployment whose id begins so.
pub(super) fn find(entries: Vec<Entry>, id: &str) -> Result<Entry, Failure> {
    let id = id.to_ascii_lowercase();
    let begins = |entry: &Entry| !id.is_empty() && entry.id().starts_with(&id);
    let mut found: Vec<Entry> = entries.into_iter().filter(begins).collect();
    match (found.pop(), found.len()) {
        (Some(entry), 0) => Ok(entry),
        (None, _) => Err(Failure::new(
            Exit::Error,
            anyhow!("no deployment is kept whose id begins with {id:?}"),
        )
        .hint("`deploy-flake history --limit 100` lists those that are kept.")),
        (Some(last), others) => {
            let two = [&found[0], &last].map(|entry| entry.id().to_owned());
            Err(Failure::new(
                Exit::Error,
                anyhow!(
                    "{} deployments are kept whose ids begin with {id:?}",
                    others + 1
                ),
            )
            .hint(format!("Give more of the id: {} or {}.", two[0], two[1])))
        }
    }
}

/// Reads a record.
pub(super) fn read(history: &History, entry: &Entry) -> Result<Record, Failure> {
    let read = history.read(entry);
    let read = read.with_context(|| format!("read {}", entry.file_name()));
    read.map_err(|error| {
        Failure::from(error).hint(
            "No other deployment depends on this file. What the journal has of it: `deploy-flake \
             logs ID`.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::deployment::DeploymentId;
    use crate::store::history::example::deployed;

    #[test]
    fn hosts_are_told_from_what_they_are_asked_about() {
        for (words, most, asked) in [
            ("", 1, 0),
            ("00c0", 1, 1),
            ("00c0ffee00c0ffee web1", 1, 1),
            ("web1 00c0", 1, 0),
            ("db", 1, 0),
            ("nixos://cafe", 1, 0),
            ("00c0 00c1 web1", 2, 2),
            ("00c0 00c1 00c2", 2, 2),
            ("00c0ffee00c0ffee0", 1, 0),
        ] {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            assert_eq!(split(&words, most, is_id).0.len(), asked, "{words:?}");
        }
    }

    #[test]
    fn an_id_is_found_by_its_beginning_if_only_one_begins_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let history = History::new(directory.path().join("history"));
        for id in ["0a1b", "0a2b", "ff00"] {
            let deployment = DeploymentId(id.to_owned());
            let record = Record {
                deployment,
                ..deployed()
            };
            history.keep(&record).expect("a writable directory");
        }
        let find = |id: &str| find(entries(&history).expect("it can be listed"), id);
        assert_eq!(
            find("FF").map(|entry| entry.id().to_owned()).ok(),
            Some("ff00".to_owned())
        );
        assert_eq!(
            find("0a1b").map(|entry| entry.id().to_owned()).ok(),
            Some("0a1b".to_owned())
        );
        let both = find("0a").expect_err("there are two").to_string();
        assert!(both.contains("0a1b or 0a2b"), "{both}");
        let none = find("1\u{1b}").expect_err("there is none").to_string();
        assert!(
            none.contains("no deployment") && !none.contains('\u{1b}'),
            "{none}"
        );
        assert!(find("").is_err());
    }
}
