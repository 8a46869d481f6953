//! What root pushes: a snapshot of a flake that lies in this host's store, and
//! what is to become of it.
//!
//! In: text from the bus, or the ledger. Out: values that cannot be malformed.
//! Must not: look at the store; the import does.

use serde::{Deserialize, Serialize};

use super::revision::Malformed;
use super::system::{Configuration, StorePath};
use super::text::one_line;

/// How long the name of a snapshot may be, in characters.
pub const NAME_LIMIT: usize = 200;

/// How long the path of a check may be, in bytes.
const PATH_LIMIT: usize = 500;

const TEST_ONLY: &str = "test-only";
const SKIP_TEST: &str = "skip-test";
const SKIP_PREFLIGHT: &str = "skip-preflight";
const SCRIPT: &str = "pre-activate-script";
const COMMIT: &str = "commit";
const DIRTY: &str = "dirty";
const NAME: &str = "name";

/// A snapshot of a flake, and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The flake, in this host's store.
    pub source: StorePath,
    /// Which of its configurations.
    pub configuration: Configuration,
    /// How far it is brought.
    pub aim: Aim,
    /// The closure's own check before anything is activated.
    pub own_check: OwnCheck,
    /// What whoever pushed says of it.
    pub claims: Claims,
}

/// How far a pushed system is brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    /// As far as the host brings those of its own branch.
    #[default]
    Host,
    /// It runs; profile and boot entry stay.
    TestOnly,
    /// Profile and boot entry, without a test.
    SkipTest,
}

/// What becomes of the closure's own check before anything is activated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnCheck {
    /// The one that this host's configuration names is asked.
    #[default]
    Configured,
    /// This one is: a path relative to the toplevel, without `..`.
    Named(String),
    /// None is, nor how healthy the host is.
    Skipped,
}

impl OwnCheck {
    /// Whether it is asked as for commits.
    pub fn is_as_ever(&self) -> bool {
        *self == Self::Configured
    }
}

/// What whoever pushed says of the snapshot: nobody has looked whether it is so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The id of the commit that it was made of: 40 or 64 hexadecimal digits.
    pub commit: Option<String>,
    /// Whether it held changes that are in no commit.
    pub dirty: bool,
    /// What it is called: one line, escaped.
    pub name: Option<String>,
}

/// Why something is no push.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPush {
    /// A part of it is not what it has to be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// There is no such option.
    #[error(
        "expected any of test-only, skip-test, skip-preflight, pre-activate-script=PATH, \
         commit=ID, dirty and name=TEXT, found {0:?}"
    )]
    Unknown(String),
    /// An option stands there twice.
    #[error("expected the option {0} once, found it twice")]
    Twice(&'static str),
    /// Two options exclude each other.
    #[error("expected {0} or {1}, found both")]
    Contradiction(&'static str, &'static str),
}

impl Push {
    /// Reads a push from its words.
    ///
    /// # Errors
    /// The first word that is not what it has to be.
    pub fn parse(
        source: String,
        configuration: String,
        options: &[String],
    ) -> Result<Self, NoPush> {
        let mut read = Options::default();
        for option in options {
            read.take(option)?;
        }
        Ok(Self {
            source: flake(source)?,
            configuration: Configuration::try_from(configuration)?,
            aim: read.aim()?,
            own_check: read.own_check()?,
            claims: Claims {
                commit: read.commit,
                dirty: read.dirty.is_some(),
                name: read.name,
            },
        })
    }
}

impl Push {
    /// The options that mean this, as [`Push::parse`] reads them.
    pub fn options(&self) -> Vec<String> {
        let aim = match self.aim {
            Aim::Host => None,
            Aim::TestOnly => Some(TEST_ONLY.to_owned()),
            Aim::SkipTest => Some(SKIP_TEST.to_owned()),
        };
        let own_check = match &self.own_check {
            OwnCheck::Configured => None,
            OwnCheck::Named(path) => Some(format!("{SCRIPT}={path}")),
            OwnCheck::Skipped => Some(SKIP_PREFLIGHT.to_owned()),
        };
        let Claims {
            commit,
            dirty,
            name,
        } = &self.claims;
        let commit = commit.as_ref().map(|id| format!("{COMMIT}={id}"));
        let dirty = dirty.then(|| DIRTY.to_owned());
        let name = name.as_ref().map(|text| format!("{NAME}={text}"));
        let options = [aim, own_check, commit, dirty, name];
        options.into_iter().flatten().collect()
    }
}

