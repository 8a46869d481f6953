//! An evaluation sees the commit and nothing else, and the commit sets nothing.

use deploy_flake::model::failure::FailureCode;

use super::{Scene, Settings, refused, says};
use crate::testbed::repository::Repository;

/// A label that can be known only by building something first.
const FROM_A_DERIVATION: &str = "{ label = builtins.readFile (derivation { name = \"label\"; \
     system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"printf built > $out\" ]; }); }";

fn from_a_derivation() -> String {
    FROM_A_DERIVATION.replace("x86_64", std::env::consts::ARCH)
}

#[test]
fn an_impure_evaluation_is_refused() {
    let mut scene = Scene::new(Settings::Ordinary);
    for (overrides, words) in [
        // Nix gives the empty string for every variable.
        (
            "{ label = if builtins.getEnv \"PATH\" == \"\" then throw \"there is no PATH\" else \"impure\"; }",
            "there is no PATH",
        ),
        ("{ label = toString builtins.currentTime; }", "currentTime"),
        (
            "{ label = builtins.readFile /etc/hostname; }",
            "forbidden in pure evaluation mode",
        ),
        (
            "{ label = builtins.readFile (builtins.fetchurl \"file:///etc/hostname\"); }",
            "in pure evaluation mode",
        ),
    ] {
        let generation = scene.generation("impure");
        let commit = scene.publish_in_nix(&generation, overrides);
        let end = refused(FailureCode::EvaluationFailed, "deterministic", &[]);
        says(&scene.ends(&commit, &end), words);
        scene.deploys_a_good_commit();
    }
}

#[test]
fn an_import_from_a_derivation_is_refused_by_default() {
    let mut scene = Scene::new(Settings::Ordinary);
    let generation = scene.generation("imported");
    let commit = scene.publish_in_nix(&generation, &from_a_derivation());
    let end = refused(FailureCode::EvaluationFailed, "deterministic", &[]);
    says(&scene.ends(&commit, &end), "allow-import-from-derivation");
    scene.deploys_a_good_commit();
}

#[test]
fn an_import_from_a_derivation_is_accepted_where_it_is_configured() {
    let mut scene = Scene::new(Settings::Lenient);
    let generation = scene.generation("imported");
    let commit = scene.publish_in_nix(&generation, &from_a_derivation());
    let system = scene.deploys(&commit);
    assert!(system.ends_with("-nixos-system-host-built"), "{system}");
}

/// Gives the flake settings, one of which would allow what is forbidden.
fn with_settings(repository: &Repository) {
    let flake = repository.read("flake.nix");
    let settings = "nixConfig.allow-import-from-derivation = true;\n  outputs =";
    repository.write("flake.nix", &flake.replacen("outputs =", settings, 1));
}

#[test]
fn settings_of_a_flake_have_no_effect() {
    let mut scene = Scene::new(Settings::Ordinary);
    with_settings(scene.repository());
    let generation = scene.generation("imported");
    let commit = scene.publish_in_nix(&generation, &from_a_derivation());
    let end = refused(FailureCode::EvaluationFailed, "deterministic", &[]);
    says(&scene.ends(&commit, &end), "allow-import-from-derivation");

    // The same commit evaluates where its settings are accepted: they are what is missing.
    let url = scene.world.server().url("git");
    let eval = |accepts: &str| {
        let attribute = "nixosConfigurations.host.config.system.build.toplevel.drvPath";
        let flake = format!("{url}?rev={commit}#{attribute}");
        let accepts = ["--option", "accept-flake-config", accepts];
        let forbids = ["--option", "allow-import-from-derivation", "false"];
        let eval = ["nix", "eval", "--raw", "--no-update-lock-file", &flake];
        scene
            .host
            .run(&[&eval[..], &accepts, &forbids].concat())
            .code
    };
    assert_eq!((eval("false"), eval("true")), (Some(1), Some(0)));

    let good = scene.generation("with-settings");
    let commit = scene.commit(|repository| {
        repository.remove("hosts/host.nix");
        repository.set(&good);
    });
    assert!(scene.repository().read("flake.nix").contains("nixConfig"));
    scene.deploys(&commit);
}
