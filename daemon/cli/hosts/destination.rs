//! What people call a host: `host`, `user@host`, or
//! `nixos://[user@]host[:port][/configuration]`.
//!
//! In: a word of the command line, or a configuration's name. Out: a
//! destination whose parts no program takes for an option, a command or a path.
//! Must not: look anything up; `~/.ssh/config` is ssh's business.

use std::fmt;
use std::num::NonZeroU16;

/// The longest name that is accepted, in bytes: what DNS allows.
const LIMIT: usize = 253;

/// Where ssh goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Destination {
    label: String,
    ssh: String,
    user: Option<String>,
    host: String,
    port: Option<NonZeroU16>,
    configuration: Option<String>,
    /// Whether it was given without a scheme.
    is_word: bool,
}

impl Destination {
    /// The host that is named like one of the flake's configurations, and has to
    /// run it.
    pub(super) fn of_configuration(name: &str) -> Result<Self, String> {
        let destination = parse(name)?;
        Ok(Self {
            configuration: Some(name.to_owned()),
            ..destination
        })
    }

    /// What tells it from the others, as it was given.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// What follows `ssh` on a command line that gets there, for people.
    pub(super) fn after_ssh(&self) -> &str {
        &self.ssh
    }

    /// A word that is understood as this.
    pub(super) fn typed(&self) -> String {
        match self.is_word || self.label.starts_with("ssh://") {
            true => self.label.clone(),
            false => format!("nixos://{}", self.label),
        }
    }

    /// Which configuration the host has to run, or to be given, if that was said.
    pub(in crate::cli) fn configuration(&self) -> Option<&str> {
        self.configuration.as_deref()
    }

    /// The end of ssh's own words: whatever stands in them, ssh can take only
    /// the last for a host, and none for an option.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = self.options();
        words.extend(["--".to_owned(), self.host.clone()]);
        words
    }

    /// Port and user, as options for ssh.
    pub(super) fn options(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(port) = self.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(user) = &self.user {
            words.extend(["-l".to_owned(), user.clone()]);
        }
        words
    }

    /// The host as it stands in a URL.
    pub(super) fn in_url(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host.replace('%', "%25")),
            false => self.host.clone(),
        }
    }

    /// The same for nix, which takes a bare `localhost` for its own store, and
    /// uses no ssh.
    pub(super) fn for_nix(&self) -> String {
        match &self.user {
            Some(user) if self.is_localhost() => format!("{user}@{}", self.in_url()),
            Some(_) | None => self.in_url(),
        }
    }

    /// Whether nix would copy to itself.
    pub(super) fn is_taken_for_nix_itself(&self) -> bool {
        self.user.is_none() && self.is_localhost()
    }

    fn is_localhost(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
    }

    /// The word, if it was given as one that could as well be anything else: no
    /// `nixos://`, user, domain or address.
    pub(in crate::cli) fn plain_word(&self) -> Option<&str> {
        let is_plain = self.is_word && !self.label.contains(['@', '.', ':', '%']);
        is_plain.then_some(&*self.label)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.label)
    }
}

/// Understands a destination.
pub(in crate::cli) fn parse(text: &str) -> Result<Destination, String> {
    let (label, is_url, place) = if let Some(rest) = text.strip_prefix("nixos://") {
        (rest, true, rest)
    } else if let Some(rest) = text.strip_prefix("ssh://") {
        (text, true, rest)
    } else {
        (text, false, text)
    };
    let (place, configuration) = match place.split_once('/') {
        Some((place, "")) if is_url => (place, None),
        Some((place, name)) if is_url && text.starts_with("nixos://") => (place, Some(name)),
        Some(_) => {
            return Err(
                "a host has no '/'; a configuration goes into nixos://host/configuration"
                    .to_owned(),
            );
        }
        None => (place, None),
    };
    let (user, place) = match place.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, place),
    };
    let (host, port) = if is_url {
        with_port(place)?
    } else {
        (place, None)
    };
    is_name("a host", host, "._-:%")?;
    user.map_or(Ok(()), |user| is_name("a user", user, "._-+"))?;
    configuration.map_or(Ok(()), |it| is_name("a configuration", it, "._-+"))?;
    let port_for_ssh = port.map_or_else(String::new, |it| format!("-p {it} "));
    let user_for_ssh = user.map_or_else(String::new, |it| format!("{it}@"));
    Ok(Destination {
        ssh: format!("{port_for_ssh}{user_for_ssh}{host}"),
        label: label.trim_end_matches('/').to_owned(),
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
        configuration: configuration.map(str::to_owned),
        is_word: !is_url,
    })
}

