//! What another version's configuration says of remote and machine, read
//! leniently: it may hold keys that this version does not know.
//!
//! In: the text of a file that another daemon is going to read. Out: the few
//! things that a guard compares. Must not: judge the file; the daemon that
//! reads it does.

use toml::{Table, Value};

use super::url;

/// The few things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gist {
    /// URL and branch of each remote.
    remotes: Vec<(String, String)>,
    /// The machine that it is for, in lower case.
    pub(crate) machine_id: Option<String>,
}

impl Gist {
    /// Whether one of its remotes is that branch of that URL.
    pub(crate) fn follows(&self, url: &str, branch: &str) -> bool {
        self.remotes
            .iter()
            .any(|(its_url, its_branch)| its_url == url && its_branch == branch)
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
        remotes: remotes.into_iter().flatten().filter_map(remote).collect(),
        machine_id: string(&table, "machine_id").map(str::to_ascii_lowercase),
    })
}

fn remote(value: &Value) -> Option<(String, String)> {
    let table = value.as_table()?;
    let written = string(table, "url")?;
    // A form that this version does not know is compared as it is written.
    let url = url::parse(written).map_or_else(|_| written.to_owned(), |parsed| parsed.url);
    let branch = string(table, "branch").unwrap_or("main");
    Some((url, branch.to_owned()))
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
             [[remote]]\nurl = \"https://example.org/b\"\nbranch = \"next\"\n",
        )
        .expect("it is TOML");
        assert!(gist.follows("ssh://git@example.org/srv/a.git", "main"));
        assert!(gist.follows("https://example.org/b", "next"));
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
    fn what_is_not_there_is_not_made_up() {
        let nothing = gist("remote = 1\nmachine_id = 2\n").expect("it is TOML");
        assert_eq!(nothing, Gist::default());
        assert_eq!(nothing.remotes(), "no remote");
        assert!(gist("remote = ").is_err());
    }
}
