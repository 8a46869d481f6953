//! What another version's configuration says of remote, machine and times, read
//! leniently: it may hold keys that this version does not know.
//!
//! In: the text of a file that another daemon is going to read. Out: the few
//! things that a guard compares, and that the guardian has to wait for. Must not: judge the file; the daemon that
//! reads it does.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::{Table, Value};

use super::{duration, schema, url};
use crate::model::credential::{Credential, Use};

/// What counts as a time: another version's bounds may be other ones, but what
/// is longer than a week would only keep a guardian from ever acting.
const TIMES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 60 * 60);

/// The few things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gist {
    /// URL and branch of each remote.
    remotes: Vec<(String, String)>,
    /// What its remotes are shown.
    pub(crate) credentials: Vec<Credential>,
    /// The machine that it is for, in lower case.
    pub(crate) machine_id: Option<String>,
    /// How long a deployment may take until it is confirmed.
    pub(crate) times: Times,
}

/// What the time from an activation to its confirmation is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// `deadlines.activate`.
    pub(crate) activate: Duration,
    /// `deadlines.probe`.
    pub(crate) probe: Duration,
    /// `health.probe_deadline`.
    pub(crate) probe_deadline: Duration,
    /// `health.confirm_window`.
    pub(crate) confirm_window: Duration,
}

impl Default for Times {
    /// What holds where the file says nothing.
    fn default() -> Self {
        Self {
            activate: schema::DEFAULT_ACTIVATE,
            probe: schema::DEFAULT_PROBE,
            probe_deadline: schema::DEFAULT_PROBE_DEADLINE,
            confirm_window: schema::DEFAULT_CONFIRM_WINDOW,
        }
    }
}

/// For the guards, which hosts have.
#[cfg(target_os = "linux")]
impl Gist {
    /// Whether one of its remotes is that branch of that URL.
    pub(crate) fn follows(&self, url: &str, branch: &str) -> bool {
        self.remotes
            .iter()
            .any(|(its_url, its_branch)| its_url == url && its_branch == branch)
    }

    /// Whether it names more than one.
    pub(crate) fn has_several_remotes(&self) -> bool {
        self.remotes.len() > 1
    }

    /// Its remotes as people read them.
    pub(crate) fn remotes(&self) -> String {
        let remotes: Vec<_> = self
            .remotes
            .iter()
            .map(|(url, branch)| format!("{}, branch {branch}", url::redacted(url)))
            .collect();
        if remotes.is_empty() {
            "no remote".to_owned()
        } else {
            remotes.join(" and ")
        }
    }
}

/// Reads the text; or why it is no TOML.
pub(crate) fn gist(text: &str) -> Result<Gist, String> {
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.message().to_owned())?;
    let remotes = table.get("remote").and_then(Value::as_array);
    Ok(Gist {
        credentials: remotes
            .into_iter()
            .flatten()
            .flat_map(credentials)
            .collect(),
        remotes: remotes.into_iter().flatten().filter_map(remote).collect(),
        machine_id: string(&table, "machine_id").map(str::to_ascii_lowercase),
        times: times(&table),
    })
}

/// What is not there, or is no time, has its default.
fn times(table: &Table) -> Times {
    let time = |section: &str, key: &str, default| {
        let section = table.get(section).and_then(Value::as_table);
        let text = section.and_then(|section| string(section, key));
        let time = text.and_then(|text| duration::parse(text, &TIMES).ok());
        time.unwrap_or(default)
    };
    let defaults = Times::default();
    Times {
        activate: time("deadlines", "activate", defaults.activate),
        probe: time("deadlines", "probe", defaults.probe),
        probe_deadline: time("health", "probe_deadline", defaults.probe_deadline),
        confirm_window: time("health", "confirm_window", defaults.confirm_window),
    }
}

fn remote(value: &Value) -> Option<(String, String)> {
    let table = value.as_table()?;
    let written = string(table, "url")?;
    // A form that this version does not know is compared as it is written.
    let url = url::parse(written).map_or_else(|_| written.to_owned(), |parsed| parsed.url);
    let branch = string(table, "branch").unwrap_or("main");
    Some((url, branch.to_owned()))
}

/// What systemd would not take is left out: it would start nothing at all.
fn credentials(value: &Value) -> Vec<Credential> {
    let Some(table) = value.as_table() else {
        return Vec::new();
    };
    let name = string(table, "name").unwrap_or(schema::DEFAULT_REMOTE);
    let credential = |of: Use| {
        let source = PathBuf::from(string(table, of.key())?);
        let is_file_name = !name.is_empty() && !name.contains(['/', ':']);
        (is_file_name && schema::is_plain_and_absolute(&source)).then(|| Credential {
            name: of.of(name),
            source,
        })
    };
    Use::ALL.into_iter().filter_map(credential).collect()
}

fn string<'t>(table: &'t Table, key: &str) -> Option<&'t str> {
    table.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_version_s_keys_are_passed_over() {
        let gist = gist(
            "machine_id = \"0123456789ABCDEF0123456789abcdef\"\nlater = { a = 1 }\n\
             [[remote]]\nurl = \"git@example.org:/srv/a.git\"\npriority = 1\n\
             [[remote]]\nurl = \"https://example.org/b\"\nbranch = \"next\"\n\
             name = \"b\"\nidentity_file = \"/keys/b\"\n",
        )
        .expect("it is TOML");
        assert!(gist.follows("ssh://git@example.org/srv/a.git", "main"));
        assert!(gist.follows("https://example.org/b", "next"));
        let credential = Credential {
            name: "b.identity".to_owned(),
            source: "/keys/b".into(),
        };
        assert_eq!(gist.credentials, [credential]);
        assert!(!gist.follows("https://example.org/b", "main"));
        assert_eq!(
            gist.machine_id.as_deref(),
            Some("0123456789abcdef0123456789abcdef")
        );
        assert_eq!(
            gist.remotes(),
            "ssh://git@example.org/srv/a.git, branch main and https://example.org/b, branch next"
        );
    }

    #[test]
    fn times_are_those_of_the_file_or_their_defaults() {
        let found = gist(
            "[health]\nconfirm_window = \"30m\"\nlater = 1\nprobe_deadline = 7\n\
             [deadlines]\nprobe = \"1m30s\"\nactivate = \"1000d\"\n",
        );
        let expected = Times {
            confirm_window: Duration::from_secs(30 * 60),
            probe: Duration::from_secs(90),
            ..Times::default()
        };
        assert_eq!(found.expect("it is TOML").times, expected);
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        let nothing = gist("remote = 1\nmachine_id = 2\n").expect("it is TOML");
        assert_eq!(nothing, Gist::default());
        assert_eq!(nothing.remotes(), "no remote");
        assert!(gist("remote = ").is_err());
    }
}
