//! What a scenario wants a host to be: the knobs of `mini-nixos.nix`, as the JSON file that a repository holds.
//!
//! In: what differs from an ordinary host. Out: JSON. Two equal generations are one and the same system.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::network::Address;

/// The repository that every host's configuration names unless the scenario says otherwise.
pub(crate) const REPOSITORY: &str = "infrastructure";

/// The name of the world's git server.
pub(crate) const SERVER_NAME: &str = "git.test";

/// Where names are looked for: in files, then at a server.
const NAME_SERVICES: &str =
    "passwd: files systemd\ngroup: files systemd\nshadow: files systemd\nhosts: files dns\n";

/// There is no name server in a world; the one that is named says so at once.
const RESOLVER: &str = "options timeout:1 attempts:1\nnameserver 127.0.0.1\n";

/// One host, as one commit describes it.
#[derive(Clone, Debug)]
pub struct Generation {
    knobs: Map<String, Value>,
    units: BTreeMap<String, String>,
    etc: BTreeMap<String, String>,
    wants: Vec<String>,
}

impl Generation {
    /// An ordinary host that runs the daemon against the world's git server; `label` tells it from others.
    pub fn new(label: &str) -> Self {
        let configuration = format!(
            "[[remote]]\nurl = \"git://{}/{REPOSITORY}.git\"\npoll_interval = \"1s\"\n\n\
             [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n",
            Address::FIRST
        );
        Self::without_daemon(label).daemon_config(&configuration)
    }

    /// What every host boots into. It leaves Debian's system.conf in place, so the first switch away from it has
    /// systemd re-execute itself: a good trap, and one that every deployment of a scenario steps into.
    pub fn first() -> Self {
        Self::new("first").with("systemdConf", Value::Null)
    }

    /// A host on which the daemon is not installed.
    pub fn without_daemon(label: &str) -> Self {
        let platform = format!("{}-linux", std::env::consts::ARCH);
        let address = Address::FIRST.to_string();
        let knobs = json!({ "label": label, "platform": platform });
        let knobs = knobs.as_object().cloned().unwrap_or_default();
        Self {
            knobs,
            units: BTreeMap::new(),
            etc: BTreeMap::new(),
            wants: Vec::new(),
        }
        .etc("hosts", &hosts(&[(&address, SERVER_NAME)]))
        .etc("nsswitch.conf", NAME_SERVICES)
        .etc("resolv.conf", RESOLVER)
    }

    /// Sets any knob of `mini-nixos.nix` by its name.
    #[must_use]
    pub fn with(mut self, knob: &str, value: impl Into<Value>) -> Self {
        self.knobs.insert(knob.to_owned(), value.into());
        self
    }

    /// The text of the daemon's configuration.
    #[must_use]
    pub fn daemon_config(self, toml: &str) -> Self {
        self.with("daemonConfig", toml)
    }

    /// The configuration as far as it was set.
    pub(crate) fn daemon_config_text(&self) -> &str {
        let text = self.knobs.get("daemonConfig").and_then(Value::as_str);
        text.unwrap_or_default()
    }

    /// Has the daemon's configuration name the world's git server, which it otherwise has by its address: without
    /// names it is then not found.
    #[must_use]
    pub fn named_remote(self) -> Self {
        let named = format!("://{SERVER_NAME}/");
        let text = self.daemon_config_text();
        let text = text.replace(&format!("://{}/", Address::FIRST), &named);
        self.daemon_config(&text)
    }

    /// The daemon's next version: it works as this one does, and is another program in another store path.
    #[must_use]
    pub fn next_daemon(self) -> Self {
        self.with("daemonVariant", "next")
    }

    /// Has sshd listen on another port.
    #[must_use]
    pub fn sshd_port(self, port: u16) -> Self {
        self.with("sshdPort", port)
    }

    /// Adds a unit file that nothing starts.
    #[must_use]
    pub fn unit(mut self, name: &str, text: &str) -> Self {
        self.units.insert(name.to_owned(), text.to_owned());
        self
    }

    /// Adds a unit that `multi-user.target` wants.
    #[must_use]
    pub fn wanted_unit(mut self, name: &str, text: &str) -> Self {
        self.wants.push(name.to_owned());
        self.unit(name, text)
    }

    /// Adds a service that runs one command and stays active afterwards.
    #[must_use]
    pub fn one_shot(self, name: &str, command: &str) -> Self {
        let text = format!(
            "[Unit]\nDescription={name}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={command}\n"
        );
        self.wanted_unit(name, &text)
    }

    /// Adds a file below `/etc`.
    #[must_use]
    pub fn etc(mut self, path: &str, text: &str) -> Self {
        self.etc.insert(path.to_owned(), text.to_owned());
        self
    }

    /// The file that `flake.nix` reads.
    pub(crate) fn to_json(&self) -> String {
        let mut knobs = self.knobs.clone();
        knobs.insert("units".into(), json!(self.units));
        knobs.insert("etc".into(), json!(self.etc));
        knobs.insert("wants".into(), json!(self.wants));
        format!("{:#}\n", Value::Object(knobs))
    }
}

/// The text of `/etc/hosts` with some names besides the host's own.
pub(crate) fn hosts(names: &[(&str, &str)]) -> String {
    let lines = names
        .iter()
        .map(|(address, name)| format!("{address} {name}\n"));
    format!("127.0.0.1 localhost host\n{}", lines.collect::<String>())
}
