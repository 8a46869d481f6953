//! A transient unit as plain data, and the properties that systemd takes.
//!
//! In: what to run, as whom, for how long, in which sandbox. Out: properties
//! for `StartTransientUnit`. Must not: call anything.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use zbus::{Fd, Variant};

use super::proxies::Property;

/// How long a unit may take to end by itself once it is asked to; then it is
/// killed as a whole cgroup.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How soon a unit that was killed comes back.
const COMEBACK_PAUSE: Duration = Duration::from_secs(1);

/// With which status a unit ends whose credentials could not be loaded
/// (systemd.exec(5), "Process Exit Codes").
pub const CREDENTIALS_STATUS: i32 = 243;

/// So often it may be started in so much time.
const COMEBACKS: u32 = 10;
const COMEBACK_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// A unit without a file, started over the bus.
#[derive(Debug)]
pub struct TransientUnit {
    /// Its name, with `.service`.
    pub name: String,
    /// Its description, by which it is recognised later.
    pub description: String,
    /// What becomes of it when its commands end.
    pub kind: Kind,
    /// Argument vectors, each with an absolute program, one after the other.
    pub commands: Vec<Vec<String>>,
    /// Who runs it; None: root.
    pub user: Option<String>,
    /// Groups besides the user's own.
    pub supplementary_groups: Vec<String>,
    /// How long it may run.
    pub deadline: Option<Duration>,
    /// Its environment, besides what systemd sets.
    pub environment: Vec<(String, String)>,
    /// Its standard input; None: nothing to read.
    pub stdin: Option<OwnedFd>,
    /// Its standard output; standard error always goes to the journal.
    pub stdout: StandardOutput,
    /// What its lines are called in the journal.
    pub syslog_identifier: Option<String>,
    /// Fields on each of its lines in the journal: name and value.
    pub log_fields: Vec<(String, String)>,
    /// What it cannot do.
    pub sandbox: Sandbox,
    /// Whether it sees the network.
    pub network: Network,
    /// Its directory below `/var/cache`, made by systemd for its user.
    pub cache_directory: Option<CacheDirectory>,
    /// Files that systemd reads as root and hands to it alone, in memory: the
    /// name below `$CREDENTIALS_DIRECTORY`, and the file.
    pub credentials: Vec<(String, PathBuf)>,
    /// How readily the kernel ends it when memory runs out.
    pub oom_score_adjust: Option<i32>,
    /// How much memory it may use.
    pub memory_max: Option<u64>,
    /// Whether a shutdown ends it in its turn.
    pub at_shutdown: AtShutdown,
    /// Whether it makes cgroups of its own below its own.
    pub delegate: bool,
    /// What follows when somebody kills it.
    pub when_killed: WhenKilled,
    /// Whether its main process tells systemd how far it is.
    pub tells: bool,
}

/// What a shutdown does to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtShutdown {
    /// It is stopped, as ordinary units are.
    Stopped,
    /// It is waited for, as long as its deadline says: half-done it would be
    /// worse than a shutdown that is late. Only for what has a deadline.
    WaitedFor,
    /// It goes on until the last processes are killed: it may be what brought
    /// the shutdown about, and has to see it through.
    GoesOn,
}

/// What follows when a unit is killed: not stopped, and not ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenKilled {
    /// It has failed.
    Fails,
    /// It is started again, a few times.
    ComesBack,
}

/// What becomes of a unit when its commands end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It runs to its end, and remains with its result until it is let go.
    OneShot,
    /// It is a service; it remains only if it fails.
    Exec,
}

/// Where standard output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandardOutput {
    /// To the journal, with standard error.
    Journal,
    /// To the end of a file that systemd opens as root. (`truncate:` would
    /// keep the last command's output only.)
    File(PathBuf),
}

/// What a unit cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Nothing is forbidden: for what switches the system.
    None,
    /// No privileges, none to gain, and no place to write to but its own
    /// cache directory and a private `/tmp`.
    Strict,
}

/// Whether a unit sees the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    Host,
    /// The host's, by internet and local sockets only. The resolver of the C
    /// library asks for the host's addresses by netlink.
    Internet,
    /// A loopback of its own, and nothing else.
    None,
}

/// A directory below `/var/cache` that belongs to the unit's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDirectory {
    /// Its path below `/var/cache`.
    pub name: String,
    /// Its mode.
    pub mode: u32,
}

impl TransientUnit {
    /// A unit run by root, without deadline or sandbox.
    pub fn new(name: impl Into<String>, kind: Kind, commands: Vec<Vec<String>>) -> Self {
        let name = name.into();
        Self {
            description: name.clone(),
            name,
            kind,
            commands,
            user: None,
            supplementary_groups: Vec::new(),
            deadline: None,
            environment: Vec::new(),
            stdin: None,
            stdout: StandardOutput::Journal,
            syslog_identifier: None,
            log_fields: Vec::new(),
            sandbox: Sandbox::None,
            network: Network::Host,
            cache_directory: None,
            credentials: Vec::new(),
            oom_score_adjust: None,
            memory_max: None,
            at_shutdown: AtShutdown::Stopped,
            delegate: false,
            when_killed: WhenKilled::Fails,
            tells: false,
        }
    }

