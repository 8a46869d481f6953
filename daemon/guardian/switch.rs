//! `switch-to-configuration test` of the previous system.
//!
//! In: a toplevel and a limit. Out: nothing: its exit status is no verdict,
//! health is. Must not: wait longer than the limit.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::say::say;
use crate::host::cgroup::Cgroup;
use crate::host::child::{self, Child, Stdout};
use crate::host::clock;
use crate::model::system::{NO_CHECKS, Toplevel};

/// Exit status when somebody else holds the lock.
const LOCK_HELD: i32 = 11;

/// Exit statuses after which it has done all that it can: well, the activation
/// script failed, units failed, or only a reboot leads there.
const DONE: [i32; 4] = [0, 2, 4, 100];

/// How often one that broke off is run: it goes on where it broke off.
const RUNS: u32 = 2;

/// Before the next attempt at the lock.
const PAUSE: Duration = Duration::from_secs(1);

/// The cgroup below ours in which it runs.
const CGROUP: &str = "switch";

/// Runs it until it has done what it can.
pub(super) fn back(previous: &Toplevel, limit: Duration) {
    let program = previous.switch_to_configuration();
    let cgroup = Cgroup::own().and_then(|own| own.below(CGROUP).ok());
    if cgroup.is_none() {
        say("there is no cgroup of our own: a switch that hangs is ended as a process group");
    }
    repeat(limit, PAUSE, |left| once(&program, cgroup.as_ref(), left));
}

/// Calls it until it has done what it can, or the time is over.
fn repeat(limit: Duration, pause: Duration, mut run: impl FnMut(Duration) -> Option<i32>) {
    let give_up_at = clock::awake() + limit;
    let mut broken_off = 0;
    while let Some(left) = give_up_at.checked_sub(clock::awake()) {
        match run(left) {
            Some(status) if DONE.contains(&status) => return,
            Some(LOCK_HELD) => sleep(pause.min(left)),
            _broke_off => {
                broken_off += 1;
                if broken_off == RUNS {
                    return;
                }
            }
        }
    }
    say("switch-to-configuration has no time left");
}

/// The previous system's own pre-switch checks are not asked: they ran when it
/// was deployed, and may refuse now because of what is to be left.
fn command<'a>(program: &'a str, cgroup: Option<&'a Cgroup>) -> Child<'a> {
    Child {
        program: Path::new(program),
        arguments: vec!["test"],
        environment: vec![NO_CHECKS],
        cgroup,
        stdout: Stdout::Passed,
    }
}

/// Runs it once; its exit status, if it has one.
fn once(program: &str, cgroup: Option<&Cgroup>, limit: Duration) -> Option<i32> {
    say(&format!("{program} test"));
    match child::run(&command(program, cgroup), limit) {
        Ok(output) => {
            say(&format!("switch-to-configuration: {}", output.status));
            output.status.code()
        }
        Err(error) => {
            say(&format!("{:#}", anyhow::Error::new(error)));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it is run when it ends so, one after the other, and well then.
    fn runs(ends: &[Option<i32>]) -> u32 {
        let mut count = 0;
        let mut ends = ends.iter().copied();
        repeat(Duration::from_secs(60), Duration::ZERO, |_left| {
            count += 1;
            ends.next().unwrap_or(Some(0))
        });
        count
    }

    #[test]
    fn one_that_has_done_what_it_can_is_not_run_again() {
        for status in DONE {
            assert_eq!(runs(&[Some(status)]), 1, "{status}");
        }
    }

    #[test]
    fn a_held_lock_is_tried_again_and_one_that_breaks_off_is_run_once_more() {
        assert_eq!(runs(&[Some(11), Some(11), Some(11), Some(4)]), 4);
        assert_eq!(runs(&[Some(1), Some(11), Some(0)]), 3);
        assert_eq!(runs(&[None, Some(101), Some(0)]), 2);
    }

    #[test]
    fn the_previous_systems_own_checks_cannot_veto_the_way_back() {
        let script = command("/bin/sh", None);
        let script = Child {
            arguments: vec!["-c", "exit $((NIXOS_NO_CHECK + 6))"],
            ..script
        };
        let output = child::run(&script, Duration::from_secs(60)).expect("a shell runs");
        assert_eq!(output.status.code(), Some(7));
    }

    #[test]
    fn without_time_it_is_not_run() {
        repeat(Duration::ZERO, Duration::ZERO, |left| {
            assert_eq!(left, Duration::ZERO);
            Some(LOCK_HELD)
        });
    }
}
