//! The process that finds the way back: armed before an activation, it acts
//! when the daemon says so, or when nobody has decided by its deadline.
//!
//! In: a command line with everything indispensable, and a plan file with the
//! rest. Out: the previous system, healthy again, or a reboot into it; and a
//! record of what was done. Must not: need the daemon, the system bus, the
//! network beyond loopback, a runtime, or the new system; wait for anything
//! without a limit.
//!
//! `ladder` is the order of all of it; everything else is one rung.

pub mod orders;
mod say;
mod ladder;
mod systemctl;
mod activation;
mod bus;
mod switch;
mod units;
mod health;
mod network;
mod reboot;
mod record;

pub use ladder::{Ending, run};

/// Says which words of its command line a guardian does not know, and goes on.
pub fn leave_out(unknown: &[String]) {
    if !unknown.is_empty() {
        say::say(&format!(
            "left out, for this guardian does not know it: {}",
            unknown.join(" ")
        ));
    }
}
