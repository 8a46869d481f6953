//! The ledger is damaged, lost, or cannot be written: the daemon says so, and does nothing that it cannot remember.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::dying_host::{SOON, Scene};
use crate::dying_story::TEST;

const STATE: &str = "/var/lib/deploy-flake";
const LEDGER: &str = "/var/lib/deploy-flake/ledger";
const PREVIOUS: &str = "/var/lib/deploy-flake/ledger.previous";

/// Something that happens to the ledger, and how the deployment before looks to a daemon that finds it so.
struct Damage {
    name: &'static str,
    files: &'static [&'static str],
    /// What becomes of a file's content; `None`: the file is gone.
    change: fn(Vec<u8>) -> Option<Vec<u8>>,
    outcome: &'static str,
}

/// From the copy before the ledger, the deployment is read back once more; from nothing, the newest commit is compared
/// with the host and found to be there.
const DAMAGES: [Damage; 6] = [
    Damage {
        name: "truncated",
        files: &[LEDGER],
        change: |whole| Some(whole[..whole.len() / 2].to_vec()),
        outcome: "deployed",
    },
    Damage {
        name: "one bit flipped",
        files: &[LEDGER],
        change: |mut whole| {
            let middle = whole.len() / 2;
            whole[middle] ^= 1;
            Some(whole)
        },
        outcome: "deployed",
    },
    Damage {
        name: "missing",
        files: &[LEDGER],
        change: |_| None,
        outcome: "deployed",
    },
    Damage {
        name: "of a later version",
        files: &[LEDGER, PREVIOUS],
        change: |whole| {
            let text = String::from_utf8_lossy(&whole);
            Some(text.replacen("ledger 3 ", "ledger 4 ", 1).into_bytes())
        },
        outcome: "unchanged",
    },
    Damage {
        name: "truncated with the copy before",
        files: &[LEDGER, PREVIOUS],
        change: |whole| Some(whole[..whole.len() / 3].to_vec()),
        outcome: "unchanged",
    },
    Damage {
        name: "empty with the copy before",
        files: &[LEDGER, PREVIOUS],
        change: |_| Some(Vec::new()),
        outcome: "unchanged",
    },
];

#[test]
fn a_damaged_ledger_is_told_and_the_host_stays_what_it_is() {
    let mut scene = Scene::new();
    for damage in &DAMAGES {
        eprintln!("the ledger is {}", damage.name);
        scene.undisturbed();
        let (system, hooks) = (scene.host.running_system(), scene.host.tally());
        let told = problems(&scene).len();
        systemctl(&scene, "stop");
        for file in damage.files {
            change(&scene.host.path(file), damage.change);
        }
        systemctl(&scene, "start");

        let converged = |status: &Value| {
            status["condition"]["state"] == "converged"
                && status["looks"]["finished"].as_u64() > Some(0)
        };
        let status = scene
            .host
            .wait_for_status("the host is converged", SOON, converged);
        assert_eq!(status["last"]["outcome"], damage.outcome, "{status:#}");
        scene.is_at_rest("");
        assert_eq!(scene.host.running_system(), system);
        assert_eq!(scene.host.tally(), hooks, "nothing was run again");
        let problems = problems(&scene).split_off(told);
        assert!(problems.len() >= damage.files.len(), "{problems:?}");
        for file in damage.files {
            let name = file.rsplit('/').next().unwrap_or(file);
            let named = |problem: &String| problem.starts_with(&format!("{name}:"));
            assert!(problems.iter().any(named), "{name} in {problems:?}");
        }
    }
    let said = scene.host.journal(&["--unit=deploy-flake.service"]);
    let panics = said
        .iter()
        .filter_map(|entry| entry["MESSAGE"].as_str())
        .filter(|message| message.contains("panicked"));
    assert_eq!(panics.count(), 0);
    scene.undisturbed();
}

#[test]
fn nothing_is_done_while_the_ledger_cannot_be_written() {
    let mut scene = Scene::new();
    systemctl(&scene, "stop");
    let small = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=128k,mode=0700",
        "small",
        STATE,
    ];
    scene.host.run(&small).must_succeed();
    systemctl(&scene, "start");
    let undisturbed = scene.undisturbed();

    let hooks = scene.host.tally().len();
    fill(&scene);
    let commit = scene.publish();
    let status = wait_until_told(&scene);
    assert_eq!(status["phase"]["name"], "resting", "{status:#}");
    // It is tried again by itself, and in vain.
    scene
        .host
        .wait_until("it is tried again", SOON, |_| refused_writes(&scene) > 1);
    assert_eq!(scene.host.tally().len(), hooks);
    make_room(&scene);
    let id = scene.deployed(&commit);
    assert_eq!(scene.story(&id, hooks), undisturbed);

    let hooks = scene.host.tally().len();
    scene.close(&TEST);
    let commit = scene.publish();
    scene.wait_until_held(&TEST);
    fill(&scene);
    scene.open(&TEST);
    let status = wait_until_told(&scene);
    assert_eq!(status["phase"]["name"], "testing", "{status:#}");
    assert_eq!(scene.host.tally_of("switch-to-configuration-boot"), 2);
    make_room(&scene);
    let id = scene.deployed(&commit);
    assert_eq!(scene.story(&id, hooks), undisturbed);
}

/// Fills the file system of the state, which is small.
fn fill(scene: &Scene) {
    let filled = scene.host.shell(&format!("cat /dev/zero > {STATE}/filler"));
    assert!(filled.stderr.contains("No space left"), "{filled}");
}

fn make_room(scene: &Scene) {
    fs::remove_file(scene.host.path(STATE).join("filler")).expect("it is there");
}

/// Waits until the status says that the ledger cannot be written.
#[track_caller]
fn wait_until_told(scene: &Scene) -> Value {
    let told = |status: &Value| {
        let why = status["condition"]["why"].as_str().unwrap_or_default();
        status["condition"]["state"] == "waiting" && why.contains("the ledger cannot be written")
    };
    let status = scene
        .host
        .wait_for_status("the full disk is told", SOON, told);
    assert!(status["condition"]["remedy"].is_string(), "{status:#}");
    status
}

fn refused_writes(scene: &Scene) -> usize {
    let message = "MESSAGE=the ledger cannot be written; nothing is done until it can";
    scene.host.journal(&[message]).len()
}

/// What the daemon found wrong with the ledger, as the journal has it.
fn problems(scene: &Scene) -> Vec<String> {
    let entries = scene.host.journal(&["MESSAGE=the ledger is damaged"]);
    let problems = entries
        .iter()
        .filter_map(|entry| entry["DF_PROBLEM"].as_str());
    problems.map(str::to_owned).collect()
}

fn change(path: &Path, change: fn(Vec<u8>) -> Option<Vec<u8>>) {
    let whole = fs::read(path).expect("the ledger is there");
    // Both copies may be one file.
    fs::remove_file(path).expect("it is there");
    if let Some(damaged) = change(whole) {
        fs::write(path, damaged).expect("the overlay can be written");
    }
}

fn systemctl(scene: &Scene, verb: &str) {
    scene
        .host
        .run(&["systemctl", verb, "deploy-flake.service"])
        .must_succeed();
}
