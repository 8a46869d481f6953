//! What the first fetch of the big repository costs, what is left of it in memory, and what one more commit costs.
//!
//! In: the scene. Out: tables, with `git clone --bare` and peers in the same run.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::group::{Group, Peak};
use crate::peer::Peer;
use crate::repositories::git;
use crate::scene::{FETCHER, Scene, Transport, unit_group};
use crate::table::{median, megabytes, milliseconds};
use crate::work::Work;

/// Repetitions.
const RUNS: usize = 3;

/// Commits that come after it.
const NEXT: usize = 7;

/// The clone that git makes.
const CLONE: &str = "/var/cache/beside";

/// When the memory is looked at after a fetch, in seconds.
const AFTERWARDS: [u64; 3] = [1, 10, 30];

/// What a fetch took.
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak: u64,
    down: u64,
    disk: u64,
}

/// Prints the tables.
pub fn print(scene: &mut Scene, peers: &[Peer]) {
    println!(
        "\n| first fetch of the big repository, medians of {RUNS} | wall | CPU | peak RSS | down | disk |\n|---|---|---|---|---|---|"
    );
    let mut after = Vec::new();
    let mut ours = Vec::new();
    let mut gits = Vec::new();
    for _ in 0..RUNS {
        ours.push(first_fetch(scene));
        after.push(memory_after(scene));
        gits.push(clone(scene));
    }
    show("deploy-flake: fetcher", ours);
    show("beside it: `git clone --bare`", gits);
    for peer in peers {
        let costs = (0..RUNS).map(|_| of_peer(scene, peer)).collect();
        show(&peer.name(), costs);
    }
    next(scene);
    println!("\n| after that fetch, daemon and fetcher: s | PSS of each run, MB |\n|---|---|");
    for (number, seconds) in AFTERWARDS.into_iter().enumerate() {
        let runs: Vec<String> = after.iter().map(|run| megabytes(run[number])).collect();
        println!("| {seconds} | {} |", runs.join(", "));
    }
}

