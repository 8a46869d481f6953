//! With what Nix fetches inputs and submodules: the credentials of each remote,
//! for its own server, and what the operator adds for others.
//!
//! In: the remotes and the flake's settings. Out: credentials of the step's
//! unit, and an environment that names them. Must not: put a secret into
//! arguments or environment, or show one to another server.
//!
//! Nix fetches `git+https` and submodules with git, which asks a helper for
//! exactly that scheme, host and port; `git+ssh` with ssh; and the rest by
//! itself, with its own settings.

use std::path::PathBuf;

use crate::config::Remote;
use crate::model::credential::{Credential, Use};
use crate::model::flake::Flake;
use crate::model::remote::TokenAs;
use crate::model::stage::UnitStep;

/// As what the unit finds Nix's settings.
const NIX_CONFIG: &str = "nix.conf";

/// What the step's unit gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Files of systemd's making.
    pub credentials: Vec<Credential>,
    /// Where to look for them.
    pub(super) environment: Vec<(String, String)>,
}

impl Inputs {
    /// What is needed for the inputs of a flake that comes from one of these.
    pub fn new(remotes: &[Remote], flake: &Flake) -> Self {
        let credentials = remotes.iter().flat_map(|remote| remote.credentials.clone());
        let mut credentials: Vec<Credential> = credentials.collect();
        let mut environment = git_config(remotes);
        environment.extend(ssh(remotes).map(|ssh| ("GIT_SSH_COMMAND".to_owned(), ssh)));
        if let Some(source) = &flake.nix_config {
            credentials.push(Credential {
                name: NIX_CONFIG.to_owned(),
                source: source.clone(),
            });
            let file = unit_file(NIX_CONFIG).display().to_string();
            environment.push(("NIX_USER_CONF_FILES".to_owned(), file));
        }
        Self {
            credentials,
            environment,
        }
    }
}

impl Inputs {
    /// The environment of the step, over what it has without: systemd takes no
    /// variable twice.
    pub(super) fn environment_over(&self, base: Vec<(String, String)>) -> Vec<(String, String)> {
        let own = &self.environment;
        let is_left = |(name, _): &(String, String)| own.iter().all(|(it, _)| it != name);
        let left = base.into_iter().filter(is_left);
        left.chain(own.iter().cloned()).collect()
    }
}

fn has(remote: &Remote, of: Use) -> bool {
    let name = of.of(&remote.name);
    remote.credentials.iter().any(|it| it.name == name)
}

/// Where the unit finds a credential.
fn unit_file(name: &str) -> PathBuf {
    PathBuf::from("/run/credentials")
        .join(UnitStep::Evaluate.unit())
        .join(name)
}

/// Settings of git for the remotes' own servers. Of two remotes at one server
/// the first says how that is asked.
fn git_config(remotes: &[Remote]) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = Vec::new();
    for (key, value) in remotes.iter().flat_map(settings_for) {
        if settings.iter().all(|(known, _)| *known != key) {
            settings.push((key, value));
        }
    }
    variables(settings)
}

fn settings_for(remote: &Remote) -> Vec<(String, String)> {
    let Some(origin) = origin(&remote.address.url) else {
        return Vec::new();
    };
    let access = &remote.address.access;
    let mut settings = Vec::new();
    if has(remote, Use::Token)
        && let TokenAs::Password { user } = &access.token
    {
        let file = unit_file(&Use::Token.of(&remote.name));
        let tell = format!(
            "!f() {{ test \"$1\" != get || printf 'username=%s\\npassword=%s\\n' '{user}' \"$(cat '{}')\"; }}; f",
            file.display()
        );
        settings.push((format!("credential.{origin}.helper"), tell));
        // Whoever is redirected may be led to another server.
        let follow = format!("http.{origin}.followRedirects");
        settings.push((follow, "false".to_owned()));
    }
    if let Some(file) = &access.ca_file {
        let file = file.display().to_string();
        settings.push((format!("http.{origin}.sslCAInfo"), file));
    }
    if let Some(proxy) = &access.proxy {
        settings.push((format!("http.{origin}.proxy"), proxy.clone()));
    }
    settings
}

/// Settings as git takes them from the environment.
fn variables(settings: Vec<(String, String)>) -> Vec<(String, String)> {
    if settings.is_empty() {
        return Vec::new();
    }
    let count = ("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string());
    let pairs = settings.into_iter().enumerate();
    let pairs = pairs.flat_map(|(number, (key, value))| {
        [
            (format!("GIT_CONFIG_KEY_{number}"), key),
            (format!("GIT_CONFIG_VALUE_{number}"), value),
        ]
    });
    std::iter::once(count).chain(pairs).collect()
}

/// Scheme, host and port of an https URL.
fn origin(url: &str) -> Option<String> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    Some(format!("https://{authority}"))
}

