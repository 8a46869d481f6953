//! Keeps the host up for as long as a reboot leads astray.
//!
//! In: where a reboot leads, whenever that is decided. Out: a lock of logind,
//! held meanwhile. Must not: decide, or hold anything else up; a host without
//! logind is told of once, and goes on as any other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::pipeline::Stages;
use crate::reconcile::phase::Reboot;
use crate::report::milestones;

/// How soon a lock that was not given is asked for again: logind may be
/// starting, and after a restart of the bus it has to be restarted itself.
const AGAIN: Duration = Duration::from_secs(10);

/// What whoever wants to shut the host down reads.
const WHY: &str = "The boot entry could not be put back: a reboot may not come up. See \
    `deploy-flake status`.";

/// Where a reboot leads, told to the task that holds the lock. That task ends
/// with this.
pub(super) struct Shutdown(watch::Sender<Reboot>);

impl Shutdown {
    /// Allowed, until told otherwise.
    pub(super) fn new<S: Stages>(stages: Arc<S>) -> Self {
        let (sender, receiver) = watch::channel(Reboot::LeadsBack);
        tokio::spawn(hold_when_astray(stages, receiver));
        Self(sender)
    }

    /// A reboot leads there now.
    pub(super) fn leads(&self, reboot: Reboot) {
        self.0.send_if_modified(|told| {
            let is_new = *told != reboot;
            *told = reboot;
            is_new
        });
    }
}

async fn hold_when_astray<S: Stages>(stages: Arc<S>, mut leads: watch::Receiver<Reboot>) {
    let mut is_told = false;
    while becomes(&mut leads, Reboot::LeadsAstray).await {
        match stages.inhibit_shutdown(WHY).await {
            Ok(lock) => {
                milestones::shutdown_inhibited();
                is_told = false;
                if becomes(&mut leads, Reboot::LeadsBack).await {
                    milestones::shutdown_allowed();
                }
                drop(lock);
            }
            Err(failure) => {
                if !is_told {
                    milestones::shutdown_not_inhibited(&failure);
                    is_told = true;
                }
                // Elapsed or not, what is wanted is looked at again.
                let _ = timeout(AGAIN, becomes(&mut leads, Reboot::LeadsBack)).await;
            }
        }
    }
}

/// Waits until a reboot leads there; false when nobody can say any more.
async fn becomes(leads: &mut watch::Receiver<Reboot>, wanted: Reboot) -> bool {
    leads.wait_for(|leads| *leads == wanted).await.is_ok()
}
