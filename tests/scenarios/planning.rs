//! `deploy-flake plan`: what a look would do, and to which units, without doing any of it.

use serde_json::Value;

use crate::common::{DEADLINE, settled, switch_by_hand, systems};
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;

fn plan(host: &Host, words: &str) -> String {
    let output = host.shell(&format!("{words} deploy-flake plan"));
    output.must_succeed().stdout.clone()
}

#[test]
fn a_plan_tells_what_would_be_done_and_does_nothing() {
    let world = World::new();
    let host = world.boot();
    let first = settled(&host);
    let page = plan(&host, "runuser -u visitor --");
    assert!(
        page.starts_with("host: a look now would do nothing\n"),
        "{page}"
    );
    assert!(page.contains("  units      none: "), "{page}");

    let manual = host.build(&Generation::new("manual").one_shot("mine.service", "/usr/bin/true"));
    switch_by_hand(&host, &manual, "test");
    host.wait_for_status("the drift is seen", DEADLINE, |status| {
        status["condition"]["state"] == "drifted"
    });
    let before = (
        systems(&host),
        host.tally_of("activate "),
        host.tally_of("switch-to-configuration-test"),
    );
    let page = plan(&host, "");
    assert!(
        page.starts_with("host: a look now would tell of the drift\n"),
        "{page}"
    );
    assert!(
        page.contains("would stop the following units: mine.service"),
        "{page}"
    );
    let page = plan(&host, "runuser -u visitor --");
    assert!(
        page.contains("not known: `switch-to-configuration dry-activate` is for root"),
        "{page}"
    );
    let json = host.shell("deploy-flake plan --output json");
    let json: Value = serde_json::from_str(json.text()).expect("it is JSON");
    assert_eq!(
        (&json["would"], &json["toplevel"], &json["units"]["state"]),
        (&"report".into(), &first.clone().into(), &"known".into()),
        "{json:#}"
    );
    let after = (
        systems(&host),
        host.tally_of("activate "),
        host.tally_of("switch-to-configuration-test"),
    );
    assert_eq!(after, before, "nothing was changed");
}
