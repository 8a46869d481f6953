//! What a testing branch is to this host.
//!
//! In: what the remote said, and how it was judged. Out: plain data for the
//! decisions and the status. Must not: judge.

use super::failure::Failure;
use super::revision::{Branch, CommitId};

/// The testing branch that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testing {
    /// Its name.
    pub branch: Branch,
    /// What it is.
    pub head: TestingHead,
    /// What it does not contain of the host's own branch, if that has moved on
    /// without it.
    pub lacks: Option<CommitId>,
}

impl Testing {
    /// A testing branch of which nobody can say what it is now.
    pub fn unknown(branch: Branch) -> Self {
        Self {
            branch,
            head: TestingHead::Unknown,
            lacks: None,
        }
    }
}

/// What a testing branch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestingHead {
    /// Nobody can say now.
    Unknown,
    /// The remote has no such branch.
    Missing,
    /// The host's branch holds all of it: there is nothing left to test.
    Merged(CommitId),
    /// What may not be followed, or could not be fetched or judged.
    Refused(CommitId, Failure),
    /// What may be tested.
    At(CommitId),
}
