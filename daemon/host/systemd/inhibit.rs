//! A lock of logind that keeps the host from being shut down or rebooted.
//!
//! In: why. Out: the lock, which lasts as long as it is held. Must not: wait
//! for it, or know when it is due.

use zbus::OwnedFd;

use super::bus::{Systemd, SystemdError, call};
use super::proxies::LoginProxy;

/// Who holds the lock, as `systemd-inhibit --list` shows it.
const WHO: &str = "deploy-flake";

/// Not while the lock is held. Whoever means it says so
/// (`--check-inhibitors=no`, `--force`); what PID 1 is asked for goes past it.
const MODE: &str = "block";

/// Keeps the host from being shut down until it is dropped, or this process
/// ends. logind may be restarted meanwhile: it finds the other end again.
#[derive(Debug)]
pub struct ShutdownLock {
    _held: OwnedFd,
}

impl Systemd {
    /// Has logind keep the host from being shut down.
    pub async fn inhibit_shutdown(&self, why: &str) -> Result<ShutdownLock, SystemdError> {
        let operation = "inhibit a shutdown (logind)";
        let login = LoginProxy::builder(self.connection())
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .map_err(call(operation))?;
        let held = login.inhibit("shutdown", WHO, why, MODE).await;
        let held = held.map_err(call(operation))?;
        Ok(ShutdownLock { _held: held })
    }
}
