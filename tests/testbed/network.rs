//! The network of a world: a hub namespace with a bridge, and a namespace with an address for each member.
//!
//! In: names. Out: namespaces that containers are started in. Links can be cut and joined again. A host is only given a
//! link: its address is its closure's business.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use super::child;
use super::leftovers::Record;

/// The bridge's subnet. Every world has the same: worlds do not see each other.
const SUBNET: &str = "10.77.0";

/// The hub's number. Every member's default route goes there, and ends there.
const GATEWAY: Address = Address(254);

/// The address of a member of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(u8);

impl Address {
    /// The first member's; a world's git server is made first, so that every host's configuration can name it.
    pub const FIRST: Self = Self(1);

    /// The hub's own, from which every member is reached.
    pub const HUB: Self = GATEWAY;

    /// An address that no member has: what is sent there is lost.
    pub const NOBODY: Self = Self(253);
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
        ip_in(&name, &format!("address add {GATEWAY}/24 dev bridge"));
        // Without forwarding, what is for elsewhere would be dropped in silence; so it is answered at once.
        child::must(
            "ip",
            &[
                "netns",
                "exec",
                &name,
                "sh",
                "-c",
                "echo 1 > /proc/sys/net/ipv4/ip_forward",
            ],
        );
        ip_in(&name, "route add unreachable default");
        Self {
            name,
            members: AtomicU8::new(Address::FIRST.0),
        }
    }

    /// Makes a namespace that is joined to the bridge. It has no address yet.
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
        Link {
            hub: self.name.clone(),
            port,
            namespace,
            address,
        }
    }
}

impl Hub {
    /// The namespace from which every member is reached, whatever became of the others.
    pub(crate) fn namespace(&self) -> &str {
        &self.name
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
    /// Gives the member its address, for one that has nothing to do it itself.
    pub(crate) fn configure(&self) {
        let address = format!("address add {}/24 dev host0", self.address);
        ip_in(&self.namespace, &address);
        ip_in(&self.namespace, "link set host0 up");
        let route = format!("route add default via {GATEWAY}");
        ip_in(&self.namespace, &route);
    }

    /// What a member does it with that does it itself, as shell.
    pub(crate) fn to_shell(&self) -> String {
        format!("address={}/24\ngateway={GATEWAY}\n", self.address)
    }

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
