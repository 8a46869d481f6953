//! What systemd says of itself and of a unit, as types.
//!
//! In: strings and numbers from the bus. Out: values to match on. Must not:
//! call anything.

use std::collections::HashMap;
use std::fmt;

use zbus::{OwnedObjectPath, OwnedVariant};

use super::proxies::{EVERY_INTERFACE, UNIT_INTERFACE};
use crate::host::journal;

/// The state of the whole system (`systemctl is-system-running`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemState {
    /// Before `basic.target`.
    Initializing,
    /// Until the first queue of jobs is empty.
    Starting,
    /// Up, and no unit is failed.
    Running,
    /// Up, and a unit is failed.
    Degraded,
    /// In rescue or emergency mode.
    Maintenance,
    /// Shutting down.
    Stopping,
    /// systemd is not the init system.
    Offline,
    /// A word that is not known here.
    Unknown(String),
}

impl SystemState {
    /// Reads systemd's word.
    pub fn parse(word: &str) -> Self {
        match word {
            "initializing" => Self::Initializing,
            "starting" => Self::Starting,
            "running" => Self::Running,
            "degraded" => Self::Degraded,
            "maintenance" => Self::Maintenance,
            "stopping" => Self::Stopping,
            "offline" => Self::Offline,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl fmt::Display for SystemState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Initializing => "initializing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Maintenance => "maintenance",
            Self::Stopping => "stopping",
            Self::Offline => "offline",
            Self::Unknown(word) => word,
        })
    }
}

/// The state of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActiveState {
    /// Started; a one-shot that succeeded and remains, too.
    Active,
    /// Not started, or stopped.
    Inactive,
    /// Ended badly.
    Failed,
    /// Being started; a one-shot that runs, too.
    Activating,
    /// Being stopped.
    Deactivating,
    /// Another one, such as `reloading`.
    Other(String),
}

impl ActiveState {
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "inactive" => Self::Inactive,
            "failed" => Self::Failed,
            "activating" => Self::Activating,
            "deactivating" => Self::Deactivating,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What can be read of a unit from one or all of its interfaces.
pub(super) trait Description: Sized {
    /// The interface; empty for all of them.
    const INTERFACE: &str;

    /// Reads what `GetAll` answered; None when the unit is not loaded.
    fn from_properties(properties: &HashMap<String, OwnedVariant>) -> Option<Self>;
}

/// What tells whether something still goes on.
pub(super) trait Run: Description {
    /// Whether nothing goes on any more, and the result is final.
    fn is_over(&self) -> bool;
}

/// How a unit's main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// It did not end, or never was.
    None,
    /// It exited with a status.
    Exited,
    /// A signal ended it.
    Killed,
    /// A signal ended it, and it left a core.
    Dumped,
}

impl ExitCode {
    /// Reads `si_code` as waitid(2) gives it.
    fn parse(code: i32) -> Self {
        match code {
            1 => Self::Exited,
            2 => Self::Killed,
            3 => Self::Dumped,
            _none_yet => Self::None,
        }
    }
}

/// What a loaded unit is and does, whatever its type: read in one call, and
/// without what costs systemd most, a service's accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState {
    /// Its description.
    pub description: String,
    /// Its state.
    pub active_state: ActiveState,
    /// Its type's own state, such as `running` or `exited`.
    pub sub_state: String,
    /// Whether a job is queued or running for it.
    pub has_job: bool,
    /// Whether it was made over the bus and has no file of its own.
    pub is_transient: bool,
}

/// What systemd knows about a loaded service and its last run, read in one
/// call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitStatus {
    /// What it is and does.
    pub state: UnitState,
    /// How its last run ended: `success`, `exit-code`, `signal`, `timeout`, `oom-kill`, ...
    pub result: String,
    /// How the main process ended.
    pub exit_code: ExitCode,
    /// Its exit status, or the signal that ended it.
    pub exit_status: i32,
    /// Identifies this run; empty before the first.
    pub invocation_id: String,
    /// When this run began, in microseconds of the monotonic clock.
    pub began: u64,
}

impl UnitState {
    /// Whether nothing goes on any more, and the result is final.
    pub fn has_ended(&self) -> bool {
        // A unit whose start job still waits is inactive, and has not ended.
        !self.has_job
            && match self.active_state {
                ActiveState::Inactive | ActiveState::Failed => true,
                ActiveState::Active => self.sub_state == "exited",
                ActiveState::Activating | ActiveState::Deactivating | ActiveState::Other(_) => {
                    false
                }
            }
    }
}

impl Description for UnitState {
    const INTERFACE: &str = UNIT_INTERFACE;

    fn from_properties(properties: &HashMap<String, OwnedVariant>) -> Option<Self> {
        let text = |name: &str| -> Option<&str> { properties.get(name)?.try_into().ok() };
        if text("LoadState") == Some("not-found") {
            return None;
        }
        Some(Self {
            description: text("Description")?.to_owned(),
            active_state: ActiveState::parse(text("ActiveState")?),
            sub_state: text("SubState")?.to_owned(),
            has_job: has_job(properties.get("Job")),
            is_transient: properties
                .get("Transient")
                .and_then(|value| bool::try_from(value).ok())
                .unwrap_or(false),
        })
    }
}

