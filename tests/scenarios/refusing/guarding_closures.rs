//! A system that would lock everybody out, or is for another machine, is never activated, unless that is allowed.

use deploy_flake::model::failure::FailureCode;
use serde_json::Value;

use super::{Scene, Settings, refused, says, up_to};
use crate::refusing::common::{Systems, wait_for_outcome};
use crate::testbed::generation::Generation;
use crate::testbed::network::Address;

/// No machine has it.
const ANOTHER_MACHINE: &str = "00000000000000000000000000000bad";

/// Everything that may be missing.
const ALLOWED: &str =
    "require_units = []\n[guards]\nallow = [\"daemon\", \"ssh-server\", \"remote\"]";

impl Scene {
    fn without_daemon(&self, label: &str) -> Generation {
        self.generation(label).with("daemonConfig", Value::Null)
    }

    fn without_ssh(&self, label: &str) -> Generation {
        self.generation(label).with("sshd", false)
    }

    /// The repository that the host follows, by another name: whoever follows it goes on getting commits.
    fn with_another_remote(&self, label: &str) -> Generation {
        let address = Address::FIRST;
        let here = format!("git://{address}/infrastructure.git");
        let elsewhere = format!("http://{address}/git/infrastructure.git");
        let config = self.settings.daemon_config();
        assert!(config.contains(&here), "{config}");
        self.generation(label)
            .daemon_config(&config.replace(&here, &elsewhere))
    }
}

#[test]
fn a_system_that_would_lock_everybody_out_is_refused_untouched() {
    let mut scene = Scene::new(Settings::Ordinary);
    let this_remote = scene.settings.daemon_config();
    let bound = format!("machine_id = \"{ANOTHER_MACHINE}\"\n{this_remote}");
    let unreadable = "this is no TOML";
    let cases = [
        (
            scene.without_daemon("a"),
            FailureCode::DaemonMissing,
            "no deploy-flake.service",
        ),
        (
            scene.without_ssh("b"),
            FailureCode::SshServerMissing,
            "none of sshd.service",
        ),
        (
            scene.with_another_remote("c"),
            FailureCode::RemoteMissing,
            "found http://",
        ),
        (
            scene.generation("d").daemon_config(unreadable),
            FailureCode::RemoteMissing,
            "is not TOML",
        ),
        (
            scene.generation("e").daemon_config(&bound),
            FailureCode::MachineMismatch,
            ANOTHER_MACHINE,
        ),
    ];
    for (generation, code, words) in cases {
        let commit = scene.publish(&generation);
        let end = refused(code, "deterministic", up_to("build"));
        says(&scene.ends(&commit, &end), words);
        assert_eq!(scene.host.status()["condition"]["state"], "refused");
    }
    scene.deploys_a_good_commit();
}

#[test]
fn what_the_configuration_allows_to_be_missing_is_deployed() {
    let mut scene = Scene::new(Settings::With("", ALLOWED));
    let cases = [
        scene.without_ssh("a"),
        scene.with_another_remote("b"),
        scene.without_daemon("c"),
    ];
    for generation in cases {
        let commit = scene.publish(&generation);
        let status = wait_for_outcome(&scene.host, &commit, "deployed");
        let wanted = status["desired"]["toplevel"].as_str().unwrap_or_default();
        let systems = Systems::of(&scene.host);
        assert!(systems.are_all(wanted), "{systems:?}");
    }
    let unit = "_SYSTEMD_UNIT=deploy-flake.service";
    let told = ["--grep=the new system lacks what this one has", unit];
    let guards: Vec<Value> = scene
        .host
        .journal(&told)
        .iter()
        .map(|entry| entry["GUARD"].clone())
        .collect();
    assert_eq!(guards[..2], ["ssh-server", "remote"]);
    assert_eq!(guards.last(), Some(&"daemon".into()));
}

#[test]
fn a_configuration_that_is_bound_to_another_machine_deploys_nothing() {
    let top = "machine_id = \"00000000000000000000000000000bad\"";
    let mut scene = Scene::new(Settings::With(top, ""));
    for label in ["first", "second"] {
        let good = scene.generation(label);
        let commit = scene.publish(&good);
        let end = refused(
            FailureCode::MachineMismatch,
            "deterministic",
            up_to("build"),
        );
        says(&scene.ends(&commit, &end), ANOTHER_MACHINE);
    }
}
