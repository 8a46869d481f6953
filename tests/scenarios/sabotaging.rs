//! Each sabotage, proven without the product: activated by hand it breaks what it says, and going back by hand makes
//! the host well again. What is not so cannot be asked of the product either.

use std::time::Duration;

use crate::bed::{is_active, switch};
use crate::testbed::child::Output;
use crate::testbed::generation::Generation;
use crate::testbed::git_server::GitServer;
use crate::testbed::host::Host;
use crate::testbed::sabotage::{DISK, DISK_SIZE, Sabotage};
use crate::testbed::world::World;

const SOON: Duration = Duration::from_secs(30);

/// A host that is well, and what was active on it then.
struct Scene {
    host: Host,
    // After the host: it goes last.
    world: World,
    first: String,
    active: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let good = Generation::without_daemon("good");
        let world = World::starting_with(good.one_shot("web.service", "true"));
        let mut host = world.host();
        host.limit_disk(DISK, DISK_SIZE);
        host.start();
        let scene = Self {
            first: host.running_system(),
            active: active(&host),
            host,
            world,
        };
        scene.is_well();
        scene
    }

    fn build(&self, sabotage: Sabotage) -> String {
        let good = Generation::without_daemon("bad").one_shot("web.service", "true");
        self.host.build(&sabotage.spoil(good))
    }

    /// Activates the sabotage; returns what came of it.
    fn test(&self, sabotage: Sabotage) -> Output {
        let bad = self.build(sabotage);
        let output = switch(&self.host, &bad, "test");
        assert_eq!(self.host.running_system(), bad, "{output}");
        output
    }

    /// Goes back as an operator would, and starts what was active before.
    #[track_caller]
    fn goes_back(&self) {
        // Its exit code says nothing of that: it may name units that only the other system has.
        let _ = switch(&self.host, &self.first, "test");
        let now = active(&self.host);
        for unit in self.active.iter().filter(|unit| !now.contains(unit)) {
            self.host.run(&["systemctl", "start", unit]).must_succeed();
        }
        self.is_well();
    }

    #[track_caller]
    fn is_well(&self) {
        let host = &self.host;
        assert_eq!(host.running_system(), self.first);
        assert_eq!(host.state(), "running");
        assert!(host.has_default_route() && host.answers_ssh());
        assert!(is_active(host, "web.service"));
        assert!(finds_names(host));
        host.run(&["busctl", "list"]).must_succeed();
        host.shell("echo words > /var/lib/words").must_succeed();
        assert_eq!(host.shell("nft list ruleset").text(), "");
    }
}

