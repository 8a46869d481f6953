//! A host's mode: whether what a commit asks for is tested, and whether it lasts.

use crate::common::{
    DEADLINE, configuration, deployed, ended_as, git_url, is_all, looks, settled, systems, text,
    web,
};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;

fn tests_of(host: &Host, system: &str) -> usize {
    host.tally_of(&format!("switch-to-configuration-test {system}"))
}

fn in_mode(mode: &str, label: &str) -> Generation {
    let top = format!("mode = \"{mode}\"");
    web(label).daemon_config(&configuration(&top, &git_url(), "1s"))
}

#[test]
fn in_mode_test_a_reboot_leads_back_and_in_mode_boot_it_leads_there() {
    let mut world = World::starting_with(in_mode("test", "first"));
    let mut host = world.boot();
    let first = settled(&host);
    let repository = world.server().repository();

    let commit = repository.publish(&in_mode("test", "tested"));
    let status = ended_as(&host, &commit, "deployed");
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    let system = text(&status["desired"]["toplevel"]);
    assert_eq!(systems(&host), [&*system, &*first, &*first]);
    host.reboot();
    host.wait_for_status("the test is over", DEADLINE, |status| {
        status["condition"]["state"] == "rolled-back"
    });
    let status = ended_as(&host, &commit, "rolled-back-by-reboot");
    assert_eq!(
        status["last"]["failure"]["code"], "test-ended",
        "{status:#}"
    );
    looks(&host, 3);
    is_all(&host, &first);
    assert_eq!(tests_of(&host, &system), 1);
    assert_eq!(host.status()["quarantine"], serde_json::json!([]));

    // The commit that changes the mode is brought here in both.
    let commit = repository.publish(&in_mode("boot", "to-boot"));
    host.wait_for_status("the commit lasts", DEADLINE, |status| {
        status["last"]["commit"] == commit.0
            && status["phase"]["name"] == "resting"
            && status["system"]["profile"] == status["system"]["running"]
    });
    let to_boot = deployed(&host, &commit);
    assert_eq!(tests_of(&host, &to_boot), 1);

    let commit = repository.publish(&in_mode("boot", "booted"));
    let status = ended_as(&host, &commit, "reboot-required");
    assert_eq!(
        status["last"]["failure"]["code"], "waits-for-reboot",
        "{status:#}"
    );
    assert_eq!(
        status["condition"]["state"], "reboot-required",
        "{status:#}"
    );
    let booted = text(&status["desired"]["toplevel"]);
    assert_eq!(systems(&host), [&*to_boot, &*booted, &*booted]);
    looks(&host, 2);
    assert_eq!(
        host.tally_of(&format!("switch-to-configuration-boot {booted}")),
        1
    );
    host.reboot();
    host.wait_for_status("the host has arrived", DEADLINE, |status| {
        status["condition"]["state"] == "converged"
    });
    assert_eq!(deployed(&host, &commit), booted);
    assert_eq!(tests_of(&host, &booted), 0);
}
