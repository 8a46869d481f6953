//! What the operator reads, word by word.

use super::*;
use std::collections::BTreeSet;

use crate::model::policy::{
    Guard, Mode, OnDrift, OnRebootRequired, OnUnhealthy, Pushes, UserProbe,
};
use crate::model::remote::TokenAs;

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
    assert_eq!(config.remotes[0].name, "origin");
    assert_eq!(
        config.remotes[0].address.url,
        "https://example.org/hosts.git"
    );
    assert_eq!(config.remotes[0].address.branch.as_str(), "main");
    assert_eq!(config.policy.poll_interval, Duration::from_secs(60));
    assert_eq!(config.policy.mode, Mode::Switch);
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
    assert_eq!(config.deadlines.lock, Duration::from_secs(60));
    assert_eq!(config.deadlines.rollback, Duration::from_secs(300));
    assert_eq!(config.health.require_units, None);
    assert_eq!(config.health.on_unhealthy, OnUnhealthy::Refuse);
    assert_eq!(config.health.probes, []);
    assert_eq!(config.guards.allowed, BTreeSet::new());
    assert_eq!(config.guards.machine_id, None);
    assert_eq!(config.guards.store_reserve, 1 << 30);
    assert_eq!(config.on_failed_rollback, OnFailedRollback::Reboot);
}

#[test]
fn remotes_are_a_list_in_the_order_of_the_file() {
    let config = accepted(
        "[[remote]]\nurl = \"https://example.org/a\"\npoll_interval = \"5m\"\n\
         [[remote]]\nname = \"mirror\"\nurl = \"git@example.org:a.git\"\nbranch = \"next\"\n\
         timeout = \"7s\"\nidentity_file = \"/keys/mirror\"\npoll_interval = \"20s\"\n\
         [deadlines]\npoll = \"9s\"\n",
    );
    let [first, second] = &config.remotes[..] else {
        panic!("{:?}", config.remotes);
    };
    assert_eq!((&*first.name, &*second.name), ("origin", "mirror"));
    assert_eq!(first.address.branch.as_str(), "main");
    assert_eq!(second.address.branch.as_str(), "next");
    assert_eq!(second.credentials[0].name, "mirror.identity");
    let timeouts = [first, second].map(|remote| remote.timeout(&config.deadlines).as_secs());
    assert_eq!(timeouts, [9, 7]);
    assert_eq!(config.policy.poll_interval, Duration::from_secs(20));
    let many = (0..17).map(|index| format!("[[remote]]\nname = \"r{index}\"\nurl = \"/a\"\n"));
    assert!(message(&many.collect::<String>()).contains("too many remotes"));
}

