//! The boot entry can neither be written nor put back: nobody knows where a reboot leads, so logind keeps the host from
//! one, until the entry can be read back as what runs.

use deploy_flake::report::milestones;

use crate::common::{
    DEADLINE, deployed, ended_as, entries, invariants, is_all, looks, settled, text,
};
use crate::invariants::Expected;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::world::World;
use crate::window::{UNIT, generation, property, set_profile};

const LOGIND: &str = "systemd-logind.service";

/// While this is there, the first system's boot loader cannot be installed.
const BROKEN: &str = "/run/boot-is-broken";

fn first() -> Generation {
    let refuse = format!("[ ! -e {BROKEN} ] || {{ echo 'I/O error' >&2; exit 1; }}");
    generation("first", 1).with("bootLoader", refuse)
}

/// Its boot loader takes the menu away with it, and nobody can write another.
fn publish_bad(world: &mut World) -> CommitId {
    let spoil = format!("touch {BROKEN}; mv /boot/loader /boot/lost; exit 1");
    let bad = generation("bad", 1).with("bootLoader", spoil);
    world.server().repository().publish(&bad)
}

/// An operator mends the boot partition by hand.
fn repair(host: &Host) {
    host.shell(&format!("rm {BROKEN} && mv /boot/lost /boot/loader"))
        .must_succeed();
}

#[track_caller]
fn restart(host: &Host, unit: &str) {
    host.run(&["systemctl", "restart", unit]).must_succeed();
}

/// The process that logind says to hold a lock against shutdown, if it is the daemon's.
fn holder(host: &Host) -> Option<String> {
    let list = host.run(&["systemd-inhibit", "--list", "--no-legend", "--no-pager"]);
    let lines = list.stdout.lines().map(str::to_owned);
    let mut ours = lines.filter(|line| line.starts_with("deploy-flake ") && line.contains("block"));
    let words: Vec<String> = ours.next()?.split_whitespace().map(str::to_owned).collect();
    // Who, the number and the name of the user, and the process.
    words.get(3).cloned()
}

#[track_caller]
fn is_held(host: &Host) {
    host.wait_until("the daemon holds a lock", DEADLINE, |host| {
        holder(host).is_some_and(|process| process == property(host, UNIT, "MainPID"))
    });
}

#[track_caller]
fn is_unsafe(host: &Host, commit: &CommitId, old: &str) -> String {
    let status = ended_as(host, commit, "rolled-back");
    assert_eq!(
        status["last"]["failure"]["code"], "boot-loader-failed",
        "{status:#}"
    );
    assert_eq!(status["reboot"], "unsafe", "{status:#}");
    let hint = text(&status["last"]["failure"]["hint"]);
    assert!(hint.contains("Do not reboot"), "{hint}");
    let page = host.run(&["deploy-flake", "status"]);
    assert!(page.text().contains("CRITICAL, do not reboot"), "{page}");
    assert_eq!([host.running_system(), host.profile()], [old, old]);
    text(&status["desired"]["toplevel"])
}

#[track_caller]
fn is_safe_again(host: &Host, old: &str, new: &str) {
    host.wait_for_status("a reboot is safe", DEADLINE, |status| {
        status["reboot"] == "safe"
    });
    is_all(host, old);
    invariants(host, old, new, Expected::Old);
}

#[test]
fn a_host_whose_entry_cannot_be_put_back_is_kept_from_a_reboot_until_it_is_repaired() {
    let mut world = World::starting_with(first());
    let host = world.boot();
    let old = settled(&host);
    assert_eq!(holder(&host), None);
    let commit = publish_bad(&mut world);
    let new = is_unsafe(&host, &commit, &old);
    is_held(&host);
    let reboot = host.run(&["systemctl", "reboot"]);
    assert_ne!(reboot.code, Some(0), "{reboot}");
    looks(&host, 2);

    // Whoever restarts the daemon or the bus, the next daemon takes it again.
    restart(&host, UNIT);
    is_held(&host);
    host.run(&["systemctl", "kill", "--signal=KILL", UNIT])
        .must_succeed();
    is_held(&host);
    restart(&host, LOGIND);
    is_held(&host);
    let before = property(&host, UNIT, "MainPID");
    host.run(&["systemctl", "restart", "dbus.service"])
        .must_succeed();
    host.wait_until("another daemon", DEADLINE, |host| {
        !["0", &before].contains(&&*property(host, UNIT, "MainPID"))
    });
    // logind does not find the next bus by itself.
    restart(&host, LOGIND);
    is_held(&host);
    assert_eq!(host.status()["reboot"], "unsafe");

    repair(&host);
    is_safe_again(&host, &old, &new);
    host.wait_until("nobody holds a lock", DEADLINE, |host| {
        holder(host).is_none()
    });
    let good = generation("good", 1).one_shot("web.service", "true");
    let commit = world.server().repository().publish(&good);
    deployed(&host, &commit);
}

