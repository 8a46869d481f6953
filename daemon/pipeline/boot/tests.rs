//! Profile and boot entry on a file system of a test's own.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::model::failure::FailureClass;
use crate::model::policy::BootLoader;
use crate::model::system::StorePath;
use crate::pipeline::boot_loader::default_entry;

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
        patience: Patience {
            deadline: Duration::from_secs(1),
            lock: Duration::from_secs(1),
        },
    }
}

/// What the boot loader of that host starts.
fn default_of(root: &Path) -> DefaultEntry {
    default_entry(root, BootLoader::SystemdBoot)
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
    let entry = default_of(root.path());
    assert_eq!(read_back(root.path(), &entry, wanted), Ok(()));
    assert!(was_never_left(
        root.path(),
        &entry,
        wanted,
        Some(Generation(5))
    ));
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
        let verdict = read_back(
            root.path(),
            &default_of(root.path()),
            restoration(&old, None),
        );
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
        let wanted = restoration(&old, Some(&new));
        let entry = default_entry(root.path(), boot_loader);
        assert_eq!(
            was_never_left(root.path(), &entry, wanted, Some(Generation(4))),
            expected,
            "{profile:?} {default}"
        );
    }
    let root = host(&entry(4, "old"), &old);
    let abandoned = root.path().join("nix/var/nix/profiles/system-5-link");
    symlink(new.path().as_str(), abandoned).expect("a link");
    let wanted = restoration(&old, Some(&new));
    let entry = default_of(root.path());
    assert!(!was_never_left(
        root.path(),
        &entry,
        wanted,
        Some(Generation(4))
    ));
    assert!(was_never_left(
        root.path(),
        &entry,
        wanted,
        Some(Generation(5))
    ));
    let silent = DefaultEntry::Unreadable("it did not answer".to_owned());
    assert!(!was_never_left(
        root.path(),
        &silent,
        wanted,
        Some(Generation(5))
    ));
    let unproven = read_back(root.path(), &silent, wanted).expect_err("nobody saw it");
    assert!(
        unproven.message.contains("it did not answer"),
        "{unproven:?}"
    );
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
            extent: crate::host::journal::Extent::Whole,
        };
        let failure = written(&report, writing, Duration::ZERO).expect_err("it failed");
        assert_eq!(failure.code, expected, "{report:?} {writing:?}");
        assert_eq!(failure.detail, "no space left");
        assert_eq!(failure.class, FailureClass::Transient);
    }
}

#[test]
fn only_on_the_way_back_are_the_closures_own_checks_left_out() {
    let id = DeploymentId("0123456789abcdef".to_owned());
    let deadline = Duration::from_secs(1);
    let forward = plan(UnitStep::Boot, &id, Vec::new(), deadline);
    assert_eq!(forward.environment, []);
    let back = unchecked(plan(UnitStep::Restore, &id, Vec::new(), deadline));
    let expected = ("NIXOS_NO_CHECK".to_owned(), "1".to_owned());
    assert_eq!(back.environment, [expected]);
}
