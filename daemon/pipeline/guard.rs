//! The dead-man's switch: armed before an activation, read back, claimed or
//! disarmed after it, and the way back when it is needed.
//!
//! In: what is going to be activated, and what runs. Out: an armed guardian, or
//! a refusal; whose verdict stands; how the way back ended. Must not: activate
//! or lead back itself: the guardian does, a process that outlives us.
//!
//! The timer decides nothing: the token does. That a timer cannot be stopped
//! is therefore no danger, and that it is gone is no verdict.

mod deadline;
pub(crate) mod program;
mod unit;
mod arm;
mod verdict;
mod rollback;

pub(crate) use arm::{arm, stand_back};
pub(crate) use rollback::roll_back;
pub(crate) use verdict::{claim, disarm, dismiss, sweep};

use std::path::Path;

use crate::host::systemd::Systemd;
use crate::model::policy::{Deadlines, Health, OnFailedRollback};
use crate::model::system::BootId;

/// What arming and leading back depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard<'a> {
    /// Where the units are.
    pub(crate) systemd: &'a Systemd,
    /// The host's root directory.
    pub(crate) root: &'a Path,
    /// PATH of everything that runs as a unit of ours.
    pub(crate) path_variable: &'a str,
    /// How long the guardian waits, and how long each of its rungs may take.
    pub(crate) deadlines: &'a Deadlines,
    /// What counts as healthy.
    pub(crate) health: &'a Health,
    /// When the running system cannot be brought back live.
    pub(crate) on_failed_rollback: OnFailedRollback,
    /// This boot.
    pub(crate) boot_id: &'a BootId,
}
