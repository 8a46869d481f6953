//! The main job, shown: a host that follows its repository, on a terminal. `tests/demo` runs it.
//!
//! In: the daemon under test. Out: what an operator would see, scene by scene, at 80 columns. A scene that does not
//! come true within its deadline ends the demo with a panic that says which one, and the host's journal is kept.

#![expect(
    clippy::disallowed_methods,
    reason = "the harness spawns children, waits with a clock and reads its environment"
)]

#[path = "../mod.rs"]
#[expect(dead_code, reason = "the bed offers more than the demo uses")]
#[expect(
    unreachable_pub,
    reason = "what scenarios may use is pub, although the crate has no users"
)]
mod testbed;
mod screen;

use std::time::{Duration, Instant};

use serde_json::Value;

use screen::{Journal, Screen};
use testbed::generation::Generation;
use testbed::host::Host;
use testbed::leftovers;
use testbed::repository::CommitId;
use testbed::sabotage::Sabotage;
use testbed::world::World;

/// For a whole deployment; it takes a few seconds.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long `--stay` keeps the host if nobody interrupts it.
const STAY: Duration = Duration::from_secs(1800);

/// Asks the host's web server for its page, as a browser on the host would.
const GET: &str =
    "exec 3<> /dev/tcp/127.0.0.1/8080 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && tail -n 1 <&3";

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    if has("--tidy") {
        return leftovers::remove_those_of_killed_runs();
    }
    let started = Instant::now();
    let screen = Screen::new();
    let mut world = World::new();
    let host = world.boot();
    play(&screen, &mut world, &host);
    screen.note(&format!(
        "That took {} seconds; systemd, Nix, git and the network between them were real.",
        started.elapsed().as_secs()
    ));
    look_inside(&screen, &host, has("--stay"));
}

fn play(screen: &Screen, world: &mut World, host: &Host) {
    screen.scene("A host is up and follows a git repository");
    let status = host.wait_for_status("the first look is over", DEADLINE, |status| {
        status["condition"]["state"] == "converged"
    });
    // That it is what it booted into was told already.
    let journal = &mut Journal::follow(host, &status["last"]["deployment"]);
    screen.command(host, "cat /etc/deploy-flake/config.toml | head -n 3");
    screen.command(host, "systemctl is-system-running");
    screen.command(host, "readlink /run/current-system");

    screen.scene("git push: the first commit brings a web server");
    let first = web("first-commit", "Hello from the first commit.");
    deploy(screen, journal, world, &first, "deployed");
    shown(screen, host);

    screen.scene("git push: the second commit changes its page");
    let second = web("second-commit", "Hello from the second commit.");
    deploy(screen, journal, world, &second, "deployed");
    shown(screen, host);

    screen.scene("git push: a bad commit, whose own check says no");
    let check = "echo 'the database is being migrated, not now' >&2; exit 1";
    let bad = web("bad-commit", "This is never seen.").with("selfCheck", check);
    deploy(screen, journal, world, &bad, "refused");
    shown(screen, host);

    screen.scene("git push: a commit that takes the host's own network down");
    let page = web("cut-off", "Nobody out there will see this.");
    let commit = deploy(
        screen,
        journal,
        world,
        &Sabotage::NetworkDown.spoil(page),
        "rolled-back",
    );
    shown(screen, host);

    screen.scene("What the daemon says of it");
    host.wait_for_status("the way back is told", DEADLINE, |status| {
        status["last"]["commit"] == commit.0 && status["phase"]["name"] == "resting"
    });
    let answers = if host.answers_ssh() { "yes" } else { "no" };
    screen.fact("reached by ssh", answers);
    screen.command(host, "deploy-flake status");
    screen.command(
        host,
        "systemctl status --no-pager --lines=0 deploy-flake | sed -n 's/ (.*);.*//; 1p; /Active:\\|Status:/p' | fold -s -w 80",
    );
}

/// A host with a web server that has one page.
fn web(label: &str, page: &str) -> Generation {
    let unit = "[Unit]\nDescription=The web server\n[Service]\n\
                ExecStart=/usr/sbin/lighttpd -D -f /etc/web/lighttpd.conf\n";
    let config = "server.document-root = \"/etc/web\"\nserver.port = 8080\n\
                  server.bind = \"127.0.0.1\"\nindex-file.names = ( \"index.html\" )\n";
    Generation::new(label)
        .wanted_unit("web.service", unit)
        .etc("web/lighttpd.conf", config)
        .etc("web/index.html", &format!("{page}\n"))
}

/// Pushes a generation and shows the journal until its deployment has ended, which has to be in the expected way.
fn deploy(
    screen: &Screen,
    journal: &mut Journal,
    world: &mut World,
    generation: &Generation,
    expected: &str,
) -> CommitId {
    let commit = world.server().repository().publish(generation);
    screen.note(&format!(
        "pushed {}; the daemon's journal:",
        &commit.0[..12]
    ));
    let ended = journal.show_until(screen, DEADLINE, |entry| {
        entry["DF_COMMIT"] == commit.0 && entry["DF_OUTCOME"] != Value::Null
    });
    assert_eq!(ended["DF_OUTCOME"], expected, "{ended:#}");
    commit
}

/// What became of the host: its page, what runs, what a reboot would start.
fn shown(screen: &Screen, host: &Host) {
    let page = host.run(&["bash", "-c", GET]);
    screen.fact("the page says", page.text());
    screen.fact("running", &host.running_system());
    screen.fact("next boot", &host.default_system());
}

/// Says how to get inside, and with `--stay` keeps the host until somebody ends this program.
fn look_inside(screen: &Screen, host: &Host, stay: bool) {
    if !stay {
        screen.note("To look around on the host yourself: tests/demo --stay");
        return;
    }
    screen.scene("The host stays for half an hour, or until you press Ctrl-C");
    screen.note("In another terminal, as root (one line):");
    println!("{}", host.how_to_enter());
    screen.note("and there: deploy-flake status; deploy-flake trigger --wait;");
    screen.note("journalctl -u deploy-flake; systemctl list-units 'deploy-flake*'");
    std::thread::sleep(STAY);
}
