//! The nouns: plain data and serde.
//!
//! In: nothing of ours. Out: the types that every other module speaks in.
//! Must not: do I/O, read the clock, decide.

pub mod revision;
pub mod remote;
pub mod offer;
pub mod testing;
pub mod system;
pub mod time;
pub mod policy;
pub mod failure;
pub mod deployment;
pub mod push;
pub mod pause;
pub mod progress;
pub mod health;
pub mod rollback;
pub mod stage;
pub mod text;
pub mod credential;
pub mod flake;
pub mod package;
pub mod closure;
pub mod description;