#[test]
fn every_key_is_read() {
    let config = accepted(
        r#"
        configuration = "web1"
        mode = "test"
        drift = "correct"
        on_reboot_required = "boot"
        on_failed_rollback = "stay"
        machine_id = "0123456789ABCDEF0123456789abcdef"
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
        require_units = ["sshd.service", "web.service"]
        on_unhealthy = "proceed-if-not-worse"
        [[probe]]
        name = "web"
        command = ["/bin/curl", "-f", "http://localhost"]
        deadline = "5s"
        [[probe]]
        name = "db"
        command = ["/bin/true"]
        [guards]
        allow = ["ssh-server", "daemon"]
        [reserve]
        store = "512MiB"
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
        probe = "13s"
        lock = "14s"
        rollback = "15s"
        rollback_health = "16s"
        "#,
    );
    let name = config.configuration.expect("it was given");
    assert_eq!(name.as_str(), "web1");
    assert_eq!(config.remotes[0].name, "forge");
    assert_eq!(config.remotes[0].address.name, "forge");
    assert_eq!(
        config.remotes[0].address.url,
        "ssh://git@example.org/srv/hosts.git"
    );
    assert_eq!(config.remotes[0].address.branch.as_str(), "release/24.11");
    assert_eq!(config.remotes[0].poll_interval, Duration::from_secs(5400));
    assert_eq!(config.policy.mode, Mode::Test);
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
        deadlines.probe,
        deadlines.lock,
        deadlines.rollback,
        deadlines.rollback_health,
    ]
    .map(|deadline| deadline.as_secs());
    assert_eq!(seconds, std::array::from_fn(|index| index as u64 + 1));
    let health = config.health;
    let required = ["sshd.service", "web.service"].map(str::to_owned).to_vec();
    assert_eq!(health.require_units, Some(required));
    assert_eq!(health.on_unhealthy, OnUnhealthy::ProceedIfNotWorse);
    let probe = |name: &str, command: &[&str], seconds| UserProbe {
        name: name.to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        deadline: Duration::from_secs(seconds),
    };
    assert_eq!(
        health.probes,
        [
            probe("web", &["/bin/curl", "-f", "http://localhost"], 5),
            probe("db", &["/bin/true"], 30)
        ]
    );
    let guards = config.guards;
    assert_eq!(
        guards.allowed,
        BTreeSet::from([Guard::SshServer, Guard::Daemon])
    );
    let machine_id = "0123456789abcdef0123456789abcdef";
    assert_eq!(guards.machine_id.as_deref(), Some(machine_id));
    assert_eq!(guards.store_reserve, 512 << 20);
    assert_eq!(config.on_failed_rollback, OnFailedRollback::Stay);
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "drfit = \"report\"\n\
                mode = \"swich\"\n\
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
pre_activate_check, on_failed_rollback, machine_id, guards, reserve, remote, evaluate, health, \
probe, deadlines, fetch, trust, testing, push
  found:    \"drfit\"
  to do:    Write drift, if that is what was meant.
config.toml:2:8: mode: not one of the choices
  expected: one of \"switch\", \"boot\", \"test\"
  found:    \"swich\"
  to do:    Write \"switch\", if that is what was meant.
