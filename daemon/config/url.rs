//! Where a remote may be: the URLs that are accepted, and why the others are not.
//!
//! In: the text of a configuration file. Out: a URL that names a git server or
//! a local repository and nothing else, without secrets in it. Must not: show
//! a password; must not leave anything to git's or ssh's own guessing.

/// An accepted URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteUrl {
    /// Normalised.
    pub(super) url: String,
    /// What the operator should know about it.
    pub(super) warning: Option<&'static str>,
}

/// Why a URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// What is wrong with it.
    pub(super) wrong: &'static str,
    /// What to do.
    pub(super) remedy: &'static str,
}

/// What is accepted, in words.
pub(super) const EXPECTED: &str =
    "a URL with scheme https, ssh, file, http or git, or user@host:path for ssh";

const NOT_ENCRYPTED: &str = "this scheme is neither encrypted nor authenticated: anybody on the \
                             way can change what this host fetches and then runs; use https or ssh";

/// Accepts or refuses a URL.
pub(super) fn parse(text: &str) -> Result<RemoteUrl, Refused> {
    refuse_dangerous(text)?;
    match text.split_once("://") {
        Some((scheme, rest)) => with_scheme(&scheme.to_ascii_lowercase(), rest),
        None => scp_like(text),
    }
}

/// Whether it names a proxy: scheme, host and port, and nothing that would
/// have to be kept secret.
pub(super) fn is_proxy(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    ["http", "https", "socks5", "socks5h"].contains(&scheme) && is_host_and_port(authority)
}

/// The URL as it may be shown: without what may be a password or a token.
pub(super) fn redacted(text: &str) -> String {
    let start = text.find("://").map_or(0, |scheme| scheme + 3);
    let (scheme, rest) = text.split_at(start);
    let authority = rest.split('/').next().unwrap_or("");
    match authority.rfind('@') {
        Some(at) if rest[..at].contains(':') || scheme.to_ascii_lowercase().starts_with("http") => {
            format!("{scheme}…@{}", &rest[at + 1..])
        }
        Some(_) | None => text.to_owned(),
    }
}

/// What must not be in any URL, wherever it stands.
fn refuse_dangerous(text: &str) -> Result<(), Refused> {
    let refuse = |wrong, remedy| Err(Refused { wrong, remedy });
    if text.is_empty() {
        return refuse("is empty", "Write the URL of the repository.");
    }
    if text.starts_with('-') {
        return refuse(
            "begins with '-', which a program could take for an option",
            "Write the whole URL, beginning with its scheme.",
        );
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) || has_encoded_control(text) {
        return refuse(
            "has white space or control characters in it",
            "Remove them.",
        );
    }
    let mut start = text.bytes();
    let drive = start.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && start.next() == Some(b':')
        && matches!(start.next(), Some(b'\\' | b'/') | None);
    if drive || text.contains('\\') {
        return refuse(
            "looks like a path of Windows",
            "Write a URL with forward slashes.",
        );
    }
    if text.contains(['?', '#']) {
        return refuse(
            "has a query or a fragment",
            "Write the repository's URL alone; the branch has a key of its own.",
        );
    }
    Ok(())
}

/// Whether a percent-encoded byte is a control character.
fn has_encoded_control(text: &str) -> bool {
    text.split('%').skip(1).any(|after| {
        after
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .is_some_and(|byte| byte.is_ascii_control())
    })
}

/// Judges what follows a scheme.
fn with_scheme(scheme: &str, rest: &str) -> Result<RemoteUrl, Refused> {
    match scheme {
        "https" | "http" | "git" => {
            let authority = network(rest)?;
            if authority.user.is_some() {
                return Err(CREDENTIALS);
            }
            let warning = (scheme != "https").then_some(NOT_ENCRYPTED);
            accepted(scheme, rest, warning)
        }
        "ssh" => {
            let authority = network(rest)?;
            if authority.user.is_some_and(|user| !is_user(user)) {
                return Err(BAD_USER);
            }
            accepted(scheme, rest, None)
        }
        "file" if rest.starts_with('/') && rest.len() > 1 => accepted(scheme, rest, None),
        "file" => Err(Refused {
            wrong: "names no absolute path of this host",
            remedy: "Write file:// and an absolute path, such as file:///srv/git/hosts.git",
        }),
        _ => Err(Refused {
            wrong: "has a scheme that is not accepted",
            remedy: "Use https or ssh.",
        }),
    }
}

