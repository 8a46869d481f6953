//! What the daemon costs, measured on a real host: `tests/bench` runs it.
//!
//! In: the program under test. Out: tables, with what git, ssh, `true` or a peer take for the same beside them in the same run,
//! since machines are shared. Must not: judge; a figure is no test, and docs/performance.md keeps them.

#![expect(
    clippy::disallowed_methods,
    reason = "the harness spawns children, waits with a clock and reads its environment"
)]
#![expect(
    unreachable_pub,
    reason = "what scenarios may use is pub, although the crate has no users"
)]

#[path = "../mod.rs"]
#[expect(dead_code, reason = "the bed offers more than the bench uses")]
mod testbed;

#[path = "../../fleet/simulation.rs"]
mod simulation;

mod answers;
mod fetches;
mod fleet;
mod group;
mod growth;
mod judging;
mod latency;
mod many;
mod peer;
mod polls;
mod proxy;
mod repositories;
mod scene;
mod table;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use peer::Peer;
use scene::Scene;

/// Measures what the daemon costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Another daemon to measure beside ours (bench/peer.rs says what it has to do).
    #[arg(long, value_name = "PROGRAM")]
    peer: Vec<PathBuf>,
    /// Keeps the host afterwards for so many seconds, and says how to get inside.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    stay: u64,
    /// Only this: fleet, answers, growth, many, latency, fetches, polls, judging.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(proxy::WORD) {
        return proxy::serve();
    }
    let arguments = Arguments::parse();
    let peers: Vec<Peer> = arguments.peer.iter().map(|path| Peer::at(path)).collect();
    let wants =
        |part: &str| arguments.only.is_empty() || arguments.only.iter().any(|it| it == part);
    if wants("fleet") {
        fleet::print();
    }
    if wants("answers") {
        answers::print();
    }
    if wants("growth") {
        growth::print();
    }
    if wants("many") {
        many::print();
    }
    if arguments.stay == 0
        && !["polls", "fetches", "latency", "judging"]
            .into_iter()
            .any(wants)
    {
        return;
    }
    let mut scene = Scene::new();
    if wants("latency") {
        latency::print(&mut scene, &peers);
    }
    if wants("fetches") {
        fetches::print(&mut scene, &peers);
    }
    if wants("polls") {
        polls::print(&mut scene, &peers);
    }
    if wants("judging") {
        judging::print(&mut scene);
    }
    if arguments.stay > 0 {
        println!("\n{}", scene.host.how_to_enter());
        std::thread::sleep(Duration::from_secs(arguments.stay));
    }
}
