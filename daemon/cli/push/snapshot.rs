//! A snapshot of the local flake, with all its inputs, in the local store.
//!
//! In: where the flake is. Out: the paths, and what they are made of. Must not:
//! evaluate a configuration, or change anything about the flake.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use serde_json::json;

use super::super::exit::Exit;
use super::super::failure::Failure;
use super::super::json;
use super::super::output::Output;
use crate::host::command::{self, Command};
use crate::model::push::{NAME_LIMIT, called};
use crate::model::system::StorePath;
use crate::model::text::one_line;

/// How long it may take to fetch the flake's inputs.
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// The version of the line for programs.
const SCHEMA: u32 = 1;

/// How much of an id is shown, in characters.
const SHORT: usize = 12;

/// What is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The flake itself.
    pub(super) source: StorePath,
    /// The flake and all its inputs, each once.
    pub(super) paths: Vec<StorePath>,
    /// The commit that it is made of.
    pub(super) commit: Option<String>,
    /// Whether it holds changes that are in no commit.
    pub(super) dirty: bool,
    /// What it is called.
    pub(super) name: Option<String>,
}

/// What Nix says of a flake.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    path: Option<String>,
    revision: Option<String>,
    dirty_revision: Option<String>,
    url: Option<String>,
}

/// What Nix put into the store: the flake, or one of its inputs.
#[derive(Debug, Deserialize)]
struct Archived {
    path: Option<String>,
    #[serde(default)]
    inputs: BTreeMap<String, Archived>,
}

/// Takes the snapshot. `name`: what it is called, else it is called by its place.
pub(super) async fn take(flake: &str, name: Option<&str>) -> Result<Snapshot, Failure> {
    let metadata: Metadata = nix("metadata", flake).await?;
    let archived: Archived = nix("archive", flake).await?;
    let snapshot = put_together(&metadata, &archived, name)?;
    // The host looks only there, and would say so after all of it was copied.
    match snapshot.source.as_path().join("flake.nix").is_file() {
        true => Ok(snapshot),
        false => Err(not_at_the_top(flake)),
    }
}

async fn nix<T: for<'a> Deserialize<'a>>(verb: &str, flake: &str) -> Result<T, Failure> {
    let words = [
        "--extra-experimental-features",
        "nix-command flakes",
        "flake",
        verb,
        "--json",
        // A push leaves the tree as it is.
        "--no-update-lock-file",
        flake,
    ];
    let mut command = Command::new("nix", words);
    // Nobody would see what git asks for.
    let quiet = ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned());
    command.environment.push(quiet);
    let output = command::run(&command, DEADLINE)
        .await
        .map_err(|error| Failure::from(anyhow::Error::new(error)).hint("Install Nix."))?;
    if !output.status.success() {
        let locks = output.stderr_tail.contains("lock file");
        let error = anyhow!("{}", output.stderr_tail)
            .context(format!("nix could not take a snapshot of {flake}"));
        return Err(Failure::from(error).hint(match locks {
            true => "Bring flake.lock up to date with `nix flake lock`, and push again.",
            false => "Say where the flake is with --flake.",
        }));
    }
    let understood = serde_json::from_slice(&output.stdout);
    Ok(understood.with_context(|| format!("understand what nix flake {verb} says"))?)
}

fn put_together(
    metadata: &Metadata,
    archived: &Archived,
    name: Option<&str>,
) -> Result<Snapshot, Failure> {
    let mut paths = Vec::new();
    collect(archived, &mut paths)?;
    // The first, where the flake itself has a path.
    let Some(source) = paths.first().filter(|_| archived.path.is_some()).cloned() else {
        return Err(Failure::from(anyhow!("nix flake archive names no path")));
    };
    // Between the two questions the tree may have become another one.
    let is_same = metadata
        .path
        .as_ref()
        .is_none_or(|path| !path.starts_with("/nix/store/") || path == source.as_str());
    let dirty_revision = metadata.dirty_revision.as_deref();
    let of = dirty_revision.map(|id| id.trim_end_matches("-dirty"));
    let commit = metadata.revision.as_deref().or(of).filter(|_| is_same);
    let is_git = metadata
        .url
        .as_ref()
        .is_some_and(|url| url.starts_with("git+"));
    let given = name.map(str::to_owned);
    Ok(Snapshot {
        source,
        paths,
        commit: commit.map(str::to_owned),
        dirty: dirty_revision.is_some() || !is_same || (is_git && metadata.revision.is_none()),
        name: given.or_else(|| directory(metadata.url.as_deref()?)),
    })
}

