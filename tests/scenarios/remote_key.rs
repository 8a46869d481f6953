//! A key that may have the daemon look and nothing else, through a real sshd; and a hundred names at once.

use std::time::Duration;

use crate::common::{DEADLINE, settled};
use crate::testbed::client::Client;
use crate::testbed::host::Host;
use crate::triggering::{next, world};

/// How many names.
const NAMES: usize = 100;

/// What the command line may take for them, in KiB: a build without optimisation, and 32 connections at a time.
const MEMORY: u64 = 64 * 1024;

/// Restricts the operator's key as docs/many-hosts.md has it.
fn restrict(host: &Host) {
    let sed = "s|^|command=\"deploy-flake remote\",restrict |";
    host.run(&["sed", "-i", sed, "/home/operator/.ssh/authorized_keys"])
        .must_succeed();
}

#[test]
fn a_key_of_a_ci_system_triggers_and_does_nothing_else() {
    let mut world = world();
    let (host, client) = (world.boot(), world.client());
    let first = settled(&host);
    // A deployment is followed by a look; from then on an hour of nothing.
    host.wait_for_status("the host is at rest", DEADLINE, |status| {
        status["looks"]["finished"] == 2
    });
    client.knows("web1", &host, "operator");
    restrict(&host);

    let second = world.server().repository().publish(&next("second"));
    let ssh = |words: &[&str]| client.run(&[&["ssh", "web1"], words].concat());
    let hostile: [&[&str]; 14] = [
        &[],
        &["touch", "/tmp/mark"],
        &["deploy-flake", "trigger;touch /tmp/mark"],
        &["deploy-flake trigger --wait $(touch /tmp/mark)"],
        &["deploy-flake trigger `touch /tmp/mark`"],
        &["deploy-flake trigger --wait\ntouch /tmp/mark"],
        &["deploy-flake", "trigger", "web2"],
        &[
            "deploy-flake",
            "trigger",
            "x",
            "--ssh-option",
            "ProxyCommand=touch /tmp/mark",
        ],
        &["deploy-flake", "trigger", "--all", "--flake", "/tmp"],
        &["deploy-flake", "trigger", "--expect", "-oProxyCommand=x"],
        &["deploy-flake", "retry"],
        &["deploy-flake", "allow", &second.0],
        &["deploy-flake", "remote"],
        &["deploy-flake trigger\u{1b}]52;c;eA==\u{7}"],
    ];
    for words in hostile {
        let refused = ssh(words);
        assert_eq!(refused.code, Some(2), "{words:?}: {refused}");
        let told = format!("{}{}", refused.stderr, refused.stdout);
        let lines: Vec<&str> = told
            .lines()
            .filter(|it| it.starts_with("error: refused: "))
            .collect();
        assert_eq!(lines.len(), 1, "one clear line: {refused}");
        assert!(!told.contains('\u{1b}'), "{refused}");
    }
    assert_ne!(
        client.run(&["sftp", "-b", "/dev/null", "web1"]).code,
        Some(0)
    );
    assert_ne!(
        host.run(&["test", "-e", "/tmp/mark"]).code,
        Some(0),
        "no command was run"
    );
    let status = host.status();
    assert_eq!(status["looks"]["started"], 2, "nor was anything triggered");
    assert_eq!(host.running_system(), first);

    let expect = ["--expect", &second.0, "--timeout", "1m"];
    let words = [&["deploy-flake", "trigger", "--wait"][..], &expect].concat();
    let deployed = ssh(&words);
    assert_eq!(deployed.code, Some(0), "{deployed}");
    assert!(host.running_system().ends_with("second"));
    let followed = client.run(&[&["deploy-flake", "trigger", "web1"][..], &expect].concat());
    assert_eq!(followed.code, Some(0), "{followed}");
    assert!(
        followed.stdout.contains("web1: there already"),
        "{followed}"
    );
    let state = client.run(&["deploy-flake", "status", "web1"]);
    assert!(state.stdout.contains("converged"), "{state}");
    let other = client.run(&["deploy-flake", "retry", "web1"]);
    assert_eq!(other.code, Some(1), "{other}");
    assert!(
        other.stdout.contains("refused: deploy-flake retry"),
        "{other}"
    );
    a_hundred_names(&client, &host);
}

/// One host under a hundred names, in a bounded time and with bounded memory.
fn a_hundred_names(client: &Client, host: &Host) {
    client.knows("many*", host, "operator");
    let names: Vec<String> = (1..=NAMES).map(|number| format!("many{number}")).collect();
    let script = "deploy-flake trigger $1 > /tmp/many & it=$!; peak=0; \
         while now=$(grep VmHWM /proc/$it/status); do peak=${now#*:}; sleep 0.05; done; \
         wait $it; code=$?; tail -n 1 /tmp/many; echo $peak; exit $code";
    let began = std::time::Instant::now();
    let words = ["sh", "-c", script, "many", &names.join(" ")];
    let output = client.run_for(&words, Duration::from_secs(300));
    let took = began.elapsed();
    assert_eq!(output.code, Some(0), "{output}");
    let (summary, peak) = output.text().split_once('\n').expect("two lines");
    assert_eq!(
        summary,
        format!("all {NAMES} hosts are fine: {NAMES} there already")
    );
    let peak: u64 = peak
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .expect("a number");
    println!(
        "{NAMES} names: {:.1} s, peak RSS {peak} KiB",
        took.as_secs_f64()
    );
    assert!(peak < MEMORY, "{peak} KiB");
}
