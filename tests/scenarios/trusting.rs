//! A host follows only the commits that it should: what is refused is refused before anything of it is evaluated, is
//! told by its own code for as long as it is offered, and leaves the host as it is.

use std::process::Command;

use crate::common::{DEADLINE, deployed, git_url, is_all, looks, settled, web};
use crate::testbed::child;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::{CommitId, Repository};
use crate::testbed::world::World;

/// What the daemon's first steps with a commit leave in the journal.
const STEPS: [&str; 3] = [
    "deploy-flake-import.service",
    "deploy-flake-evaluate.service",
    "deploy-flake-build.service",
];

/// How often any of a commit was imported, evaluated or built.
fn evaluations(host: &Host) -> usize {
    let units = STEPS.map(|unit| format!("--unit={unit}"));
    let units: Vec<&str> = units.iter().map(String::as_str).collect();
    host.journal(&units).len() + host.tally_of("build")
}

/// Waits until the offer is refused with this code, and stays so; nothing of it was evaluated, and the host is as it was.
#[track_caller]
pub(crate) fn refused(host: &Host, code: &str) {
    let (system, evaluated) = (host.running_system(), evaluations(host));
    host.wait_for_status(
        &format!("the offer is refused: {code}"),
        DEADLINE,
        |status| {
            status["condition"]["state"] == "refused"
                && status["remote"]["last_error"]["code"] == code
        },
    );
    looks(host, 2);
    let status = host.status();
    assert_eq!(
        status["condition"]["state"], "refused",
        "it stays visible: {status:#}"
    );
    assert_eq!(status["phase"]["name"], "resting");
    assert_eq!(evaluations(host), evaluated, "nothing was evaluated");
    is_all(host, &system);
}

fn is_back(host: &Host) {
    host.wait_for_status("the offer is good again", DEADLINE, |status| {
        status["condition"]["state"] == "converged"
    });
}

pub(crate) fn allow(host: &Host, commit: &CommitId) {
    host.run(&["deploy-flake", "allow", &commit.0])
        .must_succeed();
}

/// Makes another branch the one that hosts follow, whatever it was before.
pub(crate) fn force(repository: &Repository, what: &str) {
    let to = format!("{what}:refs/heads/main");
    repository.git(&["push", "--quiet", "--force", "origin", &to]);
}

#[test]
fn a_force_push_is_refused_until_root_allows_it_and_then_once() {
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let repository = world.server().repository();
    let first = repository.publish(&web("first-of-two"));
    let old = deployed(&host, &first);
    let second = repository.publish(&web("second-of-two"));
    let new = deployed(&host, &second);

    force(repository, &first.0);
    refused(&host, "downgrade");
    let said = host.journal(&["--unit=deploy-flake.service", "-p", "err"]);
    let refusals = said
        .iter()
        .filter(|entry| entry["DF_FAILURE"] == "downgrade");
    assert_eq!(refusals.count(), 1, "told once, and loudly");

    // Beside what was confirmed, and without any history in common.
    repository.git(&["checkout", "--quiet", "-b", "sibling", &first.0]);
    repository.set(&web("sibling"));
    let sibling = repository.commit("beside the second");
    force(repository, &sibling.0);
    refused(&host, "diverged");
    repository.git(&["checkout", "--quiet", "--orphan", "orphan"]);
    let orphan = repository.commit("without a past");
    force(repository, &orphan.0);
    refused(&host, "diverged");

    force(repository, &second.0);
    is_back(&host);
    is_all(&host, &new);

    force(repository, &first.0);
    refused(&host, "downgrade");
    let denied = host.run(&[
        "runuser",
        "-u",
        "operator",
        "--",
        "deploy-flake",
        "allow",
        &first.0,
    ]);
    assert_ne!(denied.code, Some(0), "only root may: {}", denied.stderr);
    refused(&host, "downgrade");
    allow(&host, &first);
    assert_eq!(deployed(&host, &first), old);

    // It is the floor now: what follows it is followed, and what was allowed is not allowed again.
    force(repository, &second.0);
    assert_eq!(deployed(&host, &second), new);
    force(repository, &first.0);
    refused(&host, "downgrade");
}

