//! A host that is given a sabotaged commit, and what has to be true of it afterwards without anybody's help.
//!
//! In: a sabotage, and how it is to end. Out: a line of the table, or a panic that says what was not survived.

use std::time::{Duration, Instant};

use deploy_flake::report::milestones;
use serde_json::Value;

use crate::bed::is_active;
use crate::common::{
    deployed, ended_as, entries, field, git_url, invariants, is_all, looks, settled,
};
use crate::invariants::Expected;
use crate::surviving_table::Row;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::sabotage::{DISK, DISK_SIZE, Sabotage};
use crate::testbed::world::{World, poll_until};

/// The guardian acts by itself 90 s after it was armed with these; 50 s of that cannot be configured.
pub(crate) const SHORT: &str = "[health]\nconfirm_window = \"2s\"\nprobe_deadline = \"10s\"\n\
    [deadlines]\npoll = \"3s\"\nprobe = \"4s\"\nlock = \"10s\"\nactivate = \"10s\"\nrollback = \"30s\"\nrollback_health = \"20s\"";

/// Longer than the guardian's deadline and the way back, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

const UNIT: &str = "deploy-flake.service";

/// What is active on a host that is well.
const UNITS: [&str; 3] = ["web.service", "sshd.service", UNIT];

/// How a deployment is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) outcome: &'static str,
    pub(crate) code: &'static str,
}

/// A host in a good system, whose daemon follows.
pub(crate) struct Scene {
    pub(crate) host: Host,
    // After the host: it goes last.
    pub(crate) world: World,
    /// The system before.
    pub(crate) first: String,
    tables: String,
    is_named: bool,
    /// The program of its daemon.
    program: String,
}

impl Scene {
    /// A host that is to meet this sabotage, with these tables in its daemon's configuration.
    pub(crate) fn new(sabotage: Sabotage, tables: &str) -> Self {
        let is_named = sabotage == Sabotage::DnsBroken;
        // From Debian's system.conf: the first switch re-executes systemd.
        let first = generation("first", tables, is_named).with("systemdConf", Value::Null);
        let world = World::starting_with(first);
        let mut host = world.host();
        if sabotage == Sabotage::DiskFilled {
            host.limit_disk(DISK, DISK_SIZE);
        }
        host.start();
        let first = settled(&host);
        let program = daemon_program(&host);
        Self {
            host,
            world,
            first,
            tables: tables.to_owned(),
            is_named,
            program,
        }
    }

    /// A generation like the first one.
    pub(crate) fn generation(&self, label: &str) -> Generation {
        generation(label, &self.tables, self.is_named)
    }

    /// Pushes a sabotaged generation.
    pub(crate) fn publish(&mut self, sabotage: Sabotage) -> CommitId {
        let bad = sabotage.spoil(self.generation("bad"));
        self.world.server().repository().publish(&bad)
    }

    /// All of it: a sabotaged commit, the way back, that it is not tried again, and a good commit.
    #[track_caller]
    pub(crate) fn survives(&mut self, sabotage: Sabotage, end: End) {
        self.comes_back(sabotage, &sabotage.name(), end);
        self.deploys_a_good_commit();
    }

    /// A sabotaged commit, the way back, and that it is not tried again.
    #[track_caller]
    pub(crate) fn comes_back(&mut self, sabotage: Sabotage, name: &str, end: End) {
        let mark = self.host.tally().len();
        let commit = self.publish(sabotage);
        let failing = Failing::wait(&self.host, mark, sign(sabotage));
        self.leads_back(&failing, &commit, name, end);
    }

    /// What follows once the system has begun to fail.
    #[track_caller]
    pub(crate) fn leads_back(
        &mut self,
        failing: &Failing,
        commit: &CommitId,
        name: &str,
        end: End,
    ) {
        if end.outcome == "rolled-back-by-reboot" {
            self.reboots();
        }
        let healthy = failing.until_healthy(&self.host, &self.first);
        let told = |status: &Value| {
            status["last"]["commit"] == commit.0 && status["phase"]["name"] == "resting"
        };
        let what = "the daemon tells the end";
        self.host.wait_for_status(what, PATIENCE, told);
        let following = failing.began.elapsed();
        let status = ended_as(&self.host, commit, end.outcome);
        let failure = &status["last"]["failure"];
        // Whether `test` still sees a unit die, or the window does, is a matter of milliseconds.
        let code = failure["code"].as_str().unwrap_or_default();
        let was_seen_by_test = [code, end.code] == ["activation-failed", "unhealthy-after-test"];
        assert!(code == end.code || was_seen_by_test, "{status:#}");
        let row = Row {
            sabotage: name.to_owned(),
            outcome: end.outcome.to_owned(),
            code: code.to_owned(),
            healthy: Some(healthy),
            following: Some(following),
        };
        row.write();
        self.is_well();
        invariants(&self.host, &self.first, &failing.system, Expected::Old);
        self.is_not_tried_again(&failing.system);
    }

