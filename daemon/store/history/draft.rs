//! What is learned of a deployment on its way: it outlives a restart of the
//! daemon, and what of it is lost is missing in the record.
//!
//! In: phases as they come and go. Out: a [`Draft`], beside the records. Must
//! not: be synced; no decision waits for it.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::record::{Evidence, Lasted, Origin, between, milliseconds};
use super::{FILE_LIMIT, History};
use crate::model::deployment::DeploymentId;
use crate::model::description::Description;
use crate::model::time::Now;
use crate::store::snapshot::PhaseName;

/// The draft's file; only root may read it.
const FILE: &str = "draft";

/// Under which name it is written.
const NEW: &str = "draft.new";

/// How many phases are noted: a deployment that is taken up again and again has
/// no end of them.
const MOST_PHASES: usize = 100;

/// A deployment on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Which.
    pub deployment: DeploymentId,
    /// From where its commit came.
    pub remote: Option<Origin>,
    /// What its commit says of itself.
    pub description: Option<Description>,
    /// The phases that are over.
    pub phases: Vec<Lasted>,
    /// By what its system is judged, once it is activated.
    pub health: Option<Evidence>,
    /// When the present phase began.
    since: Option<Now>,
}

impl Draft {
    /// Of a deployment of which nothing is known yet.
    pub fn new(deployment: DeploymentId) -> Self {
        Self {
            deployment,
            remote: None,
            description: None,
            phases: Vec::new(),
            health: None,
            since: None,
        }
    }

    /// A phase begins.
    pub fn enter(&mut self, now: Now) {
        self.since = Some(now);
    }

    /// A phase goes on, with another daemon.
    pub fn resume(&mut self, now: Now) {
        self.since.get_or_insert(now);
    }

    /// A phase is over.
    pub fn leave(&mut self, phase: PhaseName, now: Now) {
        if let Some(since) = self.since.take()
            && self.phases.len() < MOST_PHASES
        {
            self.phases.push(Lasted {
                phase,
                duration_ms: milliseconds(between(since, now)),
            });
        }
    }
}

impl History {
    /// Keeps the draft for the next daemon.
    ///
    /// # Errors
    /// The disk is full or cannot be written.
    pub fn keep_draft(&self, draft: &Draft) -> io::Result<()> {
        self.make_directory()?;
        // Not synced: after a power cut the old one, the new one or none is read.
        let new = self.directory.join(NEW);
        fs::write(&new, serde_json::to_vec(draft)?)?;
        fs::rename(new, self.directory.join(FILE))
    }

    /// The draft of that deployment, if there is one; else a new one.
    pub fn draft(&self, deployment: &DeploymentId) -> Draft {
        let file = self.directory.join(FILE);
        let is_small = fs::metadata(&file).is_ok_and(|file| file.len() <= FILE_LIMIT);
        let bytes = is_small.then(|| fs::read(&file).ok()).flatten();
        let draft = bytes.and_then(|bytes| serde_json::from_slice::<Draft>(&bytes).ok());
        draft
            .filter(|draft| draft.deployment == *deployment)
            .unwrap_or_else(|| Draft::new(deployment.clone()))
    }
}