    /// Everything that systemd is told, in the order of systemd.exec(5).
    pub(super) fn properties(&self) -> Vec<Property<'_>> {
        let mut properties = self.lifecycle();
        properties.extend(self.identity());
        properties.extend(self.streams());
        properties.extend(self.limits());
        match self.sandbox {
            Sandbox::None => {}
            Sandbox::Strict => properties.extend(strict_sandbox()),
        }
        match self.network {
            Network::Host => {}
            Network::Internet => {
                let families = ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"];
                let families = families.map(str::to_owned).to_vec();
                // True: these, and no others.
                properties.push(("RestrictAddressFamilies", (true, families).into()));
            }
            Network::None => properties.push(("PrivateNetwork", true.into())),
        }
        properties
    }

    fn lifecycle(&self) -> Vec<Property<'_>> {
        let mut properties = vec![
            ("Description", self.description.as_str().into()),
            ("ExecStartEx", self.exec_start()),
            ("SendSIGKILL", true.into()),
            // It must outlive `systemctl isolate`, and a failure must stay readable.
            ("IgnoreOnIsolate", true.into()),
            ("CollectMode", "inactive".into()),
        ];
        properties.extend(self.stopping());
        if self.delegate {
            properties.push(("Delegate", true.into()));
        }
        if self.tells {
            properties.push(("NotifyAccess", "main".into()));
        }
        match self.when_killed {
            WhenKilled::Fails => {}
            WhenKilled::ComesBack => properties.extend(comeback()),
        }
        match self.kind {
            Kind::OneShot => {
                properties.push(("Type", "oneshot".into()));
                // Without it a success is unloaded before anybody can read it.
                properties.push(("RemainAfterExit", true.into()));
                // RuntimeMaxUSec is ignored for one-shots.
                let deadline = self.deadline.map_or(u64::MAX.into(), microseconds);
                properties.push(("TimeoutStartUSec", deadline));
            }
            Kind::Exec => {
                properties.push(("Type", "exec".into()));
                if let Some(deadline) = self.deadline {
                    properties.push(("RuntimeMaxUSec", microseconds(deadline)));
                }
            }
        }
        properties
    }

    /// How it is ended.
    fn stopping(&self) -> Vec<Property<'_>> {
        let ordinary = |deadline| {
            vec![
                ("KillMode", "control-group".into()),
                ("TimeoutStopUSec", microseconds(deadline)),
            ]
        };
        match self.at_shutdown {
            AtShutdown::Stopped => ordinary(STOP_DEADLINE),
            AtShutdown::GoesOn => {
                let mut properties = ordinary(STOP_DEADLINE);
                properties.push(("DefaultDependencies", false.into()));
                properties
            }
            AtShutdown::WaitedFor => vec![
                // The main process is waited for; what it leaves is killed.
                ("KillMode", "mixed".into()),
                // A signal that ends nothing; the last one still does.
                ("KillSignal", Signal::CONT.as_raw().into()),
                (
                    "TimeoutStopUSec",
                    microseconds(self.deadline.unwrap_or(STOP_DEADLINE)),
                ),
                // At its own deadline all of it is killed at once: asked to
                // end, it would go on for as long again.
                ("TimeoutStartFailureMode", "kill".into()),
            ],
        }
    }

    /// Program, argument vector and flags of each command: `a(sasas)`.
    fn exec_start(&self) -> Variant<'_> {
        let commands: Vec<(String, Vec<String>, Vec<String>)> = self
            .commands
            .iter()
            .map(|command| {
                let program = command.first().cloned().unwrap_or_default();
                // Otherwise `$` in an argument would be expanded.
                let flags = vec!["no-env-expand".to_owned()];
                (program, command.clone(), flags)
            })
            .collect();
        Variant::from(commands)
    }

    fn identity(&self) -> Vec<Property<'_>> {
        let mut properties = vec![("WorkingDirectory", "/".into())];
        if let Some(user) = &self.user {
            properties.push(("User", user.as_str().into()));
        }
        if !self.supplementary_groups.is_empty() {
            let groups = self.supplementary_groups.clone();
            properties.push(("SupplementaryGroups", groups.into()));
        }
        if !self.environment.is_empty() {
            properties.push(("Environment", assignments(&self.environment).into()));
        }
        if let Some(directory) = &self.cache_directory {
            properties.push(("CacheDirectory", vec![directory.name.clone()].into()));
            properties.push(("CacheDirectoryMode", directory.mode.into()));
        }
        if !self.credentials.is_empty() {
            let text =
                |(name, file): &(String, PathBuf)| (name.clone(), file.display().to_string());
            let credentials: Vec<_> = self.credentials.iter().map(text).collect();
            properties.push(("LoadCredential", credentials.into()));
            // A core of it would bring them to a disk.
            properties.push(("LimitCORE", 0_u64.into()));
        }
        properties
    }

    fn streams(&self) -> Vec<Property<'_>> {
        let mut properties = vec![
            ("StandardError", "journal".into()),
            // Why a step failed is read from its last lines: none may be dropped.
            ("LogRateLimitIntervalUSec", 0_u64.into()),
        ];
        properties.push(match &self.stdout {
            StandardOutput::Journal => ("StandardOutput", "journal".into()),
            StandardOutput::File(path) => (
                "StandardOutputFileToAppend",
                path.display().to_string().into(),
            ),
        });
        match &self.stdin {
            Some(fd) => {
                properties.push(("StandardInputFileDescriptor", Fd::from(fd.as_fd()).into()))
            }
            None => properties.push(("StandardInput", "null".into())),
        }
        if let Some(identifier) = &self.syslog_identifier {
            properties.push(("SyslogIdentifier", identifier.as_str().into()));
        }
        if !self.log_fields.is_empty() {
            let fields: Vec<Vec<u8>> = assignments(&self.log_fields)
                .into_iter()
                .map(String::into_bytes)
                .collect();
            properties.push(("LogExtraFields", fields.into()));
        }
        properties
    }

    fn limits(&self) -> Vec<Property<'_>> {
        let mut properties = Vec::new();
        if let Some(adjust) = self.oom_score_adjust {
            properties.push(("OOMScoreAdjust", adjust.into()));
        }
        if let Some(bytes) = self.memory_max {
            properties.push(("MemoryMax", bytes.into()));
        }
        properties
    }
}

