//! Somebody switches the host by hand, at rest or in the middle of a deployment.

use deploy_flake::model::failure::FailureCode;
use deploy_flake::report::{failures, milestones};

use crate::common::{
    DEADLINE, configuration, deployed, ended_as, entries, field, git_url, is_all, looks,
    nothing_is_left, settled, switch_by_hand, systems, text, web,
};
use crate::testbed::generation::Generation;
use crate::testbed::world::World;

#[test]
fn a_host_that_was_switched_by_hand_has_drifted_and_is_left_alone() {
    let mut world = World::new();
    let host = world.boot();
    let first = settled(&host);
    let manual = host.build(&Generation::new("manual").one_shot("mine.service", "/usr/bin/true"));
    let before = host.tally_of("switch-to-configuration-");
    switch_by_hand(&host, &manual, "test");
    let status = host.wait_for_status("the drift is seen", DEADLINE, |status| {
        status["condition"]["state"] == "drifted"
    });
    assert_eq!(status["system"]["running"], manual.as_str());
    assert!(text(&status["condition"]["remedy"]).contains("drift = \"correct\""));
    looks(&host, 3);
    assert_eq!(host.status()["condition"]["state"], "drifted");
    assert_eq!(systems(&host), [&*manual, &*first, &*first]);
    assert_eq!(
        host.tally_of("switch-to-configuration-"),
        before + 1,
        "only the operator's"
    );
    let drifted = entries(&host, milestones::DRIFTED);
    assert_eq!(field(&drifted, "DF_RUNNING"), [&*manual]);
    assert_eq!(field(&drifted, "DF_TOPLEVEL"), [&*first]);

    switch_by_hand(&host, &first, "test");
    host.wait_for_status("the host is as it was", DEADLINE, |status| {
        status["condition"]["state"] == "converged"
    });
    assert_eq!(entries(&host, milestones::DRIFT_CORRECTED).len(), 1);

    switch_by_hand(&host, &manual, "test");
    let commit = world.server().repository().publish(&web("second"));
    deployed(&host, &commit);
}

#[test]
fn a_host_that_was_switched_by_hand_is_brought_back_by_policy() {
    let config = configuration("drift = \"correct\"", &git_url(), "1s");
    let follower = |label: &str| Generation::new(label).daemon_config(&config);
    let world = World::starting_with(follower("first"));
    let host = world.boot();
    let first = settled(&host);
    let manual = host.build(&follower("manual").one_shot("mine.service", "/usr/bin/true"));
    switch_by_hand(&host, &manual, "test");

    let status = host.wait_for_status("the host is brought back", DEADLINE, |status| {
        status["last"]["outcome"] == "deployed" && status["phase"]["name"] == "resting"
    });
    assert_eq!(status["condition"]["state"], "converged");
    is_all(&host, &first);
    nothing_is_left(&host);
    let started = entries(&host, milestones::DEPLOYMENT_STARTED);
    assert_eq!(field(&started, "DF_CAUSE"), ["drift"]);
    looks(&host, 2);
    assert_eq!(
        host.tally_of(&format!("switch-to-configuration-test {first}")),
        1
    );
}

#[test]
fn a_manual_switch_during_a_deployment_stays_until_the_next_commit() {
    let mut world = World::new();
    let host = world.boot();
    let first = settled(&host);
    let manual = host.build(&Generation::new("manual").one_shot("mine.service", "/usr/bin/true"));
    host.close_gate("build");
    let commit = world.server().repository().publish(&web("second"));
    host.wait_for_gate("build", DEADLINE);
    switch_by_hand(&host, &manual, "test");
    host.open_gate("build");

    let status = ended_as(&host, &commit, "overridden");
    assert_eq!(status["last"]["failure"]["code"], "overridden");
    let message = text(&status["last"]["failure"]["message"]);
    assert!(
        message.contains(&first) && message.contains(&manual),
        "{message}"
    );
    // A look that met systemd re-executing itself, at somebody's switch, is told until the next one.
    host.wait_for_status("the override is told", DEADLINE, |status| {
        let why = status["condition"]["why"].as_str().unwrap_or_default();
        why.contains("was overridden: the running system changed")
    });
    looks(&host, 2);
    assert_eq!(systems(&host), [&*manual, &*first, &*first]);
    assert_eq!(host.status()["last"]["outcome"], "overridden");
    let id = failures::entry(FailureCode::Overridden).message_id;
    assert_eq!(field(&entries(&host, id), "DF_COMMIT"), [&*commit.0]);

    let commit = world.server().repository().publish(&web("third"));
    let third = deployed(&host, &commit);
    assert!(third.ends_with("third"), "{third}");
}
