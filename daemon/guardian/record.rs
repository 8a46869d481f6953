//! What the guardian leaves behind of what it did.
//!
//! In: each stage it reaches. Out: a record, on disk as far as the disk goes.
//! Must not: hang on a disk that does; a record that cannot be written does not
//! keep the host where it is.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::orders::Orders;
use super::say::say;
use crate::host::clock;
use crate::model::rollback::{RollbackRecord, RollbackStage, WantedBy};
use crate::model::system::BootId;
use crate::store::record;

/// How long a disk may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Writes records of one rollback.
#[derive(Clone, Debug)]
pub(super) struct Diary<'a> {
    pub(super) orders: &'a Orders,
    pub(super) boot_id: BootId,
    pub(super) wanted_by: WantedBy,
}

impl Diary<'_> {
    /// Records how far it came.
    pub(super) fn note(&self, stage: &RollbackStage) {
        let record = RollbackRecord {
            deployment: self.orders.deployment.clone(),
            commit: self.orders.commit.clone(),
            previous: self.orders.previous.clone(),
            candidate: self.orders.candidate.clone(),
            boot_id: self.boot_id.clone(),
            at: clock::now().wall,
            wanted_by: self.wanted_by,
            stage: stage.clone(),
        };
        match within(PATIENCE, move || record::write(&record)) {
            Some(Ok(())) => {}
            Some(Err(error)) => say(&format!("the record cannot be written: {error}")),
            None => say("the record is not written yet: the disk does not answer"),
        }
    }
}

/// Has everything written that is not yet on disk.
pub(super) fn sync() {
    if within(PATIENCE, rustix::fs::sync).is_none() {
        say("not everything is on disk: it does not answer");
    }
}

/// What the work gives, unless it takes too long; then it goes on alone.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, waiting) = mpsc::channel();
    let begun = thread::Builder::new().spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(work());
    });
    begun.ok()?;
    waiting.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_hangs_is_not_waited_for() {
        let (gate, closed) = mpsc::channel::<()>();
        assert_eq!(within(Duration::ZERO, move || closed.recv().is_ok()), None);
        drop(gate);
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
    }
}
