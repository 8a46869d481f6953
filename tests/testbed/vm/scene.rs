//! A host in a virtual machine that follows a repository, and whose power fails.
//!
//! In: points of a deployment. Out: what became of it, or a panic that says which promise was broken.

use std::time::Duration;

use deploy_flake::report::milestones;
use serde_json::Value;

use super::disk::{Disk, KERNEL_PARAMS};
use super::invariants::{Expected, Seen};
use super::machine::{EMULATED, Machine, accelerator};
use super::points::{Boots, Point};
use crate::testbed::generation::Generation;
use crate::testbed::network::Address;
use crate::testbed::repository::CommitId;
use crate::testbed::world::World;

/// For a whole deployment, which takes a minute in emulation.
const DEADLINE: Duration = Duration::from_secs(600);

/// For a look at every byte of a mirror or a store.
const VERIFIED: Duration = Duration::from_secs(300);

/// Within so many seconds after `multi-user.target` a host has to be as its repository says, also after a cut. Most of
/// that is one more deployment, for which an emulated processor takes several times as long.
const CONVERGED: f64 = 120.0;
const CONVERGED_IN_EMULATION: f64 = 480.0;

const MIRROR: &str = "/var/cache/deploy-flake/mirror";

/// A word that was written when the power was cut, and not synced.
const UNSYNCED: &str = "/var/lib/testbed/unsynced";

/// What a point came to.
pub(crate) struct Course {
    /// The phase in which the next daemon found the deployment.
    pub(crate) phase: String,
    /// Seconds from power-on to `multi-user.target`.
    pub(crate) boot: f64,
    /// Seconds from there until the host is as its repository says.
    pub(crate) converged: f64,
    /// What became of the mirror.
    pub(crate) mirror: &'static str,
}

/// A machine, its disk and the world it is in.
pub(crate) struct Scene {
    // It ends before its disk goes.
    machine: Option<Machine>,
    disk: Disk,
    world: World,
    accelerator: &'static str,
    number: u32,
}

impl Scene {
    /// Makes the disk and switches the power on.
    pub(crate) fn new() -> Self {
        let world = World::starting_with(of_machine(Generation::first()));
        let mut disk = Disk::of(&world, &world.host());
        let accelerator = accelerator();
        println!("virtual machine: {accelerator}");
        let machine = Machine::boot(&world, &mut disk, accelerator);
        Self {
            machine: Some(machine),
            disk,
            world,
            accelerator,
            number: 0,
        }
    }

