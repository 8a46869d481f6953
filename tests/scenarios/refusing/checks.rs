//! A system whose own checks do not pass is never activated.

use deploy_flake::model::failure::FailureCode;

use super::{Scene, Settings, refused, says, shows, up_to};
use crate::refusing::common::SOON;
use crate::testbed::generation::Generation;

/// What runs when the closure's own check is the last thing that does.
const SELF_CHECK: [&str; 2] = ["build", "pre-activate-safety-checks"];

#[test]
fn a_failing_check_of_the_system_refuses_it_with_its_output() {
    let mut scene = Scene::new(Settings::Ordinary);
    let own = "echo 'the disk is too small' >&2; exit 3";
    let own = scene.generation("own").with("selfCheck", own);
    let pre_switch = "echo 'the bus is too old' >&2; exit 3";
    let pre_switch = scene
        .generation("pre-switch")
        .with("preSwitchCheck", pre_switch);
    let cases: [(&Generation, &[&str], &str); 2] = [
        (&own, &SELF_CHECK, "the disk is too small"),
        (
            &pre_switch,
            up_to("pre-switch-check check"),
            "the bus is too old",
        ),
    ];
    for (generation, ran, output) in cases {
        let commit = scene.publish(generation);
        let end = refused(FailureCode::CheckRefused, "deterministic", ran);
        let failure = scene.ends(&commit, &end);
        shows(&failure, output);
        assert_eq!(scene.host.status()["condition"]["state"], "refused");
        scene.deploys_a_good_commit();
    }
}

#[test]
fn a_check_at_another_path_is_run_where_it_is_configured() {
    let mut scene = Scene::new(Settings::Lenient);
    let elsewhere = scene.generation("elsewhere").with("selfCheck", "exit 3");
    scene.deploys_generation(&elsewhere);

    let path = "etc/checks/first";
    let there = scene.generation("there").with("selfCheckPath", path);
    let there = there.with("selfCheck", "echo 'asked of' $1 >&2; exit 3");
    let commit = scene.publish(&there);
    let end = refused(FailureCode::CheckRefused, "deterministic", &SELF_CHECK);
    let failure = scene.ends(&commit, &end);
    let toplevel = scene.host.status()["desired"]["toplevel"].clone();
    let toplevel = toplevel.as_str().unwrap_or_default();
    shows(&failure, &format!("asked of {toplevel}"));
    scene.deploys_a_good_commit();

    let text = scene.generation("text").etc("checks/first", "no program\n");
    let commit = scene.publish(&text);
    let end = refused(FailureCode::CheckRefused, "deterministic", up_to("build"));
    says(&scene.ends(&commit, &end), "not an executable file");
    scene.deploys_a_good_commit();
}

#[test]
fn a_check_that_hangs_is_ended_as_a_whole_at_its_deadline() {
    let mut scene = Scene::new(Settings::Hurried);
    let own = scene.generation("own").with("selfCheck", "true");
    let pre_switch = scene.generation("pre-switch");
    let cases: [(&Generation, &str, &[&str]); 2] = [
        (&own, "pre-activate-safety-checks", &SELF_CHECK),
        (
            &pre_switch,
            "pre-switch-check",
            up_to("pre-switch-check check"),
        ),
    ];
    for (generation, gate, ran) in cases {
        scene.host.close_gate(gate);
        let commit = scene.publish(generation);
        let end = refused(FailureCode::CheckTimeout, "deterministic", ran);
        scene.ends(&commit, &end);
        let group = "/sys/fs/cgroup/system.slice/deploy-flake-check.service";
        assert!(!scene.host.path(group).exists(), "something of it is left");
        scene.host.open_gate(gate);
        scene.deploys_a_good_commit();
    }
}

#[test]
fn a_check_that_asks_for_later_is_asked_again() {
    let mut scene = Scene::new(Settings::Ordinary);
    let check = "[ -e /run/now ] || { echo 'not while it is busy' >&2; exit 75; }";
    let later = scene.generation("later").with("selfCheck", check);
    let commit = scene.publish(&later);
    let end = refused(FailureCode::CheckPostponed, "transient", &SELF_CHECK);
    shows(&scene.ends(&commit, &end), "not while it is busy");
    scene.host.wait_until("it is asked again", SOON, |host| {
        host.tally_of("pre-activate-safety-checks") >= 3
    });
    scene.host.run(&["touch", "/run/now"]).must_succeed();
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}
