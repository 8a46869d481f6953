//! `--confirm`: a confirm window that nobody would wait out is ended by a new connection, or by whoever is asked.

use std::time::Duration;

use crate::common::{DEADLINE, deployed, ended_as, is_all, settled};
use crate::testbed::child::Output;
use crate::testbed::client::Client;
use crate::testbed::world::{World, wait_until};
use crate::window::{first, generation};

/// A confirm window that nobody waits out, in seconds.
const ENDLESS: u32 = 600;

/// Far less than that.
const SHORT: Duration = Duration::from_secs(240);

/// Keeps connections that are there, and drops whoever comes to sshd anew from outside; the host itself is treated like
/// that.
fn closed(itself: &str) -> String {
    format!(
        "table inet closed {{\n chain input {{\n  type filter hook input priority 0; policy accept;\n  \
         iifname lo {itself}\n  tcp dport 22 tcp flags & (syn | ack) == syn drop\n }}\n}}\n"
    )
}

/// Triggers on a terminal, types the answer once it is asked for, and returns how that ended.
fn asked(client: &Client, answer: &str) -> Output {
    client
        .run(&[
            "sh",
            "-c",
            "rm -f /tmp/typed /tmp/screen; mkfifo /tmp/typed",
        ])
        .must_succeed();
    let line = "exec 3<> /tmp/typed; TERM=xterm script --quiet --return --flush \
                --command 'deploy-flake trigger web1 --confirm=ask' /dev/null < /tmp/typed > /tmp/screen; \
                code=$?; cat /tmp/screen; exit $code";
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| client.run_for(&["sh", "-c", line], SHORT));
        wait_until("it asks", DEADLINE, || {
            let screen = client.run(&["cat", "/tmp/screen"]).stdout;
            screen.contains("web1 runs the new system: is it good?")
        });
        let typed = format!("echo maybe > /tmp/typed; echo {answer} > /tmp/typed");
        client.run(&["sh", "-c", &typed]).must_succeed();
        asking.join().expect("it does not panic")
    })
}

#[test]
fn a_window_is_ended_by_a_new_connection_or_by_whoever_is_asked() {
    let mut world = World::starting_with(first(1));
    let (host, client) = (world.boot(), world.client());
    settled(&host);
    client.knows("web1", &host, "operator");

    let commit = world
        .server()
        .repository()
        .publish(&generation("second", ENDLESS));
    let line = format!("deploy-flake trigger web1 --confirm --expect {}", commit.0);
    let confirmed = client.run_for(&["sh", "-c", &line], SHORT);
    assert_eq!(confirmed.code, Some(0), "{confirmed}");
    for told in [
        "web1: watching the host's health",
        "web1: confirmed, and deployed as soon as",
    ] {
        assert!(confirmed.stdout.contains(told), "{told}: {confirmed}");
    }
    let second = deployed(&host, &commit);

    // Nobody can be asked without a terminal.
    let nobody = client.run(&["deploy-flake", "trigger", "web1", "--confirm=ask"]);
    assert_eq!(nobody.code, Some(2), "{nobody}");

    let commit = world
        .server()
        .repository()
        .publish(&generation("third", ENDLESS));
    let rejected = asked(&client, "n");
    assert_eq!(rejected.code, Some(9), "{rejected}");
    let status = ended_as(&host, &commit, "rolled-back");
    assert_eq!(status["last"]["failure"]["code"], "rejected", "{status:#}");
    is_all(&host, &second);

    let commit = world
        .server()
        .repository()
        .publish(&generation("fourth", ENDLESS));
    let agreed = asked(&client, "y");
    assert_eq!(agreed.code, Some(0), "{agreed}");
    deployed(&host, &commit);
}

#[test]
fn a_system_that_no_new_connection_gets_into_is_not_confirmed_and_led_back_from_by_the_host() {
    let mut world = World::starting_with(first(1));
    let (host, client) = (world.boot(), world.client());
    let before = settled(&host);
    client.knows("web1", &host, "operator");
    let trigger = "deploy-flake trigger web1 --confirm --ssh-option ConnectTimeout=2";
    let unsaid = "web1: not confirmed, its window goes on: ssh: connect to host";

    // The host itself finds that its ssh server does not answer: the connection that is there sees it led back.
    let shut =
        generation("shut", ENDLESS).with("firewall", closed("tcp dport 22 reject with tcp reset"));
    let commit = world.server().repository().publish(&shut);
    let led_back = client.run_for(&["sh", "-c", trigger], SHORT);
    assert_eq!(led_back.code, Some(9), "{led_back}");
    assert!(led_back.stdout.contains(unsaid), "{led_back}");
    assert!(!led_back.stdout.contains("web1: confirmed"), "{led_back}");
    assert!(
        led_back
            .stdout
            .contains("web1: rolled back: The previous system runs again"),
        "{led_back}"
    );
    let status = ended_as(&host, &commit, "rolled-back");
    let why = status["last"]["failure"]["message"].as_str();
    assert!(why.is_some_and(|why| why.contains("ssh")), "{status:#}");
    is_all(&host, &before);

    // It does not find that where only others are kept out: the window is not ended early, and takes its time.
    let window = 10;
    let outside = generation("outside", window).with("firewall", closed("accept"));
    let commit = world.server().repository().publish(&outside);
    let waited = client.run_for(&["sh", "-c", trigger], SHORT);
    assert_eq!(waited.code, Some(0), "{waited}");
    assert!(waited.stdout.contains(unsaid), "{waited}");
    assert!(!waited.stdout.contains("web1: confirmed"), "{waited}");
    deployed(&host, &commit);
}