/// A store path that means itself in the URL of a flake, too.
fn flake(text: String) -> Result<StorePath, Malformed> {
    let path = StorePath::try_from(text)?;
    match path.as_str().contains('?') {
        true => Err(Malformed::new(
            "a path directly below /nix/store without '?'",
            path.as_str(),
        )),
        false => Ok(path),
    }
}

/// The options as they are found, each at most once.
#[derive(Debug, Default)]
struct Options {
    test_only: Option<()>,
    skip_test: Option<()>,
    skip_preflight: Option<()>,
    script: Option<String>,
    commit: Option<String>,
    dirty: Option<()>,
    name: Option<String>,
}

impl Options {
    fn take(&mut self, option: &str) -> Result<(), NoPush> {
        match option.split_once('=') {
            None if option == TEST_ONLY => once(&mut self.test_only, TEST_ONLY, ()),
            None if option == SKIP_TEST => once(&mut self.skip_test, SKIP_TEST, ()),
            None if option == SKIP_PREFLIGHT => once(&mut self.skip_preflight, SKIP_PREFLIGHT, ()),
            None if option == DIRTY => once(&mut self.dirty, DIRTY, ()),
            Some((SCRIPT, path)) => once(&mut self.script, SCRIPT, script(path)?),
            Some((COMMIT, id)) => once(&mut self.commit, COMMIT, commit(id)?),
            Some((NAME, text)) => once(&mut self.name, NAME, name(text)?),
            None | Some(_) => Err(NoPush::Unknown(option.chars().take(100).collect())),
        }
    }

    fn aim(&self) -> Result<Aim, NoPush> {
        match (self.test_only, self.skip_test) {
            (None, None) => Ok(Aim::Host),
            (Some(()), None) => Ok(Aim::TestOnly),
            (None, Some(())) => Ok(Aim::SkipTest),
            (Some(()), Some(())) => Err(NoPush::Contradiction(TEST_ONLY, SKIP_TEST)),
        }
    }

    fn own_check(&self) -> Result<OwnCheck, NoPush> {
        match (self.skip_preflight, &self.script) {
            (None, None) => Ok(OwnCheck::Configured),
            (None, Some(path)) => Ok(OwnCheck::Named(path.clone())),
            (Some(()), None) => Ok(OwnCheck::Skipped),
            (Some(()), Some(_)) => Err(NoPush::Contradiction(SKIP_PREFLIGHT, SCRIPT)),
        }
    }
}

fn once<T>(place: &mut Option<T>, option: &'static str, value: T) -> Result<(), NoPush> {
    match place.replace(value) {
        Some(_) => Err(NoPush::Twice(option)),
        None => Ok(()),
    }
}

fn script(path: &str) -> Result<String, Malformed> {
    let component = |part: &str| !part.is_empty() && part != "." && part != "..";
    let is_plain = path.len() <= PATH_LIMIT && !path.chars().any(char::is_control);
    match is_plain && path.split('/').all(component) {
        true => Ok(path.to_owned()),
        false => Err(Malformed::new(
            "a path below the toplevel without . and .. in it",
            path,
        )),
    }
}

fn commit(id: &str) -> Result<String, Malformed> {
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match matches!(id.len(), 40 | 64) && id.bytes().all(hexadecimal) {
        true => Ok(id.to_owned()),
        false => Err(Malformed::new(
            "a commit id of 40 or 64 hexadecimal digits",
            id,
        )),
    }
}

fn name(text: &str) -> Result<String, Malformed> {
    match text.chars().count() <= NAME_LIMIT {
        true => Ok(called(text)),
        false => Err(Malformed::new("a name of at most 200 characters", text)),
    }
}

