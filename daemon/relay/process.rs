//! The process: runs the command, and relays what it says.
//!
//! In: a command, and whom to tell how far it is. Out: its lines on standard error,
//! as they come, and how it ended. Must not: hold the command up, or outlive it for
//! the sake of whoever else holds its pipe.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::stream::Stream;
use crate::host::relayed;

/// How often it is told how far the build is, at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs the command to its end. `tell` is told how far it is, whenever that is new,
/// and not more often than every second; what came between is left out.
///
/// # Errors
/// It cannot be started, or not be waited for.
pub fn run(
    program: &Path,
    arguments: &[OsString],
    tell: impl Fn(&str) + Send + 'static,
) -> io::Result<ExitStatus> {
    let stream = Arc::new(Mutex::new(Stream::default()));
    let told = Arc::clone(&stream);
    // It ends with the process.
    thread::Builder::new().spawn(move || {
        let mut last = None;
        loop {
            thread::sleep(INTERVAL);
            let progress = lock(&told).progress();
            if progress != last {
                if let Some(progress) = &progress {
                    tell(&progress.to_string());
                }
                last = progress;
            }
        }
    })?;
    relayed::run(program, arguments, move |line| {
        let text = lock(&stream).take(line);
        if let Some(text) = text {
            // One write for each, so that nobody's line is broken by another's.
            // A journal that is gone is no reason to end a build.
            let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
        }
    })
}

/// A stream at which something panicked is as good as any.
fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}