/// What an operator would start again.
fn active(host: &Host) -> Vec<String> {
    let list =
        "systemctl list-units --plain --no-legend --state=active --type=service,socket,target";
    let units = host.shell(list);
    let names = units
        .text()
        .lines()
        .filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

fn finds_names(host: &Host) -> bool {
    let ask = ["timeout", "10", "git", "ls-remote"];
    let by_name = host.run(&[&ask[..], &[&GitServer::named_url("git")]].concat());
    by_name.code == Some(0)
}

fn property(host: &Host, unit: &str, name: &str) -> String {
    let property = format!("--property={name}");
    let show = ["systemctl", "show", "--value", &property, unit];
    host.run(&show).text().to_owned()
}

#[test]
fn network_down_leaves_no_route_and_nobody_reaches_the_host() {
    let scene = Scene::new();
    assert_eq!(scene.test(Sabotage::NetworkDown).code, Some(0));
    assert!(!scene.host.has_default_route());
    assert!(!scene.host.answers_ssh());
    scene.goes_back();
}

#[test]
fn a_firewall_that_drops_all_leaves_the_route_and_nobody_reaches_the_host() {
    let scene = Scene::new();
    assert_eq!(scene.test(Sabotage::FirewallDropsAll).code, Some(0));
    assert!(scene.host.has_default_route());
    assert!(!scene.host.answers_ssh());
    assert!(!finds_names(&scene.host), "nothing goes out");
    let banner = "exec 3<> /dev/tcp/127.0.0.1/22 && head --bytes=4 <&3";
    let banner = scene.host.run(&["timeout", "5", "bash", "-c", banner]);
    assert_eq!(banner.text(), "SSH-", "it does not notice it from inside");
    scene.goes_back();
}

#[test]
fn a_broken_sshd_fails_and_nobody_can_log_in() {
    let scene = Scene::new();
    let output = scene.test(Sabotage::SshdBroken);
    assert_eq!(output.code, Some(4), "{output}");
    assert!(!scene.host.answers_ssh());
    scene.goes_back();
}

#[test]
fn a_removed_sshd_is_stopped_and_nobody_can_log_in() {
    let scene = Scene::new();
    assert_eq!(scene.test(Sabotage::SshdRemoved).code, Some(0));
    assert!(!scene.host.answers_ssh());
    assert_eq!(scene.host.state(), "running", "nothing has failed");
    scene.goes_back();
}

#[test]
fn a_dead_bus_lets_nobody_switch_and_only_a_reboot_goes_back() {
    let mut scene = Scene::new();
    let output = scene.test(Sabotage::BusBroken);
    assert_ne!(output.code, Some(0), "{output}");
    let is_dead = |host: &Host| host.run(&["timeout", "5", "busctl", "list"]).code != Some(0);
    scene.host.wait_until("the bus is dead", SOON, is_dead);
    let back = switch(&scene.host, &scene.first, "test");
    assert_ne!(back.code, Some(0), "{back}");
    assert!(is_dead(&scene.host), "it stays so");
    assert!(scene.host.answers_ssh());
    scene.host.reboot();
    scene.is_well();
}

#[test]
fn an_activation_that_hangs_holds_the_lock_until_it_is_killed() {
    let scene = Scene::new();
    let bad = scene.build(Sabotage::ActivationHangs);
    let program = format!("{bad}/bin/switch-to-configuration");
    scene
        .host
        .run(&["systemd-run", "--unit=switch", &program, "test"])
        .must_succeed();
    let asleep = |host: &Host| host.run(&["pgrep", "--full", "^sleep 3600"]).code == Some(0);
    scene.host.wait_until("the activation hangs", SOON, asleep);
    let signal = |signal: &str| {
        let signal = format!("--signal={signal}");
        scene
            .host
            .run(&["systemctl", "kill", &signal, "switch.service"])
            .must_succeed();
    };
    signal("TERM");
    assert!(asleep(&scene.host), "it does not let itself be terminated");
    signal("KILL");
    scene
        .host
        .wait_until("it is gone", SOON, |host| !asleep(host));
    scene.goes_back();
}

#[test]
fn a_unit_that_crash_loops_is_restarted_again_and_again() {
    let scene = Scene::new();
    scene.test(Sabotage::UnitCrashLoops);
    let unit = "crashing.service";
    scene.host.wait_until("five restarts", SOON, |host| {
        property(host, unit, "NRestarts")
            .parse::<u32>()
            .is_ok_and(|it| it >= 5)
    });
    assert_ne!(property(&scene.host, unit, "ActiveState"), "failed");
    scene.goes_back();
}

#[test]
fn a_unit_that_fails_is_told_by_the_switch() {
    let scene = Scene::new();
    let output = scene.test(Sabotage::UnitFails);
    assert_eq!(output.code, Some(4), "{output}");
    assert_eq!(scene.host.state(), "degraded");
    scene.goes_back();
}

#[test]
fn a_unit_that_fails_later_is_not_told_by_the_switch() {
    let scene = Scene::new();
    // Far more than a switch takes from the unit's start to its own end.
    let output = scene.test(Sabotage::UnitFailsAfter(8));
    assert_eq!(output.code, Some(0), "{output}");
    scene.host.wait_until("the unit has failed", SOON, |host| {
        property(host, "late.service", "ActiveState") == "failed"
    });
    scene.goes_back();
}

#[test]
fn the_eater_takes_all_the_memory_it_gets_and_no_more() {
    let scene = Scene::new();
    scene.test(Sabotage::MemoryEaten);
    let unit = "eater.service";
    assert_eq!(
        property(&scene.host, unit, "LimitAS"),
        (256 << 20).to_string()
    );
    scene.host.wait_until("it eats", SOON, |host| {
        let kilobytes = host.shell("ps -o rss= -C perl").stdout;
        kilobytes
            .trim()
            .parse::<u32>()
            .is_ok_and(|it| it >= 100_000)
    });
    scene.host.wait_until("it has died twice", SOON, |host| {
        property(host, unit, "NRestarts")
            .parse::<u32>()
            .is_ok_and(|it| it >= 2)
    });
    let died = scene
        .host
        .journal(&["--unit=eater.service", "--grep=Out of memory"]);
    assert!(!died.is_empty(), "of hunger");
    scene.goes_back();
}

#[test]
fn a_filled_disk_takes_no_more_until_it_is_emptied() {
    let scene = Scene::new();
    let output = scene.test(Sabotage::DiskFilled);
    let write = scene
        .host
        .shell("head --bytes=1M /dev/zero > /var/lib/words");
    assert!(
        write.stderr.contains("No space left on device"),
        "{write}\n{output}"
    );
    scene.host.shell("rm /var/lib/words").must_succeed();
    scene.goes_back();
}

#[test]
fn broken_names_are_not_found_and_addresses_are() {
    let mut scene = Scene::new();
    assert_eq!(scene.test(Sabotage::DnsBroken).code, Some(0));
    assert!(!finds_names(&scene.host));
    let by_address = scene.world.server().url("git");
    scene
        .host
        .run(&["git", "ls-remote", &by_address])
        .must_succeed();
    assert!(scene.host.answers_ssh());
    scene.goes_back();
}

#[test]
fn a_boot_loader_that_fails_leaves_the_old_entry() {
    let scene = Scene::new();
    let bad = scene.build(Sabotage::BootLoaderFails);
    switch(&scene.host, &bad, "test").must_succeed();
    assert_eq!(switch(&scene.host, &bad, "boot").code, Some(1));
    assert_eq!(scene.host.default_system(), scene.first);
    scene.goes_back();
}
