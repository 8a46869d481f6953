//! A remote that cannot say what it wants: nothing is begun, nothing is touched, and it is asked again.

use deploy_flake::model::failure::FailureCode;
use deploy_flake::report::{failures, milestones};
use serde_json::Value;

use super::{Scene, Settings, up_to};
use crate::common::nothing_is_left;
use crate::refusing::common::{SOON, Systems};

impl Scene {
    /// Waits until the remote fails with a code, and asserts that this is told and that nothing else happens.
    #[track_caller]
    fn remote_fails(&self, code: FailureCode) -> Value {
        let is_told = |status: &Value| status["remote"]["last_error"]["code"] == code.as_str();
        let status = self.host.wait_for_status(code.as_str(), SOON, is_told);
        assert_eq!(
            status["condition"]["state"], "remote-unreachable",
            "{status:#}"
        );
        assert_eq!(status["last"]["outcome"], "unchanged");
        self.goes_on_polling();
        let message_id = format!("MESSAGE_ID={}", failures::entry(code).message_id);
        let entries = self.host.journal(&[&message_id]);
        let told: Vec<&Value> = entries.iter().map(|entry| &entry["DF_FAILURE"]).collect();
        assert_eq!(
            told,
            [code.as_str()],
            "once, though it was asked again and again"
        );
        assert_eq!(Systems::of(&self.host), self.before);
        assert!(self.ran().is_empty());
        nothing_is_left(&self.host);
        status["remote"]["last_error"].clone()
    }

    /// Asserts how often it was told that the remote answers again.
    #[track_caller]
    fn remote_was_back(&self, times: usize) {
        let message_id = format!("MESSAGE_ID={}", milestones::REMOTE_REACHABLE);
        assert_eq!(self.host.journal(&[&message_id]).len(), times);
    }
}

#[test]
fn a_remote_that_refuses_connections_is_asked_until_it_answers_again() {
    let mut scene = Scene::new(Settings::Ordinary);
    scene.world.server().kill();
    let error = scene.remote_fails(FailureCode::RemoteUnreachable);
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("10.77.0.1"),
        "it names the remote: {message}"
    );

    let good = scene.generation("pushed-meanwhile");
    let commit = scene.publish(&good);
    scene.world.server().serve();
    scene.deploys(&commit);
    assert_eq!(scene.ran(), up_to("boot-loader"));
    scene.remote_was_back(1);
}

#[test]
fn a_remote_that_never_answers_is_given_up_at_its_deadline_and_asked_again() {
    let mut scene = Scene::new(Settings::Hurried);
    scene.world.server().vanish();
    scene.remote_fails(FailureCode::RemoteUnreachable);
    scene.world.server().come_back();
    scene.deploys_a_good_commit();
    scene.remote_was_back(1);
}

#[test]
fn a_remote_that_accepts_and_says_nothing_is_given_up_at_its_deadline_and_asked_again() {
    let mut scene = Scene::new(Settings::Hurried);
    let signal = |scene: &mut Scene, signal: &str| {
        // One that answers the host right now may be gone before it is told.
        let each = format!("kill -{signal} $it || [ ! -e /proc/$it ] || exit");
        let line = format!("for it in $(pidof git-daemon git); do {each}; done");
        scene
            .world
            .server()
            .run(&["sh", "-c", &line])
            .must_succeed();
    };
    signal(&mut scene, "STOP");
    scene.remote_fails(FailureCode::RemoteUnreachable);
    signal(&mut scene, "CONT");
    scene.deploys_a_good_commit();
    scene.remote_was_back(1);
}

#[test]
fn a_branch_that_is_missing_is_told_and_followed_when_it_is_there_again() {
    let mut scene = Scene::new(Settings::Ordinary);
    let bare = "/srv/git/infrastructure.git";
    let delete = ["git", "-C", bare, "update-ref", "-d", "refs/heads/main"];
    scene.world.server().run(&delete).must_succeed();
    let error = scene.remote_fails(FailureCode::BranchMissing);
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("main"), "it names the branch: {message}");
    scene.deploys_a_good_commit();
}
