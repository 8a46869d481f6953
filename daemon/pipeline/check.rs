//! The host and a built toplevel to a verdict, before anything is activated.
//!
//! In: what the host is, systemd's word on its health, and the toplevel. Out:
//! an [`Inspection`], or why nothing may be done. Must not: change anything,
//! except what the closure's own checks do.
//!
//! `inspect` only looks. `check` runs programs from the closure: as two parts
//! of one step, each with its own deadline and result, so that it is always
//! known which of the two refused.

mod closure;
mod guards;
mod required;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tracing::warn;

use self::closure::{PreActivateCheck, inhibitors, knows_no_check, pre_activate_check};
use self::guards::{Guarding, guard};
use super::activate::LOCK_HELD;
use super::boot_loader::Reader;
use super::health::{HostView, counted, list, unreadable};
use super::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};
use super::{lock, room};
use crate::host::systemd::SystemState;
use crate::model::deployment::{DeploymentId, System};
use crate::model::failure::{Failure, FailureClass, FailureCode};
use crate::model::policy::{BootLoader, Deadlines, Guards, Health, OnUnhealthy};
use crate::model::push::OwnCheck;
use crate::model::remote::RemoteAddress;
use crate::model::stage::{CheckPlan, CheckScope, Forgiven, Inspection, UnitStep};
use crate::model::system::{DefaultEntry, Observed, Toplevel};

/// Exit status with which a pre-activate check asks to be run later
/// (sysexits.h: EX_TEMPFAIL).
const POSTPONED: i32 = 75;

/// SIGHUP, SIGINT, SIGKILL, SIGTERM: others end a program by its own fault.
const ENDED_BY_SOMEBODY: [i32; 4] = [1, 2, 9, 15];

/// The first part of the step: the closure's own check.
const PRE_ACTIVATE: &str = "pre-activate check";

/// The second part: `switch-to-configuration check`.
const PRE_SWITCH: &str = "switch-to-configuration check";

/// What an inspection compares with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inspecting<'a> {
    /// What is no verdict this time.
    pub(crate) forgiven: &'a Forgiven,
    /// What counts as healthy.
    pub(crate) health: &'a Health,
    /// What is allowed, and on which machine.
    pub(crate) guards: &'a Guards,
    /// What this host follows.
    pub(crate) remotes: &'a [RemoteAddress],
    /// Which boot loader is going to be written to.
    pub(crate) boot_loader: BootLoader,
    /// Who looks at where its files are.
    pub(crate) boot_entry: &'a Reader,
    /// How long to wait for the switch lock.
    pub(crate) lock: Duration,
}

/// Looks at the host's health and at the closure. What takes time comes last.
pub(crate) async fn inspect(
    view: HostView<'_>,
    observed: Observed,
    system: &System,
    inspecting: Inspecting<'_>,
) -> Result<Inspection, Failure> {
    let running = observed.running.as_ref();
    healthy(view, &inspecting.forgiven.broken, inspecting.health).await?;
    required::active_before(view, inspecting.health, &inspecting.forgiven.broken).await?;
    closure::switchable(view.root, &system.toplevel)?;
    let mounted = inspecting.boot_entry.mounted(view.root, &system.toplevel);
    mounted.await.map_err(not_mounted)?;
    readable(&observed.default_entry)?;
    guard(Guarding {
        root: view.root,
        running,
        wanted: &system.toplevel,
        remotes: inspecting.remotes,
        guards: inspecting.guards,
        lacking: &inspecting.forgiven.lacking,
    })?;
    let reboot_required = inhibited(view.root, running, &system.toplevel);
    room_to_boot(view.root, &system.toplevel, inspecting.boot_loader).await?;
    lock::wait(view.root, inspecting.lock).await?;
    Ok(Inspection {
        observed,
        reboot_required,
    })
}

/// Kernels may have to be compared byte by byte, on a disk that may be slow:
/// that must not hold up the loop.
async fn room_to_boot(
    root: &Path,
    toplevel: &Toplevel,
    boot_loader: BootLoader,
) -> Result<(), Failure> {
    let (root, toplevel) = (root.to_owned(), toplevel.clone());
    let look = move || room::for_boot_entry(&root, &toplevel, boot_loader);
    let looked = tokio::task::spawn_blocking(look).await;
    looked.expect("reading files does not panic, and nobody cancels it")
}

async fn healthy(
    view: HostView<'_>,
    known_broken: &BTreeSet<String>,
    health: &Health,
) -> Result<(), Failure> {
    let state = view.systemd.system_state().await.map_err(unreadable)?;
    let mut broken = view.systemd.failed_units().await.map_err(unreadable)?;
    // What crashes and is started again and again is never failed for long, and
    // after `test` it would be taken for the commit's doing.
    broken.extend(view.failing_restarts().await.map_err(unreadable)?);
    let failed = counted(&broken, health, known_broken);
    health_verdict(&state, &as_policy_has_it(failed, health.on_unhealthy))
}

