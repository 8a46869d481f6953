//! A commit that evaluates and does not build, or not yet.

use deploy_flake::model::failure::FailureCode;

use super::{EVERYTHING, Scene, Settings, refused, says, shows, up_to};
use crate::refusing::common::SOON;
use crate::testbed::client::Client;

#[test]
fn a_build_error_is_refused_with_the_end_of_its_log() {
    let mut scene = Scene::new(Settings::Ordinary);
    let bad = scene.generation("bad").with("buildFails", true);
    let commit = scene.publish(&bad);
    let end = refused(FailureCode::BuildFailed, "deterministic", up_to("build"));
    let failure = scene.ends(&commit, &end);
    shows(&failure, "error: this build is made to fail");
    assert_eq!(scene.host.status()["condition"]["state"], "refused");
    scene.deploys_a_good_commit();
}

#[test]
fn a_build_over_its_deadline_is_ended_and_tried_again() {
    let mut scene = Scene::new(Settings::Hurried);
    scene.host.close_gate("build");
    let slow = scene.generation("slow");
    let commit = scene.publish(&slow);
    scene.host.wait_for_gate("build", SOON);
    let builders = scene
        .host
        .shell("pgrep --full build-toplevel | grep --invert-match $$");
    let builders = builders.text().to_owned();
    let end = refused(FailureCode::BuildTimeout, "transient", up_to("build"));
    says(&scene.ends(&commit, &end), "deadline");
    for builder in builders.lines() {
        scene
            .host
            .wait_until("the builder was ended", SOON, |host| {
                host.run(&["kill", "-0", builder]).code == Some(1)
            });
    }
    scene.host.open_gate("build");
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}

/// An input that is in the lock file, from a repository that the server does not have.
struct Input {
    flake: String,
    lock: String,
}

impl Input {
    const AWAY: &'static str = "/srv/git/away.git";
    const THERE: &'static str = "/srv/git/input.git";

    /// Has Nix lock the input while the server has it, on the client: the host must not know it.
    fn lock(scene: &mut Scene, client: &Client) -> Self {
        let server = scene.world.server();
        let make = format!(
            "set -e; git init --quiet --bare --initial-branch=main {there}; cd $(mktemp -d); \
             git init --quiet --initial-branch=main; echo text > file; git add file; \
             git -c user.name=s -c user.email=s@example.org commit --quiet --message=file; \
             git push --quiet {there} HEAD",
            there = Self::THERE
        );
        server.run(&["sh", "-c", &make]).must_succeed();
        let url = server.url("git").replace("infrastructure", "input");
        let repository = scene.repository();
        let input = format!("inputs.input = {{ url = \"{url}\"; flake = false; }};\n  outputs");
        let flake = repository
            .read("flake.nix")
            .replacen("outputs", &input, 1)
            .replace("{ self, daemon }", "{ self, daemon, input }")
            .replace(
                "name = builtins.head",
                "name = builtins.seq (builtins.readFile \"${input}/file\") builtins.head",
            );
        let infrastructure = scene.world.server().url("git");
        let clone = format!(
            "git clone --quiet {infrastructure} /tmp/locked && cat > /tmp/locked/flake.nix <<'END'\n{flake}\nEND\n"
        );
        client.run(&["sh", "-c", &clone]).must_succeed();
        let lock = "NIX_REMOTE=local nix flake lock path:/tmp/locked && cat /tmp/locked/flake.lock";
        let lock = client.run(&["sh", "-c", lock]).text().to_owned();
        assert!(lock.contains(&url), "{lock}");
        scene
            .world
            .server()
            .run(&["mv", Self::THERE, Self::AWAY])
            .must_succeed();
        Self { flake, lock }
    }
}

#[test]
fn an_input_that_cannot_be_downloaded_is_tried_again_until_it_can() {
    let mut scene = Scene::new(Settings::Ordinary);
    let client = scene.world.client();
    let Input { flake, lock } = Input::lock(&mut scene, &client);
    let generation = scene.generation("with-input");
    let commit = scene.commit(|repository| {
        repository.write("flake.nix", &flake);
        repository.write("flake.lock", &lock);
        repository.set(&generation);
    });
    let end = refused(FailureCode::InputUnavailable, "transient", &[]);
    says(&scene.ends(&commit, &end), "input.git");
    scene
        .host
        .wait_for_status("it is tried again", SOON, |status| {
            status["condition"]["state"] == "retrying"
        });
    let back = ["mv", Input::AWAY, Input::THERE];
    scene.world.server().run(&back).must_succeed();
    scene.deploys(&commit);
    assert_eq!(scene.ran(), EVERYTHING);
    scene.deploys_a_good_commit();
}
