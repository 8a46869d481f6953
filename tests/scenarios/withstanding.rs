//! One host meets everything that a hostile remote can offer, one after the other: each is refused with its own code,
//! nothing of any is evaluated, and the next good commit is followed.
//!
//! In: crafted commits (those of the unit tests), histories, servers that lie. Out: codes. `docs/hostile-input.md` has
//! the table.

use std::collections::HashSet;

use crate::protocol::Script;
use crate::trust::case::Crafted;
use crate::withstanding_histories;
use crate::withstanding_remotes;
use crate::withstanding_scene::{Remote, Scene, generation};

/// How many cases there have to be, so that none is lost unseen.
const CASES: usize = 110;

/// Crafted commits that do not come as far as the judge: the fetcher finds that they are none, or not whole.
const NOT_EVEN_FETCHED: [&str; 4] = ["nothing at all", "no tree", "two trees", "too many parents"];

#[test]
fn nothing_that_a_hostile_remote_offers_is_evaluated_or_lowers_the_floor() {
    let mut scene = Scene::new();
    crafted_commits(&mut scene);
    withstanding_histories::histories(&mut scene);
    withstanding_histories::branches(&mut scene);
    withstanding_histories::trees(&mut scene);
    withstanding_histories::files_of_keys(&mut scene);
    withstanding_remotes::git_servers(&mut scene);
    withstanding_remotes::web_servers(&mut scene);
    assert!(scene.count >= CASES, "{} cases", scene.count);

    scene.remote_is(Remote::Git);
    scene.ask_by("git");
    let floor = scene.floor.0.clone();
    scene.begin_at(&floor);
    let good = scene.signed("ann", &generation("good"));
    scene.offer();
    scene.follows(&good);
}

/// One for each reason: `trust::tests` has all of them, and compares with git. Each is offered as the child of the floor
/// by a server of its own.
fn crafted_commits(scene: &mut Scene) {
    let crafted = Crafted::following(Some(scene.floor.0.clone()));
    let signers = format!("{}{}", crafted.allowed_signers, scene.keys.allowed("ann"));
    scene.trust([&signers, &crafted.keyring, &crafted.revoked]);
    let mut reasons = HashSet::new();
    for case in &crafted.cases {
        let Err(reason) = case.expected else { continue };
        let is_early = NOT_EVEN_FETCHED.contains(&case.name);
        if !is_early && !reasons.insert(reason) {
            continue;
        }
        let tip = scene.store("commit", &case.object);
        let pack = scene.pack(&[&tip]);
        scene.remote_is(Remote::Script(Script::new(&tip, pack)));
        let code = match reason {
            _ if is_early => "pack-damaged",
            "unsigned" => "commit-unsigned",
            "commit-too-large" => "remote-too-big",
            _ => "commit-untrusted",
        };
        let message = scene.withstands(case.name, code);
        let tells = code != "commit-untrusted" || message.contains(reason);
        assert!(tells, "{}: {reason}: {message}", case.name);
    }
    assert!(reasons.len() > 20, "{reasons:?}");
}