/// The units that refuse a deployment: none, where it is enough that they do
/// not become more.
fn as_policy_has_it(failed: BTreeSet<String>, on_unhealthy: OnUnhealthy) -> BTreeSet<String> {
    match on_unhealthy {
        OnUnhealthy::Refuse => failed,
        OnUnhealthy::ProceedIfNotWorse => {
            if !failed.is_empty() {
                let units = list(&failed);
                warn!(
                    units,
                    "the system is not healthy, and is deployed to all the same"
                );
            }
            BTreeSet::new()
        }
    }
}

/// Whether the host may be changed at all. `failed` are the units that count:
/// failed, or failing and restarting.
fn health_verdict(state: &SystemState, failed: &BTreeSet<String>) -> Result<(), Failure> {
    match state {
        SystemState::Running | SystemState::Degraded if failed.is_empty() => Ok(()),
        SystemState::Running | SystemState::Degraded => {
            let names: Vec<_> = failed.iter().map(String::as_str).collect();
            Err(Failure::new(
                FailureCode::SystemUnhealthy,
                format!(
                    "the system is not healthy before the deployment; failed units: {}",
                    list(failed)
                ),
                "Repair the units, or `systemctl reset-failed` them; what may be broken belongs \
                 into health.ignore_units. To deploy all the same, set health.on_unhealthy = \
                 \"proceed-if-not-worse\". Nothing was changed.",
            )
            .with_detail(&names.join("\n")))
        }
        SystemState::Initializing | SystemState::Starting | SystemState::Stopping => {
            Err(Failure::new(
                FailureCode::HostBusy,
                format!("the system is {state}"),
                "Nothing has to be done: this is tried again once the system is up.",
            ))
        }
        SystemState::Maintenance | SystemState::Offline | SystemState::Unknown(_) => {
            Err(Failure::new(
                FailureCode::SystemUnhealthy,
                format!("the system is in the state {state}, expected running or degraded"),
                "See `systemctl is-system-running` and `systemctl list-jobs`. Nothing was changed.",
            ))
        }
    }
}

/// What is written would not be what the boot loader reads, and would be read
/// back all the same.
fn not_mounted(reason: String) -> Failure {
    Failure::new(
        FailureCode::BootLoaderUnreadable,
        reason,
        "Nothing was changed. Mount it (`mount` with that path), or take it out of fileSystems if \
         this host boots from elsewhere; it is tried again by itself.",
    )
}

/// Without it, nobody could tell afterwards whether a reboot starts the system.
fn readable(entry: &DefaultEntry) -> Result<(), Failure> {
    match entry {
        DefaultEntry::Toplevel(_) | DefaultEntry::Unchecked => Ok(()),
        DefaultEntry::Unreadable(reason) => Err(Failure::new(
            FailureCode::BootLoaderUnreadable,
            format!("the boot loader's default entry cannot be read: {reason}"),
            "Set boot_loader to the loader of this host, or to \"none\" to deploy without \
             reading the boot entry back. Nothing was changed.",
        )),
    }
}

/// What only a reboot can change. Without a running system there is nothing
/// that could be in the way.
fn inhibited(root: &Path, running: Option<&Toplevel>, wanted: &Toplevel) -> Option<Failure> {
    let running = inhibitors(root, running?);
    let wanted = inhibitors(root, wanted);
    let differing: Vec<_> = running
        .iter()
        .filter_map(|(key, old)| Some((key, old, wanted.get(key)?)))
        .filter(|(_, old, new)| old != new)
        .collect();
    if differing.is_empty() {
        return None;
    }
    let keys: Vec<_> = differing.iter().map(|(key, ..)| key.as_str()).collect();
    let changes: Vec<_> = differing
        .iter()
        .map(|(key, old, new)| format!("{key}: {old} -> {new}"))
        .collect();
    Some(
        Failure::new(
            FailureCode::SwitchInhibited,
            format!(
                "the system cannot be switched to while this one runs; switch inhibitors that \
                 differ: {}",
                keys.join(", ")
            ),
            "Reboot into it: run its `switch-to-configuration boot`, or set on_reboot_required = \
             \"boot\".",
        )
        .with_detail(&changes.join("\n")),
    )
}

/// What `check` runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks<'a> {
    /// Which of the checks apply.
    pub(crate) plan: &'a CheckPlan,
    /// The pre-activate check of this host, relative to the toplevel.
    pub(crate) pre_activate_check: &'a str,
    /// How long each may take.
    pub(crate) deadlines: &'a Deadlines,
}

/// Runs the closure's checks, or adopts their runs by an earlier daemon. Once
/// the second has begun, the first has succeeded and is not repeated.
pub(crate) async fn check(
    steps: &Steps,
    view: HostView<'_>,
    id: &DeploymentId,
    system: &System,
    checks: Checks<'_>,
) -> Result<(), Failure> {
    let toplevel = &system.toplevel;
    let is_second = steps.has_begun(UnitStep::Check, id, PRE_SWITCH).await?;
    let (own, configured) = (&checks.plan.own, checks.pre_activate_check);
    if !is_second && let Some(path) = own_check(view.root, toplevel, own, configured)? {
        let command = vec![path, toplevel.to_string()];
        let plan = plan(id, command, checks.deadlines.check);
        let report = steps.run_part(&plan, PRE_ACTIVATE).await?;
        pre_activate_verdict(&report, plan.deadline)?;
    }
    match checks.plan.scope {
        CheckScope::BeforeBoot => Ok(()),
        CheckScope::BeforeTest => {
            let command = vec![toplevel.switch_to_configuration(), "check".to_owned()];
            let plan = plan(id, command, checks.deadlines.pre_switch_check);
            let report = steps.run_part(&plan, PRE_SWITCH).await?;
            pre_switch_verdict(&report, plan.deadline)
        }
    }
}

