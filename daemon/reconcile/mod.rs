//! The decisions: pure functions over plain data.
//!
//! In: the state, an event, the policy and the time. Out: the next state and
//! the effects that are due. Must not: do I/O, await, read a clock, log, or
//! fail; failures are events here.

pub mod phase;
pub mod event;
pub mod effect;
pub mod state;
pub mod window;
pub mod permission;
pub mod quarantine;
mod remedy;
pub mod select;
pub mod branches;
pub mod earlier;
pub mod instead;
pub mod holding;
pub mod step;
pub mod recover;
pub mod unsaved;
pub mod backoff;
pub mod schedule;
pub mod choose;
pub mod condition;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod entry_tests;
#[cfg(test)]
mod push_tests;