/// The flake first, then its inputs; each path once.
fn collect(archived: &Archived, paths: &mut Vec<StorePath>) -> Result<(), Failure> {
    if let Some(path) = &archived.path {
        let path = StorePath::try_from(path.clone()).map_err(anyhow::Error::new)?;
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    archived
        .inputs
        .values()
        .try_for_each(|it| collect(it, paths))
}

/// The directory's name, of a flake that is in one.
fn directory(url: &str) -> Option<String> {
    let (_, place) = url.split_once("://").or_else(|| url.split_once(':'))?;
    let local = place.strip_prefix('/')?;
    let end = local.find(['?', '#']).unwrap_or(local.len());
    let name = local[..end].trim_end_matches('/').rsplit('/').next()?;
    let name = called(name.trim_end_matches(".git"));
    (!name.is_empty()).then_some(name)
}

fn not_at_the_top(flake: &str) -> Failure {
    let error = anyhow!("{flake} has its flake.nix below the top of the repository");
    Failure::new(Exit::Usage, error).hint(
        "Push the directory alone, such as with --flake path:./DIRECTORY: then files go with it \
         that git does not know, too.",
    )
}

impl Snapshot {
    /// What is said of a snapshot, as options for the bus.
    pub(super) fn claims(commit: Option<&str>, dirty: bool, name: Option<&str>) -> Vec<String> {
        let commit = commit.map(|id| format!("commit={id}"));
        let name = name.map(|text| format!("name={text}"));
        let dirty = dirty.then(|| "dirty".to_owned());
        [commit, dirty, name].into_iter().flatten().collect()
    }

    /// The flake, for Nix here.
    pub(super) fn url(&self) -> String {
        format!("path:{}", self.source)
    }

    /// What it is called, to follow `deployed`.
    pub(super) fn called(&self) -> String {
        let of = match (&self.commit, self.dirty) {
            (Some(commit), false) => format!(" (commit {})", short(commit)),
            (Some(commit), true) => format!(" (commit {} with changes)", short(commit)),
            (None, true) => " (with changes)".to_owned(),
            (None, false) => String::new(),
        };
        let name = self.name.as_deref().unwrap_or("the snapshot");
        format!("{}{of}", one_line(name, NAME_LIMIT))
    }

    /// The line that tells of it.
    pub(super) fn told(&self, output: Output) -> String {
        match output {
            Output::Text => format!("pushing {}\n  {}", self.called(), self.source),
            Output::Json => json::safe(&json!({
                "schema": SCHEMA,
                "event": "snapshot",
                "source": self.source,
                "paths": self.paths.len(),
                "commit": self.commit,
                "dirty": self.dirty,
                "name": self.name,
            })),
        }
    }
}

fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source";
    const INPUT: &str = "/nix/store/0c2jdyz9ln1yvwls3xha72mwhnx49kvh-source";
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn snapshot(metadata: serde_json::Value, name: Option<&str>) -> Snapshot {
        let metadata = serde_json::from_value(metadata).expect("it is of that form");
        let archived = json!({"path": SOURCE, "inputs": {
            "nixpkgs": {"path": INPUT, "inputs": {"self": {"path": SOURCE, "inputs": {}}}},
            "follows": {"path": INPUT},
            "old": {},
        }});
        let archived = serde_json::from_value(archived).expect("it is of that form");
        put_together(&metadata, &archived, name).expect("it is a snapshot")
    }

    #[test]
    fn a_snapshot_is_the_flake_and_each_input_once() {
        let clean = snapshot(
            json!({"path": SOURCE, "revision": COMMIT, "url": "git+file:///home/ann/fleet?ref=x"}),
            None,
        );
        let paths: Vec<&str> = clean.paths.iter().map(StorePath::as_str).collect();
        assert_eq!(paths, [SOURCE, INPUT]);
        assert_eq!(clean.source.as_str(), SOURCE);
        assert_eq!(clean.called(), "fleet (commit 0123456789ab)");
        let line: serde_json::Value =
            serde_json::from_str(&clean.told(Output::Json)).expect("it is JSON");
        assert_eq!(line["event"], "snapshot");
        assert_eq!((&line["paths"], &line["dirty"]), (&2.into(), &false.into()));
    }

    #[test]
    fn what_is_in_no_commit_is_told() {
        let dirty = json!({"path": SOURCE, "dirtyRevision": format!("{COMMIT}-dirty"),
                           "url": "git+file:///home/ann/fleet"});
        let dirty = snapshot(dirty, Some("try\u{1b}it"));
        assert_eq!(dirty.commit.as_deref(), Some(COMMIT));
        assert_eq!(
            dirty.called(),
            "try\\u{1b}it (commit 0123456789ab with changes)"
        );
        let never = json!({"path": SOURCE, "url": "git+file:///home/ann/fleet.git/"});
        assert_eq!(snapshot(never, None).called(), "fleet (with changes)");
        let plain = json!({"path": SOURCE, "url": "path:/home/ann/fleet?lastModified=1"});
        assert_eq!(snapshot(plain, None).called(), "fleet");
        let forge =
            json!({"path": SOURCE, "revision": COMMIT, "url": format!("github:o/r/{COMMIT}")});
        assert_eq!(
            snapshot(forge, None).called(),
            "the snapshot (commit 0123456789ab)"
        );
        // The tree was changed while it was looked at.
        let changed = json!({"path": INPUT, "revision": COMMIT, "url": "git+file:///fleet"});
        let changed = snapshot(changed, None);
        assert_eq!((changed.commit, changed.dirty), (None, true));
        // Nix that is lazy names no path in the store.
        let lazy =
            json!({"path": "/home/ann/fleet", "revision": COMMIT, "url": "git+file:///fleet"});
        assert_eq!(snapshot(lazy, None).commit.as_deref(), Some(COMMIT));
    }
}
