//! What git names: commits, refs, remotes, and the candidates made of them.
//!
//! In: text from a remote or a file. Out: values that cannot be malformed.
//! Must not: talk to git.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::deployment::{DeploymentId, System};
use super::push::Push;

/// A git object id of a commit: 40 lower-case hexadecimal digits (SHA-1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    /// The full id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Git's own word for no object: forty zeros.
    pub fn null() -> Self {
        Self("0".repeat(40))
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for CommitId {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 40 && text.bytes().all(hexadecimal) {
            Ok(Self(text))
        } else {
            Err(Malformed::new(
                "a commit id of 40 hexadecimal digits",
                &text,
            ))
        }
    }
}

impl From<CommitId> for String {
    fn from(id: CommitId) -> Self {
        id.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a host knows of its own commits when it asks the remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// The floor: the commit that was confirmed last.
    pub floor: Option<CommitId>,
    /// What root allowed once, whatever the floor is.
    pub allowed: Option<CommitId>,
}

/// The id of a tag object, not that of the commit that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagId(pub CommitId);

/// How long the name of a branch may be, in bytes.
const BRANCH_LIMIT: usize = 200;

/// What a heartbeat's name begins with; the branch's follows.
const HEARTBEAT: &str = "heartbeat-";

/// How long the name of a tag may be, in bytes.
const TAG_LIMIT: usize = BRANCH_LIMIT + HEARTBEAT.len();

/// A branch name as git accepts it, without `refs/heads/`.
///
/// Stricter than `git check-ref-format`: only what is safe in a URL, a
/// refspec and a log line is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Branch(String);

impl Branch {
    /// The short name, such as `main`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full ref name, such as `refs/heads/main`.
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl TryFrom<String> for Branch {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        if text.len() <= BRANCH_LIMIT && is_safe_name(&text) {
            Ok(Self(text))
        } else {
            Err(Malformed::new("a branch name such as \"main\"", &text))
        }
    }
}

/// Whether a branch or a tag may have this name here.
fn is_safe_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._/-+=@".contains(c);
    let component = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && !part.ends_with('.')
            && !part.ends_with(".lock")
    };
    text != "@"
        && text.chars().all(allowed)
        && text.split('/').all(component)
        && !text.contains("..")
}

impl From<Branch> for String {
    fn from(branch: Branch) -> Self {
        branch.0
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A tag's name, without `refs/tags/`; no less safe than a branch's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagName(String);

impl TagName {
    /// The heartbeat of a branch, where no other name is configured.
    pub fn heartbeat_of(branch: &Branch) -> Self {
        Self(format!("{HEARTBEAT}{branch}"))
    }

    /// The short name, such as `heartbeat-main`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full ref name, such as `refs/tags/heartbeat-main`.
    pub fn reference(&self) -> String {
        format!("refs/tags/{}", self.0)
    }
}

impl TryFrom<String> for TagName {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        if text.len() <= TAG_LIMIT && is_safe_name(&text) {
            Ok(Self(text))
        } else {
            let expected = "the name of a tag such as \"heartbeat-main\"";
            Err(Malformed::new(expected, &text))
        }
    }
}

impl From<TagName> for String {
    fn from(tag: TagName) -> Self {
        tag.0
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a deployment is to bring to this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Candidate {
    /// A commit that the host's branch points to.
    Commit(CommitId),
    /// A commit that a testing branch points to: it is only ever tested.
    Testing {
        /// The branch.
        branch: Branch,
        /// The commit.
        commit: CommitId,
    },
    /// The system of an earlier deployment, which root goes back to.
    Earlier {
        /// Which deployment's.
        deployment: DeploymentId,
        /// Its commit.
        commit: CommitId,
        /// Its system, as it was built then.
        system: System,
    },
    /// A snapshot that root pushed: it is of no branch.
    Pushed {
        /// What the host's branch was then, in whose place it comes; git's null
        /// where nobody knew.
        commit: CommitId,
        /// The snapshot, and what is to become of it.
        push: Box<Push>,
    },
}

impl Candidate {
    /// The commit that the candidate is; of a push the one in whose place it
    /// comes.
    pub fn commit(&self) -> &CommitId {
        match self {
            Self::Commit(commit)
            | Self::Testing { commit, .. }
            | Self::Earlier { commit, .. }
            | Self::Pushed { commit, .. } => commit,
        }
    }

    /// The testing branch that it is of, if it is of one.
    pub fn testing(&self) -> Option<&Branch> {
        match self {
            Self::Commit(_) | Self::Earlier { .. } | Self::Pushed { .. } => None,
            Self::Testing { branch, .. } => Some(branch),
        }
    }

    /// Whether root said so, and no branch.
    pub fn is_roots(&self) -> bool {
        match self {
            Self::Commit(_) | Self::Testing { .. } => false,
            Self::Earlier { .. } | Self::Pushed { .. } => true,
        }
    }

    /// What root pushed, if it is that.
    pub fn push(&self) -> Option<&Push> {
        match self {
            Self::Commit(_) | Self::Testing { .. } | Self::Earlier { .. } => None,
            Self::Pushed { push, .. } => Some(push),
        }
    }

    /// Whether the same flake is evaluated for both: a push is never the commit
    /// in whose place it comes.
    pub fn is_same_flake(&self, other: &Self) -> bool {
        match (self.push(), other.push()) {
            (None, None) => self.commit() == other.commit(),
            (Some(one), Some(other)) => {
                (&one.source, &one.configuration) == (&other.source, &other.configuration)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// Text that is not what it has to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct Malformed {
    /// What the text had to be.
    pub expected: &'static str,
    /// The text, cut to 100 characters.
    pub found: String,
}

impl Malformed {
    /// Names what was expected and keeps the beginning of what was found.
    pub fn new(expected: &'static str, found: &str) -> Self {
        let found = found.chars().take(100).collect();
        Self { expected, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_ids_are_forty_lower_case_hexadecimal_digits() {
        let good = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(
            CommitId::try_from(good.to_owned()).map(String::from),
            Ok(good.to_owned())
        );
        for bad in [
            "",
            "main",
            &good[1..],
            &good.to_uppercase(),
            "../../../../../etc/passwd0000000000000000",
        ] {
            assert!(CommitId::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_push_is_another_flake_than_the_commit_in_whose_place_it_comes() {
        let store = |hash: &str| format!("/nix/store/{}-source", hash.repeat(32));
        let pushed = |hash, name: &str, options: &[String]| Candidate::Pushed {
            commit: CommitId::null(),
            push: Box::new(
                Push::parse(store(hash), name.to_owned(), options).expect("it is a push"),
            ),
        };
        let one = pushed("0", "web1", &[]);
        assert!(one.is_same_flake(&pushed("0", "web1", &["dirty".to_owned()])));
        for other in [
            Candidate::Commit(CommitId::null()),
            pushed("1", "web1", &[]),
            pushed("0", "web2", &[]),
        ] {
            assert!(
                !one.is_same_flake(&other) && !other.is_same_flake(&one),
                "{other:?}"
            );
        }
    }

    #[test]
    fn branch_names_that_could_smuggle_anything_are_refused() {
        for good in ["main", "release/24.11", "testing-web1", "a+b@c"] {
            assert!(Branch::try_from(good.to_owned()).is_ok(), "{good:?}");
        }
        for bad in [
            "", "-x", "a..b", "a b", "a:b", "a^", "x.lock", "/a", "a/", "a//b", "@", "a/.b", "a\nb",
        ] {
            assert!(Branch::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
