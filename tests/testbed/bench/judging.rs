//! What it costs to judge a thousand signed commits.
//!
//! In: the scene. Out: a table, with the same number of commits of which no signature is demanded, and with `git verify-commit`
//! over the same ones, in the same run.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::repositories::git;
use crate::scene::{Scene, Transport};
use crate::table::{median, milliseconds};

/// Repetitions.
const RUNS: usize = 3;

/// Commits from floor to tip.
const COMMITS: usize = 1_000;

/// The repository that they are in.
const REPOSITORY: &str = "small";

/// Who may sign, on the host.
const SIGNERS: &str = "/var/keys/allowed-signers";

/// Triggers that come sooner after each other are answered later.
const BETWEEN_TRIGGERS: Duration = Duration::from_secs(10);

/// What a look at the commits took.
struct Cost {
    wall: Duration,
    daemon: Duration,
    fetcher: Duration,
}

/// Prints the table.
pub fn print(scene: &mut Scene) {
    let key = make_key(scene);
    let head = git(&scene.bare(REPOSITORY), &["rev-parse", "main"]);
    scene.forget();
    scene.start(Transport::Http, REPOSITORY);
    scene.settle(&head);
    println!(
        "\n| {COMMITS} commits signed by an Ed25519 key, http, medians of {RUNS} | wall | CPU: daemon + fetcher |\n|---|---|---|"
    );
    let mut gits = Vec::new();
    for demand in ["every-commit", "none"] {
        let lines = format!(
            "poll_interval = \"1d\"\n\n[trust]\nrequire = \"{demand}\"\nallowed_signers = \"{SIGNERS}\"\n"
        );
        scene.start_with(Transport::Http, REPOSITORY, &lines);
        // The first look after a start comes when it likes.
        let head = git(&scene.bare(REPOSITORY), &["rev-parse", "main"]);
        scene.host.run(&["deploy-flake", "trigger"]).must_succeed();
        scene.settle(&head);
        let mut costs = Vec::new();
        for _ in 0..RUNS {
            let [floor, tip] = sign(scene, &key);
            costs.push(look(scene, &tip));
            scene.settle(&tip);
            gits.push(verify(scene, &floor, &tip));
        }
        show(
            &format!(
                "from the first byte of the look to their being found good, `require = \"{demand}\"`"
            ),
            &costs,
        );
    }
    let (wall, cpu): (Vec<_>, Vec<_>) = gits.into_iter().unzip();
    println!(
        "| beside it: `git verify-commit` over them | {} | {} |",
        milliseconds(median(wall)),
        milliseconds(median(cpu))
    );
}

fn show(what: &str, costs: &[Cost]) {
    let middle = |of: fn(&Cost) -> Duration| milliseconds(median(costs.iter().map(of).collect()));
    println!(
        "| {what} | {} | {} + {} |",
        middle(|cost| cost.wall),
        middle(|cost| cost.daemon),
        middle(|cost| cost.fetcher)
    );
}

/// Makes a key that may sign, and returns its file.
fn make_key(scene: &Scene) -> String {
    let key = scene.world.directory().join("bench-key");
    let file = key.display().to_string();
    let keygen = ["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", &file];
    let status = Command::new("ssh-keygen").args(keygen).status();
    assert!(status.expect("ssh-keygen is installed").success());
    let public = std::fs::read_to_string(format!("{file}.pub")).expect("it was just made");
    let write = format!("mkdir -p /var/keys; echo 'bench@example.org {public}' > {SIGNERS}");
    scene.host.shell(&write).must_succeed();
    file
}

/// Moves the branch on by signed commits; returns where it was and where it is.
fn sign(scene: &mut Scene, key: &str) -> [String; 2] {
    let bare = scene.bare(REPOSITORY);
    let floor = git(&bare, &["rev-parse", "main"]);
    let line = format!(
        "tip=$(git rev-parse main); tree=$(git rev-parse main^{{tree}}); \
         for number in $(seq {COMMITS}); do \
         tip=$(git -c gpg.format=ssh -c user.signingKey={key} commit-tree -S -p $tip -m $number $tree); \
         done; git update-ref refs/heads/main $tip"
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", &line])
        .current_dir(&bare)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        shell
            .env(format!("GIT_{role}_NAME"), "Bench")
            .env(format!("GIT_{role}_EMAIL"), "bench@example.org");
    }
    assert!(shell.status().expect("a shell").success());
    let tip = git(&bare, &["rev-parse", "main"]);
    [floor, tip]
}

/// Has the daemon look, until it goes on with the tip.
fn look(scene: &mut Scene, tip: &str) -> Cost {
    std::thread::sleep(BETWEEN_TRIGGERS);
    let groups = [scene.daemon(), scene.fetcher()];
    let before = groups.each_ref().map(|group| group.cpu());
    scene.proxy.take(Transport::Http.port());
    scene.host.run(&["deploy-flake", "trigger"]).must_succeed();
    let goes_on = scene.wait("the commits are found good", |status| {
        status["desired"]["commit"] == *tip
    });
    let after = groups.each_ref().map(|group| group.cpu());
    let traffic = scene.proxy.take(Transport::Http.port());
    Cost {
        wall: Duration::from_micros(goes_on - traffic.first_at),
        daemon: after[0] - before[0],
        fetcher: after[1] - before[1],
    }
}

/// git's own verdict, on the host and in its mirror: wall and CPU time.
fn verify(scene: &Scene, floor: &str, tip: &str) -> (Duration, Duration) {
    let git = "git -c safe.directory='*' -C /var/cache/deploy-flake/mirror";
    let line = format!(
        "set -o pipefail; {git} rev-list {floor}..{tip} | \
         xargs {git} -c gpg.ssh.allowedSignersFile={SIGNERS} verify-commit > /dev/null 2>&1"
    );
    let (mut command, group) = scene.shell_beside(&line);
    let before = group.cpu();
    let began = Instant::now();
    let status = command.status().expect("a shell");
    let took = began.elapsed();
    assert!(status.success(), "git does not find them all good");
    let cpu = group.cpu() - before;
    group.remove();
    (took, cpu)
}
