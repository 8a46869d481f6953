//! A commit that does not evaluate: nothing is built.

use deploy_flake::model::failure::FailureCode;

use super::{Scene, Settings, refused, says, shows};
use crate::refusing::common::SOON;
use crate::testbed::repository::Repository;

/// What is wrong with a commit, its failure, and words of Nix that it has to show.
type Case = (fn(&Repository), FailureCode, &'static str);

#[track_caller]
fn each_is_refused_and_followed_by_a_good_commit(cases: &[Case]) {
    let mut scene = Scene::new(Settings::Ordinary);
    for (change, code, words) in cases {
        let commit = scene.commit(change);
        let failure = scene.ends(&commit, &refused(*code, "deterministic", &[]));
        shows(&failure, words);
        assert_eq!(scene.host.status()["condition"]["state"], "refused");
        scene.deploys_a_good_commit();
    }
    let directories = "/var/cache/deploy-flake /var/lib/deploy-flake /run/deploy-flake";
    let find = format!("find {directories} -name 'flake.lock*'");
    assert_eq!(
        scene.host.shell(&find).text(),
        "",
        "no lock file was written"
    );
}

#[test]
fn a_commit_without_what_a_host_needs_is_refused() {
    each_is_refused_and_followed_by_a_good_commit(&[
        (
            |repository| repository.remove("flake.nix"),
            FailureCode::FlakeMissing,
            "flake.nix",
        ),
        (
            |repository| {
                repository.git(&["mv", "hosts/host.json", "hosts/other.json"]);
            },
            FailureCode::ConfigurationMissing,
            "host",
        ),
    ]);
}

#[test]
fn an_incomplete_lock_file_is_refused_and_never_written() {
    each_is_refused_and_followed_by_a_good_commit(&[
        (
            |repository| repository.remove("flake.lock"),
            FailureCode::LockFileIncomplete,
            "requires lock file changes",
        ),
        (
            |repository| {
                let flake = repository.read("flake.nix");
                let more = "inputs.more = { url = \"path:/opt/deploy-flake\"; flake = false; };\n  outputs";
                repository.write(
                    "flake.nix",
                    &flake
                        .replacen("outputs", more, 1)
                        .replace("{ self, daemon }", "{ self, daemon, more }"),
                );
            },
            FailureCode::LockFileIncomplete,
            "requires lock file changes",
        ),
    ]);
}

#[test]
fn an_evaluation_error_is_refused_with_its_message() {
    each_is_refused_and_followed_by_a_good_commit(&[
        (
            |repository| {
                let knobs = repository.read("hosts/host.json");
                let error = "{ \"evaluationError\": \"this host must have a disk\",";
                repository.write("hosts/host.json", &knobs.replacen('{', error, 1));
            },
            FailureCode::EvaluationFailed,
            "this host must have a disk",
        ),
        (
            |repository| repository.write("flake.nix", "{ outputs = { self }: { }"),
            FailureCode::EvaluationFailed,
            "syntax error",
        ),
    ]);
}

#[test]
fn an_evaluation_is_ended_as_a_whole_at_its_deadline() {
    // Nobody waits for the end of this, and it needs no memory.
    const ENDLESS: &str = "let many = builtins.genList (n: n) 1000; \
         count = depth: builtins.foldl' (sum: _: sum + (if depth == 0 then 1 else count (depth - 1))) 0 many; \
         in { label = toString (count 9); }";
    let mut scene = Scene::new(Settings::Hurried);
    let generation = scene.generation("endless");
    let commit = scene.publish_in_nix(&generation, ENDLESS);
    scene
        .host
        .wait_for_status("it is being evaluated", SOON, |status| {
            status["phase"]["name"] == "evaluating"
        });
    let group = "/sys/fs/cgroup/system.slice/deploy-flake-evaluate.service/cgroup.procs";
    scene.host.wait_until("the evaluation runs", SOON, |host| {
        !host.shell(&format!("cat {group}")).stdout.trim().is_empty()
    });
    let processes = scene.host.shell(&format!("cat {group}")).text().to_owned();
    let end = refused(FailureCode::EvaluationTimeout, "transient", &[]);
    says(&scene.ends(&commit, &end), "deadline");
    for process in processes.lines() {
        let is_there = scene.host.run(&["kill", "-0", process]).code == Some(0);
        assert!(
            !is_there,
            "process {process} of the evaluation is still there"
        );
    }
    scene.deploys_a_good_commit();
}
