//! The process between Nix and the journal while a system is built: it turns Nix's
//! activity stream into the lines that Nix itself would have written, and into how
//! far the build is.
//!
//! In: a command that writes `--log-format internal-json`. Out: lines on standard
//! error, progress for the service manager, and the command's own end. Must not:
//! keep the command from anything, or end otherwise than it did.
//!
//! The same stream tells how far a copy to another store is (`copies`), without a
//! process between.
//!
//! It is a process of its own, in the unit that builds, so that it lives as long as
//! the build does and no longer, and the daemon may come and go meanwhile.

pub mod copies;
pub mod fuzzing;
#[cfg(target_os = "linux")]
pub mod process;
mod message;
mod stream;
