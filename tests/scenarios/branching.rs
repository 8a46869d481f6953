//! A host's two branches: its own, and the one whose commits are only ever tested.

use deploy_flake::report::milestones;
use serde_json::Value;

use crate::common::{
    DEADLINE, configuration, deployed, entries, git_url, is_all, looks, settled, systems, text, web,
};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::{CommitId, Repository};
use crate::testbed::world::World;

/// The testing branch of a host of that name, unless another is configured.
const TESTING: &str = "testing-host";

fn following(generation: Generation) -> Generation {
    let usual = configuration("", &git_url(), "1s");
    generation.daemon_config(&format!("{usual}\n[testing]\nfollow = \"always\"\n"))
}

fn on(label: &str) -> Generation {
    following(web(label))
}

/// Commits and pushes a generation to a branch.
fn publish(repository: &Repository, branch: &str, generation: &Generation) -> CommitId {
    repository.git(&["checkout", "--quiet", branch]);
    repository.publish(generation)
}

/// Waits until what the status says of the testing branch is so, at rest.
#[track_caller]
fn testing(host: &Host, state: &str, head: &CommitId) -> Value {
    let what = format!("{head} of {TESTING} is {state}");
    host.wait_for_status(&what, DEADLINE, |status| {
        let testing = &status["testing"];
        testing["state"] == state
            && testing["head"] == head.0
            && status["phase"]["name"] == "resting"
    })
}

/// Waits until the commit of the testing branch runs, and nothing but runs; returns its system.
#[track_caller]
fn tested(host: &Host, commit: &CommitId, lasting: &str) -> String {
    let status = testing(host, "running", commit);
    assert_eq!(status["condition"]["state"], "testing", "{status:#}");
    assert_eq!(status["desired"]["testing"], TESTING, "{status:#}");
    assert_eq!(status["testing"]["running"], commit.0, "{status:#}");
    let system = text(&status["desired"]["toplevel"]);
    assert_eq!(
        systems(host),
        [&*system, lasting, lasting],
        "running, profile, default entry"
    );
    system
}

fn tests_of(host: &Host, system: &str) -> usize {
    host.tally_of(&format!("switch-to-configuration-test {system}"))
}

#[test]
fn a_testing_branch_is_tested_until_a_reboot_followed_when_it_moves_and_left_when_it_is_over() {
    let mut world = World::starting_with(on("first"));
    let mut host = world.boot();
    let first = settled(&host);
    let repository = world.server().repository();
    assert_eq!(host.status()["testing"]["state"], "absent");

    // It appears.
    repository.git(&["branch", TESTING]);
    let one = publish(repository, TESTING, &on("one"));
    let system_one = tested(&host, &one, &first);
    let branch = "busctl get-property org.deploy_flake.Daemon1 /org/deploy_flake/Daemon1 org.deploy_flake.Daemon1 Branch";
    assert_eq!(host.shell(branch).text(), format!("s \"{TESTING}\""));
    let page = host.run(&["deploy-flake", "status"]);
    assert!(page.text().starts_with("host: testing\n"), "{page}");

    // After a reboot the host is its own branch's, until the testing branch moves.
    host.reboot();
    let status = testing(&host, "held", &one);
    assert_eq!(status["testing"]["code"], "test-ended", "{status:#}");
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    looks(&host, 3);
    is_all(&host, &first);
    assert_eq!(tests_of(&host, &system_one), 1);
    let two = publish(repository, TESTING, &on("two"));
    let system_two = tested(&host, &two, &first);

    // Its own branch moves on: the test goes on, and the status says what waits.
    let main = publish(repository, "main", &on("main"));
    let status = host.wait_for_status("what waits is told", DEADLINE, |status| {
        !status["condition"]["remedy"].is_null()
    });
    let why = text(&status["condition"]["why"]);
    assert!(why.contains(&main.0[..12]), "{why}");
    assert_eq!(tested(&host, &two, &first), system_two);
    assert_eq!(entries(&host, milestones::TESTING_LACKS).len(), 1);

    // It vanishes.
    repository.git(&["push", "--quiet", "origin", "--delete", TESTING]);
    let system = deployed(&host, &main);
    assert!(system.ends_with("main"), "{system}");

    // It comes back, and stands beside what was confirmed since.
    publish(repository, TESTING, &on("beside"));
    let beside = repository.head();
    let status = testing(&host, "refused", &beside);
    assert_eq!(status["testing"]["code"], "diverged", "{status:#}");
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    let main = publish(repository, "main", &on("followed"));
    let followed = deployed(&host, &main);
    assert_eq!(entries(&host, milestones::TESTING_REFUSED).len(), 1);

    // It fails: it is led back from, and keeps nobody from following.
    repository.git(&["branch", "--force", TESTING, "main"]);
    let bad = following(Generation::new("bad").one_shot("web.service", "/usr/bin/false"));
    let bad = publish(repository, TESTING, &bad);
    let status = testing(&host, "held", &bad);
    assert_eq!(status["last"]["testing"], TESTING, "{status:#}");
    assert_eq!(status["last"]["outcome"], "rolled-back", "{status:#}");
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    is_all(&host, &followed);
    let good = publish(repository, TESTING, &on("good"));
    let system_good = tested(&host, &good, &followed);

    // It is merged: the same system, and now it lasts.
    repository.git(&["checkout", "--quiet", "main"]);
    repository.git(&["merge", "--quiet", "--ff-only", TESTING]);
    repository.push();
    let status = testing(&host, "merged", &good);
    assert_eq!(status["remote"]["head"], good.0, "{status:#}");
    host.wait_for_status("it is the own branch's", DEADLINE, |status| {
        status["condition"]["state"] == "converged"
    });
    is_all(&host, &system_good);
}
