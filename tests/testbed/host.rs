//! A host: systemd as PID 1 over the root file system and its first generation.
//!
//! In: what a scenario does to it. Out: what can be seen of it. It comes up in the system of its default boot entry,
//! whichever way it went down. When the scenario fails, its journal is kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::cache;
use super::child::{self, Output};
use super::container::Container;
use super::generation::Generation;
use super::layer::Layer;
use super::network::Address;
use super::world::{Ground, poll_until, wait_until};

/// A boot takes a second; on a busy machine with several at once, a few.
const BOOT_DEADLINE: Duration = Duration::from_secs(60);
const STATE: &str = "/var/lib/testbed";

/// A host of a world. Every host is called `host`: so all of them share one first generation.
pub struct Host {
    pub(super) container: Container,
    flakes: AtomicU32,
    layer: Layer,
}

impl Host {
    pub(crate) fn new(ground: &Arc<Ground>, layer: &Layer) -> Self {
        let container = Container::new(ground, "host", &layer.stack());
        // Outside of the closure, so that equal generations of two hosts are one system.
        container.write(&format!("{STATE}/network"), &container.link.to_shell());
        Self {
            container,
            flakes: AtomicU32::new(0),
            layer: layer.clone(),
        }
    }

    /// Starts the host and waits until it is up.
    pub fn start(&mut self) {
        self.container.start(&["/opt/mini/boot-loader"], false);
        self.wait_until_up();
    }

    #[track_caller]
    fn wait_until_up(&self) {
        let up = poll_until(BOOT_DEADLINE, || {
            self.container.leader().is_some() && matches!(&*self.state(), "running" | "degraded")
        });
        assert!(
            up,
            "the host is not up in time\n{}",
            self.container.console()
        );
    }

    /// What systemd says of the whole: `running`, `degraded`, `starting`, ...
    pub fn state(&self) -> String {
        self.run(&["systemctl", "is-system-running"])
            .stdout
            .trim()
            .to_owned()
    }

    /// Runs a command on the host as root.
    pub fn run(&self, words: &[&str]) -> Output {
        self.container.run(words)
    }

    /// Runs a line of shell on the host as root.
    pub fn shell(&self, line: &str) -> Output {
        self.run(&["sh", "-c", line])
    }

    /// A command on the host that the scenario runs in its own way.
    pub fn command(&self, words: &[&str]) -> Command {
        self.container.command(words)
    }

    /// The line that brings an operator of the machine inside.
    pub fn how_to_enter(&self) -> String {
        self.container.how_to_enter()
    }

    /// The host's address in its world.
    pub fn address(&self) -> Address {
        self.container.link.address
    }

    /// Has the host reboot; returns when it is up in its default boot entry.
    #[track_caller]
    pub fn reboot(&mut self) {
        // The answer may not come any more.
        let _ = self.run(&["systemctl", "--no-block", "reboot"]);
        self.wait_for_reboot();
    }

    /// Waits until the host has gone down by itself and is up again.
    #[track_caller]
    pub fn wait_for_reboot(&mut self) {
        let down = self.container.wait_for_end(BOOT_DEADLINE);
        assert!(
            down,
            "the host does not go down\n{}",
            self.container.console()
        );
        self.start();
    }

    /// Kills everything on the host at once, as a loss of power would; it stays down.
    pub fn kill_all(&mut self) {
        self.container.kill();
    }

    /// Has the host power itself off, and waits for it.
    #[track_caller]
    pub fn power_off(&mut self) {
        let _ = self.run(&["systemctl", "--no-block", "poweroff"]);
        let off = self.container.wait_for_end(BOOT_DEADLINE);
        assert!(
            off,
            "the host does not go down\n{}",
            self.container.console()
        );
    }

    /// Takes the host off the network.
    pub fn cut_link(&self) {
        self.container.link.cut();
    }

    /// Brings the host back to the network.
    pub fn join_link(&self) {
        self.container.link.join();
    }

    /// Sends a signal (`KILL`, `STOP`, ...) to the daemon's main process.
    pub fn signal_daemon(&self, signal: &str) {
        let signal = format!("--signal={signal}");
        let unit = "deploy-flake.service";
        self.run(&["systemctl", "kill", "--kill-whom=main", &signal, unit])
            .must_succeed();
    }

    /// Reads the daemon's snapshot; null while there is none.
    pub fn status(&self) -> Value {
        let text = fs::read(self.path("/run/deploy-flake/status.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }

    /// Waits for something to be true of the snapshot, and returns the one of which it was: the next may be another.
    #[track_caller]
    pub fn wait_for_status(
        &self,
        description: &str,
        deadline: Duration,
        is_true: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut status = Value::Null;
        let seen = poll_until(deadline, || {
            status = self.status();
            is_true(&status)
        });
        assert!(
            seen,
            "not true within {deadline:?}: {description}\nstatus: {status:#}"
        );
        status
    }

    /// Waits for something to be true of the host.
    #[track_caller]
    pub fn wait_until(
        &self,
        description: &str,
        deadline: Duration,
        is_true: impl Fn(&Self) -> bool,
    ) {
        wait_until(description, deadline, || is_true(self));
    }

    /// Reads the journal of all boots, with arguments of `journalctl` as filter.
    pub fn journal(&self, filter: &[&str]) -> Vec<Value> {
        self.run(&["journalctl", "--sync"]).must_succeed();
        let read = [
            "journalctl",
            "--no-pager",
            "--quiet",
            "--all",
            "--output=json",
        ];
        let output = self.run(&[&read, filter].concat());
        let lines = output.must_succeed().stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("journalctl writes JSON"))
            .collect()
    }

    /// The name of the host's network namespace, and of the control group that all of its own are below.
    pub fn name(&self) -> &str {
        &self.container.link.namespace
    }

    /// Where something on the host is for the machine.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.container.path(inside)
    }
}

/// What a host has beside its systems.
impl Host {
    /// Whether there is a way out, as the kernel has it.
    pub fn has_default_route(&self) -> bool {
        // Interface, destination, gateway, flags, ..., with the mask in the eighth column.
        self.container.routes().lines().any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns.get(1) == Some(&"00000000") && columns.get(7) == Some(&"00000000")
        })
    }

    /// Puts a directory on a disk of its own that holds so much (`64m`) and no more, with all that is there. It is a
    /// disk: it outlives reboots and losses of power. For a host that has not been started yet.
    pub fn limit_disk(&self, directory: &str, size: &str) {
        self.container.limit_disk(directory, size);
    }
}

