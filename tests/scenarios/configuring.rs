//! `deploy-flake check-config` on a host: what the daemon would say of a file.

use crate::common::{entries, settled};
use crate::testbed::child::Output;
use crate::testbed::host::Host;
use crate::testbed::world::World;
use deploy_flake::report::milestones;

fn check(host: &Host, file: &str, text: &str) -> Output {
    let write = format!("cat > {file} << 'END'\n{text}END\n");
    host.shell(&write).must_succeed();
    host.run(&["deploy-flake", "check-config", file])
}

#[test]
fn a_configuration_is_checked_before_it_is_used() {
    let world = World::new();
    let host = world.boot();
    settled(&host);
    let own = host.run(&["deploy-flake", "check-config"]);
    let running = "/etc/deploy-flake/config.toml is correct: this host follows main of git://";
    assert!(own.text().contains(running), "{own}");

    let smallest = "[[remote]]\nurl = \"https://example.org/infrastructure.git\"\n";
    let good = check(&host, "/tmp/good.toml", smallest);
    assert_eq!(good.code, Some(0), "{good}");
    assert!(
        good.stdout
            .contains("follows main of https://example.org/infrastructure.git"),
        "{good}"
    );

    let mistaken =
        "drfit = \"report\"\n[[remote]]\nurl = \"https://example.org/a.git\"\npoll_interval = 60\n";
    let bad = check(&host, "/tmp/bad.toml", mistaken);
    assert_eq!(bad.code, Some(1), "{bad}");
    for line in [
        "the configuration has 2 mistakes",
        "/tmp/bad.toml:1:1: drfit: unknown key",
        "  to do:    Write drift, if that is what was meant.",
        "/tmp/bad.toml:4:17: remote.poll_interval: wrong type",
        "  expected: a string",
        "  found:    the number 60",
    ] {
        assert!(bad.stderr.contains(line), "{line:?} is not in {bad}");
    }
    let missing = host.run(&["deploy-flake", "check-config", "/tmp/none.toml"]);
    assert_eq!(missing.code, Some(1), "{missing}");
    assert!(missing.stderr.contains("/tmp/none.toml"), "{missing}");
    let torn = check(&host, "/tmp/torn.toml", "[[remote]]\nurl = \"https\n");
    assert_eq!(torn.code, Some(1), "{torn}");
    assert!(torn.stderr.contains("/tmp/torn.toml:2:"), "{torn}");
}

#[test]
fn a_daemon_says_in_the_journal_what_is_wrong_with_its_configuration() {
    let world = World::new();
    let host = world.boot();
    settled(&host);
    // As if somebody had put another file in the place of the closure's.
    let broken = "rm /etc/deploy-flake/config.toml; echo 'x = 1' > /etc/deploy-flake/config.toml";
    host.shell(broken).must_succeed();
    assert_ne!(
        host.run(&["systemctl", "restart", "deploy-flake"]).code,
        Some(0)
    );
    // Its own file, with a remote that is not encrypted, is worth a warning; this one is an error.
    let told = entries(&host, milestones::CONFIGURATION_PROBLEM);
    let error = told.iter().find(|entry| entry["PRIORITY"] == "3");
    let first = error.expect("the mistake is told");
    let words = first["DF_MESSAGE"].to_string();
    assert!(
        words.contains("/etc/deploy-flake/config.toml:1:1: x: unknown key"),
        "{words}"
    );
}
