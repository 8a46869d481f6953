//! What else an operator can demand or admit: descent from a commit that is pinned, and forced pushes.

use crate::common::{deployed, git_url, settled, web};
use crate::testbed::generation::Generation;
use crate::testbed::repository::{CommitId, Repository};
use crate::testbed::world::World;
use crate::trusting::{Keys, allow, force, refused};

/// A generation whose daemon has these lines in `[trust]`, and these keys.
fn demanding(label: &str, trust: &str, keys: &str) -> Generation {
    let configuration = format!(
        "[[remote]]\nurl = \"{}\"\npoll_interval = \"1s\"\n\n\
         [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n\n[trust]\n{trust}\n",
        git_url()
    );
    web(label)
        .daemon_config(&configuration)
        .etc("deploy-flake/allowed-signers", keys)
}

#[test]
fn a_commit_that_does_not_descend_from_the_introduction_is_refused() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let repository = world.server().repository();
    let root = repository.head();
    let introduced = |label: &str, by: &CommitId| {
        let line = format!("introduction = \"{by}\"");
        demanding(label, &line, "")
    };
    let begin = repository.publish(&introduced("begin", &root));
    deployed(&host, &begin);
    let followed = repository.publish(&introduced("followed", &root));
    deployed(&host, &followed);

    // From now on it is another repository that this host knows.
    repository.git(&["checkout", "--quiet", "--orphan", "elsewhere"]);
    let elsewhere = repository.commit("of another repository");
    repository.git(&["checkout", "--quiet", "main"]);
    let lost = repository.publish(&introduced("lost", &elsewhere));
    deployed(&host, &lost);
    let mended = repository.publish(&introduced("mended", &root));
    refused(&host, "not-introduced");
    // What merges the other one descends from both.
    let merge = [
        "merge",
        "--quiet",
        "--no-edit",
        "--allow-unrelated-histories",
        "--strategy=ours",
        &elsewhere.0,
    ];
    repository.git(&merge);
    repository.push();
    let merged = repository.head();
    deployed(&host, &merged);
    let next = repository.publish(&introduced("next", &mended));
    deployed(&host, &next);
}

#[test]
fn a_forced_push_is_followed_where_it_is_signed_or_admitted() {
    let keys = Keys::new();
    let ann = keys.allowed("ann");
    let lines = |force_push: &str| {
        format!(
            "force_push = \"{force_push}\"\nallowed_signers = \"/etc/deploy-flake/allowed-signers\""
        )
    };
    let on = |label: &str, force_push: &str| demanding(label, &lines(force_push), &ann);
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let repository = world.server().repository();
    let begin = repository.publish(&on("begin", "if-signed"));
    deployed(&host, &begin);
    let floor = repository.publish(&on("floor", "if-signed"));
    deployed(&host, &floor);

    beside(repository, &begin, &on("unsigned", "if-signed"));
    repository.commit("nobody signed this");
    force(repository, "HEAD");
    refused(&host, "commit-unsigned");
    beside(repository, &begin, &on("by-somebody-else", "if-signed"));
    keys.commit(repository, "mallory");
    force(repository, "HEAD");
    refused(&host, "commit-untrusted");
    beside(repository, &begin, &on("signed", "allow"));
    let signed = keys.commit(repository, "ann");
    force(repository, "HEAD");
    deployed(&host, &signed);

    // Where it is admitted, whoever may push may do so.
    beside(repository, &begin, &on("admitted", "refuse"));
    let admitted = repository.commit("nobody signed this either");
    force(repository, "HEAD");
    deployed(&host, &admitted);
    force(repository, &floor.0);
    refused(&host, "diverged");
    allow(&host, &floor);
    deployed(&host, &floor);
}

/// The work tree becomes this generation, on top of that commit.
fn beside(repository: &Repository, commit: &CommitId, generation: &Generation) {
    repository.git(&["checkout", "--quiet", "--force", "--detach", &commit.0]);
    repository.set(generation);
}
