//! A host that follows one repository after another, and who asks the same beside it.
//!
//! In: which repository, and how it is asked. Out: what daemon, fetcher and the wire say. The host's daemon is the real one, in
//! its real units; between it and the git server is the proxy that counts.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::group::Group;
use crate::proxy::{Proxy, now};
use crate::repositories::{self, BIG, SMALL, Size};
use crate::testbed::cgroup;
use crate::testbed::generation::{Generation, hosts};
use crate::testbed::host::Host;
use crate::testbed::network::Address;
use crate::testbed::world::World;

/// For whatever has to be waited for: the first evaluation of the big repository takes half a minute.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// How often the snapshot is looked at where a moment is measured.
const SAMPLE: Duration = Duration::from_millis(1);

/// The name of the server that is the proxy's, in every host's `/etc/hosts` and in the server's certificate.
const SERVER: &str = "git.test";

/// Where the layer keeps the authority of that certificate, and the key that everybody logs in with.
const AUTHORITY: &str = "/opt/mini/tls/ca.pem";
const KEY: &str = "/opt/mini/operator-key";

/// How a repository is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Http,
    Https,
    Ssh,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Http, Self::Https, Self::Ssh];

    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ssh => "ssh",
        }
    }

    /// The server's port.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Ssh => 22,
        }
    }

    /// Where it is asked.
    pub fn url(self, repository: &str) -> String {
        match self {
            Self::Http | Self::Https => format!("{}://{SERVER}/git/{repository}.git", self.name()),
            Self::Ssh => format!("ssh://root@{SERVER}/srv/git/{repository}.git"),
        }
    }

    fn configuration(self) -> String {
        match self {
            Self::Http => String::new(),
            Self::Https => format!("ca_file = \"{AUTHORITY}\"\n"),
            Self::Ssh => format!("identity_file = \"{KEY}\"\n"),
        }
    }
}

/// The world, with one host.
pub struct Scene {
    // In this order they end.
    pub proxy: Proxy,
    pub host: Host,
    pub world: World,
}

impl Scene {
    /// Makes the repositories and boots the host.
    pub fn new() -> Self {
        let url = Transport::Http.url("infrastructure");
        let first = Generation::without_daemon("first")
            .daemon_config(&configuration(&url, ""))
            .etc("hosts", &hosts(&[(&Address::HUB.to_string(), SERVER)]));
        let mut world = World::starting_with(first.clone());
        let flake = world.flake(&first);
        for (name, size) in [("small", SMALL), ("branches", SMALL), ("big", BIG)] {
            make(&mut world, name, size, &flake);
        }
        repositories::add_branches(&bare(&mut world, "branches"));
        let proxy = Proxy::start(&world);
        let host = world.boot();
        let scene = Self { proxy, host, world };
        let trust = "install -D -m 0600 /opt/mini/operator-key /root/.ssh/id_ed25519";
        scene.host.shell(trust).must_succeed();
        scene
    }

    /// Where a repository is on the server, for the machine.
    pub fn bare(&mut self, name: &str) -> PathBuf {
        bare(&mut self.world, name)
    }

    /// Stops the daemon and its fetcher.
    pub fn stop(&self) {
        let units = ["deploy-flake", "deploy-flake-fetcher"];
        self.host
            .run(&[&["systemctl", "stop"], &units[..]].concat());
    }

    /// Has the daemon forget all that it fetched and did.
    pub fn forget(&self) {
        self.stop();
        let remove = "rm -rf /var/cache/deploy-flake/mirror/.git /var/cache/deploy-flake/mirror/* \
                      /var/lib/deploy-flake/* /run/deploy-flake/*";
        self.host.shell(remove).must_succeed();
    }

    /// Starts the daemon on a repository, which it asks once a second.
    pub fn start(&self, transport: Transport, repository: &str) {
        self.start_with(transport, repository, "poll_interval = \"1s\"\n");
    }

