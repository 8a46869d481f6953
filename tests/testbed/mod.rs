//! The test bed: real hosts in containers, a network between them, git servers, and what a scenario does with them.
//!
//! In: the root file system (`rootfs`), the programs under test. Out: [`World`], in which a scenario boots hosts,
//! publishes commits, and looks. Everything a world made is gone when it is dropped, also on a panic; what a killed
//! run left behind is removed by the next one. Nothing of it is in the machine's own network namespace.
//!
//! ```text
//! World ── hub namespace with a bridge ─┬─ Host        systemd as PID 1 over rootfs + first generation; its address,
//!          (everybody's gateway; hosts  │              its names and its sshd are its system's business
//!          are looked at from there)    │
//!                                       ├─ GitServer   git daemon, lighttpd, sshd
//!                                       └─ Client      where an operator sits
//! ```

mod base;
pub mod cache;
pub(crate) mod cgroup;
pub mod child;
pub mod client;
mod container;
pub mod generation;
pub mod git_server;
pub mod host;
mod layer;
pub mod leftovers;
pub mod network;
mod outside;
pub mod repository;
pub mod sabotage;
pub mod world;
