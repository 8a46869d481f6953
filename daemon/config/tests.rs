//! What the operator reads, word by word.

use super::*;
use crate::model::policy::{OnDrift, OnRebootRequired};

const FILE: &str = "config.toml";

fn message(text: &str) -> String {
    parse(FILE, text).expect_err(text).to_string()
}

fn accepted(text: &str) -> Config {
    parse(FILE, text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .0
}

#[test]
fn one_remote_with_a_url_is_enough() {
    let config = accepted("[[remote]]\nurl = \"https://example.org/hosts.git\"\n");
    assert_eq!(config.configuration, None);
    assert_eq!(config.remote.name, "origin");
    assert_eq!(config.remote.address.url, "https://example.org/hosts.git");
    assert_eq!(config.remote.address.branch.as_str(), "main");
    assert_eq!(config.policy.poll_interval, Duration::from_secs(60));
    assert_eq!(config.policy.on_drift, OnDrift::Report);
    assert_eq!(config.policy.on_reboot_required, OnRebootRequired::Refuse);
    assert_eq!(config.boot_loader, BootLoader::Auto);
    assert_eq!(config.pre_activate_check, "pre-activate-safety-checks");
    assert!(!config.import_from_derivation);
    assert_eq!(config.health.confirm_window, Duration::from_secs(60));
    assert_eq!(config.health.probe_deadline, Duration::from_secs(300));
    assert_eq!(config.deadlines.poll, Duration::from_secs(30));
    assert_eq!(config.deadlines.build, Duration::from_secs(6 * 3600));
    assert_eq!(config.deadlines.restore, Duration::from_secs(600));
}

#[test]
fn every_key_is_read() {
    let config = accepted(
        r#"
        configuration = "web1"
        mode = "switch"
        drift = "correct"
        on_reboot_required = "boot"
        pre_activate_check = "checks/all"
        boot_loader = "systemd-boot"
        [[remote]]
        name = "forge"
        url = "git@example.org:/srv/hosts.git"
        branch = "release/24.11"
        poll_interval = "1h30m"
        [evaluate]
        import_from_derivation = true
        [health]
        confirm_window = "1s"
        probe_deadline = "2s"
        ignore_units = ["a.service", "b@x.timer"]
        [deadlines]
        poll = "1s"
        fetch = "2s"
        import = "3s"
        evaluate = "4s"
        build = "5s"
        root = "6s"
        check = "7s"
        pre_switch_check = "8s"
        activate = "9s"
        profile = "10s"
        boot_loader = "11s"
        restore = "12s"
        "#,
    );
    let name = config.configuration.expect("it was given");
    assert_eq!(name.as_str(), "web1");
    assert_eq!(config.remote.name, "forge");
    assert_eq!(config.remote.address.name, "forge");
    assert_eq!(
        config.remote.address.url,
        "ssh://git@example.org/srv/hosts.git"
    );
    assert_eq!(config.remote.address.branch.as_str(), "release/24.11");
    assert_eq!(config.remote.poll_interval, Duration::from_secs(5400));
    assert_eq!(config.policy.on_drift, OnDrift::Correct);
    assert_eq!(config.policy.on_reboot_required, OnRebootRequired::Boot);
    assert_eq!(config.boot_loader, BootLoader::SystemdBoot);
    assert_eq!(config.pre_activate_check, "checks/all");
    assert!(config.import_from_derivation);
    assert_eq!(config.health.ignore_units, ["a.service", "b@x.timer"]);
    let deadlines = config.deadlines;
    let seconds = [
        deadlines.poll,
        deadlines.fetch,
        deadlines.import,
        deadlines.evaluate,
        deadlines.build,
        deadlines.root,
        deadlines.check,
        deadlines.pre_switch_check,
        deadlines.activate,
        deadlines.profile,
        deadlines.boot_loader,
        deadlines.restore,
    ]
    .map(|deadline| deadline.as_secs());
    assert_eq!(seconds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "drfit = \"report\"\n\
                mode = \"boot\"\n\
                [[remote]]\n\
                url = \"https://user:secret@example.org/a.git\"\n\
                poll_interval = 60\n\
                [health]\n\
                confirm_window = \"60\"\n";
    assert_eq!(
        message(text),
        "the configuration has 5 mistakes\n\
config.toml:1:1: drfit: unknown key
  expected: one of configuration, mode, drift, on_reboot_required, boot_loader, \
pre_activate_check, remote, evaluate, health, deadlines
  found:    \"drfit\"
  to do:    Write drift, if that is what was meant.
config.toml:2:8: mode: not one of the choices
  expected: one of \"switch\"
  found:    \"boot\"
  to do:    Write \"switch\", if that is what was meant.
config.toml:4:7: remote.url: has a user name, password or token in it, which every user of \
the host could read
  expected: a URL with scheme https, ssh, file, http or git, or user@host:path for ssh
  found:    \"https://…@example.org/a.git\"
  to do:    Remove it, and revoke it if it was secret; a private repository can be reached by ssh.
config.toml:5:17: remote.poll_interval: wrong type
  expected: a string
  found:    the number 60
  to do:    Write it in quotes, such as poll_interval = \"1m\".
config.toml:7:18: health.confirm_window: a duration without its unit
  expected: a duration from \"1s\" to \"1d\"
  found:    \"60\"
  to do:    Write \"60s\" for seconds, or m, h or d."
    );
}

/// A working remote, for files whose mistake is elsewhere.
const REMOTE: &str = "[[remote]]\nurl = \"https://example.org/a\"\n";

#[test]
fn each_mistake_says_where_what_and_what_to_do() {
    let below = |line: &str| format!("{REMOTE}{line}");
    let above = |line: &str| format!("{line}\n{REMOTE}");
    for (text, told) in [
        (
            String::new(),
            "config.toml:1:1: remote: there is no remote
  expected: exactly one [[remote]] with a url
  found:    none
  to do:    Add the two lines [[remote]] and url = \"https://example.org/hosts.git\".",
        ),
        (
            "[remote]\nurl = \"https://example.org/a\"".to_owned(),
            "config.toml:1:1: remote: wrong type
  expected: an array of tables, [[remote]]
  found:    a table
  to do:    Write [[remote]], with two brackets, above its keys.",
        ),
        (
            "[[remote]]\nname = \"a\"".to_owned(),
            "config.toml:1:1: remote.url: missing
  expected: a URL with scheme https, ssh, file, http or git, or user@host:path for ssh
  found:    a [[remote]] without it
  to do:    Add url = \"https://example.org/hosts.git\".",
        ),
        (
            format!("{REMOTE}{REMOTE}"),
            "config.toml:3:1: remote: another remote
  expected: exactly one [[remote]], for now
  found:    number 2 of 2
  to do:    Remove all but one.",
        ),
        (
            below("branhc = \"x\""),
            "config.toml:3:1: remote.branhc: unknown key
  expected: one of name, branch, poll_interval, url
  found:    \"branhc\"
  to do:    Write branch, if that is what was meant.",
        ),
        (
            below("drift = \"report\""),
            "config.toml:3:1: remote.drift: unknown key
  expected: one of name, branch, poll_interval, url
  found:    \"drift\"
  to do:    Move it to the top of the file, above the first table.",
        ),
        (
            below("branch = \"refs heads\""),
            "config.toml:3:10: remote.branch: not the name of a branch
  expected: a branch name such as \"main\"
  found:    \"refs heads\"
  to do:    Write the branch alone, without refs/heads/ and without the remote's name.",
        ),
        (
            below("name = \"a b\""),
            "config.toml:3:8: remote.name: not a name
  expected: a name of at most 64 letters, digits, '_' and '-'
  found:    \"a b\"
  to do:    Write a short name, or leave it out.",
        ),
        (
            below("poll_interval = \"5 minutes\""),
            "config.toml:3:17: remote.poll_interval: not a duration
  expected: a duration from \"1s\" to \"1d\"
  found:    \"5 minutes\"
  to do:    Write numbers with their units, such as \"1m\" or \"1h30m\".",
        ),
        (
            below("[deadlines]\nbuild = \"90d\""),
            "config.toml:4:9: deadlines.build: out of range
  expected: a duration from \"1s\" to \"7d\"
  found:    \"90d\"
  to do:    Write at least \"1s\" and at most \"7d\"; the default is \"6h\".",
        ),
        (
            below("[deadlines]\nboot-loader = \"5m\""),
            "config.toml:4:1: deadlines.boot-loader: unknown key
  expected: one of poll, fetch, import, evaluate, build, root, check, pre_switch_check, \
activate, profile, boot_loader, restore
  found:    \"boot-loader\"
  to do:    Write boot_loader, if that is what was meant.",
        ),
        (
            below("[evaluate]\nimport_from_derivation = \"yes\""),
            "config.toml:4:26: evaluate.import_from_derivation: wrong type
  expected: true or false
  found:    a string
  to do:    Write import_from_derivation = true or import_from_derivation = false, without quotes.",
        ),
        (
            below("[health]\nignore_units = \"a.service\""),
            "config.toml:4:16: health.ignore_units: wrong type
  expected: an array of strings
  found:    a string
  to do:    Write ignore_units = [\"example.service\"].",
        ),
        (
            below("[health]\nignore_units = [\"a.service\", \"sshd\"]"),
            "config.toml:4:30: health.ignore_units[1]: not the name of a unit
  expected: a unit's full name with its suffix, such as \"example.service\"
  found:    \"sshd\"
  to do:    Write the name as `systemctl --failed` shows it.",
        ),
        (
            below("[health]\nignore_units = [\"a.service\", \"a.service\"]"),
            "config.toml:4:30: health.ignore_units[1]: stands twice
  expected: each unit once
  found:    \"a.service\"
  to do:    Remove one of the two.",
        ),
        (
            above("drift = \"corect\""),
            "config.toml:1:9: drift: not one of the choices
  expected: one of \"report\", \"correct\"
  found:    \"corect\"
  to do:    Write \"correct\", if that is what was meant.",
        ),
        (
            above("configuration = \"a b\""),
            "config.toml:1:17: configuration: not the name of a configuration
  expected: a configuration name of letters, digits, '_', '-' and '.'
  found:    \"a b\"
  to do:    Write the name below nixosConfigurations in the flake.",
        ),
        (
            above("pre_activate_check = \"../x\""),
            "config.toml:1:22: pre_activate_check: not a path inside the toplevel
  expected: a relative path without . and .. in it
  found:    \"../x\"
  to do:    Write the path below the toplevel, such as \"pre-activate-safety-checks\".",
        ),
        (
            above("drift = \"report\"\ndrift = \"correct\""),
            "config.toml:2:1: the key stands twice
  expected: TOML
  found:    drift = \"correct\"
  to do:    Keep one of the two.",
        ),
        (
            above("drift = report"),
            "config.toml:1:9: string values must be quoted, expected literal string
  expected: TOML
  found:    drift = report
  to do:    Correct the line; strings stand in double quotes.",
        ),
    ] {
        let told = format!("the configuration has one mistake\n{told}");
        assert_eq!(message(&text), told, "{text}");
    }
}

#[test]
fn what_the_file_says_cannot_steer_the_terminal() {
    let text = format!("\"\\u001b]52;c;x\\u0007\" = 1\ndrift = \"\\u001b[2J\"\n{REMOTE}");
    let told = message(&text);
    assert!(
        !told.contains('\u{1b}') && !told.contains('\u{7}'),
        "{told}"
    );
}

#[test]
fn a_column_counts_characters() {
    let text = format!("{REMOTE}[health]\nignore_units = [\"üüü\", \"x\"]\n");
    assert!(message(&text).contains("config.toml:4:24: health.ignore_units[1]"));
}

#[test]
fn an_open_scheme_is_accepted_with_a_warning() {
    let text = "[[remote]]\nurl = \"git://example.org/a\"\n";
    let (config, warnings) = parse(FILE, text).expect("it is accepted");
    assert_eq!(config.remote.address.url, "git://example.org/a");
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "config.toml:2:7: remote.url: this scheme is neither encrypted nor authenticated: \
             anybody on the way can change what this host fetches and then runs; use https or ssh"
        ]
    );
}

#[test]
fn a_file_that_is_not_there_says_what_to_create() {
    let error = load(Path::new("/nonexistent/config.toml")).expect_err("there is none");
    assert_eq!(
        error.to_string(),
        "read the configuration file /nonexistent/config.toml"
    );
    assert!(error.hint().starts_with("Create /nonexistent/config.toml"));
}

#[test]
fn every_key_is_documented_with_its_default() {
    let documentation = include_str!("../../docs/configuration.md");
    // Unknown keys make the reader name all those that it knows.
    let told = message(&format!(
        "x = 1\n{REMOTE}x = 1\n[evaluate]\nx = 1\n[health]\nx = 1\n[deadlines]\nx = 1\n"
    ));
    // `evaluate` is a table and a deadline, so it is found twice.
    let tables = ["remote", "health", "deadlines"];
    let keys = told
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expected: one of "))
        .flat_map(|keys| keys.split(", "))
        .filter(|key| !tables.contains(key));
    let mut number = 0;
    for key in keys {
        let row = format!("\n| `{key}` | ");
        assert!(documentation.contains(&row), "{key} is not documented");
        number += 1;
    }
    assert_eq!(number, 27);
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let documentation = include_str!("../../docs/configuration.md");
    let mut above = String::new();
    let mut tables = [String::new(), String::new(), String::new()];
    for (key, default) in documentation.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let key = cells.next()?.trim_end_matches('`');
        let default = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((key, default))
    }) {
        let line = format!("{key} = {default}\n");
        match key {
            "mode" | "drift" | "on_reboot_required" | "pre_activate_check" => above += &line,
            "branch" | "name" | "poll_interval" => tables[0] += &line,
            "import_from_derivation" => tables[1] += &format!("[evaluate]\n{line}"),
            "confirm_window" => tables[1] += &format!("[health]\n{line}"),
            "probe_deadline" | "ignore_units" => tables[1] += &line,
            "poll" => tables[2] += &format!("[deadlines]\n{line}"),
            // Stands at the top and below the deadlines.
            "boot_loader" if default == "\"auto\"" => above += &line,
            _ => tables[2] += &line,
        }
    }
    let text = format!("{above}{REMOTE}{}", tables.concat());
    assert_eq!(accepted(&text), accepted(REMOTE), "{text}");
}

#[test]
fn settings_differ_where_another_answer_is_asked_for() {
    let settings = |more: &str, configuration: &str| {
        let text = format!("{more}\n[[remote]]\nurl = \"https://example.org/r.git\"\n");
        let (config, _) = parse("config.toml", &text).expect("it has no mistake");
        let configuration = Configuration::try_from(configuration.to_owned());
        config.settings(&configuration.expect("a good name"))
    };
    let plain = settings("", "h1");
    assert_eq!(settings("drift = \"correct\"", "h1"), plain);
    for (more, configuration) in [
        ("", "h2"),
        ("pre_activate_check = \"other\"", "h1"),
        ("evaluate.import_from_derivation = true", "h1"),
        ("deadlines.check = \"61s\"", "h1"),
        ("health.ignore_units = [\"a.service\"]", "h1"),
    ] {
        assert_ne!(settings(more, configuration), plain, "{more}");
    }
}