#[test]
fn a_floor_outlives_the_loss_of_the_ledger() {
    let first = Generation::first().with("embedRevision", true);
    let mut world = World::starting_with(first);
    let host = world.boot();
    let repository = world.server().repository();
    let one = repository.publish(&web("one").with("embedRevision", true));
    deployed(&host, &one);
    let two = repository.publish(&web("two").with("embedRevision", true));
    let system = deployed(&host, &two);

    host.run(&["systemctl", "stop", "deploy-flake.service"])
        .must_succeed();
    host.shell("rm -rf /var/lib/deploy-flake/*").must_succeed();
    force(repository, &one.0);
    host.run(&["systemctl", "start", "deploy-flake.service"])
        .must_succeed();
    refused(&host, "downgrade");
    is_all(&host, &system);
}

/// Keys of a scenario's own.
pub(crate) struct Keys {
    directory: tempfile::TempDir,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for keys");
        let keys = Self { directory };
        for name in ["ann", "mallory"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                .arg(keys.path(name));
            child::run(&mut keygen, child::DEADLINE).must_succeed();
        }
        keys
    }

    /// The file of a private key.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A line of allowed signers.
    pub(crate) fn allowed(&self, name: &str) -> String {
        let key = std::fs::read_to_string(self.path(&format!("{name}.pub")));
        format!("{name}@example.org {}", key.expect("ssh-keygen made it"))
    }

    /// Makes a heartbeat of this commit and pushes it: a signed tag of that name, whatever it was before.
    pub(crate) fn beat(&self, repository: &Repository, name: &str, tag: &str, commit: &CommitId) {
        self.beat_saying(repository, name, tag, commit, ("alive", None));
    }

    /// The same with a message, and a date that is not the clock's.
    pub(crate) fn beat_saying(
        &self,
        repository: &Repository,
        name: &str,
        tag: &str,
        commit: &CommitId,
        (message, date): (&str, Option<&str>),
    ) {
        let key = format!("user.signingKey={}", self.path(name));
        let options = ["-c", "gpg.format=ssh", "-c", &key];
        let make = [
            "tag",
            "--sign",
            "--force",
            "--message",
            message,
            tag,
            &commit.0,
        ];
        let date = date.map(|date| ("GIT_COMMITTER_DATE", date));
        repository.git_with(date.as_slice(), &[&options[..], &make].concat());
        let reference = format!("refs/tags/{tag}");
        repository.git(&["push", "--quiet", "--force", "origin", &reference]);
    }

    /// Commits what the work tree holds, signed.
    pub(crate) fn commit(&self, repository: &Repository, name: &str) -> CommitId {
        let key = format!("user.signingKey={}", self.path(name));
        repository.git(&["add", "--all"]);
        let options = ["-c", "gpg.format=ssh", "-c", &key];
        let commit = [
            "commit",
            "--quiet",
            "--allow-empty",
            "--gpg-sign",
            "--message",
            name,
        ];
        repository.git(&[&options[..], &commit[..]].concat());
        repository.head()
    }
}

fn demanding(label: &str, demand: &str, keys: &str) -> Generation {
    let configuration = format!(
        "[[remote]]\nurl = \"{}\"\npoll_interval = \"1s\"\n\n\
         [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n\n\
         [trust]\nrequire = \"{demand}\"\nallowed_signers = \"/etc/deploy-flake/allowed-signers\"\n",
        git_url()
    );
    web(label)
        .daemon_config(&configuration)
        .etc("deploy-flake/allowed-signers", keys)
}

