//! A host whose daemon dies: what can be done to it, and what the host tells of it afterwards.
//!
//! In: moments. Out: the story of a deployment, as hooks and PID 1 tell it, to compare with that of an undisturbed one.
//! The daemon has no part in it: its ledger is read from outside, and its steps are held by the programs they run.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use deploy_flake::report::milestones;
use rustix::process::setpriority_process;
use serde_json::Value;

use crate::common::{ended_as, nothing_is_left, text};
use crate::dying_process::Process;
use crate::dying_story::{Step, Story};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::network::Address;
use crate::testbed::repository::CommitId;
use crate::testbed::world::{World, wait_until};

/// For anything that takes a few seconds; a busy machine needs more.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// How many commits it may take to meet one phase: the shortest last a few hundredths of a second.
pub(crate) const TRIES: usize = 5;

/// How often a ledger is read whose phase is waited for: several times within the shortest phase.
const TIGHT: Duration = Duration::from_millis(1);

const UNIT: &str = "deploy-flake.service";
pub(crate) const GUARDIAN: &str = "deploy-flake-guardian.service";
const FETCHER: &str = "deploy-flake-fetcher.service";
const LEDGER: &str = "/var/lib/deploy-flake/ledger";
const RECORD: &str = "/var/lib/deploy-flake/rollback.json";
const GATES: &str = "/var/lib/testbed/gates";

/// The programs that steps run and that have no hook of their own.
const PROGRAMS: [&str; 4] = ["git", "nix", "nix-env", "nix-store"];

/// Units that a deployment starts as often as it looks, or has armed anew after a death: they change nothing on the
/// host. What the timer may start, the guardian itself, is not among them.
const MANY_TIMES: [&str; 2] = ["deploy-flake-probe.service", "deploy-flake-guardian.timer"];

/// Stands before such a program: holds a step's unit until the gate of its name is opened. It writes nothing, for
/// most of these units may not.
const WRAPPER: &str = "#!/bin/sh
unit=$(sed -n 's|^0::.*/||p' /proc/self/cgroup)
ticks=1200
while [ -e \"/var/lib/testbed/gates/$unit.closed\" ] && [ $ticks -gt 0 ]; do
    sleep 0.1
    ticks=$((ticks - 1))
done
exec \"/usr/bin/${0##*/}\" \"$@\"
";

/// A host, its world, and the number of the generation that comes next.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) world: World,
    /// A service that every further generation has.
    pub(crate) late_unit: Option<&'static str>,
    configuration: String,
    number: u32,
    seen: RefCell<Seen>,
}

/// What a ledger was asked last: it is looked at a thousand times a second, and written a few times.
#[derive(Default)]
struct Seen {
    /// Inode, and when it became what it is.
    version: Option<(u64, i64, i64)>,
    /// Questions and answers.
    answers: Vec<(String, bool)>,
}

impl Scene {
    /// Boots a host whose steps can all be held, in its first generation.
    pub(crate) fn new() -> Self {
        Self::with("[health]\nconfirm_window = \"1s\"\n")
    }

