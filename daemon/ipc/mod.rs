//! How others talk to the daemon: `org.deploy_flake.Daemon1` on the system bus.
//!
//! In: calls, judged by the caller's credentials. Out: requests for the
//! daemon's loop, and properties of what it does. Must not: decide what a
//! request leads to, or carry anything that a caller could choose besides
//! words of a list of ours.

pub mod rights;
pub mod caller;
pub mod request;
#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
pub mod server;
pub mod client;
#[cfg(target_os = "linux")]
pub mod presence;

/// The well-known name, which only root may own.
pub const NAME: &str = "org.deploy_flake.Daemon1";

/// The one object.
pub const PATH: &str = "/org/deploy_flake/Daemon1";

/// The group whose members may operate the daemon.
pub const OPERATORS: &str = "deploy-flake";
