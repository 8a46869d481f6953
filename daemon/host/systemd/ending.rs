//! The end of a unit: waited for, or brought about.
//!
//! In: a unit's name. Out: what became of it. Must not: act on a signal's
//! content. Watching is subscribe, read, and read again after every signal and
//! every so often: a lost signal costs time, never the result.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use zbus::{MatchRule, MessageStream};

use super::bus::{Systemd, SystemdError, call, unless_not_loaded};
use super::proxies::UNIT_INTERFACE;
use super::state::{ActiveState, Run, UnitState, UnitStatus};

/// How often a state is read again although no signal came.
const REREAD_INTERVAL: Duration = Duration::from_secs(5);

/// How long `switch-to-configuration` waits for systemd to re-execute itself,
/// and again to reload.
#[cfg(test)]
const SWITCH_PATIENCE: Duration = Duration::from_secs(180);

/// How long reading may fail in a row while systemd re-executes itself and
/// reloads a large configuration: longer than a switch waits for either, or we
/// would give up a step that goes on.
const PATIENCE: Duration = Duration::from_secs(420);

/// How long stopping and unloading a unit may take: its own ten seconds, and
/// time for a slow machine.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether a stopped unit is unloaded: systemd does
/// that by itself in the next turn of its loop.
const UNLOAD_INTERVAL: Duration = Duration::from_millis(50);

impl Systemd {
    /// Waits until the unit neither runs nor is about to, and returns what
    /// became of it; None when it is not loaded (any more).
    ///
    /// Cancel-safe: nothing is lost when the future is dropped.
    pub async fn wait_ended(&self, name: &str) -> Result<Option<UnitStatus>, SystemdError> {
        self.wait(name).await
    }

    async fn wait<T: Run>(&self, name: &str) -> Result<Option<T>, SystemdError> {
        // Often there is nothing to wait for.
        if let Ok(Some(ended_or_gone)) = self.ended(name).await {
            return Ok(ended_or_gone);
        }
        let watching = call(format!("send signals about unit {name}"));
        // Before the next reading: what happens after it, wakes us.
        let mut changes = self.changes(name).await.map_err(watching)?;
        let mut failing_until: Option<Instant> = None;
        loop {
            match self.ended(name).await {
                Ok(Some(ended_or_gone)) => return Ok(ended_or_gone),
                Ok(None) => failing_until = None,
                Err(error) => self.bear(error, &mut failing_until).await?,
            }
            // Elapsed or not, the state is read again.
            let _ = timeout(REREAD_INTERVAL, changes.next()).await;
            // Signals come in bursts; what is read now is newer than all of them.
            while let Some(Some(_)) = changes.next().now_or_never() {}
        }
    }

    /// What became of a unit; None while something goes on.
    async fn ended<T: Run>(&self, name: &str) -> Result<Option<Option<T>>, SystemdError> {
        let is_changing = self.is_changing(name).await;
        if is_changing.map_err(call(format!("describe unit {name}")))? {
            return Ok(None);
        }
        let found: Option<T> = self.read(name).await?;
        let goes_on = found.as_ref().is_some_and(|it| !it.is_over());
        Ok((!goes_on).then_some(found))
    }

    /// Lets an error pass while systemd may only be re-executing itself.
    async fn bear(
        &self,
        error: SystemdError,
        failing_until: &mut Option<Instant>,
    ) -> Result<(), SystemdError> {
        // Not the clock that decisions use: only our own waiting is measured.
        let now = deadline_after(Duration::ZERO);
        let until = *failing_until.get_or_insert_with(|| deadline_after(PATIENCE));
        let is_closed = timeout(Duration::ZERO, self.closed()).await.is_ok();
        if is_closed || now >= until {
            return Err(error);
        }
        sleep(UNLOAD_INTERVAL).await;
        Ok(())
    }

    /// A stream that yields whenever the unit's state may have changed.
    async fn changes(&self, name: &str) -> zbus::Result<MessageStream> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender("org.freedesktop.systemd1")
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path(object_path(name))
            // States and jobs are what every unit has; its type's own properties change far more often.
            .arg(0, UNIT_INTERFACE)
            .build()?;
        MessageStream::for_match_rule(rule, &self.connection, None).await
    }

    /// Stops a unit, waits for its end, and makes systemd forget it. Does
    /// nothing when there is none.
    pub async fn stop_and_reset(&self, name: &str) -> Result<(), SystemdError> {
        let deadline = deadline_after(STOP_PATIENCE);
        let gone = timeout_at(deadline, self.stop_until_unloaded(name)).await;
        gone.unwrap_or_else(|_elapsed| {
            Err(SystemdError::Lingers {
                unit: name.to_owned(),
                after: STOP_PATIENCE,
            })
        })
    }

    async fn stop_until_unloaded(&self, name: &str) -> Result<(), SystemdError> {
        let stopped = self.manager.stop_unit(name, "replace").await;
        unless_not_loaded(stopped).map_err(call(format!("stop unit {name}")))?;
        let mut found: Option<UnitState> = self.wait(name).await?;
        // Until it is unloaded, another one cannot take its name.
        while let Some(unit) = found {
            if unit.active_state == ActiveState::Failed {
                let reset = self.manager.reset_failed_unit(name).await;
                unless_not_loaded(reset).map_err(call(format!("forget unit {name}")))?;
            } else {
                sleep(UNLOAD_INTERVAL).await;
            }
            found = self.unit(name).await?;
        }
        Ok(())
    }
}

/// The path of a unit's object, whether or not it is loaded: every byte but
/// letters and digits becomes `_` and its two hexadecimal digits (`sd_bus_path_encode`).
fn object_path(name: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && index > 0) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The only reading of tokio's clock: for patience, never for decisions.
fn deadline_after(patience: Duration) -> Instant {
    Instant::now() + patience
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_may_be_deaf_for_as_long_as_a_switch_lets_it() {
        assert!(PATIENCE > 2 * SWITCH_PATIENCE);
    }

    #[test]
    fn object_paths_are_escaped_as_systemd_does() {
        for (name, path) in [
            (
                "deploy-flake-test.service",
                "deploy_2dflake_2dtest_2eservice",
            ),
            ("1a.service", "_31a_2eservice"),
        ] {
            assert_eq!(
                object_path(name),
                format!("/org/freedesktop/systemd1/unit/{path}")
            );
        }
    }
}
