//! The live switch: `test`, the second half of `switch`, and what `dry-activate` says about it.
//!
//! In: [`Environment`], with the lock held. Out: [`Exit`]. The order of the phases is the contract; an error in the
//! middle leaves the lists behind, from which the next switch goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Exit;
use crate::environment::{Environment, Verb};
use crate::lists::List;
use crate::plan::{Plan, UNIT_DIRECTORY};
use crate::systemd::{Job, Systemd, Units};
use crate::unit_file::UnitName;

/// Restarts what is ordered before `sysinit.target`; every NixOS has it.
const SYSINIT_REACTIVATION: &str = "sysinit-reactivation.target";

/// Goes to the new system, or says what that would do.
pub(crate) fn live(environment: &Environment) -> Result<Exit, String> {
    let systemd = Systemd::new(environment);
    let new_units = environment.toplevel.join("etc/systemd/system");
    let before = systemd.units()?;
    let mut plan = Plan::from_lists();
    plan.add_changes(&before, &ours(&systemd, &before)?, &new_units)?;

    if environment.verb == Verb::DryActivate {
        return Ok(say_what_would_be_done(environment, &plan));
    }
    plan.record()?;
    // Asked before the activation moves what the answer depends on.
    let reexecute = needs_reexecution(environment);

    log(environment, "info", "switching to system configuration");
    stop(environment, &systemd, &plan);
    let activated = activate(environment);
    take_up_requests(&mut plan, &before, &new_units)?;
    if reexecute {
        eprintln!("restarting systemd...");
        systemd.reexecute()?;
    }
    systemd.reset_failed()?;
    systemd.reload()?;

    let units_well = run_units(environment, &systemd, &mut plan)?;
    let exit = match (report(&systemd, &before)? && units_well, activated) {
        (false, _) => Exit::UnitsFailed,
        (true, false) => Exit::ActivationFailed,
        (true, true) => Exit::Done,
    };
    if exit == Exit::Done {
        log(
            environment,
            "info",
            "finished switching to system configuration",
        );
    } else {
        let what = format!("switching failed (status {}) to", exit.code());
        log(environment, "err", &what);
    }
    Ok(exit)
}

/// The active units that NixOS defines: only those are ever touched.
fn ours(systemd: &Systemd, units: &Units) -> Result<BTreeSet<UnitName>, String> {
    let directory = Path::new(UNIT_DIRECTORY);
    let candidates: Vec<&UnitName> = units
        .iter()
        .filter(|(name, unit)| unit.is_active() && directory.join(name.file(directory)).exists())
        .map(|(name, _)| name)
        .collect();
    // A file of that name may stand there and systemd still have the unit from a place that comes first.
    let fragments = systemd.property("FragmentPath", &candidates)?.into_iter();
    let ours = fragments.filter(|(_, fragment)| Path::new(fragment).starts_with(directory));
    Ok(ours.map(|(name, _)| name).collect())
}

fn say_what_would_be_done(environment: &Environment, plan: &Plan) -> Exit {
    say(
        environment,
        plan,
        "would stop the following units",
        &plan.stop,
    );
    say(
        environment,
        plan,
        "would NOT restart the following changed units",
        &plan.skip,
    );
    eprintln!("would activate the configuration...");
    let script = environment.out.join("dry-activate");
    if let Err(error) = environment.child(script).arg(&environment.out).status() {
        eprintln!("no dry-activate script: {error}");
    }
    if needs_reexecution(environment) {
        eprintln!("would restart systemd");
    }
    say(
        environment,
        plan,
        "would reload the following units",
        &plan.reload,
    );
    say(
        environment,
        plan,
        "would restart the following units",
        &plan.restart,
    );
    say(
        environment,
        plan,
        "would start the following units",
        &plan.start,
    );
    Exit::Done
}

/// Whether PID 1's program or its configuration becomes another one.
fn needs_reexecution(environment: &Environment) -> bool {
    let target = |path: PathBuf| fs::canonicalize(path).ok();
    let program = environment.systemd.join("lib/systemd/systemd");
    let configuration = environment.toplevel.join("etc/systemd/system.conf");
    target("/proc/1/exe".into()) != target(program)
        || target("/etc/systemd/system.conf".into()) != target(configuration)
}

