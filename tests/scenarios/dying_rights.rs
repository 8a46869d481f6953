//! What the processes of a deployment may do: as little as they need.

use std::fs;

use crate::common::settled;
use crate::dying_host::Scene;
use crate::dying_process::Process;
use crate::dying_story::{BUILD, EVALUATE, IMPORT, Step};

const MIRROR: &str = "/var/cache/deploy-flake/mirror";
const FETCH: &str = "deploy-flake-fetch";
const BUILDER: &str = "deploy-flake-build";

#[test]
fn the_daemon_and_the_fetcher_have_no_capabilities_and_the_daemon_no_network() {
    let mut scene = Scene::new();
    scene.undisturbed();
    let daemon = scene.daemon();
    has_no_capabilities(&daemon);
    assert_eq!(daemon.status("CapBnd"), "0000000000000000");
    assert_eq!(links_of(&daemon), ["lo"]);

    let fetcher = scene.property("deploy-flake-fetcher.service", "MainPID");
    let fetcher = Process::of(&scene.host, fetcher);
    has_no_capabilities(&fetcher);
    assert_eq!(user_of(&fetcher), id_of(&scene, "-u", FETCH));
    assert!(links_of(&fetcher).contains(&"host0".to_owned()));
}

#[test]
fn import_evaluation_and_build_run_as_the_build_user_and_only_the_import_reads_the_mirror() {
    let mut scene = Scene::new();
    // Else the commit that was there first is held, and gives way.
    settled(&scene.host);
    let steps = [IMPORT, EVALUATE, BUILD];
    steps.iter().for_each(|step| scene.close(step));
    let commit = scene.publish();
    let (builder, fetch) = (id_of(&scene, "-u", BUILDER), id_of(&scene, "-g", FETCH));
    for step in &steps {
        let process = held(&scene, step);
        assert_eq!(user_of(&process), builder, "{}", step.phase);
        has_no_capabilities(&process);
        let groups = process.status("Groups");
        let has_group = groups.split_whitespace().any(|group| group == fetch);
        assert_eq!(has_group, step.phase == IMPORT.phase, "{}", step.phase);
        scene.open(step);
    }
    scene.deployed(&commit);

    let list = |groups: &str| {
        let become_builder = format!("--reuid={BUILDER}");
        let group = format!("--regid={BUILDER}");
        let words = ["setpriv", &become_builder, &group, groups, "ls", MIRROR];
        scene.host.run(&words)
    };
    let refused = list("--init-groups");
    assert!(refused.stderr.contains("Permission denied"), "{refused}");
    // So it is the group, and nothing else, that is missing.
    list(&format!("--groups={FETCH}")).must_succeed();
}

#[test]
fn files_belong_to_whom_they_are_for() {
    let mut scene = Scene::new();
    scene.undisturbed();
    for (path, expected) in [
        ("/var/lib/deploy-flake", "711 root root"),
        ("/var/lib/deploy-flake/history", "755 root root"),
        ("/var/lib/deploy-flake/history/draft", "600 root root"),
        ("/var/lib/deploy-flake/ledger", "600 root root"),
        ("/run/deploy-flake", "755 root root"),
        ("/run/deploy-flake/status.json", "644 root root"),
        ("/run/deploy-flake/private", "700 root root"),
        (MIRROR, "750 deploy-flake-fetch deploy-flake-fetch"),
        (
            "/var/cache/deploy-flake/build",
            "700 deploy-flake-build deploy-flake-build",
        ),
    ] {
        let found = scene.host.run(&["stat", "--format=%a %U %G", path]);
        assert_eq!(found.text(), expected, "{path}");
    }
    // Others reach the history, and of the rest of the state nothing.
    let open = "find /var/lib/deploy-flake -name history -prune -o -type f -perm /077 -print";
    assert_eq!(scene.host.shell(open).must_succeed().stdout, "");
    let nobody = [
        "setpriv",
        "--reuid=nobody",
        "--clear-groups",
        "deploy-flake",
        "status",
    ];
    scene.host.run(&nobody).must_succeed();
}

/// Waits until a step is held, and finds its process.
fn held(scene: &Scene, step: &Step) -> Process {
    scene.wait_until_held(step);
    Process::of(&scene.host, scene.property(step.unit, "MainPID"))
}

#[track_caller]
fn has_no_capabilities(process: &Process) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(process.status(set), "0000000000000000", "{set}");
    }
    assert_eq!(process.status("NoNewPrivs"), "1");
}

/// The real user's id.
fn user_of(process: &Process) -> String {
    let ids = process.status("Uid");
    ids.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The network links that a process sees.
fn links_of(process: &Process) -> Vec<String> {
    let table = fs::read_to_string(process.directory().join("net/dev")).unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

fn id_of(scene: &Scene, kind: &str, name: &str) -> String {
    scene.host.run(&["id", kind, name]).text().to_owned()
}
