//! What a poll costs that finds nothing new.
//!
//! In: the scene. Out: a table: a window of polls for each repository and transport, `git ls-remote` in the same run, and peers.

use std::time::{Duration, Instant};

use crate::group::Group;
use crate::peer::Peer;
use crate::proxy::Traffic;
use crate::repositories::git;
use crate::scene::{Scene, Transport};
use crate::table::{median, milliseconds};

/// Polls in a window.
const POLLS: u64 = 30;

/// Polls before a window: what is done once has been done.
const BEFORE: u64 = 5;

/// Polls until the memory is looked at.
const MANY: u64 = 1_000;

/// How far a testing branch is behind.
const BEHIND: u32 = 10_000;

/// Runs of `git ls-remote`.
const RUNS: u32 = 20;

/// What one poll took, in the mean of a window.
struct Cost {
    daemon: Duration,
    fetcher: Duration,
    traffic: Traffic,
    polls: u64,
    /// The median.
    wall: Duration,
}

/// Prints the tables.
pub fn print(scene: &mut Scene, peers: &[Peer]) {
    println!(
        "\n| unchanged poll, mean of {POLLS} | CPU: daemon + fetcher | wall (median) | bytes up + down | connections |\n\
         |---|---|---|---|---|"
    );
    for repository in ["small", "big"] {
        for transport in Transport::ALL {
            row(scene, transport, repository);
            beside(scene, transport, repository);
        }
        for peer in peers {
            of_peer(scene, peer, repository);
        }
    }
    behind(scene);
    row(scene, Transport::Http, "branches");
    beside(scene, Transport::Http, "branches");
    for peer in peers {
        of_peer(scene, peer, "branches");
    }
    memory(scene);
}

fn row(scene: &mut Scene, transport: Transport, repository: &str) {
    let commit = git(&scene.bare(repository), &["rev-parse", "main"]);
    scene.forget();
    scene.start(transport, repository);
    scene.settle(&commit);
    let cost = window(scene, transport.port());
    show(repository, transport.name(), &cost);
}

/// The big repository with a testing branch far behind the host's own.
fn behind(scene: &mut Scene) {
    let bare = scene.bare("big");
    let commit = git(&bare, &["rev-parse", "main"]);
    let old = format!("main~{BEHIND}");
    git(&bare, &["branch", "--force", "behind", &old]);
    let old = git(&bare, &["rev-parse", "behind"]);
    scene.forget();
    let lines = "poll_interval = \"1s\"\n[testing]\nfollow = \"always\"\nbranch = \"behind\"\n";
    scene.start_with(Transport::Http, "big", lines);
    scene.settle(&commit);
    scene.wait("the testing branch was judged", |status| {
        status["testing"]["head"] == old && status["testing"]["state"] == "merged"
    });
    let cost = window(scene, Transport::Http.port());
    let what = format!("big, and a testing branch {BEHIND} commits behind");
    show(&what, Transport::Http.name(), &cost);
    git(&bare, &["branch", "--delete", "--force", "behind"]);
}

fn show(repository: &str, transport: &str, cost: &Cost) {
    let Traffic {
        up,
        down,
        connections,
        ..
    } = cost.traffic;
    let (daemon, fetcher) = (milliseconds(cost.daemon), milliseconds(cost.fetcher));
    println!(
        "| {repository}, {transport} | {daemon} + {fetcher} = **{}** | {} | {} + {} = **{}** | {connections} in {} polls |",
        milliseconds(cost.daemon + cost.fetcher),
        milliseconds(cost.wall),
        up / cost.polls,
        down / cost.polls,
        (up + down) / cost.polls,
        cost.polls,
    );
}

/// Waits for the polls of a window, from the end of one to the end of another.
fn window(scene: &mut Scene, port: u16) -> Cost {
    let finished = |scene: &Scene| {
        let status = scene.host.status();
        status["looks"]["finished"].as_u64().unwrap_or_default()
    };
    let first = finished(scene) + BEFORE;
    after(scene, first);
    let groups = [scene.daemon(), scene.fetcher()];
    let before = groups.each_ref().map(Group::cpu);
    scene.proxy.take(port);
    let mut walls = Vec::new();
    for number in first + 1..=first + POLLS {
        let began = scene.wait("a look has begun", |status| {
            status["looks"]["started"].as_u64() >= Some(number)
        });
        let ended = after(scene, number);
        walls.push(Duration::from_micros(ended - began));
    }
    let polls = finished(scene) - first;
    let spent = groups.each_ref().map(Group::cpu);
    let divisor = u32::try_from(polls).expect("few polls");
    Cost {
        daemon: (spent[0] - before[0]) / divisor,
        fetcher: (spent[1] - before[1]) / divisor,
        traffic: scene.proxy.take(port),
        polls,
        wall: median(walls),
    }
}

