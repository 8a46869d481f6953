//! Closures in a temporary root, with links as NixOS makes them.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, mknodat};
use tempfile::TempDir;

use super::*;
use crate::model::system::StorePath;

const STORE: &str = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv";

const UNIT: &str = "[Service]\nExecStart=/nix/store/x/bin/deploy-flake daemon\n";

fn toplevel() -> Toplevel {
    Toplevel::new(StorePath::try_from(format!("{STORE}-top")).expect("a store path"))
}

/// A closure whose `etc` and whose directory of units are other store paths.
struct Closure(TempDir);

impl Closure {
    fn new() -> Self {
        let closure = Self(tempfile::tempdir().expect("a temporary directory"));
        closure.link(&format!("{STORE}-top/etc"), &format!("{STORE}-etc/etc"));
        let units = format!("{STORE}-units");
        closure.link(&format!("{STORE}-etc/etc/systemd/system"), &units);
        fs::create_dir_all(closure.path(&units)).expect("writable");
        closure
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = below(self.0.path(), Path::new(path));
        let parent = path.parent().expect("not the root");
        fs::create_dir_all(parent).expect("writable");
        path
    }

    fn link(&self, link: &str, target: &str) {
        symlink(target, self.path(link)).expect("writable");
    }

    /// A unit's file in a store path of its own.
    fn unit(&self, name: &str, text: &str) {
        let file = format!("{STORE}-unit/{name}");
        fs::write(self.path(&file), text).expect("writable");
        self.link(&format!("{STORE}-units/{name}"), &file);
    }

    fn drop_in(&self, name: &str, text: &str) {
        let file = format!("{STORE}-units/{DAEMON_UNIT}.d/{name}");
        fs::write(self.path(&file), text).expect("writable");
    }

    fn installed(&self) -> Option<Installed> {
        installed(self.0.path(), &toplevel())
    }
}

#[test]
fn the_daemon_of_a_closure_is_read_through_its_links() {
    let closure = Closure::new();
    closure.unit(DAEMON_UNIT, UNIT);
    let config = format!("{STORE}-top/etc/deploy-flake/config.toml");
    let mut expected = Installed {
        program: PathBuf::from("/nix/store/x/bin/deploy-flake"),
        config: PathBuf::from(config),
        is_wanted: false,
    };
    assert_eq!(closure.installed().as_ref(), Some(&expected));
    let wants = format!("{STORE}-units/multi-user.target.wants/{DAEMON_UNIT}");
    closure.link(&wants, "../deploy-flake.service");
    expected.is_wanted = true;
    assert_eq!(closure.installed(), Some(expected));
}

#[test]
fn a_drop_in_may_name_another_program_and_another_file() {
    let closure = Closure::new();
    closure.unit(DAEMON_UNIT, UNIT);
    closure.drop_in("10.txt", "[Service]\nExecStart=\nExecStart=/no\n");
    let command = "[Service]\nExecStart=\nExecStart=/other --config=/etc/other.toml\n";
    closure.drop_in("20.conf", command);
    closure.drop_in("10.conf", "[Service]\nExecStart=/never\n");
    let installed = closure.installed().expect("it is installed");
    assert_eq!(installed.program, Path::new("/other"));
    let config = format!("{STORE}-top/etc/other.toml");
    assert_eq!(installed.config, Path::new(&config));
}

#[test]
fn a_file_outside_etc_is_no_part_of_the_closure() {
    let closure = Closure::new();
    let command = "[Service]\nExecStart=/x daemon --config /nix/store/y/c.toml\n";
    closure.unit(DAEMON_UNIT, command);
    let installed = closure.installed().expect("it is installed");
    assert_eq!(installed.config, Path::new("/nix/store/y/c.toml"));
}

#[test]
fn what_cannot_run_is_not_installed() {
    for text in ["", "[Service]\n", "[Service]\nExecStart=deploy-flake\n"] {
        let closure = Closure::new();
        closure.unit(DAEMON_UNIT, text);
        assert_eq!(closure.installed(), None, "{text:?}");
    }
    let masked = Closure::new();
    masked.link(&format!("{STORE}-units/{DAEMON_UNIT}"), "/dev/null");
    assert_eq!(masked.installed(), None);
    assert_eq!(Closure::new().installed(), None);
}

#[test]
fn ssh_servers_are_those_that_the_closure_has() {
    let closure = Closure::new();
    closure.unit("sshd.service", "[Service]\n");
    closure.unit("ssh.socket", "[Socket]\n");
    closure.link(&format!("{STORE}-units/sshd.socket"), "/dev/null");
    let units = ssh_server_units(closure.0.path(), &toplevel());
    assert_eq!(
        units.iter().collect::<Vec<_>>(),
        ["ssh.socket", "sshd.service"]
    );
}

#[test]
fn ssh_servers_answer_where_the_closure_has_them_listen() {
    let closure = Closure::new();
    let servers = || ssh_servers(closure.0.path(), &toplevel());
    assert_eq!(servers(), SshServers::default());
    closure.unit(
        "sshd.service",
        "[Service]\nExecStart=/bin/sshd -D -f /etc/s\n",
    );
    closure.unit(
        "sshd.socket",
        "[Socket]\nListenStream=22\nListenStream=[::1]:23\n",
    );
    let both = SshServers {
        configs: [PathBuf::from(format!("{STORE}-top/etc/s"))].into(),
        streams: vec!["22".to_owned(), "[::1]:23".to_owned()],
    };
    assert_eq!(servers(), both, "nothing starts either");
    let wants = format!("{STORE}-units/sockets.target.wants/sshd.socket");
    closure.link(&wants, "../sshd.socket");
    assert_eq!(servers().configs.len(), 0, "only the socket is started");
    assert_eq!(servers().streams, both.streams);
}

#[test]
fn a_circle_of_links_leads_nowhere() {
    let closure = Closure::new();
    closure.link("/a/b", "../a/c");
    closure.link("/a/c", "/a/b");
    assert_eq!(real_path(closure.0.path(), Path::new("/a/b")), None);
}

#[test]
fn a_unit_that_is_no_regular_file_is_none_and_is_not_waited_for() {
    for unit in [DAEMON_UNIT, "sshd.service"] {
        let closure = Closure::new();
        let target = format!("{STORE}-unit/fifo");
        closure.link(&format!("{STORE}-units/{unit}"), &target);
        make_fifo(&closure.path(&target));
        assert_eq!(unit_texts(closure.0.path(), &toplevel(), unit), None);
    }
}

#[test]
fn a_drop_in_that_is_no_regular_file_is_not_waited_for() {
    let closure = Closure::new();
    closure.unit(DAEMON_UNIT, UNIT);
    make_fifo(&closure.path(&format!("{STORE}-units/{DAEMON_UNIT}.d/10.conf")));
    let texts = unit_texts(closure.0.path(), &toplevel(), DAEMON_UNIT);
    assert_eq!(texts, Some(vec![UNIT.to_owned()]));
}

#[test]
fn a_file_that_is_endless_or_too_long_is_not_read() {
    let host = Path::new("/");
    assert!(read_short(host, Path::new("/dev/zero")).is_err());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("unit");
    for (length, is_read) in [(FILE_LIMIT, true), (FILE_LIMIT + 1, false)] {
        let length = usize::try_from(length).expect("it fits");
        fs::write(&file, "x".repeat(length)).expect("writable");
        assert_eq!(read_short(host, &file).is_ok(), is_read, "{length}");
    }
}

fn make_fifo(path: &Path) {
    let made = mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0);
    made.expect("a FIFO can be made");
}
