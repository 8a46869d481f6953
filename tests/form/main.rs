//! The form of what cannot be evaluated here: there is no nixpkgs, so the
//! flake's lock and the NixOS module are looked at as text.
//!
//! A test that passes here says that the promises stand in the files, not that
//! nixpkgs understands them.
//!
//! Every text of the program is compared with `texts.txt`, too, so that a change of one is read over. When one was meant:
//! `cargo test --test form texts`, then the `cp` that it names (docs/decisions/0076).

mod dependencies;
mod literals;
mod platforms;
mod texts;

use std::fs;
use std::path::{Path, PathBuf};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text without what only people read, for looking for settings.
fn settings(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.starts_with('#'))
        .collect()
}

#[test]
fn the_lock_pins_one_revision_of_nixpkgs_by_hash() {
    let lock: serde_json::Value =
        serde_json::from_str(&file("flake.lock")).expect("the lock is JSON");
    assert_eq!(lock["version"], 7);
    assert_eq!(lock["nodes"]["root"]["inputs"]["nixpkgs"], "nixpkgs");
    let node = &lock["nodes"]["nixpkgs"];
    let locked = &node["locked"];
    let text = |key: &str| locked[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("type"), "github");
    assert!(text("rev").len() == 40 && text("rev").bytes().all(|byte| byte.is_ascii_hexdigit()));
    // SHA-256 in base 64: 43 digits and one sign of padding.
    let hash = text("narHash");
    let digits = hash.strip_prefix("sha256-").unwrap_or_default();
    assert!(digits.len() == 44 && digits.ends_with('='), "{hash}");
    assert!(locked["lastModified"].is_u64());

    let original = &node["original"];
    let url = format!(
        "github:{}/{}/{}",
        original["owner"].as_str().unwrap_or_default(),
        original["repo"].as_str().unwrap_or_default(),
        original["ref"].as_str().unwrap_or_default()
    );
    let input = format!("inputs.nixpkgs.url = \"{url}\";");
    assert!(file("flake.nix").contains(&input), "{input}");
}

#[test]
fn the_unit_survives_a_switch_and_is_always_started_again() {
    let module = settings(&file("nixos-module/default.nix"));
    assert!(module.contains(&"restartIfChanged = false;".to_owned()));
    stand_in_the_unit(&[
        "X-StopOnRemoval = false;",
        "StartLimitIntervalSec = 0;",
        "Type = \"notify\";",
        "NotifyAccess = \"main\";",
        "Restart = \"always\";",
        "RestartSec = 1;",
        "WatchdogSec = 60;",
        "RuntimeDirectoryPreserve = \"yes\";",
    ]);
}

#[test]
fn the_unit_has_neither_network_nor_capabilities_nor_a_writable_system() {
    stand_in_the_unit(&[
        "CapabilityBoundingSet = \"\";",
        "NoNewPrivileges = true;",
        "PrivateNetwork = true;",
        "RestrictAddressFamilies = [ \"AF_UNIX\" ];",
        "ProtectSystem = \"strict\";",
        "ProtectHome = true;",
        "StateDirectoryMode = \"0711\";",
        "RuntimeDirectoryMode = \"0755\";",
    ]);
}

fn stand_in_the_unit(expected: &[&str]) {
    let service = settings(&file("nixos-module/service.nix"));
    for setting in expected {
        assert!(service.iter().any(|line| line == setting), "{setting}");
    }
}

/// Otherwise the scenarios would say nothing about the sandbox that is shipped.
#[test]
fn module_and_test_bed_run_the_daemon_in_the_same_unit() {
    let module = settings(&file("nixos-module/default.nix"));
    let bed = settings(&file("tests/testbed/mini-nixos.nix"));
    for text in [&module, &bed] {
        assert!(text.contains(&"service = import ./service.nix;".to_owned()));
    }
    for line in [
        "unitConfig = service.Unit;",
        "serviceConfig = service.Service // {",
    ] {
        assert!(module.contains(&line.to_owned()), "{line}");
    }
    for line in ["${section service.Unit}", "${section service.Service}"] {
        assert!(bed.contains(&line.to_owned()), "{line}");
    }
}