    /// The same with a daemon that asks when it is told to.
    pub fn start_slowly(&self, transport: Transport, repository: &str) {
        self.start_with(transport, repository, "poll_interval = \"1d\"\n");
    }

    /// Starts the daemon with more lines in the table of its remote, and tables after it.
    pub fn start_with(&self, transport: Transport, repository: &str, lines: &str) {
        self.stop();
        let lines = transport.configuration() + lines;
        let text = configuration(&transport.url(repository), &lines);
        let file = "/etc/deploy-flake/config.toml";
        let write = format!("rm -f {file}; cat > {file} <<'END'\n{text}\nEND");
        self.host.shell(&write).must_succeed();
        self.host
            .run(&["systemctl", "start", "deploy-flake"])
            .must_succeed();
    }

    /// Waits until the host is at rest with a commit.
    pub fn settle(&self, commit: &str) {
        self.wait("the host is at rest with the commit", |status| {
            status["desired"]["commit"] == commit
                && status["remote"]["head"] == commit
                && status["condition"]["state"] == "converged"
        });
    }

    /// Waits for something to be true of the snapshot, and says when it was, in microseconds of the wall clock.
    pub fn wait(&self, what: &str, is_true: impl Fn(&Value) -> bool) -> u64 {
        let file = self.host.path("/run/deploy-flake/status.json");
        let give_up_at = Instant::now() + DEADLINE;
        loop {
            let text = fs::read(&file).unwrap_or_default();
            let status = serde_json::from_slice(&text).unwrap_or(Value::Null);
            if is_true(&status) {
                return now();
            }
            assert!(
                Instant::now() < give_up_at,
                "not true in time: {what}\n{status:#}"
            );
            std::thread::sleep(SAMPLE);
        }
    }

    /// The control group of a unit of the host.
    pub fn unit(&self, unit: &str) -> Option<Group> {
        unit_group(self.host.name(), unit)
    }

    /// The daemon's.
    pub fn daemon(&self) -> Group {
        self.unit("deploy-flake.service").expect("the daemon runs")
    }

    /// The fetcher's.
    pub fn fetcher(&self) -> Group {
        self.unit(FETCHER).expect("the fetcher runs")
    }

    /// A shell on the host that runs a line, in a control group of its own.
    pub fn shell_beside(&self, line: &str) -> (Command, Group) {
        let git = format!("export GIT_SSL_CAINFO={AUTHORITY}; {line}");
        self.beside(&self.host.command(&["bash", "-c", &git]))
    }

    /// A command of the machine in the host's network and in a control group of its own.
    /// Returns the group's name, too.
    pub fn in_network(&self, words: &[&str]) -> (Command, Group, String) {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", self.host.name()])
            .args(words);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let (command, group) = self.beside(&command);
        (command, group, self.group_beside())
    }

    fn group_beside(&self) -> String {
        format!("{}-beside", self.host.name())
    }

    fn beside(&self, command: &Command) -> (Command, Group) {
        let name = self.group_beside();
        let group = Group::at(cgroup::directory(&name));
        let mut inside = cgroup::command_in(&name);
        inside
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir("/")
            .env_clear()
            .envs(
                command
                    .get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            );
        (inside, group)
    }
}

/// The fetcher's unit.
pub const FETCHER: &str = "deploy-flake-fetcher.service";

/// The control group of a unit of a host.
pub fn unit_group(host: &str, unit: &str) -> Option<Group> {
    Group::of_unit(&cgroup::directory(host), unit)
}

fn configuration(url: &str, lines: &str) -> String {
    format!("[[remote]]\nurl = \"{url}\"\n{lines}")
}

fn bare(world: &mut World, name: &str) -> PathBuf {
    world.server().path(&format!("/srv/git/{name}.git"))
}

fn make(world: &mut World, name: &str, size: Size, flake: &[(String, String)]) {
    let bare = bare(world, name);
    repositories::make(&bare, size, flake);
}