/// The closure's own check, if there is one to run. One that was named for this
/// deployment has to be there.
fn own_check(
    root: &Path,
    toplevel: &Toplevel,
    own: &OwnCheck,
    configured: &str,
) -> Result<Option<String>, Failure> {
    let (relative, must_be_there) = match own {
        OwnCheck::Configured => (configured, false),
        OwnCheck::Named(relative) => (relative.as_str(), true),
        OwnCheck::Skipped => return Ok(None),
    };
    match pre_activate_check(root, toplevel, relative) {
        PreActivateCheck::None if must_be_there => Err(not_there(relative)),
        PreActivateCheck::None => Ok(None),
        PreActivateCheck::NotExecutable(path) => Err(not_executable(&path)),
        PreActivateCheck::Program(path) => Ok(Some(path)),
    }
}

fn plan(id: &DeploymentId, command: Vec<String>, deadline: Duration) -> StepPlan {
    StepPlan {
        step: UnitStep::Check,
        deployment: id.clone(),
        commands: vec![command],
        user: StepUser::Root,
        deadline,
        environment: Vec::new(),
        credentials: Vec::new(),
        capture: false,
    }
}

fn pre_activate_verdict(report: &StepReport, deadline: Duration) -> Result<(), Failure> {
    let postponed = StepEnd::Exited(POSTPONED);
    if report.end != postponed {
        return verdict(report, "the pre-activate check", deadline);
    }
    Err(Failure::new(
        FailureCode::CheckPostponed,
        "the pre-activate check postponed the deployment (exit status 75)",
        "Nothing was changed. It is asked again later.",
    )
    .with_detail(&report.tail))
}

fn pre_switch_verdict(report: &StepReport, deadline: Duration) -> Result<(), Failure> {
    match &report.end {
        StepEnd::Exited(LOCK_HELD) => Err(Failure::new(
            FailureCode::LockHeld,
            "another switch-to-configuration holds the lock (exit status 11)",
            "Nothing was changed. This is tried again by itself.",
        )
        .with_detail(&report.tail)),
        // One from before the verb existed: it has no such checks, either.
        StepEnd::Exited(1) if knows_no_check(&report.tail) => Ok(()),
        StepEnd::Succeeded
        | StepEnd::Exited(_)
        | StepEnd::Signalled(_)
        | StepEnd::TimedOut
        | StepEnd::OutOfMemory
        | StepEnd::CouldNotStart(_) => verdict(report, "switch-to-configuration check", deadline),
    }
}

fn verdict(report: &StepReport, what: &str, deadline: Duration) -> Result<(), Failure> {
    use FailureCode::{CheckRefused, CheckTimeout, OutOfMemory, StepFailed};
    let (code, how) = match &report.end {
        StepEnd::Succeeded => return Ok(()),
        StepEnd::Exited(status) => (CheckRefused, format!("refused (exit status {status})")),
        // Somebody ended it, or systemd could not begin it: that is no verdict.
        StepEnd::Signalled(signal) if ENDED_BY_SOMEBODY.contains(signal) => {
            (StepFailed, format!("was ended by signal {signal}"))
        }
        StepEnd::Signalled(signal) => (CheckRefused, format!("was ended by signal {signal}")),
        StepEnd::CouldNotStart(why) => (StepFailed, format!("could not be started: {why}")),
        StepEnd::TimedOut => (CheckTimeout, format!("took longer than {deadline:?}")),
        StepEnd::OutOfMemory => (OutOfMemory, "was ended because memory ran out".to_owned()),
    };
    let hint = match code.class() {
        FailureClass::Transient | FailureClass::Host => {
            "Nothing was changed. It is tried again later by itself; see the journal of the step."
        }
        FailureClass::Deterministic => {
            "Nothing was changed. Its output says why; push a commit that passes, this one is \
             not tried again."
        }
    };
    Err(Failure::new(code, format!("{what} {how}"), hint).with_detail(&report.tail))
}

fn not_there(relative: &str) -> Failure {
    Failure::new(
        FailureCode::CheckRefused,
        format!("the closure has no {relative}, which was to be run before its activation"),
        "Nothing was changed. Name a program of the closure, or leave the option out.",
    )
}

fn not_executable(path: &str) -> Failure {
    Failure::new(
        FailureCode::CheckRefused,
        format!("the pre-activate check {path} is there, but is not an executable file"),
        "Nothing was changed. Make it executable in the closure, or set pre_activate_check to \
         the right path.",
    )
}

#[cfg(test)]
mod tests;
