//! A disk that is full just when it is written to: below the profile, below `/boot`, below `/run` in the middle of the
//! activation. The previous system is back, or was never left; nothing is half.

use serde_json::Value;

use crate::common::{invariants, text};
use crate::dying_host::Scene;
use crate::dying_story::{BOOT, PROFILE, Step, TEST};
use crate::enduring_fault::{fill, make_room, shrink};
use crate::invariants::Expected;

const PROFILES: &str = "/nix/var/nix/profiles";
const BOOT_PARTITION: &str = "/boot";

/// Takes all inodes: a link needs nothing else.
const NO_INODES: &str = "i=0; while touch /DIRECTORY/filler.$i 2> /dev/null; do i=$((i+1)); done";

#[test]
fn a_disk_that_is_full_below_the_profile_or_below_boot_leads_back() {
    let mut scene = Scene::new();
    scene.undisturbed();
    shrink(&scene.host, PROFILES, "nr_inodes=64,mode=0755");
    let last = is_led_back(
        &mut scene,
        &PROFILE,
        |scene| take_inodes(scene, PROFILES),
        |scene| give_inodes(scene, PROFILES),
    );
    assert_eq!(last["failure"]["code"], "profile-failed", "{last:#}");

    shrink(&scene.host, BOOT_PARTITION, "size=1m,mode=0755");
    let last = is_led_back(
        &mut scene,
        &BOOT,
        |scene| fill(&scene.host, BOOT_PARTITION),
        |scene| make_room(&scene.host, BOOT_PARTITION),
    );
    assert_eq!(last["failure"]["code"], "boot-loader-failed", "{last:#}");
    let commit = scene.publish();
    scene.deployed(&commit);
}

#[test]
fn a_run_that_is_full_in_the_activation_is_a_failure_and_led_back_from() {
    let mut scene = Scene::new();
    scene.undisturbed();
    let last = is_led_back(
        &mut scene,
        &TEST,
        |scene| {
            let limit =
                "mount -o remount,nr_inodes=$(($(df --output=iused /run | tail -n 1) + 8)) /run";
            scene.host.shell(limit).must_succeed();
            take_inodes(scene, "/run");
        },
        |scene| {
            give_inodes(scene, "/run");
            let limit = "mount -o remount,nr_inodes=100000 /run";
            scene.host.shell(limit).must_succeed();
        },
    );
    let failure = last["failure"].to_string();
    assert_eq!(last["failure"]["code"], "activation-failed", "{last:#}");
    assert!(failure.contains("exit status 2"), "{last:#}");
    let commit = scene.publish();
    scene.deployed(&commit);
}

fn take_inodes(scene: &Scene, directory: &str) {
    let take = NO_INODES.replace("/DIRECTORY", directory);
    scene.host.shell(&take).must_succeed();
}

fn give_inodes(scene: &Scene, directory: &str) {
    let give = format!("rm {directory}/filler.*");
    scene.host.shell(&give).must_succeed();
}

/// Has the next commit fail because of a disk that is full from the middle of a step on; returns how it ended.
#[track_caller]
fn is_led_back(scene: &mut Scene, step: &Step, strike: fn(&Scene), mend: fn(&Scene)) -> Value {
    eprintln!("a full disk: {}", step.phase);
    let old = scene.host.running_system();
    scene.close(step);
    let commit = scene.publish();
    scene.wait_until_held(step);
    strike(scene);
    scene.open(step);
    scene.led_back(&commit, &old, "rolled-back");
    mend(scene);
    let status = scene.host.status();
    let new = text(&status["desired"]["toplevel"]);
    invariants(&scene.host, &old, &new, Expected::Old);
    status["last"].clone()
}