impl UnitStatus {
    /// This run, by what its lines in the journal are found by.
    pub fn run(&self, unit: &str) -> journal::Run {
        journal::Run {
            unit: unit.to_owned(),
            invocation_id: self.invocation_id.clone(),
            began: self.began,
        }
    }
}

impl Description for UnitStatus {
    const INTERFACE: &str = EVERY_INTERFACE;

    fn from_properties(properties: &HashMap<String, OwnedVariant>) -> Option<Self> {
        let text = |name: &str| -> Option<&str> { properties.get(name)?.try_into().ok() };
        let number = |name: &str| -> Option<i32> { properties.get(name)?.try_into().ok() };
        Some(Self {
            state: UnitState::from_properties(properties)?,
            result: text("Result").unwrap_or_default().to_owned(),
            exit_code: ExitCode::parse(number("ExecMainCode").unwrap_or(0)),
            exit_status: number("ExecMainStatus").unwrap_or(0),
            invocation_id: invocation_id(properties.get("InvocationID")),
            began: began(properties),
        })
    }
}

impl Run for UnitState {
    fn is_over(&self) -> bool {
        self.has_ended()
    }
}

impl Run for UnitStatus {
    fn is_over(&self) -> bool {
        self.state.has_ended()
    }
}

/// Sixteen bytes as the hexadecimal digits that the journal uses.
fn invocation_id(value: Option<&OwnedVariant>) -> String {
    let bytes = value.and_then(|value| Vec::<u8>::try_from(value.clone()).ok());
    bytes
        .unwrap_or_default()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The first process is started before its unit counts as begun; of several
/// commands only the last one's start is kept.
fn began(properties: &HashMap<String, OwnedVariant>) -> u64 {
    let times = [
        "ExecMainStartTimestampMonotonic",
        "InactiveExitTimestampMonotonic",
    ];
    let times = times
        .iter()
        .filter_map(|name| u64::try_from(properties.get(*name)?).ok());
    // Zero: it has not happened.
    times.filter(|&time| time != 0).min().unwrap_or(u64::MAX)
}

/// The property is the job's id and path; no job has the id 0.
fn has_job(value: Option<&OwnedVariant>) -> bool {
    value
        .and_then(|value| <(u32, OwnedObjectPath)>::try_from(value.clone()).ok())
        .is_some_and(|(id, _path)| id != 0)
}

#[cfg(test)]
mod tests {
    use zbus::{ObjectPath, Variant};

    use super::*;

    fn owned(value: Variant<'_>) -> OwnedVariant {
        value.try_into().expect("it holds no file descriptor")
    }

    /// What systemd 257 answers for a one-shot, as far as it is read.
    fn properties(active: &str, sub: &str, job: u32) -> HashMap<String, OwnedVariant> {
        let job_path = ObjectPath::try_from("/").expect("the root is a path");
        [
            ("LoadState", Variant::from("loaded")),
            ("Description", "a unit".into()),
            ("ActiveState", active.into()),
            ("SubState", sub.into()),
            ("Result", "exit-code".into()),
            ("ExecMainCode", 1_i32.into()),
            ("ExecMainStatus", 4_i32.into()),
            ("InvocationID", vec![0_u8, 0x1f, 0xff].into()),
            ("ExecMainStartTimestampMonotonic", 70_u64.into()),
            ("InactiveExitTimestampMonotonic", 80_u64.into()),
            ("Job", (job, job_path).into()),
            ("Transient", true.into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), owned(value)))
        .collect()
    }

    #[test]
    fn a_status_is_read_as_systemd_writes_it() {
        let status = UnitStatus::from_properties(&properties("failed", "failed", 0));
        assert_eq!(
            status,
            Some(UnitStatus {
                state: UnitState {
                    description: "a unit".to_owned(),
                    active_state: ActiveState::Failed,
                    sub_state: "failed".to_owned(),
                    has_job: false,
                    is_transient: true,
                },
                result: "exit-code".to_owned(),
                exit_code: ExitCode::Exited,
                exit_status: 4,
                invocation_id: "001fff".to_owned(),
                began: 70,
            })
        );
    }

    #[test]
    fn a_unit_that_is_not_found_is_none() {
        let mut properties = properties("inactive", "dead", 0);
        properties.insert("LoadState".to_owned(), owned("not-found".into()));
        assert_eq!(UnitStatus::from_properties(&properties), None);
    }

    #[test]
    fn a_unit_has_ended_only_when_nothing_goes_on_any_more() {
        for (active, sub, job, ended) in [
            ("activating", "start", 7, false),
            ("activating", "start", 0, false),
            ("active", "exited", 0, true),
            ("active", "running", 0, false),
            ("failed", "failed", 0, true),
            ("failed", "failed", 8, false),
            ("inactive", "dead", 9, false),
            ("inactive", "dead", 0, true),
            ("deactivating", "stop-sigterm", 0, false),
            ("reloading", "reload", 0, false),
        ] {
            let state = UnitState::from_properties(&properties(active, sub, job))
                .expect("everything is there");
            assert_eq!(state.has_ended(), ended, "{active} {sub} job {job}");
        }
    }

    #[test]
    fn every_word_for_the_system_survives() {
        for word in [
            "initializing",
            "starting",
            "running",
            "degraded",
            "maintenance",
            "stopping",
            "offline",
            "new",
        ] {
            assert_eq!(SystemState::parse(word).to_string(), word);
        }
    }
}
