//! How a remote is asked: what it is shown, and by what it is known.
//!
//! In: a `[[remote]]`. Out: what is no secret, and where the secrets are. Must
//! not: accept a secret itself; every user of the host can read the file.

use std::path::{Component, Path, PathBuf};

use super::values::refusal;
use crate::config::mistakes::Collector;
use crate::config::section::{Found, Section, quoted};
use crate::fetcher::wire::Access;
use crate::model::credential::{Credential, Use};

/// How many keys one server may have, and how long each may be: together they
/// have to fit into one message to the fetcher.
const HOST_KEYS_LIMIT: usize = 16;
const HOST_KEY_LIMIT: usize = 2000;

/// Kinds of keys, as ssh writes them.
const KEY_KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Where the daemon cannot see whether a file is there, or everybody can read it.
const NO_PLACES: [&str; 6] = [
    "/home",
    "/root",
    "/run/user",
    "/tmp",
    "/var/tmp",
    "/nix/store",
];

/// Reads all of it. Keys of another scheme than the URL's are mistakes.
pub(super) fn access(
    section: &mut Section<'_>,
    name: &str,
    url: Option<&str>,
    collector: &mut Collector<'_>,
) -> (Access, Vec<Credential>) {
    let is_ssh = url.is_none_or(|url| url.starts_with("ssh://") || !url.contains("://"));
    let mut credentials = Vec::new();
    if let Some(found) = section.string(Use::Identity.key(), "/var/keys/deploy", collector) {
        only_with(is_ssh, "ssh", &found, collector);
        credentials.extend(credential(Use::Identity, name, &found, collector));
    }
    let keys = section.strings("host_keys", "ssh-ed25519 AAAA...", collector);
    if let Some(first) = keys.first() {
        only_with(is_ssh, "ssh", first, collector);
    }
    let host_keys = host_keys(keys, collector);
    (Access { host_keys }, credentials)
}

fn only_with(is_meant: bool, scheme: &str, found: &Found<&str>, collector: &mut Collector<'_>) {
    if !is_meant {
        let refusal = refusal(
            "of no use with this url",
            &format!("a url of {scheme}"),
            "another scheme",
            "Remove the key, or change the url.",
        );
        found.refuse(collector, refusal);
    }
}

/// The file of a secret: what systemd can hand over, and nobody else can read.
fn credential(
    of: Use,
    remote: &str,
    found: &Found<&str>,
    collector: &mut Collector<'_>,
) -> Option<Credential> {
    let path = Path::new(found.value);
    let refuse = |wrong: &str, remedy: &str| {
        refusal(
            wrong,
            "the absolute path of a file",
            &quoted(found.value),
            remedy,
        )
    };
    let refusal = if !is_plain_and_absolute(path) {
        let remedy = "Write the file's path, not its content, such as \"/var/keys/deploy\".";
        refuse("not an absolute path", remedy)
    } else if NO_PLACES.iter().any(|place| path.starts_with(place)) {
        let remedy = "Put it elsewhere, such as below /var/keys or /run/secrets, for root alone.";
        refuse(
            "where the daemon cannot see it, or everybody can read it",
            remedy,
        )
    } else {
        return Some(Credential {
            name: of.of(remote),
            source: PathBuf::from(path),
        });
    };
    found.refuse(collector, refusal);
    None
}

/// Whether systemd takes it for a path: absolute, and without `.` and `..`.
pub(in crate::config) fn is_plain_and_absolute(path: &Path) -> bool {
    let text = path.to_str().unwrap_or_default();
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.is_absolute()
        && path.components().all(plain)
        && !text.contains("/./")
        && !text.chars().any(|c| c.is_control() || c == ':')
}

fn host_keys(keys: Vec<Found<&str>>, collector: &mut Collector<'_>) -> Vec<String> {
    for (index, key) in keys.iter().enumerate() {
        if index >= HOST_KEYS_LIMIT || !is_host_key(key.value) {
            let refusal = refusal(
                "not the key of a host",
                &format!("at most {HOST_KEYS_LIMIT} of \"ssh-ed25519 AAAA...\""),
                &quoted(key.value),
                "Write what stands in the server's /etc/ssh/ssh_host_ed25519_key.pub, without a host name before it.",
            );
            key.refuse(collector, refusal);
        }
    }
    keys.iter().map(|key| key.value.to_owned()).collect()
}

/// Kind, base 64, and maybe a comment, on one line. A line of known_hosts that
/// begins otherwise could say much more than a key.
fn is_host_key(text: &str) -> bool {
    let mut words = text.split(' ');
    let kind = words.next().unwrap_or_default();
    let key = words.next().unwrap_or_default();
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    KEY_KINDS.contains(&kind)
        && text.len() <= HOST_KEY_LIMIT
        && !text.chars().any(char::is_control)
        && key.starts_with("AAAA")
        && key.len() >= 40
        && key.bytes().all(digit)
}
