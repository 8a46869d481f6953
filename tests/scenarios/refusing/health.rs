//! A host that is not healthy before anything was done is not touched, until it is.

use deploy_flake::model::failure::FailureCode;

use super::{Scene, Settings, refused, says, up_to};
use crate::refusing::common::SOON;

impl Scene {
    /// Leaves a unit failed on the host.
    fn break_unit(&self, name: &str) {
        let unit = format!("--unit={name}");
        self.host
            .run(&["systemd-run", &unit, "false"])
            .must_succeed();
        self.host.wait_until("the unit has failed", SOON, |host| {
            host.run(&["systemctl", "is-failed", "--quiet", name]).code == Some(0)
        });
    }
}

#[test]
fn an_unhealthy_host_is_not_touched_until_its_units_are_well_again() {
    let mut scene = Scene::new(Settings::Ordinary);
    scene.break_unit("broken.service");
    scene.break_unit("wrecked.service");
    let good = scene.generation("good");
    let commit = scene.publish(&good);
    let end = refused(FailureCode::SystemUnhealthy, "host", up_to("build"));
    let failure = scene.ends(&commit, &end);
    says(&failure, "broken.service");
    says(&failure, "wrecked.service");

    let reset = ["systemctl", "reset-failed", "broken.service"];
    scene.host.run(&reset).must_succeed();
    let still = scene.host.wait_for_status("one is left", SOON, |status| {
        status["last"]["failure"]["detail"] == "wrecked.service"
    });
    assert_eq!(still["last"]["commit"], commit.0);
    let reset = ["systemctl", "reset-failed", "wrecked.service"];
    scene.host.run(&reset).must_succeed();
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}

#[test]
fn a_unit_that_may_be_broken_is_in_nobodys_way() {
    let mut scene = Scene::new(Settings::Lenient);
    scene.break_unit("broken.service");
    assert_eq!(scene.host.state(), "degraded");
    scene.deploys_a_good_commit();
    scene.break_unit("wrecked.service");
    let good = scene.generation("other");
    let commit = scene.publish(&good);
    let end = refused(FailureCode::SystemUnhealthy, "host", up_to("build"));
    assert_eq!(scene.ends(&commit, &end)["detail"], "wrecked.service");
}