/// The keys of servers are those that the host knows: inputs may be anywhere.
/// None: no remote has a key to show.
fn ssh(remotes: &[Remote]) -> Option<String> {
    let shown = remotes.iter().filter(|remote| has(remote, Use::Identity));
    let files = shown.map(|remote| unit_file(&Use::Identity.of(&remote.name)));
    let keys: Vec<String> = files.map(|file| format!("-i {}", file.display())).collect();
    (!keys.is_empty()).then(|| {
        format!(
            "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o IdentityAgent=none \
             -o IdentitiesOnly=yes -o ConnectTimeout=10 -o ServerAliveInterval=10 {}",
            keys.join(" ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn inputs(text: &str) -> Inputs {
        let (config, _) = config::parse("config.toml", text).expect(text);
        Inputs::new(&config.remotes, &config.flake)
    }

    #[test]
    fn without_credentials_nothing_is_added() {
        let inputs = inputs("[[remote]]\nurl = \"https://example.org/a\"\n");
        assert_eq!((inputs.credentials, inputs.environment), (vec![], vec![]));
    }

    #[test]
    fn a_token_is_named_for_its_own_server_alone() {
        let inputs = inputs(
            "[[remote]]\nurl = \"https://example.org:81/a\"\ntoken_file = \"/k/t\"\n\
             [evaluate]\nnix_config_file = \"/k/nix\"\n",
        );
        let base = vec![("NIX_USER_CONF_FILES".to_owned(), String::new())];
        let all = inputs.environment_over(base);
        assert_eq!(all, inputs.environment, "no variable is given twice");
        let names: Vec<_> = inputs.credentials.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["origin.token", "nix.conf"]);
        let value = |name: &str| {
            let found = inputs.environment.iter().find(|(it, _)| it == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        assert_eq!(value("GIT_CONFIG_COUNT"), "2");
        assert_eq!(
            value("GIT_CONFIG_KEY_0"),
            "credential.https://example.org:81.helper"
        );
        let file = "/run/credentials/deploy-flake-evaluate.service/origin.token";
        assert!(value("GIT_CONFIG_VALUE_0").contains(file));
        assert_eq!(
            value("NIX_USER_CONF_FILES"),
            "/run/credentials/deploy-flake-evaluate.service/nix.conf"
        );
    }

    #[test]
    fn each_server_is_shown_what_is_its_own_and_the_first_remote_of_a_server_counts() {
        let inputs = inputs(
            "[[remote]]\nurl = \"https://example.org/a\"\ntoken_file = \"/k/a\"\n\
             [[remote]]\nname = \"b\"\nurl = \"https://example.org/b\"\ntoken_file = \"/k/b\"\n\
             [[remote]]\nname = \"c\"\nurl = \"https://c.example.org/c\"\nproxy = \"http://p:1\"\n\
             [[remote]]\nname = \"d\"\nurl = \"git@d.example.org:a\"\nidentity_file = \"/k/d\"\n\
             [[remote]]\nname = \"e\"\nurl = \"git@e.example.org:a\"\nidentity_file = \"/k/e\"\n",
        );
        let names: Vec<_> = inputs.credentials.iter().map(|it| &*it.name).collect();
        assert_eq!(
            names,
            ["origin.token", "b.token", "d.identity", "e.identity"]
        );
        let value = |name: &str| {
            let found = inputs.environment.iter().find(|(it, _)| it == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        assert_eq!(value("GIT_CONFIG_COUNT"), "3");
        assert!(value("GIT_CONFIG_VALUE_0").contains("/origin.token"));
        assert_eq!(
            value("GIT_CONFIG_KEY_2"),
            "http.https://c.example.org.proxy"
        );
        let keys = "-i /run/credentials/deploy-flake-evaluate.service/d.identity \
                    -i /run/credentials/deploy-flake-evaluate.service/e.identity";
        assert!(value("GIT_SSH_COMMAND").ends_with(keys));
    }

    #[test]
    fn a_bearer_s_token_is_not_for_git() {
        let inputs = inputs(
            "[[remote]]\nurl = \"https://example.org/a\"\ntoken_file = \"/k/t\"\ntoken_as = \"bearer\"\n",
        );
        assert_eq!(inputs.environment, []);
    }
}
