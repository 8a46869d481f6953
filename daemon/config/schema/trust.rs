//! `[trust]`: what a commit has to show before anything of it is evaluated.
//!
//! In: the top of the file. Out: the demands. Must not: read the files of keys;
//! they are read when a commit is judged.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::heartbeat;
use super::values::{choice, refusal};
use crate::config::mistakes::Collector;
use crate::config::section::{Found, Section, quoted};
use crate::model::policy::{ForcePush, Require, Trust};
use crate::model::revision::CommitId;

const REQUIREMENTS: [(&str, Require); 4] = [
    ("none", Require::Nothing),
    ("tip", Require::Tip),
    ("first-parent", Require::FirstParent),
    ("every-commit", Require::EveryCommit),
];

const FORCE_PUSHES: [(&str, ForcePush); 3] = [
    ("refuse", ForcePush::Refuse),
    ("if-signed", ForcePush::IfSigned),
    ("allow", ForcePush::Allow),
];

/// Reads the demands, or their defaults.
pub(super) fn trust(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Trust {
    let empty = DeTable::new();
    let section = top.section("trust", collector);
    let mut section = section.unwrap_or_else(|| Section::named("trust", &empty));
    let place = section.span_of("heartbeat");
    let required = section.string("require", "none", collector);
    let asks = required.as_ref().map(|found| Found {
        value: found.value,
        key: found.key.clone(),
        span: found.span.clone(),
    });
    let trust = Trust {
        require: choice(required, &REQUIREMENTS, Require::default(), collector),
        force_push: choice(
            section.string("force_push", "refuse", collector),
            &FORCE_PUSHES,
            ForcePush::default(),
            collector,
        ),
        introduction: introduction(&mut section, collector),
        allowed_signers: file(&mut section, "allowed_signers", collector),
        keyrings: section
            .strings("keyrings", "/etc/deploy-flake/ann.asc", collector)
            .into_iter()
            .filter_map(|found| path(&found, collector))
            .collect(),
        revoked: file(&mut section, "revoked", collector),
        heartbeat: heartbeat::heartbeat(&mut section, collector),
    };
    if let Some(asks) = asks {
        refuse_without_keys(&trust, asks, collector);
    }
    heartbeat::refuse_without_keys(&trust, &place, collector);
    section.finish(super::belongs, collector);
    trust
}

/// A host that demands signatures and knows no key would never follow again.
fn refuse_without_keys(trust: &Trust, asks: Found<&str>, collector: &mut Collector<'_>) {
    let knows_none = trust.allowed_signers.is_none() && trust.keyrings.is_empty();
    if trust.require != Require::Nothing && knows_none {
        let refusal = refusal(
            "demands signatures, and no key is trusted",
            "`allowed_signers` or `keyrings` beside it",
            &quoted(asks.value),
            "Name a file of keys in `allowed_signers`, such as \"/etc/deploy-flake/allowed-signers\".",
        );
        asks.refuse(collector, refusal);
    }
}

fn introduction(section: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<CommitId> {
    let example = "0123456789abcdef0123456789abcdef01234567";
    let found = section.string("introduction", example, collector)?;
    match CommitId::try_from(found.value.to_owned()) {
        Ok(commit) => Some(commit),
        Err(_) => {
            let refusal = refusal(
                "not the id of a commit",
                "40 hexadecimal digits",
                &quoted(found.value),
                "Write the whole id, as `git rev-parse COMMIT` prints it.",
            );
            found.refuse(collector, refusal);
            None
        }
    }
}

/// The absolute path of a file.
pub(super) fn file(
    section: &mut Section<'_>,
    key: &'static str,
    collector: &mut Collector<'_>,
) -> Option<PathBuf> {
    let found = section.string(key, "/etc/deploy-flake/keys", collector)?;
    path(&found, collector)
}

fn path(found: &Found<&str>, collector: &mut Collector<'_>) -> Option<PathBuf> {
    let path = Path::new(found.value);
    let is_plain = !found.value.chars().any(char::is_control);
    if path.is_absolute() && is_plain {
        return Some(path.to_owned());
    }
    let refusal = refusal(
        "not the path of a file",
        "an absolute path",
        &quoted(found.value),
        "Write the whole path, such as \"/etc/deploy-flake/allowed-signers\".",
    );
    found.refuse(collector, refusal);
    None
}
