//! What may be linked in, as `deny.toml` says.
//!
//! `cargo deny` judges the same and more; building it took longer than most tests (docs/decisions/0074). So what a commit
//! could break is judged here, from `cargo metadata`.

use std::process::Command;

use serde_json::Value;

/// As Cargo.lock names it.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[expect(
    clippy::disallowed_methods,
    reason = "cargo is asked what it would compile"
)]
/// Every package that is compiled for some target of `deny.toml`, tests' own included.
fn packages(policy: &toml::Table) -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--locked"]);
    for target in strings(&policy["graph"]["targets"]) {
        cargo.args(["--filter-platform", target]);
    }
    let output = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let Value::Array(packages) = metadata["packages"].take() else {
        panic!("there are packages");
    };
    assert!(packages.len() > 200, "only {} packages", packages.len());
    packages
}

fn policy() -> toml::Table {
    super::file("deny.toml").parse().expect("deny.toml is TOML")
}

fn strings(list: &toml::Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().map(|one| one.as_str().expect("text")).collect()
}

/// Whether the expression can be met with what is allowed; `spdx` knows what such an expression means.
fn is_allowed(licence: &str, allowed: &[spdx::Licensee]) -> bool {
    spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).is_ok_and(|expression| {
        expression.evaluate(|one| allowed.iter().any(|it| it.satisfies(one)))
    })
}

fn allowed(policy: &toml::Table) -> Vec<spdx::Licensee> {
    let names = strings(&policy["licenses"]["allow"]);
    let parsed = names.iter().map(|name| spdx::Licensee::parse(name));
    parsed
        .collect::<Result<_, _>>()
        .expect("licences are SPDX's")
}

#[test]
fn every_dependency_comes_from_crates_io_under_a_licence_that_is_allowed() {
    let policy = policy();
    let allowed = allowed(&policy);
    let strangers: Vec<String> = packages(&policy)
        .iter()
        .filter(|package| package["name"] != env!("CARGO_PKG_NAME"))
        .filter(|package| {
            let licence = package["license"].as_str().unwrap_or_default();
            package["source"] != CRATES_IO || !is_allowed(licence, &allowed)
        })
        .map(|it| {
            format!(
                "{} {}: {}, {}",
                it["name"], it["version"], it["license"], it["source"]
            )
        })
        .collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
}

#[test]
fn no_dependency_is_banned_and_none_is_of_any_version() {
    let policy = policy();
    let banned: Vec<&str> = policy["bans"]["deny"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["crate"].as_str().expect("a name"))
        .collect();
    assert!(banned.contains(&"rustls"), "{banned:?}");
    for package in packages(&policy) {
        let name = package["name"].as_str().expect("a name");
        assert!(!banned.contains(&name), "{name} is banned in deny.toml");
        if name == env!("CARGO_PKG_NAME") {
            let dependencies = package["dependencies"].as_array().expect("a list");
            assert!(dependencies.len() > 15);
            let wildcard = dependencies.iter().find(|one| one["req"] == "*");
            assert!(wildcard.is_none(), "{wildcard:#?}");
        }
    }
}

#[test]
fn a_licence_is_judged_as_its_expression_says() {
    let allowed = allowed(&policy());
    for good in [
        "MIT",
        "MIT OR Apache-2.0",
        "Unlicense OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "MIT OR",
        "Proprietary",
        "GPL-2.0-only WITH Classpath-exception-2.0",
    ] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
