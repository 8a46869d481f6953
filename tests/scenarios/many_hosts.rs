//! The command line to many hosts: three real ones and some that are not there, through a real ssh. What becomes of each
//! is told, the exit code says what all of it amounts to, and which hosts are meant may be said by the local flake.

use std::time::Duration;

use serde_json::Value;

use crate::common::{git_url, is_all, settled};
use crate::testbed::child::Output;
use crate::testbed::client::Client;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::CommitId;
use crate::testbed::world::World;
use crate::triggering::{next, world};

/// Half a minute of patience for a commit that does not come, and all that a busy machine adds.
const LONG: Duration = Duration::from_secs(180);

/// Boots the hosts `web1` to `web3` as the client knows them; nobody answers at `gone`.
pub(crate) fn three(world: &World) -> ([Host; 3], Client) {
    let client = world.client();
    let hosts = [world.boot(), world.boot(), world.boot()];
    for (number, host) in (1..).zip(&hosts) {
        settled(host);
        client.knows(&format!("web{number}"), host, "operator");
    }
    client.knows_address("gone*", "192.0.2.1", "operator");
    (hosts, client)
}

/// Runs deploy-flake at the client.
pub(crate) fn deploy_flake(client: &Client, line: &str) -> Output {
    let words: Vec<&str> = std::iter::once("deploy-flake")
        .chain(line.split(' '))
        .collect();
    client.run_for(&words, LONG)
}

#[track_caller]
pub(crate) fn tells(output: &Output, code: i32, told: &[&str]) {
    assert_eq!(output.code, Some(code), "{output}");
    for words in told {
        assert!(output.stdout.contains(words), "{words:?} in {output}");
    }
}

/// A system whose daemon takes the host for well only where somebody says so.
fn watched(label: &str) -> Generation {
    let configuration = format!(
        "[[remote]]\nurl = \"{}\"\npoll_interval = \"1h\"\n\n[health]\nconfirm_window = \"1s\"\n\
         probe_deadline = \"3s\"\n\n[[probe]]\nname = \"watched\"\n\
         command = [\"/usr/bin/test\", \"-e\", \"/run/watched\"]\n",
        git_url()
    );
    next(label).daemon_config(&configuration)
}

fn publish(world: &mut World, generation: &Generation) -> CommitId {
    world.server().repository().publish(generation)
}

#[test]
fn every_host_is_followed_to_its_own_end() {
    let mut world = world();
    let (hosts, client) = three(&world);
    let [web1, web2, web3] = &hosts;
    let first = web1.running_system();
    let address = web2.address();

    let all = format!("web1 nixos://operator@{address}:22/host nixos://web3");
    let there = deploy_flake(&client, &format!("trigger {all} --detailed-exit-code"));
    tells(
        &there,
        12,
        &[
            "web1: there already",
            "web3: there already",
            "all 3 hosts are fine",
        ],
    );
    tells(&deploy_flake(&client, &format!("trigger {all}")), 0, &[]);
    let told = deploy_flake(&client, "trigger web1 web2 --no-wait");
    tells(&told, 0, &["web1: told", "web2: told"]);
    let other = deploy_flake(&client, "trigger nixos://web1/database");
    tells(
        &other,
        1,
        &["it runs the configuration \"host\", not \"database\""],
    );

    for host in [web1, web2] {
        host.run(&["touch", "/run/watched"]).must_succeed();
    }
    let second = publish(&mut world, &watched("second"));
    let line = format!(
        "trigger {all} gone --expect {} --ssh-option ConnectTimeout=3",
        &second.0[..9]
    );
    let mixed = deploy_flake(&client, &line);
    let short = &second.0[..12];
    tells(
        &mixed,
        11,
        &[
            "web1: activating the system for a test",
            &format!("web1: deployed, {short}"),
            &format!("operator@{address}:22/host: deployed, {short}"),
            "web3: bringing the previous system back",
            "web3: rolled back: ",
            "gone: unreachable: ssh: connect to host 192.0.2.1",
            "2 of 4 hosts are fine: 2 deployed; 1 rolled back; 1 unreachable",
            "to do: see whether `ssh gone` works",
        ],
    );
    for host in [web1, web2] {
        let system = host.running_system();
        assert!(system.ends_with("second"), "{system}");
        is_all(host, &system);
    }
    is_all(web3, &first);
    tells(
        &deploy_flake(&client, "trigger web3"),
        9,
        &["web3: rolled back: ", "to do: "],
    );
    tells(
        &deploy_flake(&client, "trigger gone1 gone2"),
        255,
        &["0 of 2 hosts are fine: 2 unreachable"],
    );

    let table = deploy_flake(&client, "status web1 web3 gone");
    tells(
        &table,
        11,
        &[
            "HOST  STATE ",
            "web1  converged ",
            "web3  rolled-back ",
            "gone  unreachable ",
        ],
    );
    assert_eq!(
        table
            .stdout
            .lines()
            .filter(|line| line.starts_with("web"))
            .count(),
        2
    );
    tells(
        &deploy_flake(&client, "status web1"),
        0,
        &["host: converged\n", "running  "],
    );

    let bad = publish(
        &mut world,
        &next("bad").with("selfCheck", "echo not today >&2; exit 1"),
    );
    let refused = deploy_flake(
        &client,
        &format!("trigger web1 web2 web3 --expect {}", bad.0),
    );
    tells(
        &refused,
        3,
        &["0 of 3 hosts are fine: 3 refused", "  | not today"],
    );
    let other = deploy_flake(&client, "trigger web1 web2 --expect fffffff --output json");
    assert_eq!(other.code, Some(10), "{other}");
    let lines = other
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"));
    let lines: Vec<Value> = lines.collect();
    let ends = lines
        .iter()
        .filter(|line| line["event"] == "end" && line["ending"] == "unexpected");
    assert_eq!(ends.count(), 2, "{other}");
    let last = lines.last().expect("there are lines");
    assert_eq!(
        (&last["event"], &last["exit"], &last["hosts"]),
        (&"summary".into(), &10.into(), &2.into())
    );
    hosts_of_the_flake(&client, web1);
}

/// The local flake says which hosts there are.
fn hosts_of_the_flake(client: &Client, web1: &Host) {
    let flake = "{ outputs = _: { nixosConfigurations = { host = throw \"not evaluated\"; mail = { }; }; }; }\n";
    client.write("/root/fleet/flake.nix", flake);
    client.knows("host", web1, "operator");
    let told = deploy_flake(client, "status --on h?s* --flake path:/root/fleet");
    tells(&told, 0, &["host: "]);
    let all = deploy_flake(client, "status --all --flake path:/root/fleet");
    tells(&all, 11, &["host  ", "mail  unreachable "]);
    let none = deploy_flake(client, "trigger --on db-* --flake path:/root/fleet");
    assert_eq!(none.code, Some(2), "{none}");
    assert!(none.stderr.contains("it has: host, mail"), "{none}");
}