fn assignments(pairs: &[(String, String)]) -> Vec<String> {
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn microseconds<'a>(duration: Duration) -> Variant<'a> {
    // The largest value means "never" to systemd, which is what it amounts to.
    u64::try_from(duration.as_micros())
        .unwrap_or(u64::MAX)
        .into()
}

/// Started again by PID 1, whoever else is gone; but one that dies at once,
/// again and again, has failed.
fn comeback() -> Vec<Property<'static>> {
    vec![
        ("Restart", "on-abnormal".into()),
        ("RestartUSec", microseconds(COMEBACK_PAUSE)),
        ("StartLimitIntervalUSec", microseconds(COMEBACK_INTERVAL)),
        ("StartLimitBurst", COMEBACKS.into()),
    ]
}

/// What works inside a container, too, and leaves Nix and git whole.
fn strict_sandbox() -> Vec<Property<'static>> {
    vec![
        ("NoNewPrivileges", true.into()),
        ("CapabilityBoundingSet", 0_u64.into()),
        ("AmbientCapabilities", 0_u64.into()),
        ("ProtectSystem", "strict".into()),
        ("ProtectHome", "yes".into()),
        ("PrivateTmp", true.into()),
        ("PrivateDevices", true.into()),
        ("ProtectControlGroups", true.into()),
        ("ProtectKernelModules", true.into()),
        ("ProtectKernelTunables", true.into()),
        ("ProtectKernelLogs", true.into()),
        ("ProtectClock", true.into()),
        ("ProtectHostname", true.into()),
        ("RestrictSUIDSGID", true.into()),
        ("RestrictRealtime", true.into()),
        ("LockPersonality", true.into()),
        ("KeyringMode", "private".into()),
        ("UMask", 0o027_u32.into()),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn unit() -> TransientUnit {
        let command = vec!["/bin/echo".to_owned(), "$HOME %n".to_owned()];
        TransientUnit::new("a.service", Kind::OneShot, vec![command])
    }

    fn by_name(unit: &TransientUnit) -> HashMap<&'static str, Variant<'_>> {
        let properties = unit.properties();
        let count = properties.len();
        let map: HashMap<_, _> = properties.into_iter().collect();
        assert_eq!(map.len(), count, "no property is given twice");
        map
    }

    #[test]
    fn a_one_shot_remains_and_has_its_deadline_at_the_start() {
        let mut unit = unit();
        unit.deadline = Some(Duration::from_secs(60));
        let properties = by_name(&unit);
        assert_eq!(properties["Type"], Variant::from("oneshot"));
        assert_eq!(properties["RemainAfterExit"], Variant::from(true));
        assert_eq!(
            properties["TimeoutStartUSec"],
            Variant::from(60_000_000_u64)
        );
        assert!(!properties.contains_key("RuntimeMaxUSec"));
    }

    #[test]
    fn a_service_has_its_deadline_for_the_whole_run() {
        let mut unit = unit();
        unit.kind = Kind::Exec;
        unit.deadline = Some(Duration::from_secs(1));
        let properties = by_name(&unit);
        assert_eq!(properties["RuntimeMaxUSec"], Variant::from(1_000_000_u64));
        assert!(!properties.contains_key("RemainAfterExit"));
    }

    #[test]
    fn arguments_are_not_expanded() {
        let unit = unit();
        let properties = by_name(&unit);
        let exec = &properties["ExecStartEx"];
        assert_eq!(exec.value_signature().to_string(), "a(sasas)");
        assert!(format!("{exec:?}").contains("no-env-expand"), "{exec:?}");
    }

    #[test]
    fn only_a_sandboxed_unit_is_sandboxed() {
        let mut unit = unit();
        assert!(!by_name(&unit).contains_key("ProtectSystem"));
        unit.sandbox = Sandbox::Strict;
        unit.network = Network::None;
        let properties = by_name(&unit);
        assert_eq!(properties["ProtectSystem"], Variant::from("strict"));
        assert_eq!(properties["PrivateNetwork"], Variant::from(true));
    }

    #[test]
    fn captured_output_is_appended_to_its_file() {
        let mut unit = unit();
        unit.stdout = StandardOutput::File(PathBuf::from("/run/x.out"));
        let properties = by_name(&unit);
        assert_eq!(
            properties["StandardOutputFileToAppend"],
            Variant::from("/run/x.out")
        );
        assert!(!properties.contains_key("StandardOutput"));
        assert_eq!(properties["StandardError"], Variant::from("journal"));
    }

    #[test]
    fn a_credential_is_named_by_its_file_and_not_by_its_content() {
        let mut unit = unit();
        assert!(!by_name(&unit).contains_key("LoadCredential"));
        assert!(!by_name(&unit).contains_key("LimitCORE"));
        unit.credentials = vec![("origin.identity".to_owned(), "/k".into())];
        let expected = vec![("origin.identity".to_owned(), "/k".to_owned())];
        assert_eq!(by_name(&unit)["LoadCredential"], Variant::from(expected));
        assert_eq!(by_name(&unit)["LimitCORE"], Variant::from(0_u64));
    }

    #[test]
    fn only_what_has_to_see_a_shutdown_through_goes_on_in_it() {
        let mut unit = unit();
        assert!(!by_name(&unit).contains_key("DefaultDependencies"));
        unit.at_shutdown = AtShutdown::GoesOn;
        unit.delegate = true;
        let properties = by_name(&unit);
        assert_eq!(properties["DefaultDependencies"], Variant::from(false));
        assert_eq!(properties["Delegate"], Variant::from(true));
    }

    #[test]
    fn what_is_waited_for_is_not_ended_by_a_shutdown_but_by_its_deadline() {
        let mut unit = unit();
        unit.deadline = Some(Duration::from_secs(60));
        assert!(!by_name(&unit).contains_key("KillSignal"));
        unit.at_shutdown = AtShutdown::WaitedFor;
        let properties = by_name(&unit);
        let sigcont = Signal::CONT.as_raw();
        assert_eq!(properties["KillSignal"], Variant::from(sigcont));
        let minute = Variant::from(60_000_000_u64);
        assert_eq!(properties["TimeoutStopUSec"], minute);
        assert_eq!(properties["TimeoutStartUSec"], minute);
        // Both ends are final, and for the whole cgroup.
        let kill = Variant::from("kill");
        assert_eq!(properties["TimeoutStartFailureMode"], kill);
        assert_eq!(properties["SendSIGKILL"], Variant::from(true));
        assert_eq!(properties["KillMode"], Variant::from("mixed"));
        assert!(!properties.contains_key("DefaultDependencies"));
    }

    #[test]
    fn only_what_comes_back_is_started_again_and_not_for_ever() {
        let mut unit = unit();
        assert!(!by_name(&unit).contains_key("Restart"));
        unit.when_killed = WhenKilled::ComesBack;
        let properties = by_name(&unit);
        // Not after an exit status of its own, however bad.
        assert_eq!(properties["Restart"], Variant::from("on-abnormal"));
        assert_eq!(properties["StartLimitBurst"], Variant::from(COMEBACKS));
        let needed = COMEBACK_PAUSE * COMEBACKS;
        assert!(COMEBACK_INTERVAL > needed, "the limit is reached");
    }

    #[test]
    fn log_fields_are_bytes() {
        let mut unit = unit();
        unit.log_fields = vec![("A".to_owned(), "b c".to_owned())];
        let properties = by_name(&unit);
        assert_eq!(
            properties["LogExtraFields"],
            Variant::from(vec![b"A=b c".to_vec()])
        );
    }
}
