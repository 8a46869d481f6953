//! What a switch does to each unit, as data.
//!
//! In: the units that run, the unit directories of the running and the new system, what an interrupted switch left.
//! Out: [`Plan`]. Nothing is done here, and nothing is written.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::lists::List;
use crate::systemd::{Unit, Units};
use crate::unit_file::{Change, UnitFile, UnitName};

/// Where NixOS's units stand; those from elsewhere are never touched.
pub(crate) const UNIT_DIRECTORY: &str = "/etc/systemd/system";

/// Targets that are active for other reasons than having been started.
const SLEEP_TARGETS: [&str; 3] = ["suspend.target", "hibernate.target", "hybrid-sleep.target"];

/// The units to act on, by act.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) stop: BTreeSet<String>,
    pub(crate) start: BTreeSet<String>,
    pub(crate) restart: BTreeSet<String>,
    pub(crate) reload: BTreeSet<String>,
    /// Changed, and left alone because they ask for it.
    pub(crate) skip: BTreeSet<String>,
    /// Targets: started at every switch, so nobody wants to read it.
    pub(crate) unmentioned: BTreeSet<String>,
}

impl Plan {
    /// Goes on where an interrupted switch stopped.
    pub(crate) fn from_lists() -> Self {
        Self {
            start: List::Start.read(),
            restart: List::Restart.read(),
            reload: List::Reload.read(),
            ..Self::default()
        }
    }

    /// Writes down what is to be done, so that the next switch does it if this one is interrupted.
    pub(crate) fn record(&self) -> Result<(), String> {
        List::Start.record(&self.start)?;
        List::Restart.record(&self.restart)?;
        List::Reload.record(&self.reload)
    }

    /// Adds what every running unit needs on the way to the unit files in `new`. `ours` are the units that systemd
    /// has from [`UNIT_DIRECTORY`].
    pub(crate) fn add_changes(
        &mut self,
        running: &Units,
        ours: &BTreeSet<UnitName>,
        new: &Path,
    ) -> Result<(), String> {
        for name in ours {
            self.add_unit(name, running, Path::new(UNIT_DIRECTORY), new)?;
        }
        Ok(())
    }

    fn add_unit(
        &mut self,
        name: &UnitName,
        running: &Units,
        old: &Path,
        new: &Path,
    ) -> Result<(), String> {
        if is_gone(&new.join(name.file(new)))? {
            if UnitFile::read(old, name)?.is_set("Unit", "X-StopOnRemoval", true) {
                self.stop.insert(name.0.clone());
            }
            return Ok(());
        }
        let after = UnitFile::read(new, name)?;
        if name.is_a("target") {
            self.add_target(name, &after);
            return Ok(());
        }
        match UnitFile::read(old, name)?.change_to(&after) {
            Change::Nothing => {}
            Change::Reload if self.restart.contains(&name.0) => {}
            Change::Reload => {
                self.reload.insert(name.0.clone());
            }
            Change::Restart => self.add_changed(name, &after, running, new),
        }
        Ok(())
    }

    /// Active targets are started again, which starts what is new below them.
    fn add_target(&mut self, name: &UnitName, after: &UnitFile) {
        let startable = !after.is_set("Unit", "RefuseManualStart", false)
            && !after.is_set("Unit", "X-OnlyManualStart", false)
            && !SLEEP_TARGETS.contains(&name.0.as_str());
        if startable {
            self.start.insert(name.0.clone());
            self.unmentioned.insert(name.0.clone());
        }
        if after.is_set("Unit", "X-StopOnReconfiguration", false) {
            self.stop.insert(name.0.clone());
        }
    }

    /// A unit whose file asks for more than a reload.
    fn add_changed(&mut self, name: &UnitName, after: &UnitFile, running: &Units, new: &Path) {
        let unit = name.0.clone();
        if is_left_to_daemon_reload(name) || name.is_a("socket") {
        } else if name.is_a("mount") {
            match unit.as_str() {
                "-.mount" | "nix.mount" => self.reload.insert(unit),
                _ => self.restart.insert(unit),
            };
        } else if after.is_set("Service", "X-ReloadIfChanged", false)
            && !self.restart.contains(&unit)
            && !self.stop.contains(&unit)
        {
            self.reload.insert(unit);
        } else if !after.is_set("Service", "X-RestartIfChanged", true)
            || after.is_set("Unit", "RefuseManualStop", false)
            || after.is_set("Unit", "X-OnlyManualStart", false)
        {
            self.skip.insert(unit);
        } else {
            self.reload.remove(&unit);
            if !after.is_set("Service", "X-StopIfChanged", true) || !name.is_a("service") {
                self.restart.insert(unit);
            } else {
                self.stop_and_start(name, after, running, new);
            }
        }
    }

    /// The usual way of a service: stopped before the activation, started after it, itself or by its socket.
    fn stop_and_start(&mut self, name: &UnitName, after: &UnitFile, running: &Units, new: &Path) {
        let mut by_socket = false;
        for socket in sockets_of(name, after) {
            let stays = new.join(&socket).exists();
            if running.contains_key(&UnitName(socket.clone())) {
                self.stop.insert(socket.clone());
                if stays {
                    self.start.insert(socket);
                }
            }
            by_socket |= stays;
        }
        if !by_socket || after.is_set("Service", "X-NotSocketActivated", false) {
            self.start.insert(name.0.clone());
        }
        self.stop.insert(name.0.clone());
    }

