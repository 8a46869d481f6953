//! One exchange with a remote, watched.
//!
//! In: work that talks to a remote. Out: what came of it, or that it was given
//! up. Must not: wait for a remote that stays silent.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use crate::fetcher::limits::Limits;
use crate::fetcher::meter::Meter;
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::Problem;

/// How often in a window it is looked whether to go on.
const LOOKS: u32 = 10;

/// What became of an exchange.
pub(super) enum Ended<T> {
    /// It came to an end by itself, or soon after it was given up.
    Returned(Result<T, Trouble>),
    /// Its thread hangs in a read that nobody can end: the process has to.
    Stuck(Trouble),
}

/// Works in a thread of its own for as long as what comes is enough.
pub(super) fn watch<T: Send + 'static>(
    limits: Limits,
    work: impl FnOnce(&Arc<Meter>) -> Result<T, Trouble> + Send + 'static,
) -> Ended<T> {
    let meter = Arc::new(Meter::new(limits));
    let (sender, receiver) = mpsc::sync_channel(1);
    let watched = Arc::clone(&meter);
    let thread = thread::spawn(move || {
        // Nobody waits any more for what comes after it was given up.
        let _ = sender.send(work(&watched));
    });
    loop {
        match receiver.recv_timeout(limits.window / LOOKS) {
            Ok(result) => {
                // What it held is gone before anybody goes on.
                let _ = thread.join();
                return Ended::Returned(result.map_err(|trouble| blame(trouble, &meter)));
            }
            Err(RecvTimeoutError::Timeout) if !meter.is_too_slow() => {}
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return Ended::Stuck(panicked()),
        }
    }
    meter.give_up();
    match receiver.recv_timeout(limits.grace) {
        Ok(_) => {
            let _ = thread.join();
            Ended::Returned(Err(too_slow(limits)))
        }
        Err(_) => Ended::Stuck(too_slow(limits)),
    }
}

/// An error that we caused ourselves has many faces in gix.
fn blame(trouble: Trouble, meter: &Meter) -> Trouble {
    if meter.is_too_big() {
        return trouble.become_problem(Problem::TooBig);
    }
    trouble
}

fn too_slow(limits: Limits) -> Trouble {
    let seconds = limits.window.as_secs_f32();
    let message = format!(
        "expected an answer, or {} bytes of a pack, within {seconds} s, found less",
        limits.least
    );
    Trouble::new(Problem::TooSlow, message)
}

fn panicked() -> Trouble {
    Trouble::new(Problem::Fetch, "the exchange ended without a result")
}
