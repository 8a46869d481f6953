//! Arming the guardian, and reading back that it is armed.
//!
//! In: what is going to be activated. Out: an armed guardian, or a refusal.
//! Must not: believe that a call that succeeded had its effect.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use super::Guard;
use super::deadline::{coming, guardian_deadline};
use super::program::{self, Programs};
use super::unit::{SERVICE, TIMER, describe, service, timer};
use super::verdict::undecided;
use crate::guardian::orders::{Orders, REBOOT_PATIENCE};
use crate::host::clock;
use crate::host::systemd::{ActiveState, SystemdError, TimerStatus};
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Baseline;
use crate::model::policy::OnFailedRollback;
use crate::model::revision::Candidate;
use crate::model::rollback::RollbackPlan;
use crate::model::stage::Arming;
use crate::model::system::Toplevel;
use crate::store::plan;
use crate::store::record;

/// How much later than it was told a timer may elapse.
const LATE: Duration = Duration::from_secs(5);

/// How often a timer that was just taken is looked at before it counts as not
/// armed: for ten seconds.
const MOST_LOOKS: u32 = 100;

/// Between two of these looks.
const LOOK: Duration = Duration::from_millis(100);

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) id: &'a DeploymentId,
    pub(super) asked_by: &'a Candidate,
    pub(super) previous: &'a Toplevel,
    pub(super) candidate: &'a Toplevel,
    pub(super) on_failure: OnFailedRollback,
}

impl Way<'_> {
    pub(super) fn orders(&self, programs: &Programs) -> Orders {
        Orders {
            deployment: self.id.clone(),
            commit: self.asked_by.commit().clone(),
            previous: self.previous.clone(),
            candidate: self.candidate.clone(),
            systemctl: programs.systemctl.clone(),
            on_failure: self.on_failure,
            plan: plan::path(self.id),
            reboot_patience: REBOOT_PATIENCE,
        }
    }

    pub(super) fn plan(
        &self,
        guard: &Guard<'_>,
        programs: &Programs,
        baseline: &Baseline,
    ) -> RollbackPlan {
        RollbackPlan {
            deployment: self.id.clone(),
            commit: self.asked_by.commit().clone(),
            previous: self.previous.clone(),
            candidate: self.candidate.clone(),
            boot_id: guard.boot_id.clone(),
            systemctl: programs.systemctl.clone(),
            baseline: baseline.clone(),
            ignore_units: guard.health.ignore_units.clone(),
            lock: guard.deadlines.lock,
            switch: guard.deadlines.rollback,
            health: guard.deadlines.rollback_health,
            on_failed_rollback: self.on_failure,
        }
    }
}

/// Refuses where another deployment's guardian has still to decide. Whoever
/// armed anew would take an unconfirmed system for what has to be led back to,
/// and its health for what is to be compared with.
pub(crate) async fn stand_back(
    guard: &Guard<'_>,
    id: &DeploymentId,
    running: Option<&Toplevel>,
) -> Result<(), Failure> {
    match undecided(guard, id, running).await.map_err(deaf)? {
        None => Ok(()),
        Some(other) => Err(not_armed(format!(
            "the guardian of deployment {other}, which nobody has confirmed, has still to \
             decide about the system that runs; at its deadline it leads back"
        ))),
    }
}

/// Arms the guardian; if that cannot be shown, nothing is left of it, and
/// nothing may be activated.
pub(crate) async fn arm(
    guard: &Guard<'_>,
    id: &DeploymentId,
    arming: &Arming,
    baseline: &Baseline,
) -> Result<(), Failure> {
    let previous = arming
        .previous
        .as_ref()
        .ok_or_else(|| not_armed("nobody knows which system runs now"))?;
    let way = Way {
        id,
        asked_by: &arming.candidate,
        previous,
        candidate: &arming.toplevel,
        on_failure: if arming.may_reboot {
            guard.on_failed_rollback
        } else {
            OnFailedRollback::Stay
        },
    };
    let programs = program::find(previous).map_err(not_armed)?;
    clear(guard).await?;
    let armed = start_and_read_back(guard, &way, &programs, baseline).await;
    if armed.is_err()
        && let Err(failure) = clear(guard).await
    {
        // Its token is not written: it would find the previous system running.
        warn!(
            why = failure.message,
            "a guardian that nobody needs is left"
        );
    }
    armed
}

async fn start_and_read_back(
    guard: &Guard<'_>,
    way: &Way<'_>,
    programs: &Programs,
    baseline: &Baseline,
) -> Result<(), Failure> {
    plan::write(&way.plan(guard, programs, baseline))
        .map_err(|error| not_armed(format!("the plan cannot be written: {error}")))?;
    record::reserve().map_err(|error| {
        not_armed(format!(
            "no room can be kept for the guardian's record: {error}"
        ))
    })?;
    let coming = coming(guard.root, way.candidate);
    let after = guardian_deadline(guard.deadlines, guard.health, coming);
    let orders = way.orders(programs);
    let command = orders.command(&programs.guardian);
    let service = service(way.id, command.clone(), guard.path_variable);
    let started = guard
        .systemd
        .start_timer(&timer(way.id, after), &service)
        .await;
    started.map_err(deaf)?;

    waits(guard, way.id, after).await?;
    let commands = guard.systemd.commands(SERVICE).await.map_err(deaf)?;
    must_run(commands.as_deref(), &command).map_err(not_armed)?;
    // The plan is the last thing that could have gone wrong unseen.
    plan::read(&orders.plan)
        .map(drop)
        .map_err(|error| not_armed(format!("the plan cannot be read back: {error}")))
}

