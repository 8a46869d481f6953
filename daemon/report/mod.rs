//! How the world hears of it: journal entries with a message id for each
//! milestone, the unit's status text, and the words for all of them.
//!
//! In: what happened, as plain data. Out: journal, terminal, service manager.
//! Must not: decide, or hold up whoever reports for more than a write.

pub mod words;
pub mod failures;
pub mod milestones;
#[cfg(target_os = "linux")]
mod delivery;
#[cfg(target_os = "linux")]
pub mod journal;
pub mod terminal;
#[cfg(target_os = "linux")]
pub mod notify;
pub mod story;
