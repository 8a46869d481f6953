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
use super::program;
use super::unit::{SERVICE, service, timer};
use super::verdict::armed_for;
use crate::guardian::orders::staying;
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

/// When a guardian acts that was armed to lead back at once, if nobody has
/// started it.
const SOON: Duration = Duration::from_secs(30);

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

/// Starts the armed guardian. One that is gone, or would reboot the host where
/// that leads astray, is made anew.
async fn start(guard: &Guard<'_>, id: &DeploymentId, rollback: &Rollback) -> Result<(), String> {
    // One that nobody can look at is not taken for one that is not there.
    let is_armed = armed_for(guard).await.map_err(chain)?.as_ref() == Some(id);
    let command = if is_armed {
        armed_command(guard).await?
    } else {
        None
    };
    let replaced = match command {
        Some(_) if rollback.may_reboot => None,
        Some(command) => staying(&command),
        None => Some(anew(guard, id, rollback)?),
    };
    if let Some(command) = replaced {
        replace(guard, id, command).await?;
    }
    condemn(id)?;
    guard.systemd.start(SERVICE).await.map_err(chain)
}

/// What the armed guardian is started with.
async fn armed_command(guard: &Guard<'_>) -> Result<Option<Vec<String>>, String> {
    let commands = guard.systemd.commands(SERVICE).await.map_err(chain)?;
    Ok(commands.and_then(|commands| commands.into_iter().next()))
}

/// Arms another guardian, before the verdict: the one that was armed could act
/// on that, and reboot. Until then, where it has to be replaced, `commit`
/// stands and neither would act. From then on this one is armed, so whoever
/// ends the daemon now does not leave a condemned system without a guardian.
async fn replace(guard: &Guard<'_>, id: &DeploymentId, command: Vec<String>) -> Result<(), String> {
    clear(guard).await.map_err(|failure| failure.message)?;
    let service = service(id, command, guard.path_variable);
    let started = guard.systemd.start_timer(&timer(id, SOON), &service).await;
    started.map_err(chain)
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

/// The command of a guardian that nobody has armed, and the plan for it.
fn anew(guard: &Guard<'_>, id: &DeploymentId, rollback: &Rollback) -> Result<Vec<String>, String> {
    let programs = program::find_again(&rollback.previous)?;
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
    if let Err(error) = plan::write(&way.plan(guard, &programs, &rollback.baseline)) {
        // It only adds.
        warn!(%id, %error, "the plan cannot be written");
    }
    if let Err(error) = record::reserve() {
        // It is only needed where the disk is full.
        warn!(%id, %error, "no room can be kept for the guardian's record");
    }
    Ok(way.orders(&programs).command(&programs.guardian))
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