/// Reads the timer back. systemd has taken it when the call returns, and may
/// still be about to start it.
async fn waits(guard: &Guard<'_>, id: &DeploymentId, after: Duration) -> Result<(), Failure> {
    let mut verdict = Err(String::new());
    for look in 0..MOST_LOOKS {
        if look > 0 {
            sleep(LOOK).await;
        }
        let timer = guard.systemd.timer(TIMER).await.map_err(deaf)?;
        let left = timer.as_ref().and_then(|timer| timer.elapses);
        let left = left.and_then(|at| at.checked_sub(clock::awake()));
        verdict = must_wait(timer.as_ref(), id, left, after);
        if verdict.is_ok() {
            break;
        }
    }
    verdict.map_err(not_armed)
}

/// The timer is ours, waits, and elapses when it was told to.
fn must_wait(
    timer: Option<&TimerStatus>,
    id: &DeploymentId,
    left: Option<Duration>,
    after: Duration,
) -> Result<(), String> {
    let timer = timer.ok_or("the timer is not loaded")?;
    if timer.description != describe(id) || timer.unit != SERVICE {
        return Err(format!("{TIMER} is another: {}", timer.description));
    }
    if timer.active_state != ActiveState::Active || timer.sub_state != "waiting" {
        return Err(format!("the timer is {}", timer.sub_state));
    }
    match left {
        // A machine may be slow; but one that has used up half of the time
        // has none left for the activation.
        Some(left) if left > after / 2 && left <= after + LATE => Ok(()),
        Some(left) => Err(format!(
            "the timer elapses in {} s, and was told {} s",
            left.as_secs(),
            after.as_secs()
        )),
        None => Err("the timer never elapses".to_owned()),
    }
}

/// The service is loaded and starts exactly what it was told.
fn must_run(commands: Option<&[Vec<String>]>, expected: &[String]) -> Result<(), String> {
    match commands {
        None => Err("the service is not loaded".to_owned()),
        Some([command]) if command == expected => {
            let program = expected.first().map(Path::new);
            if program.is_some_and(Path::is_file) {
                Ok(())
            } else {
                Err("the service's program is gone".to_owned())
            }
        }
        Some(others) => Err(format!("the service starts something else: {others:?}")),
    }
}

/// Removes a guardian that is armed; one that leads back is left alone.
pub(super) async fn clear(guard: &Guard<'_>) -> Result<(), Failure> {
    let service = guard.systemd.unit(SERVICE).await.map_err(deaf)?;
    if service.is_some_and(|service| !service.has_ended()) {
        return Err(not_armed("a guardian is leading the host back"));
    }
    // Without the timer the service is unloaded, unless it failed.
    for unit in [TIMER, SERVICE] {
        if guard.systemd.unit(unit).await.map_err(deaf)?.is_some() {
            guard.systemd.stop_and_reset(unit).await.map_err(deaf)?;
        }
    }
    Ok(())
}

fn deaf(error: SystemdError) -> Failure {
    not_armed(format!("{:#}", anyhow::Error::new(error)))
}

fn not_armed(why: impl Into<String>) -> Failure {
    let why = why.into();
    Failure::new(
        FailureCode::GuardianNotArmed,
        format!("the way back cannot be armed, so nothing is activated: {why}"),
        "Nothing was changed; it is tried again later. The daemon has to run from the store, and \
         the running system needs systemctl and switch-to-configuration.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> DeploymentId {
        DeploymentId("0123456789abcdef".to_owned())
    }

    fn waiting() -> TimerStatus {
        TimerStatus {
            description: describe(&id()),
            active_state: ActiveState::Active,
            sub_state: "waiting".to_owned(),
            unit: SERVICE.to_owned(),
            elapses: None,
        }
    }

    #[test]
    fn only_a_timer_that_waits_and_elapses_in_time_is_armed() {
        let after = Duration::from_secs(100);
        let check = |timer: Option<TimerStatus>, left| {
            let left = Option::map(left, Duration::from_secs);
            must_wait(timer.as_ref(), &id(), left, after)
        };
        assert_eq!(check(Some(waiting()), Some(99)), Ok(()));
        assert!(check(None, Some(99)).is_err(), "not loaded");
        for left in [None, Some(0), Some(50), Some(106)] {
            assert!(check(Some(waiting()), left).is_err(), "{left:?}");
        }
        let elapsed = TimerStatus {
            sub_state: "elapsed".to_owned(),
            ..waiting()
        };
        assert!(check(Some(elapsed), Some(99)).is_err());
        let anothers = TimerStatus {
            description: "another".to_owned(),
            ..waiting()
        };
        assert!(check(Some(anothers), Some(99)).is_err());
    }

    #[test]
    fn only_exactly_the_command_that_was_told_is_armed() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        let expected = words(&["/proc/self/exe", "guardian"]);
        assert_eq!(
            must_run(Some(std::slice::from_ref(&expected)), &expected),
            Ok(())
        );
        assert!(must_run(None, &expected).is_err(), "not loaded");
        assert!(must_run(Some(&[]), &expected).is_err());
        let other = words(&["/proc/self/exe", "guardian", "--x"]);
        assert!(must_run(Some(&[other]), &expected).is_err());
        let gone = words(&["/nowhere/at/all"]);
        assert!(must_run(Some(std::slice::from_ref(&gone)), &gone).is_err());
    }
}
