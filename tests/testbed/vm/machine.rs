//! A virtual machine whose power is on: firmware, systemd-boot, kernel, the init of a system.
//!
//! In: a disk. Out: what can be seen of the host that runs there. Dropping it is a cut of the power: QEMU is killed, and
//! nothing inside gets to know.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::agent::Agent;
use super::disk::Disk;
use super::root;
use crate::testbed::world::{World, poll_until};
use crate::testbed::{cache, child};

/// A boot takes a minute in emulation; a busy machine needs several.
const BOOT_DEADLINE: Duration = Duration::from_secs(600);

/// A command inside takes a second.
const SOON: Duration = Duration::from_secs(90);

/// How long a guest may take that does nothing but end; where it takes longer, /dev/kvm is not what it says.
const KVM_DEADLINE: Duration = Duration::from_secs(20);

/// The host's sshd, seen from the world's namespace.
const SSH: (&str, u16) = ("127.0.0.1", 2222);

const STATUS: &str = "/run/deploy-flake/status.json";

/// A machine that is on.
pub(crate) struct Machine {
    qemu: Child,
    agent: Agent,
    /// From power-on to `multi-user.target`.
    pub(crate) boot: Duration,
}

impl Machine {
    /// Switches the power on and returns when the host has reached `multi-user.target`.
    pub(crate) fn boot(world: &World, disk: &mut Disk, accelerator: &str) -> Self {
        let began = Instant::now();
        let qemu = start(world, disk, accelerator);
        world.adopt(qemu.id());
        let said = |name| fs::read_to_string(disk.directory.join(name)).unwrap_or_default();
        let Some(agent) = Agent::connect(&disk.directory.join("agent")) else {
            panic!("QEMU offers no serial port\n{}", said("qemu.log"));
        };
        let mut machine = Self {
            qemu,
            agent,
            boot: Duration::ZERO,
        };
        if let Err(error) = machine.agent.wait_until_ready(BOOT_DEADLINE) {
            panic!("the machine does not boot: {error}\n{}", said("console"));
        }
        machine.wait_until("multi-user.target is reached", BOOT_DEADLINE, |machine| {
            machine.run("systemctl is-active multi-user.target") == "active"
        });
        machine.boot = began.elapsed();
        machine
    }

    /// Cuts the power.
    pub(crate) fn cut(self) {
        drop(self);
    }

