//! Signals that ask this process to stop, for commands that have something to put
//! in order first.
//!
//! In: nothing. Out: that one came. Must not: be used by services; systemd's
//! SIGTERM has its own place in the daemon.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, `kill`, and a terminal that is closed.
#[derive(Debug)]
pub struct Stopping {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stopping {
    /// Takes the signals from now on: they end the process no more.
    ///
    /// # Errors
    /// The kernel does not let them be taken.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them. Cancel-safe: one that came meanwhile is remembered.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
