//! Which version the far side is, where it did not understand what it was asked.
//!
//! In: how it ended. Out: the same, with both versions where they differ. Must not:
//! ask a host that did not refuse its own command line.

use std::time::Duration;

use tokio::time::timeout;

use super::connection::{Way, answer};
use super::destination::Destination;
use super::fate::Fate;
use super::ssh::{self, Prompts};

/// Ours.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// How long a host has to say its version; it is only for a better sentence.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a version may be, in bytes.
const LIMIT: usize = 40;

/// With this a command line ends that nobody understands.
const USAGE: i32 = 2;

/// Adds both versions to how it ended, if the far side refused its command line,
/// says its version, and that is another than ours.
pub(super) async fn told(fate: Fate, code: Option<i32>, host: &Destination, way: &Way) -> Fate {
    if code != Some(USAGE) {
        return fate;
    }
    let words = ["--version".to_owned()];
    // For a better sentence nobody is asked for a password once more.
    let arguments = ssh::arguments(host, &way.options, Prompts::Forbidden, &words);
    match timeout(PATIENCE, answer(&arguments)).await {
        Ok(Ok(answer)) => named(fate, version(&answer.bytes)),
        // A key for other commands, or a host that is gone since.
        Ok(Err(_)) | Err(_) => fate,
    }
}

fn named(fate: Fate, far: Option<&str>) -> Fate {
    let Some(far) = far.filter(|it| *it != OWN) else {
        return fate;
    };
    let why = fate.why.clone().unwrap_or_default();
    fate.because(format!(
        "it does not understand what it is asked: {why} (deploy-flake {far} there, {OWN} here)"
    ))
    .with_remedy(
        "ask for less, run the command on the host, or use the version that the host has; the next \
         deployment of a newer one brings it there",
    )
}

/// The version in what `--version` prints.
fn version(bytes: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(bytes).ok()?.trim();
    let version = line.strip_prefix("deploy-flake ")?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-+".contains(&byte);
    let is_version = !version.is_empty() && version.len() <= LIMIT && version.bytes().all(known);
    is_version.then_some(version)
}

#[cfg(test)]
mod tests {
    use super::super::fate::Ending;
    use super::*;

    #[test]
    fn a_version_is_a_word_or_none() {
        for (text, expected) in [
            ("deploy-flake 0.9.1-rc.1+x\n", Some("0.9.1-rc.1+x")),
            ("deploy-flake \n", None),
            ("deploy-flake 1 \u{1b}[2J\n", None),
            ("Welcome!\ndeploy-flake 1.0\n", None),
            ("", None),
        ] {
            assert_eq!(version(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn both_versions_are_named_where_they_differ() {
        let fate = || {
            Fate::of(Ending::Error)
                .because("unexpected argument '--expect' found")
                .with_remedy("usual")
        };
        for same in [None, Some(OWN)] {
            assert_eq!(named(fate(), same), fate());
        }
        let told = named(fate(), Some("0.0.1"));
        assert_eq!(
            told.why.as_deref(),
            Some(&*format!(
                "it does not understand what it is asked: unexpected argument '--expect' found \
                 (deploy-flake 0.0.1 there, {OWN} here)"
            ))
        );
        assert_ne!(told.to_do.as_deref(), Some("usual"));
    }
}
