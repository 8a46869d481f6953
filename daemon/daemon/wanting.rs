//! Root's wish for an earlier system, or for a snapshot of their own, until it is
//! known what the host is.
//!
//! In: the wish. Out: the same with what the host is now, or the answer that
//! this cannot be read. Must not: hold up the loop; a dead file system may.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::answering::tell;
use crate::ipc::request::{Declined, Reply};
use crate::model::pause::UserId;
use crate::model::system::Observed;
use crate::pipeline::Stages;
use crate::reconcile::event::Instead;

/// Links and a boot entry are read in milliseconds; whoever asked waits a little
/// longer than this.
const PATIENCE: Duration = Duration::from_secs(4);

/// What root wants.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Who says so.
    pub(super) by: UserId,
    /// What, instead of what the branch asks for.
    pub(super) instead: Instead,
    /// Takes the answer.
    pub(super) reply: Reply<u64>,
}

/// The same, and what the host is.
#[derive(Debug)]
pub(super) struct FoundOut {
    /// What root wants.
    pub(super) wanted: Wanted,
    /// What the host is.
    pub(super) observed: Observed,
}

/// Finds out what the host is.
pub(super) async fn find_out<S: Stages>(
    stages: Arc<S>,
    wanted: Wanted,
    found_out: mpsc::UnboundedSender<FoundOut>,
) {
    match timeout(PATIENCE, stages.observe()).await {
        Ok(observed) => {
            // Only a daemon that is going away has dropped the receiver.
            let _ = found_out.send(FoundOut { wanted, observed });
        }
        Err(_) => {
            let why = "running system, profile or boot entry cannot be read to an end: look for a \
                       file system that does not answer (`findmnt`, `dmesg`)";
            tell(wanted.reply, Err(Declined(why.to_owned())));
        }
    }
}
