//! The test bed itself, proven without the product: what scenarios rely on is so.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::testbed::child::{self, Output};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::leftovers::{self, Record};
use crate::testbed::world::{World, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// A world whose hosts run no daemon; the first switch has systemd re-execute itself all the same.
pub(crate) fn world() -> World {
    let first = Generation::without_daemon("first");
    World::starting_with(first.with("systemdConf", Value::Null))
}

/// Runs a system's own program by hand, as root.
pub(crate) fn switch(host: &Host, system: &str, verb: &str) -> Output {
    host.run(&[&format!("{system}/bin/switch-to-configuration"), verb])
}

fn set_profile(host: &Host, system: &str) {
    let profile = "/nix/var/nix/profiles/system";
    host.run(&["nix-env", "--profile", profile, "--set", system])
        .must_succeed();
}

pub(crate) fn is_active(host: &Host, unit: &str) -> bool {
    host.run(&["systemctl", "is-active", "--quiet", unit]).code == Some(0)
}

#[test]
fn a_host_boots_in_its_first_generation() {
    let host = world().boot();
    let system = host.running_system();
    assert!(system.ends_with("-nixos-system-host-first"), "{system}");
    assert_eq!(host.state(), "running");
    assert_eq!(host.booted_system(), system);
    assert_eq!(host.profile(), system);
    assert_eq!(host.default_entry(), "nixos-generation-1.conf");
    assert_eq!(host.default_system(), system);
}

#[test]
fn a_generation_that_was_only_tested_is_gone_after_a_reboot() {
    let mut host = world().boot();
    let first = host.running_system();
    let second = host.build(&Generation::without_daemon("second").one_shot("web.service", "true"));
    switch(&host, &second, "test").must_succeed();
    assert_eq!(host.running_system(), second);
    assert!(is_active(&host, "web.service"));
    assert_eq!(
        (host.profile(), host.default_system()),
        (first.clone(), first.clone())
    );

    host.reboot();
    assert_eq!(
        (host.running_system(), host.booted_system()),
        (first.clone(), first)
    );
    assert!(!is_active(&host, "web.service"));
}

#[test]
fn a_generation_in_the_boot_entry_comes_up_after_a_reboot_and_after_a_loss_of_power() {
    let mut host = world().boot();
    let second = host.build(&Generation::without_daemon("second").one_shot("web.service", "true"));
    switch(&host, &second, "test").must_succeed();
    set_profile(&host, &second);
    switch(&host, &second, "boot").must_succeed();
    assert_eq!(
        (host.profile(), host.default_system()),
        (second.clone(), second.clone())
    );
    assert_eq!(host.default_entry(), "nixos-generation-2.conf");

    host.reboot();
    assert_eq!(
        (host.running_system(), host.booted_system()),
        (second.clone(), second.clone())
    );
    host.kill_all();
    host.start();
    assert_eq!(host.booted_system(), second);
    host.power_off();
    host.start();
    assert_eq!(host.booted_system(), second);
    assert!(is_active(&host, "web.service"));
}

#[test]
fn a_boot_entry_for_a_system_without_a_generation_is_the_newest_generation() {
    let host = world().boot();
    let first = host.running_system();
    let second = host.build(&Generation::without_daemon("second"));
    switch(&host, &second, "boot").must_succeed();
    assert_eq!(host.default_entry(), "nixos-*");
    assert_eq!(host.running_system(), first);
}

#[test]
fn a_unit_that_fails_in_a_switch_is_exit_code_4_and_going_back_leaves_it_inactive() {
    let host = world().boot();
    let first = host.running_system();
    let good = Generation::without_daemon("good").one_shot("web.service", "true");
    let good = host.build(&good);
    switch(&host, &good, "test").must_succeed();
    let bad = host.build(&Generation::without_daemon("bad").one_shot("web.service", "false"));

    let output = switch(&host, &bad, "test");
    assert_eq!(output.code, Some(4), "{output}");
    assert!(
        output
            .stderr
            .contains("the following units failed: web.service"),
        "{output}"
    );
    assert_eq!(
        (host.state(), host.running_system()),
        ("degraded".into(), bad)
    );

    switch(&host, &first, "test").must_succeed();
    switch(&host, &good, "test").must_succeed();
    assert!(
        is_active(&host, "web.service"),
        "a new unit is started by its target"
    );
}

#[test]
fn a_held_lock_is_exit_code_11_and_nothing_is_run() {
    let host = world().boot();
    let second = host.build(&Generation::without_daemon("second"));
    let hold = "flock /run/nixos/switch-to-configuration.lock sleep 60";
    host.shell("mkdir -p /run/nixos").must_succeed();
    host.run(&["systemd-run", "--unit=holder", "sh", "-c", hold])
        .must_succeed();
    host.wait_until("the lock is held", SOON, |host| {
        host.shell("flock -n /run/nixos/switch-to-configuration.lock true")
            .code
            == Some(1)
    });
    let before = host.tally_of("pre-switch-check");
    for verb in ["check", "test", "boot", "switch", "dry-activate"] {
        assert_eq!(switch(&host, &second, verb).code, Some(11), "{verb}");
    }
    assert_eq!(host.tally_of("pre-switch-check"), before);
}

#[test]
fn another_init_interface_is_exit_code_100_and_nothing_changes() {
    let host = world().boot();
    let first = host.running_system();
    let other = Generation::without_daemon("other").with("initInterface", "systemd 2");
    let other = host.build(&other);
    assert_eq!(switch(&host, &other, "test").code, Some(100));
    assert_eq!(switch(&host, &other, "check").code, Some(0));
    assert_eq!(
        (host.running_system(), host.tally_of("activate ")),
        (first, 1)
    );
}

#[test]
fn a_failing_activation_script_is_exit_code_2_and_the_rest_is_done() {
    let host = world().boot();
    let second = Generation::without_daemon("second")
        .with("activationScript", "false")
        .one_shot("web.service", "true");
    let second = host.build(&second);
    assert_eq!(switch(&host, &second, "test").code, Some(2));
    assert_eq!(host.running_system(), second);
    assert!(is_active(&host, "web.service"));
}

#[test]
fn a_failing_check_or_boot_loader_is_exit_code_1() {
    let host = world().boot();
    let first = host.running_system();
    let refused = Generation::without_daemon("a").with("preSwitchCheck", "echo no >&2; exit 3");
    let refused = host.build(&refused);
    for verb in ["check", "test", "boot"] {
        assert_eq!(switch(&host, &refused, verb).code, Some(1), "{verb}");
    }
    let unbootable = Generation::without_daemon("b").with("bootLoader", "exit 1");
    let unbootable = host.build(&unbootable);
    set_profile(&host, &unbootable);
    assert_eq!(switch(&host, &unbootable, "boot").code, Some(1));
    assert_eq!(
        (host.running_system(), host.default_system()),
        (first.clone(), first)
    );
}

#[test]
fn what_inhibits_a_switch_inhibits_it_only_when_it_differs() {
    let host = world().boot();
    let with = |label: &str, bus: &str| {
        let inhibitors = serde_json::json!({ "dbus-implementation": bus });
        host.build(&Generation::without_daemon(label).with("switchInhibitors", inhibitors))
    };
    let (old, same, other) = (with("a", "dbus"), with("b", "dbus"), with("c", "broker"));
    switch(&host, &old, "test").must_succeed();
    switch(&host, &same, "test").must_succeed();
    assert_eq!(switch(&host, &other, "check").code, Some(1));
    assert_eq!(switch(&host, &other, "test").code, Some(1));
    assert_eq!(switch(&host, &other, "boot").code, Some(0));
    assert_eq!(host.running_system(), same);
}

#[test]
fn systemd_is_reexecuted_by_the_first_switch_and_not_by_later_ones() {
    let host = world().boot();
    let reexecuted = || host.journal(&["_PID=1", "--grep=Reexecuting"]).len();
    for label in ["second", "third"] {
        let next = host.build(&Generation::without_daemon(label));
        switch(&host, &next, "test").must_succeed();
        assert_eq!(reexecuted(), 1, "after {label}");
    }
}

#[test]
fn a_switch_killed_in_the_middle_is_finished_by_the_next_one() {
    let host = world().boot();
    let web = |label: &str, text: &str| {
        let unit = format!("[Service]\nEnvironment=TEXT={text}\nExecStart=sleep infinity\n");
        host.build(&Generation::without_daemon(label).wanted_unit("web.service", &unit))
    };
    let (one, two) = (web("one", "one"), web("two", "two"));
    switch(&host, &one, "test").must_succeed();

    host.close_gate("activate");
    let program = format!("{two}/bin/switch-to-configuration");
    host.run(&["systemd-run", "--unit=switch", &program, "test"])
        .must_succeed();
    host.wait_for_gate("activate", SOON);
    assert!(
        !is_active(&host, "web.service"),
        "a changed service is stopped first"
    );
    host.run(&["systemctl", "kill", "--signal=KILL", "switch.service"])
        .must_succeed();
    host.open_gate("activate");
    assert!(
        host.shell("cat /run/nixos/start-list")
            .stdout
            .contains("web.service")
    );

    switch(&host, &two, "test").must_succeed();
    assert!(is_active(&host, "web.service"));
    assert!(!host.path("/run/nixos/start-list").exists());
}

#[test]
fn the_repository_is_served_over_git_http_and_ssh() {
    let mut world = world();
    let commit = world
        .server()
        .repository()
        .publish(&Generation::without_daemon("second"));
    let client = world.client();
    for scheme in ["git", "http", "ssh"] {
        let url = world.server().url(scheme);
        let refs = client.run(&["git", "ls-remote", &url, "refs/heads/main"]);
        assert_eq!(refs.text(), format!("{commit}\trefs/heads/main"), "{url}");
        client
            .run(&["git", "clone", "--quiet", &url, scheme])
            .must_succeed();
    }
    let private = world.server().url("http").replace("/git/", "/private/");
    let with_password = private.replace("http://", "http://deploy:secret@");
    assert_ne!(client.run(&["git", "ls-remote", &private]).code, Some(0));
    client
        .run(&["git", "ls-remote", &with_password])
        .must_succeed();
}

#[test]
fn a_server_off_the_network_is_not_reached_until_it_comes_back() {
    let mut world = world();
    let client = world.client();
    let url = world.server().url("git");
    let ask = || client.run(&["timeout", "2", "git", "ls-remote", &url]).code;
    assert_eq!(ask(), Some(0));
    world.server().vanish();
    assert_eq!(ask(), Some(124));
    world.server().come_back();
    wait_until("the server answers again", SOON, || ask() == Some(0));
}

#[test]
fn an_unprivileged_user_builds_what_a_commit_describes_without_a_network() {
    let mut world = World::new();
    let host = world.boot();
    host.run(&["systemctl", "stop", "deploy-flake.service"])
        .must_succeed();
    let commit = world
        .server()
        .repository()
        .publish(&Generation::new("second"));
    let url = world.server().url("git");
    let home = "/var/cache/unprivileged";
    host.run(&[
        "git",
        "clone",
        "--quiet",
        &url,
        &format!("{home}/repository"),
    ])
    .must_succeed();
    host.run(&["chown", "-R", "deploy-flake-build:", home])
        .must_succeed();

    let attribute = "nixosConfigurations.host.config.system.build.toplevel";
    let flake = format!("git+file://{home}/repository?rev={commit}#{attribute}");
    let build = [
        "nix",
        "build",
        "--no-link",
        "--print-out-paths",
        "--no-update-lock-file",
        &flake,
    ];
    let home_variable = format!("--setenv=HOME={home}");
    let unit = [
        "systemd-run",
        "--quiet",
        "--pipe",
        "--wait",
        "--collect",
        &home_variable,
        "--property=User=deploy-flake-build",
        "--property=PrivateNetwork=yes",
        "--property=ProtectSystem=strict",
        "--property=NoNewPrivileges=yes",
    ];
    let unit = [
        &unit[..],
        &["--property=ReadWritePaths=/var/cache/unprivileged"],
    ]
    .concat();
    let built = host.run(&[&unit[..], &build].concat());
    assert_eq!(built.text(), host.build(&Generation::new("second")));

    let references = host.run(&["nix-store", "--query", "--references", built.text()]);
    let program = host.shell("readlink /run/current-system/sw/bin/deploy-flake");
    let tree = program
        .text()
        .trim_end_matches("/bin/deploy-flake")
        .to_owned();
    assert!(
        references.text().contains(&tree),
        "{tree} is not among\n{references}"
    );
    host.run(&["nix-collect-garbage", "--quiet"]).must_succeed();
    assert!(
        host.path(program.text()).exists(),
        "the running system holds its daemon"
    );
}

#[test]
fn an_operator_logs_in_through_a_real_sshd() {
    let world = world();
    let (host, client) = (world.boot(), world.client());
    client.knows("web1", &host, "operator");
    assert_eq!(
        client
            .run(&["ssh", "-o", "BatchMode=yes", "web1", "id", "-un"])
            .text(),
        "operator"
    );
    assert_eq!(
        client
            .run(&["ssh", "-o", "BatchMode=yes", "web1", "exit", "5"])
            .code,
        Some(5)
    );
}

#[test]
fn two_hosts_of_one_world_are_hosts_of_their_own() {
    let world = world();
    let (one, two) = (world.boot(), world.boot());
    let second = one.build(&Generation::without_daemon("second"));
    switch(&one, &second, "test").must_succeed();
    assert_ne!(one.running_system(), two.running_system());
    let keys = one.run(&["ssh-keyscan", "-T", "5", &two.address().to_string()]);
    assert!(keys.stdout.contains("ssh-ed25519"), "{keys}");
    for host in [&one, &two] {
        // A process of another host would be a zero here, and a stopped unit would take it along.
        let processes = host.shell("cat /sys/fs/cgroup/system.slice/sshd.service/cgroup.procs");
        assert!(
            !processes.text().split('\n').any(|id| id == "0"),
            "{processes}"
        );
    }
}

#[test]
fn a_unit_can_have_a_network_of_its_own() {
    let host = world().boot();
    let unit = [
        "systemd-run",
        "--quiet",
        "--wait",
        "--pipe",
        "--property=PrivateNetwork=yes",
    ];
    let links = host.run(&[&unit[..], &["ip", "-brief", "link"]].concat());
    assert_eq!(links.text().lines().count(), 1, "{links}");
}

#[test]
fn nothing_on_a_host_could_set_the_clock_of_the_machine() {
    // Bit 25 is CAP_SYS_TIME. It is only looked for: to try would be to set the clock if this fails.
    let sets_clock = |status: &Output| {
        let bounds = status
            .text()
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:\t"));
        let bounds = bounds.and_then(|bounds| u64::from_str_radix(bounds, 16).ok());
        bounds.expect("the status of a process has its bounding set") & (1 << 25) != 0
    };
    let host = world().boot();
    let look = ["cat", "/proc/self/status"];
    let unit = ["systemd-run", "--quiet", "--wait", "--pipe"];
    assert!(!sets_clock(&host.run(&look)), "by a command of a scenario");
    assert!(
        !sets_clock(&host.run(&[&unit[..], &look].concat())),
        "by a unit"
    );
    assert!(
        !sets_clock(&host.run(&["cat", "/proc/1/status"])),
        "by systemd"
    );
}

#[test]
fn leftovers_of_a_killed_run_are_removed() {
    let name = format!("bed-{}-leftover", std::process::id());
    // Process ids do not get that high.
    let record = Record::owned_by("99999999 1", &name);
    let memory = record.directory().join("memory");
    fs::create_dir(&memory).expect("a directory can be made");
    record.add_namespace(&name);
    child::must("ip", &["netns", "add", &name]);
    child::must(
        "mount",
        &["-t", "tmpfs", "testbed", &memory.display().to_string()],
    );

    leftovers::remove_those_of_killed_runs();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a mounted /proc");
    assert!(!mounts.contains(&memory.display().to_string()));
    assert!(!Path::new("/run/netns").join(&name).exists());
    assert!(!memory.exists());
}
