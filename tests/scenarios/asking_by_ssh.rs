//! A remote over ssh: a real server, a key that only the fetcher gets, and the server's own key.
//!
//! In: a host whose remote is the world's git server by ssh. Out: every failure of a key has its own code, touches
//! nothing, and is over as soon as the key is right.

use std::fs;

use serde_json::Value;

use crate::common::{DEADLINE, deployed, settled, systems, text};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::network::Address;
use crate::testbed::world::World;

/// Where the layer keeps the key that everybody logs in with.
const KEY: &str = "/opt/mini/operator-key";

fn generation(label: &str, lines: &str) -> Generation {
    let url = format!("ssh://root@{}/srv/git/infrastructure.git", Address::FIRST);
    let text = format!(
        "[[remote]]\nurl = \"{url}\"\npoll_interval = \"1s\"\n{lines}\n\
         [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n[deadlines]\npoll = \"4s\"\n"
    );
    Generation::without_daemon(label).daemon_config(&text)
}

fn world() -> (World, Host) {
    let identity = format!("identity_file = \"{KEY}\"");
    let first = generation("first", &identity).with("systemdConf", Value::Null);
    let world = World::starting_with(first);
    let host = world.boot();
    settled(&host);
    (world, host)
}

/// The key that the host's copy of the layer has for every ssh server of the world.
fn server_key(host: &Host) -> String {
    let text = fs::read_to_string(host.path("/etc/ssh/ssh_host_ed25519_key.pub"));
    text.expect("the layer has it").trim().to_owned()
}

/// Waits until the remote fails with this code, and returns the message.
#[track_caller]
fn fails(host: &Host, code: &str) -> String {
    host.run(&["deploy-flake", "trigger"]);
    let status = host.wait_for_status(code, DEADLINE, |status| {
        status["remote"]["last_error"]["code"] == code
    });
    assert_eq!(status["phase"]["name"], "resting", "{status:#}");
    text(&status["remote"]["last_error"]["message"])
}

/// Whether the fetcher has said this: ssh's own words.
fn was_said(host: &Host, words: &str) -> bool {
    let said = host.journal(&["--identifier=deploy-flake-fetcher"]);
    said.iter().any(|it| text(&it["MESSAGE"]).contains(words))
}

#[track_caller]
fn answers(host: &Host) {
    host.run(&["deploy-flake", "trigger"]);
    host.wait_for_status("the remote answers", DEADLINE, |status| {
        status["remote"]["last_error"].is_null()
    });
}

#[test]
fn a_private_repository_over_ssh_is_followed_with_a_key_that_its_fetcher_alone_gets() {
    let (mut world, host) = world();
    let as_fetcher = ["runuser", "-u", "deploy-flake-fetch", "--", "cat", KEY];
    assert_ne!(host.run(&as_fetcher).code, Some(0), "the key is root's");
    let pinned = format!(
        "identity_file = \"{KEY}\"\nhost_keys = [\"{}\"]",
        server_key(&host)
    );
    let second = generation("second", &pinned).one_shot("web.service", "true");
    let commit = world.server().repository().publish(&second);
    deployed(&host, &commit);
    // Now nothing but the pinned key is known.
    host.shell("rm /etc/ssh/ssh_known_hosts").must_succeed();
    let third = generation("third", &pinned);
    let commit = world.server().repository().publish(&third);
    deployed(&host, &commit);
}

#[test]
fn the_key_of_an_ssh_server_is_neither_believed_nor_learned() {
    let (mut world, host) = world();
    let before = systems(&host);
    host.shell("mv /etc/ssh/ssh_known_hosts /etc/ssh/away")
        .must_succeed();
    let told = fails(&host, "remote-key-unknown");
    assert!(told.contains("nobody has told this host the key"), "{told}");
    host.shell("mv /etc/ssh/away /etc/ssh/ssh_known_hosts")
        .must_succeed();
    answers(&host);

    let change = "cd /etc/ssh && mv ssh_host_ed25519_key old && ssh-keygen -q -t ed25519 -N '' -f new \
                  && cp new ssh_host_ed25519_key && kill -HUP $(cat /run/sshd.pid)";
    world.server().run(&["sh", "-c", change]).must_succeed();
    fails(&host, "remote-key-changed");
    assert!(was_said(&host, "IDENTIFICATION HAS CHANGED"));
    let back = "cd /etc/ssh && mv old ssh_host_ed25519_key && kill -HUP $(cat /run/sshd.pid)";
    world.server().run(&["sh", "-c", back]).must_succeed();
    answers(&host);
    assert_eq!(systems(&host), before);
}

#[test]
fn a_key_that_is_missing_broken_or_refused_is_told_and_taken_up_when_it_is_replaced() {
    let (mut world, host) = world();
    let shell = |line: &str| host.shell(&format!("cd /opt/mini && {line}"));
    shell("mv operator-key good").must_succeed();
    let told = fails(&host, "credential-unusable");
    assert!(told.contains(KEY), "{told}");

    // More than systemd hands over.
    shell("head -c 2M /dev/zero > operator-key").must_succeed();
    host.run(&["deploy-flake", "trigger"]);
    host.wait_for_status("a key that is no key is told", DEADLINE, |status| {
        let told = status["remote"]["last_error"]["message"].as_str();
        told.is_some_and(|it| it.contains("systemd cannot hand over"))
    });

    shell("echo nonsense > operator-key").must_succeed();
    host.run(&["deploy-flake", "trigger"]);
    let description = "the broken key is told in ssh's words";
    host.wait_until(description, DEADLINE, |host| was_said(host, "Load key"));
    fails(&host, "credential-unusable");

    let another =
        "rm operator-key && ssh-keygen -q -t ed25519 -N '' -f another && mv another operator-key";
    shell(another).must_succeed();
    fails(&host, "remote-denied");

    shell("mv good operator-key").must_succeed();
    answers(&host);
    let identity = format!("identity_file = \"{KEY}\"");
    let next = generation("next", &identity).one_shot("web.service", "true");
    let commit = world.server().repository().publish(&next);
    deployed(&host, &commit);
}

#[test]
fn an_ssh_server_that_hangs_is_given_up_and_leaves_no_ssh_behind() {
    let (mut world, host) = world();
    let signal = |world: &mut World, signal: &str| {
        let line = format!("kill -{signal} $(cat /run/sshd.pid)");
        world.server().run(&["sh", "-c", &line]).must_succeed();
    };
    signal(&mut world, "STOP");
    fails(&host, "remote-unreachable");
    signal(&mut world, "CONT");
    answers(&host);
    host.wait_until("no ssh of ours is left", DEADLINE, |host| {
        host.run(&["pgrep", "-u", "deploy-flake-fetch", "-x", "ssh"])
            .code
            == Some(1)
    });
}
