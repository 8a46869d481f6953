//! Another daemon that is measured beside ours: `--peer PROGRAM`.
//!
//! In: a program, usually a few lines of shell around the daemon in question (`peers/git-fetch` is one around git). Out: the
//! same figures.
//!
//! It is started as `PROGRAM URL DIRECTORY` as root on this machine, in the network of a host, and has to follow the branch
//! `main` of URL (http): to ask once a second, to keep all that it keeps below DIRECTORY, which is empty, and to print a line
//! on standard output for each new commit, the first one too, once it has it. It is killed, with all its children.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::group::Group;
use crate::proxy::now;
use crate::scene::{DEADLINE, Scene};
use crate::testbed::cgroup;
use crate::testbed::network::Address;

/// A program that stands for another daemon.
#[derive(Clone, Debug)]
pub struct Peer(PathBuf);

/// One that runs; ends with this.
pub struct Running {
    child: Child,
    group: Group,
    group_name: String,
    /// When each line came, in microseconds of the wall clock.
    lines: Receiver<u64>,
    directory: PathBuf,
}

impl Peer {
    /// The one at a path.
    pub fn at(program: &Path) -> Self {
        let program = std::fs::canonicalize(program);
        Self(program.expect("--peer names a program that is there"))
    }

    /// As it is called.
    pub fn name(&self) -> String {
        let name = self.0.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Has it follow a repository.
    pub fn start(&self, scene: &Scene, repository: &str) -> Running {
        let directory = scene.world.directory().join("peer");
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("the world's directory can be written");
        let url = format!("http://{}/git/{repository}.git", Address::HUB);
        let program = self.0.display().to_string();
        let (mut command, group, group_name) =
            scene.in_network(&[&program, &url, &directory.display().to_string()]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer can be started");
        scene.world.adopt(child.id());
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for _ in output.lines().map_while(Result::ok) {
                // Nobody may listen any more.
                let _ = sender.send(now());
            }
        });
        Running {
            child,
            group,
            group_name,
            lines,
            directory,
        }
    }
}

impl Running {
    /// Waits until it has a new commit, and says when it said so.
    pub fn wait_for_commit(&self) -> u64 {
        let line = self.lines.recv_timeout(DEADLINE);
        line.expect("the peer says that it has a commit")
    }

    /// All of its processes.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Where it keeps what it keeps.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        cgroup::remove(&self.group_name);
        let _ = self.child.wait();
    }
}
