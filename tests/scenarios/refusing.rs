//! What is refused, and what fails: each with its own failure, told in status and journal, with the boot entry
//! untouched and the daemon alive; and each followed by a good commit that is deployed.
//!
//! In: a commit that cannot be deployed. Out: [`Scene::ends`], which asserts all that they have in common.

mod common;
mod remote;
mod evaluation;
mod purity;
mod build;
mod health;
mod checks;
mod guarding_closures;
mod making_room;
mod activation;
mod halfway;
mod reboot;
mod boot_entry;

use deploy_flake::model::failure::FailureCode;
use deploy_flake::report::failures;
use serde_json::Value;

use crate::common::nothing_is_left;
use crate::refusing::common::{SOON, Systems, daemon_config, wait_for_end, wait_for_outcome};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::{CommitId, Repository};
use crate::testbed::world::World;

/// What a deployment runs on a host, in order, as the tally has it; the test is confirmed before the boot entry.
const EVERYTHING: [&str; 9] = [
    "build",
    "switch-to-configuration-check",
    "pre-switch-check check",
    "switch-to-configuration-test",
    "pre-switch-check test",
    "activate",
    "switch-to-configuration-boot",
    "pre-switch-check boot",
    "boot-loader",
];

/// Everything that a deployment runs, up to and with one of it.
fn up_to(last: &str) -> &'static [&'static str] {
    let position = EVERYTHING.iter().position(|line| *line == last);
    &EVERYTHING[..=position.expect("it is run by every deployment")]
}

/// How the daemon of a scene is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settings {
    /// As every host of the test bed.
    Ordinary,
    /// With deadlines that a scenario can wait for.
    Hurried,
    /// With every policy other than its default.
    Lenient,
    /// As ordinary, with keys at the top and tables at the end.
    With(&'static str, &'static str),
}

impl Settings {
    fn daemon_config(self) -> String {
        match self {
            Self::Ordinary => daemon_config(
                "",
                "[health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"",
            ),
            Self::Hurried => daemon_config(
                "",
                "[health]\nconfirm_window = \"4s\"\nprobe_deadline = \"20s\"\n[deadlines]\npoll = \"2s\"\n\
                 evaluate = \"6s\"\nbuild = \"4s\"\ncheck = \"2s\"\npre_switch_check = \"3s\"\nactivate = \"8s\"\nlock = \"2s\"",
            ),
            Self::With(top, tables) => daemon_config(
                top,
                &format!("[health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n{tables}"),
            ),
            Self::Lenient => daemon_config(
                "on_reboot_required = \"boot\"\npre_activate_check = \"etc/checks/first\"",
                "[health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\nignore_units = [\"broken.service\"]\n\
                 [evaluate]\nimport_from_derivation = true",
            ),
        }
    }
}

/// How a deployment is to end.
struct End<'a> {
    outcome: &'a str,
    code: FailureCode,
    class: &'a str,
    /// What ran on the host, as the tally has it, and nothing else.
    ran: &'a [&'a str],
}

impl End<'_> {
    /// Whether it is tried again by itself: not what was activated and failed.
    fn is_tried_again(&self) -> bool {
        self.class != "deterministic" && self.outcome != "rolled-back"
    }
}

fn refused<'a>(code: FailureCode, class: &'a str, ran: &'a [&'a str]) -> End<'a> {
    let outcome = "refused";
    End {
        outcome,
        code,
        class,
        ran,
    }
}

/// What the way back runs: without the old system's pre-switch check, which could veto it.
const WAY_BACK: [&str; 2] = ["switch-to-configuration-test", "activate"];

/// What putting the entry back runs: without it, too.
const PUT_BACK: [&str; 2] = ["switch-to-configuration-boot", "boot-loader"];

/// Everything that a deployment runs up to and with one of it, and then the way back.
fn and_back(last: &str) -> Vec<&'static str> {
    [up_to(last), &WAY_BACK].concat()
}

