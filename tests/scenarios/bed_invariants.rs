//! The shared look at what holds after a deployment, tried on hosts: it is content with a host that is well, and with
//! none that is not.

use std::panic::{self, AssertUnwindSafe};

use crate::common::{deployed, ended_as, invariants, settled, switch_by_hand, web};
use crate::invariants::Expected;
use crate::testbed::generation::Generation;
use crate::testbed::world::World;

#[test]
fn invariants_hold_after_a_deployment_and_after_a_refusal_and_not_for_a_third_system() {
    let mut world = World::new();
    let host = world.boot();
    let first = settled(&host);
    let commit = world.server().repository().publish(&web("second"));
    let second = deployed(&host, &commit);
    invariants(&host, &first, &second, Expected::New);

    let bad = web("bad").with("selfCheck", "exit 1");
    let commit = world.server().repository().publish(&bad);
    let status = ended_as(&host, &commit, "refused");
    let refused = status["desired"]["toplevel"].as_str().unwrap_or_default();
    invariants(&host, &second, refused, Expected::Old);

    let third = host.build(&Generation::new("third"));
    switch_by_hand(&host, &third, "test");
    let look = || invariants(&host, &second, refused, Expected::Old);
    let noticed = panic::catch_unwind(AssertUnwindSafe(look));
    let words = noticed.expect_err("a third system runs");
    let words = words.downcast_ref::<String>().map_or("", String::as_str);
    assert!(words.contains("I1: running is a third system"), "{words}");
}