    /// Runs a line of shell as root, whatever it comes to, and returns what it said.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let answer = self.agent.run(line, SOON);
        let answer = answer.unwrap_or_else(|error| panic!("no answer to {line}: {error}"));
        answer.text.trim_end().to_owned()
    }

    /// Runs a line of shell as root that has to succeed.
    pub(crate) fn must(&mut self, line: &str, deadline: Duration) -> String {
        let answer = self.agent.run(line, deadline);
        let answer = answer.unwrap_or_else(|error| panic!("no answer to {line}: {error}"));
        assert_eq!(answer.code, 0, "{line}: {}", answer.text);
        answer.text.trim_end().to_owned()
    }

    /// Waits, as tightly as can be, until a file inside is there and matches.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, file: &str, pattern: &str, deadline: Duration) {
        let seen = self.agent.wait_for(file, pattern, deadline);
        if !seen.is_ok_and(|seen| seen) {
            let status = self.run(&format!("cat {STATUS}"));
            panic!("{file} does not match {pattern} within {deadline:?}\n{status}");
        }
    }

    /// Waits for something to be true of the host.
    #[track_caller]
    pub(crate) fn wait_until(
        &mut self,
        description: &str,
        deadline: Duration,
        mut is_true: impl FnMut(&mut Self) -> bool,
    ) {
        let seen = poll_until(deadline, || is_true(self));
        assert!(seen, "not true within {deadline:?}: {description}");
    }

    /// The daemon's snapshot; null while there is none.
    pub(crate) fn status(&mut self) -> Value {
        let text = self.run(&format!("cat {STATUS}"));
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Waits for something to be true of the snapshot, and returns the one of which it was.
    #[track_caller]
    pub(crate) fn wait_for_status(
        &mut self,
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
            "not true within {deadline:?}: {description}\n{status:#}"
        );
        status
    }

    /// The state in the ledger.
    pub(crate) fn ledger(&mut self) -> Value {
        let text = self.run("tail -n +2 /var/lib/deploy-flake/ledger");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The system that was booted.
    pub(crate) fn booted(&mut self) -> String {
        self.run("readlink /run/booted-system")
    }

    /// What runs, what the profile is, and what the default entry starts.
    pub(crate) fn systems(&mut self) -> [String; 3] {
        [
            "readlink /run/current-system",
            "readlink -f /nix/var/nix/profiles/system",
            "cd /boot/loader && sed -n 's|^options init=\\([^ ]*\\)/init .*|\\1|p' \
             entries/$(sed -n 's/^default //p' loader.conf)",
        ]
        .map(|line| self.run(line))
    }

    /// For how long `multi-user.target` has been reached.
    pub(crate) fn since_multi_user(&mut self) -> f64 {
        let reached = "systemctl show -P ActiveEnterTimestampMonotonic multi-user.target";
        let reached: f64 = self.run(reached).parse().expect("microseconds");
        let uptime = self.run("cut -d ' ' -f 1 /proc/uptime");
        let uptime: f64 = uptime.parse().expect("seconds");
        uptime - reached / 1e6
    }

    /// Whether an operator can log in over the network.
    pub(crate) fn answers_ssh(world: &World) -> bool {
        let (host, port) = SSH;
        // Keys are exchanged slowly in emulation, and ssh itself gives up soon.
        poll_until(SOON, || world.ssh(host, port, &["true"]).code == Some(0))
    }

    /// Keeps the journal where it can be read, and says where.
    pub(crate) fn keep_journal(&mut self) {
        let path = cache::logs().join("vm.journal");
        let line = "journalctl --no-pager --output=short-monotonic --lines=4000";
        let journal = match self.agent.run(line, SOON) {
            Ok(answer) => answer.text,
            Err(error) => format!("the machine does not answer: {error}"),
        };
        match fs::write(&path, journal) {
            Ok(()) => eprintln!("the host's journal: {}", path.display()),
            Err(error) => eprintln!("the host's journal cannot be kept: {error}"),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only if it has just ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Starts QEMU in the world's namespace: what the host asks for beyond its own network is asked from there.
fn start(world: &World, disk: &mut Disk, accelerator: &str) -> Child {
    let layer = disk.add_layer();
    // It is that of the machine before.
    let _ = fs::remove_file(disk.directory.join("agent"));
    let (address, port) = SSH;
    let drive = format!("if=virtio,format=qcow2,cache=writeback,file=/mnt/disk/{layer}");
    let network = format!("user,id=network,hostfwd=tcp:{address}:{port}-:22");
    // Should this program be killed, the machine ends with it.
    let before = [
        "setpriv",
        "--pdeathsig=KILL",
        "ip",
        "netns",
        "exec",
        world.namespace(),
    ];
    let words: Vec<&str> = ["qemu-system-x86_64", "-machine", "q35", "-nodefaults"]
        .into_iter()
        .chain(["-display", "none", "-m", "1024", "-no-reboot"])
        .chain(accelerator.split(' '))
        .chain(["-drive", FIRMWARE, "-drive", VARIABLES])
        .chain(["-drive", &drive, "-netdev", &network])
        .chain(["-device", "virtio-net-pci,netdev=network,romfile="])
        .chain(["-serial", "file:/mnt/disk/console"])
        .chain(["-serial", "unix:/mnt/disk/agent,server=on,wait=off"])
        .collect();
    let log = File::create(disk.directory.join("qemu.log")).expect("the world's directory");
    let mut command = root::command(&before, &disk.directory, &disk.directory, &words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().expect("setpriv can be run")
}

const FIRMWARE: &str = "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "if=pflash,format=raw,file=/mnt/disk/variables";

/// In software, on two processors, with all that it can emulate.
pub(crate) const EMULATED: &str = "-accel tcg,thread=multi -cpu max -smp 2";
const ACCELERATED: &str = "-accel kvm -cpu host -smp 2";

/// How to run a machine here. /dev/kvm may be there and yet hang every guest: a kernel that only panics tells.
pub(crate) fn accelerator() -> &'static str {
    let probe = "test -c /dev/kvm || exit 1
        exec qemu-system-x86_64 -machine q35 -nodefaults -display none -m 256 -no-reboot -accel kvm \
        -cpu host -kernel /boot/kernel -append 'panic=-1'";
    let nowhere = cache::directory();
    let mut qemu: Command = root::command(&[], &nowhere, &nowhere, &["sh", "-c", probe]);
    match child::run(&mut qemu, KVM_DEADLINE).code {
        Some(0) => ACCELERATED,
        _ => EMULATED,
    }
}