    /// Takes up what the activation script asked for in its lists (deprecated in NixOS, still kept).
    pub(crate) fn add_requests_of_activation(&mut self, before: &Units, new: &Path) {
        for unit in List::ActivationRestart.read() {
            let name = UnitName(unit);
            if !before.contains_key(&name) {
                self.start.insert(name.0);
                continue;
            }
            // Its file may be the same; it is restarted all the same, and not stopped: that phase is over.
            let after = UnitFile::read(new, &name).unwrap_or_default();
            if after.is_set("Service", "X-ReloadIfChanged", false) {
                self.reload.insert(name.0);
            } else if after.is_set("Service", "X-RestartIfChanged", true) {
                self.restart.insert(name.0);
            } else {
                self.skip.insert(name.0);
            }
        }
        for unit in List::ActivationReload.read() {
            let known = before.contains_key(&UnitName(unit.clone()));
            if known && !self.restart.contains(&unit) && !self.stop.contains(&unit) {
                self.reload.insert(unit);
            }
        }
    }

    /// What was to be reloaded and is not active any more is started instead, if it can be.
    pub(crate) fn start_what_cannot_be_reloaded(&mut self, now: &Units, new: &Path) {
        let active = |unit: &String| {
            now.get(&UnitName(unit.clone()))
                .is_some_and(Unit::is_active)
        };
        let (stays, inactive) = self.reload.iter().cloned().partition(active);
        self.reload = stays;
        let inactive: BTreeSet<String> = inactive;
        for unit in inactive {
            let file = UnitFile::read(new, &UnitName(unit.clone()));
            if file.is_ok_and(|file| !file.is_set("Unit", "RefuseManualStart", false)) {
                self.start.insert(unit);
            }
        }
    }
}

/// Paths and slices take their changes from `daemon-reload`; these targets are pulled in by others.
fn is_left_to_daemon_reload(name: &UnitName) -> bool {
    let special = [
        "sysinit.target",
        "basic.target",
        "multi-user.target",
        "graphical.target",
    ];
    name.is_a("path") || name.is_a("slice") || special.contains(&name.0.as_str())
}

fn sockets_of(name: &UnitName, after: &UnitFile) -> Vec<String> {
    let named = after.values("Service", "Sockets").join(" ");
    match named
        .split_whitespace()
        .map(String::from)
        .collect::<Vec<_>>()
    {
        named if named.is_empty() => vec![name.socket()],
        named => named,
    }
}

/// Missing or masked.
fn is_gone(unit_file: &Path) -> Result<bool, String> {
    match fs::canonicalize(unit_file) {
        Ok(target) => Ok(target == Path::new("/dev/null")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(format!("cannot read {}: {error}", unit_file.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Plan;
    use crate::systemd::{Unit, Units};
    use crate::unit_file::UnitName;

    /// Plans the way from one version of a running unit to another.
    fn plan(unit: &str, before: &str, after: Option<&str>) -> Plan {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        fs::create_dir_all(&old).expect("a directory");
        fs::create_dir_all(&new).expect("a directory");
        fs::write(old.join(unit), before).expect("a unit file");
        if let Some(after) = after {
            fs::write(new.join(unit), after).expect("a unit file");
        }
        let name = UnitName(unit.to_owned());
        let running = Units::from([(name.clone(), Unit::running(unit))]);
        let mut plan = Plan::default();
        plan.add_unit(&name, &running, &old, &new)
            .expect("readable unit files");
        plan
    }

    /// Letters for what is planned: Stop, sTart, Restart, reLoad, sKip.
    fn summary(plan: &Plan) -> String {
        let parts = [
            ('S', &plan.stop),
            ('T', &plan.start),
            ('R', &plan.restart),
            ('L', &plan.reload),
            ('K', &plan.skip),
        ];
        parts
            .into_iter()
            .filter(|(_, units)| !units.is_empty())
            .map(|(letter, _)| letter)
            .collect()
    }

    #[test]
    fn a_changed_unit_is_treated_as_it_asks() {
        let service = |extra: &str| format!("[Service]\nExecStart=b\n{extra}\n");
        let cases = [
            ("a.service", service(""), "ST"),
            ("a.service", service("X-StopIfChanged=false"), "R"),
            ("a.service", service("X-RestartIfChanged=false"), "K"),
            ("a.service", service("X-ReloadIfChanged=true"), "L"),
            (
                "a.service",
                service("X-ReloadIfChanged=true\nX-RestartIfChanged=false"),
                "L",
            ),
            ("a.service", service("[Unit]\nRefuseManualStop=true"), "K"),
            ("a.service", service("[Unit]\nX-OnlyManualStart=true"), "K"),
            ("a.timer", service(""), "R"),
            ("a.path", service(""), ""),
            ("a.slice", service(""), ""),
            ("a.socket", service(""), ""),
            ("a.mount", service(""), "R"),
            ("nix.mount", service(""), "L"),
            ("a.target", service(""), "T"),
            (
                "a.target",
                service("[Unit]\nX-StopOnReconfiguration=true"),
                "ST",
            ),
            ("suspend.target", service(""), ""),
        ];
        for (unit, after, expected) in cases {
            let plan = plan(unit, "[Service]\nExecStart=a\n", Some(&after));
            assert_eq!(summary(&plan), expected, "{unit} with {after:?}");
        }
    }

    #[test]
    fn a_removed_unit_is_stopped_unless_its_old_file_forbids_it() {
        assert_eq!(
            summary(&plan("a.service", "[Service]\nExecStart=a\n", None)),
            "S"
        );
        assert_eq!(
            summary(&plan("a.service", "[Unit]\nX-StopOnRemoval=false\n", None)),
            ""
        );
    }

    #[test]
    fn an_unchanged_unit_is_left_alone() {
        let text = "[Service]\nExecStart=a\n";
        assert_eq!(summary(&plan("a.service", text, Some(text))), "");
    }
}
