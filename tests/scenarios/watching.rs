//! `deploy-flake status --watch`: on a terminal, which is as it was afterwards, without one, and of several hosts; nothing
//! is left on a host when nobody reads any more.

use std::fs;
use std::time::Duration;

use crate::common::{DEADLINE, deployed};
use crate::many_hosts::three;
use crate::testbed::child::Output;
use crate::testbed::host::Host;
use crate::testbed::world::wait_until;
use crate::triggering::{next, world};

/// Until a host finds out that nobody reads: a quarter of a minute, and what a busy machine adds.
const UNREAD: Duration = Duration::from_secs(60);

/// Another screen, and back.
const SCREEN: [&str; 2] = ["\u{1b}[?1049h", "\u{1b}[?1049l"];

/// Interrupts whoever watches, as Ctrl-C does.
const INTERRUPT: &str = "kill -INT $(pgrep --full '^deploy-flake status.*--watch')";

/// Watches on a terminal until the scenario has it interrupted.
fn on_a_terminal(host: &Host) -> Output {
    let watch = "TERM=xterm script --quiet --return --flush --command 'exec deploy-flake status --watch' /run/typescript";
    host.shell(&format!("{watch} > /run/screen < /dev/null"))
}

#[test]
fn a_state_is_watched_and_the_terminal_is_as_it_was() {
    let mut world = world();
    let (hosts, client) = three(&world);
    let [web1, web2, _] = &hosts;

    let watched = std::thread::scope(|scope| {
        let watching = scope.spawn(|| on_a_terminal(web1));
        let shows = |words: &str| {
            web1.wait_until(words, DEADLINE, |host| {
                let shown = fs::read(host.path("/run/screen")).unwrap_or_default();
                String::from_utf8_lossy(&shown).contains(words)
            });
        };
        shows("host: converged");
        shows("Ctrl-C ends this.");
        let second = world.server().repository().publish(&next("second"));
        web1.close_gate("activate");
        web1.run(&["deploy-flake", "trigger"]).must_succeed();
        web1.wait_for_gate("activate", DEADLINE);
        shows("activating the system for a test");
        web1.open_gate("activate");
        deployed(web1, &second);
        web1.shell(INTERRUPT).must_succeed();
        watching.join().expect("it does not panic")
    });
    assert_eq!(watched.code, Some(0), "{watched}");
    let screen = fs::read(web1.path("/run/screen")).expect("it was written");
    let screen = String::from_utf8_lossy(&screen);
    let [enter, leave] = SCREEN;
    assert_eq!(
        (screen.matches(enter).count(), screen.matches(leave).count()),
        (1, 1),
        "{screen:?}"
    );
    assert!(screen.trim_end().ends_with(leave), "{screen:?}");

    // Of several hosts, without a terminal.
    let line = "deploy-flake status web1 web2 web3 --watch > /tmp/watched 2>&1";
    let told = std::thread::scope(|scope| {
        let watching =
            scope.spawn(|| client.run_for(&["sh", "-c", line], Duration::from_secs(240)));
        let is_told = |words: &str| {
            wait_until(words, DEADLINE, || {
                client.run(&["cat", "/tmp/watched"]).stdout.contains(words)
            });
        };
        for name in ["web1", "web2", "web3"] {
            is_told(&format!("{name}: converged: "));
        }
        web2.close_gate("activate");
        web2.run(&["deploy-flake", "trigger"]).must_succeed();
        web2.wait_for_gate("activate", DEADLINE);
        is_told("web2: deploying: activating the system for a test");
        assert_eq!(client.kill("-- web2 deploy-flake"), 1, "its ssh");
        is_told("web2: no connection: ");
        web2.open_gate("activate");
        wait_until("it is watched to its end", DEADLINE, || {
            let told = client.run(&["cat", "/tmp/watched"]).stdout;
            let lost = told.find("web2: no connection: ");
            lost.is_some_and(|lost| told[lost..].contains("web2: converged: "))
        });
        client.run(&["sh", "-c", INTERRUPT]).must_succeed();
        watching.join().expect("it does not panic")
    });
    assert_eq!(told.code, Some(0), "{told}");
    for host in &hosts {
        host.wait_until("nobody is left who watches", UNREAD, |host| {
            host.run(&["pgrep", "--full", "status --watch"]).code == Some(1)
        });
    }
}
