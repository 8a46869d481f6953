//! What befalls whoever watches many hosts: connections that die in the middle of activations, and the watcher itself
//! that is killed. Nothing on a host is done twice, and the story is picked up where it is.

use std::time::Duration;

use crate::common::{DEADLINE, is_all};
use crate::many_hosts::{deploy_flake, tells, three};
use crate::testbed::host::Host;
use crate::triggering::{next, world};

/// How long ssh has to find out that nothing comes back: thrice five seconds, and what a busy machine adds.
const MISSED: Duration = Duration::from_secs(60);

fn activations(host: &Host, label: &str) -> usize {
    let is_one = |line: &String| line.starts_with("activate ") && line.ends_with(label);
    host.tally().iter().filter(|line| is_one(line)).count()
}

#[test]
fn a_story_is_picked_up_where_it_is_and_nothing_is_done_twice() {
    let mut world = world();
    let (hosts, client) = three(&world);
    let [web1, web2, web3] = &hosts;

    // The link of one dies, and the ssh of another, while both activate.
    let second = world.server().repository().publish(&next("second"));
    for host in [web1, web2] {
        host.close_gate("activate");
    }
    let line = format!("trigger web1 web2 web3 --expect {}", second.0);
    let followed = std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            let told =
                format!("deploy-flake {line} > /tmp/told 2>&1; code=$?; cat /tmp/told; exit $code");
            client.run_for(&["sh", "-c", &told], Duration::from_secs(240))
        });
        for host in [web1, web2] {
            host.wait_for_gate("activate", DEADLINE);
        }
        let is_told = |words: &str, deadline| {
            crate::testbed::world::wait_until(words, deadline, || {
                client.run(&["cat", "/tmp/told"]).stdout.contains(words)
            });
        };
        is_told("web2: activating the system", DEADLINE);
        assert_eq!(client.kill("-- web2 deploy-flake"), 1, "its ssh");
        is_told("web2: no connection", DEADLINE);
        web1.cut_link();
        is_told("web1: no connection", MISSED);
        web1.join_link();
        for (name, host) in [("web1", web1), ("web2", web2)] {
            let back = format!("{name}: connected again, activating the system");
            is_told(&back, MISSED);
            host.open_gate("activate");
        }
        following.join().expect("it does not panic")
    });
    let short = &second.0[..12];
    let lines: Vec<String> = (1..=3)
        .map(|it| format!("web{it}: deployed, {short}"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    tells(&followed, 0, &lines);
    assert_eq!(
        followed.stdout.matches("web1: activating").count(),
        1,
        "{followed}"
    );
    for host in &hosts {
        assert_eq!(activations(host, "second"), 1);
        is_all(host, &host.running_system());
    }

    // Whoever watches is killed, and starts again.
    let third = world.server().repository().publish(&next("third"));
    web1.close_gate("activate");
    std::thread::scope(|scope| {
        let killed = scope.spawn(|| deploy_flake(&client, "trigger web1 web2 web3"));
        web1.wait_for_gate("activate", DEADLINE);
        assert!(client.kill("deploy-flake trigger web1 web2") > 0);
        let killed = killed.join().expect("it does not panic");
        assert_ne!(killed.code, Some(0), "{killed}");
    });
    let line = format!("trigger web1 web2 web3 --expect {}", third.0);
    let again = std::thread::scope(|scope| {
        let again = scope.spawn(|| deploy_flake(&client, &line));
        web1.wait_until("it is watched again", DEADLINE, |host| {
            host.run(&["pgrep", "--full", "trigger --wait --expect"])
                .code
                == Some(0)
        });
        web1.open_gate("activate");
        again.join().expect("it does not panic")
    });
    tells(&again, 0, &[&format!("web1: deployed, {}", &third.0[..12])]);
    for host in &hosts {
        assert_eq!(activations(host, "third"), 1);
        is_all(host, &host.running_system());
    }
    assert_eq!(web3.status()["last"]["commit"], third.0);
}
