//! A process of its own: looks at the network as a given closure would.
//!
//! In: that closure's configuration. Out: one `ProbeReport` as a line of JSON.
//! Must not: talk to the bus, decide, or know which closure is old or new.
//!
//! The daemon runs it from the old closure for what was before, and from the
//! new one for what is after: the same words then mean two programs, two
//! configurations, and perhaps two ports of the ssh server. Every look is made
//! on fresh connections.

pub mod process;
mod remote;
mod route;
mod ssh;
mod sshd_config;
mod user;
