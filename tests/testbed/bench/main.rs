//! What answers cost, measured on a real host: `tests/bench` runs it.
//!
//! In: the daemon under test. Out: a table with the minimum, median and maximum of several runs, and of the same number
//! of runs of `true` beside them, since machines are shared. Must not: judge; a figure is no test.

#![expect(
    clippy::disallowed_methods,
    reason = "the harness spawns children, waits with a clock and reads its environment"
)]

#[path = "../mod.rs"]
#[expect(dead_code, reason = "the bed offers more than the bench uses")]
#[expect(
    unreachable_pub,
    reason = "what scenarios may use is pub, although the crate has no users"
)]
mod testbed;

#[path = "../../fleet/simulation.rs"]
mod simulation;

use std::time::Duration;

use simulation::Course;
use testbed::generation::Generation;
use testbed::host::Host;
use testbed::world::World;

/// For whatever has to be waited for between measurements.
const DEADLINE: Duration = Duration::from_secs(90);

/// Runs of each command.
const RUNS: usize = 51;

fn main() {
    fleet();
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

/// What a server feels of a fleet, on the daemon's own schedule.
fn fleet() {
    println!(
        "\n| hosts, one poll a minute | polls/s | after power-on: mean | peak | in the outage's last 10 min: mean | \
         after it: peak | half of them back after | all |\n|---|---|---|---|---|---|---|---|"
    );
    for hosts in [1_000, 10_000] {
        let course = Course::of(hosts);
        let seen = course.run();
        let (from, to) = course.outage;
        let start = seen.load(Duration::ZERO, from);
        let away = seen.load(to - Duration::from_secs(600), to);
        let after = seen.load(to, course.end);
        let minutes = |percent| seen.back_after(percent).as_secs_f64() / 60.0;
        println!(
            "| {hosts} | {:.1} | {:.1} | {} | {:.1} | {} | {:.0} min | {:.0} min |",
            f64::from(hosts) / course.period.as_secs_f64(),
            start.mean,
            start.peak,
            away.mean,
            after.peak,
            minutes(50),
            minutes(100),
        );
    }
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