config.toml:4:7: remote.url: has a user name, password or token in it, which every user of \
the host could read
  expected: a URL with scheme https, ssh, file, http or git, or user@host:path for ssh
  found:    \"https://…@example.org/a.git\"
  to do:    Remove it, and revoke it if it was secret; name a file with the token as `token_file`.
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
  expected: at least one [[remote]] with a url
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
            "config.toml:3:1: remote.name: another remote of this name
  expected: each name once; a remote without a name is \"origin\"
  found:    \"origin\"
  to do:    Give each [[remote]] a name of its own.",
        ),
        (
            below("branhc = \"x\""),
            "config.toml:3:1: remote.branhc: unknown key
  expected: one of name, branch, poll_interval, timeout, url, identity_file, host_keys, token_file, token_user, token_as, ca_file, proxy
  found:    \"branhc\"
  to do:    Write branch, if that is what was meant.",
        ),
        (
            below("drift = \"report\""),
            "config.toml:3:1: remote.drift: unknown key
  expected: one of name, branch, poll_interval, timeout, url, identity_file, host_keys, token_file, token_user, token_as, ca_file, proxy
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
activate, profile, boot_loader, restore, probe, lock, rollback, rollback_health
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
            below("[health]\nrequire_units = [\"sshd\"]"),
            "config.toml:4:18: health.require_units[0]: not the name of a unit
  expected: a unit's full name with its suffix, such as \"example.service\"
  found:    \"sshd\"
  to do:    Write the name as `systemctl --failed` shows it.",
        ),
        (
            below("[health]\non_unhealthy = \"proceed\""),
            "config.toml:4:16: health.on_unhealthy: not one of the choices
  expected: one of \"refuse\", \"proceed-if-not-worse\"
  found:    \"proceed\"
  to do:    Write \"refuse\", if that is what was meant.",
        ),
        (
            below("[[probe]]\nname = \"web\""),
            "config.toml:3:1: probe.command: missing
  expected: a [[probe]] with a name and a command
  found:    one without it
  to do:    Add command = [\"/run/current-system/sw/bin/curl\"].",
        ),
        (
            below("[[probe]]\ncommand = [\"/bin/true\"]"),
            "config.toml:3:1: probe.name: missing
  expected: a [[probe]] with a name and a command
  found:    one without it
  to do:    Add name = \"web\".",
        ),
        (
            below("[[probe]]\nname = \"a b\"\ncommand = [\"/bin/true\"]"),
            "config.toml:4:8: probe.name: not a name
  expected: a name of at most 64 letters, digits, '_' and '-'
  found:    \"a b\"
  to do:    Write a short name.",
        ),
        (
            below("[[probe]]\nname = \"a\"\ncommand = [\"curl\", \"-f\"]"),
            "config.toml:5:12: probe.command[0]: not an absolute path
  expected: a program by its absolute path
  found:    \"curl\"
  to do:    Write the whole path, such as \"/run/current-system/sw/bin/curl\".",
        ),
        (
            below("[[probe]]\nname = \"a\"\ncommand = []"),
            "config.toml:5:11: probe.command: an empty command
  expected: a program and its arguments
  found:    []
  to do:    Write command = [\"/run/current-system/sw/bin/curl\"].",
        ),
        (
            below("[[probe]]\nname = \"a\"\ncommand = [\"/bin/sh\", \"a\\nb\"]"),
            "config.toml:5:23: probe.command[1]: has a control character in it
  expected: words of printable characters
  found:    \"a\\nb\"
  to do:    Put what needs it into a script, and name that.",
        ),
        (
            below(
                "[[probe]]\nname = \"a\"\ncommand = [\"/x\"]\n\
                 [[probe]]\nname = \"a\"\ncommand = [\"/x\"]",
            ),
            "config.toml:6:1: probe.name: another probe of this name
  expected: each name once
  found:    \"a\"
  to do:    Give each [[probe]] a name of its own.",
        ),
        (
            below("[[probe]]\nname = \"a\"\ncommand = [\"/x\"]\ndeadline = \"2h\""),
            "config.toml:6:12: probe.deadline: out of range
  expected: a duration from \"1s\" to \"1h\"
  found:    \"2h\"
  to do:    Write at least \"1s\" and at most \"1h\"; the default is \"30s\".",
        ),
        (
            below("[guards]\nallow = [\"sshd\"]"),
            "config.toml:4:10: guards.allow[0]: not one of the choices
  expected: one of \"daemon\", \"ssh-server\", \"remote\"
  found:    \"sshd\"
  to do:    Write \"daemon\", if that is what was meant.",
        ),
        (
            below("allow = [\"remote\"]"),
            "config.toml:3:1: remote.allow: unknown key
  expected: one of name, branch, poll_interval, timeout, url, identity_file, host_keys, token_file, token_user, token_as, ca_file, proxy
  found:    \"allow\"
  to do:    Move it to [guards].",
        ),
        (
            below("[reserve]\nstore = \"1GB\""),
            "config.toml:4:9: reserve.store: not a size
  expected: a size from \"0B\" to \"1024TiB\"
  found:    \"1GB\"
  to do:    Write a whole number with KiB, MiB, GiB or TiB, such as \"1GiB\".",
        ),
        (
            below("[reserve]\nstore = \"500\""),
            "config.toml:4:9: reserve.store: a size without its unit
  expected: a size from \"0B\" to \"1024TiB\"
  found:    \"500\"
  to do:    Write \"500MiB\", or GiB or TiB.",
        ),
        (
            above("machine_id = \"abc\""),
            "config.toml:1:14: machine_id: not the id of a machine
  expected: 32 hexadecimal digits
  found:    \"abc\"
  to do:    Write what stands in /etc/machine-id of the host that this is for.",
        ),
        (
            above("on_failed_rollback = \"rebot\""),
            "config.toml:1:22: on_failed_rollback: not one of the choices
  expected: one of \"reboot\", \"stay\"
  found:    \"rebot\"
  to do:    Write \"reboot\", if that is what was meant.",
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
    assert_eq!(config.remotes[0].address.url, "git://example.org/a");
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
fn no_unit_may_be_required_and_nobody_saying_so_is_another_thing() {
    let none = accepted(&format!("{REMOTE}[health]\nrequire_units = []\n"));
    assert_eq!(none.health.require_units, Some(Vec::new()));
    let unsaid = accepted(&format!("{REMOTE}[health]\n"));
    assert_eq!(unsaid.health.require_units, None);
}

/// One row of the documentation's tables.
struct Row<'a> {
    /// The table of the file: empty for the top, with its brackets else.
    table: &'a str,
    key: &'a str,
    /// As it is written in the file, if there is one.
    default: Option<&'a str>,
}

/// The keys that the documentation knows, in its order.
fn documented() -> Vec<Row<'static>> {
    let mut table = "";
    let mut rows = Vec::new();
    for line in include_str!("../../docs/configuration.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = heading.split('`').nth(1).unwrap_or("");
        }
        let Some((key, rest)) = line
            .strip_prefix("| `")
            .and_then(|row| row.split_once("` | "))
        else {
            continue;
        };
        let cell = rest.split(" | ").next().unwrap_or("");
        let default = cell.strip_prefix('`').and_then(|it| it.strip_suffix('`'));
        if key != "DEPLOY_FLAKE_LOG" && !key.contains("_proxy") {
            rows.push(Row {
                table,
                key,
                default,
            });
        }
    }
    rows
}

