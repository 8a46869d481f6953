//! A host as the rest of the world has it: whether it lets an operator in.
//!
//! In: an address. Out: what a real ssh said that came over the network. It stands at the hub, so that nothing on the
//! host, no other member of the world and no command of the harness inside is between it and the host's sshd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, Output};
use super::container::mount_overlay;
use super::host::Host;
use super::layer::Layer;
use super::network::Hub;

/// For a login, which takes a quarter of a second; ssh itself gives up earlier.
const DEADLINE: Duration = Duration::from_secs(15);

const SSH_PORT: u16 = 22;

/// How ssh is told to ask nobody, to know hosts by their key, and to give up soon.
const OPTIONS: &str = "-F none -i /opt/mini/operator-key -o BatchMode=yes -o ConnectTimeout=3 \
    -o ServerAliveInterval=2 -o ServerAliveCountMax=2 -o StrictHostKeyChecking=yes -o UserKnownHostsFile=none";

/// Where one looks from: a root with ssh and the operator's key.
pub(crate) struct Outside {
    root: PathBuf,
}

impl Outside {
    /// Makes it in a directory of its own; the mount goes with the world's.
    pub(crate) fn new(directory: &Path, layer: &Layer) -> Self {
        for part in ["upper", "work", "root"] {
            fs::create_dir_all(directory.join(part)).expect("the world's directory can be written");
        }
        let layers = layer.stack().map(|layer| layer.display().to_string());
        mount_overlay(&layers, directory);
        let root = directory.join("root");
        Self { root }
    }

    /// Runs a command on a host as root, through its sshd.
    pub(crate) fn ssh(&self, hub: &Hub, host: &str, port: u16, words: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", hub.namespace(), "chroot"])
            .arg(&self.root)
            .arg("ssh")
            .args(OPTIONS.split_whitespace())
            .arg(format!("-p{port}"))
            .arg(format!("root@{host}"))
            .args(words);
        child::run(&mut command, DEADLINE)
    }
}

/// What a host is for others.
impl Host {
    /// Whether an operator can log in from elsewhere: a real ssh, over the network, with the host's own key.
    pub fn answers_ssh(&self) -> bool {
        self.answers_ssh_on(SSH_PORT)
    }

    /// The same for an sshd that listens elsewhere.
    pub fn answers_ssh_on(&self, port: u16) -> bool {
        self.ssh(port, &["true"]).code == Some(0)
    }

    /// Runs a command on the host as an operator elsewhere would.
    pub fn ssh(&self, port: u16, words: &[&str]) -> Output {
        let ground = &self.container.ground;
        let address = self.address().to_string();
        ground.outside.ssh(&ground.hub, &address, port, words)
    }
}
