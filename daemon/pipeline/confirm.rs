//! The tested system to confirmed: healthy again, and staying so.
//!
//! In: what was tested, and what counts as healthy. Out: a [`Confirmation`].
//! Must not: judge a look; `watch` does, and this only looks and waits.

mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::watch::{Look, Seen, Verdict, Watch};
use super::health::HostView;
use super::observe;
use crate::host::systemd::SystemdError;
use crate::model::deployment::System;
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::Health;
use crate::model::stage::Confirmation;
use crate::model::system::Toplevel;

/// At least so many looks make up a confirm window.
const LOOKS_IN_WINDOW: u32 = 20;

/// Looking more often would only burden the host.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Looking less often would miss a unit between its crash and its restart.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);

/// At every so many looks restarts are counted, which asks once per service.
const LOOKS_PER_COUNT: u32 = 5;

/// Watches the host until it was healthy for the whole confirm window, or is
/// known not to be. After a restart of the daemon it is watched anew.
pub(crate) async fn confirm(view: HostView<'_>, system: &System, health: &Health) -> Confirmation {
    let mut watch = Watch::new(&system.toplevel, health);
    let mut eyes = Eyes::new(view);
    let begun = Instant::now();
    loop {
        // Both only read; dropping the one that is not ready loses nothing.
        let look = tokio::select! {
            look = eyes.look() => look,
            () = view.systemd.closed() => return Confirmation::Unknown(bus_lost()),
        };
        if let Some(verdict) = watch.judge(begun.elapsed(), &look) {
            return confirmation(verdict, &system.toplevel);
        }
        sleep(interval(health)).await;
    }
}

/// Takes looks at the host.
struct Eyes<'a> {
    view: HostView<'a>,
    looks: u32,
    restarts: BTreeMap<String, u32>,
}

impl<'a> Eyes<'a> {
    fn new(view: HostView<'a>) -> Self {
        Self {
            view,
            looks: 0,
            restarts: BTreeMap::new(),
        }
    }

    async fn look(&mut self) -> Look {
        match self.see().await {
            Ok(seen) => Look::Seen(seen),
            Err(error) => Look::Unreadable(format!("{:#}", anyhow::Error::new(error))),
        }
    }

    async fn see(&mut self) -> Result<Seen, SystemdError> {
        let systemd = self.view.systemd;
        if self.looks.is_multiple_of(LOOKS_PER_COUNT) {
            self.restarts = systemd.restart_counts().await?;
        }
        self.looks = self.looks.wrapping_add(1);
        let system = systemd.system_state().await?;
        // Failed ones last: what crashes in between is seen at least once.
        let restarting = self.view.failing_restarts().await?;
        let failed = systemd.failed_units().await?;
        let mut queued = BTreeSet::new();
        for unit in &failed {
            if systemd.unit(unit).await?.is_some_and(|unit| unit.has_job) {
                queued.insert(unit.clone());
            }
        }
        Ok(Seen {
            system,
            failed,
            queued,
            restarting,
            restarts: self.restarts.clone(),
            running: observe::running(self.view.root),
        })
    }
}

fn interval(health: &Health) -> Duration {
    (health.confirm_window / LOOKS_IN_WINDOW).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

fn confirmation(verdict: Verdict, tested: &Toplevel) -> Confirmation {
    match verdict {
        Verdict::Healthy => Confirmation::Healthy,
        Verdict::Unhealthy { message, broken } => Confirmation::Unhealthy {
            failure: unhealthy(message, &broken),
            failed_units: broken,
        },
        Verdict::Overridden(running) => Confirmation::Overridden(Failure::new(
            FailureCode::Overridden,
            format!("{running} runs instead of {tested}, which was just tested"),
            "Somebody else switched this host; their system is left alone until a new commit \
             comes.",
        )),
        Verdict::GoingDown => Confirmation::Unknown(Failure::new(
            FailureCode::HostBusy,
            "the system is stopping, so the tested system could not be confirmed",
            "Nothing has to be done: the host boots what it booted before, and this is tried \
             again then.",
        )),
    }
}

fn unhealthy(message: String, broken: &BTreeSet<String>) -> Failure {
    let broken: Vec<_> = broken.iter().map(String::as_str).collect();
    Failure::new(
        FailureCode::UnhealthyAfterTest,
        message,
        "See `systemctl status` and the journal of these units. The boot entry was not written: \
         a reboot brings the system before back. What may be broken belongs into \
         health.ignore_units.",
    )
    .with_detail(&broken.join("\n"))
}

fn bus_lost() -> Failure {
    Failure::new(
        FailureCode::StepFailed,
        "the connection to the system bus was lost while the tested system was watched",
        "Nothing has to be done: the daemon is restarted and watches anew.",
    )
}