#[test]
fn every_key_is_documented_below_its_table() {
    // Unknown keys make the reader name all those that it knows.
    let told = message(&format!(
        "x = 1\n{REMOTE}x = 1\n[evaluate]\nx = 1\n[health]\nx = 1\n[[probe]]\nx = 1\n\
         [guards]\nx = 1\n[reserve]\nx = 1\n[deadlines]\nx = 1\n[fetch]\nx = 1\n[trust]\nx = 1\n\
         [trust.heartbeat]\nx = 1\n[testing]\nx = 1\n[push]\nx = 1\n"
    ));
    let lines: Vec<&str> = told.lines().map(str::trim).collect();
    let rows = documented();
    let mut number = 0;
    for pair in lines.windows(2) {
        let (Some((place, _)), Some(keys)) = (
            pair[0].split_once("x: unknown key"),
            pair[1].strip_prefix("expected: one of "),
        ) else {
            continue;
        };
        let table = place.rsplit_once(": ").map_or("", |(_, table)| table);
        let table = table.trim_end_matches('.');
        for key in keys.split(", ") {
            let whole = format!("{table}.{key}");
            let whole = whole.trim_start_matches('.');
            let is_table = rows.iter().any(|row| inner(row.table) == whole);
            // A table is documented by its heading.
            let is_documented = rows
                .iter()
                .any(|row| inner(row.table) == table && row.key == key);
            let is_known = is_documented || is_table;
            assert!(is_known, "{table} {key} is not documented");
            number += usize::from(is_documented);
        }
    }
    assert_eq!(number, rows.len(), "what is documented is read");
}

/// The name of a table without its brackets.
fn inner(table: &str) -> &str {
    table.trim_matches(['[', ']'])
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let mut text = String::new();
    let mut table = "";
    // That a table is there is no default of its own.
    let said = documented()
        .into_iter()
        .filter(|row| row.table != "[trust.heartbeat]");
    for row in said {
        if row.table != table {
            table = row.table;
            let required = match table {
                "[[remote]]" => "url = \"https://example.org/a\"\n",
                "[[probe]]" => "name = \"a\"\ncommand = [\"/a\"]\n",
                _ => "",
            };
            text += &format!("{table}\n{required}");
        }
        if let Some(default) = row.default {
            text += &format!("{} = {default}\n", row.key);
        }
    }
    let bare = format!("{REMOTE}[[probe]]\nname = \"a\"\ncommand = [\"/a\"]\n");
    assert_eq!(accepted(&text), accepted(&bare), "{text}");
}

