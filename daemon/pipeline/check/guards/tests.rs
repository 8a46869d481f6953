//! Tables over pairs of made-up closures.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::model::revision::Branch;
use crate::model::system::StorePath;

const OLD: &str = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-old";
const NEW: &str = "/nix/store/1c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-new";

const OURS: &str = "[[remote]]\nurl = \"https://example.org/hosts.git\"\n";
const OTHER_URL: &str = "[[remote]]\nurl = \"https://example.org/other.git\"\n";
const OTHER_BRANCH: &str =
    "[[remote]]\nurl = \"https://example.org/hosts.git\"\nbranch = \"next\"\n";
const LATER: &str = "later = 1\n[[remote]]\nurl = \"https://example.org/hosts.git\"\nlater = 2\n";
const BROKEN: &str = "[[remote]\n";

const THIS: &str = "0123456789abcdef0123456789abcdef";
const ANOTHER: &str = "fedcba9876543210fedcba9876543210";

fn toplevel(path: &str) -> Toplevel {
    Toplevel::new(StorePath::try_from(path.to_owned()).expect("a store path"))
}

/// A closure: its daemon's configuration, and its units with whether anything
/// starts them.
#[derive(Clone, Copy, Debug)]
struct Made<'a> {
    config: Option<&'a str>,
    units: &'a [(&'a str, bool)],
}

const DAEMON: (&str, bool) = (DAEMON_UNIT, true);
const SSHD: (&str, bool) = ("sshd.service", true);

fn made<'a>(config: &'a str, units: &'a [(&'a str, bool)]) -> Made<'a> {
    Made {
        config: Some(config),
        units,
    }
}

fn write(root: &Path, toplevel: &str, made: Made<'_>) {
    let etc = below(root, Path::new(toplevel)).join("etc");
    let units = etc.join("systemd/system");
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants).expect("a directory");
    for (unit, is_wanted) in made.units {
        let text = "[Service]\nExecStart=/nix/store/x/bin/deploy-flake daemon\n";
        fs::write(units.join(unit), text).expect("a file");
        if *is_wanted {
            symlink(format!("../{unit}"), wants.join(unit)).expect("a link");
        }
    }
    if let Some(config) = made.config {
        fs::create_dir_all(etc.join("deploy-flake")).expect("a directory");
        fs::write(etc.join("deploy-flake/config.toml"), config).expect("a file");
    }
}

fn host(old: Made<'_>, new: Made<'_>) -> TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    write(root.path(), OLD, old);
    write(root.path(), NEW, new);
    fs::create_dir_all(root.path().join("etc")).expect("a directory");
    fs::write(
        below(root.path(), Path::new(MACHINE_ID)),
        format!("{THIS}\n"),
    )
    .expect("a file");
    root
}

fn remote() -> RemoteAddress {
    RemoteAddress {
        name: "origin".to_owned(),
        url: "https://example.org/hosts.git".to_owned(),
        branch: Branch::try_from("main".to_owned()).expect("a branch"),
        access: crate::model::remote::Access::default(),
    }
}

fn judge(root: &TempDir, guards: &Guards, lacking: &[Guard]) -> Option<Failure> {
    guard(Guarding {
        root: root.path(),
        running: Some(&toplevel(OLD)),
        wanted: &toplevel(NEW),
        remotes: &[remote()],
        guards,
        lacking: &lacking.iter().copied().collect(),
    })
    .err()
}

#[test]
fn one_of_several_remotes_has_to_stay() {
    const TWO: &str = "[[remote]]\nurl = \"https://example.org/hosts.git\"\n\
                       [[remote]]\nname = \"b\"\nurl = \"https://example.org/other.git\"\n";
    const THIRD: &str = "[[remote]]\nurl = \"https://example.org/third.git\"\n";
    let other = RemoteAddress {
        name: "b".to_owned(),
        url: "https://example.org/other.git".to_owned(),
        ..remote()
    };
    for (old, new, lacks) in [
        (TWO, TWO, false),
        (TWO, OURS, false),
        (TWO, OTHER_URL, false),
        (TWO, THIRD, true),
        // The way from one to another without an exception.
        (OURS, TWO, false),
        // The daemon follows both; the running system names one of them.
        (OURS, OTHER_URL, true),
    ] {
        let root = host(made(old, &[DAEMON]), made(new, &[DAEMON]));
        let refused = guard(Guarding {
            root: root.path(),
            running: Some(&toplevel(OLD)),
            wanted: &toplevel(NEW),
            remotes: &[remote(), other.clone()],
            guards: &Guards::default(),
            lacking: &BTreeSet::new(),
        });
        let code = refused.as_ref().err().map(|failure| failure.code);
        let expected = lacks.then_some(FailureCode::RemoteMissing);
        assert_eq!(code, expected, "{old} to {new}: {refused:?}");
    }
}