#[test]
fn every_key_of_remote_evaluation_and_trust_has_an_option_with_a_type() {
    let manual = file("docs/configuration.md");
    let options = ["default", "options"].map(|name| file(&format!("nixos-module/{name}.nix")));
    let options = settings(&options.concat());
    for section in [
        "`[[remote]]`",
        "`[evaluate]`",
        "`[trust]`",
        "`[trust.heartbeat]`",
        "`[push]`",
    ] {
        let heading = format!("## {section}");
        let (_, text) = manual.split_once(&heading).expect("there is that section");
        let text = text.split("\n## ").next().unwrap_or_default();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let keys: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        assert!(keys.len() > 1, "{section}: {keys:?}");
        for key in keys {
            let starts = [format!("{key} ="), format!("{key} = ")];
            let is_typed = |line: &String| *line == starts[0] || line.starts_with(&starts[1]);
            assert!(options.iter().any(is_typed), "{key} of {section}");
        }
    }
}

#[test]
fn the_bus_lets_only_root_own_the_name() {
    let policy = file("nixos-module/org.deploy_flake.conf");
    let own = "<allow own=\"org.deploy_flake.Daemon1\"/>";
    assert_eq!(policy.matches("<allow own=").count(), 1);
    let root = policy
        .split("<policy user=\"root\">")
        .nth(1)
        .and_then(|rest| rest.split("</policy>").next())
        .expect("there is a policy for root");
    assert!(root.contains(own));
}

/// A rule that names a member alone has dbus-daemon leave out the whole file, and the daemon without its name.
#[test]
fn a_rule_of_the_bus_that_names_a_member_names_its_interface() {
    let policy = file("nixos-module/org.deploy_flake.conf");
    let rules: Vec<&str> = policy
        .split('<')
        .filter(|rule| rule.contains("send_member="))
        .collect();
    assert!(rules.len() >= 4, "{rules:?}");
    for rule in rules {
        assert!(rule.contains("send_interface="), "{rule}");
    }
}

#[test]
fn every_file_that_the_documentation_links_to_is_there() {
    for (name, directory) in [
        ("README.md", ""),
        ("docs/architecture.md", "docs/"),
        ("docs/configuration.md", "docs/"),
        ("docs/control.md", "docs/"),
        ("docs/health.md", "docs/"),
        ("docs/history.md", "docs/"),
        ("docs/hostile-input.md", "docs/"),
        ("docs/many-hosts.md", "docs/"),
        ("docs/reliability.md", "docs/"),
        ("docs/trust.md", "docs/"),
        ("docs/decisions/README.md", "docs/decisions/"),
    ] {
        let text = file(name);
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            if target.contains("://") {
                continue;
            }
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(directory)
                .join(target);
            assert!(path.exists(), "{name} links to {target}");
        }
    }
}

