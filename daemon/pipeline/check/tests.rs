//! Tables over states, made-up closures and ends of steps.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::*;
use crate::model::system::StorePath;

const A: &str = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-a";
const B: &str = "/nix/store/1c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-b";

fn toplevel(path: &str) -> Toplevel {
    Toplevel::new(StorePath::try_from(path.to_owned()).expect("a store path"))
}

/// A root directory with these files: path below a toplevel, mode, content.
fn store(files: &[(&str, &str, u32, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    for (toplevel, name, mode, content) in files {
        let path = root
            .path()
            .join(toplevel.trim_start_matches('/'))
            .join(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("a mode");
    }
    root
}

fn report(end: StepEnd, tail: &str) -> StepReport {
    StepReport {
        end,
        captured: String::new(),
        tail: tail.to_owned(),
        extent: crate::host::journal::Extent::Whole,
    }
}

fn code_and_class(result: Result<(), Failure>) -> Option<(FailureCode, FailureClass)> {
    result.err().map(|failure| (failure.code, failure.class))
}

#[test]
fn only_a_healthy_host_that_is_up_may_be_changed() {
    use FailureCode::{HostBusy, SystemUnhealthy};
    for (state, failed, expected) in [
        (SystemState::Running, &[][..], None),
        (SystemState::Degraded, &[], None),
        (SystemState::Degraded, &["a.service"], Some(SystemUnhealthy)),
        (SystemState::Running, &["a.service"], Some(SystemUnhealthy)),
        (SystemState::Maintenance, &[], Some(SystemUnhealthy)),
        (SystemState::Offline, &[], Some(SystemUnhealthy)),
        (
            SystemState::Unknown("x".to_owned()),
            &[],
            Some(SystemUnhealthy),
        ),
        (SystemState::Initializing, &[], Some(HostBusy)),
        (SystemState::Starting, &["a.service"], Some(HostBusy)),
        (SystemState::Stopping, &[], Some(HostBusy)),
    ] {
        let failed: BTreeSet<String> = failed.iter().map(|unit| (*unit).to_owned()).collect();
        let verdict = health_verdict(&state, &failed);
        if expected == Some(SystemUnhealthy) && !failed.is_empty() {
            let failure = verdict.as_ref().expect_err("it is unhealthy");
            assert!(failure.message.contains("a.service"), "{failure:?}");
            assert_eq!(failure.detail, "a.service");
        }
        let code = verdict.err().map(|failure| failure.code);
        assert_eq!(code, expected, "{state:?} {failed:?}");
    }
}

#[test]
fn a_host_that_is_not_healthy_is_deployed_to_only_where_policy_says_so() {
    let failed = BTreeSet::from(["a.service".to_owned()]);
    for (on_unhealthy, expected) in [
        (OnUnhealthy::Refuse, Some(FailureCode::SystemUnhealthy)),
        (OnUnhealthy::ProceedIfNotWorse, None),
    ] {
        let counted = as_policy_has_it(failed.clone(), on_unhealthy);
        let verdict = health_verdict(&SystemState::Degraded, &counted);
        assert_eq!(verdict.err().map(|failure| failure.code), expected);
        let maintenance = health_verdict(&SystemState::Maintenance, &counted);
        assert!(maintenance.is_err(), "that is no matter of failed units");
    }
}

#[test]
fn a_toplevel_needs_its_program_and_its_version() {
    let program = (A, "bin/switch-to-configuration", 0o555, "");
    let version = (A, "nixos-version", 0o444, "24.11");
    for (files, missing) in [
        (&[program, version][..], None),
        (&[version], Some("bin/switch-to-configuration")),
        (&[program], Some("nixos-version")),
        (
            &[(A, "bin/switch-to-configuration", 0o444, ""), version],
            Some("bin/switch-to-configuration"),
        ),
    ] {
        let root = store(files);
        let failure = closure::switchable(root.path(), &toplevel(A)).err();
        assert_eq!(failure.is_some(), missing.is_some(), "{files:?}");
        if let (Some(failure), Some(missing)) = (failure, missing) {
            assert_eq!(failure.code, FailureCode::NotSwitchable);
            assert!(failure.message.contains(missing), "{failure:?}");
        }
    }
}

#[test]
fn a_check_that_cannot_be_run_is_not_taken_for_none() {
    let name = "pre-activate-safety-checks";
    let path = format!("{A}/{name}");
    let find = |root: &Path| pre_activate_check(root, &toplevel(A), name);
    assert_eq!(find(store(&[]).path()), PreActivateCheck::None);
    assert_eq!(
        find(store(&[(A, name, 0o555, "")]).path()),
        PreActivateCheck::Program(path.clone())
    );
    assert_eq!(
        find(store(&[(A, name, 0o444, "")]).path()),
        PreActivateCheck::NotExecutable(path.clone())
    );
    let dangling = store(&[(A, "nixos-version", 0o444, "")]);
    symlink("/nowhere", dangling.path().join(&path[1..])).expect("a link");
    assert_eq!(find(dangling.path()), PreActivateCheck::NotExecutable(path));
}

#[test]
fn inhibitors_that_both_systems_have_must_not_differ() {
    let dbus = r#"{"dbus-implementation":"dbus"}"#;
    let broker = r#"{"dbus-implementation":"broker","new":"1"}"#;
    for (old, new, expected) in [
        (Some(dbus), Some(dbus), None),
        (Some(dbus), Some(broker), Some("dbus-implementation")),
        (Some(r#"{"other":"1"}"#), Some(broker), None),
        (None, Some(broker), None),
        (Some(dbus), None, None),
        (Some("[]"), Some(broker), None),
    ] {
        let mut files = Vec::new();
        files.extend(old.map(|text| (A, "switch-inhibitors", 0o444, text)));
        files.extend(new.map(|text| (B, "switch-inhibitors", 0o444, text)));
        let root = store(&files);
        let failure = inhibited(root.path(), Some(&toplevel(A)), &toplevel(B));
        assert_eq!(failure.is_some(), expected.is_some(), "{old:?} {new:?}");
        if let (Some(failure), Some(key)) = (failure, expected) {
            assert_eq!(failure.code, FailureCode::SwitchInhibited);
            assert!(failure.message.ends_with(key), "{failure:?}");
            assert_eq!(failure.detail, "dbus-implementation: dbus -> broker");
        }
    }
    let alone = store(&[(B, "switch-inhibitors", 0o444, broker)]);
    assert_eq!(inhibited(alone.path(), None, &toplevel(B)), None);
}

#[test]
fn an_unreadable_default_entry_is_refused_with_what_to_set() {
    assert_eq!(readable(&DefaultEntry::Unchecked), Ok(()));
    assert_eq!(readable(&DefaultEntry::Toplevel(toplevel(A))), Ok(()));
    let failure =
        readable(&DefaultEntry::Unreadable("no files".to_owned())).expect_err("it is unreadable");
    assert_eq!(failure.code, FailureCode::BootLoaderUnreadable);
    assert!(failure.message.contains("no files") && failure.hint.contains("boot_loader"));
}

#[test]
fn ends_of_the_pre_activate_check_are_told_apart() {
    use FailureClass::{Deterministic, Transient};
    use FailureCode::{CheckPostponed, CheckRefused, CheckTimeout, OutOfMemory, StepFailed};
    for (end, expected) in [
        (StepEnd::Succeeded, None),
        (StepEnd::Exited(1), Some((CheckRefused, Deterministic))),
        (StepEnd::Exited(11), Some((CheckRefused, Deterministic))),
        (StepEnd::Signalled(15), Some((StepFailed, Transient))),
        (StepEnd::Exited(75), Some((CheckPostponed, Transient))),
        (StepEnd::Signalled(6), Some((CheckRefused, Deterministic))),
        (
            StepEnd::CouldNotStart("203/EXEC".to_owned()),
            Some((StepFailed, Transient)),
        ),
        (StepEnd::TimedOut, Some((CheckTimeout, Deterministic))),
        (StepEnd::OutOfMemory, Some((OutOfMemory, Transient))),
    ] {
        let verdict = pre_activate_verdict(&report(end.clone(), "its words"), Duration::ZERO);
        if let Err(failure) = &verdict {
            assert_eq!(failure.detail, "its words", "{end:?}");
        }
        assert_eq!(code_and_class(verdict), expected, "{end:?}");
    }
}

#[test]
fn ends_of_the_pre_switch_check_are_told_apart() {
    use FailureCode::{CheckRefused, CheckTimeout, LockHeld};
    let old = format!("Usage: {A}/bin/switch-to-configuration [switch|boot|test|dry-activate]");
    let new = format!("Usage: {A}/bin/x [check|switch|boot|test|dry-activate]");
    for (end, tail, expected) in [
        (StepEnd::Succeeded, "", None),
        (
            StepEnd::Exited(1),
            "Pre-switch checks failed",
            Some(CheckRefused),
        ),
        (StepEnd::Exited(1), old.as_str(), None),
        (StepEnd::Exited(1), new.as_str(), Some(CheckRefused)),
        (StepEnd::Exited(4), old.as_str(), Some(CheckRefused)),
        (StepEnd::Exited(11), "", Some(LockHeld)),
        (StepEnd::Exited(75), "", Some(CheckRefused)),
        (StepEnd::TimedOut, "", Some(CheckTimeout)),
    ] {
        let verdict = pre_switch_verdict(&report(end.clone(), tail), Duration::ZERO);
        let code = verdict.err().map(|failure| failure.code);
        assert_eq!(code, expected, "{end:?} {tail:?}");
    }
}

#[test]
fn the_check_of_a_push_is_the_one_that_it_names_or_none() {
    let root = store(&[
        (A, "own", 0o755, "#!/bin/sh\n"),
        (A, "other", 0o755, "#!/bin/sh\n"),
        (A, "text", 0o644, "none\n"),
    ]);
    let asked = |own: OwnCheck, configured: &str| {
        let found = own_check(root.path(), &toplevel(A), &own, configured);
        found.map_err(|failure| failure.code)
    };
    let named = |relative: &str| OwnCheck::Named(relative.to_owned());
    let path = |relative: &str| Ok(Some(format!("{A}/{relative}")));
    let refused = Err(FailureCode::CheckRefused);
    assert_eq!(asked(OwnCheck::Configured, "own"), path("own"));
    assert_eq!(asked(OwnCheck::Configured, "absent"), Ok(None));
    assert_eq!(asked(named("other"), "own"), path("other"));
    assert_eq!(asked(named("absent"), "own"), refused);
    assert_eq!(asked(named("text"), "own"), refused);
    assert_eq!(asked(OwnCheck::Skipped, "text"), Ok(None));
}
