//! Commits that come while another one is on its way.

use deploy_flake::report::milestones;

use crate::common::{DEADLINE, deployed, entries, field, is_all, settled, web};
use crate::testbed::world::World;

#[test]
fn a_newer_commit_takes_over_from_one_that_is_still_building() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    host.close_gate("build");
    let older = world.server().repository().publish(&web("older"));
    host.wait_for_gate("build", DEADLINE);
    let newer = world.server().repository().publish(&web("newer"));
    host.wait_for_status("the older commit gives way", DEADLINE, |status| {
        status["last"]["commit"] == older.0 && status["last"]["outcome"] == "superseded"
    });
    host.open_gate("build");

    let system = deployed(&host, &newer);
    assert!(system.ends_with("newer"), "{system}");
    let activated: Vec<String> = host
        .tally()
        .into_iter()
        .filter(|line| line.contains("older") && !line.starts_with("build "))
        .collect();
    assert_eq!(activated, Vec::<String>::new(), "the older was never run");
    assert_eq!(
        host.tally_of(&format!("switch-to-configuration-test {system}")),
        1
    );
    let told = field(&entries(&host, milestones::SUPERSEDED), "DF_COMMIT");
    assert_eq!(told, [&*older.0]);
    assert_eq!(host.default_entry(), "nixos-generation-2.conf");
}

#[test]
fn a_commit_that_comes_during_a_test_waits_until_the_older_is_deployed() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    host.close_gate("activate");
    let older = world.server().repository().publish(&web("older"));
    host.wait_for_gate("activate", DEADLINE);
    let newer = world.server().repository().publish(&web("newer"));
    // A look now would see the newer one.
    host.run(&["deploy-flake", "trigger"]).must_succeed();
    assert_eq!(host.status()["phase"]["name"], "testing");
    host.open_gate("activate");

    let system = deployed(&host, &newer);
    let told = field(&entries(&host, milestones::DEPLOYED), "DF_COMMIT");
    assert_eq!(told, [&*older.0, &*newer.0]);
    let switched: Vec<String> = host
        .tally()
        .iter()
        .filter_map(|line| line.strip_prefix("switch-to-configuration-"))
        .filter(|line| line.starts_with("test") || line.starts_with("boot"))
        .map(|line| format!("{} {}", &line[..4], &line[line.len() - 5..]))
        .collect();
    assert_eq!(
        switched,
        ["test older", "boot older", "test newer", "boot newer"]
    );
    is_all(&host, &system);
}
