//! A host follows its branch: each commit becomes the running system, then the profile and the boot entry.

use deploy_flake::report::milestones;

use crate::common::{
    DEADLINE, configuration, deployed, ended_as, entries, field, is_all, looks, settled, systems,
    text, web,
};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::network::Address;
use crate::testbed::world::World;

fn is_active(host: &Host, unit: &str) -> bool {
    host.run(&["systemctl", "is-active", "--quiet", unit]).code == Some(0)
}

#[test]
fn the_first_commit_is_deployed_and_comes_up_after_a_reboot() {
    let mut world = World::new();
    let commit = world.server().repository().publish(&web("second"));
    let mut host = world.boot();
    let first = host.booted_system();

    let second = deployed(&host, &commit);
    assert_ne!(second, first);
    assert!(is_active(&host, "web.service"));
    assert_eq!(host.default_entry(), "nixos-generation-2.conf");
    assert_eq!(host.status()["system"]["generation"], 2);
    assert_eq!(host.status()["system"]["booted"], first.as_str());
    assert_eq!(host.status()["remote"]["head"], commit.0);
    for hook in [
        "build",
        "switch-to-configuration-test",
        "switch-to-configuration-boot",
    ] {
        assert_eq!(host.tally_of(&format!("{hook} {second}")), 1, "{hook}");
    }

    let deployment = host.status()["last"]["deployment"].clone();
    host.reboot();
    assert_eq!(host.booted_system(), second);
    host.wait_for_status(
        "the daemon has looked after the reboot",
        DEADLINE,
        |status| {
            status["looks"]["finished"].as_u64() >= Some(2)
                && status["condition"]["state"] == "converged"
        },
    );
    is_all(&host, &second);
    assert_eq!(host.status()["last"]["deployment"], deployment);
    assert_eq!(host.tally_of("switch-to-configuration-test"), 1);
    assert!(is_active(&host, "web.service"));
}

#[test]
fn a_commit_before_the_one_that_runs_is_told_as_the_host_it_is() {
    // The repository holds just what the host booted into.
    let world = World::new();
    let host = world.boot();
    let first = settled(&host);
    assert_eq!(systems(&host), [&*first, &*first, &*first]);
    assert_eq!(host.tally_of("build"), 0, "it was in the store already");
    assert_eq!(host.tally_of("switch-to-configuration"), 0);
}

#[test]
fn a_second_commit_is_deployed_after_the_first() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let mut seen = Vec::new();
    for label in ["second", "third"] {
        let commit = world.server().repository().publish(&web(label));
        let system = deployed(&host, &commit);
        assert!(system.ends_with(label), "{system}");
        seen.push((commit.0, system));
    }
    for (number, (_, system)) in seen.iter().enumerate() {
        for hook in [
            "build",
            "switch-to-configuration-test",
            "switch-to-configuration-boot",
        ] {
            assert_eq!(
                host.tally_of(&format!("{hook} {system}")),
                1,
                "{hook} {number}"
            );
        }
    }
    let told = field(&entries(&host, milestones::DEPLOYED), "DF_COMMIT");
    assert_eq!(told, [&*seen[0].0, &*seen[1].0]);
    assert_eq!(host.default_entry(), "nixos-generation-3.conf");
}

#[test]
fn git_revert_deploys_the_older_system_again() {
    let mut world = World::new();
    let mut host = world.boot();
    let first = settled(&host);
    let commit = world.server().repository().publish(&web("second"));
    let second = deployed(&host, &commit);

    let repository = world.server().repository();
    let revert = repository.revert();
    repository.push();
    assert_eq!(deployed(&host, &revert), first);
    assert!(!is_active(&host, "web.service"));
    assert_eq!(
        host.tally_of("build"),
        1,
        "the older system was still there"
    );
    assert_eq!(
        host.tally_of(&format!("switch-to-configuration-boot {second}")),
        1
    );

    host.reboot();
    assert_eq!(host.booted_system(), first);
}

