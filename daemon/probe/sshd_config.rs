//! An ssh server's configuration to the addresses on which it should answer.
//!
//! In: the text of `sshd_config`, or a `ListenStream=`. Out: addresses to try
//! from this host. Must not: read files.
//!
//! `Include` is not followed: NixOS writes one file. What stands in a `Match`
//! block says nothing about ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port without any `Port` line.
const DEFAULT_PORT: u16 = 22;

/// Where a server that listens everywhere is tried: whichever answers.
const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// One socket that a server should listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Addresses with ports; an answer of one of them is enough.
    pub(super) addresses: Vec<String>,
}

/// Where a server with this configuration listens.
pub(super) fn targets(text: &str) -> Vec<Target> {
    let mut ports: Vec<u16> = Vec::new();
    let mut listens: Vec<String> = Vec::new();
    let mut family = "any".to_owned();
    for (key, value) in settings(text) {
        match &*key {
            "port" => ports.extend(value.parse::<u16>().ok()),
            "listenaddress" => listens.push(value),
            "addressfamily" => family = value.to_ascii_lowercase(),
            _of_no_concern => {}
        }
    }
    if ports.is_empty() {
        ports.push(DEFAULT_PORT);
    }
    if listens.is_empty() {
        return ports
            .iter()
            .map(|port| everywhere(&family, *port))
            .collect();
    }
    listens
        .iter()
        .flat_map(|listen| match host_and_port(listen) {
            (host, Some(port)) => vec![target(host, port)],
            (host, None) => ports.iter().map(|port| target(host, *port)).collect(),
        })
        .collect()
}

/// Where systemd listens for a `ListenStream=`; None for what is no port.
pub(super) fn listen_stream(value: &str) -> Option<Target> {
    if let Ok(port) = value.parse::<u16>() {
        return Some(everywhere("any", port));
    }
    match host_and_port(value) {
        (host, Some(port)) if !host.contains('/') && !host.starts_with("vsock") => {
            Some(target(host, port))
        }
        (_host, _) => None,
    }
}

/// Keys in lower case with their values, up to the first `Match`.
fn settings(text: &str) -> impl Iterator<Item = (String, String)> {
    text.lines()
        .filter_map(setting)
        .take_while(|(key, _)| key != "match")
}

/// `Key value`, `Key=value` or `Key "value"`, of which the first word counts.
fn setting(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let end = line.find(|it: char| it.is_whitespace() || it == '=')?;
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(|it: char| it.is_whitespace() || it == '=');
    let value = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split_whitespace().next().unwrap_or_default(),
    };
    (!key.starts_with('#')).then(|| (key.to_ascii_lowercase(), value.to_owned()))
}

/// Splits `host`, `host:port`, `[host]` and `[host]:port`; an IPv6 address
/// alone has no port.
fn host_and_port(text: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|it| it.split_once(']')) {
        let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
        return (host, port);
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_not_a_port) => (text, None),
        },
        Some(_) | None => (text, None),
    }
}

/// A server on one address; one that stands for all is tried on loopback.
fn target(host: &str, port: u16) -> Target {
    let addresses = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => {
            vec![SocketAddr::new(LOOPBACK[0], port).to_string()]
        }
        // systemd and sshd may serve IPv4 on it, too.
        Ok(IpAddr::V6(address)) if address.is_unspecified() => {
            let [ipv4, ipv6] = LOOPBACK.map(|it| SocketAddr::new(it, port).to_string());
            vec![ipv6, ipv4]
        }
        Ok(address) => vec![SocketAddr::new(address, port).to_string()],
        Err(_a_name) if host == "*" => return everywhere("any", port),
        Err(_a_name) => vec![format!("{host}:{port}")],
    };
    Target { addresses }
}

/// A server on every address of a family.
fn everywhere(family: &str, port: u16) -> Target {
    let [ipv4, ipv6] = LOOPBACK.map(|it| SocketAddr::new(it, port).to_string());
    let addresses = match family {
        "inet" => vec![ipv4],
        "inet6" => vec![ipv6],
        _any => vec![ipv4, ipv6],
    };
    Target { addresses }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(targets: Vec<Target>) -> Vec<String> {
        targets
            .into_iter()
            .map(|target| target.addresses.join("|"))
            .collect()
    }

    #[test]
    fn ports_and_addresses_are_those_that_sshd_would_listen_on() {
        for (text, expected) in [
            ("", &["127.0.0.1:22|[::1]:22"][..]),
            ("# Port 23\n#Port 24\n", &["127.0.0.1:22|[::1]:22"]),
            ("Port 2222\n", &["127.0.0.1:2222|[::1]:2222"]),
            ("port=2222 # no\n", &["127.0.0.1:2222|[::1]:2222"]),
            (
                "  PORT \"2222\"\nPort\t22",
                &["127.0.0.1:2222|[::1]:2222", "127.0.0.1:22|[::1]:22"],
            ),
            ("AddressFamily inet6\nPort 9", &["[::1]:9"]),
            ("AddressFamily inet", &["127.0.0.1:22"]),
            (
                "ListenAddress 10.0.0.1\nPort 9\nPort 8",
                &["10.0.0.1:9", "10.0.0.1:8"],
            ),
            ("Port 9\nListenAddress 10.0.0.1:7\n", &["10.0.0.1:7"]),
            ("ListenAddress 0.0.0.0", &["127.0.0.1:22"]),
            ("ListenAddress ::", &["[::1]:22|127.0.0.1:22"]),
            ("ListenAddress [::]:7", &["[::1]:7|127.0.0.1:7"]),
            ("ListenAddress fe80::1", &["[fe80::1]:22"]),
            ("ListenAddress [fd00::1]", &["[fd00::1]:22"]),
            (
                "ListenAddress host.example:7 rdomain x",
                &["host.example:7"],
            ),
            ("ListenAddress *:7", &["127.0.0.1:7|[::1]:7"]),
            ("Port x\n", &["127.0.0.1:22|[::1]:22"]),
            ("Match User a\nPort 9\n", &["127.0.0.1:22|[::1]:22"]),
            ("Port\n\nUsePAM yes\n", &["127.0.0.1:22|[::1]:22"]),
        ] {
            assert_eq!(addresses(targets(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn sockets_of_systemd_are_tried_where_they_listen() {
        for (stream, expected) in [
            ("22", Some("127.0.0.1:22|[::1]:22")),
            ("0.0.0.0:2222", Some("127.0.0.1:2222")),
            ("[::]:22", Some("[::1]:22|127.0.0.1:22")),
            ("10.0.0.1:22", Some("10.0.0.1:22")),
            ("/run/ssh.socket", None),
            ("vsock::22", None),
            ("", None),
        ] {
            let target = listen_stream(stream);
            let target = target.map(|target| target.addresses.join("|"));
            assert_eq!(target.as_deref(), expected, "{stream}");
        }
    }
}
