//! Having the guardian lead back, or waiting where it already does.
//!
//! In: from where to where. Out: what its record says. Must not: lead back
//! itself, or start a second guardian beside one that runs.
//!
//! Called again by a later daemon, often the one that the guardian itself has
//! started: the token stands, and the record may already have the answer.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::Guard;
use super::arm::{Way, clear};
use super::program::{self, Programs};
use super::unit::{SERVICE, service};
use super::verdict::armed_for;
use crate::model::deployment::DeploymentId;
use crate::model::failure::{Failure, FailureCode};
use crate::model::health::Reachability;
use crate::model::policy::OnFailedRollback;
use crate::model::rollback::{RollbackRecord, RollbackStage, Verdict};
use crate::model::stage::{Rollback, RollbackEnd};
use crate::store::plan;
use crate::store::record;
use crate::store::token;

/// How often a guardian is started that ended without having led back: it was
/// killed, or its program is damaged.
const MOST_STARTS: u32 = 4;

/// Between two starts.
const PAUSE: Duration = Duration::from_secs(2);

/// What to do when nothing led back.
const HINT: &str = "The boot entry is still the previous system's: a reboot leads back. Read the \
    journal of deploy-flake-guardian.service first.";

/// What to do when no guardian has come to an end.
const PENDING_HINT: &str = "A guardian that is still armed leads back at its deadline. The boot \
    entry is the previous system's: a reboot leads back, too. See whether /run is full, and read \
    the journal of deploy-flake-guardian.service.";

/// Leads back, or waits until the guardian has.
pub(crate) async fn roll_back(
    guard: &Guard<'_>,
    id: &DeploymentId,
    rollback: &Rollback,
) -> RollbackEnd {
    let mut why = String::new();
    for start in 0..MOST_STARTS {
        if start > 0 {
            sleep(PAUSE).await;
        }
        match attempt(guard, id, rollback).await {
            Ok(Some(record)) => return end(record),
            Ok(None) => "it ended without having led back".clone_into(&mut why),
            Err(trouble) => why = trouble,
        }
        warn!(%id, why, "the guardian did not lead back");
    }
    let message = format!("the guardian could not lead back: {why}");
    RollbackEnd::Pending(Failure::new(
        FailureCode::RollbackFailed,
        message,
        PENDING_HINT,
    ))
}

/// One run of the guardian, or the one that goes on; its record, if it came to
/// an end.
async fn attempt(
    guard: &Guard<'_>,
    id: &DeploymentId,
    rollback: &Rollback,
) -> Result<Option<RollbackRecord>, String> {
    let is_running = guard.systemd.unit(SERVICE).await.map_err(chain)?;
    if is_running.is_none_or(|service| service.has_ended()) {
        if let Some(record) = ended(guard, id) {
            return Ok(Some(record));
        }
        start(guard, id, rollback).await?;
    } else {
        info!(%id, "the guardian is leading back already");
    }
    guard.systemd.wait_ended(SERVICE).await.map_err(chain)?;
    Ok(ended(guard, id))
}

/// The record of this rollback, if it is one of an end.
fn ended(guard: &Guard<'_>, id: &DeploymentId) -> Option<RollbackRecord> {
    let ours = |record: &RollbackRecord| {
        record.deployment == *id
            && record.boot_id == *guard.boot_id
            // A guardian that could not even reboot the host has ended, too.
            && record.stage != RollbackStage::RollingBack
    };
    record::read().filter(ours)
}

/// Starts the armed guardian; one that is gone, or may not reboot the host, is
/// made anew.
async fn start(guard: &Guard<'_>, id: &DeploymentId, rollback: &Rollback) -> Result<(), String> {
    // One that nobody can look at is not taken for one that is not there.
    let is_armed = armed_for(guard).await.map_err(chain)?.as_ref() == Some(id);
    if is_armed && rollback.may_reboot {
        condemn(id)?;
        return guard.systemd.start(SERVICE).await.map_err(chain);
    }
    let programs = program::find_again(&rollback.previous)?;
    // Before the verdict: else the armed one could act on it, and reboot.
    clear(guard).await.map_err(|failure| failure.message)?;
    condemn(id)?;
    start_anew(guard, id, rollback, &programs).await
}

/// Makes sure that no verdict but to lead back stands.
fn condemn(id: &DeploymentId) -> Result<(), String> {
    match token::claim(id, Verdict::RollBack) {
        Ok(Verdict::RollBack) => Ok(()),
        // Only the daemon writes that one.
        Ok(Verdict::Commit) => revoke(id),
        Err(error) => match token::read(id) {
            Some(Verdict::Commit) => revoke(id),
            // The guardian goes on without one.
            Some(Verdict::RollBack) | None => {
                warn!(%id, %error, "the verdict cannot be written");
                Ok(())
            }
        },
    }
}

fn revoke(id: &DeploymentId) -> Result<(), String> {
    token::revoke(id).map_err(|error| format!("the verdict cannot be taken back: {error}"))
}

async fn start_anew(
    guard: &Guard<'_>,
    id: &DeploymentId,
    rollback: &Rollback,
    programs: &Programs,
) -> Result<(), String> {
    let on_failure = if rollback.may_reboot {
        guard.on_failed_rollback
    } else {
        OnFailedRollback::Stay
    };
    let way = Way {
        id,
        asked_by: &rollback.asked_by,
        previous: &rollback.previous,
        candidate: &rollback.candidate,
        on_failure,
    };
    if let Err(error) = plan::write(&way.plan(guard, programs, &rollback.baseline)) {
        // It only adds.
        warn!(%id, %error, "the plan cannot be written");
    }
    let orders = way.orders(programs);
    let unit = service(&orders, &programs.guardian, guard.path_variable);
    guard.systemd.start_transient(&unit).await.map_err(chain)
}

/// What a record means.
fn end(record: RollbackRecord) -> RollbackEnd {
    match record.stage {
        RollbackStage::RolledBack => RollbackEnd::RolledBack {
            remote: Reachability::Unknown,
        },
        RollbackStage::Failed { why, failed_units } => failed(
            format!("the previous system is not as healthy as before: {why}"),
            failed_units,
        ),
        RollbackStage::Rebooting { why } => failed(
            format!("the host was to be rebooted, and could not be: {why}"),
            BTreeSet::new(),
        ),
        RollbackStage::RollingBack => failed(
            "the guardian ended without having led back".to_owned(),
            BTreeSet::new(),
        ),
        RollbackStage::Overridden { running } => {
            let running = running.map_or_else(|| "another".to_owned(), |it| it.to_string());
            RollbackEnd::Overridden(Failure::new(
                FailureCode::Overridden,
                format!("somebody switched the host to {running}, so it was not led back"),
                "Nothing has to be done: the next new commit is deployed.",
            ))
        }
    }
}

fn failed(message: String, failed_units: BTreeSet<String>) -> RollbackEnd {
    RollbackEnd::Failed {
        failure: Failure::new(FailureCode::RollbackFailed, message, HINT),
        failed_units,
    }
}

fn chain(error: crate::host::systemd::SystemdError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
