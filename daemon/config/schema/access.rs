//! How a remote is asked: what it is shown, and by what it is known.
//!
//! In: a `[[remote]]`. Out: what is no secret, and where the secrets are. Must
//! not: accept a secret itself; every user of the host can read the file.

use std::path::{Component, Path, PathBuf};

use super::values::{choice, refusal};
use crate::config::mistakes::Collector;
use crate::config::section::{Found, Section, quoted};
use crate::config::url;
use crate::model::credential::{Credential, Use};
use crate::model::remote::{Access, TokenAs};

/// How many keys one server may have, and how long each may be: together they
/// have to fit into one message to the fetcher.
const HOST_KEYS_LIMIT: usize = 16;
const HOST_KEY_LIMIT: usize = 2000;

/// How long the name of a user may be.
const USER_LIMIT: usize = 100;

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
    let is_https = url.is_none_or(|url| url.starts_with("https://"));
    if let Some(found) = section.string(Use::Token.key(), "/var/keys/token", collector) {
        only_with(is_https, "https", &found, collector);
        credentials.extend(credential(Use::Token, name, &found, collector));
    }
    let access = Access {
        host_keys,
        token: token_as(section, is_https, collector),
        ca_file: ca_file(section, is_https, collector),
        proxy: proxy(section, url, collector),
    };
    (access, credentials)
}

/// As what the token is sent; a user is of no use to a bearer.
fn token_as(section: &mut Section<'_>, is_https: bool, collector: &mut Collector<'_>) -> TokenAs {
    let user = section.string("token_user", TokenAs::USER, collector);
    let found = section.string("token_as", "password", collector);
    for found in [&user, &found].into_iter().flatten() {
        only_with(is_https, "https", found, collector);
    }
    let choices = [("password", false), ("bearer", true)];
    let is_bearer = choice(found, &choices, false, collector);
    let Some(user) = user else {
        return if is_bearer {
            TokenAs::Bearer
        } else {
            TokenAs::default()
        };
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
    let is_name = !user.value.is_empty() && user.value.len() <= USER_LIMIT;
    if is_bearer || !is_name || !user.value.bytes().all(allowed) {
        let refusal = refusal(
            "not the name of a user",
            "letters, digits, '.', '_', '-', '+' and '@', with token_as = \"password\"",
            &quoted(user.value),
            "Write the user that the server takes the token from, or leave it out.",
        );
        user.refuse(collector, refusal);
    }
    TokenAs::Password {
        user: user.value.to_owned(),
    }
}

fn ca_file(
    section: &mut Section<'_>,
    is_https: bool,
    collector: &mut Collector<'_>,
) -> Option<PathBuf> {
    let found = section.string("ca_file", "/etc/ssl/private-ca.pem", collector)?;
    only_with(is_https, "https", &found, collector);
    let path = Path::new(found.value);
    if !is_plain_and_absolute(path) {
        let refusal = refusal(
            "not an absolute path",
            "the absolute path of a file",
            &quoted(found.value),
            "Write the whole path of a file with certificates in PEM, which everybody can read.",
        );
        found.refuse(collector, refusal);
    }
    Some(path.to_owned())
}

fn proxy(
    section: &mut Section<'_>,
    url: Option<&str>,
    collector: &mut Collector<'_>,
) -> Option<String> {
    let found = section.string("proxy", "http://proxy.example.org:3128", collector)?;
    only_with(
        url.is_none_or(|url| url.starts_with("http")),
        "https",
        &found,
        collector,
    );
    if !url::is_proxy(found.value) {
        let shown = quoted(&url::redacted(found.value));
        let refusal = refusal(
            "not the URL of a proxy",
            "http, https, socks5 or socks5h, a host and a port, without a password",
            &shown,
            "Write it as in \"http://proxy.example.org:3128\".",
        );
        found.refuse(collector, refusal);
    }
    Some(found.value.to_owned())
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

/// The file of a secret, and what the fetcher finds it as.
fn credential(
    of: Use,
    remote: &str,
    found: &Found<&str>,
    collector: &mut Collector<'_>,
) -> Option<Credential> {
    secret_file(found, collector).map(|source| Credential {
        name: of.of(remote),
        source,
    })
}

/// A file that systemd can hand over, and nobody else can read.
pub(super) fn secret_file(found: &Found<&str>, collector: &mut Collector<'_>) -> Option<PathBuf> {
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
        return Some(PathBuf::from(path));
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
