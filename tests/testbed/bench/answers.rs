//! What `deploy-flake status` costs, whatever became of the daemon.
//!
//! In: a host of its own. Out: a table with the minimum, median and maximum of several runs, and of the same number of runs of
//! `true` beside them.

use std::time::Duration;

use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;

/// For whatever has to be waited for between measurements.
const DEADLINE: Duration = Duration::from_secs(90);

/// Runs of each command.
const RUNS: usize = 51;

/// Prints the table.
pub fn print() {
    let mut world = World::new();
    let host = world.boot();
    host.wait_for_status("the first look is over", DEADLINE, |status| {
        status["condition"]["state"] == "converged"
    });
    println!(
        "\n| `deploy-flake status`, whole process, {RUNS} runs | min | median | max |\n|---|---|---|---|"
    );
    row(&host, "beside it: `/usr/bin/true`", "/usr/bin/true");
    status(&host, "at rest");

    host.signal_daemon("STOP");
    status(&host, "the daemon does not run any more (SIGSTOP)");
    host.signal_daemon("CONT");

    host.close_gate("build");
    let slow = Generation::new("slow").one_shot("web.service", "/usr/bin/true");
    world.server().repository().publish(&slow);
    host.wait_for_gate("build", DEADLINE);
    status(&host, "a build hangs");
    host.open_gate("build");
    host.wait_for_status("the build is deployed", DEADLINE, |status| {
        status["last"]["outcome"] == "deployed"
    });

    host.run(&["systemctl", "stop", "deploy-flake"])
        .must_succeed();
    status(&host, "the daemon is stopped");
    host.run(&["systemctl", "stop", "dbus.socket", "dbus.service"]);
    status(&host, "the bus is stopped, too");
}

fn status(host: &Host, when: &str) {
    row(host, when, "deploy-flake status");
}

/// Measures inside the host, where nothing but starting the process comes on top.
fn row(host: &Host, when: &str, command: &str) {
    let line = format!(
        "for i in $(seq {RUNS}); do a=$EPOCHREALTIME; {command} > /dev/null; b=$EPOCHREALTIME; \
         echo $(( ${{b/./}} - ${{a/./}} )); done | sort -n"
    );
    let output = host.run(&["bash", "-c", &line]);
    output.must_succeed();
    let micros: Vec<f64> = output
        .stdout
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    let at = |index: usize| micros[index] / 1000.0;
    println!(
        "| {when} | {:.1} ms | {:.1} ms | {:.1} ms |",
        at(0),
        at(micros.len() / 2),
        at(micros.len() - 1)
    );
}
