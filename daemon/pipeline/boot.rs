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
use super::observe::{self, PROFILE};
use super::step::{StepEnd, StepPlan, StepReport, StepUser, Steps};
use super::{boot_loader, lock};
use crate::model::deployment::{DeploymentId, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::BootLoader;
use crate::model::stage::UnitStep;
use crate::model::system::{DefaultEntry, Generation, ProfileEntry, Toplevel};
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
    /// Which boot loader is read back.
    pub(crate) boot_loader: BootLoader,
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
) -> Result<(), Failure> {
    still_ours(root, restoration)?;
    let newest = before::newest(root, id);
    let is_untouched = was_never_left(root, restoration, newest);
    if is_untouched && !steps.has_unit(UnitStep::Restore, id).await? {
        return Ok(());
    }
    let patience = restoration.patience;
    let plan = || {
        let commands = commands(steps, root, restoration, newest);
        plan(UnitStep::Restore, id, commands, patience.deadline)
    };
    let report = lock::run_when_free(steps, root, plan, patience.lock).await?;
    written(&report, Writing::Restoration, patience.deadline)?;
    read_back(root, restoration)
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
fn was_never_left(root: &Path, wanted: Restoration<'_>, newest: Option<Generation>) -> bool {
    let entry = boot_loader::default_entry(root, wanted.boot_loader);
    let generations = observe::generations(root);
    let link = link_to_put_back(&generations, wanted);
    entry.toplevel() == Some(wanted.toplevel)
        && difference(observe::profile(root), &entry, wanted, link).is_none()
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

fn read_back(root: &Path, restoration: Restoration<'_>) -> Result<(), Failure> {
    let profile = observe::profile(root);
    let entry = boot_loader::default_entry(root, restoration.boot_loader);
    let link = link_to_put_back(&observe::generations(root), restoration);
    let Some(found) = difference(profile, &entry, restoration, link) else {
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
        capture: false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::model::failure::FailureClass;
    use crate::model::system::StorePath;

    fn toplevel(name: &str) -> Toplevel {
        let path = format!("/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-{name}");
        Toplevel::new(StorePath::try_from(path).expect("a store path"))
    }

    fn entry(generation: u64, name: &str) -> ProfileEntry {
        ProfileEntry {
            generation: Generation(generation),
            toplevel: toplevel(name),
        }
    }

    fn restoration<'a>(toplevel: &'a Toplevel, failed: Option<&'a Toplevel>) -> Restoration<'a> {
        Restoration {
            generation: Generation(4),
            toplevel,
            failed,
            boot_loader: BootLoader::SystemdBoot,
            patience: Patience {
                deadline: Duration::from_secs(1),
                lock: Duration::from_secs(1),
            },
        }
    }

    /// A host whose profile is that generation, and whose default entry starts
    /// that system.
    fn host(profile: &ProfileEntry, default: &Toplevel) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        let profiles = root.path().join("nix/var/nix/profiles");
        let entries = root.path().join("boot/loader/entries");
        fs::create_dir_all(&profiles).expect("a directory");
        fs::create_dir_all(&entries).expect("a directory");
        let link = format!("system-{}-link", profile.generation.0);
        symlink(&link, profiles.join("system")).expect("a link");
        symlink(profile.toplevel.path().as_str(), profiles.join(link)).expect("a link");
        fs::write(
            root.path().join("boot/loader/loader.conf"),
            "default nixos-a.conf\n",
        )
        .expect("a file");
        fs::write(
            entries.join("nixos-a.conf"),
            format!("options init={default}/init\n"),
        )
        .expect("a file");
        root
    }

    #[test]
    fn only_generations_that_this_deployment_made_are_deleted() {
        let (old, new) = (toplevel("old"), toplevel("new"));
        let generations = [
            entry(2, "new"),
            entry(4, "old"),
            entry(5, "other"),
            entry(6, "new"),
            entry(7, "new"),
        ];
        for (failed, newest, expected) in [
            (Some(&new), Some(5), &[6, 7][..]),
            // An operator had gone back from it before.
            (Some(&new), Some(6), &[7]),
            (Some(&new), Some(7), &[]),
            (Some(&new), None, &[]),
            (Some(&new), Some(0), &[6, 7]),
            (Some(&old), Some(5), &[]),
            (None, Some(5), &[]),
        ] {
            let found = left_by_us(
                &generations,
                restoration(&old, failed),
                newest.map(Generation),
            );
            let found: Vec<_> = found.into_iter().map(|generation| generation.0).collect();
            assert_eq!(found, expected, "{failed:?} {newest:?}");
        }
    }

    #[test]
    fn a_generation_without_its_link_is_put_back_as_another() {
        let (old, new) = (toplevel("old"), toplevel("new"));
        let wanted = restoration(&old, Some(&new));
        for (generations, expected) in [
            (&[entry(4, "old"), entry(5, "new")][..], Some(Generation(4))),
            (&[entry(5, "new")], None),
            (&[entry(4, "other"), entry(5, "new")], None),
        ] {
            assert_eq!(link_to_put_back(generations, wanted), expected);
        }
        let root = host(&entry(6, "old"), &old);
        assert_eq!(read_back(root.path(), wanted), Ok(()));
        assert!(was_never_left(root.path(), wanted, Some(Generation(5))));
    }

    #[test]
    fn a_profile_that_somebody_else_set_is_left_alone() {
        let (old, new) = (toplevel("old"), toplevel("new"));
        for (profile, expected) in [
            (entry(6, "new"), None),
            (entry(4, "old"), None),
            (entry(7, "theirs"), Some(FailureCode::Overridden)),
        ] {
            let root = host(&profile, &old);
            let verdict = still_ours(root.path(), restoration(&old, Some(&new)));
            assert_eq!(
                verdict.err().map(|failure| failure.code),
                expected,
                "{profile:?}"
            );
        }
    }

    #[test]
    fn both_profile_and_default_entry_are_read_back() {
        let old = toplevel("old");
        for (profile, default, expected) in [
            (entry(4, "old"), "old", None),
            (entry(5, "old"), "old", Some("generation 5")),
            (entry(5, "new"), "old", Some("generation 5, /nix")),
            (entry(4, "old"), "new", Some("the default entry starts")),
        ] {
            let root = host(&profile, &toplevel(default));
            let links = root.path().join("nix/var/nix/profiles");
            let link = links.join("system-4-link");
            if !link.is_symlink() {
                symlink(old.path().as_str(), link).expect("a link");
            }
            let verdict = read_back(root.path(), restoration(&old, None));
            match (verdict, expected) {
                (Ok(()), None) => {}
                (Err(failure), Some(words)) => {
                    assert_eq!(failure.code, FailureCode::ReadBackMismatch);
                    assert!(failure.message.contains(words), "{failure:?}");
                }
                (verdict, _) => panic!("{profile:?} {default}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn only_what_is_seen_to_be_as_before_was_never_left() {
        let (old, new) = (toplevel("old"), toplevel("new"));
        for (profile, default, boot_loader, expected) in [
            (entry(4, "old"), &old, BootLoader::SystemdBoot, true),
            (entry(4, "old"), &old, BootLoader::None, false),
            (entry(4, "old"), &new, BootLoader::SystemdBoot, false),
            (entry(5, "new"), &old, BootLoader::SystemdBoot, false),
        ] {
            let root = host(&profile, default);
            let wanted = Restoration {
                boot_loader,
                ..restoration(&old, Some(&new))
            };
            assert_eq!(
                was_never_left(root.path(), wanted, Some(Generation(4))),
                expected,
                "{profile:?} {default}"
            );
        }
        let root = host(&entry(4, "old"), &old);
        let abandoned = root.path().join("nix/var/nix/profiles/system-5-link");
        symlink(new.path().as_str(), abandoned).expect("a link");
        let wanted = restoration(&old, Some(&new));
        assert!(!was_never_left(root.path(), wanted, Some(Generation(4))));
        assert!(was_never_left(root.path(), wanted, Some(Generation(5))));
    }

    #[test]
    fn what_was_not_written_is_told_with_its_output() {
        use FailureCode::{BootLoaderFailed, LockHeld, ProfileFailed};
        use Writing::{BootEntry, Profile, Restoration};
        for (end, writing, expected) in [
            (StepEnd::Exited(1), Profile, ProfileFailed),
            (StepEnd::Exited(11), Profile, ProfileFailed),
            (StepEnd::TimedOut, Profile, ProfileFailed),
            (StepEnd::Exited(1), BootEntry, BootLoaderFailed),
            (StepEnd::Exited(11), BootEntry, LockHeld),
            (StepEnd::TimedOut, BootEntry, BootLoaderFailed),
            (StepEnd::Signalled(9), BootEntry, BootLoaderFailed),
            (StepEnd::Exited(11), Restoration, LockHeld),
            (StepEnd::OutOfMemory, Restoration, BootLoaderFailed),
        ] {
            let report = StepReport {
                end,
                captured: String::new(),
                tail: "no space left".to_owned(),
            };
            let failure = written(&report, writing, Duration::ZERO).expect_err("it failed");
            assert_eq!(failure.code, expected, "{report:?} {writing:?}");
            assert_eq!(failure.detail, "no space left");
            assert_eq!(failure.class, FailureClass::Transient);
        }
    }
}
