//! The verdict, and letting a guardian go.
//!
//! In: a deployment's id. Out: whose verdict stands. Must not: end a guardian
//! that leads back.

use std::io;
use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use super::Guard;
use super::arm::clear;
use super::unit::{SERVICE, TIMER, described};
use crate::host::systemd::SystemdError;
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::rollback::Verdict;
use crate::model::stage::UnitStep;
use crate::model::system::Toplevel;
use crate::store::plan;
use crate::store::record;
use crate::store::token;

/// How long a guardian that has done its work may take to end.
const ENDING: Duration = Duration::from_secs(60);

/// Writes `commit`, unless the guardian was first; the verdict that stands.
pub(crate) fn claim(id: &DeploymentId) -> Result<Verdict, Failure> {
    token::claim(id, Verdict::Commit).map_err(|error| {
        Failure::new(
            FailureCode::StepFailed,
            format!("the verdict cannot be written: {error}"),
            "The previous system is brought back. See whether /run is full.",
        )
    })
}

/// Has the guardian stay where it is, unless it was first.
pub(crate) async fn disarm(guard: &Guard<'_>, id: &DeploymentId) -> Verdict {
    match token::claim(id, Verdict::Commit) {
        Ok(Verdict::RollBack) => return Verdict::RollBack,
        Ok(Verdict::Commit) => {}
        Err(error) => warn!(%id, %error, "the verdict cannot be written"),
    }
    let cleared = clear(guard).await;
    match (token::read(id), cleared) {
        (Some(verdict), Ok(())) => verdict,
        (Some(verdict), Err(failure)) => {
            // It obeys the token, whenever its time comes.
            warn!(%id, why = failure.message, "the guardian's timer is left");
            verdict
        }
        // There is no token, and no guardian that could write one.
        (None, Ok(())) => Verdict::Commit,
        (None, Err(_)) => Verdict::RollBack,
    }
}

/// Lets go the guardian of a deployment that is over, with all that it was
/// armed with.
pub(crate) async fn dismiss(guard: &Guard<'_>, id: &DeploymentId) {
    let is_anothers = match armed_for(guard).await {
        Ok(armed) => armed.is_some_and(|armed| armed != *id),
        Err(error) => return warn!(%id, %error, "the guardian cannot be looked at"),
    };
    if !is_anothers {
        // It restarts the daemon as its last act, and is still there then.
        if timeout(ENDING, guard.systemd.wait_ended(SERVICE))
            .await
            .is_err()
        {
            warn!(%id, "the guardian does not end");
        }
        if let Err(failure) = clear(guard).await {
            // The next arming, or the next daemon, tries again.
            warn!(%id, why = failure.message, "the guardian cannot be let go");
            return;
        }
    }
    forget(id);
}

/// Removes what the guardian was armed with. The plan goes last: it says that
/// the rest may be there, too.
fn forget(id: &DeploymentId) {
    for removed in [token::remove(id), record::settle(id), plan::remove(id)] {
        warn_if_failed(id, removed);
    }
}

fn warn_if_failed(id: &DeploymentId, removed: io::Result<()>) {
    if let Err(error) = removed {
        warn!(%id, %error, "something of the guardian is left");
    }
}

/// For which deployment a guardian is loaded, if one is. An error says
/// nothing: there may be one.
pub(super) async fn armed_for(guard: &Guard<'_>) -> Result<Option<DeploymentId>, SystemdError> {
    for unit in [TIMER, SERVICE] {
        if let Some(found) = guard.systemd.unit(unit).await? {
            return Ok(described(&found.description));
        }
    }
    Ok(None)
}

/// Lets go a guardian whose deployment is over: what a restart finds of the
/// past. `current` is the deployment that goes on.
pub(crate) async fn sweep(
    guard: &Guard<'_>,
    current: Option<&DeploymentId>,
    running: Option<&Toplevel>,
) {
    let armed = match armed_for(guard).await {
        Ok(armed) => armed,
        Err(error) => return warn!(%error, "the guardian cannot be looked at"),
    };
    let Some(id) = armed else {
        if is_nobody_armed(guard).await {
            // A daemon that was killed in the middle of letting go.
            let over = plan::found().into_iter();
            over.filter(|id| current != Some(id))
                .for_each(|id| forget(&id));
        }
        return;
    };
    if current == Some(&id) {
        return;
    }
    if is_over(guard, &id, running).await {
        dismiss(guard, &id).await;
    } else {
        // The ledger was lost in the middle: what runs was never confirmed,
        // and nobody else would lead back from it.
        warn!(%id, "a guardian of an unknown deployment is left to its deadline");
    }
}

/// Whether PID 1 says so, and not merely nothing.
async fn is_nobody_armed(guard: &Guard<'_>) -> bool {
    for unit in [TIMER, SERVICE] {
        if !matches!(guard.systemd.unit(unit).await, Ok(None)) {
            return false;
        }
    }
    true
}

/// Another deployment than this one, whose guardian is armed and has still to
/// decide: the ledger that knew of it is lost.
pub(super) async fn undecided(
    guard: &Guard<'_>,
    id: &DeploymentId,
    running: Option<&Toplevel>,
) -> Result<Option<DeploymentId>, SystemdError> {
    let Some(other) = armed_for(guard).await?.filter(|found| found != id) else {
        return Ok(None);
    };
    let is_over = is_over(guard, &other, running).await;
    Ok((!is_over).then_some(other))
}

/// Whether the guardian runs, or its time has still to come.
async fn may_still_act(guard: &Guard<'_>) -> Result<bool, SystemdError> {
    let timer = guard.systemd.timer(TIMER).await?;
    let service = guard.systemd.unit(SERVICE).await?;
    Ok(timer.is_some_and(|timer| timer.sub_state == "waiting")
        || service.is_some_and(|service| !service.has_ended()))
}

/// Whether nothing of a deployment that does not go on is undecided: nothing
/// is known of it, or its guardian could not be started and is still armed.
async fn is_over(guard: &Guard<'_>, id: &DeploymentId, running: Option<&Toplevel>) -> bool {
    let is_recorded =
        record::read().is_some_and(|record| record.deployment == *id && record.stage.is_final());
    let runs_candidate =
        plan::read(&plan::path(id)).is_ok_and(|plan| Some(&plan.candidate) == running);
    let verdict = token::read(id);
    if is_recorded || verdict == Some(Verdict::Commit) {
        return true;
    }
    // One that fired, and was ended for good, decides nothing any more.
    if matches!(may_still_act(guard).await, Ok(false)) {
        return true;
    }
    if verdict == Some(Verdict::RollBack) {
        return false;
    }
    // Its last act is to link what runs: before, it may already be in pieces.
    !runs_candidate && !is_activating(guard).await
}

/// Whether an activation goes on; so it may, where nobody can say.
async fn is_activating(guard: &Guard<'_>) -> bool {
    let unit = UnitStep::Test.unit();
    match guard.systemd.unit(&unit).await {
        Ok(found) => found.is_some_and(|found| !found.has_ended()),
        Err(error) => {
            warn!(unit, %error, "the activation cannot be looked at");
            true
        }
    }
}
