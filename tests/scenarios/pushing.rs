//! `deploy-flake push`: from a tree with changes that are in no commit, through a real ssh and a real nix, to hosts that
//! take it, that lead back from it, that refuse it, and that cannot be reached; and from a laptop that is closed.

use std::time::Duration;

use serde_json::Value;

use crate::common::{
    DEADLINE, configuration, git_url, is_all, nothing_is_left, settled, systems, text, web,
};
use crate::many_hosts::deploy_flake;
use crate::testbed::child::Output;
use crate::testbed::client::Client;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::{World, wait_until};
use crate::window::tests_of;

/// Where the operator's flake is.
const FLEET: &str = "/root/fleet";

/// A generation whose daemon has these lines at the end of its configuration.
fn taking(label: &str, more: &str) -> Generation {
    let usual = configuration("", &git_url(), "1s");
    web(label).daemon_config(&format!("{usual}\n{more}\n"))
}

fn always(label: &str) -> Generation {
    taking(label, "[push]\nallow = \"always\"")
}

/// Commits a flake at the operator's, in which the host is as it was at first; returns the beginning of the commit.
fn committed(world: &World, client: &Client) -> String {
    for (path, text) in world.flake(world.first()) {
        client.write(&format!("{FLEET}/{path}"), &text);
    }
    let git = "git -c user.name=ann -c user.email=ann@example.org";
    let commit = format!("cd {FLEET} && git init -q && git add . && {git} commit -qm first");
    client.run(&["sh", "-c", &commit]).must_succeed();
    let head = client.run(&["git", "-C", FLEET, "rev-parse", "--short=12", "HEAD"]);
    head.text().to_owned()
}

/// Changes the flake without a commit: the host is to be this.
fn change(world: &World, client: &Client, generation: &Generation) {
    let files = world.flake(generation);
    let file = files.iter().find(|(path, _)| path == "hosts/host.json");
    let (path, text) = file.expect("there is one");
    client.write(&format!("{FLEET}/{path}"), text);
}

/// As in `many_hosts`, wherever a line was broken.
#[track_caller]
fn tells(output: &Output, code: i32, told: &[&str]) {
    assert_eq!(output.code, Some(code), "{output}");
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    let text = words.join(" ");
    for words in told {
        assert!(text.contains(words), "{words:?} in {output}");
    }
}

/// Waits until the host holds a snapshot and the deployment is over; returns the daemon's.
#[track_caller]
fn held(host: &Host) -> Value {
    let status = host.wait_for_status("a snapshot is held", DEADLINE, |status| {
        status["hold"]["pushed"] != Value::Null && status["condition"]["state"] == "holding"
    });
    nothing_is_left(host);
    status
}

/// A system that is well only where somebody says so.
fn watched(label: &str) -> Generation {
    always(label).daemon_config(&format!(
        "{}\n[push]\nallow = \"always\"\n\n[[probe]]\nname = \"watched\"\n\
         command = [\"/usr/bin/test\", \"-e\", \"/run/watched\"]\n",
        configuration("", &git_url(), "1s").replace("\"20s\"", "\"3s\"")
    ))
}

