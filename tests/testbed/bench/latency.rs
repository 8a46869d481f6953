//! How soon something is done: from a push to the start of the evaluation, and from the daemon's start to its being ready.
//!
//! In: the scene. Out: tables.

use std::time::Duration;

use serde_json::Value;

use crate::group::Group;
use crate::peer::Peer;
use crate::proxy::now;
use crate::repositories::git;
use crate::scene::{Scene, Transport};
use crate::table::{median, milliseconds};
use crate::work::Work;

/// Pushes, and starts.
const RUNS: usize = 15;

/// Triggers that come sooner after each other are answered later.
const BETWEEN_TRIGGERS: Duration = Duration::from_secs(10);

/// The units of a deployment, in the order in which they are measured.
const IMPORT: &str = "deploy-flake-import.service";
const EVALUATE: &str = "deploy-flake-evaluate.service";

/// Prints the tables.
pub fn print(scene: &mut Scene, peers: &[Peer]) {
    println!(
        "\n| from the end of `git push` and a local `trigger`, {RUNS} times | min | median | max |\n|---|---|---|---|"
    );
    for repository in ["small", "big"] {
        pushes(scene, repository);
        for peer in peers {
            of_peer(scene, peer, repository);
        }
    }
    starts(scene);
}

fn pushes(scene: &mut Scene, repository: &str) {
    let transport = Transport::Http;
    let commit = git(&scene.bare(repository), &["rev-parse", "main"]);
    scene.forget();
    // Nobody but the trigger asks.
    scene.start(transport, repository);
    scene.settle(&commit);
    scene.start_slowly(transport, repository);
    scene.host.run(&["deploy-flake", "trigger"]).must_succeed();
    scene.settle(&commit);
    let mut work = Work::of(scene, repository);
    let (mut pushed, mut cpu, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    let mut triggered = Vec::new();
    for _ in 0..RUNS {
        let groups = [scene.daemon(), scene.fetcher()];
        let before: Duration = groups.iter().map(Group::cpu).sum();
        scene.proxy.take(transport.port());
        std::thread::sleep(BETWEEN_TRIGGERS);
        let (commit, at) = work.push();
        scene.host.run(&["deploy-flake", "trigger"]).must_succeed();
        triggered.push(Duration::from_micros(now() - at));
        scene.wait("the commit is fetched", |status| {
            status["desired"]["commit"] == *commit
        });
        let spent: Duration = groups.iter().map(Group::cpu).sum();
        cpu.push(spent - before);
        let traffic = scene.proxy.take(transport.port());
        bytes.push((traffic.up, traffic.down));
        scene.settle(&commit);
        pushed.push(at);
    }
    let name = |what: &str| format!("{repository}, {}: {what}", transport.name());
    row(&name("the command has returned"), triggered);
    for (what, unit) in [
        ("import starts", IMPORT),
        ("**evaluation starts**", EVALUATE),
    ] {
        row(&name(what), until(scene, unit, &pushed));
    }
    row(&name("CPU of daemon and fetcher for that commit"), cpu);
    bytes.sort_unstable();
    let (up, down) = bytes[bytes.len() / 2];
    println!("| {} | | {up} + {down} | |", name("bytes up + down"));
}

/// From each push until systemd next started a unit.
fn until(scene: &Scene, unit: &str, pushed: &[u64]) -> Vec<Duration> {
    let journal = scene.host.journal(&["_PID=1", &format!("UNIT={unit}")]);
    let starts: Vec<u64> = journal
        .iter()
        .filter(|entry| {
            entry["MESSAGE"]
                .as_str()
                .is_some_and(|it| it.starts_with("Starting "))
        })
        .filter_map(|entry| time(&entry["_SOURCE_REALTIME_TIMESTAMP"]))
        .collect();
    pushed
        .iter()
        .filter_map(|at| {
            starts
                .iter()
                .find(|start| *start > at)
                .map(|start| start - at)
        })
        .map(Duration::from_micros)
        .collect()
}

fn time(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}

/// A peer asks once a second: the time until then is its own, so only what the commit costs is told.
fn of_peer(scene: &mut Scene, peer: &Peer, repository: &str) {
    let running = peer.start(scene, repository);
    running.wait_for_commit();
    let mut work = Work::of(scene, repository);
    let mut walls = Vec::new();
    for _ in 0..RUNS {
        let (_, at) = work.push();
        walls.push(Duration::from_micros(running.wait_for_commit() - at));
    }
    row(
        &format!(
            "{}, {repository}, http: it has the commit, without a trigger",
            peer.name()
        ),
        walls,
    );
}

fn starts(scene: &mut Scene) {
    println!("\n| the daemon, {RUNS} times | min | median | max |\n|---|---|---|---|");
    let mut times = Vec::new();
    for _ in 0..RUNS {
        scene
            .host
            .run(&["systemctl", "restart", "deploy-flake"])
            .must_succeed();
        let show = ["systemctl", "show", "--value", "deploy-flake"];
        let of = |property: &str| -> u64 {
            let property = format!("--property={property}TimestampMonotonic");
            let output = scene.host.run(&[&show[..], &[&property]].concat());
            output.text().parse().expect("microseconds")
        };
        times.push(Duration::from_micros(
            of("ActiveEnter") - of("ExecMainStart"),
        ));
    }
    row("from its start until it is ready", times);
}

fn row(what: &str, mut durations: Vec<Duration>) {
    durations.sort();
    let (Some(least), Some(most)) = (durations.first(), durations.last()) else {
        println!("| {what} | nothing was seen | | |");
        return;
    };
    println!(
        "| {what} | {} | {} | {} |",
        milliseconds(*least),
        milliseconds(median(durations.clone())),
        milliseconds(*most)
    );
}
