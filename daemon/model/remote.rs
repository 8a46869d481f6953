//! Where a remote is, and how it is asked.
//!
//! In: what the configuration says. Out: plain data, with nothing secret to be
//! shown. Must not: hold a secret other than one that stands in a URL.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::revision::Branch;

/// Where a branch is to be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteAddress {
    /// The remote's name in the configuration.
    pub name: String,
    /// The URL, validated by `config`.
    pub url: String,
    /// The branch.
    pub branch: Branch,
    /// How it is asked, as far as that is no secret.
    #[serde(default)]
    pub access: Access,
}

/// What the configuration says of how a remote is asked. Secrets are no part
/// of it: those are credentials of the unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// The keys that the ssh server may have, as known_hosts(5) has them; none:
    /// those that the host knows.
    pub host_keys: Vec<String>,
    /// As what an https server gets the token.
    pub token: TokenAs,
    /// Certificate authorities for this remote.
    pub ca_file: Option<PathBuf>,
    /// Through which proxy it is asked; None: what the environment says.
    pub proxy: Option<String>,
}

/// As what a token is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenAs {
    /// As the password of this user.
    Password {
        /// The user.
        user: String,
    },
    /// As itself.
    Bearer,
}

impl TokenAs {
    /// Whom most servers take for the bearer of a token, if they look at all.
    pub const USER: &str = "git";
}

impl Default for TokenAs {
    fn default() -> Self {
        Self::Password {
            user: Self::USER.to_owned(),
        }
    }
}

impl RemoteAddress {
    /// Whether it is asked by ssh, be it in ssh's short form.
    pub fn is_ssh(&self) -> bool {
        self.url.starts_with("ssh://") || !self.url.contains("://")
    }

    /// The URL as it may be shown: without name and password, which may be a
    /// token. The bare name in an ssh URL is none.
    pub fn shown_url(&self) -> String {
        match secret_part(&self.url) {
            Some(secret) => self.url.replacen(&format!("{secret}@"), "", 1),
            None => self.url.clone(),
        }
    }
}

/// `user:password` of `scheme://user:password@host/path`.
pub(crate) fn secret_part(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (user, _host) = authority.rsplit_once('@')?;
    (scheme != "ssh" || user.contains(':')).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("https://example.org/r.git", "https://example.org/r.git"),
            ("https://a:b@example.org/r@1", "https://example.org/r@1"),
            ("https://t@k@example.org:81/", "https://example.org:81/"),
            ("ssh://git@example.org/r", "ssh://git@example.org/r"),
            ("ssh://git:pw@example.org/r", "ssh://example.org/r"),
        ] {
            let remote = RemoteAddress {
                name: "origin".to_owned(),
                url: url.to_owned(),
                branch: Branch::try_from("main".to_owned()).expect("a branch name"),
                access: Access::default(),
            };
            assert_eq!(remote.shown_url(), shown);
        }
    }
}
