//! Unit files as systemd means them: parsed, with their drop-ins, and compared by meaning.
//!
//! In: text of unit files. Out: whether a running unit has to be restarted, reloaded or left alone. No systemd here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Keys of `[Unit]` that do not concern the running unit.
const IGNORED_UNIT_KEYS: [&str; 13] = [
    "X-Reload-Triggers",
    "Description",
    "Documentation",
    "OnFailure",
    "OnSuccess",
    "OnFailureJobMode",
    "IgnoreOnIsolate",
    "StopWhenUnneeded",
    "RefuseManualStart",
    "RefuseManualStop",
    "AllowIsolate",
    "CollectMode",
    "SourcePath",
];

type Section = BTreeMap<String, Vec<String>>;

/// The meaning of a unit file and its drop-ins, without `[Install]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitFile {
    sections: BTreeMap<String, Section>,
}

/// What a changed file asks of the running unit, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    Nothing,
    Reload,
    Restart,
}

impl UnitFile {
    /// Reads a unit with its drop-ins; an instance also has those of its template.
    pub(crate) fn read(directory: &Path, name: &UnitName) -> Result<Self, String> {
        let mut unit = Self::default();
        let base = directory.join(name.file(directory));
        let text = fs::read_to_string(&base)
            .map_err(|error| format!("cannot read {}: {error}", base.display()))?;
        unit.merge(&text);
        unit.merge_drop_ins(&base);
        let own = directory.join(&name.0);
        if own != base {
            unit.merge_drop_ins(&own);
        }
        Ok(unit)
    }

    #[cfg(test)]
    fn parse(text: &str) -> Self {
        let mut unit = Self::default();
        unit.merge(text);
        unit
    }

    fn merge_drop_ins(&mut self, unit_path: &Path) {
        let directory = format!("{}.d", unit_path.display());
        let mut files: Vec<_> = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "conf"))
            .collect();
        files.sort();
        for file in files {
            self.merge(&fs::read_to_string(file).unwrap_or_default());
        }
    }

    /// Reads one file over what is there: values add up, and an empty value forgets those before it.
    fn merge(&mut self, text: &str) {
        let mut section = String::new();
        let joined = text.replace("\\\n", " ");
        for line in joined.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = name.to_owned();
                if section != "Install" {
                    self.sections.entry(section.clone()).or_default();
                }
            } else if let Some((key, value)) = line.split_once('=')
                && section != "Install"
                && !section.is_empty()
            {
                let keys = self.sections.entry(section.clone()).or_default();
                let values = keys.entry(key.trim().to_owned()).or_default();
                match value.trim() {
                    "" => values.clear(),
                    value => values.push(value.to_owned()),
                }
            }
        }
    }

    /// A boolean setting; the last one given counts.
    pub(crate) fn is_set(&self, section: &str, key: &str, default: bool) -> bool {
        self.values(section, key).last().map_or(default, |value| {
            matches!(value.as_str(), "1" | "yes" | "true" | "on")
        })
    }

    pub(crate) fn values(&self, section: &str, key: &str) -> &[String] {
        self.sections
            .get(section)
            .and_then(|keys| keys.get(key))
            .map_or(&[], Vec::as_slice)
    }

    /// What going from this file to `new` asks of the running unit: the strongest of all differences.
    pub(crate) fn change_to(&self, new: &Self) -> Change {
        let empty = Section::new();
        let names = self.sections.keys().chain(new.sections.keys());
        names
            .map(|name| {
                let in_both = self.sections.contains_key(name) && new.sections.contains_key(name);
                let before = self.sections.get(name).unwrap_or(&empty);
                let after = new.sections.get(name).unwrap_or(&empty);
                match name.as_str() {
                    "Unit" => section_change(name, before, after),
                    "Service" if only_reload_command(before, after) => {
                        section_change(name, before, after)
                    }
                    _ if in_both => section_change(name, before, after),
                    _ => Change::Restart,
                }
            })
            .max()
            .unwrap_or(Change::Nothing)
    }
}

/// A `[Service]` that comes or goes with nothing but `ExecReload` concerns no running process.
fn only_reload_command(before: &Section, after: &Section) -> bool {
    let mut keys = before.keys().chain(after.keys());
    keys.clone().count() == 1 && keys.all(|key| key == "ExecReload")
}