#[test]
fn a_host_without_logind_says_once_that_nothing_keeps_it_from_a_reboot_and_goes_on() {
    let mut world = World::starting_with(first());
    let host = world.boot();
    let old = settled(&host);
    let logind =
        "systemctl mask --runtime systemd-logind.service && systemctl stop systemd-logind.service";
    host.shell(logind).must_succeed();
    let commit = publish_bad(&mut world);
    let new = is_unsafe(&host, &commit, &old);
    let told = |host: &Host| entries(host, milestones::SHUTDOWN_NOT_INHIBITED).len();
    // The daemon that led back, and the one that the guardian has started since.
    host.wait_until("it is told", DEADLINE, |host| told(host) >= 1);
    let before = told(&host);
    assert!(before <= 2, "{before}");
    looks(&host, 3);
    assert_eq!(told(&host), before);
    repair(&host);
    is_safe_again(&host, &old, &new);
    let good = generation("good", 1).one_shot("web.service", "true");
    let commit = world.server().repository().publish(&good);
    deployed(&host, &commit);
}

const TIMER: &str = "deploy-flake-guardian.timer";
const GUARDIAN: &str = "deploy-flake-guardian.service";
const GATE: &str = "switch-to-configuration-test";

/// What systemd did with the guardian's timer and service, in order: the words that begin a message.
fn done_with_guardian(host: &Host) -> Vec<String> {
    let units = [TIMER, GUARDIAN].map(|unit| format!("--unit={unit}"));
    let [timer, service] = &units;
    let log = host.run(&["journalctl", "--output=cat", timer, service]);
    let done = log.stdout.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (verb, unit) = (words.next()?, words.next()?);
        let is_done = ["Started", "Stopped"].contains(&verb);
        let kind = unit.strip_prefix("deploy-flake-guardian.")?;
        is_done.then(|| format!("{verb} {kind}"))
    });
    done.collect()
}

#[test]
fn a_guardian_that_may_not_reboot_any_more_is_armed_while_it_leads_back() {
    let mut world = World::starting_with(first());
    let host = world.boot();
    let old = settled(&host);
    // The way back stands still in the middle of the previous system's switch.
    let spoil = format!(
        "touch /var/lib/testbed/gates/{GATE}.closed {BROKEN}; mv /boot/loader /boot/lost; exit 1"
    );
    let bad = generation("bad", 1).with("bootLoader", spoil);
    let commit = world.server().repository().publish(&bad);
    host.wait_for_gate(GATE, DEADLINE);
    assert_eq!(property(&host, GUARDIAN, "ActiveState"), "active");
    assert_eq!(property(&host, TIMER, "ActiveState"), "active");
    let command = property(&host, GUARDIAN, "ExecStart");
    assert!(command.contains("--on-failure stay"), "{command}");
    assert_eq!(
        done_with_guardian(&host),
        [
            "Started timer",
            "Stopped timer",
            "Started timer",
            "Started service"
        ]
    );

    // Who ends it now, with the daemon, is not the last who could lead back.
    host.signal_daemon("STOP");
    host.run(&["systemctl", "stop", "--no-block", GUARDIAN])
        .must_succeed();
    host.open_gate(GATE);
    let new = is_unsafe(&host, &commit, &old);
    repair(&host);
    is_safe_again(&host, &old, &new);
}

#[test]
fn a_guardian_that_was_armed_without_a_reboot_is_the_one_that_leads_back() {
    let mut world = World::starting_with(generation("first", 1));
    let host = world.boot();
    let old = settled(&host);
    let bad = generation("bad", 1).one_shot("web.service", "false");
    // Somebody has it boot next.
    let new = host.build(&bad);
    set_profile(&host, &new);
    let switch = format!("{new}/bin/switch-to-configuration");
    host.run(&[&switch, "boot"]).must_succeed();
    let commit = world.server().repository().publish(&bad);
    let status = ended_as(&host, &commit, "rolled-back");
    assert_eq!(status["reboot"], "unsafe", "{status:#}");
    assert_eq!(
        [host.running_system(), host.default_system()],
        [&*old, &*new]
    );
    assert_eq!(
        done_with_guardian(&host),
        ["Started timer", "Started service", "Stopped timer"]
    );
}
