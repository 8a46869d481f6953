//! The network of a world: a hub namespace with a bridge, and a namespace with an address for each member.
//!
//! In: names. Out: namespaces that containers are started in. Links can be cut and joined again.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use super::child;
use super::leftovers::Record;

/// The bridge's subnet. Every world has the same: worlds do not see each other.
const SUBNET: &str = "10.77.0";

/// The address of a member of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(u8);

impl Address {
    /// The first member's; a world's git server is made first, so that every host's configuration can name it.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SUBNET}.{}", self.0)
    }
}

/// The hub.
pub(crate) struct Hub {
    name: String,
    members: AtomicU8,
}

impl Hub {
    pub(crate) fn new(record: &Record, name: &str) -> Self {
        let name = format!("{name}-hub");
        record.add_namespace(&name);
        child::must("ip", &["netns", "add", &name]);
        ip_in(&name, "link set lo up");
        ip_in(&name, "link add bridge type bridge");
        ip_in(&name, "link set bridge up");
        Self {
            name,
            members: AtomicU8::new(Address::FIRST.0),
        }
    }

    /// Makes a namespace that is joined to the bridge.
    pub(crate) fn join(&self, record: &Record) -> Link {
        let number = self.members.fetch_add(1, Ordering::Relaxed);
        let address = Address(number);
        let namespace = format!("{}-{number}", self.name.trim_end_matches("-hub"));
        let port = format!("port{number}");
        record.add_namespace(&namespace);
        child::must("ip", &["netns", "add", &namespace]);
        ip_in(
            &self.name,
            &format!("link add {port} type veth peer name host0 netns {namespace}"),
        );
        ip_in(&self.name, &format!("link set {port} master bridge up"));
        ip_in(&namespace, "link set lo up");
        ip_in(&namespace, &format!("address add {address}/24 dev host0"));
        ip_in(&namespace, "link set host0 up");
        ip_in(&namespace, &format!("route add default via {SUBNET}.254"));
        Link {
            hub: self.name.clone(),
            port,
            namespace,
            address,
        }
    }
}

/// A member's way to the bridge.
pub(crate) struct Link {
    hub: String,
    port: String,
    pub(crate) namespace: String,
    pub(crate) address: Address,
}

impl Link {
    /// Cuts it on the hub's side: for the member it looks like a dead network.
    pub(crate) fn cut(&self) {
        ip_in(&self.hub, &format!("link set {} down", self.port));
    }

    pub(crate) fn join(&self) {
        ip_in(&self.hub, &format!("link set {} up", self.port));
    }
}

fn ip_in(namespace: &str, command: &str) {
    let words: Vec<&str> = ["-n", namespace]
        .into_iter()
        .chain(command.split(' '))
        .collect();
    child::must("ip", &words);
}