/// Stops what has to be stopped; a unit that will not stop is no reason to stay half-way.
fn stop(environment: &Environment, systemd: &Systemd, plan: &Plan) {
    say(
        environment,
        plan,
        "stopping the following units",
        &plan.stop,
    );
    if !systemd.run(Job::Stop, &plan.stop) {
        eprintln!("warning: not every unit could be stopped");
    }
    say(
        environment,
        plan,
        "NOT restarting the following changed units",
        &plan.skip,
    );
}

/// Runs the activation script; a failure is told at the end, and everything else is done all the same.
fn activate(environment: &Environment) -> bool {
    eprintln!("activating the configuration...");
    let script = environment.out.join("activate");
    // A toplevel without the script has nothing to activate.
    let Ok(status) = environment.child(script).arg(&environment.out).status() else {
        return true;
    };
    if !status.success() {
        eprintln!("Failed to run activate script");
    }
    status.success()
}

fn take_up_requests(plan: &mut Plan, before: &Units, new_units: &Path) -> Result<(), String> {
    plan.add_requests_of_activation(before, new_units);
    plan.record()?;
    List::ActivationRestart.clear()?;
    List::ActivationReload.clear()
}

/// Reactivates, reloads, restarts, starts; each list goes when its phase is over.
fn run_units(
    environment: &Environment,
    systemd: &Systemd,
    plan: &mut Plan,
) -> Result<bool, String> {
    eprintln!("restarting {SYSINIT_REACTIVATION}");
    let mut well = systemd.run(Job::Restart, &BTreeSet::from([SYSINIT_REACTIVATION.into()]));

    let new_units = environment.toplevel.join("etc/systemd/system");
    plan.start_what_cannot_be_reloaded(&systemd.units()?, &new_units);
    List::Start.record(&plan.start)?;

    say(
        environment,
        plan,
        "reloading the following units",
        &plan.reload,
    );
    well &= systemd.run(Job::Reload, &plan.reload);
    List::Reload.clear()?;
    say(
        environment,
        plan,
        "restarting the following units",
        &plan.restart,
    );
    well &= systemd.run(Job::Restart, &plan.restart);
    List::Restart.clear()?;
    say(
        environment,
        plan,
        "starting the following units",
        &plan.start,
    );
    well &= systemd.run(Job::Start, &plan.start);
    List::Start.clear()?;
    Ok(well)
}

/// Tells which units are new and which failed; true when none failed.
fn report(systemd: &Systemd, before: &Units) -> Result<bool, String> {
    systemd.settle();
    let now = systemd.units()?;
    let failed = systemd.failed(&now)?;
    let is_new = |name: &&UnitName| {
        !failed.contains(*name) && !before.contains_key(*name) && !name.is_a("scope")
    };
    let started = names(now.keys().filter(is_new));
    if !started.is_empty() {
        eprintln!(
            "the following new units were started: {}",
            started.join(", ")
        );
    }
    let failed = names(failed.iter());
    if !failed.is_empty() {
        eprintln!("warning: the following units failed: {}", failed.join(", "));
        systemd.show_status(&failed);
    }
    Ok(failed.is_empty())
}

fn names<'a>(units: impl Iterator<Item = &'a UnitName>) -> Vec<&'a str> {
    units.map(|name| name.0.as_str()).collect()
}

fn say(environment: &Environment, plan: &Plan, what: &str, units: &BTreeSet<String>) {
    let mentioned: Vec<&str> = units
        .iter()
        .filter(|unit| environment.display_all_units || !plan.unmentioned.contains(*unit))
        .map(String::as_str)
        .collect();
    if !mentioned.is_empty() {
        eprintln!("{what}: {}", mentioned.join(", "));
    }
}

/// Writes to the journal as `nixos`; a switch does not depend on its log.
fn log(environment: &Environment, priority: &str, what: &str) {
    let message = format!("{what} {}", environment.toplevel.display());
    let written = environment
        .child("logger")
        .args([
            "--tag",
            "nixos",
            "--priority",
            &format!("user.{priority}"),
            &message,
        ])
        .status();
    if let Err(error) = written {
        eprintln!("cannot run logger: {error}");
    }
}