/// Splits `host:port`; an IPv6 address with a port stands in brackets.
fn with_port(place: &str) -> Result<(&str, Option<NonZeroU16>), String> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .ok_or("expected ']' after the address")?,
        None => match place.split_once(':') {
            Some((_, rest)) if rest.contains(':') => {
                return Err(
                    "an IPv6 address stands in brackets here, as in nixos://[::1]:22".to_owned(),
                );
            }
            Some((host, _)) => (host, &place[host.len()..]),
            None => (place, ""),
        },
    };
    let Some(port) = port.strip_prefix(':') else {
        let is_all = port.is_empty();
        return is_all
            .then_some((host, None))
            .ok_or_else(|| "expected ':' and a port after the address".to_owned());
    };
    let number = port.parse().ok().filter(|_| !port.starts_with('+'));
    let port = number.ok_or("a port is a number from 1 to 65535")?;
    Ok((host, Some(port)))
}

/// Whether the text is a name: letters, digits and the marks, and no '-' in
/// front. ssh hands names to the shell of `ProxyCommand`, so there is
/// nothing in it that a shell would take for more.
fn is_name(what: &str, text: &str, marks: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("expected {what}, found nothing"));
    }
    if text.len() > LIMIT {
        return Err(format!("{what} has at most {LIMIT} characters"));
    }
    if text.starts_with('-') {
        return Err(format!("{what} must not begin with '-'"));
    }
    let known = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    match text.chars().find(|c| !known(*c)) {
        None => Ok(()),
        Some(other) => Err(format!(
            "{what} is made of letters, digits and {marks}, without {other:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_of_every_form_become_words_for_ssh() {
        for (text, words, label, configuration) in [
            ("host1", "-- host1", "host1", None),
            (
                "web1.example.org",
                "-- web1.example.org",
                "web1.example.org",
                None,
            ),
            ("root@host1", "-l root -- host1", "root@host1", None),
            ("2001:db8::1", "-- 2001:db8::1", "2001:db8::1", None),
            ("fe80::1%eth0", "-- fe80::1%eth0", "fe80::1%eth0", None),
            ("nixos://host1", "-- host1", "host1", None),
            ("nixos://host1/", "-- host1", "host1", None),
            (
                "nixos://host1/webserver",
                "-- host1",
                "host1/webserver",
                Some("webserver"),
            ),
            (
                "nixos://root@host2:2222/webserver",
                "-p 2222 -l root -- host2",
                "root@host2:2222/webserver",
                Some("webserver"),
            ),
            (
                "nixos://root@[2001:db8::1]:22/db",
                "-p 22 -l root -- 2001:db8::1",
                "root@[2001:db8::1]:22/db",
                Some("db"),
            ),
            ("nixos://[::1]", "-- ::1", "[::1]", None),
            (
                "ssh://root@host1:22",
                "-p 22 -l root -- host1",
                "ssh://root@host1:22",
                None,
            ),
        ] {
            let destination = parse(text).expect(text);
            assert_eq!(destination.words().join(" "), words, "{text}");
            assert_eq!(
                parse(&destination.typed()),
                Ok(destination.clone()),
                "{text}"
            );
            assert_eq!(destination.label(), label, "{text}");
            assert_eq!(destination.configuration(), configuration, "{text}");
        }
    }

    #[test]
    fn people_are_told_how_ssh_gets_there() {
        for (text, told) in [
            ("web1", "web1"),
            ("nixos://root@web1:2222/web", "-p 2222 root@web1"),
            ("nixos://[2001:db8::1]/db", "2001:db8::1"),
            ("ssh://ann@web1", "ann@web1"),
        ] {
            assert_eq!(parse(text).expect(text).after_ssh(), told);
        }
    }

    #[test]
    fn nothing_of_a_destination_is_an_option_or_a_command() {
        for bad in [
            "",
            "-",
            "-oProxyCommand=x",
            "root@-oProxyCommand=x",
            "-l@host",
            "@host",
            "root@",
            "a b",
            "a\nb",
            "a\u{1b}",
            "a\u{202e}b",
            "a;b",
            "a$(b)",
            "a`b`",
            "a'b",
            "a\"b",
            "a\\b",
            "a/b",
            "../a",
            "höst",
            "nixos://",
            "nixos:///x",
            "nixos://-oProxyCommand=x",
            "nixos://root@-x/web",
            "nixos://host:0",
            "nixos://host:65536",
            "nixos://host:+22",
            "nixos://host:22x",
            "nixos://host:",
            "nixos://::1",
            "nixos://[::1",
            "nixos://[::1]x",
            "nixos://host/a/b",
            "nixos://host/-x",
            "nixos://host/a\"b",
            "nixos://host/a b",
            "ssh://host/path",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&"x".repeat(LIMIT + 1)).is_err());
    }
}
