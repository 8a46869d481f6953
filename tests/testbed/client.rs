//! Where an operator sits: a container with ssh, a key that every host accepts, and the command line under test.
//!
//! In: commands. Out: what they said. It has no systemd and no daemon.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::child::{self, Output};
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
        self.knows_address(name, &host.address().to_string(), user);
    }

    /// The same for an address at which there may be nobody.
    pub fn knows_address(&self, name: &str, address: &str, user: &str) {
        let entry = format!("Host {name}\n HostName {address}\n User {user}\n");
        let append = format!("printf '%s' '{entry}' >> /root/.ssh/config");
        self.run(&["sh", "-c", &append]).must_succeed();
    }

    /// Runs a command here.
    pub fn run(&self, words: &[&str]) -> Output {
        self.container.run(words)
    }

    /// Runs a command here that may take longer than others.
    pub fn run_for(&self, words: &[&str], deadline: Duration) -> Output {
        child::run(&mut self.container.command(words), deadline)
    }

    /// A command here that is run and watched in a way of its own.
    pub fn command(&self, words: &[&str]) -> Command {
        self.container.command(words)
    }

    /// Replaces a file here.
    pub fn write(&self, path: &str, content: &str) {
        self.container.write(path, content);
    }

    /// Kills every process here whose command line holds the words, and says how many there were.
    pub fn kill(&self, words: &str) -> usize {
        // The shell's own command line holds them, too.
        let script = "for it in /proc/[0-9]*; do id=${it#/proc/}; [ $id = $$ ] && continue; \
             case $(tr '\\0' ' ' 2> /dev/null < $it/cmdline) in *\"$1\"*) kill -KILL $id && echo $id;; esac; done";
        let killed = self.run(&["sh", "-c", script, "kill", words]);
        killed.stdout.lines().count()
    }

    /// Takes the client off the network.
    pub fn vanish(&self) {
        self.container.link.cut();
    }
}
