//! How a host of the test bed is reached, proven without the product: its system says so, and another one may say
//! otherwise.

use serde_json::Value;

use crate::bed::{switch, world};
use crate::testbed::generation::Generation;
use crate::testbed::git_server::GitServer;

#[test]
fn a_host_has_its_address_and_its_route_from_its_system() {
    let world = world();
    let mut host = world.boot();
    let first = host.running_system();
    assert!(host.has_default_route());
    assert!(host.answers_ssh());
    let named = GitServer::named_url("git");
    host.run(&["git", "ls-remote", &named]).must_succeed();

    let other = Generation::without_daemon("other").with("network", Value::Null);
    let other = host.build(&other);
    switch(&host, &other, "test").must_succeed();
    assert!(!host.has_default_route());
    assert!(!host.answers_ssh());
    switch(&host, &first, "test").must_succeed();
    assert!(host.has_default_route() && host.answers_ssh());

    host.reboot();
    assert!(host.has_default_route() && host.answers_ssh());
}

#[test]
fn sshd_is_configured_by_the_system_and_restarted_when_that_changes() {
    let host = world().boot();
    let pid = || {
        let show = ["systemctl", "show", "--value", "--property=MainPID"];
        host.run(&[&show[..], &["sshd.service"]].concat())
            .text()
            .to_owned()
    };
    let before = pid();
    let same = host.build(&Generation::without_daemon("same"));
    switch(&host, &same, "test").must_succeed();
    assert_eq!(pid(), before, "an equal configuration restarts nothing");

    let moved = host.build(&Generation::without_daemon("moved").sshd_port(2222));
    switch(&host, &moved, "test").must_succeed();
    assert_ne!(pid(), before);
    assert!(host.answers_ssh_on(2222) && !host.answers_ssh());
    switch(&host, &same, "test").must_succeed();
    assert!(host.answers_ssh() && !host.answers_ssh_on(2222));
}

#[test]
fn a_disk_of_a_host_can_be_small_and_outlives_its_boots() {
    let world = world();
    let mut host = world.host();
    host.limit_disk("/var", "64m");
    host.start();
    let fill = host.shell("head --bytes=100M /dev/zero > /var/big");
    assert!(fill.stderr.contains("No space left on device"), "{fill}");
    host.shell("rm /var/big && echo kept > /var/kept && sync")
        .must_succeed();
    host.kill_all();
    host.start();
    assert_eq!(host.shell("cat /var/kept").text(), "kept");
}