    /// Boots such a host with more in its daemon's configuration than the remote.
    pub(crate) fn with(configuration: &str) -> Self {
        let configuration = format!(
            "[[remote]]\nurl = \"git://{}/infrastructure.git\"\npoll_interval = \"1s\"\n{configuration}",
            Address::FIRST
        );
        let world = World::starting_with(Generation::first().daemon_config(&configuration));
        let mut host = world.host();
        for program in PROGRAMS {
            let path = host.path("/usr/local/bin").join(program);
            fs::write(&path, WRAPPER).expect("the overlay can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        }
        host.start();
        Self {
            host,
            world,
            late_unit: None,
            configuration,
            number: 0,
            seen: RefCell::default(),
        }
    }

    /// Has a commit deployed with nothing in its way; returns the story of that.
    pub(crate) fn undisturbed(&mut self) -> Story {
        let before = self.host.tally().len();
        let commit = self.publish();
        let id = self.deployed(&commit);
        let story = self.story(&id, before);
        story.has_each_effect_once();
        story
    }

    /// The next generation: it has all checks, and a service that changes with it.
    pub(crate) fn next(&mut self) -> Generation {
        self.number += 1;
        let label = format!("n{}", self.number);
        let next = Generation::new(&label)
            .daemon_config(&self.configuration)
            .with("selfCheck", "true")
            .one_shot("web.service", &format!("true {label}"));
        match self.late_unit {
            Some(text) => next.wanted_unit("late.service", text),
            None => next,
        }
    }

    /// Publishes the next generation.
    pub(crate) fn publish(&mut self) -> CommitId {
        let next = self.next();
        self.world.server().repository().publish(&next)
    }

    /// Publishes the next generation, with a service that fails in its activation.
    pub(crate) fn publish_bad(&mut self) -> CommitId {
        let bad = self.next().one_shot("failing.service", "false");
        self.world.server().repository().publish(&bad)
    }

    /// The daemon's process as it is now.
    pub(crate) fn daemon(&self) -> Process {
        Process::of(&self.host, self.property(UNIT, "MainPID"))
    }

    /// How often a daemon has become ready. (PID 1's own count is lost in every switch.)
    pub(crate) fn starts(&self) -> usize {
        self.count_of(milestones::DAEMON_READY)
    }

    /// How many entries with a message id are in the journal.
    pub(crate) fn count_of(&self, message_id: &str) -> usize {
        self.host
            .journal(&[&format!("MESSAGE_ID={message_id}")])
            .len()
    }

    /// The main process of a unit that runs.
    #[track_caller]
    pub(crate) fn process_of(&self, unit: &str) -> Process {
        Process::of(&self.host, self.property(unit, "MainPID"))
    }

    /// A property of a unit, as `systemctl show` has it; empty while PID 1 cannot be asked.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let shown = self.host.run(&["systemctl", "show", "-P", name, unit]);
        shown.stdout.trim().to_owned()
    }

    /// Waits until the step's unit runs its program, and not still what systemd sets it up with: with its gate closed,
    /// it then is in its middle.
    #[track_caller]
    pub(crate) fn wait_until_held(&self, step: &Step) {
        if step.gate != step.unit {
            return self.host.wait_for_gate(step.gate, SOON);
        }
        wait_until(&format!("{} runs", step.unit), SOON, || {
            self.property(step.unit, "SubState") == "start" && self.is_set_up(step.unit)
        });
    }

    /// Whether a unit's main process runs the unit's program. Until then it is systemd's, root's, and named
    /// `(program)` or after systemd's executor.
    fn is_set_up(&self, unit: &str) -> bool {
        let pid = self.property(unit, "MainPID");
        if pid.is_empty() || pid == "0" {
            return false;
        }
        let name = self.host.run(&["cat", &format!("/proc/{pid}/comm")]);
        let name = name.stdout.trim();
        !name.is_empty()
            && !name.starts_with('(')
            && !name.starts_with("systemd")
            && !name.starts_with("sd-")
    }

    /// Waits until a step's unit has ended and only its result remains.
    #[track_caller]
    pub(crate) fn wait_until_ended(&self, unit: &str) {
        wait_until(&format!("{unit} has ended"), SOON, || {
            matches!(&*self.property(unit, "SubState"), "exited" | "failed")
        });
    }

    /// The state in the ledger, read from outside; null while there is none.
    pub(crate) fn ledger(&self) -> Value {
        read_ledger(&self.host.path(LEDGER))
    }

    /// What the guardian has left behind, if anything.
    pub(crate) fn record(&self) -> Value {
        let text = fs::read(self.host.path(RECORD)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }

    /// Waits, as tightly as can be, until the ledger holds a phase.
    #[track_caller]
    pub(crate) fn wait_for_phase(&self, phase: &str) {
        self.wait_tightly(phase, || self.is_in(phase));
    }

    /// Whether the ledger holds a phase.
    pub(crate) fn is_in(&self, phase: &str) -> bool {
        self.ask_ledger(phase, |ledger| holds(ledger, phase))
    }

    /// Asks each version of the ledger once.
    fn ask_ledger(&self, question: &str, ask: impl Fn(&str) -> bool) -> bool {
        let path = self.host.path(LEDGER);
        let version = |it: fs::Metadata| (it.ino(), it.ctime(), it.ctime_nsec());
        let version = fs::metadata(&path).map(version).ok();
        let mut seen = self.seen.borrow_mut();
        if version.is_none() || seen.version != version {
            *seen = Seen {
                version,
                ..Seen::default()
            };
        }
        if let Some((_, answer)) = seen.answers.iter().find(|(asked, _)| asked == question) {
            return *answer;
        }
        // It may be a later version than the one that is remembered, which is then asked once more.
        let answer = ask(&fs::read_to_string(&path).unwrap_or_default());
        seen.answers.push((question.to_owned(), answer));
        answer
    }

    /// Waits until the ledger holds a phase of the commit's deployment; false: that was over before anybody saw it.
    #[track_caller]
    pub(crate) fn sees_phase(&self, phase: &str, commit: &CommitId) -> bool {
        let is_seen = Cell::new(false);
        self.wait_tightly(phase, || {
            is_seen.set(self.is_in(phase));
            is_seen.get() || self.is_over(commit)
        });
        is_seen.get()
    }

    /// Whether the end of a commit's deployment is in the ledger.
    pub(crate) fn is_over(&self, commit: &CommitId) -> bool {
        self.ask_ledger(&commit.0, |ledger| {
            let candidate = |ledger: &Value| ledger["last"]["deployment"]["candidate"].to_string();
            holds(ledger, "resting") && candidate(&parse_ledger(ledger)).contains(&commit.0)
        })
    }

    /// Waits for something that lasts only an instant.
    #[track_caller]
    pub(crate) fn wait_tightly(&self, description: &str, is_true: impl Fn() -> bool) {
        let _first = Precedence::take();
        let give_up_at = Instant::now() + SOON;
        while !is_true() {
            assert!(Instant::now() < give_up_at, "never seen: {description}");
            thread::sleep(TIGHT);
        }
    }

    /// Waits until a daemon that started later than the given one has taken up a phase.
    #[track_caller]
    pub(crate) fn wait_for_successor(&self, dead: &Process, phase: &str) {
        let resumed = |status: &Value| {
            status["daemon"]["pid"] != dead.inside && status["phase"]["name"] == phase
        };
        self.host
            .wait_for_status(&format!("a new daemon is in {phase}"), SOON, resumed);
    }

    /// Waits until the commit is deployed and the host at rest, and checks all that has to be true then; returns the
    /// deployment's id.
    #[track_caller]
    pub(crate) fn deployed(&self, commit: &CommitId) -> String {
        let ended = |status: &Value| {
            status["last"]["commit"] == commit.0 && status["phase"]["name"] == "resting"
        };
        let status = self
            .host
            .wait_for_status("the commit has an outcome", SOON, ended);
        assert_eq!(status["last"]["outcome"], "deployed", "{status:#}");
        self.is_at_rest(&format!("-nixos-system-host-n{}", self.number));
        assert_eq!(self.host.running_system(), status["desired"]["toplevel"]);
        let id = status["last"]["deployment"].as_str();
        id.expect("a deployment has an id").to_owned()
    }

    /// Waits until the commit has failed in this way and the host is at rest in the system before, and that the failed
    /// one is in quarantine; returns the deployment's id.
    #[track_caller]
    pub(crate) fn led_back(&self, commit: &CommitId, old: &str, outcome: &str) -> String {
        let status = ended_as(&self.host, commit, outcome);
        let failed = status["desired"]["toplevel"].clone();
        let held = status["quarantine"].as_array();
        let is_held = held.is_some_and(|held| held.iter().any(|it| it["toplevel"] == failed));
        assert!(is_held, "{status:#}");
        self.is_at_rest(old);
        text(&status["last"]["deployment"])
    }

    /// Running system, profile and default entry are one, and nothing of ours is left but the fetcher.
    #[track_caller]
    pub(crate) fn is_at_rest(&self, system: &str) {
        let running = self.host.running_system();
        assert!(running.ends_with(system), "{running} runs, not {system}");
        assert_eq!(self.host.profile(), running, "the profile");
        assert_eq!(self.host.default_system(), running, "the default entry");
        assert_eq!(self.ledger()["phase"]["name"], "resting");
        // The last unit is let go after the end is in the ledger.
        nothing_is_left(&self.host);
        let is_there = |_: &Host| !self.property(FETCHER, "MainPID").is_empty();
        self.host.wait_until("there is a fetcher", SOON, is_there);
        let running = |host: &Host| host.state() == "running";
        self.host.wait_until("the system is well", SOON, running);
    }

    /// What hooks and PID 1 tell of a deployment; `before`: how long the tally was.
    pub(crate) fn story(&self, id: &str, before: usize) -> Story {
        let system = self.host.running_system();
        let asked_for = self.ledger()["last"]["toplevel"].clone();
        // The same as what runs, unless it failed.
        let asked_for = asked_for.as_str().unwrap_or("nothing").to_owned();
        let tally = self.host.tally().split_off(before);
        let entries = self.host.journal(&["_PID=1", "SYSLOG_IDENTIFIER=systemd"]);
        let messages = entries
            .iter()
            .filter(|entry| !MANY_TIMES.iter().any(|unit| entry["UNIT"] == *unit))
            .filter_map(|entry| entry["MESSAGE"].as_str());
        let is_told = |message: &&str| {
            let told = ["Starting ", "Finished ", "Failed "];
            message.contains(id) && told.iter().any(|start| message.starts_with(start))
        };
        let steps = messages
            .filter(is_told)
            .map(|message| message.replace(id, "ID"));
        Story {
            hooks: tally
                .iter()
                .map(|line| line.replace(&system, "SYSTEM"))
                .map(|line| line.replace(&asked_for, "FAILED"))
                .collect(),
            steps: steps.collect(),
        }
    }

    /// The phases in which daemons have taken up a deployment.
    pub(crate) fn resumed(&self, id: &str) -> Vec<String> {
        let entries = self.milestones(milestones::RESUMED, id);
        let phases = entries
            .iter()
            .filter_map(|entry| entry["DF_PHASE"].as_str());
        phases.map(str::to_owned).collect()
    }

    /// A deployment's journal entries with a message id.
    pub(crate) fn milestones(&self, message_id: &str, id: &str) -> Vec<Value> {
        self.host.journal(&[
            &format!("MESSAGE_ID={message_id}"),
            &format!("DF_DEPLOYMENT={id}"),
        ])
    }

    /// Closes the gate of a step.
    pub(crate) fn close(&self, step: &Step) {
        self.host.close_gate(step.gate);
    }

    /// Opens it, and forgets that somebody stood there: whoever was killed at it did not say goodbye.
    pub(crate) fn open(&self, step: &Step) {
        self.host.open_gate(step.gate);
        // Nobody may have stood there.
        let _ = fs::remove_file(self.host.path(GATES).join(format!("{}.reached", step.gate)));
    }
}

/// This thread runs before those of all hosts, until it is dropped: it only looks, and a moment is gone in milliseconds.
struct Precedence;

impl Precedence {
    fn take() -> Self {
        // Without it a moment is missed now and then.
        let _ = setpriority_process(None, -19);
        Self
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        let _ = setpriority_process(None, 0);
    }
}

/// Looked for as text first: to parse all of it takes longer than the shortest phase lasts.
fn holds(ledger: &str, phase: &str) -> bool {
    ledger.contains(&format!("\"{phase}\"")) && parse_ledger(ledger)["phase"]["name"] == phase
}

fn read_ledger(path: &Path) -> Value {
    parse_ledger(&fs::read_to_string(path).unwrap_or_default())
}

fn parse_ledger(text: &str) -> Value {
    let content = text.split_once('\n').map_or("", |(_, content)| content);
    serde_json::from_str(content).unwrap_or(Value::Null)
}