#[test]
fn only_signed_commits_are_followed_where_every_one_has_to_be() {
    let keys = Keys::new();
    let ann = keys.allowed("ann");
    let mut world = World::new();
    let host = world.boot();
    settled(&host);
    let repository = world.server().repository();
    // The host learns the demand by a commit that nobody had to sign.
    let begin = repository.publish(&demanding("begin", "every-commit", &ann));
    deployed(&host, &begin);

    repository.set(&demanding("unsigned", "every-commit", &ann));
    let unsigned = repository.commit("nobody signed this");
    repository.push();
    refused(&host, "commit-unsigned");

    // A good signature on top does not vouch for what is below.
    keys.commit(repository, "ann");
    repository.push();
    refused(&host, "commit-unsigned");

    force(repository, &begin.0);
    is_back(&host);
    repository.git(&["reset", "--quiet", "--hard", &begin.0]);
    repository.set(&demanding("by-somebody-else", "every-commit", &ann));
    keys.commit(repository, "mallory");
    repository.push();
    refused(&host, "commit-untrusted");

    // Who brings a key along cannot sign by it.
    repository.git(&["reset", "--quiet", "--hard", &begin.0]);
    let both = format!("{ann}{}", keys.allowed("mallory"));
    repository.set(&demanding("brings-a-key", "every-commit", &both));
    keys.commit(repository, "mallory");
    repository.push();
    refused(&host, "commit-untrusted");

    repository.git(&["reset", "--quiet", "--hard", &begin.0]);
    repository.set(&demanding("signed", "every-commit", &both));
    let signed = keys.commit(repository, "ann");
    repository.push();
    deployed(&host, &signed);
    // Now that it was confirmed, the key that it brought may sign.
    repository.set(&demanding("by-the-new-key", "every-commit", &both));
    let next = keys.commit(repository, "mallory");
    repository.push();
    let system = deployed(&host, &next);
    a_testing_branch_is_asked_for_the_same(&host, repository, &keys, &both);
    is_all(&host, &system);

    repository.git(&["checkout", "--quiet", "main"]);
    force(repository, &unsigned.0);
    refused(&host, "diverged");
    allow(&host, &unsigned);
    deployed(&host, &unsigned);
}

/// Who may push to it may not run anything by that. It is followed because signatures are demanded.
fn a_testing_branch_is_asked_for_the_same(
    host: &Host,
    repository: &Repository,
    keys: &Keys,
    signers: &str,
) {
    const TESTING: &str = "testing-host";
    let is = |state: &str, commit: &CommitId| {
        let what = format!("{commit} of the testing branch is {state}");
        host.wait_for_status(&what, DEADLINE, |status| {
            status["testing"]["state"] == state
                && status["testing"]["head"] == commit.0
                && status["phase"]["name"] == "resting"
        })
    };
    let evaluated = evaluations(host);
    let main = repository.head();
    repository.git(&["checkout", "--quiet", "-b", TESTING]);
    repository.set(&demanding("tested", "every-commit", signers));
    let unsigned = repository.commit("nobody signed this either");
    repository.push();
    let status = is("refused", &unsigned);
    assert_eq!(status["testing"]["code"], "commit-unsigned", "{status:#}");
    let above = keys.commit(repository, "ann");
    repository.push();
    let status = is("refused", &above);
    assert_eq!(status["testing"]["code"], "commit-unsigned", "{status:#}");
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    // Signed, and without a past: it would lead back, and is no fast-forward of what was confirmed.
    repository.git(&["checkout", "--quiet", "--orphan", "apart"]);
    let apart = keys.commit(repository, "ann");
    force_testing(repository, &apart);
    let status = is("refused", &apart);
    assert_eq!(status["testing"]["code"], "diverged", "{status:#}");
    looks(host, 2);
    assert_eq!(evaluations(host), evaluated, "nothing was evaluated");

    repository.git(&["checkout", "--quiet", "-B", TESTING, &main.0]);
    repository.set(&demanding("tested", "every-commit", signers));
    let signed = keys.commit(repository, "ann");
    force_testing(repository, &signed);
    is("running", &signed);
    repository.git(&["push", "--quiet", "origin", "--delete", TESTING]);
    host.wait_for_status("the test was left", DEADLINE, |status| {
        status["testing"]["state"] == "absent" && status["condition"]["state"] == "converged"
    });
}

fn force_testing(repository: &Repository, commit: &CommitId) {
    let to = format!("{}:refs/heads/testing-host", commit.0);
    repository.git(&["push", "--quiet", "--force", "origin", &to]);
}