#[test]
fn what_is_in_no_commit_runs_on_the_hosts_that_bear_it_and_every_other_one_counts() {
    let world = World::starting_with(always("first"));
    let client = world.client();
    let hosts = [world.boot(), world.boot(), world.boot()];
    for (number, host) in (1..).zip(&hosts) {
        settled(host);
        client.knows(&format!("web{number}"), host, "root");
    }
    // Nobody listens there.
    client.knows_address("gone", "127.0.0.1", "root");
    let [web1, web2, web3] = &hosts;
    let first = web1.running_system();
    let commit = committed(&world, &client);
    change(&world, &client, &watched("changed"));
    for host in [web1, web2] {
        host.run(&["touch", "/run/watched"]).must_succeed();
    }

    let line = format!(
        "push nixos://web1/host root@{} web3 gone --flake {FLEET}",
        web2.address()
    );
    let mixed = deploy_flake(&client, &line);
    let called = format!("deployed, fleet (commit {commit} with changes)");
    tells(
        &mixed,
        11,
        &[
            &format!("pushing fleet (commit {commit} with changes)"),
            "web1/host: copying the snapshot and its inputs, 2 store paths",
            "web1/host: the daemon has the snapshot, and goes on by itself",
            "web1/host: activating the system for a test",
            &format!("web1/host: {called}"),
            &format!("root@{}: {called}", web2.address()),
            "web3: rolled back: ",
            "gone: unreachable: ssh: connect to host 127.0.0.1",
            "2 of 4 hosts are fine: 2 deployed; 1 rolled back; 1 unreachable",
        ],
    );
    for host in [web1, web2] {
        let status = held(host);
        let pushed = &status["hold"]["pushed"];
        assert_eq!(pushed["dirty"], true, "{status:#}");
        assert_eq!(pushed["name"], "fleet", "{status:#}");
        let system = host.running_system();
        assert!(system.ends_with("changed"), "{system}");
        is_all(host, &system);
        assert_eq!(tests_of(host, &system), 1);
    }
    is_all(web3, &first);
    let page = deploy_flake(&client, "status web1");
    tells(
        &page,
        0,
        &[
            "holding",
            "the pushed snapshot fleet (commit",
            "the next commit replaces it",
        ],
    );

    // Another configuration of the flake, without naming the subcommand.
    let other = always("webserver").with("label", "webserver");
    let files = world.flake(&other);
    let text = files.iter().find(|(path, _)| path == "hosts/host.json");
    let (_, text) = text.expect("there is one");
    client.write(&format!("{FLEET}/hosts/webserver.json"), text);
    client.run(&["git", "-C", FLEET, "add", "."]).must_succeed();
    let bare = deploy_flake(
        &client,
        &format!("nixos://root@web2/webserver --flake {FLEET} --output json"),
    );
    assert_eq!(bare.code, Some(0), "{bare}");
    let lines = bare.stdout.lines();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let events: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    assert_eq!(events.first(), Some(&"snapshot"), "{bare}");
    for event in ["copying", "pushed", "phase", "end", "summary"] {
        assert!(events.contains(&event), "{event} in {bare}");
    }
    let is_counted = |line: &Value| {
        let copied = &line["copied"];
        copied["paths"]["expected"] == 1 && copied["bytes"]["expected"].as_u64() > Some(1000)
    };
    assert!(lines.iter().any(is_counted), "{bare}");
    let system = web2.running_system();
    assert!(system.ends_with("webserver"), "{system}");

    // What may have been meant as a subcommand pushes nothing.
    for (words, expected) in [
        (
            format!("statsu nixos://web1 --flake {FLEET}"),
            "Did you mean `status`?",
        ),
        (
            format!("web7 nixos://web1 --flake {FLEET}"),
            "which are: host, webserver",
        ),
        ("statsu".to_owned(), "Did you mean `status`?"),
        (format!("push --flake {FLEET}"), "nothing says where"),
        (
            format!("push web1 --flake {FLEET} --build-cmdline --impure"),
            "[evaluate]",
        ),
    ] {
        let refused = deploy_flake(&client, &words);
        assert_eq!(refused.code, Some(2), "{words}: {refused}");
        assert!(refused.stderr.contains(expected), "{words}: {refused}");
    }
    // What a lock file lacks is not added to the operator's tree.
    let lock = format!("{FLEET}/flake.lock");
    client.run(&["rm", &lock]).must_succeed();
    let unlocked = deploy_flake(&client, &format!("push web1 --flake {FLEET}"));
    assert_eq!(unlocked.code, Some(1), "{unlocked}");
    assert!(unlocked.stderr.contains("`nix flake lock`"), "{unlocked}");
    let bare = deploy_flake(&client, &format!("host --flake {FLEET}"));
    assert_eq!(bare.code, Some(1), "{bare}");
    assert_ne!(client.run(&["test", "-e", &lock]).code, Some(0));
    assert!(web1.running_system().ends_with("changed"));
}

#[test]
fn a_host_goes_on_with_what_was_pushed_when_the_laptop_is_closed() {
    let world = World::starting_with(always("first"));
    let (host, client) = (world.boot(), world.client());
    settled(&host);
    client.knows("web1", &host, "root");
    committed(&world, &client);
    change(&world, &client, &always("changed"));

    // A connection that dies is made again, and the push is not said again. Whoever watches is killed, and starts to
    // watch the same once more.
    host.close_gate("build");
    let line = format!("push web1 --flake {FLEET}");
    let told = format!("deploy-flake {line} > /tmp/told 2>&1; exit $?");
    std::thread::scope(|scope| {
        let killed = scope.spawn(|| client.run_for(&["sh", "-c", &told], Duration::from_secs(120)));
        host.wait_for_gate("build", DEADLINE);
        assert_eq!(client.kill("-- web1 deploy-flake push"), 1, "its ssh");
        host.wait_until("it is watched again", DEADLINE, |host| {
            host.run(&["pgrep", "--full", "--", "push --source .* --again"])
                .code
                == Some(0)
        });
        assert!(client.kill("deploy-flake push web1") > 0);
        let killed = killed.join().expect("it does not panic");
        assert_ne!(killed.code, Some(0), "{killed}");
    });
    let told = told.replace("/tmp/told", "/tmp/told-again");
    std::thread::scope(|scope| {
        let again = scope.spawn(|| client.run_for(&["sh", "-c", &told], Duration::from_secs(120)));
        wait_until("it is watched again", DEADLINE, || {
            let told = client.run(&["cat", "/tmp/told-again"]).stdout;
            told.contains("the daemon has the snapshot") && told.contains("building the system")
        });
        host.close_gate("activate");
        host.open_gate("build");
        host.wait_for_gate("activate", DEADLINE);
        let toplevel = text(&host.status()["desired"]["toplevel"]);
        let roots = host.run(&["nix-store", "--query", "--roots", &toplevel]);
        assert!(
            roots.stdout.contains("/var/lib/deploy-flake/gcroots/"),
            "{roots}"
        );
        // The lid is shut: everything there is gone at once, in the middle of the activation.
        client.vanish();
        assert!(client.kill("deploy-flake push web1") > 0);
        let again = again.join().expect("it does not panic");
        assert_ne!(again.code, Some(0), "{again}");
    });
    host.open_gate("activate");
    held(&host);
    let system = host.running_system();
    assert!(system.ends_with("changed"), "{system}");
    is_all(&host, &system);
    assert_eq!(tests_of(&host, &system), 1);
}

