//! Where an operator sits: a container with ssh, a key that every host accepts, and the command line under test.
//!
//! In: commands. Out: what they said. It has no systemd and no daemon.

use std::sync::Arc;

use super::child::Output;
use super::container::Container;
use super::host::Host;
use super::layer::Layer;
use super::world::Ground;

/// The operator's machine.
pub struct Client {
    container: Container,
}

impl Client {
    pub(crate) fn start(ground: &Arc<Ground>, layer: &Layer) -> Self {
        let mut container = Container::new(ground, "client", &layer.stack());
        container.link.configure();
        container.start(&["/usr/bin/sleep", "infinity"], true);
        let client = Self { container };
        let install = "install -D -m 0600 /opt/mini/operator-key /root/.ssh/id_ed25519";
        let link = "ln -s /opt/deploy-flake/bin/deploy-flake /usr/local/bin/deploy-flake";
        client
            .run(&["sh", "-c", &format!("{install} && {link}")])
            .must_succeed();
        client
    }

    /// Gives a host a name here, as `Host` in the operator's ssh configuration, and a user to log in as.
    pub fn knows(&self, name: &str, host: &Host, user: &str) {
        let entry = format!("Host {name}\n HostName {}\n User {user}\n", host.address());
        let append = format!("printf '%s' '{entry}' >> /root/.ssh/config");
        self.run(&["sh", "-c", &append]).must_succeed();
    }

    /// Runs a command here.
    pub fn run(&self, words: &[&str]) -> Output {
        self.container.run(words)
    }

    /// Takes the client off the network.
    pub fn vanish(&self) {
        self.container.link.cut();
    }
}
