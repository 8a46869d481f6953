//! The messages between daemon and fetcher: one JSON object a line, over a
//! socket pair.
//!
//! In: requests of the daemon. Out: answers of the fetcher, in order, one per
//! request. Must not: carry more than [`LINE_LIMIT`] bytes a line.
//!
//! The daemon does not believe an answer: a commit id is only a name until the
//! import has hashed what it names.

use serde::{Deserialize, Serialize};

use crate::model::remote::RemoteAddress;
use crate::model::revision::{Branch, CommitId, TagId, TagName};

/// The longest line either side reads, in bytes.
///
/// The longest answer is one commit object of 1 MiB, after a page of others.
pub const LINE_LIMIT: usize = 5 << 20;

/// What the daemon asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Which commit is the branch? One `ls-refs`, no pack, no write.
    Poll {
        /// Where to ask.
        remote: RemoteAddress,
        /// Which other branch is asked for in the same `ls-refs`.
        #[serde(default)]
        testing: Option<Branch>,
        /// Which tag is asked for in the same one: the remote's heartbeat.
        #[serde(default)]
        heartbeat: Option<TagName>,
    },
    /// Bring this commit, which the branch was just seen to be, into the mirror.
    Fetch {
        /// Where to ask.
        remote: RemoteAddress,
        /// What the last poll answered.
        commit: CommitId,
        /// How many bytes of pack are taken.
        pack_limit: u64,
    },
    /// Pass on this tag, which the heartbeat was just seen to be; the mirror
    /// stays as it is.
    Heartbeat {
        /// Where to ask.
        remote: RemoteAddress,
        /// The tag's name.
        name: TagName,
        /// What the last poll answered.
        tag: TagId,
    },
    /// Which commits show whether the tip follows the base, and who signed
    /// them? Both are in the mirror, or the base is not.
    Lineage {
        /// The commit that is to be judged.
        tip: CommitId,
        /// What it has to follow.
        base: Option<CommitId>,
        /// The first of them that was not sent yet.
        first: usize,
    },
    /// What does this commit say? It is in the mirror. The answer is a lineage of
    /// one.
    Commit {
        /// Which.
        commit: CommitId,
    },
}

/// What the fetcher answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// The branch is this commit.
    Head {
        /// The commit.
        commit: CommitId,
        /// What the other branch is, if the remote has it.
        #[serde(default)]
        testing: Option<CommitId>,
        /// What the heartbeat is, if the remote has it.
        #[serde(default)]
        heartbeat: Option<TagId>,
    },
    /// The remote answered, and has no such branch.
    BranchMissing,
    /// The mirror holds the commit and all that belongs to it.
    Fetched {
        /// The commit.
        commit: CommitId,
    },
    /// The commits that were asked for, or the next of them.
    Lineage {
        /// The objects in hexadecimal digits, without git's header.
        objects: Vec<String>,
        /// Which is the first of the next page, if there is one.
        next: Option<usize>,
    },
    /// The tag that was asked for.
    Heartbeat {
        /// The object in hexadecimal digits, without git's header.
        object: String,
    },
    /// It did not work.
    Failed {
        /// At which of the two.
        problem: Problem,
        /// The whole chain of causes, one line, escaped.
        message: String,
    },
}

/// What did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// The remote could not be connected to, or broke off.
    Remote,
    /// Nobody knows the remote's name.
    Unresolved,
    /// The remote could not show that it is who it has to be.
    Untrusted,
    /// The remote's certificate is for another name.
    WrongName,
    /// Nobody has told this host the ssh server's key.
    HostKeyUnknown,
    /// The ssh server has another key than it has to have.
    HostKeyChanged,
    /// What this host is to show the remote cannot be used.
    Credential,
    /// The remote wants to be asked elsewhere.
    Redirected,
    /// The remote wants to know who asks, or does not let us.
    Unauthorized,
    /// The remote says that it cannot answer.
    ServerError,
    /// What the remote answered is not git's protocol.
    NotGit,
    /// Nothing came for a while, or less than what gets anywhere.
    TooSlow,
    /// More came than is taken.
    TooBig,
    /// The branch is something else than a commit.
    NotACommit,
    /// The heartbeat is something else than a tag of its own, or one that is
    /// too large.
    NotATag,
    /// The pack is damaged.
    Pack,
    /// The remote sent less than what belongs to the commit; the mirror was
    /// removed and is made anew next time.
    Incomplete,
    /// The pack could not be fetched or stored.
    Fetch,
    /// The branch moved away from the commit meanwhile.
    Moved,
    /// The mirror itself is damaged; it was removed and is made anew next time.
    Mirror,
    /// The file system of the mirror is full.
    DiskFull,
    /// The remote offers what can never be used, such as SHA-256 objects.
    Unsupported,
    /// The request could not be understood.
    Protocol,
}
