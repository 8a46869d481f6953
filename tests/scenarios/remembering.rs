//! Every deployment that ended is kept, whatever befell it and the daemon; it is told to everybody, by commands that
//! need no daemon.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::common::{DEADLINE, deployed, ended_as, git_url, settled, text, web};
use crate::testbed::child::Output;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;
use crate::trusting::Keys;

const HISTORY: &str = "/var/lib/deploy-flake/history";

/// A host that follows only commits whose tip is signed.
fn generation(label: &str, keys: &Keys, packages: &[&str]) -> Generation {
    let configuration = format!(
        "[[remote]]\nurl = \"{}\"\npoll_interval = \"1s\"\n\n\
         [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n\n\
         [trust]\nrequire = \"tip\"\nallowed_signers = \"/etc/deploy-flake/allowed-signers\"\n",
        git_url()
    );
    web(label)
        .daemon_config(&configuration)
        .etc("deploy-flake/allowed-signers", &keys.allowed("ann"))
        .with("packages", packages.to_vec())
}

/// Runs `deploy-flake` as somebody who may do nothing.
fn as_visitor(host: &Host, words: &[&str]) -> Output {
    host.run(&[&["runuser", "-u", "visitor", "--", "deploy-flake"], words].concat())
}

/// The kept deployments, oldest first, as everybody may read them.
fn history(host: &Host) -> Vec<Value> {
    let document = document(host);
    let kept = document["deployments"].as_array().expect("a list").clone();
    kept.into_iter().rev().collect()
}

fn document(host: &Host) -> Value {
    let output = as_visitor(host, &["history", "--limit", "100", "--output", "json"]);
    serde_json::from_str(&output.must_succeed().stdout).expect("the history is JSON")
}

fn outcomes(history: &[Value]) -> Vec<String> {
    history
        .iter()
        .map(|record| text(&record["outcome"]))
        .collect()
}

/// What was found out of each afterwards is there, too.
fn complete(host: &Host, kept: usize) -> Vec<Value> {
    let is_complete = |host: &Host| {
        let history = history(host);
        let differs = |record: &Value| {
            !record["toplevel"].is_null() && record["toplevel"] != record["before"]["running"]
        };
        history.len() == kept
            && history
                .iter()
                .all(|record| !differs(record) || record["difference"].is_object())
    };
    host.wait_until("the differences are known", DEADLINE, is_complete);
    history(host)
}

fn phases(record: &Value) -> Vec<String> {
    let phases = record["phases"].as_array().expect("a list");
    phases.iter().map(|phase| text(&phase["phase"])).collect()
}

