//! What runs and was confirmed, and cannot be written: profile, boot entry and the running system become the old ones
//! again, and an operator who has mended the host says `retry`.

use deploy_flake::model::failure::FailureCode;

use super::{EVERYTHING, PUT_BACK, Scene, Settings, WAY_BACK, rolled_back, shows, up_to};

impl Scene {
    /// The operator has mended the host.
    #[track_caller]
    fn is_retried(&self) {
        self.host.run(&["deploy-flake", "retry"]).must_succeed();
    }
}

#[test]
fn a_failing_boot_loader_leads_back_and_is_tried_again_when_an_operator_says_so() {
    let mut scene = Scene::new(Settings::Ordinary);
    let loader = "[ -e /run/mounted ] || { echo 'no room on /boot' >&2; exit 1; }";
    let good = scene.generation("good").with("bootLoader", loader);
    let commit = scene.publish(&good);
    // The old system's own program puts its entry back; then the running system goes back.
    let ran = [&EVERYTHING[..], &PUT_BACK, &WAY_BACK].concat();
    let end = rolled_back(FailureCode::BootLoaderFailed, &ran);
    shows(&scene.ends(&commit, &end), "no room on /boot");
    assert_eq!(scene.host.status()["condition"]["state"], "rolled-back");
    scene.host.run(&["touch", "/run/mounted"]).must_succeed();
    scene.is_retried();
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}

#[test]
fn a_profile_that_cannot_be_set_leads_back_and_leaves_the_entry_alone() {
    let mut scene = Scene::new(Settings::Ordinary);
    let profiles = "/nix/var/nix/profiles";
    let read_only = ["mount", "--bind", "--options", "ro", profiles, profiles];
    scene.host.run(&read_only).must_succeed();
    let good = scene.generation("good");
    let commit = scene.publish(&good);
    let ran = [up_to("activate"), &WAY_BACK].concat();
    let end = rolled_back(FailureCode::ProfileFailed, &ran);
    let failure = scene.ends(&commit, &end);
    shows(&failure, "Read-only file system");
    let hint = failure["hint"].as_str().unwrap_or_default();
    assert!(
        !hint.contains("Do not reboot"),
        "the next boot is a sound one: {hint}"
    );
    scene.host.run(&["umount", profiles]).must_succeed();
    scene.is_retried();
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}
