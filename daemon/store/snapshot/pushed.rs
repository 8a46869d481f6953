//! What snapshot and history say of what root pushed.
//!
//! In: the ledger's word for it. Out: plain data for everybody. Must not: word it
//! for people; `report` does.

use serde::{Deserialize, Serialize};

use crate::model::push::{Aim, OwnCheck, Push};
use crate::model::system::{Configuration, StorePath};

/// A snapshot of a flake that root pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// Where it is in this host's store.
    pub source: StorePath,
    /// Which of its configurations it is about.
    pub configuration: Configuration,
    /// How far its system is brought.
    pub aim: Aim,
    /// What becomes of the system's own check; left out where that is as ever.
    #[serde(default, skip_serializing_if = "OwnCheck::is_as_ever")]
    pub own_check: OwnCheck,
    /// The commit that it is said to be made of; nobody has looked whether it is.
    pub commit: Option<String>,
    /// Whether it is said to hold changes that are in no commit.
    pub dirty: bool,
    /// What it is called, if it has a name.
    pub name: Option<String>,
}

impl From<&Push> for Pushed {
    fn from(push: &Push) -> Self {
        Self {
            source: push.source.clone(),
            configuration: push.configuration.clone(),
            aim: push.aim,
            own_check: push.own_check.clone(),
            commit: push.claims.commit.clone(),
            dirty: push.claims.dirty,
            name: push.claims.name.clone(),
        }
    }
}