fn section_change(section: &str, before: &Section, after: &Section) -> Change {
    before
        .keys()
        .chain(after.keys())
        .filter(|key| before.get(*key) != after.get(*key))
        .map(
            |key| match (before.contains_key(key), after.contains_key(key)) {
                (true, true) => key_change(section, key, Difference::Altered),
                (false, _) => key_change(section, key, Difference::Added),
                (true, false) => key_change(section, key, Difference::Removed),
            },
        )
        .max()
        .unwrap_or(Change::Nothing)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Difference {
    Added,
    Altered,
    Removed,
}

fn key_change(section: &str, key: &str, difference: Difference) -> Change {
    let stays = difference != Difference::Removed;
    match (section, key) {
        ("Unit", "X-Reload-Triggers") | ("Service", "ExecReload") if stays => Change::Reload,
        // The running process is not concerned, and the new unit cannot be reloaded any more.
        ("Service", "ExecReload") => Change::Nothing,
        ("Mount", "Options") if difference == Difference::Altered => Change::Reload,
        ("Unit", key) if IGNORED_UNIT_KEYS.contains(&key) => Change::Nothing,
        (_, _) => Change::Restart,
    }
}

/// A unit's name, `sshd.service` or `getty@tty1.service`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnitName(pub(crate) String);

impl UnitName {
    /// The file that defines the unit: for an instance without a file of its own, its template.
    pub(crate) fn file(&self, directory: &Path) -> String {
        if !directory.join(&self.0).exists()
            && let Some((template, instance)) = self.0.split_once('@')
            && let Some((_, kind)) = instance.rsplit_once('.')
        {
            return format!("{template}@.{kind}");
        }
        self.0.clone()
    }

    /// The socket that activates this service unless the service names others.
    pub(crate) fn socket(&self) -> String {
        let stem = self.0.rsplit_once('.').map_or(&*self.0, |(stem, _)| stem);
        let stem = stem.split_once('@').map_or(stem, |(template, _)| template);
        format!("{stem}.socket")
    }

    pub(crate) fn is_a(&self, kind: &str) -> bool {
        self.0.rsplit_once('.').is_some_and(|(_, own)| own == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, UnitFile, UnitName};

    #[test]
    fn only_what_concerns_the_running_unit_restarts_it() {
        let cases = [
            ("[Unit]\nA=1", "[Unit]\nA=1", Change::Nothing),
            (
                "[Unit]\nDescription=a",
                "[Unit]\nDescription=b",
                Change::Nothing,
            ),
            ("[Unit]\nDescription=a", "", Change::Nothing),
            ("[Unit]\nX-Reload-Triggers=a", "", Change::Nothing),
            ("", "[Unit]\nX-Reload-Triggers=a", Change::Reload),
            (
                "[Unit]\nX-Reload-Triggers=a",
                "[Unit]\nX-Reload-Triggers=b",
                Change::Reload,
            ),
            (
                "[Unit]\nX-Restart-Triggers=a",
                "[Unit]\nX-Restart-Triggers=b",
                Change::Restart,
            ),
            ("[Unit]\nAfter=a.service", "", Change::Restart),
            (
                "[Service]\nExecStart=a",
                "[Service]\nExecStart=b",
                Change::Restart,
            ),
            (
                "[Service]\nExecStart=a\nExecReload=b",
                "[Service]\nExecStart=a",
                Change::Nothing,
            ),
            (
                "[Service]\nExecStart=a",
                "[Service]\nExecStart=a\nExecReload=b",
                Change::Reload,
            ),
            ("[Service]\nExecReload=a", "", Change::Nothing),
            ("", "[Service]\nExecReload=a", Change::Reload),
            (
                "[Unit]\nA=1",
                "[Unit]\nA=1\n[Service]\nExecStart=y",
                Change::Restart,
            ),
            ("[Mount]\nOptions=ro", "[Mount]\nOptions=rw", Change::Reload),
            (
                "[Mount]\nWhat=a",
                "[Mount]\nWhat=a\nOptions=ro",
                Change::Restart,
            ),
            ("[Mount]\nType=ext4", "[Mount]\nType=btrfs", Change::Restart),
            ("[Other]", "", Change::Restart),
            (
                "[Install]\nWantedBy=a.target",
                "[Install]\nWantedBy=b.target",
                Change::Nothing,
            ),
            (
                "[Timer]\nOnCalendar=daily",
                "[Timer]\nOnCalendar=weekly",
                Change::Restart,
            ),
        ];
        for (before, after, expected) in cases {
            let change = UnitFile::parse(before).change_to(&UnitFile::parse(after));
            assert_eq!(change, expected, "from {before:?} to {after:?}");
        }
    }

    #[test]
    fn an_empty_value_forgets_the_values_before_it() {
        let unit = UnitFile::parse("[Service]\nExecStart=a\nExecStart=\nExecStart=b\\\n  c\n");
        assert_eq!(unit.values("Service", "ExecStart"), ["b   c"]);
    }

    #[test]
    fn the_last_of_several_booleans_counts() {
        let unit = UnitFile::parse("[Service]\nX-RestartIfChanged=true\nX-RestartIfChanged=false");
        assert!(!unit.is_set("Service", "X-RestartIfChanged", true));
        assert!(unit.is_set("Service", "X-StopIfChanged", true));
    }

    #[test]
    fn an_instance_is_defined_by_its_template() {
        let nowhere = std::path::Path::new("/nonexistent");
        let instance = UnitName("web@a.b.service".into());
        assert_eq!(instance.file(nowhere), "web@.service");
        assert_eq!(instance.socket(), "web.socket");
    }
}