#[test]
fn every_test_that_the_matrix_names_is_there() {
    let document = file("docs/reliability.md");
    let section = |title: &str| {
        let section = document.split(&format!("\n## {title}\n")).nth(1);
        let section = section.and_then(|rest| rest.split("\n## ").next());
        names(section.unwrap_or_else(|| panic!("there is no section {title}")))
    };
    let mut named = section("The matrix");
    named.extend(section("What the push tool of the same name did wrong"));
    // What is no sentence is a word of the text.
    let named: Vec<&String> = named.iter().filter(|name| name.contains('_')).collect();
    assert!(named.len() > 50, "{named:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code: Vec<String> = ["tests/scenarios", "daemon"]
        .iter()
        .flat_map(|directory| rust_files(&root.join(directory)))
        .map(|path| fs::read_to_string(path).expect("a source can be read"))
        // Tests of a module stand one step further in.
        .map(|text| text.replace("\n    ", "\n"))
        .collect();
    for name in named {
        let test = format!("#[test]\nfn {name}() {{");
        let waiting = format!("#[tokio::test]\nasync fn {name}() {{");
        let is_there = |text: &String| text.contains(&test) || text.contains(&waiting);
        let is_there = code.iter().any(is_there);
        assert!(is_there, "there is no test {name}");
    }
}

#[test]
fn the_readme_fits_on_a_screen() {
    let lines = file("README.md").lines().count();
    assert!(lines <= 55, "{lines} lines");
}

#[test]
fn every_decision_is_listed() {
    let list = file("docs/decisions/README.md");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions");
    for entry in fs::read_dir(directory).expect("there are decisions") {
        let name = entry.expect("the directory can be read").file_name();
        let name = name.to_string_lossy();
        if name != "README.md" {
            assert!(list.contains(&format!("({name})")), "{name} is not listed");
        }
    }
}

#[test]
fn modules_use_only_what_the_architecture_lets_them() {
    let document = file("docs/architecture.md");
    let layers = layers(&document);
    assert!(layers.len() >= 10, "the table of layers was not found");
    for (module, allowed) in &layers {
        for source in sources(module) {
            let text = fs::read_to_string(&source).expect("a source can be read");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for used in used_modules(code) {
                let own = used == *module || used.starts_with(&format!("{module}::"));
                let may = allowed.iter().any(|it| is_within(&used, it));
                assert!(own || may, "{} uses {used}", source.display());
            }
        }
    }
}

/// Each module with what it may use, from the table's rows that name it.
fn layers(document: &str) -> Vec<(String, Vec<String>)> {
    let table = document
        .split("| layer | modules |")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .unwrap_or_default();
    let rows = table.lines().map(|row| row.split('|').collect::<Vec<_>>());
    // "all above" names nothing: whatever is there may be used.
    let rows = rows.filter(|row| row.len() > 3 && !row[3].contains("all above"));
    rows.flat_map(|row| {
        let allowed = names(row[3]);
        names(row[2])
            .into_iter()
            .map(move |module| (module, allowed.clone()))
    })
    .collect()
}

/// What stands between backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// `a::b` for each `crate::a::b` in code, `a::b` and `a::c` for each `crate::a::{b, c}` on one line, or `a` where no
/// second name follows.
fn used_modules(code: &str) -> Vec<String> {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .flat_map(paths)
        .collect()
}

fn paths(rest: &str) -> Vec<String> {
    let is_path = |c: &char| c.is_ascii_lowercase() || *c == '_' || *c == ':';
    let path: String = rest.chars().take_while(is_path).collect();
    let path = path.trim_end_matches(':');
    let group = rest[path.len()..].strip_prefix("::{");
    match group.and_then(|group| group.split_once('}')) {
        Some((names, _)) if !path.contains("::") => names
            .split(',')
            .map(|name| name.split_whitespace().next().unwrap_or_default())
            .map(|name| format!("{path}::{name}"))
            .collect(),
        Some(_) | None => vec![path.to_owned()],
    }
}

fn is_within(used: &str, allowed: &str) -> bool {
    used == allowed || used.starts_with(&format!("{allowed}::"))
}

/// All Rust files below a directory.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory can be read");
    entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

/// The files of a module, without those that are only tests.
fn sources(module: &str) -> Vec<PathBuf> {
    let daemon = Path::new(env!("CARGO_MANIFEST_DIR")).join("daemon");
    let mut found = Vec::new();
    let mut waiting = vec![daemon.join(format!("{module}.rs")), daemon.join(module)];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory can be read");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.is_file() && !is_test(&path) {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "{module} has no source");
    found
}

fn is_test(path: &Path) -> bool {
    const ONLY_TESTS: [&str; 4] = ["tests", "fixtures", "properties", "example"];
    let parent = path.parent().and_then(Path::file_name);
    let stem = path.file_stem();
    path.extension().is_none_or(|ending| ending != "rs")
        || ONLY_TESTS
            .iter()
            .any(|name| parent == Some(name.as_ref()) || stem == Some(name.as_ref()))
}
