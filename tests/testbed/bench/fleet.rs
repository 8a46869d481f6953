//! What a server feels of a fleet: the daemon's own schedule, simulated.
//!
//! In: numbers of hosts. Out: a table. Must not: boot any of them.

use std::time::Duration;

use crate::simulation::Course;

/// What a server feels of a fleet, on the daemon's own schedule.
pub fn print() {
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