/// In the place of the host's `nix-daemon`, which nix at the operator's starts there: as often as it says it hangs.
const HANGING: &str = "#!/bin/sh\nif [ -s /root/hang ]; then sed -i 1d /root/hang; exec sleep 600; fi\n\
                       exec /usr/bin/nix-daemon \"$@\"\n";

#[test]
fn a_host_that_does_not_take_it_is_told_apart_and_is_not_changed() {
    let world = World::starting_with(taking("first", ""));
    let (host, client) = (world.boot(), world.client());
    let first = settled(&host);
    client.knows("web1", &host, "root");
    client.knows("operator", &host, "operator");
    committed(&world, &client);
    change(&world, &client, &taking("changed", ""));
    let push = |words: &str| deploy_flake(&client, &format!("push {words} --flake {FLEET}"));

    let refused = push("web1");
    tells(
        &refused,
        3,
        &[
            "web1: refused: this host takes pushes only to be tested",
            "--test-only",
        ],
    );
    let denied = push("operator --test-only");
    tells(&denied, 1, &["to do: Push as root"]);

    // A copy that hangs is ended, and tried again; and not for ever.
    host.run(&[
        "sh",
        "-c",
        "printf %s \"$1\" > /usr/local/bin/nix-daemon",
        "sh",
        HANGING,
    ])
    .must_succeed();
    let hang = |lines: &str| {
        let write = format!("chmod +x /usr/local/bin/nix-daemon; printf '{lines}' > /root/hang");
        host.shell(&write).must_succeed();
    };
    change(&world, &client, &taking("another", ""));
    hang("1\\n2\\n3\\n");
    let late = push("web1 --test-only --copy-timeout 2s --copy-retries 1");
    tells(
        &late,
        6,
        &[
            "web1: not copied, trying again in 1 s: the copy took longer than 2s",
            "the copy took longer than 2s, 2 times",
            "--copy-timeout",
        ],
    );
    assert_ne!(
        client.run(&["pgrep", "--full", "nix-daemon --stdio"]).code,
        Some(0),
        "no copy goes on"
    );
    hang("1\\n");
    let given_up = push("web1 --test-only --timeout 3s");
    assert_eq!(given_up.code, Some(6), "{given_up}");
    wait_until("what nix had started is ended, too", DEADLINE, || {
        client.run(&["pgrep", "--full", "nix-daemon --stdio"]).code != Some(0)
    });
    is_all(&host, &first);
    hang("1\\n");
    let third = push("web1 --test-only --copy-timeout 2s");
    tells(
        &third,
        0,
        &[
            "web1: not copied, trying again in 1 s",
            "web1: deployed, fleet",
        ],
    );
    let system = host.running_system();
    assert!(system.ends_with("another"), "{system}");
    assert_eq!(systems(&host), [&*system, &*first, &*first]);

    // On the host itself, of what is in its store by now.
    let status = held(&host);
    let source = text(&status["hold"]["pushed"]["source"]);
    let here = |words: &str| host.shell(&format!("deploy-flake push --source {source} {words}"));
    let refused = here("--wait");
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stderr.contains("--test-only"), "{refused}");
    let waited = here("--wait --test-only --name again");
    tells(
        &waited,
        0,
        &[
            "the daemon has the snapshot",
            "holding: The host holds the pushed snapshot again",
        ],
    );
    let wrong = here("--wait --test-only --configuration webserver");
    tells(&wrong, 3, &["refused, nothing was touched: ", "to do: "]);
    assert_eq!(host.running_system(), system);

    // By the names of the flake's configurations.
    client.knows("host", &host, "root");
    let none = push("--all --test-only --no-wait");
    let has = "host: the daemon has the snapshot";
    tells(&none, 0, &[has, "host: told"]);
    let wrong = push("nixos://web1/webserver --test-only");
    assert_eq!(wrong.code, Some(2), "{wrong}");
    assert!(wrong.stderr.contains("it has: host"), "{wrong}");
    host.run(&["systemctl", "stop", "deploy-flake"])
        .must_succeed();
    tells(&push("web1 --test-only"), 7, &["nothing was copied"]);
}
