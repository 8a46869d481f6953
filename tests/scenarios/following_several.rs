//! A host with several remotes follows the furthest along of those that answer: one that died, lags or diverges costs
//! nothing but a line in the status.

use deploy_flake::report::milestones;
use serde_json::Value;

use crate::common::{DEADLINE, deployed, entries, field, is_all, looks, settled, web};
use crate::testbed::generation::Generation;
use crate::testbed::git_server::GitServer;
use crate::testbed::host::Host;
use crate::testbed::world::World;

/// A generation whose daemon follows these, in this order. What is dead is given up after a minute: longer than
/// anything here may take, were it waited for.
fn following(label: &str, remotes: &[(&str, String)]) -> Generation {
    let remote = |(name, url): &(&str, String)| {
        format!(
            "[[remote]]\nname = \"{name}\"\nurl = \"{url}\"\npoll_interval = \"1s\"\ntimeout = \"1m\"\n"
        )
    };
    let remotes: String = remotes.iter().map(remote).collect();
    let rest = "[health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n";
    web(label).daemon_config(&format!("{remotes}\n{rest}"))
}

/// Waits until each remote stands where it should, in the order of the configuration; `any` is any place.
#[track_caller]
fn places(host: &Host, expected: &[&str]) -> Value {
    let are_there = |status: &Value| {
        let remotes = status["remotes"].as_array().cloned().unwrap_or_default();
        let mut pairs = remotes.iter().zip(expected);
        remotes.len() == expected.len()
            && pairs.all(|(remote, place)| *place == "any" || remote["place"] == *place)
    };
    host.wait_for_status(
        &format!("the remotes are {expected:?}"),
        DEADLINE,
        |status| status["phase"]["name"] == "resting" && are_there(status),
    )
}

/// How often the daemon said something that somebody has to look at.
fn errors(host: &Host) -> Vec<String> {
    let said = host.journal(&["--unit=deploy-flake.service", "-p", "err"]);
    said.iter()
        .map(|entry| entry["MESSAGE"].to_string())
        .collect()
}

/// Brings what the one server has to the other.
fn catch_up(from: &mut GitServer, to: &mut GitServer) {
    let from = from.repository();
    to.repository().take(from);
}

#[test]
fn a_host_follows_the_furthest_of_the_remotes_that_answer() {
    let mut world = World::new();
    let (mut second, third) = (world.mirror(), world.mirror());
    let host = world.boot();
    settled(&host);
    let urls = [
        ("origin", world.server().url("git")),
        ("second", second.url("http")),
        ("third", third.url("git")),
    ];
    let generation = |label: &str| following(label, &urls);

    // The others have not got the commit that names them: they lag, and that is no alarm.
    let begin = world.server().repository().publish(&generation("begin"));
    deployed(&host, &begin);
    let status = places(&host, &["followed", "behind", "behind"]);
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    assert_eq!(status["remotes"][1]["last_error"]["code"], "downgrade");
    assert_eq!(errors(&host), [""; 0]);
    catch_up(world.server(), &mut second);
    places(&host, &["followed", "same", "behind"]);

    // The furthest is taken, wherever it is.
    let further = second.repository().publish(&generation("further"));
    deployed(&host, &further);
    let status = places(&host, &["behind", "followed", "behind"]);
    assert_eq!(status["remote"]["name"], "second", "{status:#}");
    assert_eq!(status["desired"]["commit"], further.0);
    second_is_told_on_the_bus(&host);

    // One that is dead is waited for by nobody, also not where the other dies.
    third.vanish();
    let repository = world.server().repository();
    repository.take(second.repository());
    places(&host, &["followed", "same", "behind"]);
    world.server().kill();
    places(&host, &["silent", "followed", "any"]);
    let without = second
        .repository()
        .publish(&generation("without-the-first"));
    let system = deployed(&host, &without);
    let status = places(&host, &["silent", "followed", "silent"]);
    assert_eq!(status["condition"]["state"], "converged", "{status:#}");
    let replaced = entries(&host, milestones::REMOTE_REPLACED);
    let from = field(&replaced, "DF_REMOTE_BEFORE");
    assert_eq!(
        (field(&replaced, "DF_REMOTE"), from),
        (vec!["second".to_owned()], vec!["origin".to_owned()])
    );
    host.run(&["deploy-flake", "trigger"]).must_succeed();
    let page = host.run(&["deploy-flake", "status"]).stdout;
    let warning = "warning    origin offers nothing now; the host follows second.";
    assert!(page.contains(warning), "{page}");
    assert_eq!(errors(&host), [""; 0]);

    // It comes back: behind at first, then it is what it was.
    world.server().serve();
    host.run(&["deploy-flake", "trigger"]).must_succeed();
    places(&host, &["behind", "followed", "silent"]);
    is_all(&host, &system);
    catch_up(&mut second, world.server());
    let back = world.server().repository().publish(&generation("back"));
    deployed(&host, &back);
    places(&host, &["followed", "behind", "silent"]);
    assert_eq!(errors(&host), [""; 0]);

    diverging(&mut world, &mut second, &host, &generation);
    left_out(&mut world, &host, &urls[0]);
}