    /// The guardian says on disk that it reboots, and does.
    #[track_caller]
    fn reboots(&mut self) {
        let record = "/var/lib/deploy-flake/rollback.json";
        self.host
            .wait_until("the guardian reboots", PATIENCE, |host| {
                let text = std::fs::read_to_string(host.path(record)).unwrap_or_default();
                text.contains("rebooting")
            });
        self.host.wait_for_reboot();
    }

    /// The old system in all places, all of it active, reachable, and with its own daemon.
    #[track_caller]
    pub(crate) fn is_well(&self) {
        let host = &self.host;
        is_all(host, &self.first);
        assert_eq!(host.state(), "running");
        assert!(host.answers_ssh() && host.has_default_route());
        for unit in UNITS {
            assert!(is_active(host, unit), "{unit}");
        }
        assert_eq!(daemon_program(host), self.program);
    }

    /// I6, also after a restart of the daemon: `invariants` has seen that another look does nothing.
    #[track_caller]
    fn is_not_tried_again(&self, system: &str) {
        let host = &self.host;
        let instance = host.status()["daemon"]["instance"].clone();
        host.run(&["systemctl", "restart", UNIT]).must_succeed();
        host.wait_for_status("another daemon", PATIENCE, |status| {
            status["daemon"]["instance"] != instance
        });
        looks(host, 2);
        assert_eq!(tests_of(host, system), [1, 1], "{:#?}", host.tally());
        self.is_well();
    }

    /// The next commit is deployed as ever.
    #[track_caller]
    pub(crate) fn deploys_a_good_commit(&mut self) {
        let good = self.generation("good");
        let commit = self.world.server().repository().publish(&good);
        let system = deployed(&self.host, &commit);
        assert_ne!(system, self.first);
        assert_eq!(self.host.state(), "running");
        assert!(self.host.answers_ssh());
    }
}

/// How often a system was tested: as its own program has counted, and as the daemon has told.
fn tests_of(host: &Host, system: &str) -> [usize; 2] {
    let told = field(&entries(host, milestones::TEST_STARTED), "DF_TOPLEVEL");
    [
        host.tally_of(&format!("switch-to-configuration-test {system}")),
        told.iter().filter(|it| *it == system).count(),
    ]
}

fn generation(label: &str, tables: &str, is_named: bool) -> Generation {
    let url = git_url();
    let remote = format!("[[remote]]\nurl = \"{url}\"\npoll_interval = \"1s\"\n\n{tables}\n");
    let generation = Generation::new(label).daemon_config(&remote);
    let generation = generation.one_shot("web.service", "true");
    if is_named {
        generation.named_remote()
    } else {
        generation
    }
}

/// With what the failure begins, as the tally has it.
fn sign(sabotage: Sabotage) -> &'static str {
    if sabotage == Sabotage::BootLoaderFails {
        "boot-loader "
    } else {
        "switch-to-configuration-test "
    }
}

fn daemon_program(host: &Host) -> String {
    let show = ["systemctl", "show", "-P", "MainPID", UNIT];
    let link = format!("/proc/{}/exe", host.run(&show).text());
    host.run(&["readlink", &link]).text().to_owned()
}

/// A system that begins to fail.
#[derive(Clone, Debug)]
pub(crate) struct Failing {
    /// Seen from outside, a moment after it.
    began: Instant,
    /// Which system.
    pub(crate) system: String,
    /// How long the tally was then.
    mark: usize,
}

impl Failing {
    /// Waits for the tally to have a sign of it.
    #[track_caller]
    pub(crate) fn wait(host: &Host, mark: usize, sign: &str) -> Self {
        let mut found = None;
        let seen = poll_until(PATIENCE, || {
            let tally = host.tally();
            let position = tally.iter().skip(mark).position(|it| it.starts_with(sign));
            found = position.map(|it| (mark + it, tally));
            found.is_some()
        });
        let began = Instant::now();
        assert!(
            seen,
            "no {sign:?} in\n{:#?}\n{:#}",
            host.tally(),
            host.status()
        );
        let (position, tally) = found.unwrap_or_default();
        let test = "switch-to-configuration-test ";
        let mut tested = tally
            .iter()
            .skip(mark)
            .filter_map(|it| it.strip_prefix(test));
        Self {
            began,
            system: tested.next().unwrap_or_default().to_owned(),
            mark: position,
        }
    }

    /// Waits until the old system was activated again and is healthy, for others too.
    #[track_caller]
    fn until_healthy(&self, host: &Host, old: &str) -> Duration {
        let back = format!("activate {old}");
        let is_healthy = || {
            host.tally().iter().skip(self.mark).any(|it| *it == back)
                && host.running_system() == old
                && host.state() == "running"
                && UNITS.iter().all(|unit| is_active(host, unit))
                && host.answers_ssh()
        };
        let seen = poll_until(PATIENCE, is_healthy);
        let took = self.began.elapsed();
        let status = host.status();
        assert!(
            seen,
            "{old} is not healthy in time\n{:#?}\n{status:#}",
            host.tally()
        );
        took
    }
}
