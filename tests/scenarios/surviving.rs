//! The sabotaged configurations, through the daemon: whatever a commit breaks, the host ends in its old system, can be
//! reached, is healthy and follows again, without anybody's help.
//!
//! In: each sabotage, activated by a deployment. Out: its line of the table in `docs/reliability.md`. The broken
//! daemons are in `surviving_daemons`; what guards refuse, or were told to allow, in `surviving_guards`.

use crate::surviving_scene::{End, Failing, SHORT, Scene};
use crate::testbed::sabotage::Sabotage;

/// With the default windows and deadlines.
const DEFAULTS: &str = "";

const UNHEALTHY: End = End {
    outcome: "rolled-back",
    code: "unhealthy-after-test",
};

const NOT_ACTIVATED: End = End {
    outcome: "rolled-back",
    code: "activation-failed",
};

#[track_caller]
fn survives(sabotage: Sabotage, outcome: &'static str, code: &'static str) {
    let mut scene = Scene::new(sabotage, SHORT);
    scene.survives(sabotage, End { outcome, code });
}

#[test]
fn a_network_that_is_taken_down_comes_back() {
    survives(Sabotage::NetworkDown, "rolled-back", "route-lost");
}

#[test]
fn a_firewall_that_drops_all_is_taken_away_again() {
    survives(Sabotage::FirewallDropsAll, "rolled-back", "remote-lost");
}

#[test]
fn an_sshd_that_is_broken_lets_everybody_in_again() {
    survives(Sabotage::SshdBroken, "rolled-back", "activation-failed");
}

#[test]
fn a_dead_bus_is_a_reboot_into_the_old_system() {
    survives(
        Sabotage::BusBroken,
        "rolled-back-by-reboot",
        "guardian-fired",
    );
}

#[test]
fn an_activation_that_hangs_is_ended_and_led_back_from() {
    survives(
        Sabotage::ActivationHangs,
        "rolled-back",
        "activation-timeout",
    );
}

#[test]
fn a_unit_that_crash_loops_is_led_back_from() {
    survives(Sabotage::UnitCrashLoops, UNHEALTHY.outcome, UNHEALTHY.code);
}

#[test]
fn a_unit_that_fails_is_led_back_from() {
    survives(
        Sabotage::UnitFails,
        NOT_ACTIVATED.outcome,
        NOT_ACTIVATED.code,
    );
}

#[test]
fn a_unit_that_fails_later_is_led_back_from() {
    survives(
        Sabotage::UnitFailsAfter(2),
        UNHEALTHY.outcome,
        UNHEALTHY.code,
    );
}

#[test]
fn memory_that_is_eaten_is_led_back_from() {
    // Eating takes up to two seconds, and only the second death in a window is a verdict.
    let sabotage = Sabotage::MemoryEaten;
    let window = SHORT.replace("\"2s\"", "\"10s\"");
    Scene::new(sabotage, &window).survives(sabotage, UNHEALTHY);
}

/// Nothing of the host complains of it but the daemon, which cannot write its ledger: the guardian decides.
#[test]
fn a_disk_that_is_filled_is_emptied_again() {
    survives(Sabotage::DiskFilled, "rolled-back", "guardian-fired");
}

#[test]
fn names_that_are_not_found_any_more_are_found_again() {
    survives(Sabotage::DnsBroken, "rolled-back", "remote-lost");
}

#[test]
fn a_boot_loader_that_fails_leaves_system_profile_and_entry_as_they_were() {
    survives(
        Sabotage::BootLoaderFails,
        "rolled-back",
        "boot-loader-failed",
    );
}

#[test]
fn at_the_default_windows_a_unit_that_fails_at_once_or_after_45_seconds_is_led_back_from() {
    let at_once = Sabotage::UnitFails;
    let mut scene = Scene::new(at_once, DEFAULTS);
    let name = |sabotage: Sabotage| format!("{}, default windows", sabotage.name());
    scene.comes_back(at_once, &name(at_once), NOT_ACTIVATED);
    let later = Sabotage::UnitFailsAfter(45);
    scene.comes_back(later, &name(later), UNHEALTHY);
}

#[test]
fn a_dead_bus_and_a_stopped_daemon_at_once_are_a_reboot_into_the_old_system() {
    let sabotage = Sabotage::BusBroken;
    let mut scene = Scene::new(sabotage, SHORT);
    without_watchdog(&scene);
    let mark = scene.host.tally().len();
    scene.host.close_gate("activate");
    let commit = scene.publish(sabotage);
    let failing = Failing::wait(&scene.host, mark, "switch-to-configuration-test ");
    scene
        .host
        .wait_for_gate("activate", crate::common::DEADLINE);
    scene.host.signal_daemon("STOP");
    scene.host.open_gate("activate");
    let end = End {
        outcome: "rolled-back-by-reboot",
        code: "guardian-fired",
    };
    let name = "D-Bus broken and daemon stopped";
    scene.leads_back(&failing, &commit, name, end);
    scene.deploys_a_good_commit();
}

/// Takes the daemon's watchdog away, which would end a stopped daemon first: here nobody helps.
fn without_watchdog(scene: &Scene) {
    let directory = "/run/systemd/system/deploy-flake.service.d";
    let write = format!(
        "mkdir -p {directory} && printf '[Service]\\nWatchdogSec=0\\n' > {directory}/bare.conf && \
         systemctl daemon-reload && systemctl restart deploy-flake.service"
    );
    scene.host.shell(&write).must_succeed();
    crate::common::settled(&scene.host);
}
