//! What runs and was confirmed, and cannot be written: profile and boot entry stay, or become again, the old ones.

use deploy_flake::model::failure::FailureCode;

use super::{EVERYTHING, Scene, Settings, failed, shows, up_to};
use crate::refusing::common::SOON;

#[test]
fn a_failing_boot_loader_leaves_profile_and_entry_at_the_old_system_and_is_tried_again() {
    let mut scene = Scene::new(Settings::Ordinary);
    let loader = "[ -e /run/mounted ] || { echo 'no room on /boot' >&2; exit 1; }";
    let good = scene.generation("good").with("bootLoader", loader);
    let generation = scene.host.status()["system"]["generation"].clone();
    let commit = scene.publish(&good);
    let end = failed(FailureCode::BootLoaderFailed, "transient", &EVERYTHING);
    shows(&scene.ends(&commit, &end), "no room on /boot");
    // The old system's own program puts its entry back.
    let last_three = &EVERYTHING[6..];
    let first_try = [&EVERYTHING[..], last_three].concat();
    assert_eq!(scene.ran()[..first_try.len()], first_try);
    assert_ne!(scene.host.running_system(), scene.before.running);
    scene
        .host
        .wait_for_status("it is tried again", SOON, |status| {
            status["condition"]["state"] == "retrying"
                && status["system"]["generation"] == generation
        });
    scene.host.run(&["touch", "/run/mounted"]).must_succeed();
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}

#[test]
fn a_profile_that_cannot_be_set_leaves_the_entry_alone_and_is_tried_again() {
    let mut scene = Scene::new(Settings::Ordinary);
    let profiles = "/nix/var/nix/profiles";
    let read_only = ["mount", "--bind", "--options", "ro", profiles, profiles];
    scene.host.run(&read_only).must_succeed();
    let good = scene.generation("good");
    let commit = scene.publish(&good);
    let end = failed(FailureCode::ProfileFailed, "transient", up_to("activate"));
    let failure = scene.ends(&commit, &end);
    shows(&failure, "Read-only file system");
    let hint = failure["hint"].as_str().unwrap_or_default();
    assert!(
        !hint.contains("Do not reboot"),
        "the next boot is a sound one: {hint}"
    );
    scene
        .host
        .wait_for_status("it is tried again", SOON, |status| {
            status["condition"]["state"] == "retrying"
        });
    scene.host.run(&["umount", profiles]).must_succeed();
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}
