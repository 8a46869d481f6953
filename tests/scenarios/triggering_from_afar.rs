//! `deploy-flake trigger HOST`: one host, through the operator's own ssh and a real sshd.

use crate::common::{is_all, settled};
use crate::testbed::child::Output;
use crate::testbed::client::Client;
use crate::triggering::{next, world};

fn trigger(client: &Client, words: &[&str]) -> Output {
    client.run(&[&["deploy-flake", "trigger"], words].concat())
}

#[test]
fn an_operator_triggers_a_host_and_has_its_exit_code() {
    let mut world = world();
    let (host, client) = (world.boot(), world.client());
    client.knows("web1", &host, "operator");
    client.knows("stranger", &host, "visitor");
    settled(&host);

    world.server().repository().publish(&next("second"));
    let deployed = trigger(&client, &["web1", "--wait"]);
    assert_eq!(deployed.code, Some(0), "{deployed}");
    assert!(
        deployed.stdout.contains("activating the system"),
        "{deployed}"
    );
    let second = host.running_system();
    assert!(second.ends_with("second"), "{second}");

    let bad = next("bad").with("selfCheck", "echo not today >&2; exit 1");
    world.server().repository().publish(&bad);
    let refused = trigger(&client, &["web1", "--wait", "--timeout", "1m"]);
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stdout.contains("not today"), "{refused}");
    is_all(&host, &second);

    let turned_away = trigger(&client, &["stranger"]);
    assert_eq!(turned_away.code, Some(1), "{turned_away}");
    assert!(turned_away.stdout.contains("join the"), "{turned_away}");

    host.run(&["systemctl", "stop", "deploy-flake"])
        .must_succeed();
    let stopped = trigger(&client, &["web1"]);
    assert_eq!(stopped.code, Some(7), "{stopped}");
    let unknown = trigger(&client, &["root@192.0.2.1"]);
    assert_eq!(unknown.code, Some(255), "ssh's own: {unknown}");
}

#[test]
fn no_name_of_a_host_is_taken_for_an_option_or_a_command() {
    let world = world();
    let client = world.client();
    let mark = |path: &str| client.run(&["test", "-e", path]).code == Some(0);
    let hostile = [
        "-oProxyCommand=touch /tmp/mark",
        "-oProxyCommand=touch${IFS}/tmp/mark",
        "web1 touch /tmp/mark",
        "web1;touch /tmp/mark",
        "web1\ntouch /tmp/mark",
        "\u{202e}1bew",
        "$(touch${IFS}/tmp/mark)",
        "`touch${IFS}/tmp/mark`",
        "root@-oProxyCommand=touch${IFS}/tmp/mark",
        "ssh://-oProxyCommand=touch${IFS}/tmp/mark/",
        "nixos://root@web1/$(touch${IFS}/tmp/mark)",
        "web1;touch${IFS}/tmp/mark",
        "",
    ];
    for name in hostile {
        let refused = trigger(&client, &["--", name]);
        assert_eq!(refused.code, Some(2), "{name:?}: {refused}");
    }
    assert!(!mark("/tmp/mark"), "no command was run");
}
