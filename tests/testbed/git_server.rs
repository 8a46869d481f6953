//! The world's git server: bare repositories over git, http and ssh.
//!
//! In: commits of a scenario. Out: URLs. It can vanish from the network and come back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::child::Output;
use super::container::Container;
use super::generation::{Generation, REPOSITORY, SERVER_NAME};
use super::layer::Layer;
use super::network::Address;
use super::repository::Repository;
use super::world::{Ground, wait_until};

const START_DEADLINE: Duration = Duration::from_secs(30);

/// A container that serves `/srv/git`.
pub struct GitServer {
    // Before the container: its bare repository is inside.
    repository: Repository,
    container: Container,
}

impl GitServer {
    pub(crate) fn start(ground: &Arc<Ground>, layer: &Layer, first: &Generation) -> Self {
        let container = Container::new(ground, "git", &layer.stack());
        container.link.configure();
        let bare = container.root().join(format!("srv/git/{REPOSITORY}.git"));
        let work = ground.memory().join("work");
        let repository = Repository::create(&bare, &work, layer, first);
        let mut server = Self {
            repository,
            container,
        };
        server.serve();
        server
    }

    /// Starts another server with what a repository holds now; what is pushed to the one does not reach the other.
    pub(crate) fn mirror(ground: &Arc<Ground>, layer: &Layer, of: &Repository) -> Self {
        let container = Container::new(ground, "mirror", &layer.stack());
        container.link.configure();
        let bare = container.root().join(format!("srv/git/{REPOSITORY}.git"));
        let work = ground
            .memory()
            .join(format!("work-{}", container.link.address));
        let repository = Repository::mirror(&bare, &work, of);
        let mut server = Self {
            repository,
            container,
        };
        server.serve();
        server
    }

    /// Serves, also again after [`Self::kill`]; what was pushed meanwhile is there.
    pub fn serve(&mut self) {
        self.container.start(&["/opt/mini/serve-git"], true);
        wait_until("the git server listens", START_DEADLINE, || {
            let listening = self.run(&["ss", "-Hltn"]).stdout;
            [":9418 ", ":80 ", ":22 "]
                .iter()
                .all(|port| listening.contains(port))
        });
    }

    /// The repository that hosts follow.
    pub fn repository(&mut self) -> &mut Repository {
        &mut self.repository
    }

    /// Where something inside is for the machine.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.container.root().join(inside.trim_start_matches('/'))
    }

    /// Its address.
    pub fn address(&self) -> Address {
        self.container.link.address
    }

    /// The repository's URL with a scheme: `git`, `http` or `ssh`.
    pub fn url(&self, scheme: &str) -> String {
        url(scheme, &self.address().to_string())
    }

    /// The same with the server's name in the place of its address; the `/etc/hosts` of every generation knows it.
    pub fn named_url(scheme: &str) -> String {
        url(scheme, SERVER_NAME)
    }

    /// Runs a command on the server.
    pub fn run(&self, words: &[&str]) -> Output {
        self.container.run(words)
    }

    /// Takes the server off the network: packets go nowhere.
    pub fn vanish(&self) {
        self.container.link.cut();
    }

    /// Brings the server back.
    pub fn come_back(&self) {
        self.container.link.join();
    }

    /// Ends the server: connections are refused, then nothing answers.
    pub fn kill(&mut self) {
        self.container.kill();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.container.console()
    }
}

fn url(scheme: &str, server: &str) -> String {
    match scheme {
        "http" => format!("http://{server}/git/{REPOSITORY}.git"),
        "ssh" => format!("ssh://root@{server}/srv/git/{REPOSITORY}.git"),
        other => format!("{other}://{server}/{REPOSITORY}.git"),
    }
}
