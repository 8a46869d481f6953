//! The last rung: a reboot, which leads to the previous system, because the
//! default boot entry still is its.
//!
//! In: how patient to be. Out: nothing, if all goes well. Must not: need the
//! bus, or stop at a shutdown that hangs.

use std::thread::sleep;
use std::time::Duration;

use rustix::system::{RebootCommand, reboot as reboot_by_kernel};

use super::record;
use super::say::say;
use super::systemctl::Systemctl;
use crate::host::clock;

/// Ever harder: a shutdown in order, all processes killed by PID 1, and no PID
/// 1 at all. The first is what `systemctl reboot` comes to, without asking
/// logind, who is asked over the bus; so none of them stops at an inhibitor.
const WAYS: [&[&str]; 3] = [
    &[
        "start",
        "--no-block",
        "--job-mode=replace-irreversibly",
        "reboot.target",
    ],
    &["reboot", "--force"],
    &["reboot", "--force", "--force"],
];

/// Reboots; returns only if nothing can.
pub(super) fn reboot(systemctl: &Systemctl, patience: Duration) {
    for way in WAYS {
        say(&format!("systemctl {}", way.join(" ")));
        let harder_at = clock::awake() + patience;
        if systemctl.attempt_within(way, patience) {
            // What follows kills this process, too.
            sleep(harder_at.saturating_sub(clock::awake()));
        }
    }
    say("systemctl does not reboot the host; the kernel is asked");
    record::sync();
    if let Err(error) = reboot_by_kernel(RebootCommand::Restart) {
        say(&format!("the kernel does not reboot: {error}"));
    }
}
