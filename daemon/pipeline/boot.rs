//! Confirmed to boot entry: profile, then `switch-to-configuration boot`; and
//! the exact way back.
//!
//! In: a toplevel, or what profile and entry were before. Out: success, or
//! what could not be written. Must not: decide that it may be written.
//!
//! The profile comes first: the builders of the boot loaders' menus take their
//! entries from its generations, and an entry for a system that is in none has
//! no GC root, or quietly becomes another default.

mod before;

use std::path::Path;
use std::time::Duration;

use tracing::warn;

use super::activate::LOCK_HELD;
use super::boot_loader::Reader;
use super::lock;
use super::observe::{self, PROFILE};
use super::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};
use crate::model::deployment::{DeploymentId, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::stage::UnitStep;
use crate::model::system::{DefaultEntry, Generation, NO_CHECKS, ProfileEntry, Toplevel};
use crate::reconcile::permission::BootPermission;

/// Sets the profile `system` to the toplevel. Does nothing if it already is:
/// setting it again would make another generation.
///
/// Like [`write_boot_entry`] it asks for the permission that only the core
/// makes: what is written here is what the next boot starts.
pub(crate) async fn set_profile(
    steps: &Steps,
    root: &Path,
    id: &DeploymentId,
    system: &System,
    _permission: &BootPermission,
    deadline: Duration,
) -> Result<(), Failure> {
    let is_set = |profile: Option<ProfileEntry>| {
        profile.is_some_and(|profile| profile.toplevel == system.toplevel)
    };
    // A unit that an earlier daemon started is waited for all the same.
    if is_set(observe::profile(root)) && !steps.has_unit(UnitStep::Profile, id).await? {
        return Ok(());
    }
    if let Err(error) = before::remember(root, id) {
        // Then nothing is deleted if this has to be undone.
        warn!(%error, "the generations before cannot be written down");
    }
    let command = nix_env(steps, &["--set", system.toplevel.path().as_str()]);
    let plan = plan(UnitStep::Profile, id, vec![command], deadline);
    let report = steps.run(&plan).await?;
    written(&report, Writing::Profile, deadline)
}

/// How long a step that runs `switch-to-configuration` may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Each run of it.
    pub(crate) deadline: Duration,
    /// All runs that find the lock held, with the waits between them: somebody
    /// else's switch is no failure of this system.
    pub(crate) lock: Duration,
}

/// Makes the toplevel the boot loader's default entry.
pub(crate) async fn write_boot_entry(
    steps: &Steps,
    root: &Path,
    id: &DeploymentId,
    system: &System,
    _permission: &BootPermission,
    patience: Patience,
) -> Result<(), Failure> {
    let plan = || {
        let command = install_boot_loader(&system.toplevel);
        plan(UnitStep::Boot, id, vec![command], patience.deadline)
    };
    let report = lock::run_when_free(steps, root, plan, patience.lock).await?;
    written(&report, Writing::BootEntry, patience.deadline)
}

/// What is put back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restoration<'a> {
    /// The profile's generation before.
    pub(crate) generation: Generation,
    /// What it points to.
    pub(crate) toplevel: &'a Toplevel,
    /// The system whose generations, if newer, are deleted: ours. None deletes
    /// nothing.
    pub(crate) failed: Option<&'a Toplevel>,
    /// How long it may take.
    pub(crate) patience: Patience,
}

/// Puts profile and default entry back, and reads both.
///
/// The newer generation goes before the menu is written: a menu with few
/// entries would otherwise have none for the generation that is put back.
pub(crate) async fn restore(
    steps: &Steps,
    root: &Path,
    id: &DeploymentId,
    restoration: Restoration<'_>,
    entry: &Reader,
) -> Result<(), Failure> {
    still_ours(root, restoration)?;
    let newest = before::newest(root, id);
    let is_untouched = was_never_left(root, &entry.default_entry(root).await, restoration, newest);
    if is_untouched && !steps.has_unit(UnitStep::Restore, id).await? {
        return Ok(());
    }
    let patience = restoration.patience;
    let plan = || {
        let commands = commands(steps, root, restoration, newest);
        unchecked(plan(UnitStep::Restore, id, commands, patience.deadline))
    };
    let report = lock::run_when_free(steps, root, plan, patience.lock).await?;
    written(&report, Writing::Restoration, patience.deadline)?;
    read_back(root, &entry.default_entry(root).await, restoration)
}