/// A hang at any step is ended: none of them may wait for ever.
#[test]
fn every_step_has_a_documented_deadline() {
    let rows = documented();
    for (step, table, key) in [
        ("poll", "[deadlines]", "poll"),
        ("fetch", "[deadlines]", "fetch"),
        ("import", "[deadlines]", "import"),
        ("evaluation", "[deadlines]", "evaluate"),
        ("build", "[deadlines]", "build"),
        ("GC roots", "[deadlines]", "root"),
        ("the closure's own check", "[deadlines]", "check"),
        ("NixOS's own checks", "[deadlines]", "pre_switch_check"),
        ("the switch lock", "[deadlines]", "lock"),
        ("activation", "[deadlines]", "activate"),
        ("probe", "[deadlines]", "probe"),
        ("the operator's probes", "[[probe]]", "deadline"),
        ("becoming healthy", "[health]", "probe_deadline"),
        ("confirmation", "[health]", "confirm_window"),
        ("profile", "[deadlines]", "profile"),
        ("boot loader", "[deadlines]", "boot_loader"),
        ("restoration", "[deadlines]", "restore"),
        ("rollback", "[deadlines]", "rollback"),
        ("health after it", "[deadlines]", "rollback_health"),
    ] {
        let row = rows
            .iter()
            .find(|row| row.table == table && row.key == key)
            .unwrap_or_else(|| panic!("{step} has no deadline"));
        assert!(row.default.is_some(), "{step} has no default");
    }
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
        ("mode = \"test\"", "h1"),
        ("pre_activate_check = \"other\"", "h1"),
        ("evaluate.import_from_derivation = true", "h1"),
        ("deadlines.check = \"61s\"", "h1"),
        ("health.ignore_units = [\"a.service\"]", "h1"),
        ("guards.allow = [\"daemon\"]", "h1"),
        ("reserve.store = \"0B\"", "h1"),
    ] {
        assert_ne!(settings(more, configuration), plain, "{more}");
    }
}

const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJp3hTkQJkY6XOmyCYXJ0cBSyZbH0pCk2ZVQdWyl5rV";

#[test]
fn what_a_remote_is_shown_over_ssh_is_named_by_its_file() {
    let config = accepted(&format!(
        "[[remote]]\nname = \"forge\"\nurl = \"git@example.org:hosts.git\"\n\
         identity_file = \"/var/keys/forge\"\nhost_keys = [\"{HOST_KEY} comment\"]\n"
    ));
    let credential = Credential {
        name: "forge.identity".to_owned(),
        source: "/var/keys/forge".into(),
    };
    assert_eq!(config.remotes[0].credentials, [credential]);
    let keys = [format!("{HOST_KEY} comment")];
    assert_eq!(config.remotes[0].address.access.host_keys, keys);
}

#[test]
fn what_would_be_no_secret_any_more_or_no_key_is_refused() {
    let url = "[[remote]]\nurl = \"ssh://git@example.org/hosts.git\"\n";
    for (line, wrong) in [
        ("identity_file = \"keys/forge\"", "not an absolute path"),
        ("identity_file = \"/keys/../forge\"", "not an absolute path"),
        ("identity_file = \"/keys/a:b\"", "not an absolute path"),
        (
            "identity_file = \"/home/a/.ssh/id\"",
            "where the daemon cannot see it",
        ),
        (
            "identity_file = \"/nix/store/x-key\"",
            "everybody can read it",
        ),
        (
            "host_keys = [\"example.org ssh-ed25519 AAAA\"]",
            "not the key of a host",
        ),
        (
            "host_keys = [\"@cert-authority * ssh-ed25519 AAAA\"]",
            "not the key of a host",
        ),
        ("host_keys = [\"ssh-dss AAAA\"]", "not the key of a host"),
        ("host_keys = \"ssh-ed25519\"", "wrong type"),
    ] {
        let told = message(&format!("{url}{line}\n"));
        assert!(told.contains(wrong), "{line}: {told}");
    }
    let two_lines = format!("{url}host_keys = [\"{HOST_KEY}\\n* {HOST_KEY}\"]\n");
    assert!(message(&two_lines).contains("not the key of a host"));
    let https = "[[remote]]\nurl = \"https://example.org/hosts.git\"\n";
    for line in [
        "identity_file = \"/var/keys/forge\"".to_owned(),
        format!("host_keys = [\"{HOST_KEY}\"]"),
    ] {
        let told = message(&format!("{https}{line}\n"));
        assert!(told.contains("of no use with this url"), "{told}");
    }
}