fn rolled_back<'a>(code: FailureCode, ran: &'a [&'a str]) -> End<'a> {
    End {
        outcome: "rolled-back",
        code,
        class: code.class().as_str(),
        ran,
    }
}

fn reboot_required<'a>(code: FailureCode, ran: &'a [&'a str]) -> End<'a> {
    End {
        outcome: "reboot-required",
        code,
        class: "deterministic",
        ran,
    }
}

/// A host that follows the world's repository, and what it was last brought to.
struct Scene {
    host: Host,
    world: World,
    settings: Settings,
    /// What the host was when the newest commit was pushed.
    before: Systems,
    /// How long the tally was then.
    mark: usize,
    process: Value,
    boot_id: Value,
    good_commits: u32,
}

impl Scene {
    /// A host that runs the first commit, whose daemon has seen that.
    fn new(settings: Settings) -> Self {
        let first = Generation::first().daemon_config(&settings.daemon_config());
        let mut world = World::starting_with(first);
        let host = world.boot();
        let first = world.server().repository().head();
        let status = wait_for_outcome(&host, &first, "unchanged");
        assert_eq!(status["condition"]["state"], "converged");
        Self {
            before: Systems::of(&host),
            mark: host.tally().len(),
            process: status["daemon"].clone(),
            boot_id: status["host"]["boot_id"].clone(),
            host,
            world,
            settings,
            good_commits: 0,
        }
    }

    /// A generation whose daemon is configured as this host's.
    fn generation(&self, label: &str) -> Generation {
        Generation::new(label).daemon_config(&self.settings.daemon_config())
    }

    fn repository(&mut self) -> &mut Repository {
        self.world.server().repository()
    }

    /// Pushes a commit that describes a generation.
    fn publish(&mut self, generation: &Generation) -> CommitId {
        self.commit(|repository| repository.set(generation))
    }

    /// Pushes a commit with any change.
    fn commit(&mut self, change: impl FnOnce(&Repository)) -> CommitId {
        self.before = Systems::of(&self.host);
        self.mark = self.host.tally().len();
        let repository = self.repository();
        change(repository);
        let commit = repository.commit("a change");
        repository.push();
        commit
    }

    /// Pushes a commit whose host is a Nix expression that overrides the generation's knobs.
    fn publish_in_nix(&mut self, generation: &Generation, overrides: &str) -> CommitId {
        self.commit(|repository| {
            repository.git(&["rm", "--quiet", "--cached", "hosts/host.json"]);
            repository.remove("hosts/host.json");
            repository.write("knobs.json", &generation.to_json());
            let knobs = "builtins.fromJSON (builtins.readFile ../knobs.json)";
            repository.write("hosts/host.nix", &format!("{knobs} // ({overrides})\n"));
        })
    }

    /// Waits for the end of a commit's deployment, asserts that it is the expected one and that all is as it has to
    /// be after it, and returns the failure.
    #[track_caller]
    fn ends(&mut self, commit: &CommitId, end: &End<'_>) -> Value {
        let status = wait_for_end(&self.host, commit);
        let failure = status["last"]["failure"].clone();
        assert_eq!(
            (
                &status["last"]["outcome"],
                &failure["code"],
                &failure["class"]
            ),
            (
                &end.outcome.into(),
                &end.code.as_str().into(),
                &end.class.into()
            ),
            "{status:#}"
        );
        for text in ["message", "hint"] {
            assert_ne!(failure[text], "", "{failure:#}");
        }
        self.is_told_once(commit, end);
        if end.outcome == "rolled-back" {
            // The way back starts the old system's daemon, whichever ran.
            self.process = status["daemon"].clone();
        }
        self.goes_on_polling();
        self.only_this_ran(end);
        self.nothing_is_half_done(end, &status["desired"]["toplevel"]);
        nothing_is_left(&self.host);
        failure
    }

    /// One entry of the journal has the failure's own message id, and says what happened to which commit.
    #[track_caller]
    fn is_told_once(&self, commit: &CommitId, end: &End<'_>) {
        let message_id = format!("MESSAGE_ID={}", failures::entry(end.code).message_id);
        let of_commit = format!("DF_COMMIT={commit}");
        let unit = "_SYSTEMD_UNIT=deploy-flake.service";
        let entries = self.host.journal(&[&message_id, &of_commit, unit]);
        let [entry] = &entries[..] else {
            panic!("expected one entry, found {entries:#?}");
        };
        assert_eq!(
            (
                &entry["DF_FAILURE"],
                &entry["DF_OUTCOME"],
                &entry["DF_CLASS"]
            ),
            (
                &end.code.as_str().into(),
                &end.outcome.into(),
                &end.class.into()
            ),
        );
        // An error is what left the host half-way; here it always is what it was.
        assert_eq!(entry["PRIORITY"], "4", "{entry:#}");
    }

    /// The same process goes on looking.
    #[track_caller]
    fn goes_on_polling(&self) {
        let looks = |status: &Value| status["looks"]["finished"].as_u64().unwrap_or_default();
        let before = looks(&self.host.status());
        let status = self
            .host
            .wait_for_status("two more looks", SOON, |status| looks(status) >= before + 2);
        assert_eq!(status["daemon"], self.process, "it is another process");
        let show = [
            "systemctl",
            "show",
            "--value",
            "--property=ActiveState,NRestarts",
        ];
        let state = self
            .host
            .run(&[&show[..], &["deploy-flake.service"]].concat());
        let state: Vec<&str> = state.text().split_whitespace().collect();
        assert_eq!(state.len(), 2);
        assert!(
            state.contains(&"active") && state.contains(&"0"),
            "{state:?}"
        );
    }

    /// What is tried again may run again, in the same order; what is not, ran once.
    #[track_caller]
    fn only_this_ran(&self, end: &End<'_>) {
        let mut ran = self.ran();
        if end.is_tried_again() {
            let mut seen = Vec::new();
            ran.retain(|line| {
                !seen.contains(line) && {
                    seen.push(line.clone());
                    true
                }
            });
        }
        assert_eq!(ran, end.ran);
    }

    /// What ran since the newest commit was pushed, without the systems' paths.
    fn ran(&self) -> Vec<String> {
        let tally = self.host.tally();
        let lines = tally[self.mark..].iter();
        let words = |line: &String| {
            let words = line.split(' ').filter(|word| !word.starts_with('/'));
            words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
        };
        lines.map(words).collect()
    }

    /// What was refused has changed nothing; what failed has not changed what the next boot starts. While it is tried
    /// again that is so between the attempts.
    #[track_caller]
    fn nothing_is_half_done(&self, end: &End<'_>, wanted: &Value) {
        if end.is_tried_again() {
            let description = "between two attempts nothing is half done";
            self.host.wait_until(description, SOON, |host| {
                let is_resting = host.status()["phase"]["name"] == "resting";
                is_resting && Systems::of(host) == self.expected_after(end, wanted)
            });
        } else {
            assert_eq!(Systems::of(&self.host), self.expected_after(end, wanted));
        }
    }

    fn expected_after(&self, end: &End<'_>, wanted: &Value) -> Systems {
        let running = self.host.running_system();
        let is_new = end.outcome == "failed" && *wanted == *running;
        let before = self.before.clone();
        let running = if is_new { running } else { before.running };
        Systems { running, ..before }
    }

    /// Asserts that a commit comes to be deployed, with nothing of ours left over.
    #[track_caller]
    fn deploys(&self, commit: &CommitId) -> String {
        let status = wait_for_outcome(&self.host, commit, "deployed");
        assert_eq!(status["condition"]["state"], "converged", "{status:#}");
        assert_eq!(status["daemon"], self.process, "it is another process");
        let wanted = status["desired"]["toplevel"].as_str().unwrap_or_default();
        let systems = Systems::of(&self.host);
        assert!(
            systems.are_all(wanted),
            "expected {wanted}, found {systems:?}"
        );
        nothing_is_left(&self.host);
        assert_eq!(self.host.state(), "running");
        wanted.to_owned()
    }

    /// Pushes a good commit after a bad one, and asserts that it is deployed.
    #[track_caller]
    fn deploys_a_good_commit(&mut self) {
        self.good_commits += 1;
        let label = format!("good-{}", self.good_commits);
        let good = self.generation(&label);
        self.deploys_generation(&good);
    }

    /// Pushes a commit that is the first one but for the host's generation, and asserts that it is deployed.
    #[track_caller]
    fn deploys_generation(&mut self, generation: &Generation) {
        let commit = self.commit(|repository| {
            let first = repository.git(&["rev-list", "--max-parents=0", "HEAD"]);
            repository.git(&["rm", "--quiet", "-r", "--force", "."]);
            repository.git(&["checkout", first.text(), "--", "."]);
            repository.set(generation);
        });
        let system = self.deploys(&commit);
        assert_ne!(system, self.before.profile, "it is a system of its own");
    }
}

/// Asserts that a failure's detail holds a line of somebody's output.
#[track_caller]
fn shows(failure: &Value, output: &str) {
    let detail = failure["detail"].as_str().unwrap_or_default();
    assert!(
        detail.lines().any(|line| line.contains(output)),
        "nothing of {output:?} in {failure:#}"
    );
}

/// Asserts that a failure's message or detail holds some words.
#[track_caller]
fn says(failure: &Value, words: &str) {
    let text = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
    let (message, detail) = (text("message"), text("detail"));
    let is_said = message.contains(words) || detail.contains(words);
    assert!(is_said, "nothing of {words:?} in\n{message}\n{detail}");
}
