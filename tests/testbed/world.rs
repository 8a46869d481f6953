//! A scenario's world: the ground that its containers stand on, and what can be put there.
//!
//! In: the name of the running test. Out: hosts, a git server, a client, all on one network of their own. When the
//! last of them is dropped, nothing is left.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::cache;
use super::child::{self, Output};
use super::client::Client;
use super::generation::Generation;
use super::git_server::GitServer;
use super::host::Host;
use super::layer::Layer;
use super::leftovers::Record;
use super::network::Hub;
use super::outside::Outside;

/// How often a state is looked at that a scenario waits for.
const POLL: Duration = Duration::from_millis(25);

/// The same where a look itself takes its time.
const LONGEST_POLL: Duration = Duration::from_millis(600);

/// What a scenario's containers share.
pub(crate) struct Ground {
    pub(crate) hub: Hub,
    pub(crate) outside: Outside,
    pub(crate) record: Record,
    pub(crate) scenario: String,
    began: Instant,
}

impl Ground {
    fn new(layer: &Layer) -> Arc<Self> {
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
        let memory = memory_of(&record);
        fs::create_dir_all(&memory).expect("the world's directory can be written");
        // Hosts write to memory: it is fast, wears nothing out, and cannot be left behind for good.
        mount_memory(&memory, "4g");
        let outside = Outside::new(&memory.join("outside"), layer);
        Arc::new(Self {
            hub,
            outside,
            record,
            scenario,
            began: Instant::now(),
        })
    }

    /// Notes how long the world stood: where the time of all scenarios goes.
    fn note_time(&self) {
        let line = format!(
            "{:.1}\t{}\n",
            self.began.elapsed().as_secs_f64(),
            self.scenario
        );
        let path = cache::logs().join("times.tsv");
        let file = File::options().create(true).append(true).open(path);
        // In one piece: worlds end at the same time. A figure that is lost breaks no scenario.
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }

    /// Where the overlays are.
    pub(crate) fn memory(&self) -> PathBuf {
        memory_of(&self.record)
    }
}

fn memory_of(record: &Record) -> PathBuf {
    record.directory().join("memory")
}

/// Mounts a file system in memory that holds so much and no more.
pub(crate) fn mount_memory(directory: &Path, size: &str) {
    let options = format!("size={size},mode=0755");
    let directory = directory.display().to_string();
    let kind = ["-t", "tmpfs", "-o", &options, "testbed", &directory];
    child::must("mount", &kind);
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.record.take_down();
        self.note_time();
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
        let ground = Ground::new(&layer);
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

    /// Starts another git server with what the world's own holds now.
    pub fn mirror(&mut self) -> GitServer {
        GitServer::mirror(&self.ground, &self.layer, self.server.repository())
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

    /// Every file, by its path, of a repository that holds just this generation.
    pub fn flake(&self, generation: &Generation) -> Vec<(String, String)> {
        self.layer.flake(&generation.to_json())
    }

    /// The network namespace from which everything in the world is reached, and nothing else.
    pub fn namespace(&self) -> &str {
        self.ground.hub.namespace()
    }

    /// Where files of the world can be, in memory; they go with it.
    pub fn directory(&self) -> PathBuf {
        self.ground.memory()
    }

    /// Has a process end with the world, also when nobody is left to end it: the next run does.
    pub fn adopt(&self, process: u32) {
        self.ground.record.add_process(process);
    }

    /// Runs a command by ssh as root, at a port that is reached from the world's namespace.
    pub fn ssh(&self, host: &str, port: u16, words: &[&str]) -> Output {
        self.ground.outside.ssh(&self.ground.hub, host, port, words)
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

/// How long to wait after a look that took so long: looks that start programs on a host are not to take the
/// processors from those who are waited for.
fn pause(look: Duration) -> Duration {
    (look * 8).clamp(POLL, LONGEST_POLL)
}

/// Looks again and again; false when the deadline has passed.
pub(crate) fn poll_until(deadline: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    let give_up_at = Instant::now() + deadline;
    loop {
        let began = Instant::now();
        if is_true() {
            return true;
        }
        if Instant::now() > give_up_at {
            return false;
        }
        thread::sleep(pause(began.elapsed()));
    }
}