/// The systems of a host, and what its hooks have done.
impl Host {
    /// The system that runs.
    pub fn running_system(&self) -> String {
        self.target("/run/current-system")
    }

    /// The system that was booted.
    pub fn booted_system(&self) -> String {
        self.target("/run/booted-system")
    }

    /// The system of the profile.
    pub fn profile(&self) -> String {
        self.target(&format!(
            "/nix/var/nix/profiles/{}",
            self.target("/nix/var/nix/profiles/system")
        ))
    }

    fn target(&self, link: &str) -> String {
        let target = fs::read_link(self.path(link)).unwrap_or_default();
        target.display().to_string()
    }

    /// The id of the default boot entry, as `loader.conf` has it.
    pub fn default_entry(&self) -> String {
        let text = fs::read_to_string(self.path("/boot/loader/loader.conf")).unwrap_or_default();
        let default = text.lines().find_map(|line| line.strip_prefix("default "));
        default.unwrap_or_default().to_owned()
    }

    /// The system that the default boot entry starts.
    pub fn default_system(&self) -> String {
        let entry = self.path("/boot/loader/entries").join(self.default_entry());
        let text = fs::read_to_string(entry).unwrap_or_default();
        let init = text
            .split_whitespace()
            .find_map(|word| word.strip_prefix("init="));
        init.unwrap_or_default()
            .trim_end_matches("/init")
            .to_owned()
    }

    /// Builds a generation by hand, as an operator would, and returns its toplevel.
    #[track_caller]
    pub fn build(&self, generation: &Generation) -> String {
        let number = self.flakes.fetch_add(1, Ordering::Relaxed);
        let directory = format!("/srv/by-hand-{number}");
        for (path, text) in self.layer.flake(&generation.to_json()) {
            self.container.write(&format!("{directory}/{path}"), &text);
        }
        let toplevel =
            format!("path:{directory}#nixosConfigurations.host.config.system.build.toplevel");
        let output = self.run(&["nix", "build", "--no-link", "--print-out-paths", &toplevel]);
        output.text().to_owned()
    }

    /// What the hooks have done, in order: one line `HOOK WORDS...` each.
    pub fn tally(&self) -> Vec<String> {
        let tally = fs::read_to_string(self.path(&format!("{STATE}/tally"))).unwrap_or_default();
        tally.lines().map(str::to_owned).collect()
    }

    /// How many lines of the tally start with a hook's name and words.
    pub fn tally_of(&self, start: &str) -> usize {
        self.tally()
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }

    /// Makes a hook wait when it is reached, until the gate is opened.
    pub fn close_gate(&self, hook: &str) {
        fs::write(self.path(&format!("{STATE}/gates/{hook}.closed")), "").expect("a running host");
    }

    /// Lets a waiting hook go on.
    pub fn open_gate(&self, hook: &str) {
        // It may not have been closed.
        let _ = fs::remove_file(self.path(&format!("{STATE}/gates/{hook}.closed")));
    }

    /// Waits until a hook stands at its closed gate.
    #[track_caller]
    pub fn wait_for_gate(&self, hook: &str, deadline: Duration) {
        let reached = self.path(&format!("{STATE}/gates/{hook}.reached"));
        wait_until(&format!("{hook} stands at its gate"), deadline, || {
            reached.exists()
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep_journal();
        }
    }
}

impl Host {
    /// Writes the journal and the console of a failed scenario's host where they can be read, and says where.
    fn keep_journal(&self) {
        if self.container.leader().is_some() {
            drop(self.run(&["journalctl", "--sync"]));
        }
        let root = self.container.root().display().to_string();
        let mut command = Command::new("chroot");
        command.args([
            &*root,
            "journalctl",
            "--directory=/var/log/journal",
            "--no-pager",
        ]);
        let journal = child::run(command.args(["--output=short-precise"]), child::DEADLINE);
        let name = format!(
            "{}-{}.journal",
            self.container.ground.scenario,
            self.address()
        );
        let path: PathBuf = Path::new(&cache::logs()).join(name);
        let tally = self.tally().join("\n");
        let console = self.container.console();
        let text = format!(
            "{}\n-- tally\n{tally}\n-- console\n{console}",
            journal.stdout
        );
        match fs::write(&path, text) {
            Ok(()) => eprintln!("the host's journal: {}", path.display()),
            Err(error) => eprintln!("the host's journal cannot be kept: {error}"),
        }
    }
}