#[test]
fn what_an_https_server_is_shown_and_how_it_is_reached() {
    let config = accepted(
        "[[remote]]\nurl = \"https://example.org/hosts.git\"\ntoken_file = \"/run/secrets/token\"\n\
         token_user = \"x-token-auth\"\nca_file = \"/etc/ca.pem\"\nproxy = \"socks5h://p:1\"\n",
    );
    let credential = Credential {
        name: "origin.token".to_owned(),
        source: "/run/secrets/token".into(),
    };
    assert_eq!(config.remotes[0].credentials, [credential]);
    let access = &config.remotes[0].address.access;
    let user = "x-token-auth".to_owned();
    assert_eq!(access.token, TokenAs::Password { user });
    assert_eq!(access.ca_file, Some("/etc/ca.pem".into()));
    assert_eq!(access.proxy.as_deref(), Some("socks5h://p:1"));
    let bearer = accepted(
        "[[remote]]\nurl = \"https://example.org/a\"\ntoken_file = \"/k\"\ntoken_as = \"bearer\"\n",
    );
    assert_eq!(bearer.remotes[0].address.access.token, TokenAs::Bearer);
}

#[test]
fn a_token_goes_over_https_only_and_stands_in_no_file_that_others_read() {
    let https = "https://example.org/a";
    for (url, line, wrong) in [
        (https, "token_file = \"ghp_s3cret\"", "not an absolute path"),
        (https, "token_user = \"a:b\"", "not the name of a user"),
        (https, "token_as = \"basic\"", "not one of the choices"),
        (
            https,
            "token_as = \"bearer\"\ntoken_user = \"a\"",
            "not the name of a user",
        ),
        (https, "ca_file = \"ca.pem\"", "not an absolute path"),
        (
            https,
            "proxy = \"http://u:s3cret@p:1\"",
            "not the URL of a proxy",
        ),
        (
            "http://example.org/a",
            "token_file = \"/k\"",
            "of no use with this url",
        ),
        (
            "git@example.org:a",
            "token_file = \"/k\"",
            "of no use with this url",
        ),
        (
            "git@example.org:a",
            "proxy = \"http://p:1\"",
            "of no use with this url",
        ),
        (
            "file:///srv/a",
            "ca_file = \"/k\"",
            "of no use with this url",
        ),
    ] {
        let told = message(&format!("[[remote]]\nurl = \"{url}\"\n{line}\n"));
        assert!(told.contains(wrong), "{line}: {told}");
    }
    let told =
        message("[[remote]]\nurl = \"https://example.org/a\"\nproxy = \"http://u:s3cret@p:1\"\n");
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn the_flake_may_be_below_the_top_but_not_outside() {
    let evaluate = |lines: &str| format!("{REMOTE}[evaluate]\n{lines}\n");
    let config = accepted(&evaluate(
        "directory = \"nix/hosts\"\nsubmodules = true\nnix_config_file = \"/var/keys/nix.conf\"",
    ));
    assert_eq!(config.flake.directory.as_deref(), Some("nix/hosts"));
    assert!(config.flake.submodules);
    assert_eq!(config.flake.nix_config, Some("/var/keys/nix.conf".into()));
    for directory in [
        "", "/etc", "../x", "a/../b", "a//b", ".", "a?b", "a&rev=x", ".git", "a b", "a#b",
    ] {
        let told = message(&evaluate(&format!("directory = \"{directory}\"")));
        assert!(told.contains("not a directory of the repository"), "{told}");
    }
    let told = message(&evaluate("nix_config_file = \"/home/a/nix.conf\""));
    assert!(told.contains("where the daemon cannot see it"), "{told}");
}

fn testing_branch(text: &str, host_name: &str) -> Option<String> {
    let remote = "[[remote]]\nurl = \"https://example.org/hosts.git\"\n";
    let config = accepted(&format!("{remote}{text}"));
    let branch = config.testing_branch(host_name);
    branch.expect("a branch name").map(String::from)
}

#[test]
fn a_testing_branch_is_followed_where_commits_are_signed_or_where_that_is_asked_for() {
    let signed = "[trust]\nrequire = \"tip\"\nallowed_signers = \"/etc/signers\"\n";
    for (text, expected) in [
        (String::new(), None),
        (signed.to_owned(), Some("testing-web1")),
        (format!("{signed}[testing]\nfollow = \"never\"\n"), None),
        (
            "[testing]\nfollow = \"always\"\n".to_owned(),
            Some("testing-web1"),
        ),
        (
            format!("{signed}[testing]\nbranch = \"try/all\"\n"),
            Some("try/all"),
        ),
        // It is the host's own.
        (format!("{signed}[testing]\nbranch = \"main\"\n"), None),
    ] {
        let found = testing_branch(&text, "web1");
        assert_eq!(found.as_deref(), expected, "{text}");
    }
    let config = accepted(
        "[[remote]]\nurl = \"https://example.org/a.git\"\n[testing]\nfollow = \"always\"\n",
    );
    assert!(config.testing_branch("a..b").is_err());
}

#[test]
fn pushes_are_taken_to_be_tested_and_none_where_commits_are_signed_unless_that_is_said() {
    let bare = "[[remote]]\nurl = \"https://example.org/a.git\"\n";
    let keys = "allowed_signers = \"/etc/deploy-flake/allowed-signers\"";
    let signed = format!("{bare}[trust]\nrequire = \"tip\"\n{keys}\n");
    for (text, expected) in [
        (bare.to_owned(), Pushes::TestOnly),
        (format!("{bare}[push]\nallow = \"never\"\n"), Pushes::Never),
        (
            format!("{bare}[push]\nallow = \"always\"\n"),
            Pushes::Always,
        ),
        (signed.clone(), Pushes::NotWhereSigned),
        (
            format!("{signed}[push]\nallow = \"always\"\n"),
            Pushes::NotWhereSigned,
        ),
        (
            format!("{signed}[push]\nalthough_signed = false\n"),
            Pushes::NotWhereSigned,
        ),
        (
            format!("{signed}[push]\nalthough_signed = true\n"),
            Pushes::TestOnly,
        ),
        (
            format!("{signed}[push]\nallow = \"always\"\nalthough_signed = true\n"),
            Pushes::Always,
        ),
        (
            format!("{signed}[push]\nallow = \"never\"\nalthough_signed = true\n"),
            Pushes::Never,
        ),
    ] {
        assert_eq!(accepted(&text).policy.pushes, expected, "{text}");
    }
}

#[test]
fn a_remotes_own_branch_is_not_its_testing_branch_and_may_be_that_of_another() {
    let config = accepted(
        "[[remote]]\nname = \"a\"\nurl = \"https://a.example.org/a.git\"\nbranch = \"testing-web1\"\n\
         [[remote]]\nname = \"b\"\nurl = \"https://b.example.org/a.git\"\n\
         [testing]\nfollow = \"always\"\n",
    );
    let branch = config.testing_branch("web1").expect("a branch name");
    let asked = config.remotes.iter();
    let asked = asked.map(|remote| remote.testing_branch(branch.as_ref()));
    let asked: Vec<_> = asked.map(|branch| branch.map(Branch::as_str)).collect();
    assert_eq!(asked, [None, Some("testing-web1")]);
}