/// Nothing is wider than a terminal but what a program wrote, and nothing steers one.
#[track_caller]
fn fit_for_people(output: &Output) -> String {
    let text = output.must_succeed().stdout.clone();
    for line in text.lines() {
        let is_quoted = line.starts_with("  | ");
        assert!(is_quoted || line.chars().count() <= 80, "{line}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
    text
}

fn systemctl(host: &Host, verb: &str) {
    host.run(&["systemctl", verb, "deploy-flake.service"])
        .must_succeed();
}

fn files(host: &Host) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(host.path(HISTORY)).expect("there is a history");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut records: Vec<_> = paths
        .filter(|path| path.extension() == Some("json".as_ref()))
        .collect();
    records.sort();
    records
}

#[test]
fn every_deployment_is_remembered_whatever_befell_it() {
    let keys = Keys::new();
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let repository = world.server().repository();

    repository.set(&generation("one", &keys, &["hello-2.10", "gone-1.0"]));
    let one = repository.commit("web: \u{1b}[31mred\n\nBecause.");
    repository.push();
    let first = deployed(&host, &one);

    // Another daemon takes over in the middle, and goes on with what the first one noted.
    let generation =
        |label: &str, packages: &[&str]| generation(label, &keys, packages).next_daemon();
    repository.set(&generation("two", &["hello-2.12", "new-1.0"]));
    let two = keys.commit(repository, "ann");
    repository.push();
    let second = deployed(&host, &two);

    // This one is killed in the middle.
    host.close_gate("build");
    let failing = generation("bad", &["hello-2.12"]).one_shot("broken.service", "false");
    repository.set(&failing);
    let bad = keys.commit(repository, "ann");
    repository.push();
    host.wait_for_gate("build", DEADLINE);
    host.signal_daemon("KILL");
    host.open_gate("build");
    ended_as(&host, &bad, "rolled-back");

    repository
        .set(&generation("none", &[]).with("evaluationError", "no \u{1b}]0;x\u{7} such thing"));
    let broken = keys.commit(repository, "ann");
    repository.push();
    ended_as(&host, &broken, "refused");

    let history = complete(&host, 5);
    assert_eq!(
        outcomes(&history),
        [
            "unchanged",
            "deployed",
            "deployed",
            "rolled-back",
            "refused"
        ]
    );
    is_told_in_full(&host, &history, [&first, &second]);
    is_told_to_people(&host, &history);
    is_followed(&host, &mut world, &generation("three", &[]), &keys);
    is_kept_through_damage(&host);
    a_full_disk_only_costs_the_record(&host, &mut world, &generation("four", &[]), &keys);
}

/// What programs read.
#[track_caller]
fn is_told_in_full(host: &Host, history: &[Value], [first, second]: [&str; 2]) {
    assert_eq!(history[1]["description"]["subject"], "web: \\u{1b}[31mred");
    assert_eq!(
        history[1]["description"]["signer"],
        Value::Null,
        "nobody demanded it"
    );

    let record = &history[2];
    assert_eq!(
        record["description"]["signer"]["principal"], "ann@example.org",
        "{record:#}"
    );
    assert_eq!(
        (&record["before"]["running"], &record["after"]["running"]),
        (&first.into(), &second.into())
    );
    assert_eq!(record["after"]["default_entry"], second);
    assert_eq!(record["remote"]["url"], git_url());
    assert_eq!(record["cause"], "new-commit");
    for phase in [
        "importing",
        "building",
        "testing",
        "replacing",
        "confirming",
        "writing-boot-entry",
    ] {
        assert!(
            phases(record).contains(&phase.to_owned()),
            "{phase}: {:?}",
            phases(record)
        );
    }
    assert!(
        record["health"]["watched_ms"].as_u64() >= Some(1000),
        "{record:#}"
    );
    assert_eq!(
        record["health"]["expected"]["remote"], "reachable",
        "{record:#}"
    );
    let difference = &record["difference"];
    let packages: Vec<String> = difference["packages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            format!(
                "{} {} {} {}",
                it["change"], it["name"], it["before"], it["after"]
            )
        })
        .collect();
    for package in [
        r#""upgraded" "hello" ["2.10"] ["2.12"]"#,
        r#""removed" "gone" ["1.0"] []"#,
        r#""added" "new" [] ["1.0"]"#,
    ] {
        assert!(
            packages.contains(&package.to_owned()),
            "{package}: {packages:?}"
        );
    }
    assert_eq!(
        difference["units"]["changed"],
        serde_json::json!(["deploy-flake.service", "web.service"])
    );
    assert_eq!(difference["kernel"], Value::Null);

    let record = &history[3];
    assert_eq!(record["failure"]["code"], "activation-failed", "{record:#}");
    assert_eq!(record["after"]["running"], second);
    assert!(
        phases(record).contains(&"building".to_owned()),
        "of the daemon before: {record:#}"
    );
    assert!(
        phases(record).contains(&"rolling-back".to_owned()),
        "{record:#}"
    );
    assert_eq!(
        record["difference"]["units"]["added"],
        serde_json::json!(["broken.service"])
    );
    assert_eq!(history[4]["failure"]["code"], "evaluation-failed");
    assert_eq!(history[4]["toplevel"], Value::Null);

    let id = text(&record["deployment"]);
    let shown = as_visitor(host, &["show", &id[..8], "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown.must_succeed().stdout).expect("it is JSON");
    assert_eq!(shown, *record);
    let lines = host.run(&["deploy-flake", "logs", &id, "--output", "json"]);
    let lines: Vec<Value> = lines
        .must_succeed()
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert!(lines.iter().all(|line| line["schema"] == 1));
    assert!(
        lines.iter().any(|line| line["source"] == "test"),
        "{lines:#?}"
    );
    let differs = as_visitor(host, &["diff", first, second, "--output", "json"]);
    let differs: Value = serde_json::from_str(&differs.must_succeed().stdout).expect("it is JSON");
    assert_eq!(
        (&differs["schema"], &differs["from"]),
        (&1.into(), &"store".into())
    );
    assert_eq!(differs["difference"], history[2]["difference"]);
}

/// What people read.
#[track_caller]
fn is_told_to_people(host: &Host, history: &[Value]) {
    let table = fit_for_people(&as_visitor(host, &["history"]));
    let ids: Vec<String> = history
        .iter()
        .map(|record| text(&record["deployment"]))
        .collect();
    let newest_first: Vec<&str> = table
        .lines()
        .filter_map(|line| {
            line.get(..8)
                .filter(|id| ids.iter().any(|it| it.starts_with(id)))
        })
        .collect();
    let expected: Vec<&str> = ids.iter().rev().map(|id| &id[..8]).collect();
    assert_eq!(newest_first, expected, "{table}");
    assert!(table.contains("The newest ended"), "{table}");

    let page = fit_for_people(&as_visitor(host, &["show", &ids[3]]));
    assert!(
        page.contains("was rolled back, the previous system runs again"),
        "{page}"
    );
    assert!(page.contains("broken.service"), "{page}");
    assert!(page.contains("\nto do: "), "{page}");
    let differs = fit_for_people(&as_visitor(host, &["diff", &ids[2][..8]]));
    assert!(differs.contains("↑ hello  2.10 → 2.12"), "{differs}");
    assert!(
        differs.contains("changed: deploy-flake.service, web.service"),
        "{differs}"
    );
    let said = host.run(&["deploy-flake", "logs", &ids[2]]);
    assert!(
        said.stdout.contains("daemon    the commit is deployed"),
        "{said}"
    );
    let denied = as_visitor(host, &["logs", &ids[2]]);
    assert_eq!(denied.code, Some(1), "{denied}");
    assert!(denied.stderr.contains("systemd-journal"), "{denied}");
    let unknown = as_visitor(host, &["show", "--", "--flush"]);
    assert_eq!(unknown.code, Some(2), "{unknown}");

    let well = host.run(&["deploy-flake", "doctor"]);
    let page = fit_for_people(&well);
    for check in [
        "daemon",
        "remote",
        "bus",
        "nix",
        "boot loader",
        "state",
        "history",
    ] {
        assert!(
            page.contains(&format!("  ok   {check} ")),
            "{check}: {page}"
        );
    }
    // Its remote is neither encrypted nor authenticated.
    assert!(page.contains("  WARN configuration "), "{page}");
    as_visitor(host, &["doctor"]).must_succeed();
}

/// Whoever follows a deployment sees its end, and is let go by it.
#[track_caller]
fn is_followed(host: &Host, world: &mut World, generation: &Generation, keys: &Keys) {
    let repository = world.server().repository();
    host.close_gate("activate");
    repository.set(generation);
    let commit = keys.commit(repository, "ann");
    repository.push();
    host.wait_for_gate("activate", DEADLINE);
    let mut following = host.command(&["deploy-flake", "logs", "--follow"]);
    let following = following
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let following = following.expect("it can be run");
    host.open_gate("activate");
    deployed(host, &commit);
    let output = following.wait_with_output().expect("it ends by itself");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the commit is deployed"), "{said}");
    complete(host, 6);
}

/// A daemon that was killed before it wrote the record, one that was killed in the middle of writing it, and a disk
/// that tore another.
#[track_caller]
fn is_kept_through_damage(host: &Host) {
    let before = history(host);
    systemctl(host, "stop");
    let stopped = host.run(&["deploy-flake", "doctor"]);
    assert_eq!(stopped.code, Some(1), "{stopped}");
    assert!(stopped.stdout.contains("  FAIL daemon "), "{stopped}");
    let files = files(host);
    let newest = files.last().expect("there are some");
    let whole = fs::read(newest).expect("it can be read");
    fs::write(
        host.path(HISTORY).join("record.new"),
        &whole[..whole.len() / 2],
    )
    .expect("ours");
    fs::remove_file(newest).expect("it is there");
    let torn = fs::read(&files[1]).expect("it can be read");
    fs::write(&files[1], &torn[..torn.len() / 2]).expect("ours");
    systemctl(host, "start");

    let after = complete(host, 5);
    let without = |mut history: Vec<Value>| {
        history.remove(1);
        history
    };
    let told = |history: Vec<Value>| -> Vec<String> {
        let facts = [
            "deployment",
            "outcome",
            "commit",
            "phases",
            "description",
            "difference",
        ];
        let of = |record: &Value| facts.map(|fact| record[fact].to_string()).join(" ");
        history.iter().map(of).collect()
    };
    assert_eq!(told(after), told(without(before)));
    let document = document(host);
    let name = files[1]
        .file_name()
        .expect("it has one")
        .to_string_lossy()
        .into_owned();
    assert_eq!(document["unreadable"][0]["file"], name, "{document:#}");
    assert_eq!(document["kept"], 6);
    let table = fit_for_people(&as_visitor(host, &["history"]));
    assert!(
        table.contains(&format!("warning: {name} is left out")),
        "{table}"
    );
    let warned = host.run(&["deploy-flake", "doctor"]);
    assert_eq!(warned.code, Some(0), "{warned}");
    assert!(warned.stdout.contains("  WARN history "), "{warned}");
}

#[track_caller]
fn a_full_disk_only_costs_the_record(
    host: &Host,
    world: &mut World,
    generation: &Generation,
    keys: &Keys,
) {
    systemctl(host, "stop");
    let small = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=64k,mode=0755",
        "small",
        HISTORY,
    ];
    host.run(&small).must_succeed();
    let filled = host.shell(&format!("cat /dev/zero > {HISTORY}/filler"));
    assert!(filled.stderr.contains("No space left"), "{filled}");
    systemctl(host, "start");
    let repository = world.server().repository();
    repository.set(generation);
    let commit = keys.commit(repository, "ann");
    repository.push();
    deployed(host, &commit);
    assert_eq!(history(host), [Value::Null; 0]);
    let told = host.journal(&["MESSAGE=the history cannot be written"]);
    assert!(!told.is_empty());
    // The record comes from the ledger once there is room.
    fs::remove_file(host.path(HISTORY).join("filler")).expect("it is there");
    host.run(&["systemctl", "restart", "deploy-flake.service"])
        .must_succeed();
    let kept = complete(host, 1);
    assert_eq!(kept[0]["commit"], commit.0);
}
