//! A container over the shared root file system: an overlay of its own, a link of the world's network, a PID 1.
//!
//! In: what to run as PID 1. Out: a running container that commands can be run in. It knows nothing of systemd or of
//! deployments. Its overlay outlives its processes, so that it can be started again, and goes with the container.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::cgroup;
use super::child::{self, Output};
use super::leftovers;
use super::network::Link;
use super::world::{Ground, mount_memory, poll_until};

/// What a command finds in its environment; nothing of the harness's own goes in.
const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "PATH",
        "/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("USER", "root"),
    ("LANG", "C.UTF-8"),
];

/// What reaches past a container to the machine, first of all its clock. nspawn takes these from PID 1, and so from
/// every unit; a process that enters from outside would bring them along again.
const WITHHELD: &str =
    "--bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm,-mac_admin,-mac_override";

const START_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Container {
    pub(crate) ground: Arc<Ground>,
    pub(crate) link: Link,
    name: String,
    directory: PathBuf,
    running: Option<Child>,
}

impl Container {
    /// Makes its file system and its link; nothing runs yet. The layers come with the uppermost first.
    pub(crate) fn new(ground: &Arc<Ground>, name: &str, layers: &[PathBuf]) -> Self {
        let link = ground.hub.join(&ground.record);
        let directory = ground.memory().join(&link.namespace);
        for part in ["upper", "work", "root"] {
            fs::create_dir_all(directory.join(part)).expect("the world's directory can be written");
        }
        let layers: Vec<String> = layers
            .iter()
            .map(|layer| layer.display().to_string())
            .collect();
        mount_overlay(&layers, &directory);
        let ground = Arc::clone(ground);
        let container = Self {
            ground,
            link,
            name: name.to_owned(),
            directory,
            running: None,
        };
        let machine_id = super::cache::hash(&[container.link.namespace.as_bytes()]);
        container.write("/etc/machine-id", &format!("{machine_id:0<32.32}\n"));
        container.write("/etc/hosts", &format!("127.0.0.1 localhost {name}\n"));
        container
    }

