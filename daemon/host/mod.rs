//! Shared access to the machine: clocks, environment, children, systemd and
//! the journal, each behind one module.
//!
//! In: plain requests. Out: plain answers and typed errors. Must not: know
//! what a deployment is, or decide anything.

pub mod clock;
pub mod machine;
pub mod random;
pub mod environment;
pub mod command;
#[cfg(target_os = "linux")]
pub mod child;
#[cfg(target_os = "linux")]
pub mod cgroup;
pub mod lines;
pub mod foreground;
#[cfg(target_os = "linux")]
pub mod relayed;
pub mod terminal;
pub mod signals;
#[cfg(target_os = "linux")]
pub mod systemd;
pub mod journal;
pub mod unit_file;
pub mod closure;