const CREDENTIALS: Refused = Refused {
    wrong: "has a user name, password or token in it, which every user of the host could read",
    remedy: "Remove it, and revoke it if it was secret; name a file with the token as `token_file`.",
};

const BAD_USER: Refused = Refused {
    wrong: "has a user name that is not accepted",
    remedy: "Write a user name of letters, digits, '.', '_' and '-', such as git@",
};

const BAD_HOST: Refused = Refused {
    wrong: "has no proper host name",
    remedy: "Write scheme, host and path, such as https://example.org/hosts.git",
};

fn accepted(scheme: &str, rest: &str, warning: Option<&'static str>) -> Result<RemoteUrl, Refused> {
    let url = format!("{scheme}://{rest}");
    Ok(RemoteUrl { url, warning })
}

/// The user in `user@host:port`; the rest was judged.
struct Authority<'t> {
    user: Option<&'t str>,
}

/// Judges `[user@]host[:port]/path`.
fn network(rest: &str) -> Result<Authority<'_>, Refused> {
    let (authority, path) = rest.split_once('/').ok_or(NO_PATH)?;
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(CREDENTIALS);
    }
    if !is_host_and_port(host) {
        return Err(BAD_HOST);
    }
    if path.trim_matches('/').is_empty() {
        return Err(NO_PATH);
    }
    Ok(Authority { user })
}

const NO_PATH: Refused = Refused {
    wrong: "names a host and no repository on it",
    remedy: "Add the repository's path, such as https://example.org/hosts.git",
};

/// Judges ssh's short form, which git reads as a path relative to the user's
/// home on the host. An absolute path is written as a URL; a relative one is
/// kept as it is, because no URL says the same to every server.
fn scp_like(text: &str) -> Result<RemoteUrl, Refused> {
    let no_url = Refused {
        wrong: "is no URL",
        remedy: "Write a URL with its scheme, such as https://example.org/hosts.git, or \
                 file:///srv/git/hosts.git for a path.",
    };
    let (authority, path) = text.split_once(':').ok_or(no_url)?;
    if authority.contains('/') {
        return Err(no_url);
    }
    if path.starts_with(':') {
        return Err(Refused {
            wrong: "names a remote helper, which could run any program",
            remedy: "Use https or ssh.",
        });
    }
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_none() && FLAKE_TYPES.contains(&host) {
        return Err(Refused {
            wrong: "is a reference to a flake, not a URL of git",
            remedy: "Write the repository's own URL, such as https://example.org/hosts.git",
        });
    }
    if user.is_some_and(|user| !is_user(user)) {
        return Err(BAD_USER);
    }
    if path.contains('@') && user.is_none() {
        return Err(CREDENTIALS);
    }
    if !is_host(host) {
        return Err(BAD_HOST);
    }
    if path.starts_with('-') || path.trim_matches('/').is_empty() {
        return Err(NO_PATH);
    }
    let url = if path.starts_with('/') {
        format!("ssh://{authority}{path}")
    } else {
        text.to_owned()
    };
    Ok(RemoteUrl { url, warning: None })
}

/// What Nix reads before the colon in a flake reference.
const FLAKE_TYPES: [&str; 5] = ["github", "gitlab", "sourcehut", "flake", "path"];

fn is_user(user: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !user.is_empty() && !user.starts_with('-') && user.bytes().all(allowed)
}

