//! What a server feels of a fleet: the daemon's schedule, simulated for hours in no time.
//!
//! In: the schedule's functions. Out: bounds that hold whatever is drawn. Must not: wait.

use std::time::Duration;

mod simulation;

use simulation::Course;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_fleet_that_is_powered_on_at_once_does_not_ask_at_once() {
    for (hosts, most) in [(1_000, 5.0), (10_000, 3.0)] {
        let course = Course::of(hosts);
        let seen = course.run();
        let usual = f64::from(hosts) / course.period.as_secs_f64();
        let start = seen.load(Duration::ZERO, course.outage.0);
        assert!(
            (0.95..1.1).contains(&(start.mean / usual)),
            "{}",
            start.mean
        );
        let peak = f64::from(start.peak) / usual;
        assert!(peak < most, "{hosts} hosts: {peak} times the mean");
    }
}

#[test]
fn a_server_that_comes_back_is_not_run_down() {
    for (hosts, most) in [(1_000, 3.0), (10_000, 1.8)] {
        let course = Course::of(hosts);
        let seen = course.run();
        let usual = f64::from(hosts) / course.period.as_secs_f64();
        let away = seen.load(course.outage.0 + 10 * MINUTE, course.outage.1);
        assert!(
            away.mean < usual / 4.0,
            "it is asked less and less: {}",
            away.mean
        );
        let after = seen.load(course.outage.1, course.end);
        let peak = f64::from(after.peak) / usual;
        assert!(peak < most, "{hosts} hosts: {peak} times the mean");
    }
}

#[test]
fn every_host_is_back_within_an_hour_and_then_polls_as_before() {
    let course = Course::of(10_000);
    let seen = course.run();
    assert_eq!(seen.back.len(), 10_000);
    let last = seen.back_after(100);
    assert!(last <= 60 * MINUTE, "{last:?}");
    let usual = f64::from(course.hosts) / course.period.as_secs_f64();
    let later = seen.load(course.outage.1 + 61 * MINUTE, course.end);
    assert!(
        (0.98..1.02).contains(&(later.mean / usual)),
        "{}",
        later.mean
    );
}
