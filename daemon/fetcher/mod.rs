//! A process of its own: brings what a remote offers into the mirror (gix).
//!
//! In: requests on standard input. Out: answers there, and the mirror. Must
//! not: talk to the bus, decide, or be believed.
//!
//! Everything blocks here, and may block for ever: whoever asks sets deadlines
//! and ends the process. Nothing is lost with it but a connection.

pub mod wire;
pub mod process;
pub mod asking;
mod remote;
mod wanted;
mod heartbeat;
mod credentials;
mod ssh;
mod https;
mod exchange;
mod meter;
mod metered;
mod session;
mod mirror;
mod bloat;
mod complete;
mod lineage;
mod limits;
mod trouble;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod tests;