#[test]
fn what_was_there_before_must_be_there_after() {
    use FailureCode::{DaemonMissing, RemoteMissing, SshServerMissing};
    let both = &[DAEMON, SSHD][..];
    let asleep = (DAEMON_UNIT, false);
    for (old, new, expected) in [
        (made(OURS, both), made(OURS, both), None),
        (made(OURS, both), made(LATER, both), None),
        // The daemon.
        (made(OURS, both), made(OURS, &[SSHD]), Some(DaemonMissing)),
        (
            made(OURS, both),
            made(OURS, &[asleep, SSHD]),
            Some(DaemonMissing),
        ),
        (made(OURS, &[asleep]), made(OURS, &[asleep]), None),
        (made(OURS, &[SSHD]), made(OURS, &[SSHD]), None),
        // The ssh server.
        (
            made(OURS, both),
            made(OURS, &[DAEMON]),
            Some(SshServerMissing),
        ),
        (
            made(OURS, both),
            made(OURS, &[DAEMON, ("ssh.socket", true)]),
            None,
        ),
        (
            made(OURS, both),
            made(OURS, &[DAEMON, ("sshd.socket", false)]),
            Some(SshServerMissing),
        ),
        (made(OURS, &[DAEMON]), made(OURS, &[DAEMON]), None),
        // The remote.
        (made(OURS, both), made(OTHER_URL, both), Some(RemoteMissing)),
        (
            made(OURS, both),
            made(OTHER_BRANCH, both),
            Some(RemoteMissing),
        ),
        (made(OURS, both), made(BROKEN, both), Some(RemoteMissing)),
        (
            made(OURS, both),
            Made {
                config: None,
                units: both,
            },
            Some(RemoteMissing),
        ),
        (made(OTHER_URL, both), made(OTHER_URL, both), None),
    ] {
        let failure = judge(&host(old, new), &Guards::default(), &[]);
        let code = failure.as_ref().map(|failure| failure.code);
        assert_eq!(code, expected, "{old:?} {new:?} {failure:?}");
    }
}

#[test]
fn what_is_missing_is_told_with_how_to_allow_it() {
    let both = &[DAEMON, SSHD][..];
    for (new, expected) in [
        (
            made(OURS, &[SSHD]),
            [
                "expected deploy-flake.service in the new system, as in the running one, and \
                 found no deploy-flake.service that starts a program",
                "daemon",
            ],
        ),
        (
            made(OURS, &[DAEMON]),
            [
                "expected an ssh server in the new system, as the running one has sshd.service, \
                 and found none of sshd.service, sshd.socket, ssh.service, ssh.socket",
                "ssh-server",
            ],
        ),
        (
            made(OTHER_BRANCH, both),
            [
                "expected the new system's daemon to follow https://example.org/hosts.git, \
                 branch main, and found https://example.org/hosts.git, branch next",
                "remote",
            ],
        ),
    ] {
        let root = host(made(OURS, both), new);
        let failure = judge(&root, &Guards::default(), &[]).expect("it lacks something");
        let [message, name] = expected;
        assert_eq!(failure.message, message);
        for words in [
            format!("`deploy-flake retry --allow {name}`"),
            format!("guards.allow = [\"{name}\"]"),
        ] {
            assert!(failure.hint.contains(&words), "{}", failure.hint);
        }
    }
}

#[test]
fn what_is_allowed_may_be_missing_and_nothing_else() {
    let both = &[DAEMON, SSHD][..];
    let root = host(made(OURS, both), made(OTHER_URL, &[DAEMON]));
    let guards = |allowed: &[Guard]| Guards {
        allowed: allowed.iter().copied().collect(),
        ..Guards::default()
    };
    use Guard::{Daemon, Remote, SshServer};
    for (allowed, lacking, expected) in [
        (&[][..], &[][..], Some(FailureCode::SshServerMissing)),
        (&[SshServer], &[], Some(FailureCode::RemoteMissing)),
        (&[SshServer], &[Remote], None),
        (&[], &[SshServer, Remote], None),
        (&[Remote, Daemon], &[], Some(FailureCode::SshServerMissing)),
    ] {
        let failure = judge(&root, &guards(allowed), lacking);
        let code = failure.map(|failure| failure.code);
        assert_eq!(code, expected, "{allowed:?} {lacking:?}");
    }
    let none = host(made(OURS, both), made(OURS, &[SSHD]));
    assert_eq!(judge(&none, &guards(&[Daemon]), &[]), None);
}

#[test]
fn without_a_running_system_nothing_is_demanded() {
    let root = host(made(OURS, &[DAEMON]), made(OURS, &[]));
    let verdict = guard(Guarding {
        root: root.path(),
        running: None,
        wanted: &toplevel(NEW),
        remotes: &[remote()],
        guards: &Guards::default(),
        lacking: &BTreeSet::new(),
    });
    assert_eq!(verdict, Ok(()));
}

#[test]
fn a_system_for_another_machine_is_refused() {
    let bound = |id: &str| format!("machine_id = \"{id}\"\n{OURS}");
    let both = &[DAEMON, SSHD][..];
    for (ours, theirs, whose) in [
        (None, OURS.to_owned(), None),
        (Some(THIS), bound(THIS), None),
        (Some(THIS), bound(&THIS.to_uppercase()), None),
        (Some(ANOTHER), OURS.to_owned(), Some("that runs")),
        (None, bound(ANOTHER), Some("new system's")),
    ] {
        let root = host(made(OURS, both), made(&theirs, both));
        let guards = Guards {
            machine_id: ours.map(str::to_owned),
            ..Guards::default()
        };
        let failure = judge(&root, &guards, Guard::ALL);
        let code = failure.as_ref().map(|failure| failure.code);
        let expected = whose.map(|_| FailureCode::MachineMismatch);
        assert_eq!(code, expected, "{ours:?} {theirs}");
        if let (Some(failure), Some(whose)) = (failure, whose) {
            assert!(failure.message.contains(whose), "{failure:?}");
            assert!(failure.message.ends_with(THIS), "{failure:?}");
        }
    }
}

#[test]
fn a_machine_whose_id_cannot_be_read_is_another() {
    let root = host(made(OURS, &[]), made(OURS, &[]));
    fs::remove_file(below(root.path(), Path::new(MACHINE_ID))).expect("it was written");
    let guards = Guards {
        machine_id: Some(THIS.to_owned()),
        ..Guards::default()
    };
    let failure = judge(&root, &guards, &[]).expect("nobody knows the machine");
    assert_eq!(failure.code, FailureCode::MachineMismatch);
}
