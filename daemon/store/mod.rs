//! What survives the daemon's death: on disk, or in `/run` until the next boot.
//!
//! In: plain data. Out: the same, after any crash. Must not: decide.

pub mod ledger;
pub mod token;
pub mod plan;
pub mod record;
pub mod snapshot;
pub mod history;
pub mod lock;