#[track_caller]
fn second_is_told_on_the_bus(host: &Host) {
    let get = [
        "busctl",
        "get-property",
        "org.deploy_flake.Daemon1",
        "/org/deploy_flake/Daemon1",
        "org.deploy_flake.Daemon1",
        "Remotes",
    ];
    let told = host.run(&get);
    told.must_succeed();
    assert!(
        told.stdout.starts_with("a(ssssssxx) 3 \"origin\""),
        "{told}"
    );
    assert!(told.stdout.contains("\"main\" \"followed\""), "{told}");
}

/// Where two diverge, the first of the list is followed, even if that leads nowhere.
#[track_caller]
fn diverging(
    world: &mut World,
    second: &mut GitServer,
    host: &Host,
    generation: &dyn Fn(&str) -> Generation,
) {
    catch_up(world.server(), second);
    places(host, &["followed", "same", "silent"]);
    let system = host.running_system();
    let repository = world.server().repository();
    let flake = repository.read("flake.nix");
    repository.write("flake.nix", "throw \"broken\"");
    repository.commit("nothing that evaluates");
    repository.push();
    host.wait_for_status("the broken commit is refused", DEADLINE, |status| {
        status["condition"]["state"] == "refused"
    });
    second.repository().publish(&generation("beside"));
    places(host, &["followed", "diverged", "silent"]);
    looks(host, 2);
    let status = host.status();
    assert_eq!(status["condition"]["state"], "refused", "{status:#}");
    is_all(host, &system);
    assert_eq!(entries(host, milestones::REMOTES_DIVERGE).len(), 1);

    // Once it is confirmed, the other is refused, and that does not refuse the deployment.
    let repository = world.server().repository();
    repository.write("flake.nix", &flake);
    let mended = repository.publish(&generation("mended"));
    deployed(host, &mended);
    let status = places(host, &["followed", "refused", "silent"]);
    assert_eq!(status["remotes"][1]["last_error"]["code"], "diverged");
    assert_eq!(status["condition"]["state"], "converged");
}

/// What a remote that is not in the list any more had on the host, goes.
#[track_caller]
fn left_out(world: &mut World, host: &Host, only: &(&str, String)) {
    let names = || host.shell("ls /var/cache/deploy-flake").stdout;
    assert!(names().contains("mirror-second"), "{}", names());
    let alone = following("alone", std::slice::from_ref(only));
    let alone = world.server().repository().publish(&alone);
    deployed(host, &alone);
    host.wait_until("only the first mirror is left", DEADLINE, |_| {
        names().split_whitespace().eq(["build", "mirror"])
    });
    let units =
        "systemctl list-units --all --plain --no-legend 'deploy-flake-fetcher*' | cut -d ' ' -f 1";
    assert_eq!(host.shell(units).text(), "deploy-flake-fetcher.service");
}
