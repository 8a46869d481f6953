//! A remote has to show that it holds nothing back, where that is demanded: by a signed tag that is made anew again and
//! again and names a commit of the branch.

use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::common::{DEADLINE, ended_as, is_all, settled, text, web};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::repository::{CommitId, Repository};
use crate::testbed::world::World;
use crate::trusting::{Keys, refused};

const TAG: &str = "heartbeat-main";

/// Keys that are not believed any more, out of any commit's reach.
const REVOKED: &str = "/var/keys/revoked";

/// How old it may be; a look takes a second and a half at most, and what is seen is told within a few more.
const MAX_AGE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_secs(20);

/// A generation that follows two remotes whose heartbeats these keys may make, and no commits.
fn following(label: &str, urls: &[String; 2], keys: &str) -> Generation {
    let [first, second] = urls;
    let configuration = format!(
        "[[remote]]\nurl = \"{first}\"\npoll_interval = \"1s\"\n\n\
         [[remote]]\nname = \"second\"\nurl = \"{second}\"\npoll_interval = \"1s\"\n\n\
         [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n\n\
         [trust]\nrevoked = \"{REVOKED}\"\n\n\
         [trust.heartbeat]\nmax_age = \"{}s\"\nallowed_signers = \"/etc/deploy-flake/heartbeat-signers\"\n",
        MAX_AGE.as_secs()
    );
    web(label)
        .daemon_config(&configuration)
        .etc("deploy-flake/heartbeat-signers", keys)
}

/// Waits until the remote is stale for that reason, and stays so: nothing is evaluated, and the host is as it was.
#[track_caller]
fn stale(host: &Host, why: &str) -> Value {
    host.wait_for_status(&format!("the remote is stale: {why}"), DEADLINE, |status| {
        let message = status["remotes"][0]["last_error"]["message"].as_str();
        status["condition"]["state"] == "refused" && message.is_some_and(|it| it.contains(why))
    });
    refused(host, "remote-stale");
    let status = host.status();
    assert!(
        text(&status["condition"]["why"]).contains(why),
        "{status:#}"
    );
    status
}

/// Waits until the commit runs for good; by then the heartbeat may be old again.
#[track_caller]
fn followed(host: &Host, commit: &CommitId) -> String {
    let status = ended_as(host, commit, "deployed");
    let system = text(&status["desired"]["toplevel"]);
    is_all(host, &system);
    system
}

#[track_caller]
fn is_alive(host: &Host) {
    host.wait_for_status("the remote is alive", DEADLINE, |status| {
        status["condition"]["state"] == "converged"
    });
}

/// When the tag was made.
fn made_at(repository: &Repository) -> Timestamp {
    let date = [
        "for-each-ref",
        "--format=%(taggerdate:unix)",
        "refs/tags/heartbeat-main",
    ];
    let seconds = repository.git(&date).text().trim().parse();
    Timestamp::from_second(seconds.expect("seconds")).expect("a time")
}

#[test]
fn a_remote_that_shows_no_heartbeat_is_not_followed() {
    let keys = Keys::new();
    let ann = keys.allowed("ann");
    let mut world = World::new();
    let mut second = world.mirror();
    let urls = [world.server().url("git"), second.url("http")];
    let on = |label: &str| following(label, &urls, &ann);
    let host = world.boot();
    settled(&host);
    let repository = world.server().repository();
    revoke(&host, "");

    // The host learns the demand by a commit that needed none.
    let begin = repository.publish(&on("begin"));
    let system = followed(&host, &begin);
    stale(&host, "found none");

    // With a heartbeat it is what it should be, also where that names an earlier commit; until it gets old.
    keys.beat(repository, "ann", TAG, &begin);
    is_alive(&host);
    let late = repository.publish(&on("late"));
    keys.beat(repository, "ann", TAG, &begin);
    followed(&host, &late);
    keys.beat(repository, "ann", TAG, &late);
    is_alive(&host);
    let status = stale(&host, "expected one made within 20s");
    let since: Timestamp = text(&status["condition"]["since"]).parse().expect("a time");
    let age = since.duration_since(made_at(repository));
    let [least, most] =
        [MAX_AGE, MAX_AGE + LOOK].map(|it| SignedDuration::try_from(it).expect("short"));
    assert!(age >= least && age <= most, "told after {age}");
    assert_ne!(host.running_system(), system);
    told_as_stale(&host);

    // Nothing new is followed, also not with a heartbeat that somebody else has made.
    let next = repository.publish(&on("next"));
    stale(&host, "expected one made within 20s");
    keys.beat(repository, "mallory", TAG, &next);
    stale(&host, "unknown-key");
    repository.git(&["tag", "--force", TAG, &next.0]);
    repository.git(&[
        "push",
        "--quiet",
        "--force",
        "origin",
        "refs/tags/heartbeat-main",
    ]);
    stale(&host, "found a commit");
    beats_of_anns_that_are_none(&host, repository, &keys, &next);
    keys.beat(repository, "ann", TAG, &next);
    followed(&host, &next);

    // One that passes tags on, and holds the branch back.
    repository.set(&on("withheld"));
    let withheld = repository.commit("it does not get to the branch");
    keys.beat(repository, "ann", TAG, &withheld);
    stale(&host, "the branch does not hold");

    // Another remote is followed instead.
    second.repository().take(repository);
    keys.beat(second.repository(), "ann", TAG, &withheld);
    followed(&host, &withheld);
    host.wait_for_status("the first one is still stale", DEADLINE, |status| {
        let first = &status["remotes"][0];
        first["place"] == "refused" && first["last_error"]["code"] == "remote-stale"
    });
}

/// By a key that may make them: of tomorrow, larger than any needs to be, after the key was revoked.
fn beats_of_anns_that_are_none(
    host: &Host,
    repository: &Repository,
    keys: &Keys,
    commit: &CommitId,
) {
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    let tomorrow = format!("{} +0000", tomorrow.as_second());
    keys.beat_saying(repository, "ann", TAG, commit, ("alive", Some(&tomorrow)));
    stale(host, "expected a time before now");
    let long = "long ".repeat(20_000);
    keys.beat_saying(repository, "ann", TAG, commit, (&long, None));
    stale(
        host,
        "expected heartbeat-main to be an annotated tag of at most 64 KiB",
    );
    let line = keys.allowed("ann");
    revoke(host, line.split_once(' ').expect("a key").1);
    keys.beat(repository, "ann", TAG, commit);
    stale(host, "key-revoked");
    revoke(host, "");
}

/// Gives the host a list of keys that are not believed any more.
fn revoke(host: &Host, keys: &str) {
    fs::create_dir_all(host.path("/var/keys"))
        .and_then(|()| fs::write(host.path(REVOKED), keys))
        .expect("the overlay can be written");
}

/// Journal and status say it, and since when nothing new was seen.
#[track_caller]
fn told_as_stale(host: &Host) {
    let said = host.journal(&["--unit=deploy-flake.service", "-p", "err"]);
    let told = said
        .iter()
        .filter(|entry| entry["DF_FAILURE"] == "remote-stale");
    assert!(told.count() > 0, "{said:#?}");
    let page = host.run(&["deploy-flake", "status"]);
    assert!(page.text().contains("new commit last seen "), "{page}");
    let json = host.run(&["deploy-flake", "status", "--output", "json"]);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let age = json["last_new_commit_age"].as_u64().expect("a number");
    assert!(age >= MAX_AGE.as_secs() / 2, "{age}");
    assert!(json["last_new_commit_at"].is_string());
}
