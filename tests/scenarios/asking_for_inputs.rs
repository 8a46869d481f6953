//! A flake below the top of its repository, with a submodule beside that repository and an input that are as private as the repository is.
//!
//! In: a host that follows a private repository over https. Out: Nix gets both with the remote's token, and what it is
//! given as settings, and neither stands anywhere.

use std::fs;

use serde_json::{Value, json};

use crate::asking_by_https::{FILE, TOKEN, URL, config, is_nowhere, trusted, world};
use crate::common::{DEADLINE, deployed, text};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::{CommitId, Repository};
use crate::testbed::world::World;

/// Nix's own settings with secrets in them.
const NIX_CONFIG: &str = "/var/keys/nix.conf";

/// A word of these settings that Nix complains of: so it has read them.
const SETTING: &str = "setting-of-the-test-bed";

const EVALUATE: &str = "[evaluate]\ndirectory = \"nix/hosts\"\nsubmodules = true\n\
                        nix_config_file = \"/var/keys/nix.conf\"\n";

/// Makes a repository on the server that holds one Nix expression; returns its commit, time and hash.
fn private(world: &mut World, host: &Host, name: &str) -> (String, u64, String) {
    let make = format!(
        "mkdir /tmp/{name} && cd /tmp/{name} && echo '\"{name}\"' > value.nix && git init --quiet -b main \
         && git add . && git -c user.name=a -c user.email=a@b commit --quiet -m one \
         && git clone --quiet --bare . /srv/git/{name}.git && git log -1 --format='%H %ct'"
    );
    let made = world.server().run(&["sh", "-c", &make]);
    let (commit, time) = made.text().split_once(' ').expect("two words");
    // The same content is the same everywhere.
    let hash = format!(
        "mkdir /tmp/{name} && cd /tmp/{name} && echo '\"{name}\"' > value.nix \
         && nix --extra-experimental-features nix-command hash path ."
    );
    let hash = host.shell(&hash).text().to_owned();
    (commit.to_owned(), time.parse().expect("a number"), hash)
}

/// Moves everything below `nix/hosts`, and uses submodule and input for the system's label.
fn publish(repository: &Repository, generation: &Generation, lib: &str, extra: Value) -> CommitId {
    repository.set(generation);
    let flake = repository
        .read("flake.nix")
        .replace(
            "  outputs = { self, daemon }:",
            "  inputs.extra = { url = \"git+https://git.test/private/extra.git?ref=main\"; flake = false; };\n\n  \
             outputs = { self, daemon, extra }:",
        )
        .replace(
            "{ inherit name daemon; }\n",
            "{ inherit name daemon; }\n        // { label = import ./lib/value.nix + \"-\" + import \"${extra}/value.nix\"; }\n",
        )
        .replace("[ \"embedRevision\" ]", "[ \"embedRevision\" \"label\" ]");
    repository.write("flake.nix", &flake);
    let mut lock: Value = serde_json::from_str(&repository.read("flake.lock")).expect("JSON");
    lock["nodes"]["extra"] = extra;
    lock["nodes"]["root"]["inputs"]["extra"] = "extra".into();
    repository.write("flake.lock", &lock.to_string());
    let modules = "[submodule \"lib\"]\npath = nix/hosts/lib\nurl = ../lib.git\n";
    repository.write(".gitmodules", modules);
    repository.write("nix/hosts/README", "the flake\n");
    repository.git(&["add", "--all"]);
    let listed = repository.git(&["ls-files", "--", ":!.gitmodules", ":!nix"]);
    for file in listed.text().lines() {
        repository.write(&format!("nix/hosts/{file}"), &repository.read(file));
        repository.remove(file);
    }
    repository.git(&["add", "--all"]);
    let link = format!("160000,{lib},nix/hosts/lib");
    repository.git(&["update-index", "--add", "--cacheinfo", &link]);
    repository.git(&["commit", "--quiet", "--message", "below the top"]);
    repository.push();
    repository.head()
}

#[test]
fn private_inputs_and_submodules_of_a_flake_below_the_top_come_with_the_remotes_token() {
    let (mut world, host) = world();
    fs::write(host.path(NIX_CONFIG), format!("{SETTING} = 1\n")).expect("an overlay");
    let (lib, _, _) = private(&mut world, &host, "lib");
    let (revision, time, hash) = private(&mut world, &host, "extra");
    let input = "https://git.test/private/extra.git";
    let extra = json!({
        "flake": false,
        "locked": {
            "lastModified": time, "narHash": hash, "ref": "main", "rev": revision, "revCount": 1,
            "type": "git", "url": input,
        },
        "original": { "ref": "main", "type": "git", "url": input },
    });

    // From here on the daemon evaluates below the top.
    let config = format!("{}{EVALUATE}", config(URL, &trusted()));
    let below = Generation::without_daemon("below").daemon_config(&config);
    let commit = world.server().repository().publish(&below);
    deployed(&host, &commit);

    let commit = publish(world.server().repository(), &below, &lib, extra);
    let system = deployed(&host, &commit);
    assert!(system.ends_with("-nixos-system-host-lib-extra"), "{system}");
    host.wait_until("Nix has read its settings", DEADLINE, |host| {
        let said = host.journal(&["--identifier=deploy-flake-evaluate"]);
        said.iter().any(|it| text(&it["MESSAGE"]).contains(SETTING))
    });
    assert!(host.path(FILE).exists());
    is_nowhere(&host, TOKEN);
}
