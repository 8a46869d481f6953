//! The power of a real machine is cut in the middle of a deployment: `tests/vm` runs it.
//!
//! In: the daemon under test. Out: a line for each point, and how many passed. The machine is one of QEMU's, with
//! firmware, boot loader, kernel and a disk that loses what was not flushed; all points are cut on the same one, one
//! after the other, so what follows a failure is skipped.

#![expect(
    clippy::disallowed_methods,
    reason = "the harness spawns children, waits with a clock and reads its environment"
)]

#[path = "../mod.rs"]
#[expect(dead_code, reason = "the bed offers more than a machine uses")]
#[expect(
    unreachable_pub,
    reason = "what scenarios may use is pub, although the crate has no users"
)]
mod testbed;

#[path = "../../scenarios/invariants.rs"]
#[expect(dead_code, reason = "its own tests run with the scenarios")]
mod invariants;

mod agent;
mod disk;
mod machine;
mod points;
mod root;
mod scene;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use points::POINTS;
use scene::{Course, Scene};
use testbed::leftovers;

/// A promise: what it is called, and what shows it.
type Promise = (&'static str, Show);
const FIRST: &str = "the machine boots, and its daemon follows";

type Show = Box<dyn Fn(&mut Scene) -> Option<Course>>;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--tidy") {
        leftovers::remove_those_of_killed_runs();
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let promises = promises(&wanted);
    let mut passed = 0;
    match catch_unwind(Scene::new) {
        Ok(mut scene) => {
            let kept = promises
                .iter()
                .take_while(|promise| keeps(&mut scene, promise));
            passed = kept.count();
        }
        Err(_) => println!("FAILED  the machine does not boot"),
    }
    let failed = usize::from(passed < promises.len());
    let skipped = promises.len() - passed - failed;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}

/// The first one, which all others begin with, and those whose name contains the text.
fn promises(wanted: &str) -> Vec<Promise> {
    let mut promises: Vec<Promise> = vec![(FIRST, Box::new(|scene| Some(scene.settles())))];
    for point in POINTS {
        let cut: Show = Box::new(move |scene| Some(scene.cut_off(&point)));
        promises.push((point.name, cut));
    }
    promises.push((
        "a unit that takes more than its MemoryMax is led back from",
        Box::new(|scene| {
            scene.eats_memory();
            None
        }),
    ));
    promises.retain(|(name, _)| *name == FIRST || name.contains(wanted));
    promises
}

/// Says how a promise was kept, or that it was not.
fn keeps(scene: &mut Scene, (name, show): &Promise) -> bool {
    let began = Instant::now();
    let shown = catch_unwind(AssertUnwindSafe(|| show(scene)));
    let took = began.elapsed().as_secs();
    match &shown {
        Ok(Some(course)) => println!(
            "ok      {name} ({took} s)\n        found in: {}; multi-user {:.0} s after power-on, \
             converged {:.0} s after that; mirror {}",
            course.phase, course.boot, course.converged, course.mirror
        ),
        Ok(None) => println!("ok      {name} ({took} s)"),
        Err(_) => {
            println!("FAILED  {name} ({took} s)");
            scene.keep_journal();
        }
    }
    shown.is_ok()
}