fn is_host_and_port(text: &str) -> bool {
    let colon = text.rfind(':').filter(|at| !text[*at..].contains(']'));
    match colon {
        Some(at) => {
            is_host(&text[..at]) && text[at + 1..].parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => is_host(text),
    }
}

/// A name or an address; an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !host.is_empty() && !host.starts_with(['-', '.']) && host.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_git_servers_and_local_repositories_are_accepted() {
        for (text, url) in [
            ("https://example.org/a.git", "https://example.org/a.git"),
            (
                "HTTPS://example.org:8443/a/b",
                "https://example.org:8443/a/b",
            ),
            ("https://[2001:db8::1]:443/a", "https://[2001:db8::1]:443/a"),
            ("ssh://git@example.org/a.git", "ssh://git@example.org/a.git"),
            ("ssh://example.org:2222/~/a", "ssh://example.org:2222/~/a"),
            (
                "git@example.org:/srv/a.git",
                "ssh://git@example.org/srv/a.git",
            ),
            ("git@example.org:a/b.git", "git@example.org:a/b.git"),
            ("example.org:a.git", "example.org:a.git"),
            ("file:///srv/git/a.git", "file:///srv/git/a.git"),
            ("http://example.org/a", "http://example.org/a"),
            ("git://example.org/a", "git://example.org/a"),
        ] {
            let parsed = parse(text).unwrap_or_else(|refused| panic!("{text}: {refused:?}"));
            assert_eq!(parsed.url, url);
            let open = url.starts_with("http://") || url.starts_with("git://");
            assert_eq!(parsed.warning.is_some(), open, "{text}");
        }
    }

    #[test]
    fn urls_that_could_do_something_else_are_refused() {
        for (text, wrong) in [
            ("", "is empty"),
            ("-oProxyCommand=x", "begins with '-'"),
            ("--upload-pack=x", "begins with '-'"),
            ("https://a b/c", "white space"),
            ("https://example.org/a\u{1b}", "white space"),
            ("https://example.org/a%0ab", "white space"),
            ("C:\\repo", "Windows"),
            ("c:/repo", "Windows"),
            ("\\\\server\\share", "Windows"),
            ("https://u:p@example.org/a", "password"),
            ("https://token@example.org/a", "password"),
            ("ssh://u:p@example.org/a", "password"),
            ("u:p@example.org:a", "password"),
            ("ssh://-oProxyCommand=x/a", "host name"),
            ("ssh://-x@example.org/a", "user name"),
            ("ssh://git@-x/a", "host name"),
            ("-x@example.org:a", "begins with '-'"),
            ("git@-x:a", "host name"),
            ("git@example.org:-x", "no repository"),
            ("git@example.org:", "no repository"),
            ("https://example.org", "no repository"),
            ("https://example.org/", "no repository"),
            ("https:///a", "host name"),
            ("https://example.org:0/a", "host name"),
            ("https://example.org:99999/a", "host name"),
            ("https://example.org/a?ref=main", "query"),
            ("https://example.org/a#web1", "query"),
            ("ext::sh -c x", "white space"),
            ("ext::sh", "remote helper"),
            ("ftp://example.org/a", "scheme"),
            ("git+ssh://example.org/a", "scheme"),
            ("github:owner/name", "flake"),
            ("file://srv/a", "absolute"),
            ("file:///", "absolute"),
            ("/srv/git/a.git", "is no URL"),
            ("./a", "is no URL"),
            ("a", "is no URL"),
        ] {
            let refused = parse(text).expect_err(text);
            assert!(refused.wrong.contains(wrong), "{text:?}: {refused:?}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for (text, is) in [
            ("http://proxy:3128", true),
            ("socks5h://[::1]:1080/", true),
            ("http://u:p@proxy:3128", false),
            ("proxy:3128", false),
            ("ftp://proxy", false),
            ("http://proxy/x", false),
            ("http://", false),
        ] {
            assert_eq!(is_proxy(text), is, "{text}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        for (text, shown) in [
            ("https://u:secret@example.org/a", "https://…@example.org/a"),
            ("https://secret@example.org/a", "https://…@example.org/a"),
            ("https://u:se@cret@example.org/a", "https://…@example.org/a"),
            ("ssh://u:secret@example.org/a", "ssh://…@example.org/a"),
            ("u:secret@example.org:a", "…@example.org:a"),
            ("ssh://git@example.org/a", "ssh://git@example.org/a"),
            ("https://example.org/a@b", "https://example.org/a@b"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