fn show(name: &str, costs: Vec<Cost>) {
    let middle = |of: fn(&Cost) -> u64| {
        let mut values: Vec<u64> = costs.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    println!(
        "| {name} | {} | {} | {} MB | {} MB | {} MB |",
        milliseconds(median(costs.iter().map(|cost| cost.wall).collect())),
        milliseconds(median(costs.iter().map(|cost| cost.cpu).collect())),
        megabytes(middle(|cost| cost.peak)),
        megabytes(middle(|cost| cost.down)),
        megabytes(middle(|cost| cost.disk)),
    );
}

/// From the first byte until the daemon goes on with what was fetched.
fn first_fetch(scene: &mut Scene) -> Cost {
    let commit = git(&scene.bare("big"), &["rev-parse", "main"]);
    scene.forget();
    let name = scene.host.name().to_owned();
    let peak = Peak::watch(move || unit_group(&name, FETCHER));
    scene.proxy.take(Transport::Http.port());
    scene.start(Transport::Http, "big");
    let goes_on = scene.wait("the commit is fetched", |status| {
        status["desired"]["commit"] == *commit
    });
    let traffic = scene.proxy.take(Transport::Http.port());
    Cost {
        wall: Duration::from_micros(goes_on - traffic.first_at),
        cpu: scene.fetcher().cpu(),
        peak: peak.end(),
        down: traffic.down,
        disk: size(&scene.host.path("/var/cache/deploy-flake/mirror")),
    }
}

/// Daemon and fetcher some time after the fetch; what the daemon does next goes on meanwhile.
fn memory_after(scene: &Scene) -> Vec<u64> {
    let began = Instant::now();
    AFTERWARDS
        .map(|seconds| {
            let at = Duration::from_secs(seconds);
            std::thread::sleep(at.saturating_sub(began.elapsed()));
            let fetcher = scene.unit(FETCHER).map_or(0, |it| it.pss());
            scene.daemon().pss() + fetcher
        })
        .to_vec()
}

fn clone(scene: &mut Scene) -> Cost {
    let url = Transport::Http.url("big");
    scene.host.run(&["rm", "-rf", CLONE]);
    let (mut command, group) =
        scene.shell_beside(&format!("git clone --quiet --bare {url} {CLONE}"));
    let watched = group.clone();
    let peak = Peak::watch(move || Some(watched.clone()));
    let before = group.cpu();
    scene.proxy.take(Transport::Http.port());
    assert!(command.status().expect("a shell").success());
    let at = crate::proxy::now();
    let traffic = scene.proxy.take(Transport::Http.port());
    let cost = Cost {
        wall: Duration::from_micros(at - traffic.first_at),
        cpu: group.cpu() - before,
        peak: peak.end(),
        down: traffic.down,
        disk: size(&scene.host.path(CLONE)),
    };
    group.remove();
    cost
}

/// One commit more, for us and for the clone of git's.
fn next(scene: &mut Scene) {
    let transport = Transport::Http;
    scene.start_slowly(transport, "big");
    scene.host.run(&["deploy-flake", "trigger"]).must_succeed();
    let commit = git(&scene.bare("big"), &["rev-parse", "main"]);
    scene.settle(&commit);
    let mut work = Work::of(scene, "big");
    let (mut ours, mut gits) = (Vec::new(), Vec::new());
    for _ in 0..NEXT {
        let (commit, _) = work.push();
        ours.push(next_fetch(scene, &commit));
        gits.push(git_fetch(scene));
        scene.settle(&commit);
    }
    println!(
        "\n| one commit more of the big repository, medians of {NEXT} | wall | CPU | peak RSS | down | disk |\n|---|---|---|---|---|---|"
    );
    show("deploy-flake: daemon and fetcher", ours);
    show("beside it: `git fetch`", gits);
}

/// From the trigger's first byte on the wire until the daemon goes on with the commit.
fn next_fetch(scene: &mut Scene, commit: &str) -> Cost {
    let groups = [scene.daemon(), scene.fetcher()];
    let spent = |groups: &[Group; 2]| groups.iter().map(Group::cpu).sum::<Duration>();
    let mirror = scene.host.path("/var/cache/deploy-flake/mirror");
    let name = scene.host.name().to_owned();
    let peak = Peak::watch(move || unit_group(&name, FETCHER));
    let (before, disk) = (spent(&groups), size(&mirror));
    scene.proxy.take(Transport::Http.port());
    scene.host.run(&["deploy-flake", "trigger"]).must_succeed();
    let goes_on = scene.wait("the commit is fetched", |status| {
        status["desired"]["commit"] == *commit
    });
    let cpu = spent(&groups) - before;
    let traffic = scene.proxy.take(Transport::Http.port());
    Cost {
        wall: Duration::from_micros(goes_on - traffic.first_at),
        cpu,
        peak: peak.end(),
        down: traffic.down,
        disk: size(&mirror).saturating_sub(disk),
    }
}

fn git_fetch(scene: &mut Scene) -> Cost {
    let url = Transport::Http.url("big");
    let there = scene.host.path(CLONE);
    let line = format!("git -C {CLONE} fetch --quiet --no-tags {url} +main:main");
    let (mut command, group) = scene.shell_beside(&line);
    let watched = group.clone();
    let peak = Peak::watch(move || Some(watched.clone()));
    let (before, disk) = (group.cpu(), size(&there));
    scene.proxy.take(Transport::Http.port());
    assert!(command.status().expect("a shell").success());
    let at = crate::proxy::now();
    let traffic = scene.proxy.take(Transport::Http.port());
    let cost = Cost {
        wall: Duration::from_micros(at - traffic.first_at),
        cpu: group.cpu() - before,
        peak: peak.end(),
        down: traffic.down,
        disk: size(&there).saturating_sub(disk),
    };
    group.remove();
    cost
}

fn of_peer(scene: &mut Scene, peer: &Peer) -> Cost {
    scene.proxy.take(Transport::Http.port());
    let running = peer.start(scene, "big");
    let watched = running.group().clone();
    let peak = Peak::watch(move || Some(watched.clone()));
    let at = running.wait_for_commit();
    let traffic = scene.proxy.take(Transport::Http.port());
    Cost {
        wall: Duration::from_micros(at - traffic.first_at),
        cpu: running.group().cpu(),
        peak: peak.end(),
        down: traffic.down,
        disk: size(running.directory()),
    }
}

/// What a directory takes on the disk, in bytes.
pub fn size(directory: &Path) -> u64 {
    let output = Command::new("du")
        .args(["--summarize", "--block-size=1"])
        .arg(directory)
        .output()
        .expect("coreutils are installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let word = text.split_whitespace().next().unwrap_or_default();
    word.parse().unwrap_or_default()
}