fn commands(
    steps: &Steps,
    root: &Path,
    restoration: Restoration<'_>,
    newest: Option<Generation>,
) -> Vec<Vec<String>> {
    let generations = observe::generations(root);
    let put_back = match link_to_put_back(&generations, restoration) {
        Some(generation) => nix_env(steps, &["--switch-generation", &generation.0.to_string()]),
        None => nix_env(steps, &["--set", restoration.toplevel.path().as_str()]),
    };
    let mut commands = vec![put_back];
    for generation in left_by_us(&generations, restoration, newest) {
        let number = generation.0.to_string();
        commands.push(nix_env(steps, &["--delete-generations", &number]));
    }
    commands.push(install_boot_loader(restoration.toplevel));
    commands
}

/// The generation to put back, while its link is there. Where somebody deleted
/// it, the system that it was gets another one.
fn link_to_put_back(
    generations: &[ProfileEntry],
    restoration: Restoration<'_>,
) -> Option<Generation> {
    generations
        .iter()
        .find(|entry| entry.generation == restoration.generation)
        .filter(|entry| entry.toplevel == *restoration.toplevel)
        .map(|entry| entry.generation)
}

/// A profile that somebody else set meanwhile is theirs.
fn still_ours(root: &Path, restoration: Restoration<'_>) -> Result<(), Failure> {
    let Some(failed) = restoration.failed else {
        return Ok(());
    };
    match observe::profile(root) {
        Some(profile)
            if profile.toplevel != *failed && profile.toplevel != *restoration.toplevel =>
        {
            Err(Failure::new(
                FailureCode::Overridden,
                format!(
                    "the profile is generation {} now, {}, neither the failed system nor the one \
                     before",
                    profile.generation.0, profile.toplevel
                ),
                "Somebody else set it; it is left alone until a new commit comes.",
            ))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether nothing was written: the profile could not be set, so its entry
/// was not touched. What made that fail would make putting it back fail, too,
/// and sound an alarm over a sound host. An entry that cannot be read proves
/// nothing.
fn was_never_left(
    root: &Path,
    entry: &DefaultEntry,
    wanted: Restoration<'_>,
    newest: Option<Generation>,
) -> bool {
    let generations = observe::generations(root);
    let link = link_to_put_back(&generations, wanted);
    entry.toplevel() == Some(wanted.toplevel)
        && difference(observe::profile(root), entry, wanted, link).is_none()
        && left_by_us(&generations, wanted, newest).is_empty()
}

/// The generations to delete: newer than any that was there before this
/// deployment and than the one put back, and still pointing to the system that
/// failed. What was there before is not ours, even if it is the same system;
/// and where nobody wrote down what was, nothing is deleted.
fn left_by_us(
    generations: &[ProfileEntry],
    restoration: Restoration<'_>,
    newest: Option<Generation>,
) -> Vec<Generation> {
    let Some(newest) = newest else {
        return Vec::new();
    };
    generations
        .iter()
        .filter(|entry| entry.generation > newest)
        .filter(|entry| entry.generation > restoration.generation)
        .filter(|entry| Some(&entry.toplevel) == restoration.failed)
        .filter(|entry| entry.toplevel != *restoration.toplevel)
        .map(|entry| entry.generation)
        .collect()
}

fn read_back(
    root: &Path,
    entry: &DefaultEntry,
    restoration: Restoration<'_>,
) -> Result<(), Failure> {
    let profile = observe::profile(root);
    let link = link_to_put_back(&observe::generations(root), restoration);
    let Some(found) = difference(profile, entry, restoration, link) else {
        return Ok(());
    };
    Err(Failure::new(
        FailureCode::ReadBackMismatch,
        format!(
            "expected generation {} and a default entry for {} to be back, but {found}",
            restoration.generation.0, restoration.toplevel
        ),
        format!(
            "Do not reboot before this is repaired: run `{} boot` and read what it says.",
            restoration.toplevel.switch_to_configuration()
        ),
    ))
}

/// What is not as it was before, if anything is not. Where the generation's
/// link is gone, any other of the same system is as good.
fn difference(
    profile: Option<ProfileEntry>,
    entry: &DefaultEntry,
    wanted: Restoration<'_>,
    link: Option<Generation>,
) -> Option<String> {
    let Some(profile) = profile else {
        return Some("the profile cannot be read".to_owned());
    };
    let is_generation = link.is_none_or(|generation| profile.generation == generation);
    if !is_generation || profile.toplevel != *wanted.toplevel {
        return Some(format!(
            "the profile is generation {}, {}",
            profile.generation.0, profile.toplevel
        ));
    }
    match entry {
        DefaultEntry::Toplevel(found) if found == wanted.toplevel => None,
        DefaultEntry::Toplevel(other) => Some(format!("the default entry starts {other}")),
        DefaultEntry::Unreadable(reason) => {
            Some(format!("the default entry cannot be read: {reason}"))
        }
        DefaultEntry::Unchecked => None,
    }
}

/// What a step writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Profile,
    BootEntry,
    Restoration,
}

impl Writing {
    fn code(self) -> FailureCode {
        match self {
            Self::Profile => FailureCode::ProfileFailed,
            Self::BootEntry | Self::Restoration => FailureCode::BootLoaderFailed,
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Profile => "setting the profile (nix-env --set)",
            Self::BootEntry => "writing the boot entry (switch-to-configuration boot)",
            Self::Restoration => "putting profile and boot entry back",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Profile => {
                "Read the output. A full or read-only file system below /nix/var is the usual \
                 cause; the boot entry was not touched."
            }
            Self::BootEntry => {
                "Read the output. Usual causes: the boot partition is full, not mounted or \
                 read-only, or an interrupted run left a loader/loader.tmp, which has to be \
                 removed by hand."
            }
            Self::Restoration => {
                "Do not reboot before this is repaired. Read the output; a full or unmounted boot \
                 partition is the usual cause."
            }
        }
    }
}

/// Judges the end of a step that writes.
fn written(report: &StepReport, writing: Writing, deadline: Duration) -> Result<(), Failure> {
    let subject = writing.subject();
    let (code, message) = match (&report.end, writing) {
        (StepEnd::Succeeded, _) => return Ok(()),
        (StepEnd::Exited(LOCK_HELD), Writing::BootEntry | Writing::Restoration) => (
            FailureCode::LockHeld,
            format!("{subject} found another switch-to-configuration running (exit status 11)"),
        ),
        (StepEnd::Exited(status), _) => (
            writing.code(),
            format!("{subject} failed (exit status {status})"),
        ),
        (StepEnd::Signalled(signal), _) => (
            writing.code(),
            format!("{subject} was ended by signal {signal}"),
        ),
        (StepEnd::TimedOut, _) => (
            writing.code(),
            format!("{subject} took longer than {deadline:?} and was ended"),
        ),
        (StepEnd::OutOfMemory, _) => (
            writing.code(),
            format!("{subject} was ended because memory ran out"),
        ),
        (StepEnd::CouldNotStart(why), _) => (
            writing.code(),
            format!("{subject} could not be started: {why}"),
        ),
    };
    Err(Failure::new(code, message, writing.hint()).with_detail(&report.tail))
}

fn nix_env(steps: &Steps, arguments: &[&str]) -> Vec<String> {
    let program = steps.programs().nix_env.display().to_string();
    let mut command = vec![program, "--profile".to_owned(), PROFILE.to_owned()];
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    command
}

fn install_boot_loader(toplevel: &Toplevel) -> Vec<String> {
    vec![toplevel.switch_to_configuration(), "boot".to_owned()]
}

fn plan(
    step: UnitStep,
    id: &DeploymentId,
    commands: Vec<Vec<String>>,
    deadline: Duration,
) -> StepPlan {
    StepPlan {
        step,
        deployment: id.clone(),
        commands,
        user: StepUser::Root,
        deadline,
        environment: Vec::new(),
        credentials: Vec::new(),
        capture: false,
    }
}

/// For the way back alone: what was the default before needs nobody's leave,
/// and its own pre-switch checks may refuse because of what is to be left.
fn unchecked(plan: StepPlan) -> StepPlan {
    let (name, value) = NO_CHECKS;
    StepPlan {
        environment: vec![(name.to_owned(), value.to_owned())],
        ..plan
    }
}

#[cfg(test)]
mod tests;