/// What something is called, as a name that is taken: one line, escaped, no longer
/// than [`NAME_LIMIT`].
pub fn called(text: &str) -> String {
    // What is cut ends with a sign that says so.
    one_line(text.trim(), NAME_LIMIT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source";

    fn parse(source: &str, configuration: &str, options: &[&str]) -> Result<Push, NoPush> {
        let options: Vec<_> = options.iter().map(|it| (*it).to_owned()).collect();
        Push::parse(source.to_owned(), configuration.to_owned(), &options)
    }

    fn refused(options: &[&str]) -> String {
        let refused = parse(SOURCE, "web1", options).expect_err("it is none");
        refused.to_string()
    }

    #[test]
    fn every_option_has_its_place() {
        let bare = parse(SOURCE, "web1", &[]).expect("it is one");
        assert_eq!(
            (bare.source.as_str(), bare.configuration.as_str()),
            (SOURCE, "web1")
        );
        assert_eq!(
            (bare.aim, &bare.own_check),
            (Aim::Host, &OwnCheck::Configured)
        );
        assert_eq!(bare.claims, Claims::default());
        let id = "0123456789abcdef0123456789abcdef01234567";
        let options = [
            "test-only",
            "pre-activate-script=bin/check it=all",
            &format!("commit={id}"),
            "dirty",
            "name= a\u{1b}[2J=fair ",
        ];
        let push = parse(SOURCE, "web1", &options).expect("it is one");
        assert_eq!(push.aim, Aim::TestOnly);
        assert_eq!(
            push.own_check,
            OwnCheck::Named("bin/check it=all".to_owned())
        );
        let claims = Claims {
            commit: Some(id.to_owned()),
            dirty: true,
            name: Some("a\\u{1b}[2J=fair".to_owned()),
        };
        assert_eq!(push.claims, claims);
        let push = parse(SOURCE, "web1", &["skip-test", "skip-preflight"]).expect("it is one");
        assert_eq!(
            (push.aim, &push.own_check),
            (Aim::SkipTest, &OwnCheck::Skipped)
        );
        for options in [&options[..], &["skip-test", "skip-preflight"], &[]] {
            let push = parse(SOURCE, "web1", options).expect("it is one");
            let words = push.options();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(parse(SOURCE, "web1", &words), Ok(push), "{words:?}");
        }
    }

    #[test]
    fn what_is_unknown_double_or_contradicts_itself_is_refused_by_name() {
        for (options, expected) in [
            (&["test"][..], "found \"test\""),
            (&[""], "found \"\""),
            (&["test-only=yes"], "found \"test-only=yes\""),
            (&["commit"], "found \"commit\""),
            (&["Dirty"], "found \"Dirty\""),
            (&["dirty", "dirty"], "the option dirty once"),
            (&["name=a", "name=a"], "the option name once"),
            (&["test-only", "skip-test"], "test-only or skip-test"),
            (
                &["skip-preflight", "pre-activate-script=x"],
                "skip-preflight or pre-activate-script",
            ),
        ] {
            let refused = refused(options);
            assert!(refused.contains(expected), "{options:?}: {refused}");
        }
    }

    #[test]
    fn what_stands_behind_an_option_is_of_its_form() {
        let long = format!("name={}", "x".repeat(NAME_LIMIT + 1));
        for option in [
            "pre-activate-script=",
            "pre-activate-script=/bin/sh",
            "pre-activate-script=a/../../b",
            "pre-activate-script=a//b",
            "pre-activate-script=a\nb",
            "commit=",
            "commit=main",
            "commit=0123456789ABCDEF0123456789abcdef01234567",
            &long,
        ] {
            assert!(refused(&[option]).starts_with("expected a "), "{option}");
        }
        let sha256 = format!("commit={}", "a".repeat(64));
        assert!(parse(SOURCE, "web1", &[&sha256]).is_ok());
    }

    #[test]
    fn a_source_is_a_store_path_and_nothing_below_or_beside_it() {
        for source in [
            "",
            "/etc/nixos",
            "/nix/store",
            "/nix/store/../../etc",
            &format!("{SOURCE}/flake.nix"),
            &format!("{SOURCE}/"),
            &format!("path:{SOURCE}"),
            &format!("{SOURCE}?dir=x"),
        ] {
            assert!(parse(source, "web1", &[]).is_err(), "{source}");
        }
        for configuration in ["", "a b", "a\"", "a#b", "a/b"] {
            assert!(
                parse(SOURCE, configuration, &[]).is_err(),
                "{configuration}"
            );
        }
    }
}