#[test]
fn a_commit_that_changes_nothing_here_activates_nothing() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let commit = world.server().repository().publish(&web("second"));
    let second = deployed(&host, &commit);
    let before = (host.tally(), host.default_entry());

    let repository = world.server().repository();
    repository.write("README.md", "Hosts of the example.\n");
    let commit = repository.commit("words only");
    repository.push();
    let status = ended_as(&host, &commit, "unchanged");
    assert_eq!(status["condition"]["state"], "converged");
    assert_eq!(status["desired"]["toplevel"], second.as_str());
    is_all(&host, &second);
    looks(&host, 2);
    assert_eq!((host.tally(), host.default_entry()), before);
    let told = field(&entries(&host, milestones::UNCHANGED), "DF_COMMIT");
    assert_eq!(told.iter().filter(|told| **told == commit.0).count(), 1);
}

#[test]
fn a_commit_is_another_system_where_the_configuration_holds_its_revision() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let revised = web("revised").with("embedRevision", true);
    let commit = world.server().repository().publish(&revised);
    let system = deployed(&host, &commit);
    let revision = host.shell(&format!("cat {system}/configuration-revision"));
    assert_eq!(revision.text(), commit.0);

    let repository = world.server().repository();
    repository.write("README.md", "Hosts of the example.\n");
    let commit = repository.commit("words only");
    repository.push();
    assert_ne!(deployed(&host, &commit), system);
}

#[test]
fn a_remote_is_followed_over_http() {
    let url = format!("http://{}/git/infrastructure.git", Address::FIRST);
    let config = configuration("", &url, "1s");
    let follower = |label: &str| Generation::new(label).daemon_config(&config);
    let mut world = World::starting_with(follower("first"));
    let host = world.boot();
    settled(&host);
    let commit = world.server().repository().publish(&follower("second"));
    deployed(&host, &commit);
    assert_eq!(host.status()["remote"]["url"], url);
    looks_that_find_nothing_new_write_nothing(&host);
}

/// To the ledger, the mirror, the store or anywhere else on a disk; the snapshot is in memory.
fn looks_that_find_nothing_new_write_nothing(host: &Host) {
    // The journal's files are journald's; what the daemon gives it to write is counted.
    let disks =
        "find / -xdev -path /var/log/journal -prune -o -printf '%p %i %T@ %C@ %s\\n' | sort";
    let seen = || {
        let said = ["deploy-flake", "deploy-flake-fetcher"].map(|unit| {
            let unit = format!("_SYSTEMD_UNIT={unit}.service");
            host.journal(&[&unit]).len()
        });
        (host.shell(disks).text().to_owned(), said)
    };
    looks(host, 2);
    let (before, said) = seen();
    assert!(before.contains("/var/lib/deploy-flake/ledger "), "{before}");
    assert!(
        before.contains("/var/cache/deploy-flake/mirror/"),
        "{before}"
    );
    looks(host, 5);
    let (after, said_after) = seen();
    let changed: Vec<&str> = after
        .lines()
        .filter(|line| !before.contains(line))
        .collect();
    assert!(
        changed.is_empty() && before.len() == after.len(),
        "{changed:#?}"
    );
    assert_eq!(said, said_after);
}

#[test]
fn a_remote_is_followed_in_a_directory_of_the_host() {
    let path = "/srv/git/infrastructure.git";
    let config = configuration("", &format!("file://{path}"), "1s");
    let follower = |label: &str| Generation::new(label).daemon_config(&config);
    let mut world = World::starting_with(follower("first"));
    let host = world.boot();
    let from = world.server().url("git");
    host.run(&["git", "clone", "--quiet", "--mirror", &from, path])
        .must_succeed();
    // It is root's, so git refuses it to the user that fetches: what to do is said.
    let status = host.wait_for_status("the remote cannot be asked", DEADLINE, |status| {
        status["condition"]["state"] == "remote-unreachable"
    });
    let remedy = text(&status["condition"]["remedy"]);
    assert!(
        remedy.contains("belongs to the user deploy-flake-fetch"),
        "{remedy}"
    );
    host.run(&["chown", "-R", "deploy-flake-fetch:", path])
        .must_succeed();
    settled(&host);
    let commit = world.server().repository().publish(&follower("second"));
    let fetch = [
        "runuser",
        "-u",
        "deploy-flake-fetch",
        "--",
        "git",
        "-C",
        path,
        "fetch",
    ];
    host.run(&fetch).must_succeed();
    deployed(&host, &commit);
}
