//! What several hosts are asked about from afar: history, one deployment, differences, logs, health and the plan; each
//! is told under its own name, and what is wrong with one keeps no other from being told.

use std::time::Duration;

use deploy_flake::model::text::is_unsafe;
use serde_json::Value;

use crate::common::{DEADLINE, deployed, text};
use crate::many_hosts::{deploy_flake, tells, three};
use crate::testbed::child::Output;
use crate::testbed::client::Client;
use crate::testbed::host::Host;
use crate::testbed::world::{World, wait_until};
use crate::triggering::{next, world};

/// How long ssh has to find out that nothing comes back: thrice five seconds, and what a busy machine adds.
const MISSED: Duration = Duration::from_secs(60);

/// Each line, of JSON.
fn lines(output: &Output) -> Vec<Value> {
    let lines = output.stdout.lines();
    let lines = lines.map(|line| serde_json::from_str(line).expect("each line is JSON"));
    lines.collect()
}

/// The id of the newest deployment.
fn newest(host: &Host) -> String {
    text(&host.status()["last"]["deployment"])
}

/// Nobody's page steers the terminal of whoever looks, or turns what is read around.
#[track_caller]
fn is_safe(output: &Output) {
    let steers = |c: char| is_unsafe(c) && c != '\n';
    assert!(!output.stdout.contains(steers), "{output}");
}

#[test]
fn several_hosts_tell_of_their_deployments_and_their_health() {
    let mut world = world();
    let (hosts, client) = three(&world);
    let [web1, web2, _] = &hosts;
    for (name, host) in ["root1", "root2"].iter().zip(&hosts) {
        client.knows(name, host, "root");
    }
    world
        .server()
        .repository()
        .set(&next("second").with("packages", vec!["hello-2.12"]));
    let second = world
        .server()
        .repository()
        .commit("web: \u{1b}]0;x\u{7}\u{202e}more");
    world.server().repository().push();
    tells(&deploy_flake(&client, "trigger web1 web2"), 0, &[]);
    for host in [web1, web2] {
        deployed(host, &second);
    }

    let line = "history web1 web3 gone --limit 1 --ssh-option ConnectTimeout=3";
    let history = deploy_flake(&client, line);
    let told = [
        "── web1 ──\nID ",
        " deployed ",
        "\n\n── web3 ──\nID ",
        "gone: unreachable: ",
    ];
    tells(&history, 11, &told);
    is_safe(&history);
    let alone = deploy_flake(&client, "history web1");
    tells(
        &alone,
        0,
        &["ID        STARTED", "web: \\u{1b}]0;x\\u{7}\\u{202e}more"],
    );
    assert!(!alone.stdout.contains("──"), "{alone}");
    is_safe(&alone);
    let json = deploy_flake(&client, "history web1 web2 --output json");
    is_safe(&json);
    let told = lines(&json);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        (&told[0]["host"], &told[1]["host"]),
        (&"web1".into(), &"web2".into())
    );
    let of_web1 = &told[0]["history"]["deployments"][0];
    assert_eq!(
        (&told[0]["exit"], &of_web1["commit"]),
        (&0.into(), &second.0.clone().into())
    );

    // An id is one host's.
    let id = newest(web1);
    let shown = deploy_flake(&client, &format!("show {} web1 web2", &id[..8]));
    tells(
        &shown,
        11,
        &[
            "── web1 ──\n",
            " deployed\n",
            "\nweb2: error: no deployment is kept",
        ],
    );
    let differs = deploy_flake(&client, "diff web1 web2");
    tells(&differs, 0, &["── web2 ──\n", "hello  2.12"]);
    let other = deploy_flake(&client, "diff booted running web1");
    tells(&other, 0, &["hello  2.12"]);
    let wrong = deploy_flake(&client, "history nixos://web1/database");
    tells(
        &wrong,
        1,
        &["it runs the configuration \"host\", not \"database\""],
    );

    let plan = deploy_flake(&client, "plan web1 web2");
    tells(
        &plan,
        0,
        &["── web1 ──\n", ": a look now would do nothing\n"],
    );
    let plan = lines(&deploy_flake(&client, "plan web1 --output json"));
    assert_eq!(
        (&plan[0]["plan"]["would"], &plan[0]["plan"]["floor"]),
        (&"nothing".into(), &second.0.clone().into())
    );

    tells(
        &deploy_flake(&client, "doctor web1 web2"),
        0,
        &["── web2 ──\n", "  ok   daemon "],
    );
    web2.run(&["systemctl", "stop", "deploy-flake"])
        .must_succeed();
    let doctor = deploy_flake(&client, "doctor web1 web2");
    tells(&doctor, 11, &["  ok   daemon ", "  FAIL daemon "]);
    tells(
        &deploy_flake(&client, "doctor web2"),
        1,
        &["  FAIL daemon "],
    );
    web2.run(&["systemctl", "start", "deploy-flake"])
        .must_succeed();

    let said = deploy_flake(&client, &format!("logs {id} root1 root2"));
    tells(
        &said,
        11,
        &[
            "root1  ",
            "the commit is deployed",
            "root2: error: the journal shows no line",
        ],
    );
    is_safe(&said);
    let denied = deploy_flake(&client, &format!("logs {id} web1"));
    tells(&denied, 1, &["systemd-journal"]);
    are_followed(&client, &mut world, web1, web2);
}

/// Who follows the logs of several hosts sees each line once, also if a connection dies meanwhile.
#[track_caller]
fn are_followed(client: &Client, world: &mut World, web1: &Host, web2: &Host) {
    for host in [web1, web2] {
        host.close_gate("activate");
    }
    let third = world.server().repository().publish(&next("third"));
    tells(&deploy_flake(client, "trigger web1 web2 --no-wait"), 0, &[]);
    for host in [web1, web2] {
        host.wait_for_gate("activate", DEADLINE);
    }
    let followed = std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            let line = "deploy-flake logs root1 root2 --follow > /tmp/said 2>&1; code=$?; cat /tmp/said; exit $code";
            client.run_for(&["sh", "-c", line], Duration::from_secs(240))
        });
        let is_told = |words: &str, deadline| {
            wait_until(words, deadline, || {
                client.run(&["cat", "/tmp/said"]).stdout.contains(words)
            });
        };
        is_told("root1  ", DEADLINE);
        is_told("root2  ", DEADLINE);
        web1.cut_link();
        is_told("root1: no connection", MISSED);
        web1.join_link();
        web1.wait_until("it is listened to again", MISSED, |host| {
            let id = newest_going_on(host);
            let line = format!("deploy-flake logs {id} --follow");
            host.run(&["pgrep", "--full", &line]).code == Some(0)
        });
        for host in [web1, web2] {
            host.open_gate("activate");
        }
        following.join().expect("it does not panic")
    });
    tells(&followed, 0, &[]);
    for (name, host) in [("root1  ", web1), ("root2  ", web2)] {
        deployed(host, &third);
        for words in [
            "the branch points to a new commit",
            "the commit is deployed",
        ] {
            let is_it = |line: &&str| line.starts_with(name) && line.contains(words);
            assert_eq!(
                followed.stdout.lines().filter(is_it).count(),
                1,
                "{words}: {followed}"
            );
        }
    }
}

fn newest_going_on(host: &Host) -> String {
    text(&host.status()["phase"]["deployment"])
}