    /// Its root as the machine sees it, running or not; mounts made inside (`/run`, `/tmp`) are not in it.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Where something inside is for the machine; `/run` and `/tmp` are there only while it runs.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        let inside = inside.trim_start_matches('/');
        match self.leader() {
            Some(leader) => Path::new("/proc")
                .join(leader.to_string())
                .join("root")
                .join(inside),
            None => self.root().join(inside),
        }
    }

    /// Replaces a file inside.
    pub(crate) fn write(&self, inside: &str, content: &str) {
        let path = self.root().join(inside.trim_start_matches('/'));
        let directory = path.parent().expect("a file is in a directory");
        fs::create_dir_all(directory).expect("the overlay can be written");
        // A link inside would be followed on the machine.
        let _ = fs::remove_file(&path);
        fs::write(&path, content).expect("the overlay can be written");
    }

    /// Puts a directory on a file system of limited size, which stays when what runs inside ends.
    pub(crate) fn limit_disk(&self, inside: &str, size: &str) {
        assert!(self.running.is_none(), "{} runs already", self.name);
        let directory = self.root().join(inside.trim_start_matches('/'));
        let disk = self
            .directory
            .join(format!("disk{}", inside.replace('/', "-")));
        fs::create_dir_all(&disk).expect("the world's directory can be written");
        mount_memory(&disk, size);
        let content = format!("{}/.", directory.display());
        let (directory, disk) = (directory.display().to_string(), disk.display().to_string());
        child::must("cp", &["--archive", &content, &disk]);
        child::must("mount", &["--bind", &disk, &directory]);
    }

    /// Starts PID 1, or with `beneath_stub` a program below nspawn's own small PID 1.
    pub(crate) fn start(&mut self, program: &[&str], beneath_stub: bool) {
        assert!(self.running.is_none(), "{} runs already", self.name);
        let console = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("console.log"))
            .expect("the world's directory can be written");
        let errors = console
            .try_clone()
            .expect("a second handle of an open file");
        let group = &self.link.namespace;
        self.ground.record.add_container(group);
        let mut nspawn = cgroup::nspawn_in(group);
        nspawn
            // The clock is the machine's. Its network is the host's own; with a namespace made by others nspawn would
            // not give it away, and units inside could have no private network.
            .args([
                "--drop-capability=CAP_SYS_TIME",
                "--capability=CAP_NET_ADMIN",
            ])
            .arg(format!("--directory={}", self.root().display()))
            .arg(format!("--machine={}", self.link.namespace))
            .arg(format!("--hostname={}", self.name))
            .arg(format!(
                "--network-namespace-path=/run/netns/{}",
                self.link.namespace
            ))
            .args(beneath_stub.then_some("--as-pid2"))
            .args(program)
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(errors)
            .process_group(0);
        let nspawn = nspawn.spawn().expect("systemd-nspawn can be run");
        self.ground.record.add_process(nspawn.id());
        self.running = Some(nspawn);
        let name = format!("{} has a PID 1", self.name);
        let ready = poll_until(START_DEADLINE, || {
            self.leader().is_some() || self.has_ended()
        });
        assert!(
            ready && !self.has_ended(),
            "not true in time: {name}\n{}",
            self.console()
        );
    }

    fn has_ended(&self) -> bool {
        self.running.as_ref().is_none_or(|nspawn| {
            let stat =
                fs::read_to_string(format!("/proc/{}/stat", nspawn.id())).unwrap_or_default();
            // Not waited for yet, so it stays as a zombie.
            stat.rsplit_once(')')
                .is_none_or(|(_, rest)| rest.starts_with(" Z"))
        })
    }

    /// What PID 1 and its programs have written.
    pub(crate) fn console(&self) -> String {
        fs::read_to_string(self.directory.join("console.log")).unwrap_or_default()
    }

    /// The kernel's table of routes inside; empty when nothing runs.
    pub(crate) fn routes(&self) -> String {
        // Of PID 1's own network, read from outside: `/proc/net` inside would be that of who reads it.
        let leader = self.leader().unwrap_or_default();
        fs::read_to_string(format!("/proc/{leader}/net/route")).unwrap_or_default()
    }

    /// The machine's id of PID 1.
    pub(crate) fn leader(&self) -> Option<u32> {
        let nspawn = self.running.as_ref()?.id();
        children_of(nspawn)
            .into_iter()
            .find(|child| is_first_of_namespace(*child))
    }

    /// A command inside.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let leader = self
            .leader()
            .unwrap_or_else(|| panic!("{} is not running", self.name));
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={leader}"))
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--"])
            .args(["setpriv", "--inh-caps=-all", WITHHELD, "--"])
            .args(words)
            .current_dir("/")
            .env_clear()
            .envs(ENVIRONMENT);
        command
    }

    /// The line for a shell inside; with the same capabilities as every command gets.
    pub(crate) fn how_to_enter(&self) -> String {
        let leader = self.leader().unwrap_or_default();
        // No login shell: Debian's profile would set another PATH.
        let environment = ENVIRONMENT.map(|(name, value)| format!("{name}={value}"));
        let environment = environment.join(" ");
        format!(
            "nsenter -t {leader} -m -u -i -n -p setpriv --inh-caps=-all {WITHHELD} env {environment} bash"
        )
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        child::run(&mut self.command(words), child::DEADLINE)
    }

    /// Kills everything inside at once, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let leader = self.leader();
        let Some(mut nspawn) = self.running.take() else {
            return;
        };
        if let Some(leader) = leader {
            // At once: to start a program for it takes longer than what is to be interrupted.
            let leader = i32::try_from(leader).ok().and_then(Pid::from_raw);
            let _ = leader.map(|it| kill_process(it, Signal::KILL));
        }
        // nspawn ends when its PID 1 has ended.
        if !poll_until(START_DEADLINE, || matches!(nspawn.try_wait(), Ok(Some(_)))) {
            let _ = nspawn.kill();
            let _ = nspawn.wait();
        }
    }

    /// Waits until PID 1 has ended by itself; false if it has not in time.
    pub(crate) fn wait_for_end(&mut self, deadline: Duration) -> bool {
        let Some(mut nspawn) = self.running.take() else {
            return true;
        };
        let ended = poll_until(deadline, || matches!(nspawn.try_wait(), Ok(Some(_))));
        if !ended {
            self.running = Some(nspawn);
        }
        ended
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
        leftovers::remove_container(&self.link.namespace);
        leftovers::unmount_below(&self.directory);
    }
}

/// Mounts an overlay at `directory/root`.
pub(crate) fn mount_overlay(layers: &[String], directory: &Path) {
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        layers.join(":"),
        directory.join("upper").display(),
        directory.join("work").display()
    );
    let root = directory.join("root").display().to_string();
    child::must(
        "mount",
        &["-t", "overlay", "overlay", "-o", &options, &root],
    );
}

fn children_of(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect()
}

/// Whether a process is PID 1 of a namespace below ours.
fn is_first_of_namespace(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| {
        let ids: Vec<&str> = ids.split_whitespace().collect();
        ids.len() > 1 && ids.last() == Some(&"1")
    })
}
