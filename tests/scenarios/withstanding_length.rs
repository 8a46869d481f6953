//! A history that is longer than anybody looks at: it is fetched, and refused for its length, in bounded time and memory.
//!
//! In: commits that `git fast-import` makes. Out: the code, seconds, and bytes.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use deploy_flake::trust::history::COMMIT_LIMIT;

use crate::common::{deployed, settled, web};
use crate::testbed::child;
use crate::testbed::git_server::GitServer;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::world::{World, wait_until};
use crate::trusting::refused;

/// From the end of the push to the refusal, of a development build on a busy machine.
const LONGEST: Duration = Duration::from_secs(150);

/// What the daemon, and its fetcher, may ever have needed, in kB.
const MOST: u64 = 256 << 10;

#[test]
fn a_history_that_is_too_long_is_refused_in_bounded_time_and_memory() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let begin = world.server().repository().publish(&web("begin"));
    deployed(&host, &begin);

    one_commit_too_many(world.server(), &begin);
    let began = Instant::now();
    let mut fetcher = 0;
    wait_until("the tip is refused", LONGEST, || {
        fetcher = fetcher.max(most_memory(&host, "deploy-flake-fetcher").unwrap_or_default());
        let status = host.status();
        status["remote"]["last_error"]["code"] == "history-too-long"
    });
    let took = began.elapsed();
    refused(&host, "history-too-long");
    let daemon = most_memory(&host, "deploy-flake").expect("the daemon lives");
    println!(
        "refused after {took:?}; at most {daemon} kB in the daemon, {fetcher} kB in the fetcher"
    );
    assert!(daemon < MOST && fetcher < MOST);
    let said = host.journal(&["--unit=deploy-flake.service", "DF_FAILURE=history-too-long"]);
    assert_eq!(said.len(), 1, "it is judged and told once: {said:#?}");

    let good = world.server().repository().publish(&web("good"));
    deployed(&host, &good);
}

/// Makes the branch a commit that has as many as are looked at, and one more, between itself and the floor.
fn one_commit_too_many(server: &mut GitServer, floor: &CommitId) {
    let mut stream = String::new();
    for number in 0..=COMMIT_LIMIT {
        let who = format!("A <a@example.org> {} +0000", 1_700_000_000 + number);
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter {who}\ndata 1\nx\n"
        );
        if number == 0 {
            let _ = writeln!(stream, "from {floor}");
        }
    }
    let file = server.path("/srv/stream");
    fs::write(&file, stream).expect("the overlay can be written");
    let line = format!("git fast-import --quiet < {}", file.display());
    let mut import = Command::new("sh");
    import
        .args(["-euc", &line])
        .env("GIT_DIR", server.path("/srv/git/infrastructure.git"))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    child::run(&mut import, child::DEADLINE);
}

/// The most that the service's process ever had in memory, in kB; None while there is none.
fn most_memory(host: &Host, service: &str) -> Option<u64> {
    let process = format!("/proc/$(systemctl show --value --property=MainPID {service})/status");
    let line = host.shell(&format!("grep VmHWM: {process}")).stdout;
    line.split_whitespace().nth(1)?.parse().ok()
}
