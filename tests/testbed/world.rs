//! A scenario's world: the ground that its containers stand on, and what can be put there.
//!
//! In: the name of the running test. Out: hosts, a git server, a client, all on one network of their own. When the
//! last of them is dropped, nothing is left.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::child;
use super::client::Client;
use super::generation::Generation;
use super::git_server::GitServer;
use super::host::Host;
use super::layer::Layer;
use super::leftovers::Record;
use super::network::Hub;

/// How often a state is looked at that a scenario waits for.
const POLL: Duration = Duration::from_millis(25);

/// What a scenario's containers share.
pub(crate) struct Ground {
    pub(crate) hub: Hub,
    pub(crate) record: Record,
    pub(crate) scenario: String,
}

impl Ground {
    fn new() -> Arc<Self> {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        // Names of namespaces and machines; the process id keeps two runs apart.
        let name = format!("bed-{}-{number}", process::id());
        let record = Record::open(&name);
        let hub = Hub::new(&record, &name);
        let scenario = thread::current()
            .name()
            .unwrap_or("unnamed")
            .replace("::", "-");
        let ground = Self {
            hub,
            record,
            scenario,
        };
        fs::create_dir_all(ground.memory()).expect("the world's directory can be written");
        let memory = ground.memory().display().to_string();
        // Hosts write to memory: it is fast, wears nothing out, and cannot be left behind for good.
        child::must(
            "mount",
            &["-t", "tmpfs", "-o", "size=4g,mode=0755", "testbed", &memory],
        );
        Arc::new(ground)
    }

    /// Where the overlays are.
    pub(crate) fn memory(&self) -> PathBuf {
        self.record.directory().join("memory")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.record.take_down();
    }
}

/// One scenario's hosts and servers.
pub struct World {
    server: GitServer,
    ground: Arc<Ground>,
    first: Generation,
    layer: Layer,
}

impl World {
    /// Makes a world whose hosts boot into [`Generation::first`], and whose repository holds just that.
    pub fn new() -> Self {
        Self::starting_with(Generation::first())
    }

    /// Makes a world whose hosts boot into the given generation, and whose repository holds just that.
    pub fn starting_with(first: Generation) -> Self {
        let layer = Layer::of(&first);
        let ground = Ground::new();
        let server = GitServer::start(&ground, &layer, &first);
        Self {
            server,
            ground,
            first,
            layer,
        }
    }

    /// The git server; it has the address [`super::Address::FIRST`].
    pub fn server(&mut self) -> &mut GitServer {
        &mut self.server
    }

    /// The generation that hosts boot into.
    pub fn first(&self) -> &Generation {
        &self.first
    }

    /// Boots a host into its first generation and returns when it is up.
    pub fn boot(&self) -> Host {
        let mut host = self.host();
        host.start();
        host
    }

    /// Makes a host that does not run yet.
    pub fn host(&self) -> Host {
        Host::new(&self.ground, &self.layer)
    }

    /// Starts the place where an operator sits, with a key that every host accepts.
    pub fn client(&self) -> Client {
        Client::start(&self.ground, &self.layer)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Looks again and again until something is true; panics with its description when the deadline has passed.
#[track_caller]
pub fn wait_until(description: &str, deadline: Duration, is_true: impl FnMut() -> bool) {
    assert!(
        poll_until(deadline, is_true),
        "not true within {deadline:?}: {description}"
    );
}

/// Looks again and again; false when the deadline has passed.
pub(crate) fn poll_until(deadline: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    let give_up_at = Instant::now() + deadline;
    loop {
        if is_true() {
            return true;
        }
        if Instant::now() > give_up_at {
            return false;
        }
        thread::sleep(POLL);
    }
}
