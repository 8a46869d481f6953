//! The previous system does not come back as it was: the guardian has the host boot into it, or leaves it as it is, as
//! it was told. What it cannot come back without was removed by the commit.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::common::{
    DEADLINE, deployed, ended_as, git_url, invariants, is_all, settled, text, web,
};
use crate::invariants::Expected;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::world::World;

const UNIT: &str = "fragile.service";
const PROGRAM: &str = "/usr/local/bin/fragile";
const RECORD: &str = "/var/lib/deploy-flake/rollback.json";

fn configuration(on_failed_rollback: &str) -> String {
    format!(
        "on_failed_rollback = \"{on_failed_rollback}\"\n\
         [[remote]]\nurl = \"{}\"\npoll_interval = \"1s\"\n\
         [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n\
         [deadlines]\nrollback_health = \"3s\"\n",
        git_url()
    )
}

/// A host that is lost without its program, and what it asks for now.
struct Scene {
    host: Host,
    // After the host: it goes last.
    world: World,
    configuration: String,
    old: String,
}

impl Scene {
    fn new(on_failed_rollback: &str) -> Self {
        let configuration = configuration(on_failed_rollback);
        let first = Generation::new("first")
            .daemon_config(&configuration)
            .wanted_unit(UNIT, &format!("[Service]\nExecStart={PROGRAM}\n"));
        let world = World::starting_with(first);
        let mut host = world.host();
        mend(&host);
        host.start();
        Self {
            old: settled(&host),
            host,
            world,
            configuration,
        }
    }

    fn publish(&mut self, next: Generation) -> CommitId {
        let next = next.daemon_config(&self.configuration);
        self.world.server().repository().publish(&next)
    }

    /// Its service fails, and the previous one cannot come back.
    fn publish_bad(&mut self) -> CommitId {
        let bad = Generation::new("bad").one_shot(UNIT, "false");
        self.publish(bad.with("activationScript", format!("rm --force {PROGRAM}")))
    }
}

fn mend(host: &Host) {
    let path = host.path(PROGRAM);
    fs::write(&path, "#!/bin/sh\nexec sleep infinity\n").expect("the overlay can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn stage(host: &Host) -> Value {
    let text = fs::read(host.path(RECORD)).unwrap_or_default();
    let record: Value = serde_json::from_slice(&text).unwrap_or_default();
    record["stage"].clone()
}

/// The only `test` of the failed system was that of its own deployment.
#[track_caller]
fn was_tested_once(host: &Host, system: &str) {
    let tests = host.tally_of(&format!("switch-to-configuration-test {system}"));
    assert_eq!(tests, 1, "{:#?}", host.tally());
}

#[test]
fn a_way_back_that_fails_is_a_reboot_that_says_why() {
    let mut scene = Scene::new("reboot");
    // Somebody wants the host up; the last way back is none that may be kept from it.
    let hold =
        "systemd-run --unit=holder systemd-inhibit --what=shutdown --mode=block sleep infinity";
    scene.host.shell(hold).must_succeed();
    scene
        .host
        .wait_until("a reboot is inhibited", DEADLINE, |host| {
            let list = host.run(&["systemd-inhibit", "--list", "--no-legend"]);
            list.stdout.contains("sleep infinity")
        });
    let commit = scene.publish_bad();
    scene
        .host
        .wait_until("the guardian reboots", DEADLINE, |host| {
            !stage(host)["rebooting"].is_null()
        });
    scene.host.wait_for_reboot();
    let (host, old) = (&scene.host, scene.old.clone());
    assert_eq!(host.booted_system(), old);
    let status = ended_as(host, &commit, "rolled-back-by-reboot");
    let failure = &status["last"]["failure"];
    // It does not end as a loss of power does, which would be tried again.
    assert_eq!(failure["code"], "activation-failed", "{status:#}");
    assert!(failure.to_string().contains(UNIT), "{failure:#}");
    let why = text(&stage(host)["rebooting"]["why"]);
    assert!(why.contains(&format!("{UNIT} is failed")), "{why}");
    is_all(host, &old);
    let new = text(&status["desired"]["toplevel"]);
    invariants(host, &old, &new, Expected::Old);
    was_tested_once(host, &new);

    mend(host);
    host.run(&["systemctl", "restart", UNIT]).must_succeed();
    let commit = scene.publish(web("good"));
    deployed(&scene.host, &commit);
}

#[test]
fn a_way_back_that_fails_leaves_the_host_reachable_if_it_may_not_reboot() {
    let mut scene = Scene::new("stay");
    let commit = scene.publish_bad();
    let (host, old) = (&scene.host, scene.old.clone());
    let status = ended_as(host, &commit, "rollback-failed");
    let failure = &status["last"]["failure"];
    assert!(failure.to_string().contains(UNIT), "{failure:#}");
    assert!(host.answers_ssh());
    is_all(host, &old);
    let new = text(&status["desired"]["toplevel"]);
    invariants(host, &old, &new, Expected::Old);
    was_tested_once(host, &new);
    assert_eq!(host.booted_system(), old);
    assert!(!stage(host)["failed"].is_null(), "{:#}", stage(host));

    // What is failed was failed by us, and is no reason to refuse.
    let commit = scene.publish(web("good"));
    deployed(&scene.host, &commit);
}