fn after(scene: &Scene, number: u64) -> u64 {
    scene.wait("a look is over", |status| {
        status["looks"]["finished"].as_u64() >= Some(number)
    })
}

/// git asks the same.
fn beside(scene: &mut Scene, transport: Transport, repository: &str) {
    let url = transport.url(repository);
    for (name, command) in [
        (
            "ls-remote",
            format!("git ls-remote --quiet {url} refs/heads/main"),
        ),
        (
            "fetch of main",
            format!(
                "git -C /tmp/beside fetch --quiet --no-tags {url} +refs/heads/main:refs/heads/main"
            ),
        ),
    ] {
        let prepare = format!(
            "rm -rf /tmp/beside; git init --quiet --bare /tmp/beside; \
             git -C /tmp/beside fetch --quiet --no-tags {url} +refs/heads/main:refs/heads/main"
        );
        if name != "ls-remote" {
            let (mut prepare, _) = scene.shell_beside(&prepare);
            assert!(prepare.status().expect("a shell").success());
        }
        let line = format!("for i in $(seq {RUNS}); do {command} > /dev/null || exit 1; done");
        let (mut command, group) = scene.shell_beside(&line);
        scene.proxy.take(transport.port());
        let (before, began) = (group.cpu(), Instant::now());
        assert!(command.status().expect("a shell").success());
        let (wall, cpu) = (began.elapsed() / RUNS, (group.cpu() - before) / RUNS);
        let Traffic {
            up,
            down,
            connections,
            ..
        } = scene.proxy.take(transport.port());
        let runs = u64::from(RUNS);
        println!(
            "| beside it: `git {name}`, {repository}, {} | {} | {} | {} + {} | {connections} in {RUNS} runs |",
            transport.name(),
            milliseconds(cpu),
            milliseconds(wall),
            up / runs,
            down / runs,
        );
        group.remove();
    }
}

fn of_peer(scene: &mut Scene, peer: &Peer, repository: &str) {
    let port = Transport::Http.port();
    let running = peer.start(scene, repository);
    running.wait_for_commit();
    std::thread::sleep(Duration::from_secs(BEFORE));
    let before = running.group().cpu();
    scene.proxy.take(port);
    std::thread::sleep(Duration::from_secs(POLLS));
    let cpu = running.group().cpu() - before;
    let Traffic {
        up,
        down,
        connections,
        ..
    } = scene.proxy.take(port);
    println!(
        "| {}, {repository}, http: {POLLS} s at one poll a second | {} | - | {} + {} | {connections} |",
        peer.name(),
        milliseconds(cpu / u32::try_from(POLLS).expect("few polls")),
        up / POLLS,
        down / POLLS,
    );
}

/// Memory after many polls, each of which somebody asked for.
fn memory(scene: &mut Scene) {
    println!(
        "\n| memory after {MANY} polls | PSS: daemon + fetcher | of it anonymous |\n|---|---|---|"
    );
    for transport in [Transport::Http, Transport::Https] {
        let commit = git(&scene.bare("small"), &["rev-parse", "main"]);
        scene.forget();
        scene.start(transport, "small");
        scene.settle(&commit);
        for _ in 0..MANY {
            let looks = scene.host.status()["looks"]["started"]
                .as_u64()
                .unwrap_or_default();
            // Of triggers in a row most are answered together; root's word is not.
            let retry = ["deploy-flake", "retry", "--allow", "ssh-server"];
            scene.host.run(&retry).must_succeed();
            after(scene, looks + 1);
        }
        let groups = [scene.daemon(), scene.fetcher()];
        let [daemon, fetcher] = groups.each_ref().map(Group::pss);
        let anonymous: u64 = groups.iter().map(Group::anonymous).sum();
        println!(
            "| small, {} | {} + {} = **{}** MB | {} MB |",
            transport.name(),
            crate::table::megabytes(daemon),
            crate::table::megabytes(fetcher),
            crate::table::megabytes(daemon + fetcher),
            crate::table::megabytes(anonymous),
        );
    }
}