    pub(crate) fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("the power is on")
    }

    /// Has the first commit looked at, which is there already.
    pub(crate) fn settles(&mut self) -> Course {
        let converged = |status: &Value| status["condition"]["state"] == "converged";
        let machine = self.machine();
        machine.wait_for_status("the first commit is there", DEADLINE, converged);
        let boot = machine.boot.as_secs_f64();
        let seconds = machine.since_multi_user();
        Course {
            phase: "resting".into(),
            boot,
            converged: seconds,
            mirror: self.mirror(),
        }
    }

    /// Has the next commit deployed, and the power cut at a point of that.
    pub(crate) fn cut_off(&mut self, point: &Point) -> Course {
        let [old, ..] = self.machine().systems();
        if let Some(gate) = point.gate() {
            self.machine().must(&format!(": > {gate}"), DEADLINE);
        }
        let commit = self.publish();
        let (file, pattern) = point.sign();
        self.machine().wait_for(&file, pattern, DEADLINE);
        if point.is_held() {
            let word = format!("echo word > {UNSYNCED}");
            self.machine().must(&word, DEADLINE);
        }
        self.cut();

        let booted = self.machine().booted();
        if point.is_held() {
            let lost = self.machine().run(&format!("cat {UNSYNCED}"));
            assert!(!lost.starts_with("word"), "that was no cut of the power");
        }
        let tests = self.tests();
        let id = self.deployed(&commit);
        let machine = self.machine();
        let converged = machine.since_multi_user();
        let [new, ..] = machine.systems();
        let expected = if point.boots == Boots::New {
            &new
        } else {
            &old
        };
        assert_eq!(booted, *expected, "the entry that stood");
        let counted = &machine.ledger()["last"]["deployment"]["interruptions"];
        assert_eq!(*counted, u32::from(point.boots == Boots::OldTried));
        let phase = self.interrupted(&id);
        let again = self.tests() - tests;
        assert_eq!(again, usize::from(point.boots != Boots::New), "{phase}");
        self.holds(&old, &new, Expected::New);
        let bound = match self.accelerator {
            EMULATED => CONVERGED_IN_EMULATION,
            _ => CONVERGED,
        };
        assert!(converged < bound, "converged after {converged} s");
        Course {
            phase,
            boot: self.machine().boot.as_secs_f64(),
            converged,
            mirror: self.mirror(),
        }
    }

    /// Has a commit deployed whose unit takes more memory than it may have.
    pub(crate) fn eats_memory(&mut self) {
        let [old, ..] = self.machine().systems();
        let bad = self.next().wanted_unit("eater.service", EATER);
        let commit = self.world.server().repository().publish(&bad);
        let status = self.ended(&commit);
        let last = &status["last"];
        assert_eq!(last["outcome"], "rolled-back", "{status:#}");
        let died = "journalctl --no-pager --unit=eater.service --grep=oom-kill";
        let died = self.machine().run(died);
        assert!(died.contains("oom-kill"), "of too much memory: {died}");
        let new = status["desired"]["toplevel"].as_str().unwrap_or_default();
        self.holds(&old, new, Expected::Old);
        let commit = self.publish();
        self.deployed(&commit);
    }

    /// Keeps what can be read of a machine that broke a promise.
    pub(crate) fn keep_journal(&mut self) {
        match &mut self.machine {
            Some(machine) => machine.keep_journal(),
            None => eprintln!("the power is off"),
        }
    }

    /// Cuts the power and switches it on again.
    fn cut(&mut self) {
        self.machine.take().expect("the power is on").cut();
        let machine = Machine::boot(&self.world, &mut self.disk, self.accelerator);
        self.machine = Some(machine);
    }

    fn next(&mut self) -> Generation {
        self.number += 1;
        let label = format!("n{}", self.number);
        let next = of_machine(Generation::new(&label)).with("selfCheck", "true");
        next.one_shot("web.service", &format!("true {label}"))
    }

    fn publish(&mut self) -> CommitId {
        let next = self.next();
        self.world.server().repository().publish(&next)
    }

    /// Waits until the daemon rests after this commit, however it ended.
    fn ended(&mut self, commit: &CommitId) -> Value {
        let ended = |status: &Value| {
            status["last"]["commit"] == commit.0 && status["phase"]["name"] == "resting"
        };
        self.machine()
            .wait_for_status(&format!("{commit} has ended"), DEADLINE, ended)
    }

    /// Waits until the commit is deployed; returns the deployment's id.
    fn deployed(&mut self, commit: &CommitId) -> String {
        let status = self.ended(commit);
        assert_eq!(status["last"]["outcome"], "deployed", "{status:#}");
        assert_eq!(status["condition"]["state"], "converged", "{status:#}");
        let id = status["last"]["deployment"].as_str();
        id.expect("a deployment has an id").to_owned()
    }

    /// How often systems were tested, as far as the disk still knows.
    fn tests(&mut self) -> usize {
        let count = "grep -c '^switch-to-configuration-test ' /var/lib/testbed/tally";
        self.machine().run(count).parse().unwrap_or(0)
    }

    /// The phase in which a daemon found a deployment that the power was taken from.
    fn interrupted(&mut self, id: &str) -> String {
        let line = format!(
            "journalctl --quiet --output=cat --output-fields=DF_PHASE MESSAGE_ID={} \
             DF_DEPLOYMENT={id}",
            milestones::INTERRUPTED
        );
        self.machine().run(&line).replace('\n', ", ")
    }

    /// What holds at rest, and that not a byte of what runs was lost.
    fn holds(&mut self, old: &str, new: &str, expected: Expected) {
        let before = self.acts_after_looks(1);
        let after = self.acts_after_looks(2);
        let retries = 0;
        let seen = Seen {
            acts: [before, after],
            systems: self.machine().systems(),
            status: self.machine().status(),
            answers_ssh: Machine::answers_ssh(&self.world),
            retries,
        };
        let broken = seen.broken(old, new, expected);
        assert!(broken.is_empty(), "{broken:#?}\n{seen:#?}");
        let machine = self.machine();
        machine.wait_until("the system is well", DEADLINE, |machine| {
            machine.run("systemctl is-system-running") == "running"
        });
        let verify = "nix-store --verify-path $(nix-store --query --requisites \
                      /nix/var/nix/profiles/system /run/booted-system)";
        machine.must(verify, VERIFIED);
    }

    /// What was done to the host when the daemon has looked so many times more.
    fn acts_after_looks(&mut self, more: u64) -> Vec<String> {
        let machine = self.machine();
        let before = machine.status()["looks"]["finished"].as_u64().unwrap_or(0);
        machine.wait_for_status("the daemon looks again", DEADLINE, |status| {
            status["looks"]["finished"].as_u64() >= Some(before + more)
        });
        let acts = "grep -E '^(switch-to-configuration-|activate |boot-loader )' \
                    /var/lib/testbed/tally";
        machine.run(acts).lines().map(str::to_owned).collect()
    }

    /// What is left of the mirror; where it is damaged, the next commit has to have it made anew.
    fn mirror(&mut self) -> &'static str {
        let line = format!("git -c safe.directory='*' -C {MIRROR} fsck --full --strict");
        if self.is_well(&line) {
            return "clean";
        }
        let commit = self.publish();
        self.deployed(&commit);
        self.machine().must(&line, VERIFIED);
        "damaged, and made anew by the next commit"
    }

    fn is_well(&mut self, line: &str) -> bool {
        let said = self.machine().run(&format!("{line} && echo well"));
        let is_well = said.ends_with("well");
        if !is_well {
            eprintln!("{line}: {said}");
        }
        is_well
    }
}

/// Of a generation for a container, one for a machine: a kernel is told where its root is, and time is slower.
fn of_machine(generation: Generation) -> Generation {
    let configuration = format!(
        "[[remote]]\nurl = \"git://{}/infrastructure.git\"\npoll_interval = \"2s\"\n\
         [health]\nconfirm_window = \"10s\"\nprobe_deadline = \"2m\"\n",
        Address::FIRST
    );
    generation
        .daemon_config(&configuration)
        .with("kernelParams", KERNEL_PARAMS.map(str::to_owned).to_vec())
}

/// What may take so much memory and takes more; a container has no memory controller that would mind.
const EATER: &str = "\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/perl -e 'my @held; push @held, \"x\" x 1000000 while 1'
MemoryMax=64M
Restart=always
RestartSec=200ms
";
